"""Team distributions against torch.distributions, with masks, padding and dead agents."""

import pytest
import torch
from torch import distributions as reference

from rllib_agentmixer.core.functional.distributions import (
    MASKED_LOGIT,
    TeamCategorical,
    TeamGaussian,
)

T, B, N, A = 2, 3, 3, 4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


ALIVE = torch.ones(T, B, N, dtype=torch.bool)
SOME_DEAD = ALIVE.clone()
SOME_DEAD[0, :, 1] = False
SOME_DEAD[1, 0, 0] = False
SOME_DEAD[1, 2, :2] = False  # one agent is left
NOBODY = torch.zeros(T, B, N, dtype=torch.bool)


def categorical(seed=0, alive=SOME_DEAD):
    return TeamCategorical(2 * draw(T, B, N, A, seed=seed), alive)


def mean_over_living(per_agent, alive=SOME_DEAD):
    return torch.stack(
        [torch.stack([per_agent[t, b][alive[t, b]].mean() for b in range(B)]) for t in range(T)]
    )


def sum_over_living(per_agent, alive=SOME_DEAD):
    return torch.where(alive, per_agent, 0.0).sum(-1)


# --- categorical


def test_categorical_log_prob_is_the_sum_over_living_agents():
    policy = categorical()
    actions = torch.randint(A, (T, B, N), generator=generator())
    per_agent = reference.Categorical(logits=policy.logits).log_prob(actions)
    torch.testing.assert_close(policy.log_prob(actions), sum_over_living(per_agent))
    torch.testing.assert_close(policy.log_prob(actions.float()), sum_over_living(per_agent))


def test_categorical_entropy_is_the_mean_over_living_agents():
    policy = categorical()
    per_agent = reference.Categorical(logits=policy.logits).entropy()
    torch.testing.assert_close(policy.entropy(), mean_over_living(per_agent))


def test_categorical_kl_is_the_sum_over_living_agents():
    policy, other = categorical(0), categorical(1)
    per_agent = reference.kl_divergence(
        reference.Categorical(logits=policy.logits), reference.Categorical(logits=other.logits)
    )
    torch.testing.assert_close(policy.kl(other), sum_over_living(per_agent))
    assert policy.kl(policy).abs().max() == 0
    assert not torch.allclose(policy.kl(other), other.kl(policy))


def test_log_probs_are_normalised():
    torch.testing.assert_close(categorical().log_probs.exp().sum(-1), torch.ones(T, B, N))


@pytest.mark.parametrize("kind", ["log_prob", "entropy", "kl", "agreement"])
@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_dead_agents_count_nowhere(kind, family):
    make = {"categorical": categorical, "gaussian": gaussian}[family]
    policy, other = make(0), make(1)
    shape = (T, B, N) if family == "categorical" else (T, B, N, A)
    actions = torch.zeros(shape)

    def measure(first, second):
        arguments = {"log_prob": (actions,), "entropy": ()}.get(kind, (second,))
        return getattr(first, kind)(*arguments)

    before = measure(policy, other)
    for distribution in (policy, other):
        tensors = [distribution.logits] if family == "categorical" else [distribution.mean]
        for tensor in tensors:
            tensor[~SOME_DEAD] = tensor[~SOME_DEAD].flip(-1) * 3
    torch.testing.assert_close(measure(policy, other), before)


@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_a_row_in_which_nobody_lives_measures_zero(family):
    make = {"categorical": categorical, "gaussian": gaussian}[family]
    policy, other = make(0, alive=NOBODY), make(1, alive=NOBODY)
    for measured in (policy.entropy(), policy.kl(other), policy.agreement(other)):
        assert measured.abs().max() == 0


def masked(seed=0):
    logits = draw(T, B, N, A, seed=seed)
    logits[..., 1] = MASKED_LOGIT
    logits[..., 0, 2:] = MASKED_LOGIT
    return TeamCategorical(logits, ALIVE)


def test_forbidden_actions_have_probability_exactly_0_and_everything_stays_finite():
    policy, other = masked(), masked(1)
    logits = policy.logits.requires_grad_()
    probs = policy.log_probs.exp()
    assert probs[..., 1].abs().max() == 0
    assert probs[..., 0, 2:].abs().max() == 0
    actions = policy.mode()
    measures = policy.log_prob(actions), policy.entropy(), policy.kl(other)
    for measure in measures:
        assert torch.isfinite(measure).all()
    torch.stack(measures).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[..., 1].abs().max() == 0


def test_masked_entropy_and_kl_are_those_of_the_legal_actions_alone():
    legal = torch.tensor([0, 2, 3])
    policy, other = (TeamCategorical(draw(T, B, N, A, seed=seed), ALIVE) for seed in (0, 1))
    smaller, smaller_other = (TeamCategorical(p.logits[..., legal], ALIVE) for p in (policy, other))
    for distribution in (policy, other):
        distribution.logits[..., 1] = MASKED_LOGIT
    torch.testing.assert_close(policy.entropy(), smaller.entropy())
    torch.testing.assert_close(policy.kl(other), smaller.kl(smaller_other))


def test_masked_actions_are_never_sampled():
    policy = masked()
    random = generator()
    samples = torch.stack([policy.sample(random) for _ in range(500)])
    assert (samples != 1).all()
    assert (samples[..., 0] == 0).all()
    assert set(samples[..., 1].unique().tolist()) == {0, 2, 3}


def test_categorical_sampling_frequencies_are_the_probabilities():
    probs = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]])
    count = 40_000
    policy = TeamCategorical(probs.log().expand(count, 2, A), torch.ones(count, 2).bool())
    samples = policy.sample(generator())
    frequencies = torch.nn.functional.one_hot(samples, A).float().mean(0)
    # Four standard errors of the most uncertain frequency.
    torch.testing.assert_close(frequencies, probs, atol=4 * 0.5 / count**0.5, rtol=0)
    both_first = ((samples[:, 0] == 0) & (samples[:, 1] == 3)).float().mean()
    assert both_first.item() == pytest.approx(0.5 * 0.4, abs=0.01)  # agents draw independently


@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_the_generator_alone_decides_what_is_sampled(family):
    policy = categorical() if family == "categorical" else gaussian()
    first, again = policy.sample(generator(3)), policy.sample(generator(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, policy.sample(generator(4)))


def test_the_mode_is_the_most_probable_action_and_the_first_among_equals():
    logits = torch.tensor([[[0.0, 2.0, 1.0], [5.0, 5.0, 0.0]]])
    policy = TeamCategorical(logits, torch.ones(1, 2).bool())
    assert policy.mode().tolist() == [[1, 0]]


def test_categorical_agreement_is_the_share_of_living_agents_with_equal_modes():
    first = torch.eye(3).expand(1, 3, 3)
    second = torch.eye(3)[[0, 2, 2]].expand(1, 3, 3)
    for alive, share in ([1, 1, 1], 2 / 3), ([1, 1, 0], 1 / 2), ([0, 1, 0], 0):
        alive = torch.tensor([alive]).bool()
        agreement = TeamCategorical(first, alive).agreement(TeamCategorical(second, alive))
        assert agreement.item() == pytest.approx(share)


def test_the_head_is_what_carries_the_mode():
    assert torch.equal(categorical().head, categorical().logits)
    assert torch.equal(gaussian().head, gaussian().mean)


def test_categorical_flat_parameters_are_logits_agent_by_agent():
    policy = categorical()
    assert policy.flat().shape == (T, B, N * A)
    torch.testing.assert_close(policy.flat()[..., A : 2 * A], policy.logits[..., 1, :])


# --- Gaussian

VALID = torch.arange(A) < torch.tensor([4, 2, 1])[:, None]  # [N, A]


def gaussian(seed=0, alive=SOME_DEAD):
    std = draw(T, B, N, A, seed=seed + 100).exp()
    return TeamGaussian(draw(T, B, N, A, seed=seed), std, VALID.expand(T, B, N, A), alive)


def as_reference(policy):
    return reference.Normal(policy.mean, policy.std)


def over_dimensions(per_dimension):
    return torch.where(VALID, per_dimension, 0.0).sum(-1)


def test_gaussian_log_prob_is_the_sum_over_living_agents_and_their_dimensions():
    policy = gaussian()
    actions = draw(T, B, N, A, seed=7)
    per_agent = over_dimensions(as_reference(policy).log_prob(actions))
    torch.testing.assert_close(policy.log_prob(actions), sum_over_living(per_agent))


def test_gaussian_entropy_averages_over_dimensions_then_over_living_agents():
    policy = gaussian()
    per_agent = over_dimensions(as_reference(policy).entropy()) / torch.tensor([4, 2, 1])
    torch.testing.assert_close(policy.entropy(), mean_over_living(per_agent))


def test_gaussian_kl_is_the_sum_over_living_agents_and_their_dimensions():
    policy, other = gaussian(0), gaussian(1)
    divergence = reference.kl_divergence(as_reference(policy), as_reference(other))
    torch.testing.assert_close(policy.kl(other), sum_over_living(over_dimensions(divergence)))
    assert policy.kl(policy).abs().max() == 0


def test_padded_dimensions_count_nowhere_and_are_never_acted_in():
    policy, other = gaussian(0), gaussian(1)
    actions = draw(T, B, N, A, seed=7)
    before = [
        policy.log_prob(actions),
        policy.entropy(),
        policy.kl(other),
        policy.agreement(policy),
    ]
    changed = TeamGaussian(
        torch.where(VALID, policy.mean, 50.0),
        torch.where(VALID, policy.std, 9.0),
        policy.valid,
        policy.alive,
    )
    after = [
        changed.log_prob(torch.where(VALID, actions, -3.0)),
        changed.entropy(),
        changed.kl(other),
        changed.agreement(policy),
    ]
    for x, y in zip(before, after, strict=True):
        torch.testing.assert_close(x, y)
    assert torch.where(VALID, 0.0, changed.sample(generator())).abs().max() == 0


def test_gaussian_samples_have_the_mean_and_the_standard_deviation():
    count = 40_000
    mean = torch.tensor([[1.0, -2.0]]).expand(count, 1, 2)
    std = torch.tensor([[0.5, 3.0]]).expand(count, 1, 2)
    everywhere = torch.ones(count, 1, 2).bool()
    samples = TeamGaussian(mean, std, everywhere, everywhere[..., 0]).sample(generator())
    torch.testing.assert_close(samples.mean(0), mean[0], atol=0.06, rtol=0)
    torch.testing.assert_close(samples.std(0), std[0], rtol=0.02, atol=0)
    correlation = torch.corrcoef(samples[:, 0].mT)[0, 1]
    assert abs(correlation.item()) < 0.02


def test_the_gaussian_mode_is_the_mean_and_zero_in_padding():
    policy = gaussian()
    torch.testing.assert_close(policy.mode(), torch.where(VALID, policy.mean, 0.0))
    assert torch.equal(policy.head, policy.mean)


def test_gaussian_agreement_needs_equal_means_in_every_dimension():
    policy = gaussian(alive=ALIVE)
    mean = policy.mean.clone()
    mean[..., 0, 3] += 1e-3  # agent 0 differs in one of four dimensions
    mean[..., 1, 3] += 1  # agent 1 in padding only
    other = TeamGaussian(mean, policy.std, policy.valid, policy.alive)
    torch.testing.assert_close(policy.agreement(other), torch.full((T, B), 2 / 3))


def test_gaussian_flat_parameters_are_means_then_log_stds():
    policy = gaussian()
    flat = policy.flat()
    assert flat.shape == (T, B, 2 * N * A)
    torch.testing.assert_close(flat[..., : N * A].view(T, B, N, A), policy.mean)
    torch.testing.assert_close(flat[..., N * A :].view(T, B, N, A).exp(), policy.std)


# --- round trip through the stored parameters


@pytest.mark.parametrize("action_kind", ["discrete", "continuous"])
def test_a_policy_comes_back_from_its_flat_parameters(build, action_kind):
    sizes = build.sizes(action_kind)
    network = build.network(sizes)
    inputs = build.inputs(sizes)
    policy = network(inputs).joint
    restored = network.policy_from_flat(policy.flat(), inputs)
    actions = policy.sample(generator())
    torch.testing.assert_close(restored.log_prob(actions), policy.log_prob(actions))
    torch.testing.assert_close(restored.kl(policy), torch.zeros(2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(restored.entropy(), policy.entropy())
    torch.testing.assert_close(restored.flat(), policy.flat())
    assert restored.agreement(policy).min() == 1 or action_kind == "continuous"
