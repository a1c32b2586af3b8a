"""Joint policy: gradient flow, recurrence, and inputs of decentralised play."""

from dataclasses import replace

import pytest
import torch

from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs
from rllib_agentmixer.core.functional.consistency import (
    gumbel_joint_logits,
    joint_std,
    strict_joint_logits,
)
from rllib_agentmixer.core.functional.distributions import (
    MASKED_LOGIT,
    TeamCategorical,
    TeamGaussian,
)
from rllib_agentmixer.core.networks.policy_modifier import PolicyModifier

T, B, N = 2, 3, 3
KINDS = ["discrete", "continuous"]
FORMS = ["strict", "gumbel", "none"]


def sample(policy, seed=0):
    return policy.sample(torch.Generator().manual_seed(seed)).detach()


def gradients(network, part, inputs, actions, hidden=None):
    """d log pi_joint(actions) / d parameters of one part, weighted unevenly over rows."""
    log_prob = network(inputs, hidden).joint.log_prob(actions)
    weights = torch.linspace(-1, 2, log_prob.numel()).view_as(log_prob)
    parameters = list(getattr(network, part).parameters())
    found = torch.autograd.grad((log_prob * weights).sum(), parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def detached_outputs(module):
    """Undo with ``handle.remove()``: the module's outputs carry no gradient."""

    if isinstance(module, PolicyModifier):
        return module.output.register_forward_hook(lambda _m, _inputs, output: output.detach())

    def detach(_module, _inputs, output):
        return replace(output, head=output.head.detach(), features=output.features.detach())

    return module.register_forward_hook(detach)


def assert_same(first, second):
    for x, y in zip(first, second, strict=True):
        torch.testing.assert_close(x, y)


def norm(found):
    return sum(float(g.abs().sum()) for g in found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("igc", ["strict", "gumbel"])
@pytest.mark.parametrize("use_gru", [False, True])
def test_with_igc_each_part_learns_through_its_own_path_alone(build, kind, igc, use_gru):
    sizes = build.sizes(kind)
    network = build.network(sizes, igc=igc, use_gru=use_gru)
    inputs = build.inputs(sizes)
    hidden = network.initial_state(B)
    actions = sample(network(inputs, hidden).joint)
    for part, other in (
        ("individual_policies", "policy_modifier"),
        ("policy_modifier", "individual_policies"),
    ):
        full = gradients(network, part, inputs, actions, hidden)
        handle = detached_outputs(getattr(network, other))
        assert_same(gradients(network, part, inputs, actions, hidden), full)
        handle.remove()
        assert norm(full) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_without_igc_actors_are_trained_through_the_modifier_alone(build, kind):
    sizes = build.sizes(kind)
    network = build.network(sizes, igc="none")
    inputs = build.inputs(sizes)
    actions = sample(network(inputs).joint)
    assert norm(gradients(network, "individual_policies", inputs, actions)) > 1e-3
    handle = detached_outputs(network.policy_modifier)
    log_prob = network(inputs).joint.log_prob(actions)
    handle.remove()
    assert not log_prob.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_the_joint_policy_does_not_train_the_critic_nor_the_critic_the_policies(build, kind):
    sizes = build.sizes(kind)
    network = build.network(sizes)
    inputs = build.inputs(sizes)
    actions = sample(network(inputs).joint)
    network(inputs).joint.log_prob(actions).sum().backward()
    assert all(p.grad is None for p in network.critic.parameters())
    network.zero_grad()
    network.critic(inputs.state).sum().backward()
    for part in (network.individual_policies, network.policy_modifier):
        assert all(p.grad is None or p.grad.abs().max() == 0 for p in part.parameters())


@pytest.mark.parametrize("igc", ["strict", "gumbel"])
def test_continuous_joint_means_are_the_individual_means(build, igc):
    sizes = build.sizes("continuous")
    inputs = build.inputs(sizes)
    output = build.network(sizes, igc=igc)(inputs)
    assert torch.equal(output.joint.mean, output.individual.mean)
    assert (output.joint.agreement(output.individual) == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_strict_discrete_modes_always_agree(build, seed):
    sizes = build.sizes()
    network = build.network(sizes, seed, dispersion_gain=5.0)
    output = network(build.inputs(sizes, T=4, B=8, seed=seed))
    assert (output.joint.agreement(output.individual) == 1).all()
    assert (output.joint.kl(output.individual) > 0).all()


def test_published_form_and_ablation_lose_modes(build):
    sizes = build.sizes()
    inputs = build.inputs(sizes, T=8, B=16)
    for igc in ("gumbel", "none"):
        network = build.network(sizes, igc=igc, dispersion_gain=5.0)
        output = network(inputs)
        assert output.joint.agreement(output.individual).mean() < 1


def parts_of(network, inputs):
    """Agent-first individual heads and modifier outputs, computed row by row."""
    rows = [
        TeamInputs(*(x[t : t + 1, b : b + 1] for x in vars(inputs).values() if x is not None))
        for t in range(T)
        for b in range(B)
    ]
    heads, modifiers = [], []
    for row in rows:
        mask = row.action_mask[0].transpose(0, 1)
        individual = network.individual_policies(row.obs[0].transpose(0, 1), mask)
        modifier = network.policy_modifier(
            individual, row.state[0], mask, row.alive[0].transpose(0, 1)
        )
        heads.append(individual.head[:, 0])
        modifiers.append(network.policy_modifier.dispersion(modifier.agents)[:, 0])
    return tuple(torch.stack(x).unflatten(0, (T, B)) for x in (heads, modifiers))


@pytest.mark.parametrize("igc", FORMS)
def test_discrete_joint_logits_are_those_of_the_form(build, igc):
    sizes = build.sizes()
    network = build.network(
        sizes, igc=igc, strict_bound=2.0, dispersion_gain=0.7, dispersion_ceiling=0.6
    )
    network.temperature = 0.5
    inputs = build.inputs(sizes, T, B, everybody_lives=False)
    heads, modifiers = parts_of(network, inputs)
    mask = inputs.action_mask
    expected = {
        "strict": lambda: strict_joint_logits(
            heads, modifiers, mask, bound=2.0, gain=0.7, temperature=0.5
        ),
        "gumbel": lambda: gumbel_joint_logits(
            heads, modifiers, mask, ceiling=0.6, gain=0.7, temperature=0.5
        ),
        "none": lambda: (modifiers / 0.5).masked_fill(~mask, MASKED_LOGIT),
    }[igc]()
    output = network(inputs)
    torch.testing.assert_close(output.joint.logits, expected)
    torch.testing.assert_close(output.individual.logits, heads)
    assert torch.equal(output.joint.alive, inputs.alive)
    assert torch.equal(output.individual.alive, inputs.alive)


@pytest.mark.parametrize("igc", FORMS)
def test_continuous_joint_parameters_are_those_of_the_form(build, igc):
    sizes = build.sizes("continuous")
    network = build.network(
        sizes, igc=igc, dispersion_gain=0.7, dispersion_ceiling=0.6, min_std=0.2
    )
    inputs = build.inputs(sizes, T, B)
    heads, modifiers = parts_of(network, inputs)
    mean, spread = (heads, modifiers) if igc != "none" else modifiers.chunk(2, -1)
    output = network(inputs)
    torch.testing.assert_close(output.joint.mean, mean)
    expected = joint_std(spread, ceiling=0.6, gain=0.7, min_std=0.2)
    torch.testing.assert_close(output.joint.std, expected)
    torch.testing.assert_close(output.individual.mean, heads)
    torch.testing.assert_close(output.individual.std, torch.full_like(heads, 0.5))
    assert torch.equal(output.joint.valid, inputs.action_mask)


@pytest.mark.parametrize("kind", KINDS)
def test_the_joint_log_prob_is_the_sum_of_the_agents(build, kind):
    sizes = build.sizes(kind)
    inputs = build.inputs(sizes, everybody_lives=False)
    joint = build.network(sizes)(inputs).joint
    actions = sample(joint)
    total = torch.zeros(T, B)
    for agent in range(N):
        alone = inputs.alive.clone()
        alone[..., torch.arange(N) != agent] = False
        total += replace(joint, alive=alone).log_prob(actions)
    torch.testing.assert_close(joint.log_prob(actions), total)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("igc", FORMS)
def test_running_a_sequence_at_once_equals_step_by_step(build, kind, igc):
    steps = 4
    sizes = build.sizes(kind)
    network = build.network(sizes, igc=igc, use_gru=True)
    inputs = build.inputs(sizes, T=steps, B=B)
    start = RecurrentState(torch.randn(N, B, 8), torch.randn(1, B, 8))
    whole = network(inputs, start)
    hidden, joint, individual = start, [], []
    for t in range(steps):
        step = network(
            TeamInputs(*(x[t : t + 1] for x in vars(inputs).values() if x is not None)), hidden
        )
        hidden = step.hidden
        joint.append(step.joint.flat())
        individual.append(step.individual.flat())
    torch.testing.assert_close(whole.joint.flat(), torch.cat(joint))
    torch.testing.assert_close(whole.individual.flat(), torch.cat(individual))
    torch.testing.assert_close(whole.hidden.individual, hidden.individual)
    torch.testing.assert_close(whole.hidden.modifier, hidden.modifier)


def test_initial_states_are_zero_and_absent_without_recurrence(build):
    sizes = build.sizes()
    assert build.network(sizes).initial_state(5) is None
    state = build.network(sizes, use_gru=True).initial_state(5)
    assert state.individual.shape == (N, 5, 8)
    assert state.modifier.shape == (1, 5, 8)
    assert state.individual.abs().max() == state.modifier.abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_gru", [False, True])
def test_deciding_individually_reads_no_state_and_equals_training(build, kind, use_gru):
    sizes = build.sizes(kind)
    network = build.network(sizes, use_gru=use_gru)
    inputs = build.inputs(sizes)
    hidden = network.initial_state(B)
    output = network(inputs, hidden)
    for state in (inputs.state, torch.full_like(inputs.state, torch.nan)):
        decision = network.act_individually(
            replace(inputs, state=state), hidden, explore=False, generator=None
        )
        torch.testing.assert_close(decision.policy.flat(), output.individual.flat())
        if use_gru:
            torch.testing.assert_close(decision.hidden.individual, output.hidden.individual)
        else:
            assert decision.hidden is None
    other = replace(inputs, state=inputs.state.flip(-1))
    assert not torch.allclose(network(other, hidden).joint.flat(), output.joint.flat())


@pytest.mark.parametrize("is_normalised", [True, False])
def test_the_input_norm_is_one_setting_for_all_parts(build, is_normalised):
    sizes = build.sizes(obs_sizes=(4, 5, 6))
    network = build.network(sizes, input_layer_norm=is_normalised)
    for encoder in (network.individual_policies.encoder, network.policy_modifier.state_encoder):
        assert (encoder.input_norm is not None) == is_normalised
    assert isinstance(network.critic.body[0], torch.nn.LayerNorm) == is_normalised


@pytest.mark.parametrize("kind", KINDS)
def test_the_family_of_distributions_follows_the_action_kind(build, kind):
    sizes = build.sizes(kind)
    family = {"discrete": TeamCategorical, "continuous": TeamGaussian}[kind]
    inputs = build.inputs(sizes)
    output = build.network(sizes)(inputs)
    assert isinstance(output.joint, family)
    assert isinstance(output.individual, family)


def test_dead_agents_do_not_move_the_joint_policy_of_the_living(build):
    sizes = build.sizes()
    network = build.network(sizes)
    inputs = build.inputs(sizes, everybody_lives=False)  # agent 0 is dead in the last step
    obs = inputs.obs.clone()
    obs[:, :, 0, :3] = obs[:, :, 0, :3].flip(-1)
    before, after = network(inputs).joint, network(replace(inputs, obs=obs)).joint
    torch.testing.assert_close(after.logits[-1, :, 1:], before.logits[-1, :, 1:])
    assert not torch.allclose(after.logits[0, :, 1:], before.logits[0, :, 1:])
