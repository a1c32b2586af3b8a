"""What breaks the contract is named with sub-environment, step, agent and value."""

import sys

import numpy as np
import pytest
from envs_test_fakes import FakeTeam, box, play
from gymnasium import spaces

from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.errors import EnvContractError


def put(group, name, value):
    def change(env, returned):
        getattr(returned, group)[name] = value

    return change


def drop(group, name):
    def change(env, returned):
        getattr(returned, group).pop(name)

    return change


VIOLATIONS = {
    "wrong shape": (put("obs", "b", np.zeros(3, np.float32)), r"agent 'b'.*\(2,\).*\(3,\)"),
    "text": (put("obs", "b", np.array(["x", "y"])), "agent 'b'.*numeric"),
    "object": (put("obs", "b", None), r"agent 'b'.*shape \(\) of object"),
    "ragged list": (put("obs", "b", [[1], [1, 2]]), "agent 'b'.*does not fit"),
    "NaN": (put("obs", "b", np.array([0, np.nan], np.float32)), "agent 'b'.*entry 1 is nan"),
    "infinite": (put("obs", "a", np.array([-np.inf, np.inf])), "agent 'a'.*entry 0 is -inf"),
    "NaN reward": (put("rewards", "b", float("nan")), "agent 'b'.*nan"),
    "infinite reward": (put("rewards", "a", float("inf")), "agent 'a'.*inf"),
    "reward no number": (put("rewards", "a", "much"), "agent 'a'.*'much'"),
    "unknown in obs": (put("obs", "c", np.zeros(2)), r"observations for \['c'\]"),
    "unknown in rewards": (put("rewards", "c", 0.0), r"rewards for \['c'\]"),
    "unknown in terminated": (put("terminated", "c", False), r"terminated for \['c'\]"),
    "unknown in truncated": (put("truncated", "c", False), r"truncated for \['c'\]"),
    "no obs": (drop("obs", "a"), "agent 'a'.*no observation"),
    "no reward": (drop("rewards", "a"), "agent 'a'.*no reward"),
    "late mask": (
        lambda e, r: r.infos["a"].update(action_mask=np.ones(3)),
        "reset\\(\\) sent none",
    ),
    "unknown agent": (lambda e, r: e.agents.append("c"), r"agents for \['c'\]"),
}


@pytest.mark.parametrize("kind", VIOLATIONS)
def test_a_broken_contract_is_named_with_sub_environment_step_and_agent(tampered, kind):
    change, message = VIOLATIONS[kind]
    with pytest.raises(EnvContractError, match=f"sub-environment 0 of fake, step 2.*{message}"):
        play(tampered(2, change), 2)


def test_the_step_is_counted_within_the_episode(team):
    calls = []

    def tamper(env, returned):
        calls.append(env.step_count)
        if calls.count(2) == 2:
            returned.rewards["a"] = float("nan")

    with pytest.raises(EnvContractError, match="step 2, agent 'a'"):
        play(team(tamper=tamper, length=4), 8)


@pytest.mark.parametrize("kind", ["wrong shape", "NaN", "unknown in obs", "no obs"])
def test_a_contract_broken_by_reset_is_named_too(team, kind):
    change, message = VIOLATIONS[kind]
    resets = []

    def tamper(env, returned):
        resets.append(1)
        if len(resets) > 1:  # the first reset works out the layout
            change(env, returned)

    with pytest.raises(EnvContractError, match=f"step 0.*{message}"):
        team(tamper=tamper).reset(seed=0)


def test_a_reset_without_agents_is_refused(team):
    built = team(tamper=lambda env, returned: env.agents.clear())
    with pytest.raises(EnvContractError, match="left no agent"):
        built.reset(seed=0)


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.zeros(3), "allows nothing"), (np.ones(4), r"shape \(3,\), got \(4,\)")],
)
def test_a_mask_that_does_not_fit_is_refused(team, mask, message):
    def tamper(env, returned):
        for name in env.possible_agents:
            returned.infos[name]["action_mask"] = np.ones(3)
        if env.step_count == 1:
            returned.infos["b"]["action_mask"] = mask

    with pytest.raises(EnvContractError, match=f"step 1, agent 'b'.*{message}"):
        play(team(tamper=tamper))


def test_a_mask_that_stops_coming_is_refused(team):
    def tamper(env, returned):
        if env.step_count == 0:
            for name in env.possible_agents:
                returned.infos[name]["action_mask"] = np.ones(3)

    with pytest.raises(EnvContractError, match="no action mask"):
        play(team(tamper=tamper))


@pytest.mark.parametrize(
    ("state", "message"),
    [(np.zeros(3), "2 numbers.*3"), (np.array([0, np.nan]), "nan"), (None, "object")],
)
def test_a_state_that_changes_its_kind_is_refused(team, state, message):
    built = team(state=lambda env: state if env.step_count else np.zeros(2))
    with pytest.raises(EnvContractError, match=f"step 1.*state.*{message}"):
        play(built)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"agents": ()}, "possible_agents"),
        ({"action_spaces": {"b": box(1)}}, "all Discrete or all Box.*Discrete.*Box"),
        (
            {"action_spaces": {"b": spaces.MultiDiscrete([40, 40])}},
            "'b'.*MultiDiscrete.*1600 combinations, more than 1024",
        ),
        ({"action_spaces": {"b": spaces.MultiDiscrete([[2, 2]])}}, "'b'.*2 axes"),
        ({"action_spaces": {"b": spaces.Text(3)}}, "'b'.*Text.*supported"),
        ({"action_spaces": {"b": spaces.Box(0, 3, (1,), np.int64)}}, "'b'.*int64.*supported"),
        ({"obs_spaces": {"b": spaces.Sequence(box(1))}}, "'b'.*no fixed size"),
        (
            {"obs_spaces": {"b": spaces.Dict({"x": box(1), "action_mask": box(3)})}},
            "'b'.*'action_mask', 'x'",
        ),
    ],
)
def test_environments_that_make_no_team_are_refused_at_once(team, arguments, message):
    with pytest.raises(EnvContractError, match=message):
        team(**arguments)


# Other interfaces.


class Older(FakeTeam):
    """An environment whose reset or step returns what a test says."""

    def __init__(self, reset=None, step=None, **fake):
        super().__init__(**fake)
        self.returns = reset, step

    def reset(self, seed=None, options=None):
        outcome = super().reset(seed)
        return self.returns[0](outcome) if self.returns[0] else outcome

    def step(self, actions):
        outcome = super().step(actions)
        return self.returns[1](outcome) if self.returns[1] else outcome


OLDER = {
    "observations alone": ({"reset": lambda r: r[0]}, r"reset\(\) must return .*got dict"),
    "no infos": ({"reset": lambda r: (r[0], None)}, r"reset\(\) .*got \(dict, NoneType\)"),
    "four values": ({"step": lambda r: (*r[:3], r[4])}, r"step\(\) must return .*\(dict, dict"),
    "infos None": ({"step": lambda r: (*r[:4], None)}, r"step\(\) .*NoneType\)"),
    "a list": ({"step": list}, r"step\(\) must return .*got list"),
}


@pytest.mark.parametrize("kind", OLDER)
def test_older_signatures_are_named(kind):
    returns, message = OLDER[kind]
    with pytest.raises(EnvContractError, match=message):
        play(LoopVectorEnv(lambda: Older(**returns), 1, name="older"))


def test_what_spaces_and_the_first_reset_raise_is_named_with_the_environment():
    def no_space(self, agent):
        raise KeyError(agent)

    kind = type("NoSpace", (FakeTeam,), {"observation_space": no_space})
    with pytest.raises(EnvContractError, match=r"'mine': its spaces raised KeyError\('a'\)"):
        LoopVectorEnv(kind, 1, name="mine")
    with pytest.raises(EnvContractError, match=r"'mine': reset\(\) raised SystemExit\(3\)"):
        LoopVectorEnv(lambda: Older(reset=lambda r: sys.exit(3)), 1, name="mine")


def test_an_environment_that_cannot_be_closed_leaves_no_other_open(caplog):
    def close(self):
        self.is_closed = True
        raise OSError("socket is closed already")

    kind = type("BadClose", (FakeTeam,), {"close": close})
    team = LoopVectorEnv(kind, 2)
    team.close()
    assert all(one.env.is_closed for one in team._envs)
    assert caplog.text.count("socket is closed already") == 2
