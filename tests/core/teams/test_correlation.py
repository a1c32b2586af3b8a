"""Correlated joint policies: latents, orders, causality, and the joint distribution by counting."""

import itertools
import re
from dataclasses import replace

import pytest
import torch

from rllib_agentmixer.core.data.batch import Latents, RecurrentState, map_tensors
from rllib_agentmixer.core.learners.diagnostics import consistency_metrics, fit_individual_std
from rllib_agentmixer.core.learners.policy_losses import team_loss
from rllib_agentmixer.core.networks.correlation import (
    ActionConditioning,
    action_inputs,
    fixed_order,
    precedence,
    sample_latents,
)
from rllib_agentmixer.errors import ConfigError

T, B, N = 2, 3, 3
KINDS = ["discrete", "continuous"]
FORMS = ["strict", "gumbel", "none"]
CORRELATIONS = ["state", "signal", "autoregressive"]
ORDERS = {"default": None, "listed": [2, 0, 1], "drawn": "random"}


def random(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the order of agents


@pytest.mark.parametrize(
    ("setting", "order"), [(None, (0, 1, 2)), ([2, 0, 1], (2, 0, 1)), ("random", None)]
)
def test_agents_act_by_their_numbers_in_a_given_order_or_in_none_that_is_fixed(setting, order):
    assert fixed_order(setting, 3) == order


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3], [2, 0, 1, 3], [0, 1, 2, 2], []])
def test_an_order_that_does_not_name_every_agent_once_is_refused(build, order):
    with pytest.raises(ConfigError, match=rf"3 agents 0\.\.2 once, got {re.escape(repr(order))}"):
        fixed_order(order, 3)


def test_a_network_refuses_an_order_of_another_team(build):
    with pytest.raises(ConfigError, match=r"agent_order.*got \[1, 0\]"):
        build.network(build.sizes(), correlation="autoregressive", agent_order=[1, 0])


# --- draws


def drawn(build, leading, explore=True, seed=0, **settings):
    settings = build.settings(**settings)
    return sample_latents(settings, 3, leading, explore=explore, generator=random(seed))


SIGNAL = {"correlation": "signal", "signal_size": 2}
RANDOM_ORDER = {"correlation": "autoregressive", "agent_order": "random"}


def test_a_signal_is_standard_normal_and_independent_everywhere(build):
    latents = drawn(build, (100, 400), **SIGNAL)
    assert latents.agent_order is None
    assert latents.signal.shape == (100, 400, 2)
    flat = latents.signal.flatten(0, 1)
    # Four standard errors of 40 000 latents.
    torch.testing.assert_close(flat.mean(0), torch.zeros(2), atol=0.02, rtol=0)
    torch.testing.assert_close(flat.mT.cov(), torch.eye(2), atol=0.03, rtol=0)
    within_one = (flat.abs() < 1).float().mean(0)
    torch.testing.assert_close(within_one, torch.full((2,), 0.6827), atol=0.01, rtol=0)
    for axis in (0, 1):  # independent across steps and sub-environments
        pairs = (latents.signal.narrow(axis, start, 99).flatten() for start in (0, 1))
        assert torch.corrcoef(torch.stack(list(pairs)))[0, 1].abs() < 0.03


def test_every_order_is_a_permutation_and_all_are_equally_likely(build):
    latents = drawn(build, (30, 200), **RANDOM_ORDER)
    assert latents.signal is None
    assert latents.agent_order.shape == (30, 200, 3)
    found = [tuple(order) for order in latents.agent_order.flatten(0, 1).tolist()]
    counts = {order: found.count(order) for order in itertools.permutations(range(3))}
    assert sum(counts.values()) == 6000
    # Four standard deviations of a count with mean 1000.
    assert all(abs(count - 1000) < 120 for count in counts.values()), counts


def test_without_exploration_the_signal_is_zero_and_the_order_that_of_the_numbers(build):
    assert torch.equal(drawn(build, (4, 5), False, **SIGNAL).signal, torch.zeros(4, 5, 2))
    order = drawn(build, (4, 5), False, **RANDOM_ORDER).agent_order
    assert torch.equal(order, torch.tensor([0, 1, 2]).expand(4, 5, 3))


@pytest.mark.parametrize("settings", [SIGNAL, RANDOM_ORDER])
def test_the_generator_alone_decides_what_is_drawn(build, settings):
    def numbers(seed):
        latents = drawn(build, (2, 10), seed=seed, **settings)
        return latents.signal if latents.agent_order is None else latents.agent_order

    assert torch.equal(numbers(3), numbers(3))
    assert not torch.equal(numbers(3), numbers(4))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"correlation": "autoregressive"},
        {"correlation": "autoregressive", "agent_order": [2, 0, 1]},
    ],
)
@pytest.mark.parametrize("explore", [True, False])
def test_nothing_is_drawn_where_state_and_actions_say_it_all(build, settings, explore):
    assert drawn(build, (2, 3), explore, **settings) is None
    network = build.network(build.sizes(), **settings)
    inputs = build.inputs(build.sizes())
    assert network.sample_latents(inputs, random(), explore=explore) is inputs


def test_the_network_adds_draws_to_its_inputs_and_goes_on_drawing(build):
    sizes = build.sizes()
    inputs = build.inputs(sizes)
    network = build.network(sizes, **SIGNAL)
    generator = random()
    first, second = (network.sample_latents(inputs, generator, explore=True) for _ in range(2))
    assert first.obs is inputs.obs
    assert first.latents.signal.shape == (T, B, 2)
    assert not torch.equal(first.latents.signal, second.latents.signal)
    assert not network.sample_latents(inputs, generator, explore=False).latents.signal.any()
    without_modifier = build.network(sizes, algorithm="mappo")
    assert without_modifier.sample_latents(inputs, generator, explore=True) is inputs


# --- precedence and conditioning


def orders_of(num_rows, seed=0):
    """[R, N] a permutation for every row."""
    return torch.rand(num_rows, N, generator=random(seed)).argsort(-1)


def test_precedence_says_who_acts_before_whom():
    orders = torch.tensor(list(itertools.permutations(range(N))))
    before = precedence(orders)
    for row, order in enumerate(orders.tolist()):
        for i, j in itertools.product(range(N), repeat=2):
            assert before[row, i, j] == float(order.index(j) < order.index(i))


def test_discrete_actions_are_heard_one_hot_and_continuous_ones_as_they_are():
    indices = torch.tensor([[2, 0], [1, 2]])
    expected = torch.tensor([[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]]).float()
    for actions in (indices, indices.float()):
        assert torch.equal(action_inputs(actions, 3, is_discrete=True), expected)
    vectors = torch.tensor([[0.5, -2.0, 0.0]])
    assert torch.equal(action_inputs(vectors, 3, is_discrete=False), vectors)


R, D, A, HIDDEN = 5, 6, 4, 7


def conditioning_of(build, seed=0):
    return build.randomize(ActionConditioning(N, A, D, hidden=HIDDEN), seed)


def channels_by_hand(channels, x):
    """X + W2 relu(W1 LN(X)) of one vector."""
    centred = x - x.mean()
    normed = centred / (centred.square().mean() + 1e-5).sqrt()
    normed = normed * channels.norm.weight + channels.norm.bias
    hidden = torch.relu(channels.channel_in.weight @ normed + channels.channel_in.bias)
    return x + channels.channel_out.weight @ hidden + channels.channel_out.bias


def test_conditioning_adds_what_earlier_agents_did_then_mixes_channels(build):
    conditioning = conditioning_of(build)
    agents = torch.randn(N, R, D, generator=random(1))
    actions = torch.randn(N, R, A, generator=random(2))
    orders = orders_of(R)
    expected = torch.empty(N, R, D)
    with torch.no_grad():
        for row, i in itertools.product(range(R), range(N)):
            order = orders[row].tolist()
            message = agents[i, row].clone()
            for j in order[: order.index(i)]:
                for a in range(A):
                    message += actions[j, row, a] * conditioning.embedding[j, a]
            expected[i, row] = channels_by_hand(conditioning.channels, message)
        found = conditioning(agents, actions, precedence(orders))
    torch.testing.assert_close(found, expected)


def test_the_action_of_one_agent_in_each_row_is_embedded_with_that_agents_matrix(build):
    conditioning = conditioning_of(build)
    actions = torch.randn(N, R, A, generator=random())
    everything = torch.stack([actions[i] @ conditioning.embedding[i] for i in range(N)])
    chosen, rows = torch.tensor([2, 0, 1, 1, 2]), torch.arange(R)
    found = conditioning.embed(actions[chosen, rows], chosen)
    torch.testing.assert_close(found, everything[chosen, rows])


def test_silence_is_heard_as_nothing_and_embeddings_start_orthonormal():
    torch.manual_seed(0)
    conditioning = ActionConditioning(N, A, D, hidden=HIDDEN)
    assert conditioning.embed(torch.zeros(R, A), torch.zeros(R, dtype=int)).abs().max() == 0
    for matrix in conditioning.embedding:
        torch.testing.assert_close(matrix @ matrix.mT, torch.eye(A))
    assert not torch.allclose(conditioning.embedding[0], conditioning.embedding[1])


# --- the autoregressive form in the whole network

variants = [
    pytest.mark.parametrize("kind", KINDS),
    pytest.mark.parametrize("igc", FORMS),
    pytest.mark.parametrize("order", ORDERS),
    pytest.mark.parametrize("use_gru", [False, True]),
]


def every_variant(test):
    for mark in variants:
        test = mark(test)
    return test


class Team:
    """An autoregressive team, its inputs, the order of every row, and actions that it took."""

    def __init__(self, build, kind, igc, order, use_gru=False):
        sizes = build.sizes(kind)
        self.network = build.network(
            sizes,
            correlation="autoregressive",
            igc=igc,
            agent_order=ORDERS[order],
            use_gru=use_gru,
        )
        inputs = build.inputs(sizes, T, B, everybody_lives=False)
        inputs.alive[0, 1, 2] = False
        self.inputs = self.network.sample_latents(inputs, random(5), explore=True)
        fixed = torch.tensor(ORDERS["listed"] if order == "listed" else [0, 1, 2])
        self.orders = (
            self.inputs.latents.agent_order if order == "drawn" else fixed.expand(T, B, N)
        ).tolist()
        self.hidden = None
        if use_gru:
            noise = torch.randn(N + 1, B, 8, generator=random(6))
            self.hidden = RecurrentState(noise[:N], noise[N:])
        self.actions = self.act().actions

    def act(self, *, explore=True, seed=7):
        with torch.no_grad():
            return self.network.act(
                self.inputs, self.hidden, explore=explore, generator=random(seed)
            )

    def evaluate(self, actions):
        with torch.no_grad():
            return self.network(self.inputs, self.hidden, actions)


def per_agent(policy):
    """[T, B, N, P] parameters of each agent's own policy."""
    std = getattr(policy, "std", policy.head)
    return torch.cat([policy.head, std], -1)


def with_other_actions(actions, agent, kind, sizes):
    """The same joint actions, but for what one agent did."""
    changed = actions.clone()
    if kind == "discrete":
        changed[..., agent] = (actions[..., agent] + 1) % sizes.action_sizes[agent]
    else:
        changed[..., agent, :] += 1.0
    return changed


@every_variant
def test_an_action_moves_later_agents_alone_and_only_if_a_living_one_took_it(
    build, kind, igc, order, use_gru
):
    team = Team(build, kind, igc, order, use_gru)
    sizes = team.network.sizes
    before = per_agent(team.evaluate(team.actions).joint)
    for agent in range(N):
        other_actions = with_other_actions(team.actions, agent, kind, sizes)
        after = per_agent(team.evaluate(other_actions).joint)
        has_moved = (after - before).abs().amax(-1)
        for t, b, other in itertools.product(range(T), range(B), range(N)):
            turns = team.orders[t][b]
            is_later = turns.index(other) > turns.index(agent)
            if is_later and team.inputs.alive[t, b, agent]:
                assert has_moved[t, b, other] > 1e-5, (agent, t, b, other)
            else:
                assert has_moved[t, b, other] == 0, (agent, t, b, other)


@every_variant
@pytest.mark.parametrize("explore", [True, False])
def test_sampling_in_turn_and_evaluating_at_once_give_the_same_policy(
    build, kind, igc, order, use_gru, explore
):
    team = Team(build, kind, igc, order, use_gru)
    decision = team.act(explore=explore)
    output = team.evaluate(decision.actions)
    torch.testing.assert_close(decision.policy.flat(), output.joint.flat())
    torch.testing.assert_close(
        decision.policy.agent_log_prob(decision.actions),
        output.joint.agent_log_prob(decision.actions),
    )
    assert torch.equal(decision.policy.alive, team.inputs.alive)
    assert decision.actions.shape == ((T, B, N) if kind == "discrete" else (T, B, N, 4))
    if kind == "discrete":
        assert team.inputs.action_mask.gather(-1, decision.actions.unsqueeze(-1)).all()
    else:
        assert torch.equal(decision.policy.valid, team.inputs.action_mask)
        assert (decision.actions[~team.inputs.action_mask] == 0).all()
    if not explore:
        assert torch.equal(decision.actions, decision.policy.mode())
    if use_gru:
        torch.testing.assert_close(decision.hidden.individual, output.hidden.individual)
        torch.testing.assert_close(decision.hidden.modifier, output.hidden.modifier)
        assert not torch.allclose(decision.hidden.modifier, team.hidden.modifier)


@pytest.mark.parametrize("kind", KINDS)
def test_of_stored_orders_each_row_follows_its_own(build, kind):
    team = Team(build, kind, "strict", "drawn")
    assert len({tuple(row) for step in team.orders for row in step}) > 3
    first = replace(
        team.inputs, latents=Latents(agent_order=torch.tensor([0, 1, 2]).expand(T, B, N))
    )
    with torch.no_grad():
        plain = per_agent(team.network(first, None, team.actions).joint)
    found = per_agent(team.evaluate(team.actions).joint)
    for t, b in itertools.product(range(T), range(B)):
        assert torch.equal(found[t, b], plain[t, b]) == (team.orders[t][b] == [0, 1, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_a_later_agent_reaches_what_was_heard_of_an_earlier_one(build, kind):
    team = Team(build, kind, "strict", "listed")
    log_prob = team.network(team.inputs, None, team.actions).joint.agent_log_prob(team.actions)
    embedding = team.network.policy_modifier.conditioning.embedding
    order = ORDERS["listed"]
    for turn, agent in enumerate(order):
        own = log_prob[..., agent].sum()
        (found,) = torch.autograd.grad(own, embedding, retain_graph=True)
        reached = {i for i in range(N) if found[i].abs().max() > 1e-6}
        assert reached == set(order[:turn])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_deterministic_strict_play_is_the_individual_modes_whatever_the_order(build, kind, order):
    team = Team(build, kind, "strict", order)
    modes = team.network.act_individually(
        team.inputs, None, explore=False, generator=None
    ).policy.mode()
    assert torch.equal(team.act(explore=False).actions, modes)
    output = team.evaluate(team.actions)
    assert (output.joint.agreement(output.individual) == 1).all()
    assert (output.joint.kl(output.individual) > 0).all()


def test_the_autoregressive_form_is_not_evaluated_without_actions(build):
    team = Team(build, "discrete", "strict", "default")
    with pytest.raises(ValueError, match=r"autoregressive.*got None"):
        team.network(team.inputs)


def test_a_random_order_must_have_been_drawn(build):
    team = Team(build, "discrete", "strict", "drawn")
    bare = replace(team.inputs, latents=None)
    with pytest.raises(ValueError, match="agent_order='random' needs the sampled order"):
        team.network(bare, None, team.actions)
    with pytest.raises(ValueError, match="agent_order='random' needs the sampled order"):
        team.network.act(bare, None, explore=True, generator=random())


# --- the joint distribution, by enumeration and by counting

JOINT_ACTIONS = torch.tensor(list(itertools.product(range(3), repeat=N)))  # [27, N]
CASES = [("state", None), ("signal", None), ("autoregressive", None)] + [
    ("autoregressive", order) for order in ([2, 0, 1], "random")
]
cases = pytest.mark.parametrize(("correlation", "order"), CASES)


def small_team(build, correlation, order, igc="strict", seed=2):
    """Agents with 2, 3 and 3 actions, strong conditioning and a large dispersion."""
    sizes = build.sizes(action_sizes=(2, 3, 3))
    network = build.network(sizes, seed, correlation=correlation, agent_order=order, igc=igc)
    modifier = network.policy_modifier
    with torch.no_grad():
        network.individual_policies.head.weight.mul_(0.5)
        modifier.output.weight.mul_(3)
        if modifier.conditioning is not None:
            modifier.conditioning.embedding.mul_(8)
        if modifier.from_signal is not None:
            modifier.from_signal.weight.mul_(8)
    return network


def rows_alike(build, network, num_rows):
    """One situation in every row, with the same draws; the second agent may not take 1."""
    one = build.inputs(network.sizes, T=1, B=1)
    one.action_mask[..., 1, :] = torch.tensor([True, False, True])
    one.action_mask[..., 2, :] = True
    if network.settings.correlation == "signal":
        one = replace(one, latents=Latents(signal=torch.randn(1, 1, 4, generator=random(3))))
    elif network.settings.agent_order == "random":
        one = replace(one, latents=Latents(agent_order=torch.tensor([[[1, 2, 0]]])))
    return map_tensors(one, lambda x: x.expand(1, num_rows, *x.shape[2:]))


def joint_table(build, network):
    """[27] probability of every joint action of the one situation."""
    inputs = rows_alike(build, network, len(JOINT_ACTIONS))
    with torch.no_grad():
        return (
            network(inputs, None, JOINT_ACTIONS[None]).joint.log_prob(JOINT_ACTIONS[None]).exp()[0]
        )


def marginals_of(table):
    """[N, 3] each agent's own probabilities, and [27] their product."""
    alone = torch.stack(
        [torch.stack([table[JOINT_ACTIONS[:, i] == a].sum() for a in range(3)]) for i in range(N)]
    )
    product = torch.stack([alone[i, JOINT_ACTIONS[:, i]] for i in range(N)]).prod(0)
    return alone, product


@cases
@pytest.mark.parametrize("igc", FORMS)
def test_probabilities_of_all_joint_actions_sum_to_1(build, correlation, order, igc):
    table = joint_table(build, small_team(build, correlation, order, igc))
    assert table.sum().item() == pytest.approx(1, abs=1e-5)
    is_legal = (JOINT_ACTIONS[:, 0] < 2) & (JOINT_ACTIONS[:, 1] != 1)
    assert (table[~is_legal] == 0).all()
    assert (table[is_legal] > 0).all()


@cases
def test_given_state_and_draws_only_the_autoregressive_form_is_no_product(
    build, correlation, order
):
    table = joint_table(build, small_team(build, correlation, order))
    _, product = marginals_of(table)
    distance = 0.5 * (table - product).abs().sum().item()
    if correlation == "autoregressive":
        assert distance > 0.02
    else:
        assert distance < 1e-6


@cases
@pytest.mark.parametrize("igc", FORMS)
def test_joint_actions_are_sampled_as_often_as_they_are_probable(build, correlation, order, igc):
    num_samples = 16_000
    network = small_team(build, correlation, order, igc)
    expected = joint_table(build, network) * num_samples
    with torch.no_grad():
        decision = network.act(
            rows_alike(build, network, num_samples), None, explore=True, generator=random(4)
        )
    cells = (decision.actions[0] * torch.tensor([9, 3, 1])).sum(-1)
    counts = torch.bincount(cells, minlength=27).float()
    assert (counts[expected == 0] == 0).all()
    chi_square = ((counts - expected).square() / expected)[expected > 0].sum().item()
    # 11 degrees of freedom: mean 11, standard deviation 4.7, and 1 in 10 000 above 37.4.
    assert (expected > 0).sum() == 12
    assert chi_square < 37.4


# --- the signal


def signal_team(build, use_gru=False, kind="discrete", **settings):
    sizes = build.sizes(kind)
    network = build.network(sizes, correlation="signal", use_gru=use_gru, **settings)
    return network, build.inputs(sizes), network.initial_state(B)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("igc", FORMS)
@pytest.mark.parametrize("use_gru", [False, True])
def test_silence_is_the_signal_zero_and_any_other_moves_its_own_row_alone(
    build, kind, igc, use_gru
):
    network, inputs, hidden = signal_team(build, use_gru, kind, igc=igc)
    silent = per_agent(network(inputs, hidden).joint)
    signal = torch.zeros(T, B, 4)

    def received():
        return per_agent(network(replace(inputs, latents=Latents(signal=signal)), hidden).joint)

    torch.testing.assert_close(received(), silent)
    signal[1, 2] = torch.tensor([1.0, -1.0, 0.5, 2.0])
    has_moved = (received() - silent).abs().amax(-1) > 1e-4
    assert has_moved[1, 2].all()
    assert has_moved.sum() == N


@pytest.mark.parametrize("number", range(4))
def test_every_number_of_the_signal_reaches_every_agent(build, number):
    network, inputs, _ = signal_team(build)
    signal = torch.zeros(T, B, 4)
    signal[..., number] = 1.0
    found = network(replace(inputs, latents=Latents(signal=signal))).joint.logits
    assert ((found - network(inputs).joint.logits).abs().amax(-1) > 1e-4).all()


def test_a_signal_tells_agents_apart_by_a_linear_map_of_their_own(build):
    network, inputs, _ = signal_team(build)
    modifier = network.policy_modifier
    signal = torch.randn(T, B, 4, generator=random(8))
    embeddings = []
    handle = modifier.input_norm.register_forward_pre_hook(lambda _m, x: embeddings.append(x[0]))
    # Without the rectifier in front of the norm, the signal is simply added.
    with torch.no_grad():
        modifier.agent_bias += 100
        network(inputs)
        network(replace(inputs, latents=Latents(signal=signal)))
    handle.remove()
    weight = modifier.from_signal.weight.detach()
    assert weight.shape == (N * 6, 4)
    for agent in range(N):
        own = weight[6 * agent : 6 * (agent + 1)]
        for row in range(T * B):
            expected = own @ signal.flatten(0, 1)[row]
            difference = embeddings[1][agent, row] - embeddings[0][agent, row]
            torch.testing.assert_close(difference, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_the_map_of_the_signal(build, kind):
    network, inputs, _ = signal_team(build, kind=kind)
    inputs = network.sample_latents(inputs, random(), explore=True)
    joint = network(inputs).joint
    joint.log_prob(joint.sample(random()).detach()).sum().backward()
    assert (network.policy_modifier.from_signal.weight.grad.abs().amax(1) > 1e-6).any()
    assert network.policy_modifier.from_signal.bias is None
    for other in ("state", "autoregressive"):
        without = build.network(build.sizes(kind), correlation=other).policy_modifier
        assert without.from_signal is None
        assert (without.conditioning is None) == (other == "state")


def indicator_covariance(actions):
    """Largest covariance between what the first and what the third agent do."""
    first, third = (torch.nn.functional.one_hot(actions[:, i], 3).double() for i in (0, 2))
    together = first.mT @ third / len(actions)
    return (together - first.mean(0)[:, None] * third.mean(0)).abs().max().item()


def test_over_many_signals_actions_are_correlated_and_without_one_they_are_not(build):
    num_samples = 20_000
    found = {}
    for correlation in ("state", "signal"):
        network = small_team(build, correlation, None, igc="none", seed=4)
        inputs = rows_alike(build, network, num_samples)
        with torch.no_grad():
            inputs = network.sample_latents(inputs, random(1), explore=True)
            decision = network.act(inputs, None, explore=True, generator=random(2))
            probs = decision.policy.log_probs.exp()[0].double()
        found[correlation] = indicator_covariance(decision.actions[0])
        # What the mixture of products says exactly, up to the draws of the signal.
        mixed = probs[:, 0].mT @ probs[:, 2] / num_samples
        exact = (mixed - probs[:, 0].mean(0)[:, None] * probs[:, 2].mean(0)).abs().max().item()
        assert found[correlation] == pytest.approx(exact, abs=4 * 0.25 / num_samples**0.5)
        assert (exact > 0.02) == (correlation == "signal")
    assert found["signal"] > 0.02 > found["state"]


# --- what all forms share


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_gru", [False, True])
def test_individual_policies_do_not_know_how_the_joint_policy_is_correlated(build, kind, use_gru):
    sizes = build.sizes(kind)
    inputs = build.inputs(sizes)
    results = []
    for seed, correlation in enumerate(CORRELATIONS):
        network = build.network(sizes, seed, correlation=correlation, use_gru=use_gru)
        build.randomize(network.individual_policies, 9)
        hidden = network.initial_state(B)
        given = network.sample_latents(inputs, random(seed), explore=True)
        with torch.no_grad():
            decision = network.act(given, hidden, explore=True, generator=random(seed))
            output = network(given, hidden, decision.actions)
            alone = network.act_individually(given, hidden, explore=False, generator=None)
        results += [output.individual.flat(), alone.policy.flat()]
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


def trained_with(network, inputs, actions):
    """Gradients of the joint log-probability, weighted unevenly, by name."""
    network.zero_grad()
    log_prob = network(inputs, None, actions).joint.log_prob(actions)
    (log_prob * torch.linspace(-1, 2, log_prob.numel()).view_as(log_prob)).sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def without_gradient(part, name):
    """Undo with ``handle.remove()``: outputs of individual policies or modifier are constants."""

    def detach(_module, _inputs, output):
        if name == "policy_modifier":
            return output.detach()
        return replace(output, head=output.head.detach(), features=output.features.detach())

    return (part.output if name == "policy_modifier" else part).register_forward_hook(detach)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("igc", ["strict", "gumbel"])
@pytest.mark.parametrize("correlation", CORRELATIONS[1:])
def test_with_igc_correlated_parts_too_learn_each_through_its_own_path(
    build, kind, igc, correlation
):
    sizes = build.sizes(kind)
    network = build.network(sizes, correlation=correlation, igc=igc)
    inputs = network.sample_latents(build.inputs(sizes), random(), explore=True)
    actions = network.act(inputs, None, explore=True, generator=random()).actions.detach()
    full = trained_with(network, inputs, actions)
    for part, other in (
        ("individual_policies", "policy_modifier"),
        ("policy_modifier", "individual_policies"),
    ):
        handle = without_gradient(getattr(network, other), other)
        alone = trained_with(network, inputs, actions)
        handle.remove()
        own = [name for name in full if name.startswith(part)]
        assert sum(full[name].abs().sum() for name in own) > 1e-3
        for name in own:
            torch.testing.assert_close(alone[name], full[name])


TRAINED = [
    {"correlation": "signal"},
    {"correlation": "autoregressive"},
    {"correlation": "autoregressive", "agent_order": "random"},
    {"correlation": "autoregressive", "agent_order": [1, 0], "ratio": "agent"},
    {"correlation": "signal", "igc": "none"},
    {"correlation": "autoregressive", "igc": "none", "use_gru": True},
    {"correlation": "signal", "use_gru": True},
]


@pytest.mark.parametrize("env", ["climbing", "continuous_game"])
@pytest.mark.parametrize("settings", TRAINED)
def test_with_what_was_drawn_and_done_stored_the_first_ratios_are_1(build, env, settings):
    actor, batch = build.collected(env, T=4, B=6, config={"repeat": 9}, **settings)
    has_draws = settings["correlation"] == "signal" or settings.get("agent_order") == "random"
    assert (batch.inputs.latents is not None) == has_draws
    with torch.no_grad():
        joint = actor.module(batch.inputs, batch.hidden, batch.actions).joint
    of_agents = joint.agent_log_prob(batch.actions)
    expected = of_agents if settings.get("ratio") == "agent" else of_agents.sum(-1)
    torch.testing.assert_close(batch.targets.log_prob, expected, atol=1e-5, rtol=1e-4)
    metrics = team_loss(actor.module, batch, build.weights).metrics
    assert metrics["kl"].item() == pytest.approx(0, abs=1e-5)
    assert metrics["clip_fraction"] == 0


@pytest.mark.parametrize("env", ["climbing", "continuous_game"])
@pytest.mark.parametrize("settings", TRAINED)
def test_diagnostics_look_at_the_policies_that_acted(build, env, settings):
    actor, batch = build.collected(env, T=4, B=6, config={"repeat": 9}, **settings)
    with torch.no_grad():
        output = actor.module(batch.inputs, batch.hidden, batch.actions)
    metrics = consistency_metrics(actor.module, batch)
    assert metrics["joint_entropy"].item() == pytest.approx(output.joint.entropy().mean().item())
    expected = output.joint.kl(output.individual).mean().item()
    assert metrics["kl_joint_individual"].item() == pytest.approx(expected)
    if env == "continuous_game":
        fit_individual_std(actor.module, batch)
        variance = output.joint.std.square().mean((0, 1))
        fitted = actor.module.individual_policies.log_std.exp()
        torch.testing.assert_close(fitted, variance.sqrt())


@pytest.mark.parametrize("settings", TRAINED[:3:2])
def test_draws_travel_with_their_steps_into_minibatches(build, settings):
    actor, batch = build.collected("climbing", T=4, B=6, **settings)
    parts = list(batch.minibatches(8, random()))
    assert len(parts) == 3
    for part in parts:
        with torch.no_grad():
            joint = actor.module(part.inputs, None, part.actions).joint
        torch.testing.assert_close(
            joint.log_prob(part.actions), part.targets.log_prob, atol=1e-5, rtol=1e-4
        )
    shuffled = map_tensors(batch.inputs.latents, lambda x: x.flip(1))
    with torch.no_grad():
        joint = actor.module(replace(batch.inputs, latents=shuffled), None, batch.actions).joint
    assert not torch.allclose(joint.log_prob(batch.actions), batch.targets.log_prob, atol=1e-4)
