"""Examples of play, from the raw observation to the action that the environment takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.envs.construction import build_env
from rllib_agentmixer.envs.env_config import EnvConfig
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.export.spaces import as_json
from rllib_agentmixer.rollouts.actor import TeamActor, pack_rows, reset_hidden, start
from rllib_agentmixer.rollouts.team import Team

NUM_EXAMPLES = 16
"""Steps of play stored per agent as input and expected output."""

Fixture = dict[str, list]


class Recorder:
    """A ParallelEnv that notes what it gave to the agents last.

    Args:
        env: the environment.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self.observations: Mapping[Any, Any] = {}
        self.infos: Mapping[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, seed: int | None = None, options: dict | None = None) -> Any:
        """Start an episode."""
        self.observations, self.infos = outcome = self.env.reset(seed=seed, options=options)
        return outcome

    def step(self, actions: dict[Any, Any]) -> Any:
        """Step the environment."""
        outcome = self.env.step(actions)
        self.observations, self.infos = outcome[0], outcome[-1]
        return outcome


def play_examples(team: Team) -> tuple[list[Any], list[Fixture], Any]:
    """Example steps of sampled play, through the adapter that training uses.

    Returns:
        The agents as the environment names them; per agent its raw observations, masks, network
        outputs, and the actions that the environment would take for their modes; and the
        environment.
    """
    spec = team.spec
    recorder = Recorder(build_env(team.env_creator.source, EnvConfig(team.env_config)))
    env = LoopVectorEnv(
        lambda: recorder,  # type: ignore[arg-type, return-value]  what is called is there
        1,
        name=spec.name,
        team_reward=spec.team_reward,
        agents=spec.agents,
    )
    actor = team.actor(seeded(0))
    rollout = start(actor, env, seed=0)
    fixtures: list[Fixture] = [
        {"alive": [], "obs": [], "action_mask": [], "head": [], "action": []} for _ in spec.agents
    ]
    # One unbroken recurrent sequence: states are not reset at episode ends, as in `fixture`.
    for _ in range(NUM_EXAMPLES):
        rows = pack_rows(actor.layout, rollout.observation)
        rows = team.obs_filter.standardize(rows) if team.obs_filter else rows
        heads = _heads(actor, rows, rollout.hidden)
        modes = actor.act(rows, rollout.hidden, explore=False, policy="individual").actions
        taken = env.actions_by_agent(actor.to_env(modes))[0]
        for index, (name, fixture) in enumerate(zip(env.names, fixtures, strict=True)):
            is_alive = bool(rollout.observation.alive[0, index])
            fixture["alive"].append(is_alive)
            mask = (recorder.infos.get(name) or {}).get("action_mask") if is_alive else None
            fixture["action_mask"].append(as_json(mask))
            fixture["obs"].append(as_json(recorder.observations[name]) if is_alive else None)
            fixture["head"].append(heads[index, : spec.action_sizes[index]].tolist())
            fixture["action"].append(as_json(taken[name]) if is_alive else None)
        output = actor.act(rows, rollout.hidden, explore=True, policy="individual")
        step = env.step(actor.to_env(output.actions))
        rollout.observation = step.observation
        rollout.hidden = reset_hidden(output.hidden, np.zeros(1, bool), actor.layout.alive(rows))
    env.close()
    return env.names, fixtures, recorder.env


@torch.inference_mode()
def _heads(actor: TeamActor, rows: np.ndarray, hidden: Any) -> Tensor:
    """[N, A] logits or means of the individual policies, from the network that trained."""
    inputs = actor.layout.inputs(torch.from_numpy(rows).to(actor.device).unsqueeze(0))
    module: Any = actor.module
    return module.individual_output(inputs, hidden).head[:, 0].cpu()
