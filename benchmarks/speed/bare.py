"""Components of sampling, in isolation: the environment, one forward pass, one batch."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np

from benchmarks.speed.measure import Work


def parallel_env_work(name: str, config: dict[str, Any], steps: int) -> Work:
    """A single PettingZoo ``ParallelEnv`` with fixed random actions, without wrappers."""
    from rllib_agentmixer.envs import make_env

    env = make_env(name, **config)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    agents = env.possible_agents
    sizes = [cast(Any, env.action_space(agent)).n for agent in agents]
    joint_actions = [
        {agent: int(rng.integers(size)) for agent, size in zip(agents, sizes, strict=True)}
        for _ in range(steps)
    ]

    def work() -> int:
        for actions in joint_actions:
            if not env.agents:
                env.reset()
            env.step(actions)
        return steps

    return work


def vector_env_work(
    name: str,
    config: dict[str, Any],
    num_envs: int,
    fragment: int,
    *,
    team_reward: Any = "shared",
    is_native: bool = True,
) -> Work:
    """A :class:`VectorTeamEnv` with fixed random actions, ``fragment`` steps per environment.

    Args:
        name: of the environment.
        config: its arguments.
        num_envs: B.
        fragment: steps of each sub-environment in one round.
        team_reward: how the agents' rewards are combined.
        is_native: False steps sub-environments in a loop even where there is a vectorized form.
    """
    from rllib_agentmixer.envs import make_env, make_vector_env
    from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv

    if is_native:
        env = make_vector_env(name, num_envs, config=config, team_reward=team_reward)
    else:
        make_one = partial(make_env, name, **config)
        env = LoopVectorEnv(make_one, num_envs, name=name, team_reward=team_reward)
    env.reset(0)
    rng = np.random.default_rng(0)
    actions = rng.integers(0, env.spec.num_actions, (fragment, num_envs, env.spec.num_agents))

    def work() -> int:
        for joint in actions:
            env.step(joint)
        return fragment * num_envs

    return work


def forward_work(algorithm: Any, num_envs: int, fragment: int) -> Work:
    """``module.act`` on one prepared input of B rows, ``fragment`` times."""
    import torch

    from rllib_agentmixer.rollouts.actor import pack_rows

    worker = algorithm.team_worker
    module, layout = worker.actor.module, worker.actor.layout
    vector_env = worker.team_env_creator.vector(worker.env_context, num_envs)
    rows = pack_rows(layout, vector_env.reset(0))
    inputs = layout.inputs(torch.from_numpy(rows).unsqueeze(0))
    generator = torch.Generator().manual_seed(0)

    @torch.inference_mode()
    def work() -> int:
        for _ in range(fragment):
            module.act(inputs, None, explore=True, generator=generator)
        return fragment * num_envs

    return work


def team_batch_of(algorithm: Any) -> Any:
    """One sampled fragment in the format of the core's learner."""
    return algorithm.team_policy.experience(algorithm.team_worker.sample())
