"""Flat rows: positions of fields, round trips, and RLlib's own order."""

import gymnasium
import numpy as np
import pytest
import torch

from rllib_agentmixer.core.data.layout import FIELDS, TeamLayout

B, T = 3, 2


@pytest.fixture(params=["discrete", "continuous"])
def layout(build, request):
    return TeamLayout(build.sizes(request.param))


def parts_of(layout, seed=0):
    rng = np.random.default_rng(seed)
    parts = {
        name: rng.normal(size=(B, *shape)).astype(np.float32)
        for name, shape in layout.shapes.items()
    }
    for name in ("action_mask", "alive"):
        parts[name] = parts[name] > 0
    return parts


def pack(layout, parts):
    rows = np.full((B, layout.row_size), np.nan, np.float32)
    layout.pack(parts, rows)
    return rows


def test_shapes_and_columns_of_a_small_team(build):
    layout = TeamLayout(build.sizes())
    assert layout.shapes == {"action_mask": (3, 4), "alive": (3,), "obs": (3, 5), "state": (7,)}
    assert layout.slices == {
        "action_mask": slice(0, 12),
        "alive": slice(12, 15),
        "obs": slice(15, 30),
        "state": slice(30, 37),
    }
    assert layout.row_size == 37
    assert tuple(layout.shapes) == FIELDS == tuple(sorted(FIELDS))


def test_what_is_packed_comes_back(layout):
    parts = parts_of(layout)
    rows = pack(layout, parts)
    assert np.isfinite(rows).all()
    inputs = layout.inputs(torch.from_numpy(rows).expand(T, B, -1))
    for name, expected in parts.items():
        found = getattr(inputs, name)
        assert found.shape == (T, *expected.shape)
        np.testing.assert_array_equal(found[1].numpy(), expected)
    assert inputs.action_mask.dtype == inputs.alive.dtype == torch.bool


def test_rows_are_the_opposite_of_inputs(layout, build):
    rows = torch.from_numpy(pack(layout, parts_of(layout)))
    for leading in ((), (T,)):
        given = rows.expand(*leading, B, -1)
        assert torch.equal(layout.rows(layout.inputs(given)), given)
    inputs = build.inputs(layout.sizes, T, B, everybody_lives=False)
    found = layout.inputs(layout.rows(inputs))
    assert found.latents is None
    for name in FIELDS:
        assert getattr(found, name).dtype == getattr(inputs, name).dtype
        assert torch.equal(getattr(found, name), getattr(inputs, name)), name


def test_inputs_are_views_where_they_can_be(layout):
    rows = torch.zeros(T, B, layout.row_size)
    inputs = layout.inputs(rows)
    rows += 1
    assert (inputs.obs == 1).all()
    assert (inputs.state == 1).all()


def test_rows_are_those_of_rllibs_own_preprocessor(layout):
    from ray.rllib.models.preprocessors import DictFlatteningPreprocessor

    spaces = {
        name: gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
        for name, shape in reversed(layout.shapes.items())
    }
    preprocessor = DictFlatteningPreprocessor(gymnasium.spaces.Dict(spaces))
    parts = {name: part.astype(np.float32) for name, part in parts_of(layout).items()}
    rows = pack(layout, parts)
    for b in range(B):
        expected = preprocessor.transform({name: part[b] for name, part in parts.items()})
        np.testing.assert_array_equal(rows[b], expected)
