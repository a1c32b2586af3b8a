"""Grouped layers against loops over agents and against PyTorch's own layers."""

import math

import pytest
import torch
from torch import nn

from rllib_agentmixer.core.networks.encoders import (
    GroupedGRU,
    GroupedLayerNorm,
    GroupedLinear,
    TeamEncoder,
)

N, R, IN, OUT = 3, 5, 4, 6
GROUPS = {
    "separate": (0, 1, 2),
    "shared": (0, 0, 0),
    "grouped": (0, 0, 1),
    "reordered": (2, 0, 1),
    "single agent": (0,),
}
all_groups = pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS.keys())


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@all_groups
def test_grouped_linear_is_a_loop_over_agents(build, groups):
    layer = build.randomize(GroupedLinear(groups, IN, OUT))
    x = draw(len(groups), R, IN)
    expected = [x[i] @ layer.weight[g] + layer.bias[g] for i, g in enumerate(groups)]
    torch.testing.assert_close(layer(x), torch.stack(expected))


@all_groups
def test_every_group_has_parameters_of_its_own(groups):
    layer = GroupedLinear(groups, IN, OUT)
    assert layer.weight.shape == (max(groups) + 1, IN, OUT)
    layer(draw(len(groups), R, IN))[0].sum().backward()
    touched = layer.weight.grad.flatten(1).abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == [groups[0]]


@pytest.mark.parametrize("gain", [0.01, math.sqrt(2)])
def test_linear_layers_start_orthogonal_with_the_gain_and_without_bias(gain):
    layer = GroupedLinear((0, 1), IN, IN, gain=gain)
    for weight in layer.weight:
        torch.testing.assert_close(weight @ weight.mT, gain**2 * torch.eye(IN))
    assert not torch.equal(layer.weight[0], layer.weight[1])
    assert layer.bias.abs().max() == 0


def test_hidden_layers_start_with_the_gain_of_relu():
    weight = GroupedLinear((0,), IN, IN).weight[0]
    torch.testing.assert_close(weight @ weight.mT, 2 * torch.eye(IN))


def test_recurrent_units_start_orthogonal_with_gain_1():
    unit = GroupedGRU((0, 1), 6, 2)
    for weight in (*unit.from_input.weight, *unit.from_hidden.weight):
        singular = torch.linalg.svdvals(weight)
        torch.testing.assert_close(singular, torch.ones_like(singular))


def test_only_parameters_are_saved(build):
    torso = encoder(build, (0, 1, 1), SPARSE, use_gru=True)
    assert set(torso.state_dict()) == dict(torso.named_parameters()).keys()
    norm = GroupedLayerNorm((0, 1, 2), IN, SPARSE)
    assert set(norm.state_dict()) == {"weight", "bias"}


@all_groups
def test_grouped_layer_norm_is_pytorchs_own_per_agent(build, groups):
    layer = build.randomize(GroupedLayerNorm(groups, IN))
    x = 3 * draw(len(groups), R, IN) + 1
    expected = [
        nn.functional.layer_norm(x[i], (IN,), layer.weight[g], layer.bias[g])
        for i, g in enumerate(groups)
    ]
    torch.testing.assert_close(layer(x), torch.stack(expected))


@all_groups
def test_ragged_layer_norm_is_that_of_the_part_without_padding(build, groups):
    sizes = (4, 2, 3)[: len(groups)] if len(groups) > 1 else (2,)
    valid = torch.arange(IN) < torch.tensor(sizes)[:, None]
    layer = build.randomize(GroupedLayerNorm(groups, IN, valid))
    x = 3 * draw(len(groups), R, IN) + 1  # garbage in padding must not count either
    result = layer(x)
    for i, (g, size) in enumerate(zip(groups, sizes, strict=True)):
        weight, bias = layer.weight[g, :size], layer.bias[g, :size]
        expected = nn.functional.layer_norm(x[i, :, :size], (size,), weight, bias)
        torch.testing.assert_close(result[i, :, :size], expected)
        assert (result[i, :, size:] == 0).all()


def test_ragged_layer_norm_of_a_constant_observation_is_finite(build):
    valid = torch.tensor([[True, True], [True, False]])
    layer = build.randomize(GroupedLayerNorm((0, 1), 2, valid))
    x = torch.ones(2, R, 2, requires_grad=True)
    result = layer(x)
    result.square().sum().backward()
    torch.testing.assert_close(result[1, :, 0], layer.bias[1, 0].expand(R))
    assert torch.isfinite(x.grad).all()


def torch_gru(layer, group):
    """PyTorch's own unit with the weights of one group."""
    width = layer.from_hidden.weight.shape[1]
    gru = nn.GRU(layer.from_input.weight.shape[1], width)
    with torch.no_grad():
        gru.weight_ih_l0.copy_(layer.from_input.weight[group].mT)
        gru.bias_ih_l0.copy_(layer.from_input.bias[group])
        gru.weight_hh_l0.copy_(layer.from_hidden.weight[group].mT)
        gru.bias_hh_l0.copy_(layer.from_hidden.bias[group])
    return gru


@all_groups
def test_grouped_gru_is_pytorchs_own_over_sequences(build, groups):
    T, B, H = 4, 3, 6
    layer = build.randomize(GroupedGRU(groups, IN, H))
    x, hidden = draw(len(groups), T * B, IN), draw(len(groups), B, H, seed=1)
    outputs, last = layer(x, hidden)
    for i, group in enumerate(groups):
        expected, after = torch_gru(layer, group)(x[i].view(T, B, IN), hidden[i : i + 1])
        torch.testing.assert_close(outputs[i].view(T, B, H), expected)
        torch.testing.assert_close(last[i], after[0])


RAGGED = torch.arange(IN + 2) < torch.tensor([4, 6, 5])[:, None]
"""[N, 6] agents with four, six and five features: all enough for a norm."""

SPARSE = torch.arange(IN) < torch.tensor([4, 2, 3])[:, None]
"""[N, 4] agents of which one has two features: too few for a norm."""


def encoder(build, groups, valid=None, *, width=IN, **options):
    options = {"use_gru": False, "num_hidden_layers": 1, "normalize_input": True} | options
    return build.randomize(TeamEncoder(groups, width, OUT, valid=valid, **options))


@all_groups
@pytest.mark.parametrize("num_hidden_layers", [0, 1, 2])
@pytest.mark.parametrize("normalize_input", [True, False])
def test_the_encoder_is_norm_then_linear_relu_norm_layers(
    build, groups, num_hidden_layers, normalize_input
):
    torso = encoder(
        build, groups, num_hidden_layers=num_hidden_layers, normalize_input=normalize_input
    )
    x = draw(len(groups), R, IN)
    features, hidden = torso(x, None)
    assert hidden is None
    assert len(torso.linears) == 1 + num_hidden_layers
    for i, g in enumerate(groups):
        y = x[i]
        if normalize_input:
            weight, bias = torso.input_norm.weight[g], torso.input_norm.bias[g]
            y = nn.functional.layer_norm(y, (IN,), weight, bias)
        for linear, norm in zip(torso.linears, torso.norms, strict=True):
            y = torch.relu(y @ linear.weight[g] + linear.bias[g])
            y = nn.functional.layer_norm(y, (OUT,), norm.weight[g], norm.bias[g])
        torch.testing.assert_close(features[i], y)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_few_inputs_keep_their_offset_and_scale(build, width):
    torso = encoder(build, (0, 1, 2), width=width)
    assert (torso.input_norm is None) == (width < 4)
    x = draw(N, R, width)
    is_lost = torch.allclose(torso(x + 1, None)[0], torso(x, None)[0], atol=1e-4)
    assert is_lost == (width == 4)


@pytest.mark.parametrize(("valid", "has_norm"), [(RAGGED, True), (SPARSE, False)])
def test_the_smallest_observation_decides_on_the_norm(build, valid, has_norm):
    torso = encoder(build, (0, 1, 2), valid, width=valid.shape[1])
    assert (torso.input_norm is not None) == has_norm


@pytest.mark.parametrize("valid", [RAGGED, SPARSE])
@pytest.mark.parametrize("normalize_input", [True, False])
def test_the_encoder_ignores_what_stands_in_padding(build, valid, normalize_input):
    width = valid.shape[1]
    torso = encoder(build, (0, 1, 2), valid, width=width, normalize_input=normalize_input)
    x = draw(N, R, width)
    zeros, garbage = (torch.where(valid[:, None], x, fill) for fill in (0.0, 1e3))
    torch.testing.assert_close(torso(garbage, None)[0], torso(zeros, None)[0])
    # Without padding in its way, the same number does matter.
    changed = zeros.clone()
    changed[:, :, 0] += 1
    assert not torch.allclose(torso(changed, None)[0], torso(zeros, None)[0])


def test_the_recurrent_encoder_ends_with_a_unit_and_a_norm(build):
    T, B = 2, 3
    groups = GROUPS["grouped"]
    torso = encoder(build, groups, use_gru=True)
    x, hidden = draw(N, T * B, IN), draw(N, B, OUT, seed=1)
    features, after = torso(x, hidden)
    gru, gru_norm = torso.gru, torso.gru_norm
    torso.gru = torso.gru_norm = None
    expected, expected_after = gru(torso(x, None)[0], hidden)
    torch.testing.assert_close(features, gru_norm(expected))
    torch.testing.assert_close(after, expected_after)


def test_a_recurrent_encoder_without_hidden_state_says_what_it_needs(build):
    torso = encoder(build, (0, 1, 2), use_gru=True)
    with pytest.raises(ValueError, match=r"hidden state \[N, B, H\]"):
        torso(draw(N, R, IN), None)
