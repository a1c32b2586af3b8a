"""Fixtures of the RLlib tests: one Ray for all, algorithms that are stopped afterwards."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load_helpers():
    # Under a name of their own, which does not clash with the helpers of another folder.
    name = "algorithms_test_helpers"
    if name not in sys.modules:
        path = Path(__file__).with_name("helpers.py")
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        from ray import cloudpickle

        # Remote workers cannot import it, so its classes travel whole.
        cloudpickle.register_pickle_by_value(sys.modules[name])
    return sys.modules[name]


helpers = _load_helpers()


@pytest.fixture(autouse=True, scope="session")
def _ray(ray_cluster):
    """Algorithms need Ray also when all their workers are local."""


@pytest.fixture
def keep():
    """Registers algorithms, so that each is stopped at the end of its test."""
    algorithms = []

    def remember(algorithm):
        algorithms.append(algorithm)
        return algorithm

    yield remember
    for algorithm in algorithms:
        algorithm.stop()


@pytest.fixture
def build(keep):
    """Builds an algorithm from a configuration, or from the arguments of ``tiny``."""

    def build_one(config=None, **arguments):
        config = config if config is not None else helpers.tiny(**arguments)
        return keep(config.build_algo())

    return build_one
