"""Fixtures of the environment tests: fakes, and generators whose draws are shared."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv


def _load_helper(file_name):
    # The test modules import `envs_test_...`: names of their own, so that snapshots find
    # them and they do not clash with the helpers of another folder.
    name = f"envs_test_{file_name}"
    if name not in sys.modules:
        path = Path(__file__).with_name(f"{file_name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


fakes = _load_helper("fakes")
_load_helper("scenarios")
_load_helper("skirmish_scenes")


class RecordingGenerator:
    """A numpy generator that keeps what it drew."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)
        self.drawn = []

    def begin(self, rows):
        """Episodes have no streams of their own here."""

    def of(self, rows):
        return self

    def random(self, size, dtype=np.float64):
        return self._keep("random", self.generator.random(size, dtype=dtype))

    def integers(self, high, size, dtype):
        return self._keep("integers", self.generator.integers(high, size=size, dtype=dtype))

    def _keep(self, kind, values):
        self.drawn.append((kind, values.copy()))
        return values

    def take(self):
        drawn, self.drawn = self.drawn, []
        return drawn


class ScriptedGenerator:
    """Returns the arrays that a test put in, and insists on their shape."""

    def __init__(self):
        self.queue = []

    def begin(self, rows):
        """Episodes have no streams of their own here."""

    def of(self, rows):
        return self

    def random(self, size, dtype=np.float64):
        return self._next(size)

    def integers(self, high, size, dtype):
        return self._next(size)

    def _next(self, size):
        values = self.queue.pop(0)
        assert values.shape == (size if isinstance(size, tuple) else (size,))
        return values


def check_forms_agree(single_envs, vector, choose_actions, num_steps, seed):
    """Plays both forms on the same draws and compares everything; returns the steps seen."""
    names = vector.spec.agents
    recorder = vector._rng = RecordingGenerator(seed)
    for env in single_envs:
        env.np_random = ScriptedGenerator()
    observation = vector.reset()
    _hand_out(recorder, single_envs, range(len(single_envs)))
    firsts = [env.reset()[0] for env in single_envs]
    _assert_same(observation, single_envs, firsts, range(len(single_envs)), names)
    steps = []
    for _ in range(num_steps):
        actions = choose_actions(vector)
        result = vector.step(actions)
        ended = np.flatnonzero(result.terminated | result.truncated)
        _hand_out(recorder, single_envs, ended)
        seen = []
        for index, env in enumerate(single_envs):
            obs, rewards, terminated, truncated, _ = env.step(
                dict(zip(names, actions[index], strict=True))
            )
            assert set(rewards.values()) == {rewards[names[0]]}
            assert rewards[names[0]] == pytest.approx(result.reward[index], abs=1e-5)
            assert set(terminated.values()) == {bool(result.terminated[index])}
            assert set(truncated.values()) == {bool(result.truncated[index])}
            assert bool(env.agents) == (index not in ended)
            seen.append(obs)
        everyone = range(len(single_envs))
        _assert_same(result.final_observation, single_envs, seen, everyone, names)
        firsts = {index: single_envs[index].reset()[0] for index in ended}
        _assert_same(result.observation, single_envs, firsts, ended, names)
        assert all(not env.np_random.queue for env in single_envs), "a draw was left over"
        steps.append(result)
    return steps


def _hand_out(recorder, single_envs, ended):
    for kind, values in recorder.take():
        # Integers are drawn by all sub-environments in a step, fractions at resets.
        receivers = range(len(single_envs)) if kind == "integers" else ended
        for row, index in enumerate(receivers):
            single_envs[index].np_random.queue.append(values[row])


def _assert_same(observation, single_envs, seen, indices, names):
    for index in indices:
        rows = np.stack([seen[index][name] for name in names])
        np.testing.assert_array_equal(observation.obs[index], rows)
        np.testing.assert_array_equal(observation.state[index], single_envs[index].state())
        assert observation.alive[index].all()
        assert observation.action_mask[index].all()


def check_continuation(make, num_before=5, num_after=60):
    """A snapshot must continue bit for bit, in the same object and in a fresh one."""
    first = make()
    first.reset(seed=3)
    for step in range(num_before):
        first.step(random_actions(first, step))
    snapshot = first.get_state()
    expected = [_packed(first.step(random_actions(first, step))) for step in range(num_after)]
    fresh = make()
    fresh.reset(seed=99)
    for env in (fresh, first):
        env.set_state(snapshot)
        again = [_packed(env.step(random_actions(env, step))) for step in range(num_after)]
        assert again == expected


def random_actions(vector, step):
    rng = np.random.default_rng(step)
    spec = vector.spec
    if spec.action_kind == "discrete":
        sizes = np.asarray(spec.action_sizes)
        return rng.integers(sizes, size=(vector.num_envs, spec.num_agents))
    shape = (vector.num_envs, spec.num_agents, spec.num_actions)
    return rng.uniform(-1, 1, shape).astype(np.float32)


def _packed(result):
    """Everything in a step as bytes, for bit-for-bit comparison."""
    arrays = [result.reward, result.terminated, result.truncated]
    for observation in (result.observation, result.final_observation):
        arrays += [observation.obs, observation.state, observation.action_mask, observation.alive]
    return tuple(np.ascontiguousarray(array).tobytes() for array in arrays)


class Helpers:
    """Shared by the test modules of this folder as the fixture ``helpers``."""

    RecordingGenerator = RecordingGenerator
    ScriptedGenerator = ScriptedGenerator
    check_forms_agree = staticmethod(check_forms_agree)
    check_continuation = staticmethod(check_continuation)
    random_actions = staticmethod(random_actions)
    packed = staticmethod(_packed)


@pytest.fixture(scope="session")
def helpers():
    return Helpers


@pytest.fixture
def team():
    """Builds a team of one fake environment from the fake's arguments."""

    def build(team_reward="shared", **arguments):
        return LoopVectorEnv(
            lambda: fakes.FakeTeam(**arguments), 1, name="fake", team_reward=team_reward
        )

    return build


@pytest.fixture
def tampered(team):
    """A team whose fake changes what it returns in one step (0 is the reset)."""

    def build(step, change, **arguments):
        def tamper(env, returned):
            if env.step_count == step:
                change(env, returned)

        return team(tamper=tamper, **arguments)

    return build
