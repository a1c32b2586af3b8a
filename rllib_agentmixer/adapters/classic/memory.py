"""Memory that a batch of experience takes, said before it is gone."""

from __future__ import annotations

import logging
from typing import Any

from rllib_agentmixer.core.data.layout import TeamLayout

logger = logging.getLogger(__name__)

COPIES = 5
"""Copies of a batch's rows at the peak of an iteration: recorded, joined, sent, learned from."""

NOTABLE_BYTES = 4 * 2**30


def batch_bytes(layout: TeamLayout, num_rows: int) -> int:
    """Bytes of memory that a batch takes at the peak, about."""
    return num_rows * layout.row_size * 4 * COPIES


def warn_of_memory(layout: TeamLayout, config: Any) -> None:
    """Say that a batch takes gigabytes, with what to do.

    Args:
        layout: of joint observations.
        config: of an on-policy algorithm.
    """
    expected = batch_bytes(layout, config.train_batch_size)
    if expected > NOTABLE_BYTES:
        logger.warning(
            "a batch of %d steps takes about %.0f GB: every step holds %d float32 numbers (the "
            "agents' observations, and the state, which is all of them once more where the "
            "environment has no state()). Lower train_batch_size, shrink or encode images in the "
            "environment, or give it a small state()",
            config.train_batch_size,
            expected / 2**30,
            layout.row_size,
        )
