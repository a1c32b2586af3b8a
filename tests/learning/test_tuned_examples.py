"""Every tuned example reaches what it says, on three seeds."""

import importlib.util
from pathlib import Path

import pytest

from rllib_agentmixer.runs.tuned import run_until

EXAMPLES = sorted((Path(__file__).parents[2] / "tuned_examples").glob("*/*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(f"tuned_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.learning
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.usefixtures("ray_cluster")
def test_tuned_example_reaches_its_expectation(path, seed, capsys):
    example = load(path)
    outcome = run_until(example.config, example.stop, seed)
    with capsys.disabled():
        print(f"\n{path.parent.name}/{path.stem}: {outcome}")
    assert outcome.is_reached, str(outcome)


def test_there_is_a_tuned_example_for_every_algorithm():
    from rllib_agentmixer.core.algorithms.registry import ALGORITHMS

    assert {path.parent.name for path in EXAMPLES} == set(ALGORITHMS)
