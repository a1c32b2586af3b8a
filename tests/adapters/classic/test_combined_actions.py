"""A team with MultiDiscrete, MultiBinary and Discrete members, trained, exported and played."""

import numpy as np
import pytest
import torch
from algorithms_test_helpers import learner_stats, tiny
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer import IPPOConfig, MAPPOConfig
from rllib_agentmixer.export import export_policies
from rllib_agentmixer.play import play_episode
from rllib_agentmixer.runtime import load_policies

ACTIONS = {
    "arm": spaces.MultiDiscrete([2, 3], start=[0, 5]),
    "switches": spaces.MultiBinary(2),
    "leg": spaces.Discrete(4, start=1),
}


class Machine(ParallelEnv):
    """Pays for the arm at (1, 7); the arm's second component may not be 6."""

    metadata = {"name": "machine", "render_modes": []}  # noqa: RUF012

    def __init__(self):
        self.possible_agents = list(ACTIONS)
        self.agents = []
        self.box = spaces.Box(0, 9, (4,), np.float32)
        self.received = []

    def observation_space(self, agent):
        return self.box

    def action_space(self, agent):
        return ACTIONS[agent]

    def infos(self):
        mask = (np.ones(2, np.int8), np.array([1, 0, 1], np.int8))
        return {name: {"action_mask": mask} if name == "arm" else {} for name in ACTIONS}

    def observe(self):
        return {name: np.full(4, self.time, np.float32) for name in ACTIONS}

    def reset(self, seed=None, options=None):
        self.agents, self.time = list(ACTIONS), 0
        return self.observe(), self.infos()

    def step(self, actions):
        for name, action in actions.items():
            assert ACTIONS[name].contains(action), (name, action)
        assert actions["arm"][1] != 6
        self.received.append(actions)
        self.time += 1
        is_over = self.time == 4
        self.agents = [] if is_over else self.agents
        reward = float(tuple(actions["arm"]) == (1, 7))
        flags = dict.fromkeys(ACTIONS, is_over), dict.fromkeys(ACTIONS, False)
        return self.observe(), dict.fromkeys(ACTIONS, reward), *flags, self.infos()


def machine():
    return Machine()


@pytest.mark.parametrize("config_class", [None, MAPPOConfig, IPPOConfig])
def test_combined_actions_are_trained_exported_and_played(build, tmp_path, config_class):
    config = tiny(machine, num_envs=4, config_class=config_class, lr=0.02, num_epochs=4)
    algorithm = build(config)
    for _ in range(4):
        stats = learner_stats(algorithm.train())
    assert np.isfinite(stats["total_loss"])
    export_policies(algorithm, tmp_path / "export")
    policies = load_policies(tmp_path / "export")
    env = machine()
    for explore in (False, True):
        play_episode(env, policies, seed=0, explore=explore)
    worker = algorithm.team_worker
    records = worker.play_episodes(1, policy="individual", explore=False, seed=0, num_envs=1)
    # The loader's modes are those of training: the same actions earn the same.
    earned = sum(tuple(actions["arm"]) == (1, 7) for actions in env.received[:4])
    assert records[0].episode_return == earned


def test_an_exported_policy_answers_as_it_was_asked(build, tmp_path):
    algorithm = build(tiny(machine, num_envs=4))
    export_policies(algorithm, tmp_path / "export")
    policies = load_policies(tmp_path / "export")
    arm, obs = policies["arm"], np.zeros(4, np.float32)
    only = (np.array([0, 1]), np.array([0, 0, 1]))
    action, _ = arm.act(obs, None, only)
    assert isinstance(action, np.ndarray)
    assert action.tolist() == [1, 7]
    action, _ = arm.act(torch.zeros(4), None, only)
    assert isinstance(action, torch.Tensor)
    flat = np.zeros(6)
    flat[3] = 1  # the fourth combination: (1, 5)
    assert arm.act(obs, None, flat)[0].tolist() == [1, 5]
    assert policies["leg"].act(obs)[0] in range(1, 5)
