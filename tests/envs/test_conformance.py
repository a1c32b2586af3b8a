"""check-env: what it finds in good environments and in broken ones, and replays of failures."""

import json
import os
import re
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from envs_test_fakes import Countdown, FakeTeam, play
from gymnasium import spaces

from rllib_agentmixer.cli import cli
from rllib_agentmixer.envs import register_env
from rllib_agentmixer.envs.checks.conformance import CHECKS, check_environment
from rllib_agentmixer.envs.entry import EnvEntry
from rllib_agentmixer.envs.games.predator_prey import PredatorPrey
from rllib_agentmixer.envs.registry import ENVS
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.errors import EnvContractError


def found(env, **options):
    """Verdict and detail by check."""
    findings = check_environment(env, num_steps=30, **options)
    return {finding.check: (finding.verdict, finding.detail) for finding in findings}


def tampered(change, **arguments):
    return lambda: FakeTeam(tamper=change, length=6, **arguments)


def test_a_good_environment_passes_everything():
    report = found(PredatorPrey, config={"max_steps": 9})
    assert list(report) == list(CHECKS)
    assert {verdict for verdict, _ in report.values()} == {"ok"}
    assert "2 agents, observations 28" in report["team"][1]
    assert "3 ended after 9 to 9 steps, 3 by truncation" in report["episodes"][1]


def test_a_crash_in_play_is_the_only_finding():
    def crash(env, returned):
        if env.step_count == 4:
            raise RuntimeError("the bridge fell")

    ((check, (verdict, detail)),) = found(tampered(crash)).items()
    assert (check, verdict) == ("play", "FAIL")
    assert re.search(r"the bridge fell.*step 4 of play with seed 0", detail)


def test_spaces_that_make_no_team_are_the_only_finding():
    report = found(lambda: FakeTeam(action_spaces={"b": spaces.Box(-1, 1, (2,))}))
    assert list(report) == ["play"]
    assert "all Discrete or all Box" in report["play"][1]


def unseeded(env, returned):
    returned.obs["a"] = np.random.default_rng().normal(size=2).astype(np.float32)


def test_an_environment_that_does_not_repeat_is_found():
    verdict, detail = found(tampered(unseeded))["determinism"]
    assert verdict == "FAIL"
    assert "obs differ in step 0" in detail


def test_a_seed_that_changes_nothing_is_noted():
    verdict, detail = found(tampered(lambda *_: None))["determinism"]
    assert verdict == "note"
    assert "reset(seed=...)" in detail


def unequal(env, returned):
    returned.rewards["b"] = 2.0


def test_rewards_that_differ_need_a_word_from_the_user():
    assert found(tampered(unequal))["rewards"][0] == "FAIL"
    verdict, detail = found(tampered(unequal), team_reward="sum")["rewards"]
    assert verdict == "ok"
    assert "returns of random play 18" in detail
    assert "returns of random play 9" in found(tampered(unequal), team_reward="mean")["rewards"][1]


def test_rewards_that_are_no_numbers_are_found():
    def nan(env, returned):
        returned.rewards["a"] = np.nan

    verdict, detail = found(tampered(nan))["rewards"]
    assert verdict == "FAIL"
    assert "not finite" in detail


def test_observations_outside_their_space_are_noted():
    def outside(env, returned):
        returned.obs["b"] = np.zeros(2, np.float64)

    verdict, detail = found(tampered(outside))["spaces"]
    assert (verdict, "'b'" in detail) == ("note", True)


def test_an_agents_list_that_is_the_possible_agents_is_noted():
    class OneList(FakeTeam):
        def reset(self, seed=None, options=None):
            returned = super().reset(seed)
            self.agents = self.possible_agents
            return returned

    assert found(lambda: OneList(length=99))["api"][0] == "note"


def test_observations_that_change_after_they_were_returned_are_noted():
    class Reusing(FakeTeam):
        def sample_obs(self, name):
            self.buffer = getattr(self, "buffer", np.zeros(2, np.float32))
            self.buffer[:] = self.step_count
            return self.buffer

    assert found(lambda: Reusing(length=6))["memory"][0] == "note"
    assert found(tampered(lambda *_: None))["memory"][0] == "ok"


def test_masks_are_obeyed_and_counted():
    def mask(env, returned):
        for name in env.possible_agents:
            returned.infos[name]["action_mask"] = np.array([0, 1, 0])
        if env.received:
            assert set(env.received[-1].values()) == {1}

    verdict, detail = found(tampered(mask))["masks"]
    assert (verdict, "33% of actions are legal" in detail) == ("ok", True)


def test_a_state_that_changes_its_size_is_found():
    grows = found(lambda: FakeTeam(length=6, state=lambda env: np.zeros(1 + env.step_count)))
    assert grows["state"][0] == "FAIL"
    assert found(tampered(lambda *_: None))["state"][0] == "note"


def test_an_environment_that_never_ends_is_noted():
    assert found(lambda: FakeTeam(length=999))["episodes"][0] == "note"


def leaving(env, returned):
    if env.step_count >= 2:
        env.agents = ["a"] if env.step_count < env.length else []
        returned.terminated["b"] = env.step_count == 2


def test_agents_that_leave_early_are_mentioned():
    assert "left early in" in found(tampered(leaving))["episodes"][1]


def test_what_cannot_be_copied_or_drawn_is_noted():
    report = found(Countdown)
    assert report["rendering"][0] == "note"
    assert report["resume"][0] == "ok"
    assert found(tampered(lambda *_: None))["resume"][0] == "note"  # a lambda does not pickle


def test_a_picture_of_another_shape_is_found():
    class Grey(FakeTeam):
        def render(self):
            return np.zeros((4, 4), np.uint8)

    verdict, _ = found(lambda render_mode=None: Grey())["rendering"]
    assert verdict == "FAIL"


# The command.


@pytest.fixture
def registered(monkeypatch):
    before = dict(ENVS)
    register_env("good", PredatorPrey)
    register_env("bad", tampered(unequal))
    yield
    ENVS.clear()
    ENVS.update(before)


def run(*arguments):
    return CliRunner().invoke(cli, ["check-env", *arguments, "--steps", "20"])


def test_the_command_prints_a_report_and_its_code_says_whether_to_go_on(registered):
    good = run("good", "max_steps=7")
    assert good.exit_code == 0
    assert "determinism" in good.output
    assert "14 ok, 0 note, 0 FAIL" in good.output
    bad = run("bad")
    assert bad.exit_code == 1
    assert "choose team_reward" in " ".join(bad.output.split())
    assert run("bad", "--team-reward", "sum").exit_code == 0


def test_the_report_comes_as_json_too(registered):
    findings = json.loads(run("good", "env.max_steps=7", "--json").output)
    assert [finding["check"] for finding in findings] == list(CHECKS)


def crash_on_two(env, returned):
    if env.received and env.received[-1]["a"] == 2:
        raise RuntimeError("two is too many")


def test_a_recorded_failure_repeats_and_a_mended_one_does_not(registered, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    register_env("crashing", tampered(crash_on_two))
    vector_env = LoopVectorEnv(tampered(crash_on_two), 1, name="crashing")
    vector_env.reset(seed=3)
    vector_env.step(np.array([[1, 1]]))
    with pytest.raises(EnvContractError) as failure:
        vector_env.step(np.array([[2, 0]]))
    path = re.search(r"--replay (\S+)\)", str(failure.value))[1]
    again = run("crashing", "--replay", path)
    assert again.exit_code == 1
    assert "again: RuntimeError: two is too many" in again.output
    register_env("mended", tampered(lambda *_: None))
    other = run("mended", "--replay", path)
    assert "was recorded in 'crashing'" in str(other.exception)
    del ENVS["crashing"]
    register_env("crashing", tampered(lambda *_: None))
    passed = run("crashing", "--replay", path)
    assert passed.exit_code == 0
    assert "2 steps with seed" in passed.output


def test_json_is_alone_on_standard_output(monkeypatch, capfd):
    class Noisy(FakeTeam):
        def __init__(self):
            super().__init__()
            print("listens on port 5555")  # as Python programs do
            os.write(1, b"simulator 1.2\n")  # as simulators written in C do

    monkeypatch.setitem(ENVS, "noisy", EnvEntry("noisy", Noisy))
    result = run("noisy", "--json")
    assert [finding["check"] for finding in json.loads(result.stdout)] == list(CHECKS)
    assert "listens on port 5555" in result.stderr
    streams = capfd.readouterr()
    assert "simulator" not in streams.out
    assert "simulator 1.2" in streams.err


# Agreement with training.


def judged(make, **options):
    """Whether check-env finds a failure, and whether training steps the environment."""
    report = check_environment(make, num_steps=20, **options)
    try:
        play(LoopVectorEnv(make, 1), 12)
    except EnvContractError:
        return any(f.verdict == "FAIL" for f in report), False
    return any(f.verdict == "FAIL" for f in report), True


def zeros_for_the_dead(env, returned):
    leaving(env, returned)
    if env.step_count > 2:
        returned.rewards["b"] = 0.0


def no_infos(env, returned):
    returned.infos.clear()


def late_mask(env, returned):
    if env.step_count == 2:
        returned.infos["a"]["action_mask"] = np.array([0, 1, 1])


def terminal(env, returned):
    returned.terminated, returned.truncated = returned.truncated, returned.terminated


class NeverCleared(FakeTeam):
    """It goes on listing its agents after all have ended."""

    def step(self, actions):
        result = super().step(actions)
        self.agents = list(self.possible_agents)
        return result


TAKEN = {
    "rewards of the dead": tampered(zeros_for_the_dead),
    "no infos": tampered(no_infos),
    "agents never cleared": NeverCleared,
    "a state of the living": tampered(
        terminal, state=lambda env: np.ones(2 * len(env.agents), np.float32)
    ),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_training_takes_is_no_failure(kind):
    assert judged(TAKEN[kind]) == (False, True)


@pytest.mark.parametrize("change", [late_mask, unequal])
def test_what_training_refuses_is_a_failure(change):
    assert judged(tampered(change)) == (True, False)


def test_an_environment_that_ends_by_its_flags_alone_has_episodes():
    assert "ended after 3 to 3 steps" in found(NeverCleared)["episodes"][1]


def test_pettingzoos_own_test_is_a_note_with_its_reason():
    def enforced(env, returned):
        for name in env.possible_agents:
            returned.infos[name]["action_mask"] = np.array([0, 1, 0])
        if env.received and set(env.received[-1].values()) != {1}:
            raise AssertionError

    report = found(tampered(enforced))
    assert report["training"][0] == "ok"
    verdict, detail = report["api"]
    assert verdict == "note"
    assert "plays illegal actions" in detail
    assert "AssertionError: at `raise AssertionError`" in detail  # it has no text


def raises(method):
    def fail(self, *arguments, **options):
        raise RuntimeError("no licence")

    return type(f"Fails_{method}", (FakeTeam,), {method: fail})


def exits(self):
    sys.exit(3)


@pytest.mark.parametrize("method", ["__init__", "reset", "observation_space", "step"])
def test_an_environment_that_raises_anywhere_has_one_finding(method):
    ((check, (verdict, detail)),) = found(raises(method)).items()
    assert (check, verdict) == ("play", "FAIL")
    assert "no licence" in detail


def test_an_environment_that_exits_is_a_finding():
    ((_, (verdict, detail)),) = found(type("Exits", (FakeTeam,), {"__init__": exits})).items()
    assert (verdict, "SystemExit(3)" in detail) == ("FAIL", True)


def test_an_environment_that_cannot_be_closed_is_noted():
    report = found(raises("close"))
    assert report["closing"][0] == "note"
    assert "no licence" in report["closing"][1]
    assert not [check for check, (verdict, _) in report.items() if verdict == "FAIL"]
