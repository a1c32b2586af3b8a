"""MAPPO, IPPO and A2C: per-agent ratios, critics of their own, death masking, recurrence."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rllib_agentmixer.core.data.batch import map_tensors
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.functional import losses
from rllib_agentmixer.core.functional.consistency import distillation_loss
from rllib_agentmixer.core.functional.distributions import TeamCategorical, TeamGaussian
from rllib_agentmixer.core.functional.returns import generalized_advantages
from rllib_agentmixer.core.learners.policy_gradient import A2CLearner, PPOLearner
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients
from rllib_agentmixer.core.learners.postprocessing import PolicyGradientTargets
from rllib_agentmixer.core.networks.critics import IndividualValueCritic
from rllib_agentmixer.core.networks.individual_policies import agent_groups
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.envs.vector_env import VectorTeamEnv
from rllib_agentmixer.rollouts.actor import start
from rllib_agentmixer.rollouts.play import play

T, B, N = 3, 4, 3
KINDS = ["discrete", "continuous"]
BASELINES = ["mappo", "ippo"]
OWN_REWARDS = {
    "mappo": {"algorithm": "mappo"},
    "ippo": {"algorithm": "ippo", "individual_rewards": True},
    "agentmixer": {"algorithm": "agentmixer"},
}
"""With the team's reward, V_i continues for absent agents; with their own it ends."""
SHARING = ["separate", "shared", [[0, 2], [1]]]


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=random(seed))


def some_dead(inputs):
    """Agents die and return; in the last row of the first step all are dead."""
    alive = torch.rand(inputs.alive.shape, generator=random(50)) < 0.6
    alive[0, -1] = False
    alive[0, 0] = True
    return replace(inputs, alive=alive)


def batch_of(network, inputs, seed=0, noise=0.3) -> Experience:
    """Actions of the network, an older policy that differs, random values; some padding."""
    settings = network.settings
    with torch.no_grad():
        policy = network(inputs).joint
        actions = policy.sample(random(seed))
        log_prob = policy.agent_log_prob(actions)
    log_prob = log_prob + noise * draw(*log_prob.shape, seed=seed + 1)
    log_prob = log_prob if settings.ratio == "agent" else log_prob.sum(-1)
    shape = inputs.alive.shape if settings.critic_input == "obs" else inputs.alive.shape[:2]
    valid = torch.ones(inputs.alive.shape[:2], dtype=torch.bool)
    valid[-1, 1] = False
    values, advantages, targets = (draw(*shape, seed=seed + k) for k in (2, 3, 4))
    zeros = torch.zeros(valid.shape)
    return Experience(
        inputs=inputs,
        actions=actions,
        rewards=zeros,
        valid=valid,
        terminated=zeros.bool(),
        truncated=zeros.bool(),
        behaviour=policy.flat() + 0.1 * draw(*policy.flat().shape, seed=seed + 5),
        targets=PolicyGradientTargets(log_prob, values, advantages, targets),
    )


def team_loss(network, batch, weights):
    """Loss of the learner that the settings choose."""
    kind = A2CLearner if network.settings.learner == "a2c" else PPOLearner
    return kind.loss_function(network, batch, weights)


WEIGHTS = PPOCoefficients(
    clip_param=0.2, vf_clip_param=0.3, vf_loss_coeff=0.5, entropy_coeff=0.1, kl_coeff=0.2
)


def gradients(network, total):
    network.zero_grad()
    total.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
    }


def loss_gradients(network, batch, weights=WEIGHTS):
    return gradients(network, team_loss(network, batch, weights).total)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda m, name=name: f"{name}: {m}")


# --- losses by hand


def test_policy_gradient_loss_by_hand():
    log_prob = torch.tensor([[-1.0, -2.0], [-3.0, -0.5]], requires_grad=True)
    advantages = torch.tensor([[2.0, -1.0], [10.0, 4.0]])
    valid = torch.tensor([[True, True], [False, True]])
    loss = losses.policy_gradient_loss(log_prob, advantages, valid)
    assert loss.item() == pytest.approx(-(-1 * 2 + -2 * -1 + -0.5 * 4) / 3)
    loss.backward()
    torch.testing.assert_close(log_prob.grad, torch.tensor([[-2 / 3, 1 / 3], [0, -4 / 3]]))


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_the_teams_advantage_is_every_agents(learner):
    log_prob = torch.tensor([[[-1.0, -2.0, -5.0]], [[-3.0, -0.5, -1.0]]])
    old = log_prob - torch.tensor([[[0.1, 0.5, 0.0]], [[-0.1, -0.5, 0.5]]])
    advantages = torch.tensor([[[2.0]], [[-1.0]]])
    counts = torch.tensor([[[True, True, False]], [[True, True, True]]])
    if learner == "a2c":
        loss = losses.policy_gradient_loss(log_prob, advantages, counts)
        terms = [-1 * 2, -2 * 2, -3 * -1, -0.5 * -1, -1 * -1]
    else:
        loss = losses.clipped_policy_loss(log_prob, old, advantages, counts, clip_param=0.2)
        # Gains are clipped at 1.2 and 0.8, losses are not.
        terms = [math.exp(0.1) * 2, 1.2 * 2, -math.exp(-0.1), -0.8, -math.exp(0.5)]
    assert loss.item() == pytest.approx(-sum(terms) / 5)


@pytest.mark.parametrize("kind", KINDS)
def test_log_probs_of_agents_sum_to_the_joint_one_and_the_dead_have_none(build, kind):
    sizes = build.sizes(kind)
    network = build.network(sizes, algorithm="mappo")
    inputs = some_dead(build.inputs(sizes, T, B))
    policy = network(inputs).joint
    actions = policy.sample(random()).detach()
    found = policy.agent_log_prob(actions)
    for t, b, i in itertools.product(range(T), range(B), range(N)):
        if not inputs.alive[t, b, i]:
            assert found[t, b, i] == 0
        elif kind == "discrete":
            probs = policy.logits[t, b, i].softmax(-1)
            torch.testing.assert_close(found[t, b, i], probs[actions[t, b, i]].log())
        else:
            size = sizes.action_sizes[i]
            normal = torch.distributions.Normal(policy.mean[t, b, i], policy.std[t, b, i])
            expected = normal.log_prob(actions[t, b, i])[:size].sum()
            torch.testing.assert_close(found[t, b, i], expected)
    torch.testing.assert_close(policy.log_prob(actions), found.sum(-1))


# --- per-agent ratios


def policy_loss_by_loops(network, batch, clip_param):
    """Clip, weigh and average one living agent at a time."""
    policy = network(batch.inputs).joint
    terms = []
    for t, b, i in itertools.product(range(T), range(B), range(N)):
        if not (batch.valid[t, b] and batch.inputs.alive[t, b, i]):
            continue
        if isinstance(policy, TeamCategorical):
            log_prob = policy.logits[t, b, i].log_softmax(-1)[batch.actions[t, b, i].long()]
        else:
            size = network.sizes.action_sizes[i]
            mean, std = policy.mean[t, b, i, :size], policy.std[t, b, i, :size]
            z = (batch.actions[t, b, i, :size] - mean) / std
            log_prob = (-z.square() / 2 - std.log() - math.log(2 * math.pi) / 2).sum()
        ratio = (log_prob - batch.targets.log_prob[t, b, i]).exp()
        own = batch.targets.advantages[t, b]
        own = own if own.ndim == 0 else own[i]
        if network.settings.learner == "a2c":
            terms.append(-log_prob * own)
        else:
            clipped = min(max(ratio.item(), 1 - clip_param), 1 + clip_param)
            is_held = clipped * own < ratio * own
            terms.append(-(torch.tensor(clipped) * own if is_held else ratio * own))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", BASELINES)
@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_the_policy_loss_is_the_mean_over_living_agents_of_their_own_terms(
    build, kind, algorithm, learner
):
    sizes = build.sizes(kind)
    network = build.network(sizes, learner=learner, **OWN_REWARDS[algorithm])
    batch = batch_of(network, some_dead(build.inputs(sizes, T, B)))
    weights = replace(WEIGHTS, vf_loss_coeff=0.0, entropy_coeff=0.0, kl_coeff=0.0)
    expected = policy_loss_by_loops(network, batch, 0.2)
    loss = team_loss(network, batch, weights)
    torch.testing.assert_close(loss.metrics["policy_loss"], expected.detach())
    torch.testing.assert_close(loss.total, expected)
    assert_same(gradients(network, loss.total), gradients(network, expected))


def test_agents_whose_moves_cancel_are_clipped_each_but_not_together(build):
    sizes = build.sizes()
    shift = torch.tensor([1.5, 1 / 1.5, 1.0]).log()
    fractions = {}
    for ratio in ("joint", "agent"):
        network = build.network(sizes, algorithm="mappo", ratio=ratio)
        batch = batch_of(network, build.inputs(sizes, T, B), noise=0.0)
        batch.targets.log_prob.sub_(shift if ratio == "agent" else shift.sum())
        metrics = team_loss(network, batch, WEIGHTS).metrics
        fractions[ratio] = metrics["clip_fraction"].item()
        chosen, advantages = batch.valid, batch.targets.advantages
        if ratio == "joint":
            expected = -advantages[chosen].mean()
        else:  # 1.5 gains 1.2, 1 / 1.5 loses all that it lost; the other way round for minus
            gains = torch.where(advantages > 0, 1.2 + 1 / 1.5 + 1, 1.5 + 0.8 + 1) * advantages
            expected = -gains[chosen].mean() / 3
        torch.testing.assert_close(metrics["policy_loss"], expected)
    assert fractions["joint"] == 0
    assert fractions["agent"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_mappo_with_one_agent_is_ppo(build, kind):
    sizes = build.sizes(kind, obs_sizes=(5,), action_sizes=(4,))
    together = build.network(sizes, algorithm="agentmixer", policy_modifier="none")
    alone = build.network(sizes, algorithm="mappo")
    assert (together.settings.ratio, alone.settings.ratio) == ("joint", "agent")
    batch = batch_of(together, build.inputs(sizes, T, B))
    of_agents = build.with_targets(batch, log_prob=batch.targets.log_prob.unsqueeze(-1))
    first, second = team_loss(together, batch, WEIGHTS), team_loss(alone, of_agents, WEIGHTS)
    assert first.metrics["clip_fraction"] > 0
    assert_same(second.metrics, first.metrics)
    assert_same(gradients(alone, second.total), gradients(together, first.total))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", BASELINES)
def test_a_baseline_is_a_point_in_the_space_of_agentmixers_settings(build, kind, algorithm):
    sizes = build.sizes(kind)
    baseline = build.network(sizes, algorithm=algorithm)
    critic_input = {"mappo": "state", "ippo": "obs"}[algorithm]
    same = build.network(sizes, policy_modifier="none", ratio="agent", critic_input=critic_input)
    same.load_state_dict(baseline.state_dict())
    batch = batch_of(baseline, some_dead(build.inputs(sizes, T, B)))
    assert_same(loss_gradients(same, batch), loss_gradients(baseline, batch))


def test_without_a_modifier_there_is_nothing_to_compare(build):
    actor, batch = build.collected("climbing", algorithm="mappo")
    learner = build.learner(actor.module, weights=WEIGHTS)
    assert learner.parts.keys() == {"individual_policies", "critic"}
    metrics = learner.update(batch, env_steps=0, generator=random())
    assert "mode_agreement" not in metrics
    assert "grad_norm_policy_modifier" not in metrics
    assert metrics["grad_norm_individual_policies"] > 0


# --- the value loss


@pytest.mark.parametrize("individual_rewards", [False, True])
def test_the_value_loss_of_own_critics_is_the_mean_over_whom_it_concerns(build, individual_rewards):
    sizes = build.sizes()
    network = build.network(
        sizes, algorithm="ippo", huber_delta=0.6, individual_rewards=individual_rewards
    )
    batch = batch_of(network, some_dead(build.inputs(sizes, T, B)))
    network.critic.observe_targets(
        3 * batch.targets.value_targets + 1, batch.counts(batch.targets.values)
    )
    mean, std = network.critic.normalizer.mean, network.critic.normalizer.std
    values = network.values(batch.inputs).normalized

    def huber(error):
        size = abs(error)
        return size**2 / 2 if size <= 0.6 else 0.6 * (size - 0.3)

    terms = []
    for t, b, i in itertools.product(range(T), range(B), range(N)):
        if batch.valid[t, b] and (batch.inputs.alive[t, b, i] or not individual_rewards):
            value = values[t, b, i].item()
            old, target = (
                ((x[t, b, i] - mean) / std).item()
                for x in (batch.targets.values, batch.targets.value_targets)
            )
            clipped = old + min(max(value - old, -0.3), 0.3)
            terms.append(max(huber(value - target), huber(clipped - target)))
    metrics = team_loss(network, batch, WEIGHTS).metrics
    assert metrics["vf_loss"].item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("algorithm", [*BASELINES, "agentmixer"])
def test_targets_of_the_living_alone_move_the_statistics(build, algorithm):
    sizes = build.sizes()
    network = build.network(sizes, **OWN_REWARDS[algorithm])
    batch = batch_of(network, some_dead(build.inputs(sizes, T, B)))
    learner = build.learner(network, 0.0, 0.0, weights=WEIGHTS)
    learner.update(batch, env_steps=0, generator=random())
    chosen = batch.targets.value_targets[batch.counts(batch.targets.value_targets)]
    living = int((batch.valid[..., None] & batch.inputs.alive).sum())
    assert len(chosen) == (living if algorithm == "ippo" else int(batch.valid.sum()))
    assert network.critic.normalizer.count == len(chosen)
    torch.testing.assert_close(network.critic.normalizer.mean, chosen.mean())


@pytest.mark.parametrize("algorithm", [*BASELINES, "agentmixer"])
def test_the_statistics_of_the_targets_move_before_the_first_gradient_step(
    build, monkeypatch, algorithm
):
    network = build.network(build.sizes(), algorithm=algorithm)
    batch = batch_of(network, build.inputs(build.sizes(), T, B))
    learner = build.learner(network, weights=WEIGHTS)
    counts = []
    step = type(learner).step

    def note(self, part, weights):
        counts.append(float(network.critic.normalizer.count))
        return step(self, part, weights)

    monkeypatch.setattr(type(learner), "step", note)
    learner.update(batch, env_steps=0, generator=random())
    # Otherwise the first updates of a run would learn targets in units that nothing has set.
    assert counts
    assert min(counts) > 0


def test_own_advantages_are_standardised_over_the_living_alone(build):
    sizes = build.sizes()
    network = build.network(sizes, algorithm="ippo")
    batch = batch_of(network, some_dead(build.inputs(sizes, T, B)))
    alive = batch.inputs.alive
    counted = batch.valid[..., None] & alive
    assert not counted.all()
    raw = torch.where(alive, batch.targets.advantages, 1e4)  # would dominate mean and deviation
    given = replace(batch, targets=replace(batch.targets, advantages=raw))
    scaled = build.learner(network, weights=WEIGHTS).scaled(given).targets.advantages[counted]
    torch.testing.assert_close(scaled.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(correction=0), torch.tensor(1.0), atol=1e-2, rtol=0)


# --- death


def test_with_the_teams_reward_values_of_agents_that_are_gone_are_learned(build):
    sizes = build.sizes()
    network = build.network(sizes, algorithm="ippo")
    inputs = build.inputs(sizes, T, B)
    inputs.alive[..., 1] = False
    batch = batch_of(network, inputs)
    found = loss_gradients(network, batch)
    assert found["critic.agent_embedding"][1].abs().max() > 0
    assert found["individual_policies.agent_embedding"][1].abs().max() == 0
    learner = build.learner(network, 0.0, 0.0, weights=WEIGHTS)
    learner.update(batch, env_steps=0, generator=random())
    assert network.critic.normalizer.count == int(batch.valid.sum()) * N


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", BASELINES)
@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_nothing_about_the_dead_moves_loss_or_gradient(build, kind, algorithm, learner):
    sizes = build.sizes(kind)
    network = build.network(sizes, learner=learner, **OWN_REWARDS[algorithm])
    batch = batch_of(network, some_dead(build.inputs(sizes, T, B)))
    alive = batch.inputs.alive

    def garbage(x, seed):
        """Other numbers where agents are dead."""
        others = 3 * draw(*x.shape, seed=seed)
        others = others.abs() % 2 if x is batch.actions else others
        dead = ~alive.reshape(*alive.shape, *[1] * (x.ndim - 3))
        return torch.where(dead, others.to(x.dtype), x)

    changed = {
        name: garbage(column, seed)
        for seed, (name, column) in enumerate(vars(batch.targets).items(), start=1)
        if column.ndim > 2
    }
    assert len(changed) == (4 if algorithm == "ippo" else 1)
    inputs = replace(batch.inputs, obs=garbage(batch.inputs.obs, 9))
    other = replace(batch, inputs=inputs, actions=garbage(batch.actions, 0))
    other = build.with_targets(other, **changed)
    first, second = team_loss(network, batch, WEIGHTS), team_loss(network, other, WEIGHTS)
    assert_same(second.metrics, first.metrics)
    assert_same(gradients(network, second.total), gradients(network, first.total))
    everybody = replace(other, inputs=replace(inputs, alive=torch.ones_like(alive)))
    assert not torch.allclose(team_loss(network, everybody, WEIGHTS).total, first.total)


@pytest.mark.parametrize("algorithm", BASELINES)
def test_an_agent_that_never_lives_trains_none_of_its_own_parameters(build, algorithm):
    sizes = build.sizes()
    network = build.network(sizes, **OWN_REWARDS[algorithm])
    inputs = build.inputs(sizes, T, B)
    inputs.alive[..., 1] = False
    found = loss_gradients(network, batch_of(network, inputs))
    for name, gradient in found.items():
        if gradient.ndim == 0 or len(gradient) != N or name.startswith("critic.body"):
            continue
        assert gradient[1].abs().max() == 0, name
        assert gradient[[0, 2]].abs().amax() > 0, name


# --- V_i(h_i)


def own_values(network, inputs, hidden=None):
    with torch.no_grad():
        return network.values(inputs, hidden).normalized


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_gru", [False, True])
@pytest.mark.parametrize("sharing", SHARING)
def test_an_agents_value_reads_its_own_history_and_nothing_else(build, kind, use_gru, sharing):
    sizes = build.sizes(kind)
    network = build.network(sizes, algorithm="ippo", use_gru=use_gru, parameter_sharing=sharing)
    inputs = build.inputs(sizes, T, B)
    hidden = draw(N, B, 8) if use_gru else None
    before = own_values(network, inputs, hidden)
    assert before.shape == (T, B, N)
    others = build.inputs(sizes, T, B, seed=1)
    other_hidden = draw(N, B, 8, seed=1) if use_gru else None
    for agent in range(N):
        is_own = torch.arange(N) == agent
        changed = replace(
            others,
            obs=torch.where(is_own[:, None], inputs.obs, others.obs),
            state=torch.full_like(inputs.state, torch.nan),
        )
        changed_hidden = (
            torch.where(is_own[:, None, None], hidden, other_hidden) if use_gru else None
        )
        has_moved = (own_values(network, changed, changed_hidden) - before).abs() > 1e-5
        assert has_moved.all((0, 1)).tolist() == (~is_own).tolist()
        assert not has_moved[..., agent].any()


def test_own_values_are_a_torso_an_embedding_and_a_linear_map(build):
    sizes = build.sizes(obs_sizes=(4, 5, 6))
    network = build.network(sizes, algorithm="ippo")
    critic, obs = network.critic, build.inputs(sizes, T, B).obs
    found = own_values(network, build.inputs(sizes, T, B))
    with torch.no_grad():
        features, _ = critic.encoder(obs.flatten(0, 1).transpose(0, 1), None)
        for t, b, i in itertools.product(range(T), range(B), range(N)):
            own = features[i, t * B + b] + critic.agent_embedding[i]
            expected = own @ critic.output.weight[i, :, 0] + critic.output.bias[i, 0]
            torch.testing.assert_close(found[t, b, i], expected)


def test_a_fresh_critic_has_no_opinion_on_who_is_who(build):
    torch.manual_seed(0)
    critic = IndividualValueCritic(build.sizes(), build.settings("ippo"))
    assert critic.agent_embedding.abs().max() == 0
    assert critic.output.bias.abs().max() == 0
    norms = critic.output.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(N))


@pytest.mark.parametrize("sharing", SHARING)
def test_predictions_in_reward_units_stand_still_while_the_statistics_move(build, sharing):
    sizes = build.sizes()
    network = build.network(sizes, algorithm="ippo", parameter_sharing=sharing)
    inputs = build.inputs(sizes, T, B)
    normalizer = network.critic.normalizer
    everything = torch.ones(T, B, N, dtype=torch.bool)
    for targets in (30 * draw(T, B, N) + 100, draw(T, B, N, seed=2) - 50):
        normalised = own_values(network, inputs)
        values = normalizer.denormalize(normalised)
        network.critic.observe_targets(targets, everything)
        after = own_values(network, inputs)
        torch.testing.assert_close(normalizer.denormalize(after), values, atol=1e-3, rtol=1e-4)
        assert not torch.allclose(after, normalised, rtol=1e-3)


def test_advantages_of_agents_are_those_of_each_one_alone():
    T, B = 6, 4
    rewards = draw(T, B)
    values, following = draw(T, B, N, seed=1), draw(T, B, N, seed=2)
    terminated = torch.rand(T, B, generator=random(3)) < 0.2
    ended = terminated | (torch.rand(T, B, generator=random(4)) < 0.2)
    options = {"gamma": 0.9, "lambda_": 0.7}
    together = generalized_advantages(
        rewards[..., None], values, following, terminated[..., None], ended[..., None], **options
    )
    assert together.advantages.shape == together.value_targets.shape == (T, B, N)
    for i in range(N):
        alone = generalized_advantages(
            rewards, values[..., i], following[..., i], terminated, ended, **options
        )
        torch.testing.assert_close(together.advantages[..., i], alone.advantages)
        torch.testing.assert_close(together.value_targets[..., i], alone.value_targets)


# --- IPPO is MAPPO where everybody observes the state


def make_critics_equal(ippo, mappo):
    """A torso of 1 + 1 layers of 8 and V(s) with hidden widths (8, 8) are the same function."""
    own, central = ippo.critic, mappo.critic
    norm, first, _, first_norm, second, _, second_norm = central.body
    with torch.no_grad():
        own.agent_embedding.zero_()
        for linear, grouped in (
            (first, own.encoder.linears[0]),
            (second, own.encoder.linears[1]),
            (central.output, own.output),
        ):
            grouped.weight.copy_(linear.weight.mT)
            grouped.bias.copy_(linear.bias)
        norms = [own.encoder.input_norm, *own.encoder.norms]
        for plain, grouped in zip((norm, first_norm, second_norm), norms, strict=True):
            grouped.weight.copy_(plain.weight)
            grouped.bias.copy_(plain.bias)
    ippo.individual_policies.load_state_dict(mappo.individual_policies.state_dict())


def twins(build, sizes):
    settings = {"critic_hidden": (8, 8), "parameter_sharing": "shared"}
    mappo = build.network(sizes, algorithm="mappo", **settings)
    ippo = build.network(sizes, algorithm="ippo", **settings)
    make_critics_equal(ippo, mappo)
    return ippo, mappo


@pytest.mark.parametrize("num_agents", [1, 3])
def test_where_everybody_observes_the_state_ippo_is_mappo(build, num_agents):
    n = num_agents
    sizes = build.sizes(obs_sizes=(5,) * n, action_sizes=(4,) * n, state_size=5)
    ippo, mappo = twins(build, sizes)
    inputs = build.inputs(sizes, T, B)
    inputs = replace(inputs, obs=inputs.state.unsqueeze(-2).expand(-1, -1, n, -1))
    central, own = own_values(mappo, inputs), own_values(ippo, inputs)
    for i in range(n):
        torch.testing.assert_close(own[..., i], central)
    batch = batch_of(mappo, inputs)
    of_agents = build.with_targets(
        batch,
        **{
            name: getattr(batch.targets, name).unsqueeze(-1).expand(-1, -1, n)
            for name in ("values", "advantages", "value_targets")
        },
    )
    first, second = team_loss(mappo, batch, WEIGHTS), team_loss(ippo, of_agents, WEIGHTS)
    assert_same(second.metrics, first.metrics)
    expected, found = gradients(mappo, first.total), gradients(ippo, second.total)
    for name in expected:
        if name.startswith("individual"):
            torch.testing.assert_close(found[name], expected[name])
    for central_name, own_name in (
        ("critic.body.1.weight", "critic.encoder.linears.0.weight"),
        ("critic.body.4.weight", "critic.encoder.linears.1.weight"),
        ("critic.output.weight", "critic.output.weight"),
    ):
        torch.testing.assert_close(found[own_name][0], expected[central_name].mT)


def test_from_the_same_play_ippo_and_mappo_then_draw_the_same_advantages(build):
    config = {"num_agents": 1, "dimensions": 4, "repeat": 3}
    found = {}
    for algorithm in BASELINES:
        env = make_vector_env("continuous_game", 3, config=config)
        settings = {"critic_hidden": (8, 8), "algorithm": algorithm}
        found[algorithm] = build.actor(env, **settings), env
    ippo, mappo = (found[name][0] for name in ("ippo", "mappo"))
    build.randomize(mappo.module)
    make_critics_equal(ippo.module, mappo.module)
    for actor in (ippo, mappo):
        actor.module.critic.observe_targets(5 * draw(9) + 2, torch.ones(9, dtype=torch.bool))
    played = {
        name: build.rollout(actor, env, start(actor, env, 0), 7, gamma=0.9, lambda_=0.8)
        for name, (actor, env) in found.items()
    }
    ours, theirs = played["ippo"], played["mappo"]
    np.testing.assert_array_equal(ours.actions, theirs.actions)
    assert ours.terminated.any()
    np.testing.assert_array_equal(ours.log_prob, theirs.log_prob)
    assert ours.log_prob.shape == (7, 3, 1)
    for name in ("values", "advantages", "value_targets"):
        own, central = getattr(ours, name), getattr(theirs, name)
        assert own.shape == (7, 3, 1)
        assert central.shape == (7, 3)
        np.testing.assert_allclose(own[..., 0], central, rtol=1e-4, atol=1e-5)


# --- parameter sharing


@pytest.mark.parametrize("sharing", SHARING)
def test_agents_of_a_group_that_see_the_same_differ_by_their_embedding_alone(build, sharing):
    sizes = build.sizes(obs_sizes=(5, 5, 5), action_sizes=(4, 4, 4))
    network = build.network(sizes, algorithm="ippo", parameter_sharing=sharing)
    groups = agent_groups(sharing, N)
    inputs = build.inputs(sizes, T, B)
    inputs = replace(
        inputs,
        obs=inputs.obs[:, :, :1].expand(-1, -1, N, -1),
        action_mask=torch.ones_like(inputs.action_mask),
    )

    def outputs():
        with torch.no_grad():
            return network(inputs).joint.logits, own_values(network, inputs)

    apart = outputs()
    with torch.no_grad():
        for part in (network.individual_policies, network.critic):
            part.agent_embedding.copy_(part.agent_embedding[:1].expand_as(part.agent_embedding))
    alike = outputs()
    for i, j in itertools.combinations(range(N), 2):
        for of_apart, of_alike in zip(apart, alike, strict=True):
            assert not torch.allclose(of_apart[:, :, i], of_apart[:, :, j], atol=1e-3)
            are_equal = torch.allclose(of_alike[:, :, i], of_alike[:, :, j], atol=1e-5)
            assert are_equal == (groups[i] == groups[j])


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("agent", range(N))
def test_an_agents_experience_trains_the_parameters_of_its_group_alone(build, sharing, agent):
    sizes = build.sizes()
    network = build.network(sizes, parameter_sharing=sharing, **OWN_REWARDS["ippo"])
    inputs = build.inputs(sizes, T, B)
    inputs = replace(inputs, alive=(torch.arange(N) == agent).expand(T, B, N))
    found = loss_gradients(network, batch_of(network, inputs))
    groups = agent_groups(sharing, N)
    for name, gradient in found.items():
        is_own = "embedding" in name
        assert len(gradient) == (N if is_own else max(groups) + 1)
        reached = [index for index, part in enumerate(gradient) if part.abs().max() > 0]
        assert reached == [agent if is_own else groups[agent]], name


# --- A2C

A2C_CASES = [
    {"algorithm": "mappo"},
    {"algorithm": "ippo"},
    {"policy_modifier": "none"},
    {"correlation": "signal"},
    {"correlation": "autoregressive"},
]


@pytest.mark.parametrize("env", ["climbing", "continuous_game"])
@pytest.mark.parametrize("settings", A2C_CASES)
def test_the_first_gradient_of_ppo_is_a2cs(build, env, settings):
    found = []
    for learner in ("ppo", "a2c"):
        actor, batch = build.collected(env, learner=learner, **settings)
        found.append(loss_gradients(actor.module, batch))
    assert_same(found[1], found[0])
    assert any(gradient.abs().max() > 1e-3 for gradient in found[0].values())


def test_a2c_does_not_look_at_what_the_probability_was(build):
    shifts = {}
    for learner in ("ppo", "a2c"):
        actor, batch = build.collected("climbing", algorithm="mappo", learner=learner)
        older = build.with_targets(batch, log_prob=batch.targets.log_prob + 0.5)
        first, second = (loss_gradients(actor.module, b) for b in (batch, older))
        shifts[learner] = max((second[name] - first[name]).abs().max().item() for name in first)
    assert shifts["a2c"] == 0
    assert shifts["ppo"] > 1e-3


# --- distillation


def small_policies(family, seed):
    """[T, B] random policies of agents with equal sizes, some dead."""
    alive = torch.rand(T, B, N, generator=random(seed)) < 0.7
    if family == "discrete":
        return TeamCategorical(draw(T, B, N, 4, seed=seed).requires_grad_(), alive)
    valid = torch.arange(4) < torch.tensor([2, 4, 3])[:, None]
    std = draw(T, B, N, 4, seed=seed + 9).exp().requires_grad_()
    mean = draw(T, B, N, 4, seed=seed).requires_grad_()
    return TeamGaussian(mean, std, valid.expand(T, B, N, 4), alive)


@pytest.mark.parametrize("kind", KINDS)
def test_distillation_is_the_divergence_of_the_student_from_its_teacher(kind):
    teacher, student = small_policies(kind, 1), small_policies(kind, 2)
    valid = torch.rand(T, B, generator=random(3)) < 0.7
    loss = distillation_loss(teacher, student, valid)
    terms = []
    for t, b in itertools.product(range(T), range(B)):
        if not valid[t, b]:
            continue
        total = torch.zeros(())
        for i in range(N):
            if not teacher.alive[t, b, i]:
                continue
            if kind == "discrete":
                p, q = (x.logits[t, b, i].softmax(-1) for x in (teacher, student))
                total = total + (p * (p / q).log()).sum()
            else:
                own = teacher.valid[t, b, i]
                first, second = (
                    torch.distributions.Normal(x.mean[t, b, i][own], x.std[t, b, i][own])
                    for x in (teacher, student)
                )
                total = total + torch.distributions.kl_divergence(first, second).sum()
        terms.append(total)
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    loss.backward()
    assert teacher.head.grad is None
    assert student.head.grad.abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_that_equals_its_teacher_learns_nothing(kind):
    teacher = small_policies(kind, 1)
    student = map_tensors(
        teacher, lambda x: x.detach().clone().requires_grad_(x.is_floating_point())
    )
    loss = distillation_loss(teacher, student, torch.ones(T, B).bool())
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert student.head.grad.abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_distillation_is_all_that_trains_actors_and_nothing_else_is_trained_by_it(build, kind):
    sizes = build.sizes(kind)
    inputs = build.inputs(sizes, T, B, everybody_lives=False)
    found = {}
    for coeff in (0.25, 0.5):
        network = build.network(sizes, igc="none", distillation_coeff=coeff)
        batch = batch_of(network, inputs)
        loss = team_loss(network, batch, WEIGHTS)
        with torch.no_grad():
            output = network(inputs)
            expected = losses.valid_mean(output.joint.kl(output.individual), batch.valid)
        torch.testing.assert_close(loss.metrics["distillation_loss"], expected)
        parts = loss.metrics
        total = parts["policy_loss"] + 0.5 * parts["vf_loss"] - 0.1 * parts["entropy"]
        total = total + 0.2 * parts["kl"] + coeff * expected
        torch.testing.assert_close(parts["total_loss"], total)
        found[coeff] = gradients(network, loss.total)
        output = network(inputs)
        alone = gradients(network, distillation_loss(output.joint, output.individual, batch.valid))
        for name, gradient in alone.items():
            if name.startswith("individual_policies"):
                torch.testing.assert_close(found[coeff][name], coeff * gradient)
            else:
                assert gradient.abs().max() == 0, name
        assert alone["individual_policies.head.weight"].abs().max() > 1e-3
    for name, gradient in found[0.25].items():
        factor = 2 if name.startswith("individual_policies") else 1
        torch.testing.assert_close(found[0.5][name], factor * gradient)


def test_without_distillation_nothing_of_it_is_measured(build):
    sizes = build.sizes()
    network = build.network(sizes, igc="none")
    metrics = team_loss(network, batch_of(network, build.inputs(sizes, T, B)), WEIGHTS).metrics
    assert "distillation_loss" not in metrics


# --- recurrent critics


class Watched(VectorTeamEnv):
    """Predator-prey that records the observations it returned and the ends that it reported."""

    def __init__(self, num_envs, **settings):
        self.env = make_vector_env("predator_prey", num_envs, config=settings)
        self.spec, self.num_envs = self.env.spec, num_envs
        self.seen, self.final, self.ends, self.rewards = [], [], [], []

    def reset(self, seed=None):
        observation = self.env.reset(seed)
        self.seen.append(observation.obs.copy())
        return observation

    def step(self, actions):
        step = self.env.step(actions)
        self.seen.append(step.observation.obs.copy())
        self.final.append(step.final_observation.obs.copy())
        self.ends.append((step.terminated.copy(), step.truncated.copy()))
        self.rewards.append(step.reward.copy())
        return step

    def get_state(self):
        return None

    def set_state(self, snapshot):
        raise NotImplementedError


NUM_STEPS, NUM_ENVS, GAMMA, LAMBDA = 6, 4, 0.9, 0.7


def recurrent_play(build, num_fragments=1, seed=11):
    """A recurrent IPPO team whose statistics are not the identity, and what it collected."""
    env = Watched(NUM_ENVS, max_steps=4, grid=4)
    actor = build.actor(env, seed, algorithm="ippo", use_gru=True)
    build.randomize(actor.module, seed)
    actor.module.critic.observe_targets(4 * draw(9) + 2, torch.ones(9, dtype=torch.bool))
    state = start(actor, env, seed)
    fragments = [
        build.rollout(actor, env, state, NUM_STEPS, gamma=GAMMA, lambda_=LAMBDA)
        for _ in range(num_fragments)
    ]
    return actor, env, fragments


def value_by_hand(actor, obs, hidden):
    """V_i [N] of one observation [N, O] in reward units, and the state after it."""
    critic = actor.module.critic
    with torch.no_grad():
        value, after = critic(torch.from_numpy(obs).unsqueeze(1), hidden)
    return value[:, 0] * critic.normalizer.std + critic.normalizer.mean, after


@pytest.mark.parametrize("num_fragments", [1, 2])
def test_recurrent_values_are_those_of_every_history_step_by_step(build, num_fragments):
    actor, env, fragments = recurrent_play(build, num_fragments)
    num_steps = NUM_STEPS * num_fragments
    agents = env.spec.num_agents
    values = torch.zeros(num_steps + 1, NUM_ENVS, agents)
    following = torch.zeros(num_steps, NUM_ENVS, agents)
    for env_index in range(NUM_ENVS):
        hidden = torch.zeros(agents, 1, 8)
        for t in range(num_steps):
            values[t, env_index], hidden = value_by_hand(actor, env.seen[t][env_index], hidden)
            terminated, truncated = (ends[env_index] for ends in env.ends[t])
            if truncated:  # before the reset, and after all that the agent has seen
                following[t, env_index], _ = value_by_hand(actor, env.final[t][env_index], hidden)
            if terminated or truncated:
                hidden = torch.zeros_like(hidden)
            else:
                following[t, env_index], _ = value_by_hand(
                    actor, env.seen[t + 1][env_index], hidden
                )
    found = np.concatenate([rollout.values for rollout in fragments])
    np.testing.assert_allclose(found, values[:-1].numpy(), rtol=1e-4, atol=1e-4)
    terminated, truncated = (np.stack([e[k] for e in env.ends]) for k in (0, 1))
    assert terminated.any()
    assert truncated[:-1].any()
    assert not (terminated | truncated)[NUM_STEPS - 1].all()
    advantages = torch.zeros(num_steps, NUM_ENVS, agents)
    for t, env_index, i in itertools.product(
        reversed(range(num_steps)), range(NUM_ENVS), range(agents)
    ):
        delta = env.rewards[t][env_index] - values[t, env_index, i]
        if not terminated[t, env_index]:
            delta = delta + GAMMA * following[t, env_index, i]
        is_over = (
            terminated[t, env_index] or truncated[t, env_index] or t % NUM_STEPS == NUM_STEPS - 1
        )
        later = 0 if is_over else GAMMA * LAMBDA * advantages[t + 1, env_index, i]
        advantages[t, env_index, i] = delta + later
    found = np.concatenate([rollout.advantages for rollout in fragments])
    np.testing.assert_allclose(found, advantages.numpy(), rtol=1e-4, atol=1e-3)


def test_the_memory_of_critics_is_stored_before_each_step_and_forgotten_at_ends(build):
    _, env, (rollout,) = recurrent_play(build)
    for t in range(NUM_STEPS):
        is_fresh = np.ones(NUM_ENVS, bool) if t == 0 else env.ends[t - 1][0] | env.ends[t - 1][1]
        hidden = rollout.hidden[t]
        assert hidden.modifier is None
        for part in (hidden.individual, hidden.critic):
            assert part.shape == (2, NUM_ENVS, 8)
            assert (part.abs().amax((0, 2)) == 0).tolist() == is_fresh.tolist()
    assert not torch.equal(rollout.hidden[1].critic, rollout.hidden[1].individual)


def test_the_critics_memory_moves_where_values_are_asked_for_and_nowhere_else(build):
    sizes = build.sizes()
    network = build.network(sizes, algorithm="ippo", use_gru=True)
    inputs = build.inputs(sizes, T, B)
    hidden = map_tensors(network.initial_state(B), lambda x: x + 0.1)
    assert hidden.critic.shape == (N, B, 8)
    output = network(inputs, hidden)
    assert output.hidden.critic is hidden.critic
    assert not torch.equal(output.hidden.individual, hidden.individual)
    values = network.values(inputs, hidden.critic)
    state, step_by_step = hidden.critic, []
    for t in range(T):
        step = network.values(map_tensors(inputs, lambda x, t=t: x[t : t + 1]), state)
        state = step.hidden
        step_by_step.append(step.normalized)
    torch.testing.assert_close(values.normalized, torch.cat(step_by_step))
    torch.testing.assert_close(values.hidden, state)


def test_the_value_loss_starts_from_the_critics_own_stored_memory(build):
    actor, batch = build.collected(
        "memory_game", T=4, B=5, skip=2, config={"delay": 9}, algorithm="ippo", use_gru=True
    )
    values = actor.module.values(batch.inputs, batch.hidden.critic).normalized
    torch.testing.assert_close(values, batch.targets.values)
    weights = replace(WEIGHTS, entropy_coeff=0.0, kl_coeff=0.0)
    same = build.with_targets(batch, value_targets=batch.targets.values)
    assert team_loss(actor.module, same, weights).metrics["vf_loss"] < 1e-9
    for name in ("critic", "individual"):
        forgotten = replace(same.hidden, **{name: torch.zeros_like(same.hidden.critic)})
        metrics = team_loss(actor.module, replace(same, hidden=forgotten), weights).metrics
        assert (metrics["vf_loss"] > 1e-6) == (name == "critic")
        assert (metrics["kl"] > 1e-6) == (name == "individual")


# --- whether it learns


LEARNERS = {
    "autoregressive": ({"correlation": "autoregressive"}, 40, 4, 5e-3),
    "autoregressive in random order": (
        {"correlation": "autoregressive", "agent_order": "random"},
        40,
        4,
        5e-3,
    ),
    "signal": ({"correlation": "signal"}, 40, 4, 5e-3),
    "mappo": ({"algorithm": "mappo"}, 40, 4, 5e-3),
    "ippo": ({"algorithm": "ippo"}, 40, 4, 5e-3),
    "a2c": ({"algorithm": "mappo", "learner": "a2c"}, 120, 1, 1e-2),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_few_updates_solve_the_penalty_game_without_penalty(build, name):
    settings, num_updates, num_epochs, lr = LEARNERS[name]
    env = make_vector_env("penalty_0", 64)
    actor = build.actor(env, seed=3, **settings)
    weights = PPOCoefficients(
        clip_param=0.2, vf_clip_param=10.0, vf_loss_coeff=1.0, entropy_coeff=0.01
    )
    plan = {"num_epochs": num_epochs, "grad_clip": 10.0, "use_kl_loss": False}
    learner = build.learner(actor.module, lr, lr, weights=weights, **plan)
    state, generator, means = start(actor, env, 0), random(), []
    for _ in range(num_updates):
        rollout = build.rollout(actor, env, state, 1, gamma=0.99, lambda_=0.95)
        means.append(float(rollout.rewards.mean()))
        learner.update(build.batch(actor, rollout), env_steps=0, generator=generator)
    assert means[0] < 4.5
    assert sum(means[-5:]) / 5 > 9
    records = play(actor, env, 8, policy="individual", explore=False, seed=0)
    assert [record.episode_return for record in records] == [10] * 8
