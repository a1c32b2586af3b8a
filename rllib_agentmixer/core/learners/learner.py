"""Interface of learners, which update the weights of a team."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from rllib_agentmixer.core.data.experience import Experience, Fragment
from rllib_agentmixer.core.settings.base import scheduled_value
from rllib_agentmixer.core.teams.team_module import TeamModule

Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Takes a function and returns one that computes the same."""


class Learner(ABC):
    """Base of learners: updates a team, and owns optimisers, target networks and schedules.

    A learner is independent of RLlib and of the source of batches. One instance is on the driver;
    workers call only :meth:`postprocess`.

    Args:
        team: networks to train.
        settings: of the algorithm.
        rllib: RLlib's settings, of the class that the algorithm's entry names.
        compiler: compiles the loss, such as ``torch.compile``; None leaves it as it is.
    """

    rllib_defaults: ClassVar[Mapping[str, Any]] = {}
    """Defaults of RLlib's settings under this learner, where they differ from the entry's."""

    targets: ClassVar[type | None] = None
    """Frozen dataclass of the tensors that :meth:`postprocess` adds to experience."""

    accepts_stale_batches: ClassVar[bool] = True
    """Whether batches may come from the policy before the last update."""

    scheduled: ClassVar[Mapping[str, str]] = {"lr": "cur_lr"}
    """Settings that may be schedules -> names of their current values among the metrics."""

    def __init__(
        self, team: TeamModule, settings: Any, rllib: Any, *, compiler: Compiler | None = None
    ) -> None:
        self.team = team
        self.settings = settings
        self.rllib = rllib
        self.is_compiled = self.keeps_tensors = compiler is not None
        self.current: dict[str, float] = {}
        self.follow_schedules(0)

    @classmethod
    def check(cls, settings: Any, rllib: Any) -> None:
        """Reject settings that this learner does not support.

        Raises:
            ConfigError: names the setting and its value.
        """
        del settings, rllib

    @staticmethod
    def postprocess(team: Any, fragment: Fragment, settings: Any, rllib: Any) -> Experience:
        """Experience with targets, from a fragment as it was collected; runs on workers.

        Args:
            team: that has acted.
            fragment: of consecutive steps.
            settings: of the algorithm.
            rllib: RLlib's settings.
        """
        del team, settings, rllib
        return fragment.steps

    @abstractmethod
    def update(
        self, batch: Experience, *, env_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        """Learn from one batch.

        Args:
            batch: of experience, with this learner's targets.
            env_steps: joint environment steps sampled so far.
            generator: shuffles minibatches.

        Returns:
            Metrics averaged over gradient steps, ``num_updates`` (gradient steps) among them.

        Raises:
            LearningError: gradients are non-finite, with ``non_finite="raise"``.
        """

    def loss_of(self, batch: Experience) -> Any:
        """Loss of one batch as it comes, for RLlib's gradient API.

        Raises:
            NotImplementedError: this learner's update is not a single gradient.
        """
        del batch
        raise NotImplementedError(f"{type(self).__name__} has no single loss; call update()")

    def follow_schedules(self, env_steps: int) -> None:
        """Move all schedules, the team's included, to a number of sampled environment steps."""
        self.team.follow_schedules(env_steps, as_tensors=self.keeps_tensors)
        self.current = {
            name: scheduled_value(self._schedule(name), env_steps)
            for name in self.scheduled
            if self._has(name)
        }

    def _has(self, name: str) -> bool:
        return hasattr(self.settings, name) or hasattr(self.rllib, name)

    def _schedule(self, name: str) -> Any:
        return getattr(self.settings if hasattr(self.settings, name) else self.rllib, name)

    def metrics_of_schedules(self) -> dict[str, float]:
        """Current values of all schedules, by the names of :attr:`scheduled`."""
        return {self.scheduled[name]: value for name, value in self.current.items()}

    @property
    @abstractmethod
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All optimisers, in an order that does not change."""

    def state_dict(self) -> dict[str, Any]:
        """State that a resumed run needs besides the team's weights, as plain tensors."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; settings remain this learner's own."""
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
