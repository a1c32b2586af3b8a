"""One order of agents in the driver, its workers, evaluation and checkpoints."""

import os
import sys

import numpy as np
import pytest
from algorithms_test_helpers import Counter, tiny
from ray import cloudpickle

from rllib_agentmixer import AgentMixer
from rllib_agentmixer.errors import CheckpointError, EnvContractError
from rllib_agentmixer.rollouts.saved_team import load_team

DRIVER = os.getpid()
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


def reversed_elsewhere(config):
    """A Counter whose agents stand in another order in every process but this one."""

    class Listed(Counter):
        def __init__(self):
            super().__init__()
            if os.getpid() != DRIVER:
                self.possible_agents = ["b", "a"]

    return Listed()


class Renamed(Counter):
    """A Counter with a list of agents that tests change."""

    def __init__(self):
        super().__init__()
        self.possible_agents = os.environ.get("AGENTS_LISTED", "a b").split()


@pytest.fixture
def listed(monkeypatch):
    return lambda *names: monkeypatch.setenv("AGENTS_LISTED", " ".join(names))


def test_remote_workers_take_the_drivers_order(build):
    config = tiny(reversed_elsewhere).env_runners(num_env_runners=1)
    algorithm = build(config)
    orders = algorithm.env_runner_group.foreach_env_runner(
        lambda worker: (worker.team_spec.agents, worker.vector_env._envs[0].env.possible_agents),
        local_env_runner=False,
    )
    assert orders == [(("a", "b"), ["b", "a"])]
    assert algorithm.team_spec.agents == ("a", "b")


def test_without_a_common_order_nothing_is_trained(build, monkeypatch):
    config = tiny(reversed_elsewhere).env_runners(num_env_runners=1)
    monkeypatch.setattr(type(config), "fix_agents", lambda self: None)
    # The driver has no environment of its own here but for evaluation, which asks the worker.
    with pytest.raises(EnvContractError, match=r"agents of .* is \['a', 'b'\], of a worker's"):
        build(config)


def test_a_restored_algorithm_keeps_the_order_of_its_checkpoint(build, keep, listed, tmp_path):
    saved = build(tiny(Renamed))
    saved.train()
    saved.save(str(tmp_path / "c"))
    listed("b", "a")
    again = keep(AgentMixer.from_checkpoint(str(tmp_path / "c")))
    assert again.team_spec.agents == ("a", "b")
    fresh = again.team_worker.team_env_creator.vector({}, 1)
    assert fresh.spec.agents == ("a", "b")
    assert fresh._envs[0].env.possible_agents == ["b", "a"]
    assert again.train()["training_iteration"] == 2
    other = build(tiny(Renamed))  # built on its own, in the environment's order of now
    with pytest.raises(CheckpointError, match="agents"):
        other.restore(str(tmp_path / "c"))


def test_a_checkpoint_is_played_by_name(build, listed, tmp_path):
    saved = build(tiny(Renamed))
    saved.save_checkpoint(str(tmp_path / "c"))
    listed("b", "a")
    team = load_team(tmp_path / "c", Renamed)
    assert team.spec.agents == ("a", "b")
    env = team.vector_env(1)
    env.reset(0)
    env.step(np.array([[0, 1]]))
    assert env._envs[0].actions[0].tolist() == [0, 1]
    listed("north", "b")
    with pytest.raises(CheckpointError, match=r"\['a', 'b'\].*\['north', 'b'\]"):
        load_team(tmp_path / "c", Renamed)
