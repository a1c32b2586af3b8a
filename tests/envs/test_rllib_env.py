"""RLlib's multi-agent environments as teams."""

import numpy as np
import pytest
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

from rllib_agentmixer.envs import make_env, make_vector_env
from rllib_agentmixer.envs.games.predator_prey import PredatorPrey


class Relay(MultiAgentEnv):
    """b waits in odd steps, a leaves after two, the end comes after four."""

    def __init__(self, config=None):
        super().__init__()
        self.possible_agents = self.agents = ["a", "b"]
        self.observation_spaces = dict.fromkeys("ab", spaces.Box(-9, 9, (1,), np.float32))
        self.action_spaces = dict.fromkeys("ab", spaces.Discrete(2))
        self.received = []

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self._obs("ab"), {}

    def _obs(self, names):
        return {name: np.array([self.t], np.float32) for name in names}

    def step(self, actions):
        self.received.append(dict(actions))
        self.t += 1
        names = [n for n in "ab" if (n == "a" and self.t <= 2) or (n == "b" and self.t != 1)]
        ends = {"__all__": self.t == 4, "a": self.t == 2}
        return self._obs(names), dict.fromkeys(actions, 0.5), ends, {"__all__": False}, {}


def test_a_multi_agent_env_is_a_team():
    team = make_vector_env(Relay, 1, team_reward="sum")
    assert team.spec.agents == ("a", "b")
    np.testing.assert_array_equal(team.reset(seed=0).alive, [[True, True]])
    steps = []
    for _ in range(4):
        step = team.step(np.array([[1, 0]]))
        steps.append((step.reward[0], step.observation.alive[0].tolist(), step.terminated[0]))
    env = team._envs[0].env.env
    assert [sorted(actions) for actions in env.received] == [["a", "b"], ["a"], ["b"], ["b"]]
    assert [reward for reward, _, _ in steps] == [1.0, 0.5, 0.5, 0.5]
    assert [alive for _, alive, _ in steps[:3]] == [[True, False], [False, True], [False, True]]
    assert [ended for _, _, ended in steps] == [False, False, False, True]


def test_rllibs_wrapper_of_a_parallel_env_is_taken_off():
    wrapped = make_env(lambda: ParallelPettingZooEnv(PredatorPrey()))
    assert isinstance(wrapped, PredatorPrey)


@pytest.mark.parametrize("name", ["metadata", "render_mode"])
def test_the_converted_environment_has_what_a_parallel_env_has(name):
    assert hasattr(make_env(Relay), name)
