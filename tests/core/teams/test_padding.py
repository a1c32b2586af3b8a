"""Padding never leaks: its contents change no output, no loss and no gradient.

A team of different agents is padded to its largest. Here every padded number is garbage, for
teams of any sizes, kinds and algorithms that hypothesis thinks of.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients, team_loss

T, B = 2, 3
WEIGHTS = PPOCoefficients(
    clip_param=0.2, vf_clip_param=0.3, vf_loss_coeff=0.5, entropy_coeff=0.1, kl_coeff=0.2
)

ALGORITHMS = [
    {"algorithm": "agentmixer"},
    {"algorithm": "agentmixer", "igc": "gumbel"},
    {"algorithm": "agentmixer", "igc": "none"},
    {"algorithm": "agentmixer", "correlation": "autoregressive"},
    {"algorithm": "agentmixer", "policy_modifier": "attention"},
    {"algorithm": "agentmixer", "policy_modifier": "hypernetwork"},
    {"algorithm": "mappo"},
    {"algorithm": "ippo"},
]


few = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def teams(draw):
    n = draw(st.integers(2, 4))
    sizes = {
        name: tuple(draw(st.lists(st.integers(least, 6), min_size=n, max_size=n)))
        for name, least in (("obs", 1), ("actions", 1))
    }
    kind = draw(st.sampled_from(["discrete", "continuous"]))
    return TeamSizes(sizes["obs"], 3, kind, sizes["actions"])


def batch_of(build, network, inputs):
    """Batch that the team collects under a slightly different policy."""
    generator = torch.Generator().manual_seed(7)

    def noise(x):
        return 0.2 * torch.randn(x.shape, generator=generator)

    with torch.no_grad():
        latents = network.sample_latents(inputs, generator, explore=True)
        decision = network.act(latents, None, explore=True, generator=generator)
        policy = decision.policy
        log_prob = policy.agent_log_prob(decision.actions)
    log_prob = log_prob if network.settings.ratio == "agent" else log_prob.sum(-1)
    by_agent = network.settings.critic_input == "obs"
    values = torch.zeros(inputs.alive.shape if by_agent else inputs.alive.shape[:2])
    return build.experience(
        inputs=latents,
        actions=decision.actions,
        log_prob=log_prob + noise(log_prob),
        behaviour=policy.flat(),
        values=noise(values),
        advantages=5 * noise(values),
        value_targets=noise(values),
        valid=torch.ones(T, B, dtype=torch.bool),
    )


def found_in(network, batch):
    """All outputs: policies, values, loss, and every parameter's gradient."""
    network.zero_grad()
    output = network(batch.inputs, None, batch.actions)
    loss = team_loss(network, batch, WEIGHTS)
    loss.total.backward()
    valid = network.sizes.action_valid
    outputs = {
        "joint": output.joint.head * valid,
        "individual": output.individual.head * valid,
        "values": network.values(batch.inputs).normalized,
        **loss.metrics,
    }
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
    }
    return {name: value.detach() for name, value in outputs.items()} | gradients


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
@few
@given(sizes=teams(), seed=st.integers(0, 99))
def test_garbage_in_padding_moves_nothing(build, algorithm, sizes, seed):
    network = build.network(sizes, seed, **algorithm)
    inputs = build.inputs(sizes, T, B, seed)
    batch = batch_of(build, network, inputs)
    expected = found_in(network, batch)
    generator = torch.Generator().manual_seed(seed)
    garbage = 10 * torch.randn(inputs.obs.shape, generator=generator)
    obs = torch.where(sizes.obs_valid, inputs.obs, garbage)
    actions = batch.actions
    if sizes.action_kind == "continuous":
        other = 10 * torch.randn(actions.shape, generator=generator)
        actions = torch.where(sizes.action_valid, actions, other)
    # Weights of actions that an agent does not have are padding too.
    with torch.no_grad():
        head = network.individual_policies.head
        for agent, size in enumerate(sizes.action_sizes):
            head.weight[agent, :, size:] += 10
            head.bias[agent, size:] -= 10
    changed = replace(batch, inputs=replace(batch.inputs, obs=obs), actions=actions)
    found = found_in(network, changed)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
@few
@given(sizes=teams(), seed=st.integers(0, 99))
def test_no_gradient_reaches_padding(build, algorithm, sizes, seed):
    network = build.network(sizes, seed, **algorithm)
    batch = batch_of(build, network, build.inputs(sizes, T, B, seed))
    obs = batch.inputs.obs.clone().requires_grad_()
    team_loss(
        network, replace(batch, inputs=replace(batch.inputs, obs=obs)), WEIGHTS
    ).total.backward()
    assert (obs.grad[..., ~sizes.obs_valid] == 0).all()
    gradient = network.individual_policies.head.weight.grad
    for agent, size in enumerate(sizes.action_sizes):
        assert (gradient[agent, :, size:] == 0).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_what_is_no_padding_does_matter(build, algorithm):
    sizes = build.sizes()
    network = build.network(sizes, 0, **algorithm)
    batch = batch_of(build, network, build.inputs(sizes, T, B))
    obs = batch.inputs.obs + sizes.obs_valid * torch.randn(sizes.obs_valid.shape)
    found = found_in(network, replace(batch, inputs=replace(batch.inputs, obs=obs)))
    assert not torch.allclose(found["individual"], found_in(network, batch)["individual"])


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_nothing_about_an_absent_agent_reaches_the_others(build, algorithm):
    sizes = build.sizes()
    network = build.network(sizes, 0, **algorithm)
    inputs = build.inputs(sizes, T, B)
    inputs.alive[:, :, 1] = False
    batch = batch_of(build, network, inputs)
    others = torch.tensor([0, 2])
    expected = network(batch.inputs, None, batch.actions).joint.head[..., others, :]
    obs = inputs.obs.clone()
    obs[:, :, 1] = 10.0
    actions = batch.actions.clone()
    actions[:, :, 1] = 1
    changed = replace(batch.inputs, obs=obs)
    found = network(changed, None, actions).joint.head[..., others, :]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
