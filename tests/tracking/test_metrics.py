"""Which numbers of a result become curves."""

import math
import re

import numpy as np

from rllib_agentmixer.tracking import clean_key, flatten, metrics_of


def test_numbers_are_flattened_and_everything_else_dropped():
    nested = {
        "a": 1,
        "b": {"c": 2.5, "d": {"e": np.float32(0.5), "f": np.int64(3)}},
        "text": "x",
        "flag": True,
        "flags": np.bool_(True),
        "list": [1.0],
        "nothing": None,
        "nan": math.nan,
        "inf": np.float64(math.inf),
        "config": {"lr": 1.0},
        "inner": {"hist_stats": {"lengths": 3.0}, "timers": {"x": 1.0}},
    }
    assert flatten(nested) == {"a": 1.0, "b/c": 2.5, "b/d/e": 0.5, "b/d/f": 3.0}
    assert all(type(value) is float for value in flatten(nested).values())


def test_curves_have_short_names():
    result = {
        "training_iteration": 3,
        "env_runners": {"episode_return_mean": 1.5, "hist_stats": {"x": 1.0}},
        "evaluation": {"joint": {"episode_return_mean": 2.0}, "central_gap": 0.5, "other": 1.0},
        "info": {
            "learner": {
                "default_policy": {"learner_stats": {"kl": 0.1}, "custom_metrics": {"x": 1}}
            }
        },
        "num_env_steps_sampled": 10,
    }
    assert metrics_of(result) == {
        "env_runners/episode_return_mean": 1.5,
        "evaluation/joint/episode_return_mean": 2.0,
        "evaluation/central_gap": 0.5,
        "learner/kl": 0.1,
        "time/training_iteration": 3.0,
    }
    assert metrics_of({}) == {"time/training_iteration": 0.0}


def test_names_hold_only_what_mlflow_takes():
    cleaned = clean_key("env_runners/return (mean) [a+b]")
    assert cleaned.startswith("env_runners/return _mean_ _a_b_.")
    assert re.fullmatch(r"[\w\-. /:]+", cleaned)
    assert clean_key("agent_return_mean/predator_0") == "agent_return_mean/predator_0"


def test_names_that_differ_stay_different():
    names = ["agent (1)", "agent [1]", "agent _1_", "agent <1>"]
    assert len({clean_key(name) for name in names}) == len(names)
