"""What holds for every registered environment: determinism, shapes, pictures."""

import numpy as np
import pytest
from gymnasium import spaces

from rllib_agentmixer.envs import ENVS, make_env, make_vector_env

SKIRMISHES = ("skirmish", "skirmish_3v3", "skirmish_5v5", "skirmish_10v10")
RANDOM = (
    *("predator_prey", "continuous_game", "bridge", "memory_game", "simple_spread"),
    *SKIRMISHES,
)
STARTS = {"bridge": 2, "memory_game": 4}
"""First states there are, where they are few; elsewhere no two copies start alike."""


@pytest.fixture(params=sorted(ENVS))
def name(request):
    if ENVS[request.param].extra == "mpe":
        pytest.importorskip("mpe2")
    return request.param


def trajectory(env, seed, num_steps=40):
    """Observations, rewards and flags of several episodes, as bytes."""
    rng = np.random.default_rng(0)
    obs, _ = env.reset(seed=seed)
    seen = [obs]
    for _ in range(num_steps):
        actions = {agent: random_action(env.action_space(agent), rng) for agent in env.agents}
        obs, rewards, terminated, truncated, _ = env.step(actions)
        seen += [obs, rewards, terminated, truncated]
        if not env.agents:
            obs, _ = env.reset()
            seen.append(obs)
    return [
        {agent: np.asarray(value).tobytes() for agent, value in group.items()} for group in seen
    ]


def random_action(space, rng):
    if isinstance(space, spaces.Discrete):
        return int(rng.integers(space.n))
    return rng.uniform(space.low, space.high).astype(space.dtype)


def test_one_copy_is_determined_by_its_seed(name):
    config = {"max_steps": 15} if name == "predator_prey" else {}
    first, second = make_env(name, **config), make_env(name, **config)
    assert trajectory(first, seed=11) == trajectory(second, seed=11)
    # Seeding again starts over, whatever happened before.
    assert trajectory(first, seed=11) == trajectory(second, seed=11)
    if name in RANDOM:
        assert trajectory(first, seed=11) != trajectory(second, seed=12)


def test_the_batched_form_is_determined_by_its_seed(name, helpers):
    def run(seed):
        vector = make_vector_env(name, 3)
        vector.reset(seed=seed)
        return [helpers.packed(vector.step(helpers.random_actions(vector, t))) for t in range(40)]

    assert run(11) == run(11)
    if name in RANDOM:
        assert run(11) != run(12)


def test_copies_of_a_random_environment_differ(name):
    if name in RANDOM:
        state = make_vector_env(name, 20).reset(seed=0).state
        assert len({row.tobytes() for row in state}) == STARTS.get(name, 20)


def test_every_environment_fits_its_spec(name, helpers):
    vector = make_vector_env(name, 2)
    spec = vector.spec
    assert spec.name == name
    assert spec.version == ENVS[name].version
    assert vector.num_envs == 2
    for seen in (vector.reset(seed=0), vector.step(helpers.random_actions(vector, 0)).observation):
        assert seen.obs.shape == (2, spec.num_agents, spec.obs_size)
        assert seen.state.shape == (2, spec.state_size)
        assert seen.action_mask.shape == (2, spec.num_agents, spec.num_actions)
        assert seen.alive.shape == (2, spec.num_agents)
        assert (seen.obs.dtype, seen.state.dtype) == (np.float32, np.float32)
        assert (seen.action_mask.dtype, seen.alive.dtype) == (np.bool_, np.bool_)
    vector.close()


def test_every_entry_has_a_summary_and_can_draw(name):
    assert ENVS[name].summary
    env = make_env(name, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape[2] == 3
    env.close()
