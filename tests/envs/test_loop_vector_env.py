"""B sub-environments in a loop: crashes, snapshots, pictures, wrapped environments."""

import logging
import pickle

import numpy as np
import pytest
from envs_test_fakes import Countdown, FakeTeam, ForgetfulCountdown, box, noop, play

from rllib_agentmixer.envs.games.matrix_game import MatrixGame
from rllib_agentmixer.envs.games.predator_prey import PredatorPrey
from rllib_agentmixer.envs.stepping import snapshots
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.errors import EnvContractError

# Crashes.


def crash(env, returned):
    raise RuntimeError("simulator gone")


def test_a_crash_stops_and_names_copy_step_and_cause(tampered):
    with pytest.raises(
        EnvContractError, match=r"environment 0 of fake, step 2.*simulator gone"
    ) as info:
        play(tampered(2, crash), 2)
    assert isinstance(info.value.__cause__, RuntimeError)


@pytest.fixture
def fragile():
    """Three sub-environments; the middle one crashes as told, its replacements do not."""

    def build(change, when, **arguments):
        made = []

        def make_one():
            number = len(made)

            def tamper(env, returned):
                if number == 1 and when(env):
                    change(env, returned)

            made.append(FakeTeam(tamper=tamper, length=4))
            return made[-1]

        built = LoopVectorEnv(make_one, 3, name="fake", restart_failed=True, **arguments)
        return built, made

    return build


def send_nan(env, returned):
    returned.obs["b"] = np.array([0, np.nan], np.float32)


def exit_process(env, returned):
    raise SystemExit(1)


@pytest.mark.parametrize("change", [crash, exit_process, send_nan])
def test_a_failed_copy_is_replaced_and_its_row_marked(fragile, caplog, change):
    built, made = fragile(change, lambda env: env.step_count == 2)
    built.reset(seed=0)
    built.step(noop(built, 3))
    with caplog.at_level(logging.WARNING):
        result = built.step(noop(built, 3))
    np.testing.assert_array_equal(result.faulty, [False, True, False])
    np.testing.assert_array_equal(result.truncated, [False, True, False])
    assert not result.terminated.any()
    np.testing.assert_array_equal(result.reward, [1, 0, 1])
    np.testing.assert_array_equal(result.agent_rewards, [[1, 1], [0, 0], [1, 1]])
    # The last good observation is that of step 1; the others have reached step 2.
    np.testing.assert_allclose(result.final_observation.obs[:, 0, 0], [2, 1, 2])
    np.testing.assert_allclose(result.observation.obs[:, 0, 0], [2, 0, 2])
    assert "sub-environment 1 of fake, step 2" in caplog.text
    assert [env.is_closed for env in made] == [False, True, False, False]
    assert isinstance(made[3].seeds[-1], int)
    for _ in range(4):
        result = built.step(noop(built, 3))
        assert not result.faulty.any()


def test_a_copy_that_fails_in_an_automatic_reset_keeps_the_episode_it_finished(fragile):
    built, made = fragile(crash, lambda env: env.step_count == 0 and len(env.seeds) > 1)
    built.reset(seed=0)
    for _ in range(4):
        result = built.step(noop(built, 3))
    assert len(made) == 4
    assert result.truncated.all()
    assert not result.faulty.any()
    np.testing.assert_allclose(result.final_observation.obs[:, 0, 0], [4, 4, 4])
    np.testing.assert_allclose(result.observation.obs[:, 0, 0], [0, 0, 0])


def test_replacements_are_bounded():
    def tamper(env, returned):
        if env.step_count == 1:
            raise RuntimeError("always")

    built = LoopVectorEnv(lambda: FakeTeam(tamper=tamper), 1, restart_failed=True, max_restarts=3)
    built.reset(seed=0)
    for _ in range(3):
        assert built.step(noop(built)).faulty[0]
    with pytest.raises(EnvContractError, match=r"always.*gave up after 3 restarts"):
        built.step(noop(built))


def test_a_replacement_that_fails_to_start_is_replaced_too():
    built_so_far = []

    def make_one():
        built_so_far.append(1)
        if len(built_so_far) in (2, 3):
            raise OSError("port in use")
        broken = len(built_so_far) == 1
        return FakeTeam(tamper=lambda e, r: crash(e, r) if broken and e.step_count else None)

    built = LoopVectorEnv(make_one, 1, restart_failed=True)
    built.reset(seed=0)
    assert built.step(noop(built)).faulty[0]
    assert len(built_so_far) == 4
    assert not built.step(noop(built)).faulty[0]


def test_an_interrupt_is_never_swallowed():
    def interrupt(env, returned):
        if env.step_count:
            raise KeyboardInterrupt

    built = LoopVectorEnv(lambda: FakeTeam(tamper=interrupt), 1, restart_failed=True)
    built.reset(seed=0)
    with pytest.raises(KeyboardInterrupt):
        built.step(noop(built))


# Snapshots, pictures, wrappers.


def test_a_snapshot_continues_bit_for_bit(helpers):
    helpers.check_continuation(lambda: LoopVectorEnv(Countdown, 3))
    helpers.check_continuation(lambda: LoopVectorEnv(lambda: PredatorPrey(max_steps=20), 2))


def test_a_crash_right_after_a_snapshot_was_loaded_shows_the_snapshots_observation():
    first = LoopVectorEnv(Countdown, 2, restart_failed=True)
    seen = first.reset(seed=0).obs.copy()
    fresh = LoopVectorEnv(Countdown, 2, restart_failed=True)
    fresh.reset(seed=1)
    fresh.set_state(first.get_state())
    fresh._envs[1].env.rng = None
    result = fresh.step(noop(fresh, 2))
    np.testing.assert_array_equal(result.faulty, [False, True])
    np.testing.assert_array_equal(result.final_observation.obs[1], seen[1])


def test_an_environment_that_cannot_be_copied_has_no_snapshot(team):
    built = team(tamper=lambda env, returned: None)  # a lambda does not pickle
    built.reset(seed=0)
    assert built.get_state() is None
    built.set_state(None)


def test_an_environment_that_pickles_as_its_arguments_is_copied_as_it_stands(helpers):
    helpers.check_continuation(lambda: LoopVectorEnv(ForgetfulCountdown, 2))


def test_surfaces_fonts_and_clocks_are_copied_along():
    pygame = pytest.importorskip("pygame")
    from pygame import freetype

    surface = pygame.Surface((30, 20))
    surface.fill((10, 20, 30))
    freetype.init()
    parts = [surface, freetype.Font(None, 13), pygame.time.Clock()]
    found, font, clock = pickle.loads(snapshots.dump(parts))  # noqa: S301  our own bytes
    assert found.get_size() == (30, 20)
    assert found.get_at((3, 3))[:3] == (10, 20, 30)
    assert font.size == 13
    assert isinstance(clock, type(parts[2]))
    assert len(snapshots.dump(pygame.Surface((1000, 1000)))) < 40_000


def test_equal_large_arrays_are_stored_once_and_stay_apart():
    table = np.arange(2.0**16).reshape(2, -1)
    parts = [table.copy() for _ in range(9)] + [table.astype(">f4"), np.asfortranarray(table)]
    parts.append(parts[0])  # twice in one place of the environment
    dumped = snapshots.dump(parts)
    assert len(dumped) < 2.1 * table.nbytes + parts[9].nbytes
    found = pickle.loads(dumped)  # noqa: S301  our own bytes
    for array, before in zip(found, parts, strict=True):
        assert array.dtype == before.dtype
        np.testing.assert_array_equal(array, before)
    assert found[0] is found[11]
    found[0][:] = 0
    assert (found[1] == table).all()


def test_checkpoints_that_grow_large_are_reported_once(monkeypatch, caplog):
    monkeypatch.setattr(snapshots, "LARGE_SNAPSHOT_BYTES", 100)
    monkeypatch.setattr(snapshots, "_reported", set())
    built = LoopVectorEnv(Countdown, 3, name="big")
    built.reset(seed=0)
    built.get_state()
    built.get_state()
    assert caplog.text.count("holds the 3 sub-environments of big, 0 MB") == 1


def test_a_snapshot_of_another_number_of_copies_is_refused():
    two, three = LoopVectorEnv(Countdown, 2), LoopVectorEnv(Countdown, 3)
    two.reset(seed=0)
    with pytest.raises(EnvContractError, match=r"2 sub-environments.*3"):
        three.set_state(two.get_state())


def test_pictures_come_from_the_copy_and_only_if_it_draws(team):
    built = team()
    assert built.render().shape == (4, 4, 3)
    built._envs[0].env.render_mode = None
    assert built.render() is None
    built._envs[0].env.render_mode = "rgb_array"
    built._envs[0].env.render = lambda: "text"
    assert built.render() is None


def test_close_closes_all_sub_environments():
    built = LoopVectorEnv(FakeTeam, 3)
    built.close()
    assert all(team_env.env.is_closed for team_env in built._envs)


def test_the_loop_over_native_copies_equals_the_native_batched_form(helpers):
    """Rewards and observations go through TeamEnv unchanged."""
    loop = LoopVectorEnv(lambda: PredatorPrey("7x7", max_steps=15), 2)
    plain = [PredatorPrey("7x7", max_steps=15) for _ in range(2)]
    loop.reset(seed=4)
    for env, team_env in zip(plain, loop._envs, strict=True):
        env.reset(seed=team_env.seed)
    for step in range(50):
        actions = helpers.random_actions(loop, step)
        result = loop.step(actions)
        for index, env in enumerate(plain):
            names = env.possible_agents
            obs, rewards, *_ = env.step(dict(zip(names, actions[index], strict=True)))
            rows = np.stack([obs[name] for name in names])
            np.testing.assert_array_equal(result.final_observation.obs[index], rows)
            np.testing.assert_array_equal(result.final_observation.state[index], env.state())
            assert result.reward[index] == np.float32(rewards[names[0]])
            if not env.agents:
                env.reset(seed=loop._envs[index].seed)


def test_an_environment_wrapped_by_supersuit_works():
    supersuit = pytest.importorskip("supersuit")
    ragged = {"a": box(4), "b": box(2)}

    def make_one():
        return supersuit.agent_indicator_v0(
            supersuit.pad_observations_v0(FakeTeam(obs_spaces=ragged))
        )

    built = LoopVectorEnv(make_one, 2, name="wrapped")
    assert built.spec.obs_sizes == (6, 6)
    built.reset(seed=0)
    for _ in range(3):
        result = built.step(noop(built, 2))
    assert result.truncated.all()
    # The indicator takes the upper bound of the space.
    np.testing.assert_allclose(result.final_observation.obs[0, 0], [3, 3, 3, 3, 100, 0])
    np.testing.assert_allclose(result.final_observation.obs[0, 1], [3.1, 3.1, 0, 0, 0, 100])


def test_supersuits_frame_stack_of_a_native_environment_works():
    supersuit = pytest.importorskip("supersuit")
    built = LoopVectorEnv(lambda: supersuit.frame_stack_v1(PredatorPrey(), 2), 1)
    assert built.spec.obs_sizes == (56, 56)
    assert built.spec.state_size == 8
    built.reset(seed=0)
    assert built.step(noop(built)).observation.obs[0, 0, -1] == pytest.approx(1 / 128)


def test_a_repeated_matrix_game_pays_its_optimum_through_the_loop():
    built = LoopVectorEnv(lambda: MatrixGame("climbing", repeat=25), 1)
    built.reset(seed=0)
    steps = [built.step(np.array([[2, 0]])) for _ in range(25)]
    assert sum(step.reward[0] for step in steps) == 275
    assert steps[-1].terminated[0]
