"""Learning studies: grids that can run, lines that are not lost, reports with the right numbers."""

import json
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks.studies import results
from benchmarks.studies.__main__ import main
from benchmarks.studies.cells import DIAL, Cell, Study, choose
from benchmarks.studies.figures import save_figure
from benchmarks.studies.registry import STUDIES
from benchmarks.studies.report import gather, markdown
from benchmarks.studies.results import Result, Returns
from benchmarks.studies.runner import run_in_processes, run_tasks, serve
from benchmarks.studies.task import Task, attempt, failure
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.envs.registry import find_entry
from rllib_agentmixer.errors import ConfigError

each_study = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)

CLIMBING = Cell(
    study="trial",
    labels={"game": "climbing", "form": "strict"},
    algo="agentmixer",
    env="climbing",
    settings={"num_envs_per_env_runner": 32, "train_batch_size": 32, "num_epochs": 1},
    steps=320,
    target=11.0,
)
GUMBEL = replace(
    CLIMBING,
    labels={"game": "climbing", "form": "gumbel"},
    settings={**CLIMBING.settings, "igc": "gumbel"},
)
TRIAL = Study(
    name="trial",
    question="Which form?",
    make_cells=lambda: [CLIMBING, GUMBEL],
    num_seeds=1,
    panels=("game",),
)


def finished_run(cell, seed, individual, joint=None, **entries):
    """A line as a run leaves it."""
    joint = individual if joint is None else joint
    return Result(
        key=cell.key,
        seed=seed,
        cell=results.described(cell),
        env_steps=cell.steps,
        seconds=entries.pop("seconds", 30.0),
        returns=Returns(individual, joint, individual, joint),
        curve=[[160, 0.0, 0.0], [320, individual, joint]],
        versions=entries.pop("versions", {"ray": "2.60.0", "commit": "abc"}),
        **entries,
    )


def page(cells, lines):
    return markdown(TRIAL, cells, lines, picture="trial.png", command="make it")


def table_of(text):
    rows = [line for line in text.splitlines() if line.startswith("|")]
    split = [[entry.strip() for entry in row.strip("|").split("|")] for row in rows]
    return [dict(zip(split[0], row, strict=True)) for row in split[2:]]


# Grids


@each_study
def test_cells_of_a_study_differ_in_labels_and_in_content(study):
    cells = study.make_cells()
    assert len({tuple(cell.labels.items()) for cell in cells}) == len(cells)
    assert len({cell.key for cell in cells}) == len(cells)
    assert {cell.study for cell in cells} == {study.name}
    assert len({tuple(cell.labels) for cell in cells}) == 1
    assert set(study.panels) <= set(cells[0].labels)
    if DIAL in cells[0].labels:
        assert {cell.env for cell in cells} == set(study.dial_names)
        assert all(float(cell.labels[DIAL]) >= 0 for cell in cells)


@each_study
def test_panels_of_a_picture_hold_few_lines(study):
    panels = [tuple(c.labels[label] for label in study.panels) for c in study.make_cells()]
    per_dial = len({cell.labels.get(DIAL) for cell in study.make_cells()})
    assert all(panels.count(panel) <= 10 * per_dial for panel in panels)


@each_study
def test_every_cell_makes_a_valid_configuration_of_whole_iterations(study):
    for cell in study.make_cells():
        if cell.algo not in ALGORITHMS or find_entry(cell.env) is None:
            pytest.skip(f"{cell.algo} or {cell.env} is not registered")
        config = cell.config(seed=3)
        assert config.seed == 3
        assert config.env_config == cell.env_config
        assert config.team_reward == cell.team_reward
        for name, value in cell.settings.items():
            if value is not None:
                assert getattr(config, name) == value
        assert cell.steps % config.train_batch_size == 0


def test_the_key_of_a_cell_depends_on_what_decides_its_outcome_only():
    same = replace(CLIMBING, study="other", labels={"a": "b"}, target=None)
    assert same.key == CLIMBING.key
    changes = (
        {"algo": "mappo"},
        {"env": "penalty_0"},
        {"env_config": {"repeat": 2}},
        {"settings": {}},
        {"steps": 321},
        {"team_reward": "sum"},
    )
    assert len({CLIMBING.key, *(replace(CLIMBING, **change).key for change in changes)}) == 7


@pytest.mark.parametrize(("value", "reached"), [(11.0, True), (10.99, True), (10.98, False)])
def test_a_target_is_met_from_a_hundredth_below(value, reached):
    assert CLIMBING.reaches_target(value) == reached
    assert not replace(CLIMBING, target=None).reaches_target(value)


def test_conditions_on_labels_choose_cells():
    cells = STUDIES["correlation"].make_cells()
    chosen = choose(cells, ["game=climbing", "algorithm=mappo", "algorithm=ippo"])
    assert {cell.labels["algorithm"] for cell in chosen} == {"mappo", "ippo"}
    assert {cell.labels["game"] for cell in chosen} == {"climbing"}
    assert len(chosen) == 2 * 3
    assert choose(cells, []) == cells


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (["climbing"], "label=value"),
        (["gaem=climbing"], "Did you mean 'game'"),
        (["game=climbin"], "Did you mean 'climbing'"),
        (["algorithm=mappo", "correlation=state"], "no cell meets"),
    ],
)
def test_conditions_that_choose_nothing_are_refused(conditions, words):
    with pytest.raises(ConfigError, match=words):
        choose(STUDIES["correlation"].make_cells(), conditions)


# Lines


def test_a_line_is_read_back_with_measurements_rounded_and_settings_exact(tmp_path):
    cell = replace(CLIMBING, settings={"lr": 0.000123456789})
    written = finished_run(cell, 4, 10.123456789, metrics={"mode_agreement": 2 / 3})
    results.append(tmp_path / "new" / "lines.jsonl", written)
    (found,) = results.read(tmp_path / "new" / "lines.jsonl")
    assert found.returns == Returns(10.123, 10.123, 10.123, 10.123)
    assert found.metrics == {"mode_agreement": 0.66667}
    assert found.curve == [[160, 0.0, 0.0], [320, 10.123, 10.123]]
    assert found.cell["settings"] == {"lr": 0.000123456789}
    assert (found.key, found.seed, found.env_steps, found.error) == (cell.key, 4, 320, None)


def test_a_line_cut_short_is_dropped_and_never_joined_to_the_next(tmp_path):
    path = tmp_path / "lines.jsonl"
    results.append(path, finished_run(CLIMBING, 0, 1.0))
    with path.open("a") as file:
        file.write('{"key": "cut')
    results.append(path, finished_run(CLIMBING, 1, 2.0))
    assert [run.seed for run in results.read(path)] == [0, 1]
    assert path.read_text().count("\n") == 3


def test_the_last_line_counts_but_a_failure_never_replaces_a_success(tmp_path):
    path = tmp_path / "lines.jsonl"
    failed = failure(Task(CLIMBING, 0), "it broke\n twice")
    for result in (failed, finished_run(CLIMBING, 0, 1.0), finished_run(CLIMBING, 0, 2.0), failed):
        results.append(path, result)
    (found,) = results.read(path)
    assert found.returns.individual == 2.0
    assert results.finished([found]) == {(CLIMBING.key, 0)}
    assert results.finished([failed]) == set()
    assert failed.error == "it broke twice"


def test_a_file_that_does_not_exist_holds_no_results(tmp_path):
    assert results.read(tmp_path / "none.jsonl") == []


# Reports


def test_the_table_holds_the_numbers_of_the_lines():
    lines = [
        finished_run(CLIMBING, 0, 11.0, seconds=60.0),
        finished_run(CLIMBING, 1, 7.0, joint=11.0, seconds=180.0),
        finished_run(GUMBEL, 0, 5.0, joint=6.5),
        finished_run(replace(CLIMBING, steps=1), 0, -100.0),  # not in the grid
    ]
    strict, gumbel = table_of(page([CLIMBING, GUMBEL], lines))
    assert strict == {
        "game": "climbing",
        "form": "strict",
        "seeds": "2",
        "env steps": "320",
        "min/seed": "2.00",
        "individual return": "9.00 [7.00, 11.00]",
        "joint return": "11.00 [11.00, 11.00]",
        "central gap": "2.00",
        "reached": "1 of 2",
    }
    assert gumbel["individual return"] == "5.00"
    assert gumbel["central gap"] == "1.50"
    assert gumbel["reached"] == "0 of 1"


def test_a_report_names_command_versions_shared_settings_failures_and_what_is_missing():
    other = {"ray": "2.61.0"}
    lines = [
        finished_run(CLIMBING, 0, 1.0),
        finished_run(CLIMBING, 1, 1.0, versions=other),
        failure(Task(GUMBEL, 3), "OSError: disk full"),
    ]
    text = page([CLIMBING, GUMBEL], lines)
    assert "```\nmake it\n```" in text
    assert "ray 2.60.0 / 2.61.0" in text
    assert "num_epochs=1" in text
    assert "igc" not in text
    assert "* climbing gumbel, seed 3: OSError: disk full" in text
    assert "1 of 2 cells have no finished run" in text


def test_cells_without_target_have_no_column_for_it():
    cell = replace(CLIMBING, target=None)
    (row,) = table_of(page([cell], [finished_run(cell, 0, 1.0)]))
    assert "reached" not in row


def test_a_report_before_any_run_has_an_empty_table():
    text = page([CLIMBING, GUMBEL], [])
    assert table_of(text) == []
    assert "2 of 2 cells have no finished run" in text


@pytest.mark.parametrize("labels", [{"form": "{}"}, {"dial": "{}"}])
def test_a_picture_of_curves_or_of_a_dial_is_a_png(tmp_path, labels):
    image = pytest.importorskip("PIL.Image")
    cells = [
        replace(
            CLIMBING,
            steps=steps,
            labels={"game": "climbing", **{n: v.format(steps) for n, v in labels.items()}},
        )
        for steps in (320, 640)
    ]
    lines = [finished_run(cell, seed, 5.0 + seed) for cell in cells for seed in (0, 1)]
    lines[0].curve.pop()  # a seed that came less far
    save_figure(TRIAL, gather(cells, lines), tmp_path / "images" / "curve.png")
    with image.open(tmp_path / "images" / "curve.png") as png:
        assert png.format == "PNG"
        assert png.width > 500
        colours = {tuple(pixel[:3]) for _, pixel in png.convert("RGB").getcolors(10**6)}
    assert (0x22, 0x57, 0x7A) in colours


# Runs


@pytest.fixture
def trial(monkeypatch):
    monkeypatch.setitem(STUDIES, "trial", TRIAL)


def run_trial(out, *arguments):
    return main(["trial", "--out", str(out / "results"), *arguments])


@pytest.mark.usefixtures("ray_cluster", "trial")
def test_a_study_runs_reports_and_goes_on_where_it_stopped(tmp_path, capsys):
    lines = tmp_path / "results" / "trial.jsonl"
    assert run_trial(tmp_path, "--only", "form=strict") == 0
    (run,) = results.read(lines)
    assert run.error is None
    assert run.env_steps == 320
    assert [point[0] for point in run.curve] == list(range(32, 321, 32))
    assert run.curve[-1][1:] == [run.returns.individual, run.returns.joint]
    assert run.returns.individual in (11.0, 7.0, 6.0, 5.0, 0.0, -30.0)  # modes of one game
    assert {"mode_agreement", "kl_joint_individual"} <= set(run.metrics)
    assert {"rllib_agentmixer", "ray", "torch", "climbing"} <= set(run.versions)
    assert 0 < run.setup_seconds < run.seconds

    before = lines.read_text()
    capsys.readouterr()
    assert run_trial(tmp_path) == 0
    assert "1 runs to do, 1 done before" in capsys.readouterr().out
    assert lines.read_text().startswith(before)
    assert len(results.read(lines)) == 2
    assert len(table_of((tmp_path / "results" / "trial.md").read_text())) == 2
    assert (tmp_path / "images" / "study_trial.png").is_file()

    complete = lines.read_text()
    assert run_trial(tmp_path) == 0
    assert lines.read_text() == complete


@pytest.mark.usefixtures("ray_cluster")
def test_a_last_evaluation_comes_at_the_end_whatever_the_interval():
    # 23 iterations, an evaluation after every second.
    result = attempt(Task(replace(CLIMBING, steps=23 * 32), 0))
    assert result.error is None
    assert [point[0] for point in result.curve[-2:]] == [22 * 32, 23 * 32]


@pytest.mark.usefixtures("ray_cluster", "trial")
def test_a_run_that_raises_is_written_down_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    broken = replace(CLIMBING, settings={"no_such_setting": 1})
    study = replace(TRIAL, make_cells=lambda: [broken, GUMBEL])
    monkeypatch.setitem(STUDIES, "trial", study)
    assert run_trial(tmp_path) == 1
    failed, good = results.read(tmp_path / "results" / "trial.jsonl")
    assert "unknown setting 'no_such_setting'" in failed.error
    assert good.error is None
    assert "FAILED (ConfigError: unknown setting" in capsys.readouterr().out
    # It is tried again, the other is not.
    assert run_trial(tmp_path) == 1
    assert "1 runs to do, 1 done before" in capsys.readouterr().out


def test_a_process_that_dies_fails_its_own_task_only():
    # os._exit stands in for an environment whose library takes the process along.
    deadly = replace(CLIMBING, env="os:_exit", env_config={"status": 3})
    harmless = replace(CLIMBING, algo="no_such_algorithm")
    tasks = deque([Task(harmless, 0), Task(deadly, 1), Task(harmless, 2)])
    found = []
    run_in_processes(tasks, 1, found.append, partial(serve, surroundings=nullcontext))
    assert [result.seed for result in found] == [0, 1, 2]
    assert found[1].error == "the process died with exit code 3"
    for result in (found[0], found[2]):
        assert "unknown algorithm 'no_such_algorithm'" in result.error


def test_several_processes_share_the_tasks():
    harmless = replace(CLIMBING, algo="no_such_algorithm")
    found = []
    tasks = [Task(harmless, seed) for seed in range(5)]
    run_tasks(tasks, 2, found.append, partial(serve, surroundings=nullcontext))
    assert sorted(result.seed for result in found) == [0, 1, 2, 3, 4]
    run_tasks([], 2, found.append)
    assert len(found) == 5


@pytest.mark.usefixtures("trial")
def test_a_report_alone_runs_nothing(tmp_path, capsys):
    assert run_trial(tmp_path, "--report-only", "--steps", "64") == 0
    assert "--steps 64" in (tmp_path / "results" / "trial.md").read_text()
    assert not (tmp_path / "results" / "trial.jsonl").exists()


def test_the_command_line_lists_studies_and_answers_misspelt_names(capsys):
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in STUDIES)
    assert main(["corelation"]) == 2
    assert "Did you mean 'correlation'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["correlation", "--seeds", "0"])


@each_study
def test_cells_of_a_study_are_plain_data(study):
    for cell in study.make_cells():
        assert json.loads(json.dumps(results.described(cell))) == results.described(cell)
        assert all(isinstance(value, str) for value in cell.labels.values())


@each_study
def test_the_readme_of_the_benchmarks_tells_the_size_of_a_study(study):
    text = (Path(__file__).parents[1] / "benchmarks" / "README.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{study.name}` ")]
    assert row.endswith(f"| {len(study.make_cells())} | {study.num_seeds} |")
