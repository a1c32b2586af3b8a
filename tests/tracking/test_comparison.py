"""Groups of runs are compared by what they reached, and only where that is fair."""

import json

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from rllib_agentmixer.analysis.statistics import bootstrap_interval, interquartile_mean
from rllib_agentmixer.cli import main
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.tracking import comparison
from rllib_agentmixer.tracking.comparison import band_of, check_same_environment, group_runs
from rllib_agentmixer.tracking.tracked_runs import INDIVIDUAL, JOINT, TrackedRun, choose_metric

STAMP = {
    "environment": "climbing",
    "environment.version": "1",
    "environment.config": "{}",
    "team_reward": "sum",
}


def run(value, algorithm="MAPPO", seed=0, steps=(100, 200, 300), status="FINISHED", **tags):
    curve = tuple((step, value * step / steps[-1]) for step in steps)
    tags = {**STAMP, "algorithm": algorithm, "seed": str(seed), **tags}
    return TrackedRun(f"{algorithm}-{seed}", f"id{algorithm}{seed}", status, tags, curve)


def team(algorithm, values):
    return [run(value, algorithm, seed) for seed, value in enumerate(values)]


def test_groups_are_ranked_by_the_interquartile_mean_of_their_last_values():
    values = [1.0, 5.0, 6.0, 100.0]
    groups = group_runs(team("IPPO", [3.0, 3.0]) + team("MAPPO", values), "algorithm", last=1)
    assert [group.name for group in groups] == ["MAPPO", "IPPO"]
    assert groups[0].iqm == 5.5
    assert groups[0].finals == tuple(values)
    expected = bootstrap_interval(values, interquartile_mean)
    assert groups[0].interval == expected
    assert groups[1].interval.low == groups[1].interval.high == 3.0


def test_the_last_values_are_averaged():
    (group,) = group_runs([run(3.0)], "algorithm", last=2)
    assert group.finals == (2.5,)


def test_runs_are_grouped_by_any_tag_or_parameter():
    runs = [run(1.0, igc="strict"), run(2.0, igc="gumbel"), run(3.0)]
    assert [group.name for group in group_runs(runs, "igc", 1)] == ["?", "gumbel", "strict"]
    with pytest.raises(ConfigError, match=r"unknown tag or parameter 'igk'.*'igc'"):
        group_runs(runs, "igk", 1)


def test_draws_stay_within_environments_where_several_are_compared():
    easy = [run(value, seed=seed) for seed, value in enumerate((10.0, 10.0))]
    hard = [run(value, seed=seed, environment="hard") for seed, value in enumerate((0.0, 0.0))]
    (group,) = group_runs(easy + hard, "algorithm", 1)
    assert (group.interval.low, group.interval.high) == (5.0, 5.0)


def test_a_band_reaches_as_far_as_every_run_came():
    runs = [run(4.0, seed=0, steps=(100, 200, 400)), run(2.0, seed=1, steps=(100, 300))]
    (group,) = group_runs(runs, "algorithm", 1)
    assert group.env_steps == 300
    band = band_of(group)
    assert band.steps == [100, 200, 300]
    # At 300 the first run lies between its values at 200 and 400.
    assert band.middle[-1] == pytest.approx((3.0 + 2.0) / 2)
    assert band.low[-1] == pytest.approx(2.0)
    assert band.high[-1] == pytest.approx(3.0)


def test_runs_that_never_overlap_still_give_a_point():
    runs = [run(1.0, seed=0, steps=(100, 200)), run(2.0, seed=1, steps=(300, 400))]
    (group,) = group_runs(runs, "algorithm", 1)
    assert band_of(group).steps == [200]


def test_long_curves_are_thinned():
    steps = tuple(range(1, 1001))
    (group,) = group_runs([run(1.0, steps=steps)], "algorithm", 1)
    band = band_of(group)
    assert len(band.steps) == comparison.CURVE_POINTS
    assert (band.steps[0], band.steps[-1]) == (1.0, 1000.0)


@pytest.mark.parametrize("name", STAMP)
def test_other_environments_are_not_compared(name):
    check_same_environment(team("IPPO", [1.0, 2.0]))
    with pytest.raises(ConfigError, match=rf"{name}: .*other.*--any-environment"):
        check_same_environment([run(1.0), run(1.0, **{name: "other"})])


def test_readers_are_warned():
    runs = [*team("IPPO", [1.0, 2.0, 3.0]), run(1.0, "COMA", status="KILLED")]
    runs.append(run(1.0, "QMIX", steps=(100, 5000)))
    empty = TrackedRun("empty", "x", "FINISHED", {}, ())
    groups = group_runs(runs, "algorithm", 1)
    words = "\n".join(comparison.warnings_about([*runs, empty], groups))
    assert "COMA-0 is KILLED" in words
    assert "empty does not have the metric" in words
    assert "COMA has 1 seed(s): fewer than 3" in words
    assert "IPPO has" not in words
    assert "different numbers of steps" in words
    assert comparison.warnings_about(runs[:3], group_runs(runs[:3], "algorithm", 1)) == []


def test_the_same_seed_twice_counts_once():
    (group,) = group_runs([run(1.0, seed=4), run(2.0, seed=4)], "algorithm", 1)
    assert group.num_seeds == 1


def mlflow_run(*metrics):
    return type("Run", (), {"data": type("Data", (), {"metrics": dict.fromkeys(metrics, 0.0)})})


def test_the_deployed_policies_are_compared_where_they_were_evaluated():
    assert choose_metric([mlflow_run(INDIVIDUAL, JOINT), mlflow_run(JOINT)]) == INDIVIDUAL
    assert choose_metric([mlflow_run(JOINT)]) == JOINT
    assert choose_metric([mlflow_run("loss"), mlflow_run("kl")], "kl") == "kl"
    with pytest.raises(ConfigError, match="no run has the metric 'x'; there are kl, loss"):
        choose_metric([mlflow_run("loss"), mlflow_run("kl")], "x")
    with pytest.raises(ConfigError, match="choose a --metric of loss"):
        choose_metric([mlflow_run("loss")])


# The command, on a real store.


@pytest.fixture(scope="module")
def store(mlflow_store):
    client = MlflowClient(tracking_uri=mlflow_store)
    experiment = client.create_experiment("compared")
    client.create_experiment("nothing in it")
    parent = client.create_run(experiment, run_name="parent").info.run_id
    rng = np.random.default_rng(0)
    for algorithm, best in (("MAPPO", 8.0), ("IPPO", 5.0)):
        for seed in range(3):
            tags = {**STAMP, "algorithm": algorithm, "seed": str(seed), "sweep": "small"}
            tags["mlflow.parentRunId"] = parent
            made = client.create_run(experiment, tags=tags, run_name=f"{algorithm}-{seed}")
            points = [
                Metric(JOINT, best * step / 1000 + rng.normal(0, 0.1), step, step)
                for step in range(100, 1100, 100)
            ]
            client.log_batch(made.info.run_id, metrics=points, params=[Param("lr", "0.1")])
            client.set_terminated(made.info.run_id)
    other = client.create_run(experiment, run_name="other")
    tags = [RunTag(name, value) for name, value in {**STAMP, "environment": "hard"}.items()]
    tags += [RunTag("algorithm", "MAPPO"), RunTag("sweep", "large")]
    client.log_batch(other.info.run_id, metrics=[Metric(JOINT, 1.0, 1, 10)], tags=tags)
    return mlflow_store


def compare(capsys, *words):
    main(["compare", *words])
    return capsys.readouterr()


def test_a_comparison_is_printed_and_drawn(store, capsys, tmp_path):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    picture = tmp_path / "new" / "comparison.png"
    words = ("compared", "--tracking-uri", store, "--sweep", "small")
    shown = compare(capsys, *words, "--out", str(picture))
    assert shown.out.index("MAPPO") < shown.out.index("IPPO")
    assert "1,000" in shown.out
    assert shown.err == ""
    with image.open(picture) as opened:
        assert opened.size[0] > 900
    report = json.loads(compare(capsys, *words, "--json").out)
    assert report["metric"] == JOINT
    first = report["groups"][0]
    assert (first["group"], first["seeds"], first["env_steps"]) == ("MAPPO", 3, 1000)
    assert first["low"] <= first["iqm"] <= first["high"]
    assert first["iqm"] == pytest.approx(8.0, abs=0.3)


def error_of(capsys, *words):
    with pytest.raises(SystemExit) as raised:
        main(["compare", *words])
    assert raised.value.code == 2
    return capsys.readouterr().err


def test_what_cannot_be_compared_says_why(store, capsys, tmp_path):
    at = ("--tracking-uri", store)
    assert "Did you mean 'compared'" in error_of(capsys, "compare", *at)
    assert "has no runs with metrics" in error_of(capsys, "nothing in it", *at)
    assert "Did you mean 'small'" in error_of(capsys, "compared", "--sweep", "smal", *at)
    wrong = error_of(capsys, "compared", "--metric", "x", *at)
    assert f"no run has the metric 'x'; there are {JOINT}" in wrong
    assert "environment: climbing / hard" in error_of(capsys, "compared", *at)
    away = error_of(capsys, "compared", "--tracking-uri", "http://127.0.0.1:9")
    assert "is unavailable: [Errno 111] Connection refused" in away
    assert "no MLflow database at" in error_of(
        capsys, "compared", "--tracking-uri", f"sqlite:///{tmp_path / 'none.db'}"
    )
    assert not (tmp_path / "none.db").exists()


def test_environments_are_mixed_only_when_asked(store, capsys):
    shown = compare(capsys, "compared", "--tracking-uri", store, "--any-environment")
    assert "other is RUNNING" in shown.err
    assert "IPPO" in shown.out
