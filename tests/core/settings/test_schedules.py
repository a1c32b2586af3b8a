"""Schedules: RLlib's own interpolation, and how learners and teams follow it."""

import pytest

from rllib_agentmixer.core.settings.base import scheduled_value

FALLING = [[0, 1.0], [100, 0.5], [300, 0.1]]


@pytest.mark.parametrize("env_steps", [0, 1, 10**9])
@pytest.mark.parametrize("constant", [0.25, 0, 3])
def test_a_constant_stays_itself(constant, env_steps):
    found = scheduled_value(constant, env_steps)
    assert isinstance(found, float)
    assert found == constant


@pytest.mark.parametrize(
    ("env_steps", "expected"),
    [(0, 1.0), (50, 0.75), (100, 0.5), (200, 0.3), (300, 0.1), (301, 0.1), (10**9, 0.1)],
)
def test_between_two_points_the_value_lies_on_their_line_and_stays_after_the_last(
    env_steps, expected
):
    assert scheduled_value(FALLING, env_steps) == pytest.approx(expected, abs=1e-12)
    assert scheduled_value(tuple(map(tuple, FALLING)), env_steps) == pytest.approx(expected)


def test_a_schedule_of_one_point_is_a_constant():
    assert [scheduled_value([[0, 0.3]], n) for n in (0, 5)] == [0.3, 0.3]


def test_values_are_those_of_rllibs_schedule():
    from ray.rllib.utils.schedules import PiecewiseSchedule

    theirs = PiecewiseSchedule(FALLING, framework=None, outside_value=FALLING[-1][1])
    for env_steps in range(0, 400, 7):
        expected = theirs.value(env_steps)
        assert scheduled_value(FALLING, env_steps) == pytest.approx(expected, abs=1e-12)


def test_a_learner_its_optimiser_and_its_team_follow_their_schedules(build):
    network = build.network(build.sizes(), temperature=[[0, 2.0], [10, 1.0]])
    learner = build.learner(
        network,
        lr=[[0, 1e-2], [10, 0.0]],
        modifier_lr=[[0, 0.0], [10, 1e-3]],
        entropy_coeff=[[0, 0.1], [10, 0.2]],
    )
    for env_steps, expected in (
        (0, {"lr": 1e-2, "modifier_lr": 0.0, "entropy_coeff": 0.1, "temperature": 2.0}),
        (5, {"lr": 5e-3, "modifier_lr": 5e-4, "entropy_coeff": 0.15, "temperature": 1.5}),
        (20, {"lr": 0.0, "modifier_lr": 1e-3, "entropy_coeff": 0.2, "temperature": 1.0}),
    ):
        learner.follow_schedules(env_steps)
        assert learner.current == pytest.approx(expected)
        rates = [group["lr"] for group in learner.optimizer.param_groups]
        assert rates == pytest.approx([expected["lr"], expected["modifier_lr"]])
        assert learner.coefficients.entropy_coeff == pytest.approx(expected["entropy_coeff"])
        assert network.temperature == pytest.approx(expected["temperature"])
        names = {"lr": "cur_lr", "modifier_lr": "cur_modifier_lr"}
        assert learner.metrics_of_schedules() == pytest.approx(
            {names.get(name, name): value for name, value in expected.items()}
        )


def test_a_learner_without_a_modifier_has_no_rate_for_it(build):
    learner = build.learner(build.network(build.sizes(), algorithm="mappo"), lr=1e-2)
    assert learner.current == pytest.approx({"lr": 1e-2, "entropy_coeff": 0.1})
    assert [group["lr"] for group in learner.optimizer.param_groups] == [1e-2]
