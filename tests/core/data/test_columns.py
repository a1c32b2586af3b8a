"""Experience as columns, and back: nothing is lost, whatever a team or learner stores."""

from dataclasses import dataclass, fields, replace

import pytest
import torch

from rllib_agentmixer.core.data.batch import Latents, RecurrentState
from rllib_agentmixer.core.data.columns import (
    experience_of,
    from_columns,
    state_columns,
    state_of,
    step_columns,
    stored_columns,
    to_columns,
)
from rllib_agentmixer.core.data.experience import column
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.learners.postprocessing import PolicyGradientTargets

T, B = 3, 4


@dataclass(frozen=True)
class OwnTargets:
    returns: torch.Tensor
    weights: torch.Tensor = column("importance")
    rare: torch.Tensor | None = None


def noise(*shape):
    return torch.randn(T, B, *shape, generator=torch.Generator().manual_seed(len(shape)))


def batch_of(build, kind="discrete", *, latents=None, agent_rewards=False, targets=None):
    sizes = build.sizes(kind)
    network = build.network(sizes)
    inputs = build.inputs(sizes, T, B, everybody_lives=False)
    with torch.no_grad():
        policy = network(inputs).joint
    batch = build.experience(
        replace(inputs, latents=latents),
        policy.sample(torch.Generator().manual_seed(0)),
        policy.flat(),
        torch.rand(T, B, generator=torch.Generator().manual_seed(1)) < 0.8,
        log_prob=noise(),
        values=noise(),
        advantages=noise(),
        value_targets=noise(),
    )
    changes = {"rewards": noise(), "terminated": noise() > 0, "truncated": noise() < -1}
    if agent_rewards:
        changes["agent_rewards"] = noise(3)
    if targets is not None:
        changes["targets"] = targets
    return replace(batch, **changes), TeamLayout(sizes)


def assert_equal(found, expected):
    for entry in fields(expected):
        one, other = getattr(found, entry.name), getattr(expected, entry.name)
        if isinstance(other, torch.Tensor):
            assert torch.equal(one, other), entry.name
            assert one.dtype == other.dtype, entry.name
        elif other is None:
            assert one is None, entry.name
        else:
            assert_equal(one, other)


LATENTS = {
    "none": None,
    "signal": Latents(signal=noise(5)),
    "order": Latents(agent_order=torch.arange(3).expand(T, B, 3).contiguous()),
}


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("latents", LATENTS)
@pytest.mark.parametrize("agent_rewards", [False, True])
def test_experience_comes_back_from_its_columns(build, kind, latents, agent_rewards):
    batch, layout = batch_of(build, kind, latents=LATENTS[latents], agent_rewards=agent_rewards)
    columns = step_columns(batch, layout)
    assert columns.keys() <= stored_columns(PolicyGradientTargets)
    assert all(x.shape[:2] == (T, B) for x in columns.values())
    assert columns["actions"].ndim == 3  # flat, as RLlib's action spaces are
    found = experience_of(columns, batch.valid, layout, targets=PolicyGradientTargets)
    assert_equal(found, batch)


def test_what_a_learner_stores_is_a_column_by_its_field(build):
    targets = OwnTargets(noise(), noise(3))
    batch, layout = batch_of(build, targets=targets)
    columns = step_columns(batch, layout)
    assert {"returns", "importance"} <= columns.keys()
    assert not {"rare", "weights", "advantages"} & columns.keys()
    found = experience_of(columns, batch.valid, layout, targets=OwnTargets)
    assert_equal(found.targets, targets)
    assert experience_of(columns, batch.valid, layout).targets is None


def test_names_are_rllibs_where_it_has_one(build):
    batch, layout = batch_of(build)
    assert step_columns(batch, layout).keys() == {
        *("obs", "actions", "rewards", "terminateds", "truncateds", "action_dist_inputs"),
        *("action_logp", "vf_preds", "advantages", "value_targets"),
    }


def test_columns_that_are_no_field_are_left_alone(build):
    batch, layout = batch_of(build)
    columns = step_columns(batch, layout) | {"of_a_callback": noise()}
    found = experience_of(columns, batch.valid, layout, targets=PolicyGradientTargets)
    assert_equal(found, batch)


def test_dataclasses_inside_dataclasses_are_flattened():
    outer = RecurrentState(torch.zeros(1), None, torch.ones(2))
    assert to_columns(outer).keys() == {"individual", "critic"}
    assert_equal(from_columns(RecurrentState, to_columns(outer)), outer)


@pytest.mark.parametrize("has_modifier", [True, False])
@pytest.mark.parametrize("has_critic", [True, False])
def test_states_travel_by_sequence_and_come_back_to_their_parts(has_modifier, has_critic):
    hidden = RecurrentState(
        torch.randn(3, B, 5),
        torch.randn(1, B, 5) if has_modifier else None,
        torch.randn(3, B, 5) if has_critic else None,
    )
    columns = state_columns(hidden)
    assert list(columns) == [f"state_in_{i}" for i in range(1 + has_modifier + has_critic)]
    assert all(len(x) == B for x in columns.values())
    assert_equal(state_of(columns, hidden), hidden)


def test_rows_of_a_layout_hold_what_they_were_made_of(build):
    batch, layout = batch_of(build)
    rows = layout.rows(batch.inputs)
    assert rows.shape == (T, B, layout.row_size)
    assert_equal(layout.inputs(rows), batch.inputs)
