"""Arguments of an environment with its place among others, as RLlib's creators read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EnvConfig(dict):
    """``env_config`` with the attributes of RLlib's ``EnvContext``, without RLlib.

    Where RLlib builds an environment, its own ``EnvContext`` takes this class's place.

    Args:
        config: arguments by name.
        worker_index: of the rollout worker; 0 is the driver's.
        vector_index: of the sub-environment in its worker.
        num_workers: remote rollout workers.
    """

    remote = False
    recreated_worker = False

    def __init__(
        self,
        config: Mapping[str, Any],
        worker_index: int = 0,
        vector_index: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(config)
        self.worker_index = worker_index
        self.vector_index = vector_index
        self.num_workers = num_workers

    def set_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Set the arguments that are missing."""
        for name, value in defaults.items():
            self.setdefault(name, value)


def at_index(config: Mapping[str, Any], vector_index: int) -> Mapping[str, Any]:
    """The arguments as a sub-environment gets them, as RLlib's ``EnvContext`` or ours."""
    copy_with_overrides = getattr(config, "copy_with_overrides", None)
    if copy_with_overrides is not None:  # RLlib's
        return copy_with_overrides(vector_index=vector_index)
    if isinstance(config, EnvConfig):
        return EnvConfig(config, config.worker_index, vector_index, config.num_workers)
    return EnvConfig(config, vector_index=vector_index)
