"""Search spaces: defaults are valid throughout, contradictions are rejected before any trial."""

import pytest
from ray.tune.search import sample

from rllib_agentmixer.commands.common import draft_config
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.search.domains import Domain, parse_domain
from rllib_agentmixer.search.plan import SearchPlan
from rllib_agentmixer.search.spaces import (
    PERTURBABLE,
    check_space,
    param_space,
    read_space,
    shipped_space,
    stay_inside,
)


def draft(algo="agentmixer", **settings):
    return draft_config("climbing", algo, 0, 0, settings)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_algorithm_ships_a_space_that_is_allowed_throughout(algo):
    space = shipped_space(algo)
    assert len(space) >= 5
    check_space(draft(algo), space, {})


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_of_each_shipped_space_pbt_can_take_a_part(algo):
    part = read_space([], algo, perturbable_only=True)
    expected = {"lr", "entropy_coeff"} & shipped_space(algo).keys()
    assert "lr" in expected <= part.keys() < shipped_space(algo).keys()
    SearchPlan(env="climbing", algorithm=algo, space=part, metric="m", steps=9, scheduler="pbt")


def test_later_entries_take_precedence_and_fixed_settings_leave_the_shipped_space():
    space = read_space(["shipped", "lr=uniform(0, 1)"], "mappo", fixed=["num_epochs"])
    assert space["lr"] == Domain("uniform", (0, 1))
    assert space.keys() == ALGORITHMS["mappo"].search_space.keys() - {"num_epochs"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("space.yaml", "lr: loguniform(1e-4, 1e-2)\nigc: [strict, gumbel]\n"),
        ("space.json", '{"lr": "loguniform(1e-4, 1e-2)", "igc": ["strict", "gumbel"]}'),
    ],
)
def test_a_file_holds_a_space(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_space([str(tmp_path / name)], "agentmixer") == {
        "lr": Domain("loguniform", (1e-4, 1e-2)),
        "igc": Domain("choice", ("strict", "gumbel")),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- lr", "must map settings to ranges"),
        ("", "must map settings to ranges"),
        ("lr: {", "cannot read the search space"),
        ("lr: 0.1", "must be written like loguniform"),
    ],
)
def test_a_file_without_a_space_is_reported(tmp_path, text, message):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_space([str(tmp_path / "space.yaml")], "agentmixer")


def test_what_is_neither_a_pair_nor_a_file_is_reported():
    with pytest.raises(ConfigError, match="takes key=range, a file, or 'shipped'; 'lr' is none"):
        read_space(["lr"], "agentmixer")


def test_a_space_without_anything_left_is_empty():
    fixed = ALGORITHMS["ippo"].search_space.keys()
    with pytest.raises(ConfigError, match="the search space is empty"):
        read_space([], "ippo", fixed=fixed)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gamma", "uniform(0.9, 1.5)", "gamma must be a number in [0, 1], got 1.5"),
        ("gamma", "uniform(-0.5, 0.9)", "got -0.5"),
        ("igc", "choice(strict, gumble)", "igc must be one of"),
        ("modifier_rl", "uniform(0, 1)", "Did you mean 'modifier_lr'"),
        ("model.max_seq_length", "choice(5, 10)", "Did you mean 'max_seq_len'"),
    ],
)
def test_a_value_that_no_trial_could_have_is_refused_with_its_range(name, text, message):
    with pytest.raises(ConfigError) as raised:
        check_space(draft(), {name: parse_domain(name, text)}, {})
    assert str(raised.value).startswith(f"search space {name}=")
    assert message in str(raised.value)


def test_a_learner_brings_its_own_defaults_unless_the_user_has_set_them():
    space = {"learner": parse_domain("learner", "choice(ppo, a2c)")}
    check_space(draft(), space, {})
    with pytest.raises(ConfigError, match="num_epochs=1"):
        check_space(draft(num_epochs=15), space, {})


def test_a_setting_is_fixed_or_searched():
    with pytest.raises(ConfigError, match=r"lr is both set \(lr=0.1\) and searched \(uniform"):
        check_space(draft(), {"lr": parse_domain("lr", "uniform(0, 1)")}, {"lr": 0.1})


def test_trials_get_ranges_where_rllib_looks_for_settings():
    specs = ["lambda_=uniform(0.9, 1)", "env.repeat=choice(1, 2)", "model.max_seq_len=choice(5, 9)"]
    config = draft(**{"env.max_steps": 3})
    settings = param_space(config, read_space(specs, "agentmixer"))
    for found in (
        settings["lambda"],
        settings["env_config"]["repeat"],
        settings["model"]["max_seq_len"],
    ):
        assert isinstance(found, sample.Domain)
    assert settings["env_config"]["max_steps"] == 3
    assert config.env_config == {"max_steps": 3}
    # What follows from other settings is left to each trial.
    assert settings["minibatch_size"] is None


def test_perturbed_values_come_back_into_their_ranges():
    space = read_space(["lambda_=uniform(0.9, 0.99)", "igc=choice(a, b)"], "agentmixer")
    assert stay_inside({"lambda": 1.08, "igc": "b"}, space) == {"lambda": 0.99, "igc": "b"}
    assert stay_inside({"lambda": 0.8, "igc": "a"}, space) == {"lambda": 0.9, "igc": "a"}


# Plans.


def plan(**changes):
    space = changes.pop("space", {"lr": parse_domain("lr", "uniform(0, 1)")})
    return SearchPlan(env="climbing", algorithm="ippo", space=space, metric="m", steps=9, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "hyperband"}, "scheduler must be one of asha, pbt, none, got 'hyperband'"),
        ({"search": "tpe"}, "search must be one of random, optuna, got 'tpe'"),
        ({"search": "optuna", "space": {"lr": Domain("grid_search", (1, 2))}}, "no grid_search"),
        ({"search": "optuna", "scheduler": "pbt"}, "use --search random"),
        ({"scheduler": "pbt", "samples": 1}, "needs a population"),
        ({"scheduler": "pbt", "space": {"hidden_size": Domain("choice", (1, 2))}}, "hidden_size"),
        ({"scheduler": "pbt", "space": {"lr": Domain("grid_search", (1, 2))}}, "lr cannot be"),
        ({"grace_steps": 10}, "grace_steps must be at most steps"),
    ],
)
def test_a_contradictory_plan_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(**changes)


def test_what_pbt_may_change_are_settings_of_an_algorithm():
    known = set(vars(draft()))
    assert set(PERTURBABLE) <= known
