"""Settings that come from RLlib: the ranges that are checked, the defaults that differ."""

from __future__ import annotations

from typing import Any

from rllib_agentmixer.core.settings.ranges import Range, integer, number, optional, schedule

INHERITED_RANGES: dict[str, Range] = {
    "lr": schedule(number(0)),
    "gamma": number(0, 1),
    "lambda_": number(0, 1),
    "clip_param": number(0, 1, open_low=True),
    "vf_clip_param": number(0, open_low=True),
    "vf_loss_coeff": number(0),
    "entropy_coeff": schedule(number(0)),
    "grad_clip": optional(number(0, open_low=True)),
    "kl_coeff": number(0),
    "kl_target": number(0, open_low=True),
    "num_epochs": integer(1),
    "minibatch_size": optional(integer(1)),
    "train_batch_size": integer(1),
    "num_env_runners": integer(0),
    "num_envs_per_env_runner": integer(1),
}
"""Ranges of the settings that come from RLlib."""

INHERITED_DEFAULTS: dict[str, Any] = {
    "lr": 5e-4,
    "gamma": 0.99,
    "lambda_": 0.95,
    "clip_param": 0.2,
    "vf_clip_param": 0.2,
    "vf_loss_coeff": 1.0,
    "entropy_coeff": 0.01,
    "grad_clip": 10.0,
    "num_epochs": 15,
    "minibatch_size": None,
    "train_batch_size": 6400,
    "num_env_runners": 0,
    "num_envs_per_env_runner": 32,
}
"""Defaults of RLlib's settings that differ from RLlib's own [authors; sizes ours]."""
