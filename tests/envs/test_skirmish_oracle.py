"""Skirmish against SMAX itself (jaxmarl 0.2.0): one step from the same situation, many times.

Chance is pinned to its mean on both sides. Trajectories would drift apart by the order of
float32 sums wherever units crowd, so SMAX starts every step from our situation. What differs
on purpose (numbered in ``rllib_agentmixer/envs/games/skirmish/skirmish.py``) is translated or
left out here.

    pip install jaxmarl==0.2.0 jax==0.10.2
    pytest -m simulator tests/envs/test_skirmish_oracle.py
"""

import numpy as np
import pytest
from envs_test_skirmish_scenes import FixedDraws

from rllib_agentmixer.envs.games.skirmish.rules import (
    MAP_SIZE,
    MOVES,
    NUM_MOVES,
    STOP,
    type_numbers,
)
from rllib_agentmixer.envs.games.skirmish.script import script_actions
from rllib_agentmixer.envs.games.skirmish.vector import NO_UNIT, VectorSkirmish

pytestmark = pytest.mark.simulator

TOLERANCE = 1e-3
SIZES = [(3, 3), (5, 5), (10, 10), (4, 6), (6, 4)]
NUM_ENVS, STEPS = 16, 60
FEATURES = 13


class Oracle:
    """SMAX and its scripted enemies for all sub-environments of one of our environments."""

    def __init__(self, env):
        import jax
        from jaxmarl.environments.smax import heuristic_enemy, smax_env

        self.env = env
        self.N, self.M = env.settings.num_allies, env.settings.num_enemies
        # Deviation 5: SMAX compares the time before the step with its limit.
        limit = env.settings.max_steps - 1
        self.smax = smax_env.SMAX(num_allies=self.N, num_enemies=self.M, max_steps=limit)
        self.State, self.Memory = smax_env.State, heuristic_enemy.HeuristicPolicyState
        keys = jax.random.split(jax.random.key(0), NUM_ENVS)
        step = jax.jit(jax.vmap(self.smax.step_env))
        self.step = lambda state, actions: step(keys, state, actions)
        self.masks = jax.jit(jax.vmap(self.smax.get_avail_actions))
        self.observe = jax.jit(jax.vmap(self.smax.get_obs))
        one = heuristic_enemy.create_heuristic_policy(self.smax, team=1)
        every = jax.vmap(jax.vmap(one, in_axes=(None, 0, 0)), in_axes=(None, 0, 0))
        self.script = jax.jit(lambda memory, obs: every(jax.random.key(0), memory, obs))

    def state(self):
        """Our situation as SMAX's."""
        import jax.numpy as jnp

        env = self.env
        actions = self.numbered(env._actions)
        attacks = actions >= NUM_MOVES
        moves = np.array(MOVES)[np.where(attacks, STOP, actions)]
        teams = np.arange(self.N + self.M) >= self.N
        return self.State(
            unit_positions=jnp.asarray(env._places.transpose(2, 1, 0), jnp.float32),
            unit_alive=jnp.asarray(env._health.T > 0),
            unit_teams=jnp.asarray(np.tile(teams, (NUM_ENVS, 1)), jnp.float32),
            unit_health=jnp.asarray(env._health.T, jnp.float32),
            unit_types=jnp.asarray(env._types.T, jnp.uint8),
            unit_weapon_cooldowns=jnp.asarray(env._cooldown.T, jnp.float32),
            prev_movement_actions=jnp.asarray(moves, jnp.float32),
            prev_attack_actions=jnp.asarray(np.where(attacks, actions, 0), jnp.int32),
            step=jnp.asarray(env._time),
            done=jnp.zeros(NUM_ENVS, bool),
        )

    def numbered(self, actions):
        """Our actions [U, B] as SMAX's [B, U]: its enemies count their targets backwards."""
        enemies = actions[self.N :]
        backwards = 2 * NUM_MOVES + self.N - 1 - enemies
        enemies = np.where(enemies >= NUM_MOVES, backwards, enemies)
        return np.concatenate([actions[: self.N], enemies]).T

    def next_step(self, state, actions):
        by_name = {name: actions[:, index] for index, name in enumerate(self.smax.agents)}
        _, after, rewards, dones, _ = self.step(state, by_name)
        return after, np.asarray(rewards["ally_0"]), np.asarray(dones["__all__"])

    def ally_rows(self, group):
        return np.stack([np.asarray(group[f"ally_{index}"]) for index in range(self.N)], axis=1)

    def enemy_actions(self, state):
        """SMAX's script on what its enemies see; pursues the closest, not a drawn one."""
        import jax.numpy as jnp

        seen = self.observe(state)
        obs = np.stack([np.asarray(seen[f"enemy_{i}"]) for i in range(self.M)], axis=1).copy()
        foes = obs[..., (self.M - 1) * FEATURES : -10].reshape(NUM_ENVS, self.M, self.N, FEATURES)
        sight = type_numbers("sight_range")[self.env._types[self.N :].T][..., None]
        reach = type_numbers("attack_range")[self.env._types[self.N :].T][..., None]
        distance = np.linalg.norm(foes[..., 1:3], axis=-1) * sight
        distance[foes[..., 0] <= 0] = np.inf
        is_closest = distance == distance.min(axis=-1, keepdims=True)
        keep = is_closest | (distance < reach).any(axis=-1, keepdims=True)
        obs[..., (self.M - 1) * FEATURES : -10] = (foes * keep[..., None]).reshape(
            NUM_ENVS, self.M, -1
        )
        focus = self.env._focus.T
        memory = self.Memory(
            default_target=jnp.asarray(self.env.goals(False).transpose(2, 1, 0), jnp.float32),
            last_attacked_enemy=jnp.asarray(
                np.where(focus == NO_UNIT, NO_UNIT, self.N - 1 - focus), jnp.int32
            ),
        )
        return np.asarray(self.script(memory, jnp.asarray(obs))[0])


@pytest.fixture(scope="module", autouse=True)
def chance_is_pinned():
    """The only uniform numbers of a step are those of the cooldown; they take their mean."""
    pytest.importorskip("jaxmarl")
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    ranges = set()

    def mean(key, shape=(), dtype=float, minval=0.0, maxval=1.0):
        ranges.add((minval, maxval))
        return jnp.full(shape, (minval + maxval) / 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.random, "uniform", mean)
        yield
    assert ranges <= {(-1 / 16, 2 / 16)}


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}v{size[1]}")
def battle(request):
    """Our environment and its oracle; the clocks of some sub-environments are about to run out."""
    N, M = request.param
    env = VectorSkirmish(NUM_ENVS, num_allies=N, num_enemies=M)
    env.reset(seed=5)
    env._time[: NUM_ENVS // 2] = 80
    return env, Oracle(env), np.random.default_rng(6)


def mixed_actions(env, rng):
    """Mostly as the script does, so that there are battles; else anything, legal or not."""
    focus = np.full((env.spec.num_agents, NUM_ENVS), NO_UNIT)
    scripted = script_actions(env.side(True), env.side(False), env.goals(True), focus).T
    anything = rng.integers(env.spec.num_actions, size=scripted.shape)
    return np.where(rng.random(scripted.shape) < 0.7, scripted, anything)


def restart_ended(env, ended, rng):
    rows = np.flatnonzero(ended)
    if rows.size:
        env._restart(rows, rows.size, rng)
        env._observe(rows)


def close(ours, theirs, where=True):
    difference = abs(np.asarray(ours) - np.asarray(theirs))
    assert np.where(where, difference, 0).max() < TOLERANCE


def test_a_step_does_what_smax_does(battle):
    env, oracle, rng = battle
    endings = {"won": 0, "lost": 0, "cut": 0}
    for _ in range(STEPS):
        before = oracle.state()
        reward, terminated, truncated = env._advance(mixed_actions(env, rng), FixedDraws(0.5))
        after, their_reward, their_end = oracle.next_step(before, oracle.numbered(env._actions))
        alive = env._health.T > 0
        np.testing.assert_array_equal(alive, after.unit_alive)
        close(env._health.T, after.unit_health)
        close(env._cooldown.T, after.unit_weapon_cooldowns, alive)
        close(env._places.transpose(2, 1, 0), after.unit_positions, alive[..., None])
        close(reward, their_reward)
        np.testing.assert_array_equal(terminated | truncated, their_end)
        won = alive[:, : env.settings.num_allies].any(axis=1)
        endings["won"] += (terminated & won).sum()
        endings["lost"] += (terminated & ~won).sum()
        endings["cut"] += truncated.sum()
        restart_ended(env, terminated | truncated, rng)
    outnumbered = env.settings.num_allies < env.settings.num_enemies
    assert endings["lost"] > 0
    assert endings["cut"] > 0
    assert endings["won"] > 0 or outnumbered


def test_observations_and_masks_are_smaxs(battle):
    env, oracle, rng = battle
    N, M = oracle.N, oracle.M
    for _ in range(STEPS):
        _, terminated, truncated = env._advance(mixed_actions(env, rng), FixedDraws(0.5))
        env._observe(slice(None))
        state = oracle.state()
        theirs = oracle.ally_rows(oracle.observe(state)).copy()
        # SMAX does not clip who was pushed over the edge; here its targets count backwards.
        theirs[..., -9:-7] = theirs[..., -9:-7].clip(0, 1)
        enemies = theirs[..., (N - 1) * FEATURES : -10].reshape(NUM_ENVS, N, M, FEATURES)
        action = (enemies[..., 5] * (NUM_MOVES + N - 1)).round()
        forwards = (2 * NUM_MOVES + N - 1 - action) / (NUM_MOVES + N - 1)
        enemies[..., 5] = np.where(action >= NUM_MOVES, forwards, 0)
        theirs[..., (N - 1) * FEATURES : -10] = enemies.reshape(NUM_ENVS, N, -1)
        close(env._obs, theirs)
        alive = env._alive
        masks = oracle.ally_rows(oracle.masks(state)).astype(bool)
        np.testing.assert_array_equal(env._mask[alive], masks[alive])
        restart_ended(env, terminated | truncated, rng)


def test_scripted_enemies_act_as_smaxs(battle):
    env, oracle, rng = battle
    compared = attacks = into_edge = 0
    for _ in range(STEPS):
        theirs = oracle.enemy_actions(oracle.state())
        alive = env._health[oracle.N :].T > 0
        kinds = env._types[oracle.N :].T
        moves = np.array(MOVES)[np.minimum(theirs, STOP)] * (theirs < STOP)[..., None]
        strides = 0.5 * type_numbers("speed")[kinds][..., None]
        ends = env._places[:, oracle.N :].transpose(2, 1, 0) + moves * strides
        # Deviation 2: ours turn away from the edge.
        turns = (theirs < STOP) & ((ends <= 0) | (ends >= MAP_SIZE)).any(axis=-1) & alive
        _, terminated, truncated = env._advance(mixed_actions(env, rng), FixedDraws(0.5))
        ours = oracle.numbered(env._actions)[:, oracle.N :]
        same = alive & ~turns
        np.testing.assert_array_equal(ours[same], theirs[same])
        assert (ours[turns] != theirs[turns]).all()
        compared, attacks = compared + same.sum(), attacks + (theirs[same] > STOP).sum()
        into_edge += turns.sum()
        restart_ended(env, terminated | truncated, rng)
    assert compared > 1000
    assert attacks > compared / 10
    assert into_edge < compared / 50
