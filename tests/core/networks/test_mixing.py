"""Blocks that mix agents: each against loops, dead agents, all dead, and no modifier at all."""

import itertools
import math

import pytest
import torch
from torch import nn

from rllib_agentmixer.core.learners.diagnostics import fit_individual_std
from rllib_agentmixer.core.networks.individual_policies import INITIAL_STD, IndividualOutput
from rllib_agentmixer.core.networks.mixing import (
    AttentionBlock,
    ChannelMixing,
    HypernetworkBlock,
    LinearBlock,
    MixerBlock,
    mixing_blocks,
)
from rllib_agentmixer.core.networks.policy_modifier import PolicyModifier

N, R, D, F = 3, 4, 6, 5
AGENT_HIDDEN, CHANNEL_HIDDEN = 7, 8
KINDS = ["discrete", "continuous"]
BLOCKS = {
    "mixer": lambda: MixerBlock(N, D, agent_hidden=AGENT_HIDDEN, channel_hidden=CHANNEL_HIDDEN),
    "linear": lambda: LinearBlock(N, D),
    "hypernetwork": lambda: HypernetworkBlock(
        N, D, agent_hidden=AGENT_HIDDEN, channel_hidden=CHANNEL_HIDDEN, state_features=F
    ),
    "attention": lambda: AttentionBlock(D, channel_hidden=CHANNEL_HIDDEN),
}
TYPES = {
    "mixer": MixerBlock,
    "linear": LinearBlock,
    "hypernetwork": HypernetworkBlock,
    "attention": AttentionBlock,
}
each_kind = pytest.mark.parametrize("name", BLOCKS)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def block_of(build, name, seed=0):
    return build.randomize(BLOCKS[name](), seed)


STATE = draw(R, F, seed=77)


def alive_but(*dead):
    """[N, R, 1] where (agent, row) pairs are dead."""
    alive = torch.ones(N, R, 1)
    for agent, row in dead:
        alive[agent, row] = 0
    return alive


SOME_DEAD = alive_but((0, 1), (2, 1), (1, 2), *((i, 3) for i in range(N)))


# --- the equations, one number at a time


def affine(layer, x):
    return layer.weight @ x + layer.bias


def layer_norm(norm, x):
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def mix_channels(channels, x):
    """One agent in one row."""
    normed = layer_norm(channels.norm, x)
    if channels.channel_in is not None:
        normed = torch.relu(affine(channels.channel_in, normed))
    return x + affine(channels.channel_out, normed)


def living_norms(block, agents, alive, row):
    """[N, D] normalised embeddings of one row; nothing of the dead."""
    return torch.stack(
        [layer_norm(block.agent_norm, agents[i, row]) * alive[i, row] for i in range(N)]
    )


def linear_by_loops(block, agents, alive, row):
    normed = living_norms(block, agents, alive, row)
    return torch.stack([affine(block.agent_map, normed[:, d]) for d in range(D)], dim=1)


def hypernetwork_by_loops(block, agents, alive, row):
    normed = living_norms(block, agents, alive, row)
    first, second = (affine(layer, STATE[row]) for layer in (block.agent_in, block.agent_out))
    mixed = torch.zeros(N, D)
    for d in range(D):
        hidden = [
            sum(first[k * N + j] * normed[j, d] for j in range(N)).clamp(min=0)
            for k in range(AGENT_HIDDEN)
        ]
        for i in range(N):
            mixed[i, d] = sum(second[i * AGENT_HIDDEN + k] * h for k, h in enumerate(hidden))
    return mixed


def attention_by_loops(block, agents, alive, row):
    """Queries, keys and values lie behind each other, each head by head."""
    parts = torch.stack(
        [
            affine(block.query_key_value, layer_norm(block.agent_norm, agents[i, row]))
            for i in range(N)
        ]
    )
    living = [j for j in range(N) if alive[j, row]] or list(range(N))
    width = D // block.num_heads
    mixed = torch.zeros(N, D)
    for head, i in itertools.product(range(block.num_heads), range(N)):
        own = slice(head * width, (head + 1) * width)
        query, key, value = (parts[:, p * D : (p + 1) * D][:, own] for p in range(3))
        weights = torch.stack([(query[i] @ key[j] / math.sqrt(width)).exp() for j in living])
        weights = weights / weights.sum()
        mixed[i, own] = sum(w * value[j] for w, j in zip(weights, living, strict=True))
    return torch.stack([affine(block.agent_out, mixed[i]) for i in range(N)])


BY_LOOPS = {
    "linear": linear_by_loops,
    "hypernetwork": hypernetwork_by_loops,
    "attention": attention_by_loops,
}


@pytest.mark.parametrize("name", BY_LOOPS)
@pytest.mark.parametrize("alive", [alive_but(), SOME_DEAD])
def test_a_block_mixes_agents_then_channels(build, name, alive):
    block = block_of(build, name)
    agents = 2 * draw(N, R, D) + 1
    expected = torch.empty(N, R, D)
    with torch.no_grad():
        for row in range(R):
            mixed = agents[:, row] + BY_LOOPS[name](block, agents, alive, row)
            for i in range(N):
                expected[i, row] = mix_channels(block.channels, mixed[i])
        torch.testing.assert_close(block(agents, alive, STATE), expected)


@pytest.mark.parametrize("hidden", [0, CHANNEL_HIDDEN])
def test_channel_mixing_treats_every_agent_alike_and_without_hidden_width_is_one_map(build, hidden):
    channels = build.randomize(ChannelMixing(D, hidden))
    agents = draw(N, R, D)
    with torch.no_grad():
        found = channels(agents)
        for i, row in itertools.product(range(N), range(R)):
            torch.testing.assert_close(found[i, row], mix_channels(channels, agents[i, row]))
    assert (channels.channel_in is None) == (hidden == 0)


@pytest.mark.parametrize(
    ("width", "num_heads"), [(8, 4), (6, 3), (64, 4), (10, 2), (5, 1), (3, 3), (1, 1)]
)
def test_attention_has_as_many_heads_up_to_4_as_divide_its_width(width, num_heads):
    block = AttentionBlock(width, channel_hidden=CHANNEL_HIDDEN)
    assert block.num_heads == num_heads
    assert block(draw(N, R, width), alive_but(), STATE).shape == (N, R, width)


def without_norms(block):
    block.agent_norm = block.channels.norm = nn.Identity()
    return block


def test_only_the_linear_block_is_affine_in_what_its_norms_put_out(build):
    first, second = draw(N, R, D, seed=1), draw(N, R, D, seed=2)

    def bend(name):
        block = without_norms(block_of(build, name))
        with torch.no_grad():
            ends = block(first, SOME_DEAD, STATE), block(second, SOME_DEAD, STATE)
            middle = block((first + second) / 2, SOME_DEAD, STATE)
        return (middle - (ends[0] + ends[1]) / 2).abs().max()

    assert bend("linear") < 1e-5
    for name in BLOCKS.keys() - {"linear"}:
        assert bend(name) > 1e-2, name


def test_the_weights_of_the_hypernetwork_come_from_the_state_of_their_row(build):
    block = block_of(build, "hypernetwork")
    other = STATE.clone()
    other[1] = draw(F, seed=5)
    agents = draw(N, R, D)
    before, after = block(agents, alive_but(), STATE), block(agents, alive_but(), other)
    has_moved = (after - before).abs().amax((0, 2)) > 1e-3
    assert has_moved.tolist() == [False, True, False, False]
    for name in BLOCKS.keys() - {"hypernetwork"}:
        plain = block_of(build, name)
        assert torch.equal(plain(agents, alive_but(), STATE), plain(agents, alive_but(), other))


# --- the dead


@each_kind
def test_the_dead_influence_nobody_and_the_living_everybody(build, name):
    block = block_of(build, name)
    alive = alive_but((1, 2))
    agents = draw(N, R, D).requires_grad_()
    with torch.no_grad():
        changed = agents.clone()
        changed[1] = draw(R, D, seed=9)
        before, after = block(agents, alive, STATE), block(changed, alive, STATE)
    has_moved = (after - before).abs().amax(-1) > 1e-4
    assert not has_moved[[0, 2], 2].any()
    assert has_moved[:, [0, 1, 3]].all()
    block(agents, alive, STATE)[[0, 2]].square().sum().backward()
    reached = agents.grad[1].abs().amax(-1)
    assert reached[2] == 0
    assert (reached[[0, 1, 3]] > 1e-4).all()


@each_kind
def test_a_team_without_the_living_is_finite_and_so_is_its_gradient(build, name):
    block = block_of(build, name)
    agents = draw(N, R, D).requires_grad_()
    found = block(agents, torch.zeros(N, R, 1), STATE)
    found.square().sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(agents.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters() if p.grad is not None)


@each_kind
def test_rows_do_not_mix(build, name):
    block = block_of(build, name)
    agents = draw(N, R, D)
    whole = block(agents, SOME_DEAD, STATE)
    for row in range(R):
        rows = slice(row, row + 1)
        alone = block(agents[:, rows], SOME_DEAD[:, rows], STATE[rows])
        torch.testing.assert_close(alone, whole[:, rows])


GAINS = {
    "mixer": {"agent_in": 2**0.5, "agent_out": 2**0.5},
    "linear": {"agent_map": 1.0},
    "hypernetwork": {"agent_in": 1.0, "agent_out": 0.01},
    "attention": {"query_key_value": 1.0, "agent_out": 1.0},
}


@each_kind
def test_fresh_maps_are_orthogonal_with_their_gains_and_without_bias(name):
    torch.manual_seed(0)
    layers = {entry: m for entry, m in BLOCKS[name]().named_modules() if isinstance(m, nn.Linear)}
    assert {entry for entry in layers if "channel" not in entry} == GAINS[name].keys()
    for entry, layer in layers.items():
        weight = layer.weight if layer.out_features < layer.in_features else layer.weight.mT
        gain = GAINS[name].get(entry, 2**0.5)
        torch.testing.assert_close(weight @ weight.mT, gain**2 * torch.eye(len(weight)))
        assert layer.bias.abs().max() == 0


# --- which block, and how many


@each_kind
@pytest.mark.parametrize("number", [1, 3])
def test_the_settings_name_the_kind_of_block_and_their_number(build, name, number):
    settings = build.settings(
        policy_modifier=name,
        num_mixer_blocks=number,
        agent_mixing_factor=5,
        channel_mixing_factor=2,
    )
    blocks = mixing_blocks(N, settings)
    assert [type(block) for block in blocks] == [TYPES[name]] * number
    assert len({id(p) for p in blocks.parameters()}) == number * len(list(blocks[0].parameters()))
    for block in blocks:
        widths = {entry: p.shape for entry, p in block.named_parameters()}
        assert widths["agent_norm.weight"] == (6,)
        if name == "linear":
            assert widths["agent_map.weight"] == (N, N)
            assert widths["channels.channel_out.weight"] == (6, 6)
        else:
            assert widths["channels.channel_in.weight"] == (2 * 6, 6)
        if name == "mixer":
            assert widths["agent_in.weight"] == (5 * N, N)
        if name == "hypernetwork":  # the state's features are as wide as every torso
            assert widths["agent_in.weight"] == widths["agent_out.weight"] == (5 * N * N, 8)


@pytest.mark.parametrize(("limit", "width"), [(4 * N - 1, 4 * N - 1), (4 * N, 4 * N), (64, 4 * N)])
def test_agent_mixing_widens_with_the_team_up_to_its_limit(build, limit, width):
    (block,) = mixing_blocks(N, build.settings(agent_mixing_limit=limit))
    assert block.agent_in.out_features == block.agent_out.in_features == width


@each_kind
@pytest.mark.parametrize("kind", KINDS)
def test_in_the_whole_modifier_too_the_dead_influence_nobody(build, name, kind):
    sizes = build.sizes(kind)
    settings = build.settings(policy_modifier=name, num_mixer_blocks=2)
    modifier = build.randomize(PolicyModifier(sizes, settings))
    mask = sizes.action_valid[:, None].expand(-1, R, -1)
    alive = alive_but((1, 2)).squeeze(-1).bool()
    first, second = (
        IndividualOutput(draw(N, R, 4, seed=seed), draw(N, R, 8, seed=seed + 1), None)
        for seed in (20, 30)
    )
    is_own = (torch.arange(N) == 1)[:, None, None]
    changed = IndividualOutput(
        torch.where(is_own, second.head, first.head),
        torch.where(is_own, second.features, first.features),
        None,
    )
    state = draw(R, 7, seed=40)
    with torch.no_grad():
        before, after = (
            modifier.dispersion(modifier(individual, state, mask, alive).agents)
            for individual in (first, changed)
        )
    has_moved = (after - before).abs().amax(-1) > 1e-5
    assert not has_moved[[0, 2], 2].any()
    assert has_moved[:, [0, 1, 3]].all()


@each_kind
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_every_kind_is_trained(build, name, kind):
    sizes = build.sizes(kind)
    network = build.network(sizes, policy_modifier=name, num_mixer_blocks=2)
    joint = network(build.inputs(sizes)).joint
    actions = joint.sample(torch.Generator().manual_seed(0)).detach()
    joint.log_prob(actions).square().sum().backward()
    for entry, parameter in network.policy_modifier.named_parameters():
        assert parameter.grad.abs().max() > 0, entry


# --- no modifier


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_gru", [False, True])
@pytest.mark.parametrize("algorithm", ["agentmixer", "mappo"])
def test_without_a_modifier_the_joint_policy_is_the_individual_one(build, kind, use_gru, algorithm):
    sizes = build.sizes(kind)
    settings = {"policy_modifier": "none"} if algorithm == "agentmixer" else {}
    network = build.network(sizes, algorithm=algorithm, use_gru=use_gru, **settings)
    assert network.is_product
    inputs = build.inputs(sizes, everybody_lives=False)
    hidden = network.initial_state(3)
    output = network(inputs, hidden)
    alone = network.act_individually(inputs, hidden, explore=False, generator=None)
    decision = network.act(
        inputs, hidden, explore=False, generator=torch.Generator().manual_seed(0)
    )
    for policy in (output.individual, alone.policy, decision.policy):
        assert torch.equal(policy.flat(), output.joint.flat())
    assert torch.equal(decision.actions, output.individual.mode())
    if use_gru:
        assert hidden.modifier is output.hidden.modifier is None
        assert torch.equal(output.hidden.individual, alone.hidden.individual)


def log_std_of(network):
    return network.individual_policies.log_std


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modifier", ["none", "mixer"])
def test_the_individual_std_is_trained_where_it_alone_explores(build, kind, modifier):
    sizes = build.sizes(kind)
    network = build.network(sizes, policy_modifier=modifier)
    is_trained = kind == "continuous" and modifier == "none"
    names = dict(network.individual_policies.named_parameters())
    assert ("log_std" in names) == is_trained
    assert ("log_std" in dict(network.individual_policies.named_buffers())) != is_trained
    assert "log_std" in network.individual_policies.state_dict()
    if kind == "discrete":
        return
    inputs = build.inputs(sizes)
    joint = network(inputs).joint
    actions = joint.sample(torch.Generator().manual_seed(0)).detach()
    joint.log_prob(actions).sum().backward()
    if not is_trained:
        assert log_std_of(network).grad is None
        return
    # d log N(a; mu, sigma) / d log sigma = ((a - mu) / sigma)^2 - 1 in every row.
    z = (actions - joint.mean.detach()) / log_std_of(network).exp()
    expected = ((z.square() - 1) * sizes.action_valid).sum((0, 1))
    torch.testing.assert_close(log_std_of(network).grad, expected.detach())


def test_the_trained_std_starts_at_one_half(build):
    torch.manual_seed(0)
    sizes = build.sizes("continuous")
    network = build.team(sizes, "mappo")
    joint = network(build.inputs(sizes)).joint
    torch.testing.assert_close(joint.std, torch.full_like(joint.std, INITIAL_STD))
    assert log_std_of(network).requires_grad


def test_a_trained_std_is_not_fitted_to_anything_else(build):
    actor, batch = build.collected("continuous_game", policy_modifier="none")
    before = log_std_of(actor.module).detach().clone()
    fit_individual_std(actor.module, batch)
    torch.testing.assert_close(log_std_of(actor.module).detach(), before)
    assert before.std() > 0.1
