"""Small ParallelEnvs that do exactly what a test tells them, contract violations included."""

from collections.abc import Callable

import numpy as np
from gymnasium import spaces
from gymnasium.utils import EzPickle
from pettingzoo import ParallelEnv


def box(*shape, dtype=np.float32):
    """Numbers from 0 to 100."""
    return spaces.Box(0, 100, shape, dtype)


def noop(team, num_envs=1):
    """The first action, or zero, for everybody in all sub-environments."""
    spec = team.spec
    if spec.action_kind == "discrete":
        return np.zeros((num_envs, spec.num_agents), np.int64)
    return np.zeros((num_envs, spec.num_agents, spec.num_actions), np.float32)


def play(team, num_steps=1):
    """Result of the last of so many steps after a reset."""
    team.reset(seed=0)
    for _ in range(num_steps):
        result = team.step(noop(team))
    return result


class Returned:
    """What a step is about to return; a test's ``tamper`` changes it in place."""

    def __init__(self, env):
        names = env.possible_agents
        self.obs = {name: env.sample_obs(name) for name in names}
        self.rewards = dict.fromkeys(names, 1.0)
        self.terminated = dict.fromkeys(names, False)
        self.truncated = dict.fromkeys(names, False)
        self.infos = {name: {} for name in names}


class FakeTeam(ParallelEnv):
    """Observation entries are ``step + index / 10``; the episode is cut after ``length`` steps."""

    metadata = {"name": "fake", "render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        agents: tuple = ("a", "b"),
        obs_spaces: dict | None = None,
        action_spaces: dict | None = None,
        length: int = 3,
        tamper: Callable | None = None,
        state: Callable | None = None,
    ):
        self.possible_agents = list(agents)
        self.agents = []
        box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.obs_spaces = {name: box for name in agents} | (obs_spaces or {})
        self.act_spaces = {name: spaces.Discrete(3) for name in agents} | (action_spaces or {})
        self.length = length
        self.tamper = tamper or (lambda env, returned: None)
        if state is not None:
            self.state = lambda: state(self)
        self.step_count = 0
        self.seeds = []
        self.received = []
        self.is_closed = False
        self.render_mode = "rgb_array"

    def observation_space(self, agent):
        return self.obs_spaces[agent]

    def action_space(self, agent):
        return self.act_spaces[agent]

    def sample_obs(self, name):
        space = self.obs_spaces[name]
        value = self.step_count + self.possible_agents.index(name) / 10
        if isinstance(space, spaces.Dict):
            inner = space["observation"]
            mask = np.ones(self.act_spaces[name].n, np.int8)
            return {"observation": np.full(inner.shape, value, inner.dtype), "action_mask": mask}
        if isinstance(space, spaces.Discrete):
            return self.step_count % space.n
        return np.full(space.shape, value, space.dtype)

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        self.step_count = 0
        self.agents = list(self.possible_agents)
        returned = Returned(self)
        self.tamper(self, returned)
        return returned.obs, returned.infos

    def step(self, actions):
        self.received.append(actions)
        self.step_count += 1
        returned = Returned(self)
        if self.step_count >= self.length:
            returned.truncated = dict.fromkeys(self.possible_agents, True)
            self.agents = []
        self.tamper(self, returned)
        return (
            returned.obs,
            returned.rewards,
            returned.terminated,
            returned.truncated,
            returned.infos,
        )

    def render(self):
        return np.zeros((4, 4, 3), np.uint8)

    def close(self):
        self.is_closed = True


class Countdown(ParallelEnv):
    """Plain enough to pickle: a counter and a generator, both needed to continue."""

    metadata = {"name": "countdown", "render_modes": []}  # noqa: RUF012

    def __init__(self):
        self.possible_agents = ["a", "b"]
        self.agents = []
        self.space = spaces.Box(-1.0, 9.0, (2,), np.float32)
        self.choice = spaces.Discrete(2)
        self.left = 0
        self.rng = np.random.default_rng(0)

    def observation_space(self, agent):
        return self.space

    def action_space(self, agent):
        return self.choice

    def observe(self):
        return {
            name: np.array([self.left, self.rng.random()], np.float32)
            for name in self.possible_agents
        }

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.left = 4
        return self.observe(), {name: {} for name in self.agents}

    def step(self, actions):
        self.left -= 1
        names = self.possible_agents
        is_over = self.left == 0
        if is_over:
            self.agents = []
        reward = float(self.rng.random())
        return (
            self.observe(),
            dict.fromkeys(names, reward),
            dict.fromkeys(names, is_over),
            dict.fromkeys(names, False),
            {name: {} for name in names},
        )


class ForgetfulCountdown(Countdown, EzPickle):
    """Pickles as its constructor's arguments: a copy would forget where it is."""

    def __init__(self):
        EzPickle.__init__(self)
        Countdown.__init__(self)
