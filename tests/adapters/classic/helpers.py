"""Small configurations, comparisons and environments that the tests of the RLlib side share."""

import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer import AgentMixerConfig

SMALL_NETWORKS = {"hidden_size": 16, "modifier_width": 8, "critic_hidden": (16,)}


def tiny(env="predator_prey", *, num_envs=4, env_config=None, config_class=None, **training):
    """A configuration that trains an iteration in a fraction of a second on the driver."""
    config = (config_class or AgentMixerConfig)()
    networks = {k: v for k, v in SMALL_NETWORKS.items() if k in config.own_settings()}
    small = {"train_batch_size": 64, "num_epochs": 1}
    sampling = {}
    if config.entry.data == "replay":
        small = {"train_batch_size": 8, "num_steps_sampled_before_learning_starts": 0}
        sampling = {"rollout_fragment_length": 16}
    settings = small | networks | training
    config = (
        config.environment(env, env_config=env_config or {})
        .env_runners(num_envs_per_env_runner=num_envs, **sampling)
        .training(**settings)
        .evaluation(evaluation_duration=4)
        .fault_tolerance(delay_between_env_runner_restarts_s=0)
        # RLlib's usage monitor sleeps 0.7 s when it is stopped.
        .debugging(seed=1, log_sys_usage=False)
    )
    config.model["max_seq_len"] = 5
    return config


def learner_stats(result):
    return result["info"]["learner"]["default_policy"]["learner_stats"]


def weights_of(algorithm):
    """Copied weights: RLlib's ``get_weights`` returns views that training changes."""
    return copy.deepcopy(algorithm.team_policy.get_weights())


def training_state(algorithm):
    """State that determines further training, apart from what workers sample next."""
    policy = algorithm.team_policy
    return {
        "weights": weights_of(algorithm),
        "learner": policy.learner.state_dict(),
        "shuffle": policy.generator.get_state(),
        "schedules": policy.learner.current,
        "temperature": getattr(policy.module, "temperature", None),
        "kl_coeff": getattr(policy.learner, "kl_coeff", None),
        "counters": dict(algorithm._counters),
        "iteration": algorithm.iteration,
        "num_grad_updates": policy.num_grad_updates,
    }


def measured(result):
    """Returns and learning metrics of an iteration's result, without times."""
    runners = result["env_runners"]
    returns = {name: runners[name] for name in ("episode_return_mean", "episode_len_mean")}
    return {**returns, **learner_stats(result)}


def differences(a, b, path=""):
    """Paths at which two nested structures are not bit-equal."""
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{path}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [line for key in a for line in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{path}: lengths {len(a)} and {len(b)}"]
        pairs = enumerate(zip(a, b, strict=True))
        return [line for i, (x, y) in pairs for line in differences(x, y, f"{path}/{i}")]
    if isinstance(a, torch.Tensor):
        a, b = a.numpy(), b.numpy()
    if isinstance(a, (np.ndarray, float)):
        return [] if np.array_equal(a, b, equal_nan=True) else [f"{path}: {a} and {b}"]
    return [] if a == b else [f"{path}: {a!r} and {b!r}"]


def outputs_of(folder):
    """All rows that RLlib's JSON writer put into a folder, batch by batch."""
    lines = [line for path in folder.rglob("*.json") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


class Counter(ParallelEnv):
    """Two agents count steps; the episode terminates after ``length``, reward is the count.

    Observation and state hold the count. An environment that is asked to ``raise_at`` a step
    of the episode does so as often as the list ``failures`` (shared by all instances) says, or
    once if it can create the file ``flag``. Steps hang while the file ``hang`` exists.
    """

    metadata = {"name": "counter", "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        length=3,
        low=-1.0,
        high=1.0,
        continuous=False,
        raise_at=None,
        failures=None,
        flag=None,
        log=None,
        hang=None,
    ):
        self.possible_agents = ["a", "b"]
        self.agents = []
        self.length = length
        self.space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.choice = spaces.Box(low, high, (1,), np.float32) if continuous else spaces.Discrete(2)
        self.raise_at = raise_at
        self.failures = [] if failures is None else failures
        self.flag = flag
        self.log = [] if log is None else log
        self.hang = hang
        self.count = 0

    def observation_space(self, agent):
        return self.space

    def action_space(self, agent):
        return self.choice

    def state(self):
        return np.array([self.count], np.float32)

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.count = 0
        return self._observations(), {name: {} for name in self.agents}

    def _observations(self):
        return {name: np.array([self.count], np.float32) for name in self.possible_agents}

    def _fail(self):
        if self.failures:
            raise RuntimeError(self.failures.pop())
        if self.flag is not None and not Path(self.flag).exists():
            Path(self.flag).touch()
            raise RuntimeError("the only failure")

    def step(self, actions):
        self.log.append(actions)
        while self.hang is not None and Path(self.hang).exists():
            time.sleep(0.05)
        self.count += 1
        if self.count == self.raise_at:
            self._fail()
        is_over = self.count == self.length
        if is_over:
            self.agents = []
        names = self.possible_agents
        return (
            self._observations(),
            dict.fromkeys(names, float(self.count)),
            dict.fromkeys(names, is_over),
            dict.fromkeys(names, False),
            {name: {} for name in names},
        )


class Places(Counter):
    """Its episode is as long as its place among others."""

    def __init__(self, config):
        assert config == {"some": 1}
        super().__init__(length=2 + config.vector_index + 10 * config.worker_index)


def counter(config):
    """Constructor in RLlib's form: takes the whole ``env_config``."""
    return Counter(**config)


class SlowCounter(Counter):
    """Steps take so long that a worker can be killed while it samples."""

    def step(self, actions):
        time.sleep(0.005)
        return super().step(actions)


def slow_counter(config):
    return SlowCounter(**config)


def make_decisive(algorithm):
    """Untrained policies hardly depend on what they read; larger weights let a test see it."""
    network = algorithm.team_policy.module
    with torch.no_grad():
        for part in (network.individual_policies, network.policy_modifier):
            for parameter in part.parameters():
                parameter.mul_(3.0)
    return algorithm


class Failing(ParallelEnv):
    """Two agents, six steps; in every second episode something happens in step 3."""

    metadata = {"name": "failing", "render_modes": []}  # noqa: RUF012

    def __init__(self, failure="crash"):
        self.possible_agents = ["a", "b"]
        self.agents = []
        self.failure = failure
        self.box, self.choice = spaces.Box(-9.0, 9.0, (4,), np.float32), spaces.Discrete(2)
        self.episode = 0

    def observation_space(self, agent):
        return self.box

    def action_space(self, agent):
        return self.choice

    def observe(self, value=0.0):
        return {name: np.full(4, self.time + value, np.float32) for name in self.possible_agents}

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.time = 0
        self.episode += 1
        return self.observe(), {name: {} for name in self.agents}

    def step(self, actions):
        self.time += 1
        names, value = self.possible_agents, 0.0
        if self.time == 3 and self.episode % 2 == 0:
            if self.failure == "crash":
                raise RuntimeError("the bridge fell")
            if self.failure == "hang":
                time.sleep(60)
            value = np.nan
        is_over = self.time == 6
        if is_over:
            self.agents = []
        flags = dict.fromkeys(names, is_over), dict.fromkeys(names, False)
        return self.observe(value), dict.fromkeys(names, 1.0), *flags, {n: {} for n in names}


def failing(failure="crash"):
    return Failing(failure)
