"""A plan reaches Ray Tune as it was meant: which trials there are, and when they end."""

from types import SimpleNamespace

import pytest
from ray import tune
from ray.tune import schedulers

from rllib_agentmixer.commands.common import draft_config
from rllib_agentmixer.commands.tune import _most_workers
from rllib_agentmixer.search import tuner
from rllib_agentmixer.search.domains import Domain
from rllib_agentmixer.search.plan import STEPS, SearchPlan


@pytest.fixture
def settings_of(monkeypatch, tmp_path):
    """What a plan's tuner would be made with."""
    monkeypatch.setattr(tune, "Tuner", lambda _, **settings: SimpleNamespace(**settings))
    config = draft_config("climbing", "ippo", 0, 0, {"train_batch_size": 100})

    def make(**changes):
        space = changes.pop("space", {"lr": Domain("uniform", (0.0, 1.0))})
        plan = SearchPlan(
            **{"env": "climbing", "algorithm": "ippo", "metric": "a/b", "steps": 5000},
            **{"seed": 7, "concurrent": 3, "max_failures": 4, "space": space, **changes},
        )
        return tuner.fresh_tuner(plan, config, tmp_path / "search", [])

    return make


def test_trials_end_are_kept_and_taken_up_again_as_planned(settings_of, tmp_path):
    run = settings_of().run_config
    assert run.stop == {STEPS: 5000}
    assert run.failure_config.max_failures == 4
    assert (run.storage_path, run.name) == (str(tmp_path), "search")
    kept = run.checkpoint_config
    assert kept.checkpoint_frequency == 5  # 50 iterations, ten checkpoints
    assert kept.checkpoint_at_end
    assert kept.num_to_keep == 2
    assert (kept.checkpoint_score_attribute, kept.checkpoint_score_order) == ("a/b", "max")


def test_higher_is_better_in_random_searches(settings_of):
    plan = settings_of().tune_config
    assert (plan.metric, plan.mode) == ("a/b", "max")
    assert plan.max_concurrent_trials == 3


def test_the_seed_determines_the_samples(settings_of):
    def sampled(seed):
        space = {"lr": Domain("uniform", (0.0, 1.0)), "igc": Domain("grid_search", (1, 2))}
        search = settings_of(seed=seed, space=space, concurrent=None).tune_config.search_alg
        settings = {name: found.to_tune() for name, found in space.items()}
        search.add_configurations({"e": {"run": "PPO", "config": settings, "num_samples": 2}})
        trials = [search.next_trial() for _ in range(4)]
        return [trial.config["lr"] for trial in trials]

    first = sampled(7)
    assert sampled(7) == first
    assert sampled(8) != first
    # Grid points share a sample: they differ in the grid's setting only.
    assert len(set(first)) == 2


def test_asha_compares_by_steps(settings_of):
    scheduler = settings_of(scheduler="asha", grace_steps=300).tune_config.scheduler
    assert isinstance(scheduler, schedulers.ASHAScheduler)
    assert scheduler._time_attr == STEPS
    assert (scheduler._max_t, scheduler._brackets[0]._rungs[-1][0]) == (5000, 300)


def test_population_based_training_looks_when_planned_and_stays_in_its_ranges(settings_of):
    space = {"lr": Domain("uniform", (0.1, 0.2)), "num_epochs": Domain("choice", (1, 2))}
    made = settings_of(scheduler="pbt", grace_steps=300, space=space)
    scheduler = made.tune_config.scheduler
    assert scheduler._perturbation_interval == 300
    assert (scheduler._time_attr, scheduler._metric, scheduler._metric_op) == (STEPS, "a/b", 1.0)
    assert made.tune_config.metric is None
    assert made.run_config.checkpoint_config.num_to_keep is None
    assert scheduler._hyperparam_mutations["num_epochs"] == [1, 2]
    for _ in range(20):
        settings, _ = scheduler._get_new_config(
            SimpleNamespace(trial_id="a"), SimpleNamespace(config={"lr": 0.2, "num_epochs": 1})
        )
        assert 0.1 <= settings["lr"] <= 0.2


def test_optuna_looks_for_the_highest_value(settings_of):
    pytest.importorskip("optuna")
    search = settings_of(search="optuna").tune_config.search_alg
    assert (search.metric, search.mode, search._seed) == ("a/b", "max", 7)


def test_a_search_that_goes_on_takes_up_what_failed_and_what_did_not_end(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(tune.Tuner, "restore", lambda path, **settings: given.update(settings))
    config = draft_config("climbing", "ippo", 0, 0, {})
    plan = SearchPlan(
        env="climbing",
        algorithm="ippo",
        metric="m",
        steps=9,
        space={"lr": Domain("uniform", (0.0, 1.0))},
    )
    tuner.resumed_tuner(plan, config, tmp_path)
    assert given["resume_unfinished"]
    assert given["resume_errored"]
    assert not given.get("restart_errored")


def cpus_of(workers):
    """Logical CPUs that a trial reserves."""
    config = draft_config("climbing", "ippo", 0, workers, {})
    return config.algo_class.default_resource_request(config).required_resources["CPU"]


def test_a_trial_reserves_a_cpu_and_one_per_worker():
    assert [cpus_of(workers) for workers in (0, 1, 3)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({"lr": Domain("uniform", (0.0, 1.0))}, 1),
        ({"num_env_runners": Domain("choice", (2, 5))}, 5),
        ({"num_env_runners": Domain("randint", (0, 4))}, 3),
    ],
)
def test_a_private_ray_has_room_for_the_largest_trial(space, expected):
    config = draft_config("climbing", "ippo", 0, 1, {})
    plan = SearchPlan(env="climbing", algorithm="ippo", metric="m", steps=9, space=space)
    assert _most_workers(plan, config) == expected
