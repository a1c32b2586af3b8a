"""What holds for every registered environment: determinism, shapes, pictures."""

import numpy as np
import pytest

from rllib_agentmixer.envs import ENVS, make_env, make_vector_env
from rllib_agentmixer.envs.checks.traces import action_mask, random_action

PACKAGES = {
    "butterfly": "pygame",
    "lbf": "lbforaging",
    "mamujoco": "gymnasium_robotics",
    "mpe": "mpe2",
    "openspiel": "pyspiel",
    "rware": "rware",
    "sisl": "pymunk",
    "vmas": "vmas",
}
"""Extra -> what it brings."""

CONFIGS = {
    "predator_prey": {"max_steps": 15},
    "ma_mujoco": {"scenario": "HalfCheetah", "partition": "6x1"},
    "vmas": {"scenario": "balance"},
    "vmas_joint_passage": {"max_steps": 4},
}
"""Arguments that an environment needs, or that make its episodes short."""

STEPS = {"vmas_joint_passage": 6}
"""Steps of a trajectory, where they are slow."""

RANDOM = {
    "predator_prey",
    "continuous_game",
    "bridge",
    "memory_game",
    *(name for name in ENVS if name.startswith("skirmish")),
    *(name for name, entry in ENVS.items() if entry.extra in PACKAGES),
}
STARTS = {
    "bridge": 2,
    "memory_game": 4,
    "coop_box_pushing": 1,
    "knights_archers_zombies": 1,
    "open_spiel": 1,
    "vmas_give_way": 1,
}
"""First states there are, where they are few; elsewhere no two episodes start alike."""

KINDS = {
    (entry.constructor, entry.fixed.get("scenario"), name if entry.extra is None else None): name
    for name, entry in reversed(ENVS.items())
    if entry.install is None
}
"""Own environments, and one row of each third-party constructor and scenario."""


@pytest.fixture(params=sorted(KINDS.values()))
def name(request):
    if ENVS[request.param].extra in PACKAGES:
        pytest.importorskip(PACKAGES[ENVS[request.param].extra])
    return request.param


def single_env(name, **settings):
    return make_env(name, **CONFIGS.get(name, {}), **settings)


def vector_env_of(name, num_envs):
    return make_vector_env(name, num_envs, config=CONFIGS.get(name, {}))


def trajectory(env, seed, num_steps):
    """Observations, rewards and flags of several episodes, as bytes."""
    rng = np.random.default_rng(0)
    obs, infos = env.reset(seed=seed)
    seen = [obs]
    for _ in range(num_steps):
        actions = {
            agent: random_action(
                env.action_space(agent), action_mask(obs[agent], infos.get(agent)), rng
            )
            for agent in env.agents
        }
        obs, rewards, terminated, truncated, infos = env.step(actions)
        seen += [obs, rewards, terminated, truncated]
        if not env.agents:
            obs, infos = env.reset()
            seen.append(obs)
    return [
        {agent: np.asarray(value).tobytes() for agent, value in group.items()} for group in seen
    ]


def test_one_environment_is_determined_by_its_seed(name):
    first, second = single_env(name), single_env(name)
    num_steps = STEPS.get(name, 40)
    assert trajectory(first, 11, num_steps) == trajectory(second, 11, num_steps)
    # Seeding again starts over, whatever happened before.
    assert trajectory(first, 11, num_steps) == trajectory(second, 11, num_steps)
    if name in RANDOM:
        assert trajectory(first, 11, num_steps) != trajectory(second, 12, num_steps)


def test_the_batched_form_is_determined_by_its_seed(name, helpers):
    def run(seed):
        vector = vector_env_of(name, 3)
        vector.reset(seed=seed)
        times = range(STEPS.get(name, 40))
        return [helpers.packed(vector.step(helpers.random_actions(vector, t))) for t in times]

    assert run(11) == run(11)
    if name in RANDOM:
        assert run(11) != run(12)


def test_copies_of_a_random_environment_differ(name):
    if name in RANDOM:
        state = vector_env_of(name, 20).reset(seed=0).state
        assert len({row.tobytes() for row in state}) == STARTS.get(name, 20)


def test_every_environment_fits_its_spec(name, helpers):
    vector = vector_env_of(name, 2)
    spec = vector.spec
    assert spec.name == name
    entry = ENVS[name]
    assert spec.version == entry.version
    assert spec.team_reward == entry.team_reward
    assert entry.actions in ("either", spec.action_kind)
    assert entry.state == spec.state_kind
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
    env = single_env(name, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape[2] == 3
    env.close()
