"""AgentMixer-PPO: the loss from its parts, padding, one step, the epochs, and whether it learns."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from rllib_agentmixer.core.data.batch import map_tensors
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.functional import losses
from rllib_agentmixer.core.learners.diagnostics import consistency_metrics, fit_individual_std
from rllib_agentmixer.core.learners.optimization import gradient_norm, take_step
from rllib_agentmixer.core.learners.policy_gradient import adapted_kl_coeff
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients, team_loss
from rllib_agentmixer.core.settings.base import scheduled_value
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.errors import LearningError
from rllib_agentmixer.rollouts.actor import start
from rllib_agentmixer.rollouts.play import play

ENVS = ["climbing", "predator_prey", "continuous_game"]
PARTS = ["individual_policies", "policy_modifier", "critic"]


def moved(build, network, scale=0.05):
    """The same network after a small random step, so that ratios differ from 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return network


def parameters_of(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def gradients(network, batch, weights):
    network.zero_grad()
    team_loss(network, batch, weights).total.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in network.named_parameters()
    }


# --- the loss


@pytest.mark.parametrize("env", ENVS)
def test_in_the_first_minibatch_the_policy_is_the_one_that_acted(build, env):
    actor, batch = build.collected(env)
    metrics = team_loss(actor.module, batch, build.weights).metrics
    assert metrics["kl"].item() == pytest.approx(0, abs=1e-5)
    assert metrics["clip_fraction"] == 0
    # Ratio 1 and standardised advantages: the surrogate is minus their mean, 0.
    assert metrics["policy_loss"].item() == pytest.approx(0, abs=1e-5)
    log_prob = actor.module(batch.inputs).joint.log_prob(batch.actions)
    torch.testing.assert_close(log_prob, batch.targets.log_prob, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(actor.module.critic.value(batch.inputs.state), batch.targets.values)


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("kl_coeff", [0.0, 0.7])
def test_the_loss_is_the_weighted_sum_of_its_parts(build, env, kl_coeff):
    actor, batch = build.collected(env)
    network = moved(build, actor.module)
    network.critic.observe_targets(batch.targets.value_targets, batch.valid)
    weights = replace(build.weights, kl_coeff=kl_coeff)
    joint = network(batch.inputs).joint
    log_prob = joint.log_prob(batch.actions)
    normalizer = network.critic.normalizer
    policy_loss = losses.clipped_policy_loss(
        log_prob, batch.targets.log_prob, batch.targets.advantages, batch.valid, clip_param=0.2
    )
    vf_loss = losses.clipped_value_loss(
        network.critic(batch.inputs.state),
        normalizer.normalize(batch.targets.values),
        normalizer.normalize(batch.targets.value_targets),
        batch.valid,
        clip=0.3,
        huber_delta=10.0,
    )
    entropy = joint.entropy().mean()
    old = network.policy_from_flat(batch.behaviour, batch.inputs)
    kl = old.kl(joint).mean()
    loss = team_loss(network, batch, weights)
    expected = policy_loss + 0.5 * vf_loss - 0.1 * entropy + kl_coeff * kl
    torch.testing.assert_close(loss.total, expected)
    explained = losses.explained_variance(
        network.critic.value(batch.inputs.state), batch.targets.value_targets, batch.valid
    )
    parts = {
        "total_loss": expected,
        "policy_loss": policy_loss,
        "vf_loss": vf_loss,
        "entropy": entropy,
        "kl": kl,
        "clip_fraction": ((log_prob - batch.targets.log_prob).exp() - 1)
        .abs()
        .gt(0.2)
        .float()
        .mean(),
        "explained_variance": explained,
    }
    assert loss.metrics.keys() == parts.keys()
    for name, value in parts.items():
        torch.testing.assert_close(loss.metrics[name], value.detach(), atol=1e-5, rtol=1e-4)
        assert not loss.metrics[name].requires_grad
    assert kl > 1e-4


@pytest.mark.parametrize("env", ENVS)
def test_the_divergence_term_pulls_back_to_the_policy_that_acted(build, env):
    actor, batch = build.collected(env)
    network = moved(build, actor.module)
    free, held = (
        gradients(network, batch, replace(build.weights, kl_coeff=coeff)) for coeff in (0.0, 0.7)
    )
    network.zero_grad()
    joint = network(batch.inputs).joint
    old = network.policy_from_flat(batch.behaviour, batch.inputs)
    losses.valid_mean(old.kl(joint), batch.valid).backward()
    pull = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert any(gradient.abs().max() > 1e-4 for gradient in pull.values())
    for name, gradient in pull.items():
        torch.testing.assert_close(held[name], free[name] + 0.7 * gradient, atol=1e-5, rtol=1e-3)


def test_values_are_compared_in_normalised_units(build):
    actor, batch = build.collected("continuous_game")
    weights = replace(build.weights, entropy_coeff=0.0)
    network = actor.module
    network.critic.observe_targets(batch.targets.value_targets, batch.valid)
    before = team_loss(network, batch, weights).metrics["vf_loss"]
    # Rewards and predictions ten times as large are the same thing in other units.
    normalizer = network.critic.normalizer
    normalizer.mean *= 10
    normalizer.variance *= 100
    targets = batch.targets
    larger = build.with_targets(
        batch, values=10 * targets.values, value_targets=10 * targets.value_targets
    )
    after = team_loss(network, larger, weights).metrics["vf_loss"]
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({"vf_loss_coeff": 0.0}, {"individual_policies", "policy_modifier"}),
        ({}, set(PARTS)),
    ],
)
def test_each_loss_trains_its_parts(build, changes, trained):
    actor, batch = build.collected("continuous_game")
    network = moved(build, actor.module)
    found = gradients(network, batch, replace(build.weights, **changes))
    reached = {name.split(".")[0] for name, g in found.items() if g.abs().max() > 0}
    assert reached == trained


# --- recurrence and padding


def recurrent(build, **settings):
    return build.collected("climbing", T=5, B=4, skip=3, config={"repeat": 50}, use_gru=True)


def test_with_the_stored_state_the_acting_policy_is_recomputed(build):
    actor, batch = recurrent(build)
    assert batch.valid.shape == (5, 4)
    metrics = team_loss(actor.module, batch, build.weights).metrics
    assert metrics["kl"].item() == pytest.approx(0, abs=1e-5)
    assert metrics["clip_fraction"] == 0
    log_prob = actor.module(batch.inputs, batch.hidden).joint.log_prob(batch.actions)
    torch.testing.assert_close(log_prob, batch.targets.log_prob, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("forgotten", ["individual", "modifier"])
def test_with_a_forgotten_state_it_is_not(build, forgotten):
    # The known trap: sequences that start from zeros silently learn off-policy.
    actor, batch = recurrent(build)
    stored = getattr(batch.hidden, forgotten)
    assert stored.abs().max() > 0
    hidden = replace(batch.hidden, **{forgotten: torch.zeros_like(stored)})
    metrics = team_loss(actor.module, replace(batch, hidden=hidden), build.weights).metrics
    assert metrics["kl"] > 1e-6
    log_prob = actor.module(batch.inputs, hidden).joint.log_prob(batch.actions)
    assert not torch.allclose(log_prob, batch.targets.log_prob, atol=1e-4)


def padded(batch, extra, seed):
    """Every sequence grows by steps of finite garbage that are not valid."""
    generator = torch.Generator().manual_seed(seed)

    def grow(x):
        noise = 3 * torch.randn(extra, *x.shape[1:], generator=generator)
        garbage = torch.ones_like(noise) if x.dtype == torch.bool else noise
        return torch.cat([x, garbage.to(x.dtype)])

    hidden = batch.hidden
    grown = map_tensors(replace(batch, hidden=None), grow)
    grown.valid[-extra:] = False
    return replace(grown, actions=grown.actions.clamp(0, 2), hidden=hidden)


@pytest.mark.parametrize("seed", [0, 1])
def test_padded_steps_change_neither_loss_nor_gradient(build, seed):
    actor, batch = recurrent(build)
    network = moved(build, actor.module)
    longer = padded(batch, 3, seed)
    assert longer.valid.shape == (8, 4)
    first = team_loss(network, batch, build.weights)
    second = team_loss(network, longer, build.weights)
    for name, value in first.metrics.items():
        torch.testing.assert_close(second.metrics[name], value, msg=name)
    expected = gradients(network, batch, build.weights)
    found = gradients(network, longer, build.weights)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_sequences_of_different_length_weigh_by_their_steps(build):
    actor, batch = recurrent(build)
    network = moved(build, actor.module)
    valid = batch.valid.clone()
    valid[2:, 0] = False
    loss = team_loss(network, replace(batch, valid=valid), build.weights)
    entropy = network(batch.inputs, batch.hidden).joint.entropy()
    torch.testing.assert_close(loss.metrics["entropy"], entropy[valid].mean().detach())


# --- diagnostics


def test_consistency_metrics_by_hand(build):
    actor, batch = build.collected("predator_prey", igc="gumbel")
    batch.valid[0, :5] = False
    output = actor.module(batch.inputs)
    chosen = batch.valid
    expected = {
        "mode_agreement": output.joint.agreement(output.individual)[chosen].mean(),
        "kl_joint_individual": output.joint.kl(output.individual)[chosen].mean(),
        "individual_entropy": output.individual.entropy()[chosen].mean(),
        "joint_entropy": output.joint.entropy()[chosen].mean(),
    }
    metrics = consistency_metrics(actor.module, batch)
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(metrics[name], value.detach())
        assert not metrics[name].requires_grad
    assert metrics["mode_agreement"] < 1


def test_consistency_metrics_carry_the_recurrent_state(build):
    actor, batch = recurrent(build)
    metrics = consistency_metrics(actor.module, batch)
    joint = actor.module(batch.inputs, batch.hidden).joint
    torch.testing.assert_close(metrics["joint_entropy"], joint.entropy().mean().detach())


def test_the_fitted_std_is_the_root_of_the_mean_variance(build):
    sizes = build.sizes("continuous")
    network = build.network(sizes)
    inputs = build.inputs(sizes, T=3, B=4, everybody_lives=False)  # agent 0 misses the last step
    zeros = torch.zeros(3, 4)
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[1, 2] = False
    nothing = {"rewards": zeros, "terminated": zeros.bool(), "truncated": zeros.bool()}
    batch = Experience(
        inputs, torch.zeros(3, 4, 3, 4), valid=valid, behaviour=torch.zeros(3, 4, 24), **nothing
    )
    before = network.individual_policies.log_std.clone()
    fit_individual_std(network, batch)
    std = network.individual_policies.log_std.exp()
    joint_std = network(inputs).joint.std.detach()
    for agent, size in enumerate(sizes.action_sizes):
        counts = valid & inputs.alive[..., agent]
        variance = joint_std[..., agent, :][counts].square().mean(0)
        torch.testing.assert_close(std[agent, :size], variance[:size].sqrt())
        assert torch.equal(network.individual_policies.log_std[agent, size:], before[agent, size:])


def test_the_fitted_std_minimises_the_divergence_from_the_joint_policy(build):
    actor, batch = build.collected("continuous_game", B=32)
    network = actor.module
    fit_individual_std(network, batch)

    def divergence():
        return consistency_metrics(network, batch)["kl_joint_individual"].item()

    best = divergence()
    log_std = network.individual_policies.log_std
    for step in (-0.05, 0.1):
        log_std += step
        assert divergence() > best


def test_an_agent_that_never_lived_keeps_its_std_and_discrete_teams_are_left_alone(build):
    actor, batch = build.collected("continuous_game")
    batch.inputs.alive[..., 0] = False
    log_std = actor.module.individual_policies.log_std
    before = log_std.clone()
    fit_individual_std(actor.module, batch)
    assert torch.equal(log_std[0], before[0])
    assert not torch.equal(log_std[1], before[1])
    actor, batch = build.collected("climbing")
    before = actor.module.individual_policies.log_std.clone()
    fit_individual_std(actor.module, batch)
    assert torch.equal(actor.module.individual_policies.log_std, before)


def test_gradient_norm_by_hand():
    first, second, third = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    assert gradient_norm([first]) == 0
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm([first, second, third]) == 5


# --- the learner


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_parts_are_all_parameters_once(build):
    network = build.collected()[0].module
    learner = build.learner(network)
    assert set(learner.parts) == set(PARTS)
    found = [id(p) for part in learner.parts.values() for p in part]
    assert sorted(found) == sorted(id(p) for p in network.parameters())
    optimised = [id(p) for group in learner.optimizer.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(found)


@pytest.mark.parametrize(
    ("lr", "modifier_lr", "moving"),
    [
        (1e-3, 0.0, {"individual_policies", "critic"}),
        (0.0, 1e-3, {"policy_modifier"}),
        (1e-3, 1e-3, set(PARTS)),
    ],
)
@pytest.mark.parametrize("by_schedule", [False, True])
def test_two_learning_rates_move_their_own_parts(build, lr, modifier_lr, moving, by_schedule):
    actor, batch = build.collected("continuous_game")
    rates = (lr, modifier_lr)
    if by_schedule:
        rates = tuple([[0, 5.0], [100, rate]] for rate in rates)
    learner = build.learner(actor.module, *rates)
    if by_schedule:
        learner.follow_schedules(100)
    before = parameters_of(actor.module)
    learner.step(batch, build.weights)
    after = parameters_of(actor.module)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == moving


def test_the_first_step_of_adam_moves_by_the_learning_rate(build):
    actor, batch = build.collected("continuous_game")
    learner = build.learner(actor.module, lr=1e-3, modifier_lr=1e-4)
    assert all(group["eps"] == 1e-5 for group in learner.optimizer.param_groups)
    before = parameters_of(actor.module)
    found = gradients(actor.module, batch, build.weights)
    learner.step(batch, build.weights)
    for name, parameter in parameters_of(actor.module).items():
        rate = 1e-4 if name.startswith("policy_modifier") else 1e-3
        gradient = found[name]
        expected = before[name] - rate * gradient / (gradient.abs() + 1e-5)
        torch.testing.assert_close(parameter, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("grad_clip", [None, 1e-3, 1e6])
def test_gradients_are_scaled_down_to_the_limit_and_never_up(build, grad_clip):
    actor, batch = build.collected("continuous_game")
    network = actor.module
    plain = gradients(network, batch, build.weights)
    metrics = build.learner(network, grad_clip=grad_clip).step(batch, build.weights)
    total = torch.stack([g.norm() for g in plain.values()]).norm()
    torch.testing.assert_close(metrics["grad_norm"], total)
    for part in PARTS:
        own = torch.stack([g.norm() for name, g in plain.items() if name.startswith(part)]).norm()
        torch.testing.assert_close(metrics[f"grad_norm_{part}"], own)
    factor = min(1.0, grad_clip / total.item()) if grad_clip else 1.0
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, factor * plain[name], rtol=1e-3, atol=1e-9)


def test_a_step_starts_from_fresh_gradients(build):
    actor, batch = build.collected("continuous_game")
    learner = build.learner(actor.module, lr=0.0, modifier_lr=0.0)
    first = learner.step(batch, build.weights)["grad_norm"]
    torch.testing.assert_close(learner.step(batch, build.weights)["grad_norm"], first)


def test_an_update_counts_its_epochs_and_gradient_steps(build):
    actor, batch = build.collected("climbing", T=4, B=6)  # 24 steps
    learner = build.learner(actor.module, num_epochs=3, minibatch_size=8)
    metrics = learner.update(batch, env_steps=0, generator=random())
    assert (metrics["num_epochs"], metrics["num_updates"]) == (3, 9)
    assert all(isinstance(value, (float, int)) for value in metrics.values())
    whole = build.learner(actor.module).update(batch, env_steps=0, generator=random())
    assert (whole["num_epochs"], whole["num_updates"]) == (1, 1)


def test_metrics_are_averaged_over_gradient_steps(build):
    actor, batch = build.collected("climbing", T=4, B=6)
    rates = {"lr": 0.0, "modifier_lr": 0.0}
    single = build.learner(actor.module, **rates).update(batch, env_steps=0, generator=random())
    learner = build.learner(actor.module, **rates, num_epochs=2, minibatch_size=8)
    several = learner.update(batch, env_steps=0, generator=random())
    # Nothing moves and parts are equally large, so entropy averages to that of the batch.
    assert several["entropy"] == pytest.approx(single["entropy"], rel=1e-4)


def test_epochs_end_once_the_policy_has_moved_too_far(build):
    def epochs(kl_stop):
        actor, batch = build.collected("predator_prey")
        learner = build.learner(actor.module, 1e-2, 1e-2, num_epochs=6, kl_stop=kl_stop)
        metrics = learner.update(batch, env_steps=0, generator=random())
        return metrics["num_epochs"]

    assert epochs(None) == 6
    assert epochs(1e9) == 6
    assert epochs(1e-4) == 2  # the first epoch is measured before anything has moved


def test_the_stop_looks_at_the_mean_divergence_of_the_last_epoch(build):
    actor, batch = build.collected("predator_prey")
    plan = {"num_epochs": 3, "minibatch_size": 12, "kl_stop": 0.4}
    learner = build.learner(actor.module, 0.0, 0.0, **plan)
    kls = iter([0.3, 0.3, 0.1, 0.75, 0.0, 0.0])
    scripted = learner.step

    def step(*arguments):
        return scripted(*arguments) | {"kl": torch.tensor(next(kls))}

    learner.step = step
    metrics = learner.update(batch, env_steps=0, generator=random())
    # Two parts an epoch: means 0.3 and 0.425, while that of everything so far is 0.3625.
    assert metrics["num_epochs"] == 2
    assert metrics["kl"] == pytest.approx((0.3 + 0.3 + 0.1 + 0.75) / 4)


def test_an_update_takes_the_targets_into_the_statistics_once(build):
    actor, batch = build.collected("climbing")
    batch.valid[0, :4] = False
    learner = build.learner(actor.module, num_epochs=3)
    learner.update(batch, env_steps=0, generator=random())
    normalizer = actor.module.critic.normalizer
    assert normalizer.count == batch.valid.sum()
    torch.testing.assert_close(normalizer.mean, batch.targets.value_targets[batch.valid].mean())


# --- numbers that are none


def poison(learner, bad_steps):
    """Let the loss of some gradient steps be NaN."""
    true_loss, step = learner.loss, iter(range(100))

    def loss(*arguments):
        found = true_loss(*arguments)
        return replace(found, total=found.total * math.nan) if next(step) in bad_steps else found

    learner.loss = loss


def state_of(learner):
    moments = [m for state in learner.optimizer.state.values() for m in state.values()]
    return [t.detach().clone() for t in (*learner.team.parameters(), *moments)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_no_number_moves_nothing(value):
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
    parameter.grad = torch.tensor([value, 1.0])
    assert take_step(optimizer, gradient_norm([parameter])) == 1
    assert torch.equal(parameter, torch.ones(2))
    parameter.grad = torch.ones(2)
    assert take_step(optimizer, gradient_norm([parameter])) == 0
    assert not torch.equal(parameter, torch.ones(2))


@pytest.mark.parametrize("policy", ["skip", "warn"])
@pytest.mark.parametrize("grad_clip", [None, 0.5])
def test_a_step_whose_gradients_are_not_finite_changes_nothing(build, caplog, policy, grad_clip):
    def after(bad_steps, num_epochs):
        actor, batch = build.collected("predator_prey")
        plan = {"num_epochs": num_epochs, "grad_clip": grad_clip, "non_finite": policy}
        learner = build.learner(actor.module, **plan)
        poison(learner, bad_steps)
        return learner, learner.update(batch, env_steps=0, generator=random())

    clean, metrics = after((), 2)
    assert metrics["skipped_steps"] == 0
    poisoned, metrics = after((0, 2), 4)
    assert metrics["skipped_steps"] == 0.5
    for one, other in zip(state_of(clean), state_of(poisoned), strict=True):
        assert torch.equal(one, other)
    is_reported = "gradients were not finite in 50% of this update's steps" in caplog.text
    assert is_reported == (policy == "warn")


def test_by_default_such_a_step_ends_training_with_the_weights_of_before(build):
    actor, batch = build.collected("predator_prey")
    learner = build.learner(actor.module)
    # The critic's output layer follows the statistics of targets; what it says does not change.
    actors = learner.parts["individual_policies"] + learner.parts["policy_modifier"]
    before = [p.detach().clone() for p in actors]
    poison(learner, (0,))
    with pytest.raises(LearningError, match=r"in 100% of this update's steps.*non_finite"):
        learner.update(batch, env_steps=0, generator=random())
    for parameter, old in zip(actors, before, strict=True):
        assert torch.equal(parameter, old)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_target_that_is_no_number_reaches_no_statistic(build, value):
    actor, batch = build.collected("predator_prey")
    batch.targets.value_targets[batch.valid] = torch.where(
        torch.arange(int(batch.valid.sum())) == 1, value, 0.0
    )
    with pytest.raises(LearningError, match=f"a value target is {value}"):
        build.learner(actor.module, non_finite="skip").update(
            batch, env_steps=0, generator=random()
        )
    assert actor.module.critic.normalizer.count == 0


def test_padded_targets_may_be_anything(build):
    actor, batch = build.collected("predator_prey")
    batch.valid[0, :4] = False
    batch.targets.value_targets[0, :4] = math.inf
    learner = build.learner(actor.module, non_finite="skip")
    poison(learner, range(9))  # the padded value itself is not what is looked at here
    learner.update(batch, env_steps=0, generator=random())
    assert torch.isfinite(actor.module.critic.normalizer.mean)


@pytest.mark.parametrize("is_fitted", [True, False])
def test_an_update_fits_the_individual_std_if_asked(build, is_fitted):
    actor, batch = build.collected("continuous_game", sample_std_from_joint=is_fitted)
    log_std = actor.module.individual_policies.log_std
    before = log_std.clone()
    build.learner(actor.module).update(batch, env_steps=0, generator=random())
    assert torch.equal(log_std, before) != is_fitted


def test_updates_with_the_same_seed_are_equal_bit_for_bit(build):
    def run(seed):
        actor, batch = build.collected("climbing")
        learner = build.learner(actor.module, num_epochs=2, minibatch_size=7)
        learner.update(batch, env_steps=0, generator=random(seed))
        return parameters_of(actor.module)

    first, again, other = run(0), run(0), run(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def greedy_return(actor, env):
    records = play(actor, env, 8, policy="individual", explore=False, seed=0)
    return sum(record.episode_return for record in records) / len(records)


@pytest.mark.parametrize("igc", ["strict", "gumbel"])
def test_a_few_updates_solve_the_penalty_game_without_penalty(build, igc):
    torch.manual_seed(0)
    env = make_vector_env("penalty_0", 128)
    actor = build.actor(env, seed=3, igc=igc)
    weights = PPOCoefficients(
        clip_param=0.2, vf_clip_param=10.0, vf_loss_coeff=1.0, entropy_coeff=0.01
    )
    plan = {"num_epochs": 4, "grad_clip": 10.0, "use_kl_loss": False}
    learner = build.learner(actor.module, 5e-3, 5e-3, weights=weights, **plan)
    state, generator, means = start(actor, env, 0), random(), []
    for _ in range(40):
        rollout = build.rollout(actor, env, state, 1, gamma=0.99, lambda_=0.95)
        means.append(float(rollout.rewards.mean()))
        learner.update(build.batch(actor, rollout), env_steps=0, generator=generator)
    assert means[0] < 4
    assert sum(means[-5:]) / 5 > 9
    assert greedy_return(actor, env) == 10


# --- resuming, and RLlib's adaptive weight of the divergence


def test_the_weight_of_the_divergence_follows_rllibs_rule():
    assert adapted_kl_coeff(0.2, 0.021, target=0.01) == pytest.approx(0.3)
    assert adapted_kl_coeff(0.2, 0.004, target=0.01) == pytest.approx(0.1)
    for inside in (0.005, 0.01, 0.02):
        assert adapted_kl_coeff(0.2, inside, target=0.01) == 0.2


@pytest.mark.parametrize("use_kl_loss", [True, False])
def test_an_update_adapts_it_where_the_divergence_is_part_of_the_loss(build, use_kl_loss):
    actor, batch = build.collected("climbing")
    learner = build.learner(actor.module, num_epochs=4, use_kl_loss=use_kl_loss, kl_target=1e-9)
    metrics = learner.update(batch, env_steps=0, generator=random())
    assert learner.kl_coeff == pytest.approx(0.3 if use_kl_loss else 0.2)
    assert metrics["cur_kl_coeff"] == learner.kl_coeff
    assert (learner.coefficients.kl_coeff == 0) == (not use_kl_loss)


def test_a_resumed_learner_goes_on_bit_for_bit(build):
    actor, batch = build.collected("climbing")
    learner = build.learner(actor.module, num_epochs=2, minibatch_size=8, kl_target=1e-9)
    learner.update(batch, env_steps=0, generator=random())
    state, weights = deepcopy((learner.state_dict(), actor.module.state_dict()))
    learner.update(batch, env_steps=0, generator=random(1))
    other, _ = build.collected("climbing", seed=3)
    other.module.load_state_dict(weights)
    resumed = build.learner(other.module, num_epochs=2, minibatch_size=8, kl_target=1e-9)
    resumed.load_state_dict(state)
    resumed.update(batch, env_steps=0, generator=random(1))
    expected, found = parameters_of(actor.module), parameters_of(other.module)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.kl_coeff == learner.kl_coeff


def test_schedules_move_with_the_sampled_steps(build):
    actor, batch = build.collected("climbing", temperature=[[0, 2.0], [100, 1.0]])
    entropy = [[0, 0.4], [100, 0.2]]
    learner = build.learner(actor.module, lr=[[0, 0.1], [100, 0.3]], entropy_coeff=entropy)
    metrics = learner.update(batch, env_steps=50, generator=random())
    assert metrics["cur_lr"] == pytest.approx(0.2)
    assert metrics["entropy_coeff"] == pytest.approx(0.3)
    assert metrics["temperature"] == actor.module.temperature == pytest.approx(1.5)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("steps", "value"), [(0, 1.0), (5, 1.5), (10, 2.0), (15, 1.0), (20, 0.0), (99, 0.0)]
)
def test_a_schedule_is_linear_between_its_points_and_constant_after_them(steps, value):
    assert scheduled_value([[0, 1.0], [10, 2.0], [20, 0.0]], steps) == pytest.approx(value)
    assert scheduled_value(0.7, steps) == 0.7
