"""The speed suite: cases that exist, numbers that are right, a page that says what they say."""

import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.speed import __main__ as command
from benchmarks.speed import agents, figures, report, rows, startup_probe, workers
from benchmarks.speed.case import Case
from benchmarks.speed.measure import (
    Effort,
    busy_cores,
    free_gigabytes,
    interleaved,
    peak_resident_megabytes,
    power_of_growth,
    resident_megabytes,
    run_python,
)
from benchmarks.speed.registry import CASES
from benchmarks.speed.rows import Goal, Row
from benchmarks.speed.scaling_model import STAGES, Observation, StageCost, fit
from benchmarks.speed.scaling_rows import Bytes, check_row, measured_rows, model_rows, plan_rows
from benchmarks.speed.teams import EPISODE_LENGTH, FakeTeam
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.errors import ConfigError

FAST = Row(labels={"game": "climbing", "what": "train"}, value=300.0, unit="us", goal=Goal(340.0))
SLOW = replace(FAST, labels={"game": "bridge", "what": "train"}, value=360.0)
SKIPPED = replace(FAST, labels={"game": "x", "what": "CUDA"}, value=None, note="no CUDA device")
PLAIN = replace(FAST, labels={"game": "y", "what": "bare"}, goal=None, details={"x bare": 1.0})


def a_case(name="trial", **parts):
    """A case whose parts hand out rows that are known."""
    made = {part: lambda effort, found=found: iter(found) for part, found in parts.items()}
    return Case(name=name, title="Trial", explanation="What is tried.", parts=made)


def placed(found, part="one", case="trial"):
    return [replace(row, case=case, part=part) for row in found]


def page(*found):
    return report.markdown({"trial": a_case()}, placed(found), "make it")


def cells_of(text, title):
    """Rows of the first table under a title, as dictionaries."""
    lines = text.partition(f"## {title}")[2].splitlines()
    table = [line for line in lines if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [
        dict(zip(split[0], line, strict=True)) for line in split[2:] if len(line) == len(split[0])
    ]


# Registry and command line


def test_the_registry_holds_all_cases_under_their_own_names():
    assert set(CASES) == {
        *("goals", "environments", "throughput", "agents", "startup", "workers", "scaling", "nodes")
    }
    for name, case in CASES.items():
        assert case.name == name
        assert case.parts
        assert case.explanation
        assert case.picture is None or case.picture in figures.DRAW


def test_naming_cases_takes_no_heavy_import():
    program = (
        "import sys; from benchmarks.speed.registry import CASES; "
        "assert not {'ray', 'torch'} & set(sys.modules)"
    )
    run_python(["-c", program])


def test_the_list_names_every_case_and_part(capsys):
    assert command.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(part in printed for case in CASES.values() for part in [case.name, *case.parts])


@pytest.mark.parametrize(
    ("words", "message"),
    [(["goal"], "goals"), (["goals", "--only", "climbing"], "climbing")],
)
def test_a_name_that_does_not_exist_is_an_error(words, message, capsys, tmp_path):
    assert command.main([*words, "--json", str(tmp_path / "speed.json")]) == 2
    assert message in capsys.readouterr().err


def test_parts_can_be_chosen():
    both = command.chosen_parts([CASES["goals"], CASES["workers"]], ["native", "predator_prey"])
    assert [(case.name, part) for case, part in both] == [
        ("goals", "native"),
        ("workers", "predator_prey"),
    ]
    assert len(command.chosen_parts([CASES["goals"]], [])) == len(CASES["goals"].parts)


def use_cases(monkeypatch, *cases):
    known = {case.name: case for case in cases}
    places = [(case.name, part) for case in cases for part in case.parts]
    monkeypatch.setattr(command, "CASES", known)
    monkeypatch.setattr(command, "PLACES", places)
    monkeypatch.setattr(command, "busy_cores", lambda: 0.0)


def test_a_run_remembers_rows_and_writes_the_page(monkeypatch, tmp_path, capsys):
    use_cases(monkeypatch, a_case(one=[FAST], two=[SLOW]))
    file = tmp_path / "results" / "speed.json"
    assert command.main(["trial", "--quick", "--json", str(file)]) == 0
    kept = rows.read(file)
    assert [(row.part, row.value) for row in kept] == [("one", 300.0), ("two", 360.0)]
    assert kept[0].is_quick
    assert kept[0].versions["ray"]
    assert kept[0].settings["torch_threads"] == 1
    assert "1 of 2 goals are met" in file.with_suffix(".md").read_text()
    printed = capsys.readouterr().out
    assert "climbing/train" in printed
    assert "goal <= 340: NOT MET" in printed


def test_a_part_that_fails_stops_no_other(monkeypatch, tmp_path, capsys):
    def fail(effort):
        raise RuntimeError("out of luck")

    broken = replace(
        a_case(one=[FAST], two=[SLOW]), parts={"bad": fail, **a_case(one=[FAST]).parts}
    )
    use_cases(monkeypatch, broken)
    file = tmp_path / "speed.json"
    assert command.main(["--json", str(file)]) == 1
    assert [row.part for row in rows.read(file)] == ["one"]
    assert "out of luck" in capsys.readouterr().err


def test_the_report_alone_measures_nothing(monkeypatch, tmp_path):
    use_cases(monkeypatch, a_case(one=[SLOW]))
    file = tmp_path / "speed.json"
    assert command.main(["--report-only", "--json", str(file)]) == 2
    rows.write(file, placed([FAST]))
    assert command.main(["--report-only", "--json", str(file)]) == 0
    assert [row.value for row in rows.read(file)] == [300.0]


# Rows and goals


@pytest.mark.parametrize(
    ("goal", "value", "is_met"),
    [
        (Goal(most=2.0), 2.0, True),
        (Goal(most=2.0), 2.01, False),
        (Goal(least=5.0), 5.0, True),
        (Goal(least=5.0), 4.99, False),
        (Goal(most=2.0, least=1.0), 0.5, False),
        (Goal(most=2.0, least=1.0), 1.5, True),
    ],
)
def test_a_goal_is_met_up_to_its_bound(goal, value, is_met):
    assert replace(FAST, goal=goal, value=value).is_met is is_met


def test_without_a_value_or_a_goal_nothing_is_met_or_missed():
    assert SKIPPED.is_met is None
    assert PLAIN.is_met is None


def test_rows_come_back_from_the_file_as_they_were(tmp_path):
    found = placed([FAST, SKIPPED, replace(PLAIN, settings={"batch": 1000}, is_quick=True)])
    rows.write(tmp_path / "speed.json", found)
    assert rows.read(tmp_path / "speed.json") == found


def test_measurements_are_rounded_and_empty_entries_left_out():
    entry = replace(FAST, value=1.23456789, details={"x": 9.87654321, "rows": 256_001}).to_entry()
    assert entry["value"] == 1.2346
    assert entry["details"] == {"x": 9.8765, "rows": 256_001}
    assert "note" not in entry
    assert entry["goal"] == {"most": 340.0}


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "speed.json"
    path.write_text(json.dumps([{"name": "old"}]))
    with pytest.raises(ConfigError, match=r"speed\.json holds no rows"):
        rows.read(path)


def test_new_rows_replace_those_of_their_part_alone():
    old = [*placed([FAST, SLOW], "one"), *placed([FAST], "two"), *placed([FAST], "gone")]
    new = placed([PLAIN], "one")
    merged = rows.merged(old, new, [("trial", "two"), ("trial", "one")])
    assert [(row.part, row.labels["what"]) for row in merged] == [("two", "train"), ("one", "bare")]


# Timing


class Clock:
    """A clock that works move on; the first work is the slow one."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def work(self, name, durations, steps):
        left = iter(durations)

        def run():
            self.order.append(name)
            self.now += next(left)
            return steps

        return run


def test_costs_are_medians_per_step_after_a_warm_up():
    clock = Clock()
    works = {"a": clock.work("a", [100.0, 1.0, 9.0, 2.0], 4)}
    assert interleaved(works, 3, clock=lambda: clock.now) == {"a": 2.0 / 4 * 1e6}


def test_rounds_go_in_turns():
    clock = Clock()
    works = {name: clock.work(name, [1.0] * 3, 1) for name in "ab"}
    interleaved(works, 2, clock=lambda: clock.now)
    assert "".join(clock.order) == "ababab"


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_power_of_growth_is_recovered(power):
    sizes = [4, 8, 16, 32, 64]
    assert power_of_growth(sizes, [3.0 * size**power for size in sizes]) == pytest.approx(power)


def test_quick_effort_has_fewer_rounds():
    assert Effort(is_quick=True).rounds < Effort(is_quick=False).rounds
    assert Effort(is_quick=True).pick("few", "many") == "few"
    assert Effort(is_quick=False).pick("few", "many") == "many"


def test_memory_and_load_are_read_from_the_kernel():
    held = np.ones(8_000_000)  # 64 MB
    assert held.nbytes / 1e6 < resident_megabytes() <= peak_resident_megabytes()
    assert 0.01 < free_gigabytes() < 1e5
    assert busy_cores(0.05) >= 0


def test_a_program_that_fails_is_an_error(capfd):
    with pytest.raises(Exception, match="non-zero exit status 3"):
        run_python(["-c", "import sys; print('so it is', file=sys.stderr); sys.exit(3)"])
    assert "so it is" in capfd.readouterr().err


# Report


def test_the_page_counts_the_goals_and_names_those_that_are_missed():
    text = page(FAST, SLOW, SKIPPED, PLAIN)
    assert "1 of 3 goals are met." in text
    met = {line["what"]: line["met"] for line in cells_of(text.partition("## Trial")[0], "Goals")}
    assert met == {"climbing/train": "yes", "bridge/train": "**no**", "x/CUDA": "-"}


def test_a_case_has_one_table_with_goals_details_and_notes():
    lines = {line["game"]: line for line in cells_of(page(FAST, SLOW, SKIPPED, PLAIN), "Trial")}
    assert lines["bridge"]["measured"] == "360"
    assert lines["bridge"]["goal"] == "<= 340"
    assert lines["bridge"]["met"] == "**no**"
    assert lines["x"]["measured"] == "-"
    assert lines["x"]["more"] == "no CUDA device"
    assert lines["y"]["more"] == "x bare 1.00"
    assert lines["y"]["goal"] == "-"


def test_details_that_many_rows_have_get_a_column():
    assert report.common_details([PLAIN, PLAIN, FAST]) == ["x bare"]
    assert report.common_details([PLAIN, FAST, FAST, FAST]) == []


def test_the_page_says_when_rows_are_quick_and_what_made_them():
    slow = replace(FAST, versions={"ray": "2.60.0"})
    assert "--quick" not in page(slow)
    assert "--quick" in page(slow, replace(slow, is_quick=True))
    assert "ray 2.60.0" in page(slow)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (123.4, "123"),
        (0.05678, "0.0568"),
        (2.0, "2.00"),
        (0, "0"),
        (None, "-"),
    ],
)
def test_numbers_are_shown_with_three_digits(value, text):
    assert report.shown(value) == text


# Agents


def agent_rows(costs):
    found = []
    for algorithm in agents.ALGORITHMS:
        for num_agents, cost in costs.items():
            setup = SimpleNamespace(env="fake_team", algo=algorithm, settings=dict)
            found += agents.size_rows(setup, num_agents, {"sample": cost, "learn": 2 * cost})
        both = {n: {"sample": cost, "learn": cost**2} for n, cost in costs.items()}
        found += agents.growth_rows("fake_team", algorithm, both)
    return found


def test_growth_is_compared_with_the_number_of_agents():
    found = agent_rows({4: 8.0, 8: 16.0, 64: 128.0})
    by_name = {row.name: row for row in found}
    linear = by_name["fake_team/mappo/sample/growth 4 to 64"]
    assert linear.value == pytest.approx(1.0)
    assert linear.details["cost of largest / smallest"] == 16
    assert linear.details["agents of largest / smallest"] == 16
    assert by_name["fake_team/mappo/learn/growth 4 to 64"].is_met is False
    assert by_name["fake_team/mappo/sample/8"].details == {"for each agent": 2.0}


def test_growth_is_drawn(tmp_path):
    figures.draw_agents(agent_rows({4: 8.0, 8: 16.0, 64: 128.0}), tmp_path / "images" / "a.png")
    assert (tmp_path / "images" / "a.png").stat().st_size > 10_000


def test_a_busy_machine_is_warned_about():
    assert workers.warning(0.1) == ""
    assert "1.5 cores" in workers.warning(1.5)


# Scaling

TRUE = {
    "gather": StageCost(0.002, 0.001, 1e-6),
    "concatenate": StageCost(0.001, 0.0005, 2e-6),
    "learn": StageCost(0.02, 0.0, 1e-4),
    "broadcast": StageCost(0.003, 0.001, 0.0),
}
SAMPLING_S = 0.4


def observed(num_workers, each):
    seconds = {name: TRUE[name].seconds(num_workers, num_workers * each) for name in STAGES}
    return Observation(
        num_workers=num_workers,
        rows=num_workers * each,
        sampling_s=SAMPLING_S,
        stages=seconds,
        iteration_s=SAMPLING_S + sum(seconds.values()),
    )


OBSERVED = [observed(n, each) for n in (1, 2, 4, 8) for each in (128, 256)]


def test_the_fit_recovers_what_made_the_measurements():
    model = fit(OBSERVED, rows_per_worker=256)
    for stage, cost in TRUE.items():
        found = model.stages[stage]
        assert found.fixed == pytest.approx(cost.fixed, rel=1e-3)
        assert found.per_worker == pytest.approx(cost.per_worker, rel=1e-3, abs=1e-9)
        assert found.per_row == pytest.approx(cost.per_row, rel=1e-3, abs=1e-12)
    assert model.sampling_s == SAMPLING_S


def test_the_model_predicts_a_size_that_it_has_not_seen():
    model = fit(OBSERVED, rows_per_worker=256)
    assert model.iteration_s(16) == pytest.approx(observed(16, 256).iteration_s, rel=1e-3)
    row = check_row(model, [*OBSERVED, observed(16, 256)], held_out=16)
    assert row.value == pytest.approx(0, abs=1e-3)
    assert row.is_met


def test_a_prediction_that_is_off_misses_its_goal():
    slow = replace(observed(16, 256), iteration_s=2 * observed(16, 256).iteration_s)
    row = check_row(fit(OBSERVED, 256), [*OBSERVED, slow], held_out=16)
    assert row.value == pytest.approx(0.5, abs=1e-3)
    assert row.is_met is False


def test_the_driver_saturates_where_it_takes_as_long_as_sampling():
    # fixed 26 ms; each worker 2.5 ms and 256 rows of 103 us, 26.368 ms.
    model = fit(OBSERVED, rows_per_worker=256)
    assert model.seconds_for_each_worker == pytest.approx(0.028868, rel=1e-3)
    assert model.saturation == pytest.approx((0.4 - 0.026) / 0.028868, rel=1e-3)
    assert model.driver_s(model.saturation) == pytest.approx(SAMPLING_S, rel=1e-6)
    assert model.largest_stage(100) == "learn"
    assert model.without("learn").saturation == pytest.approx((0.4 - 0.006) / 0.003268, rel=1e-3)


def test_a_driver_that_is_always_slower_saturates_at_once():
    model = replace(fit(OBSERVED, 256), sampling_s=0.01)
    assert model.saturation == 0


def test_coefficients_are_never_negative():
    shrinking = [replace(o, stages={**o.stages, "learn": 0.1 / o.num_workers}) for o in OBSERVED]
    cost = fit(shrinking, 256).stages["learn"]
    assert cost.fixed > 0
    assert cost.per_row == 0


@pytest.mark.parametrize(
    "few", [OBSERVED[:2], [o for o in OBSERVED if o.rows == 256 * o.num_workers]]
)
def test_sizes_that_cannot_tell_workers_from_rows_are_refused(few):
    with pytest.raises(ConfigError, match="differ in workers and in rows"):
        fit(few, 256)


def test_a_plan_for_fragments_that_were_not_measured_is_refused():
    with pytest.raises(ConfigError, match="77 rows"):
        fit(OBSERVED, 77)


def test_the_plan_says_what_limits_and_what_helps():
    model = fit(OBSERVED, 256)
    found = list(plan_rows(model, Bytes(weights=1000, batch=50_000)))
    plan = {row.labels["what"]: row for row in found}
    ten, thousand = plan["plan, workers: 10"], plan["plan, workers: 1000"]
    assert "workers limit" in ten.note
    assert "most of it in learn" in thousand.note
    assert thousand.details["rows"] == 256_000
    assert thousand.details["MB of weights"] == 1
    assert thousand.details["MB of batches"] == 50
    assert thousand.details["steps/s"] == pytest.approx(256_000 / thousand.value)
    assert found[-2].value == pytest.approx(model.saturation)


def test_scaling_is_drawn(tmp_path):
    model = fit(OBSERVED, 256)
    found = [*measured_rows(OBSERVED, {}), *model_rows(model)]
    found += plan_rows(model, Bytes(weights=1, batch=1))
    figures.draw_scaling(found, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


# The made-up team


def test_the_made_up_team_keeps_the_contract_of_environments():
    team = FakeTeam(num_envs=3, num_agents=5)
    observation = team.reset(0)
    spec = team.spec
    sizes = TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)
    shapes = {"obs": (5, 32), "state": (64,), "action_mask": (5, 5), "alive": (5,)}
    assert TeamLayout(sizes).shapes == shapes
    for name, shape in shapes.items():
        assert getattr(observation, name).shape == (3, *shape)
    step = team.step(np.zeros((3, 5), np.int64))
    assert step.reward.shape == step.terminated.shape == step.truncated.shape == (3,)
    assert step.agent_rewards.shape == (3, 5)
    assert step.faulty.dtype == step.terminated.dtype == np.bool_


def ends_of(team, steps):
    actions = np.zeros((team.num_envs, team.spec.num_agents), np.int64)
    return [t for t in range(1, steps + 1) if team.step(actions).terminated.all()]


def test_episodes_of_the_made_up_team_end_together_and_go_on_from_a_snapshot():
    team = FakeTeam(num_envs=2)
    team.reset()
    assert ends_of(team, 2 * EPISODE_LENGTH) == [EPISODE_LENGTH, 2 * EPISODE_LENGTH]
    ends_of(team, 10)
    snapshot = team.get_state()
    team.reset()
    team.set_state(snapshot)
    assert ends_of(team, EPISODE_LENGTH) == [EPISODE_LENGTH - 10]


def test_a_slow_made_up_team_sleeps(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    ends_of(FakeTeam(num_envs=2, step_seconds=0.05), 2)
    ends_of(FakeTeam(num_envs=2), 2)
    assert slept == [0.05, 0.05]


@pytest.mark.parametrize("algo", ["agentmixer", "mappo"])
def test_algorithms_build_the_made_up_team_without_the_registry(algo):
    from benchmarks.speed.fake_configs import FAKE_CONFIGS

    config = FAKE_CONFIGS[algo]().environment("fake_team", env_config={"num_agents": 7})
    creator = pickle.loads(pickle.dumps(config.env_creator()))  # noqa: S301
    team = creator.vector(config.env_config, 2)
    assert isinstance(team, FakeTeam)
    assert (team.num_envs, team.spec.num_agents) == (2, 7)
    assert config.algorithm == algo


# Whose time it was


def frames(*modules, file="x.py"):
    """A stack from the innermost frame outwards; ``<import>`` stands for import machinery."""
    outer = None
    for module in reversed(modules):
        name = "<frozen importlib._bootstrap>" if module == "<import>" else file
        code = SimpleNamespace(co_filename=name)
        outer = SimpleNamespace(f_code=code, f_globals={"__name__": module}, f_back=outer)
    return outer


@pytest.mark.parametrize(
    ("stack", "owner"),
    [
        (
            [
                "torch.nn.functional",
                "rllib_agentmixer.core.learners.policy_gradient",
                "ray.rllib.x",
            ],
            "ours",
        ),
        (["numpy", "ray.rllib.algorithms.algorithm", "rllib_agentmixer.runs.training"], "RLlib"),
        (["ray._private.worker", "rllib_agentmixer.runs.local_ray"], "Ray"),
        (["ray._private.worker", "ray.rllib.algorithms.algorithm"], "Ray"),
        (["sqlite3", "sqlalchemy.engine", "mlflow.store", "rllib_agentmixer.tracking"], "MLflow"),
        (["torch", "<import>", "rllib_agentmixer.cli"], "imports"),
        (["ray.rllib.utils", "<import>", "rllib_agentmixer.cli"], "imports"),
        (["rllib_agentmixer.cli", "<import>", "__main__"], "ours"),
        (["rayleigh.scattering", "__main__"], "the rest"),
        ([], "the rest"),
    ],
)
def test_time_belongs_to_the_innermost_owner(stack, owner):
    assert startup_probe.owner_of(frames(*stack)) == owner


def test_the_watcher_shares_out_the_time_until_the_file_has_a_line(tmp_path):
    file = tmp_path / "progress.jsonl"
    watcher = startup_probe.Watcher(file)
    watcher.start()
    file.touch()
    assert not watcher.ended.wait(0.05)
    file.write_text("{}\n")
    assert watcher.ended.wait(5)
    assert sum(watcher.seconds.values()) > 0.05


def test_time_since_the_start_of_the_process_is_known():
    program = (
        "import time; time.sleep(0.2)\n"
        "from benchmarks.speed.startup_probe import seconds_since_start as s; print(s())"
    )
    assert 0.19 < float(run_python(["-c", program])) < 10
