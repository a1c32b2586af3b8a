"""Recorder of the steps of a fragment while it is collected."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from rllib_agentmixer.core.data.batch import Latents, RecurrentState
from rllib_agentmixer.core.data.columns import stack_structures
from rllib_agentmixer.core.data.experience import Bootstrap, Experience, Fragment
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.envs.vector_env import TeamStep
from rllib_agentmixer.rollouts.actor import ActionOutput


@dataclass
class FragmentRecorder:
    """Arrays of B sub-environments, step by step.

    Attributes:
        layout: of rows.
        limits_are_ends: whether a time limit is recorded as an end.
    """

    layout: TeamLayout
    limits_are_ends: bool = False
    rows: list[np.ndarray] = field(default_factory=list)
    raw_rows: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    parameters: list[np.ndarray] = field(default_factory=list)
    rewards: list[np.ndarray] = field(default_factory=list)
    agent_rewards: list[np.ndarray] = field(default_factory=list)
    terminated: list[np.ndarray] = field(default_factory=list)
    truncated: list[np.ndarray] = field(default_factory=list)
    keep: list[np.ndarray] = field(default_factory=list)
    hidden: list[RecurrentState] = field(default_factory=list)
    latents: list[Latents] = field(default_factory=list)
    bootstraps: dict[int, Bootstrap] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_filtered(self) -> bool:
        """Whether the networks read other rows than the environment gave."""
        return self.raw_rows[0] is not self.rows[0]

    def cut(self, step: TeamStep) -> np.ndarray:
        """[B] where a step was truncated and the value of what would have followed counts."""
        if self.limits_are_ends:
            return step.truncated & step.faulty  # a crash does not end the task
        return step.truncated

    def add(
        self,
        raw: np.ndarray,
        rows: np.ndarray,
        hidden: RecurrentState | None,
        output: ActionOutput,
        step: TeamStep,
    ) -> None:
        """Record one step.

        Args:
            raw: [B, F] joint observations as the environment gave them.
            rows: [B, F] as the networks read them.
            hidden: recurrent state before the step.
            output: of the actor.
            step: of the environment.
        """
        cut = self.cut(step)
        if hidden is not None:
            self.hidden.append(hidden)
        if output.latents is not None:
            self.latents.append(output.latents)
        self.rows.append(rows)
        self.raw_rows.append(raw)
        self.actions.append(output.actions)
        self.parameters.append(output.parameters)
        self.rewards.append(step.reward.copy())
        self.agent_rewards.append(step.agent_rewards.copy())
        self.terminated.append((step.terminated | step.truncated) & ~cut)
        self.truncated.append(cut.copy())

    def fragment(self, last_rows: np.ndarray, last_hidden: RecurrentState | None) -> Fragment:
        """All steps, and the successor of the last one."""
        rows = torch.from_numpy(np.stack([*self.rows, last_rows]))
        inputs = self.layout.inputs(rows[:-1])
        if self.latents:
            inputs = replace(inputs, latents=stack_structures(self.latents))
        steps = Experience(
            inputs=inputs,
            actions=_stacked(self.actions),
            rewards=_stacked(self.rewards),
            valid=_stacked(self.keep),
            terminated=_stacked(self.terminated),
            truncated=_stacked(self.truncated),
            behaviour=_stacked(self.parameters),
            agent_rewards=_stacked(self.agent_rewards),
        )
        hidden = None if last_hidden is None else [*self.hidden, last_hidden]
        return Fragment(steps, self.layout.inputs(rows), hidden, self.bootstraps)


def _stacked(arrays: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
