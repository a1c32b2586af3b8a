"""Plans of searches: serialization, and no changes on resume."""

from dataclasses import replace

import pytest

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.search.plan import PLAN, SearchPlan, read_plan
from rllib_agentmixer.search.spaces import read_space


@pytest.fixture
def plan():
    return SearchPlan(
        env="climbing",
        algorithm="agentmixer",
        space=read_space(["shipped", "critic_hidden=choice([64, 64], [8])"], "agentmixer"),
        settings={"train_batch_size": 512, "env.repeat": 2},
        metric="m",
        steps=100,
        grace_steps=7,
    )


def test_a_plan_reads_as_it_was_written(plan, tmp_path):
    plan.write(tmp_path)
    assert read_plan(tmp_path) == plan


def test_a_folder_without_a_search_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no search to resume \(search.json is miss"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"space": {"lr": {}}}',
        '{"env": "e", "algorithm": "ippo", "metric": "m", "steps": 9, "space": {}, "x": 1}',
    ],
)
def test_an_unreadable_plan_is_reported(tmp_path, text):
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(CheckpointError, match=r"search.json cannot be read"):
        read_plan(tmp_path)


def test_an_unwritable_folder_is_reported(plan, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another --out"):
        plan.write(tmp_path / "file")


def test_a_resumed_search_keeps_what_it_began_with(plan):
    plan.check_unchanged({"samples": 8, "env": "climbing", "space": plan.space})
    with pytest.raises(ConfigError, match="samples=9 differs from the plan's 8"):
        plan.check_unchanged({"samples": 9})
    other = read_space(["lr=uniform(0, 1)"], "agentmixer")
    with pytest.raises(ConfigError, match=r"space=lr=uniform\(0, 1\) differs .* plan's lr=loguni"):
        plan.check_unchanged({"space": other})


def test_grace_steps_default_to_a_tenth():
    space = read_space([], "ippo")
    plan = SearchPlan(env="e", algorithm="ippo", space=space, metric="m", steps=250)
    assert plan.interval == 25
    assert replace(plan, steps=5).interval == 1
    assert replace(plan, grace_steps=250).interval == 250
