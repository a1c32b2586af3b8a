"""The policy modifier: mixing equations, dead agents, masks, symmetry, and what it reads."""

import pytest
import torch
from torch import nn

from rllib_agentmixer.core.functional.distributions import MASKED_LOGIT
from rllib_agentmixer.core.networks.individual_policies import IndividualOutput
from rllib_agentmixer.core.networks.mixing import MixerBlock, linear
from rllib_agentmixer.core.networks.policy_modifier import PolicyModifier

N, R, D = 3, 4, 5
AGENT_HIDDEN, CHANNEL_HIDDEN = 6, 7
STATE_FEATURES = torch.zeros(R, 2)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def block_of(build, seed=0):
    block = MixerBlock(N, D, agent_hidden=AGENT_HIDDEN, channel_hidden=CHANNEL_HIDDEN)
    return build.randomize(block, seed)


def layer_norm(x, norm):
    """One vector, by the definition."""
    centred = x - x.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def mix_by_loops(block, agents, alive):
    """Equation 5 of arXiv:2401.08728, one row, one channel and one agent at a time."""
    agents = agents.clone()
    for r in range(R):
        normed = torch.stack(
            [layer_norm(agents[i, r], block.agent_norm) * alive[i, r] for i in range(N)]
        )
        for d in range(D):
            hidden = torch.relu(block.agent_in.weight @ normed[:, d] + block.agent_in.bias)
            agents[:, r, d] += block.agent_out.weight @ hidden + block.agent_out.bias
        for i in range(N):
            own = layer_norm(agents[i, r], block.channels.norm)
            inward, outward = block.channels.channel_in, block.channels.channel_out
            hidden = torch.relu(inward.weight @ own + inward.bias)
            agents[i, r] += outward.weight @ hidden + outward.bias
    return agents


@pytest.mark.parametrize("num_dead", [0, 1, N])
def test_a_block_mixes_agents_then_channels(build, num_dead):
    block = block_of(build)
    agents = 2 * draw(N, R, D) + 1
    alive = torch.ones(N, R, 1)
    alive[:num_dead, 1] = 0
    with torch.no_grad():
        torch.testing.assert_close(
            block(agents, alive, STATE_FEATURES), mix_by_loops(block, agents, alive)
        )


def test_a_block_with_zero_outputs_is_the_identity(build):
    block = block_of(build)
    for layer in (block.agent_out, block.channels.channel_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    agents = draw(N, R, D)
    assert torch.equal(block(agents, torch.ones(N, R, 1), STATE_FEATURES), agents)


def test_dead_agents_influence_nobody_in_a_block(build):
    block = block_of(build)
    alive = torch.ones(N, R, 1)
    alive[1, 2] = 0
    agents = draw(N, R, D)
    changed = agents.clone()
    changed[1] = draw(R, D, seed=9)
    before, after = block(agents, alive, STATE_FEATURES), block(changed, alive, STATE_FEATURES)
    torch.testing.assert_close(after[[0, 2], 2], before[[0, 2], 2])
    for row in (0, 1, 3):  # alive there, so it does influence the others
        assert not torch.allclose(after[0, row], before[0, row])


def test_linear_starts_orthogonal_without_bias():
    layer = linear(D, D, gain=2.0)
    torch.testing.assert_close(layer.weight @ layer.weight.mT, 4 * torch.eye(D))
    assert layer.bias.abs().max() == 0
    torch.testing.assert_close(linear(D, D).weight.square().sum(), torch.tensor(2.0 * D))


# --- the whole modifier

OBS_WIDTH, STATE = 8, 7


def dispersion_of(modifier, *inputs):
    return modifier.dispersion(modifier(*inputs).agents)


def modifier_of(build, sizes, **settings):
    settings = {"num_mixer_blocks": 2} | settings
    return build.randomize(PolicyModifier(sizes, build.settings(**settings)))


def individual_of(sizes, mask, seed=0):
    """Heads and features as individual policies would send them."""
    head = draw(N, R, sizes.num_actions, seed=seed)
    fill = MASKED_LOGIT if sizes.action_kind == "discrete" else 0.0
    features = draw(N, R, OBS_WIDTH, seed=seed + 1)
    return IndividualOutput(head.masked_fill(~mask, fill), features, None)


def everything(sizes):
    mask = sizes.action_valid[:, None].expand(-1, R, -1).clone()
    return mask, draw(R, STATE, seed=5), torch.ones(N, R, dtype=torch.bool)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("igc", ["strict", "gumbel", "none"])
def test_output_has_one_dispersion_per_action_and_own_means_without_igc(build, kind, igc):
    sizes = build.sizes(kind)
    mask, state, alive = everything(sizes)
    modifier = modifier_of(build, sizes, igc=igc)
    output = modifier(individual_of(sizes, mask), state, mask, alive)
    factor = 2 if igc == "none" and kind == "continuous" else 1
    assert output.agents.shape == (N, R, 6)
    assert modifier.dispersion(output.agents).shape == (N, R, factor * 4)
    assert output.hidden is None


def by_parts(modifier, sizes, individual, state, mask, alive):
    """The forward pass as section "Implementation" of the paper describes it, agent by agent."""
    head = individual.head
    if sizes.action_kind == "discrete":
        head = (head - head.logsumexp(-1, keepdim=True)).clamp(min=-10)
    state_features, _ = modifier.state_encoder(state.unsqueeze(0), None)
    rows = []
    for i in range(N):
        policy = torch.cat([head[i], mask[i].float()], -1)
        q = modifier.policy_norm(torch.relu(modifier.policy_embedding(policy)))
        joined = modifier.from_agent(torch.cat([q, individual.features[i]], -1))
        joined = joined + modifier.from_state(state_features[0]) + modifier.agent_bias[i]
        rows.append(modifier.input_norm(torch.relu(joined)))
    mixed = torch.stack(rows)
    for block in modifier.blocks:
        mixed = block(mixed, alive.float().unsqueeze(-1), state_features[0])
    return modifier.output(modifier.output_norm(mixed))


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_the_modifier_embeds_policies_state_and_agent_then_mixes(build, kind):
    sizes = build.sizes(kind)
    modifier = modifier_of(build, sizes)
    mask, state, alive = everything(sizes)
    alive[2, 1] = False
    individual = individual_of(sizes, mask)
    expected = by_parts(modifier, sizes, individual, state, mask, alive)
    torch.testing.assert_close(dispersion_of(modifier, individual, state, mask, alive), expected)


def test_sizes_of_the_parts_follow_the_settings(build):
    sizes = build.sizes()
    modifier = modifier_of(
        build, sizes, num_mixer_blocks=3, agent_mixing_factor=5, channel_mixing_factor=2
    )
    assert len(modifier.blocks) == 3
    assert modifier.blocks[0].agent_in.weight.shape == (5 * N, N)
    assert modifier.blocks[0].channels.channel_in.weight.shape == (2 * 6, 6)


def test_a_fresh_modifier_says_almost_nothing_and_tells_agents_apart(build):
    torch.manual_seed(0)
    sizes = build.sizes()
    modifier = PolicyModifier(sizes, build.settings())
    mask, state, alive = everything(sizes)
    output = dispersion_of(modifier, individual_of(sizes, mask), state, mask, alive)
    assert output.abs().max() < 0.2
    torch.testing.assert_close(modifier.agent_bias @ modifier.agent_bias.mT, torch.eye(N))


def test_dead_agents_influence_nobody(build):
    sizes = build.sizes()
    modifier = modifier_of(build, sizes)
    mask, state, alive = everything(sizes)
    alive[1] = False
    first, second = individual_of(sizes, mask, 0), individual_of(sizes, mask, 40)
    is_dead = ~alive.unsqueeze(-1)
    swapped = IndividualOutput(
        torch.where(is_dead, second.head, first.head),
        torch.where(is_dead, second.features, first.features),
        None,
    )
    before = dispersion_of(modifier, first, state, mask, alive)
    after = dispersion_of(modifier, swapped, state, mask, alive)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    alive[1] = True
    before = dispersion_of(modifier, first, state, mask, alive)
    after = dispersion_of(modifier, swapped, state, mask, alive)
    assert not torch.allclose(after[[0, 2]], before[[0, 2]])


def test_permuting_agents_with_their_parameters_permutes_the_dispersion(build):
    sizes = build.sizes(obs_sizes=(5, 5, 5), action_sizes=(4, 4, 4))
    modifier = modifier_of(build, sizes)
    mask, state, alive = everything(sizes)
    alive[0, 1] = False
    individual = individual_of(sizes, mask)
    before = dispersion_of(modifier, individual, state, mask, alive)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        modifier.agent_bias.copy_(modifier.agent_bias[order])
        for block in modifier.blocks:
            block.agent_in.weight.copy_(block.agent_in.weight[:, order])
            block.agent_out.weight.copy_(block.agent_out.weight[order])
            block.agent_out.bias.copy_(block.agent_out.bias[order])
    permuted = IndividualOutput(individual.head[order], individual.features[order], None)
    after = dispersion_of(modifier, permuted, state, mask[order], alive[order])
    torch.testing.assert_close(after, before[order])


def test_a_masked_logit_does_not_blind_the_modifier(build):
    sizes = build.sizes()
    modifier = modifier_of(build, sizes)
    mask, state, alive = everything(sizes)
    mask[1, :, 2] = False
    individual = individual_of(sizes, mask)
    shifted = individual.head.clone()
    shifted[1, :, 0] += 0.5
    before = dispersion_of(modifier, individual, state, mask, alive)
    moved = IndividualOutput(shifted, individual.features, None)
    after = dispersion_of(modifier, moved, state, mask, alive)
    assert torch.isfinite(before).all()
    assert ((after - before).abs().amax(-1) > 1e-4).all()


def test_the_modifier_sees_which_actions_are_legal_and_which_are_merely_unlikely(build):
    sizes = build.sizes(action_sizes=(4, 4, 4))
    modifier = modifier_of(build, sizes)
    mask, state, alive = everything(sizes)
    individual = individual_of(sizes, mask)
    individual.head[0, :, 3] = -50.0
    narrower = mask.clone()
    narrower[0, :, 3] = False
    before = dispersion_of(modifier, individual, state, mask, alive)
    assert not torch.allclose(dispersion_of(modifier, individual, state, narrower, alive), before)


@pytest.mark.parametrize("part", ["state", "features", "head"])
def test_state_features_and_policies_of_mates_all_matter(build, part):
    sizes = build.sizes()
    modifier = modifier_of(build, sizes)
    mask, state, alive = everything(sizes)
    individual = individual_of(sizes, mask)
    before = dispersion_of(modifier, individual, state, mask, alive)
    head, features = individual.head.clone(), individual.features.clone()
    if part == "state":
        state = draw(R, STATE, seed=30)
    elif part == "head":
        head[0] = head[0].flip(-1).masked_fill(~mask[0], MASKED_LOGIT) + mask[0]
        head[0, :, 0] += 1.0
    else:
        features[0] = draw(R, OBS_WIDTH, seed=30)
    after = dispersion_of(modifier, IndividualOutput(head, features, None), state, mask, alive)
    assert ((after[1:] - before[1:]).abs().amax(-1) > 1e-5).all()


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("igc", ["strict", "gumbel", "none"])
def test_gradient_flows_back_to_individual_policies_only_without_igc(build, kind, igc):
    sizes = build.sizes(kind)
    modifier = modifier_of(build, sizes, igc=igc)
    mask, state, alive = everything(sizes)
    plain = individual_of(sizes, mask)
    head, features = plain.head.requires_grad_(), plain.features.requires_grad_()
    output = modifier(IndividualOutput(head, features, None), state, mask, alive)
    modifier.dispersion(output.agents).square().sum().backward()
    for tensor in (head, features):
        assert (tensor.grad is not None) == (igc == "none")
    assert all(p.grad is not None for p in modifier.parameters())


def test_the_recurrent_state_runs_over_the_rows_of_a_sequence(build):
    T, B = 2, 2
    sizes = build.sizes()
    modifier = modifier_of(build, sizes, use_gru=True)
    mask, state, alive = everything(sizes)
    individual = individual_of(sizes, mask)
    hidden = draw(1, B, 8, seed=11)
    whole = modifier(individual, state, mask, alive, hidden)
    assert whole.hidden.shape == (1, B, 8)
    for t in range(T):
        rows = slice(t * B, (t + 1) * B)
        part = IndividualOutput(individual.head[:, rows], individual.features[:, rows], None)
        step = modifier(part, state[rows], mask[:, rows], alive[:, rows], hidden)
        torch.testing.assert_close(step.agents, whole.agents[:, rows])
        hidden = step.hidden
    torch.testing.assert_close(hidden, whole.hidden)
