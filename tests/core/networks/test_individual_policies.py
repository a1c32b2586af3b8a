"""Individual policies read their own observation alone, and padding changes nothing."""

import math

import pytest
import torch

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.distributions import MASKED_LOGIT
from rllib_agentmixer.core.networks.individual_policies import (
    INITIAL_STD,
    IndividualPolicies,
    agent_groups,
)
from rllib_agentmixer.errors import ConfigError

N, T, B = 3, 2, 4
SHARING = ["separate", "shared", [[0, 2], [1]]]
VARIANTS = [
    (kind, use_gru, sharing)
    for kind in ("discrete", "continuous")
    for use_gru in (False, True)
    for sharing in SHARING
]
variants = pytest.mark.parametrize(("kind", "use_gru", "sharing"), VARIANTS)


def policies_of(build, sizes, use_gru=False, sharing="separate", seed=0):
    settings = build.settings(use_gru=use_gru, parameter_sharing=sharing)
    return build.randomize(IndividualPolicies(sizes, settings), seed)


def draw(sizes, seed=0, use_gru=False):
    """Observations [N, T * B, O], masks, and a hidden state if there is one."""
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(sizes.num_agents, T * B, sizes.obs_size, generator=generator)
    obs = obs * sizes.obs_valid[:, None]
    mask = sizes.action_valid[:, None].expand(-1, T * B, -1).clone()
    hidden = torch.randn(sizes.num_agents, B, 8, generator=generator) if use_gru else None
    return obs, mask, hidden


def test_team_sizes_describe_padding(build):
    sizes = build.sizes()
    assert (sizes.num_agents, sizes.obs_size, sizes.num_actions) == (3, 5, 4)
    assert sizes.obs_valid.sum(1).tolist() == [3, 5, 2]
    assert sizes.action_valid.sum(1).tolist() == [2, 4, 3]
    assert sizes.action_valid[0].tolist() == [True, True, False, False]


@variants
@pytest.mark.parametrize("agent", range(N))
def test_an_agent_reads_its_own_observation_only(build, kind, use_gru, sharing, agent):
    sizes = build.sizes(kind)
    policies = policies_of(build, sizes, use_gru, sharing)
    obs, mask, hidden = draw(sizes, 0, use_gru)
    others, _, other_hidden = draw(sizes, 1, use_gru)
    is_own = (torch.arange(N) == agent)[:, None, None]
    before = policies(obs, mask, hidden)
    changed_hidden = torch.where(is_own, hidden, other_hidden) if use_gru else None
    after = policies(torch.where(is_own, obs, others), mask, changed_hidden)
    torch.testing.assert_close(after.head[agent], before.head[agent])
    torch.testing.assert_close(after.features[agent], before.features[agent])
    for other in set(range(N)) - {agent}:
        assert not torch.allclose(after.head[other], before.head[other])


@pytest.mark.parametrize("use_gru", [False, True])
def test_gradient_of_an_agents_output_reaches_its_own_observation_only(build, use_gru):
    sizes = build.sizes()
    policies = policies_of(build, sizes, use_gru)
    obs, mask, hidden = draw(sizes, 0, use_gru)
    obs.requires_grad_()
    policies(obs, mask, hidden).head[1].sum().backward()
    assert (obs.grad[1] != 0).any()
    assert obs.grad[[0, 2]].abs().max() == 0


@pytest.mark.parametrize("use_gru", [False, True])
def test_permuting_agents_with_their_parameters_permutes_the_outputs(build, use_gru):
    sizes = build.sizes(obs_sizes=(5, 5, 5), action_sizes=(4, 4, 4))
    policies = policies_of(build, sizes, use_gru)
    obs, mask, hidden = draw(sizes, 0, use_gru)
    mask[0, :, 2] = False
    before = policies(obs, mask, hidden)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        for parameter in policies.parameters():
            parameter.copy_(parameter[order])
    after = policies(obs[order], mask[order], hidden[order] if use_gru else None)
    torch.testing.assert_close(after.head, before.head[order])
    torch.testing.assert_close(after.features, before.features[order])


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("use_gru", [False, True])
@pytest.mark.parametrize("agent", range(N))
@pytest.mark.parametrize("obs_sizes", [(3, 5, 2), (4, 7, 5)])  # without and with input norm
def test_an_agent_acts_in_a_padded_team_as_it_would_alone(build, kind, use_gru, agent, obs_sizes):
    sizes = build.sizes(kind, obs_sizes)
    team = policies_of(build, sizes, use_gru)
    has_norm = team.encoder.input_norm is not None
    assert has_norm == (min(obs_sizes) >= 4)
    own_obs, own_actions = sizes.obs_sizes[agent], sizes.action_sizes[agent]
    settings = build.settings(use_gru=use_gru, input_layer_norm=has_norm)
    alone = IndividualPolicies(TeamSizes((own_obs,), 7, kind, (own_actions,)), settings)
    with torch.no_grad():
        in_team = dict(team.named_parameters())
        for name, parameter in alone.named_parameters():
            own = in_team[name][agent : agent + 1]
            parameter.copy_(own[tuple(slice(size) for size in parameter.shape)])
    obs, mask, hidden = draw(sizes, 0, use_gru)
    expected = alone(
        obs[agent : agent + 1, :, :own_obs],
        mask[agent : agent + 1, :, :own_actions],
        hidden[agent : agent + 1] if use_gru else None,
    )
    result = team(obs, mask, hidden)
    torch.testing.assert_close(result.head[agent, :, :own_actions], expected.head[0])
    torch.testing.assert_close(result.features[agent], expected.features[0])


@pytest.mark.parametrize("obs_sizes", [(3, 5, 2), (4, 7, 5)])
def test_padded_observation_features_carry_neither_value_nor_gradient(build, obs_sizes):
    sizes = build.sizes(obs_sizes=obs_sizes)
    policies = policies_of(build, sizes)
    obs, mask, _ = draw(sizes)
    padding = ~sizes.obs_valid[:, None].expand_as(obs)
    garbage = obs.masked_fill(padding, 1e3).requires_grad_()
    result = policies(garbage, mask)
    torch.testing.assert_close(result.head, policies(obs, mask).head)
    result.features.square().sum().backward()
    assert garbage.grad[padding].abs().max() == 0
    weight = policies.encoder.linears[0].weight
    assert weight.grad[~sizes.obs_valid].abs().max() == 0


def test_forbidden_and_missing_actions_get_the_masked_logit(build):
    sizes = build.sizes()
    policies = policies_of(build, sizes)
    obs, mask, _ = draw(sizes)
    mask[1, 3, 2] = False
    head = policies(obs, mask).head
    assert (head[~mask] == MASKED_LOGIT).all()
    assert (head[mask] > -100).all()


def test_missing_action_dimensions_have_mean_0(build):
    sizes = build.sizes("continuous")
    obs, mask, _ = draw(sizes)
    head = policies_of(build, sizes)(obs, mask).head
    assert (head[~mask] == 0).all()
    assert (head[mask] != 0).all()


def test_the_head_is_a_linear_map_of_the_features_which_know_the_agent(build):
    sizes = build.sizes(obs_sizes=(5, 5, 5), action_sizes=(4, 4, 4))
    policies = policies_of(build, sizes, sharing="shared")
    obs, mask, _ = draw(sizes)
    same = obs[:1].expand_as(obs)
    result = policies(same, mask)
    features, _ = policies.encoder(same, None)
    expected = torch.nn.functional.layer_norm(
        features + policies.agent_embedding[:, None],
        (8,),
        policies.feature_norm.weight[0],
        policies.feature_norm.bias[0],
    )
    torch.testing.assert_close(result.features, expected)
    head = expected @ policies.head.weight[0] + policies.head.bias[0]
    torch.testing.assert_close(result.head, head)
    assert not torch.allclose(result.head[0], result.head[1])  # by the embedding alone


def test_fresh_policies_are_nearly_uniform_and_embeddings_orthonormal(build):
    torch.manual_seed(0)
    sizes = build.sizes(obs_sizes=(5, 5, 5), action_sizes=(4, 4, 4))
    policies = IndividualPolicies(sizes, build.settings())
    obs, mask, _ = draw(sizes)
    assert policies(obs, mask).head.abs().max() < 0.1
    gains = policies.head.weight.square().sum((1, 2)) / sizes.num_actions
    torch.testing.assert_close(gains.sqrt(), torch.full((N,), 0.01))
    embedding = policies.agent_embedding
    torch.testing.assert_close(embedding @ embedding.mT, torch.eye(N))


def test_the_individual_std_starts_at_one_half_and_is_no_parameter(build):
    policies = policies_of(build, build.sizes("continuous"))
    torch.testing.assert_close(policies.log_std, torch.full((3, 4), math.log(INITIAL_STD)))
    assert "log_std" in dict(policies.named_buffers())
    assert "log_std" not in dict(policies.named_parameters())


@pytest.mark.parametrize(
    ("sharing", "groups"),
    [
        ("separate", (0, 1, 2)),
        ("shared", (0, 0, 0)),
        ([[0, 2], [1]], (0, 1, 0)),
        ([[2], [0, 1]], (1, 1, 0)),
    ],
)
def test_agent_groups_follow_the_setting(sharing, groups):
    assert agent_groups(sharing, 3) == groups


@pytest.mark.parametrize("sharing", [[[0, 1]], [[0, 1], [2, 3]]])
def test_groups_of_another_number_of_agents_are_refused(sharing):
    with pytest.raises(ConfigError, match=r"parameter_sharing.*3 agents"):
        agent_groups(sharing, 3)
