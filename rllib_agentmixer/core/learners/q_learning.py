"""Q-learning of a team from replayed episodes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from rllib_agentmixer.core.cpu import fast_matrix_products
from rllib_agentmixer.core.data.batch import TeamInputs, map_tensors
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.functional.losses import valid_mean
from rllib_agentmixer.core.functional.value_losses import (
    chosen_values,
    greedy_actions,
    td_loss,
    td_targets,
)
from rllib_agentmixer.core.learners.learner import Compiler, Learner
from rllib_agentmixer.core.learners.optimization import SKIPPED, report_non_finite, take_step
from rllib_agentmixer.core.settings.value_based import ReplaySettings, ValueSettings
from rllib_agentmixer.core.teams.factored_values import FactoredValues


class QLearner(Learner):
    """Learner of a team's value by temporal differences, with a target network.

    Batches are whole episodes of L + 1 rows, of which the last one holds what followed the last
    step; ``valid`` is False there and on padding. Recurrent states begin empty.

    Args: see :class:`.Learner`.
    """

    scheduled: ClassVar[Mapping[str, str]] = {"lr": "cur_lr", "epsilon": "epsilon"}

    team: FactoredValues
    settings: ValueSettings
    rllib: ReplaySettings

    def __init__(
        self,
        team: FactoredValues,
        settings: ValueSettings,
        rllib: ReplaySettings,
        *,
        compiler: Compiler | None = None,
    ) -> None:
        self.target = deepcopy(team).requires_grad_(False)
        self.optimizer = torch.optim.Adam(team.parameters(), eps=1e-5, fused=True)
        self.num_updates = 0
        super().__init__(team, settings, rllib, compiler=compiler)
        self.loss = compiler(self.temporal_difference) if compiler else self.temporal_difference

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer]

    def follow_schedules(self, env_steps: int) -> None:
        super().follow_schedules(env_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.current["lr"]

    def temporal_difference(self, batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch, and diagnostics by name."""
        steps, following = (_rows(batch.inputs, part) for part in (slice(-1), slice(1, None)))
        q = self.team.values(batch.inputs)
        values = self.team.mix(chosen_values(q[:-1], batch.actions[:-1].long()), steps)
        with torch.no_grad():
            next_q = self.target.values(batch.inputs)[1:]
            chooser = q[1:] if self.settings.double_q else next_q
            best = greedy_actions(chooser, following.action_mask)
            targets = td_targets(
                batch.rewards[:-1],
                self.target.mix(chosen_values(next_q, best), following),
                batch.terminated[:-1],
                gamma=self.rllib.gamma,
            )
        valid = batch.valid[:-1]
        loss = td_loss(values, targets, valid)
        with torch.no_grad():
            metrics = {
                "td_loss": loss,
                "q_taken_mean": valid_mean(values, valid),
                "target_mean": valid_mean(targets, valid),
                "td_error_abs": valid_mean((values - targets).abs(), valid),
            }
        return loss, {name: value.detach() for name, value in metrics.items()}

    @fast_matrix_products()
    def update(
        self, batch: Experience, *, env_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        del generator  # the replay buffer samples the episodes
        self.follow_schedules(env_steps)
        self.team.train()
        loss, metrics = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        limit = self.rllib.grad_clip
        norm = clip_grad_norm_(self.team.parameters(), float("inf") if limit is None else limit)
        metrics |= {"grad_norm": norm, SKIPPED: take_step(self.optimizer, norm)}
        result = {name: float(value) for name, value in metrics.items()}
        report_non_finite(result, self.settings.non_finite)
        self.num_updates += 1
        if self.num_updates % self.rllib.target_network_update_freq == 0:
            self.update_target()
        return result | self.metrics_of_schedules() | {"num_updates": 1}

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target network towards the online network, by the share tau."""
        pairs = zip(self.target.parameters(), self.team.parameters(), strict=True)
        for old, new in pairs:
            old.lerp_(new, self.rllib.tau)

    def state_dict(self) -> dict[str, Any]:
        target = {name: x.detach().clone() for name, x in self.target.state_dict().items()}
        return super().state_dict() | {"target": target, "num_updates": self.num_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.target.load_state_dict(state["target"])
        self.num_updates = int(state["num_updates"])


def _rows(inputs: TeamInputs, part: slice) -> TeamInputs:
    return map_tensors(inputs, lambda x: x[part])
