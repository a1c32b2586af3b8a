"""One order of agents: rows belong to names, in whatever order an environment lists them."""

import numpy as np
import pytest
from envs_test_fakes import FakeTeam, box, noop
from gymnasium import spaces

from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.errors import EnvContractError


class Named(FakeTeam):
    """Every agent observes its own number; agents differ in sizes too."""

    order = ("v2", "v0", "v1")

    def __init__(self, order=None):
        super().__init__(
            agents=order or Named.order,
            obs_spaces={"v0": box(1), "v1": box(2), "v2": box(3)},
            action_spaces={"v0": spaces.Discrete(2), "v1": spaces.Discrete(4)},
        )

    def sample_obs(self, name):
        return np.full(self.obs_spaces[name].shape, int(name[1:]), np.float32)


@pytest.fixture
def listed(monkeypatch):
    """Choose the order in which instances list their agents from now on."""
    return lambda *order: monkeypatch.setattr(Named, "order", order)


def test_rows_follow_the_teams_order_and_not_the_environments(listed):
    listed("v2", "v0", "v1")
    team = make_vector_env(Named, 2, agents=("v0", "v1", "v2"))
    assert team.spec.agents == ("v0", "v1", "v2")
    assert team.spec.obs_sizes == (1, 2, 3)
    assert team.spec.action_sizes == (2, 4, 3)
    seen = team.reset(seed=0)
    np.testing.assert_array_equal(seen.obs[:, :, 0], [[0, 1, 2]] * 2)
    step = team.step(np.array([[1, 3, 2]] * 2))
    np.testing.assert_array_equal(step.observation.obs[:, :, 0], [[0, 1, 2]] * 2)
    assert team._envs[0].env.received[-1] == {"v0": 1, "v1": 3, "v2": 2}


def test_agents_of_other_names_are_refused():
    with pytest.raises(EnvContractError, match=r"team's agents are \['north', 'v0', 'v1'\]"):
        make_vector_env(Named, 1, agents=("north", "v0", "v1"))
    with pytest.raises(EnvContractError, match=r"\['v0', 'v1'\]"):
        make_vector_env(Named, 1, agents=("v0", "v1"))


def test_a_batched_form_has_its_agents_in_one_order():
    names = make_vector_env("predator_prey", 1).spec.agents
    assert make_vector_env("predator_prey", 1, agents=names).spec.agents == names
    with pytest.raises(EnvContractError, match="predator_1"):
        make_vector_env("predator_prey", 1, agents=names[::-1])


@pytest.mark.parametrize("second", [("v0", "v1", "v2"), ("v2", "v0")])
def test_instances_that_list_their_agents_differently_are_refused(second):
    orders = [("v2", "v0", "v1"), second]
    with pytest.raises(EnvContractError, match="in one order"):
        make_vector_env(lambda: Named(orders.pop(0)), 2)


def test_a_team_that_is_drawn_anew_at_reset_is_refused():
    def drawn(env, returned):
        if env.step_count == 0 and len(env.seeds) > 2:
            env.possible_agents = ["v0", "v1"]

    team = make_vector_env(lambda: FakeTeam(("v0", "v1", "v2"), tamper=drawn, length=1), 1)
    team.reset(seed=0)
    with pytest.raises(EnvContractError, match=r"possible_agents is \['v0', 'v1'\]"):
        team.step(noop(team))


def test_agents_that_read_alike_are_refused():
    with pytest.raises(EnvContractError, match="differ in their text form"):
        make_vector_env(lambda: FakeTeam((1, "1")), 1)
