"""State of a policy-gradient learner between updates, and values read from settings alone."""

import io
from copy import deepcopy

import pytest
import torch

from rllib_agentmixer.core.functional.advantages import ADVANTAGE_SCALES
from rllib_agentmixer.core.learners.policy_gradient import adapted_kl_coeff

CASES = {
    "agentmixer": {},
    "recurrent": {"use_gru": True},
    "a2c": {"algorithm": "mappo", "learner": "a2c"},
    "mappo": {"algorithm": "mappo"},
    "ippo": {"algorithm": "ippo"},
}


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters_of(network):
    return {name: x.clone() for name, x in network.state_dict().items()}


def same(found, expected):
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], expected[name]) for name in expected)


def learner_of(build, network):
    """Learner whose divergence is always too small, so that the weight of KL changes."""
    return build.learner(network, num_epochs=1, kl_coeff=0.2, kl_target=1e3)


def through_a_file(state):
    """State as a checkpoint stores it: plain tensors and numbers only."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_a_resumed_learner_goes_on_bit_for_bit(build, settings):
    actor, batch = build.collected("climbing", **settings)
    learner = learner_of(build, actor.module)
    for seed in range(2):
        learner.update(batch, env_steps=0, generator=random(seed))
    state = through_a_file(learner.state_dict())
    weights = parameters_of(actor.module)
    expected_metrics = learner.update(batch, env_steps=0, generator=random(2))
    expected = parameters_of(actor.module)

    def goes_on(state):
        other, _ = build.collected("climbing", seed=5, **settings)
        other.module.load_state_dict(weights)
        resumed = learner_of(build, other.module)
        if state is not None:
            resumed.load_state_dict(state)
        metrics = resumed.update(batch, env_steps=0, generator=random(2))
        return resumed, metrics, parameters_of(other.module)

    resumed, metrics, found = goes_on(state)
    assert same(found, expected)
    assert metrics == expected_metrics
    assert resumed.kl_coeff == learner.kl_coeff == 0.2 * 0.5**3
    _, _, fresh = goes_on(None)
    assert not same(fresh, expected)  # Adam's moments are part of the state


def test_settings_stay_the_resumed_learners_own(build):
    actor, batch = build.collected("climbing")
    learner = build.learner(actor.module, lr=1e-2, modifier_lr=1e-2)
    learner.update(batch, env_steps=0, generator=random())
    resumed = build.learner(actor.module, lr=1e-3, modifier_lr=1e-4)
    resumed.load_state_dict(deepcopy(learner.state_dict()))
    resumed.follow_schedules(0)
    assert [group["lr"] for group in resumed.optimizer.param_groups] == [1e-3, 1e-4]


def test_a_state_of_another_number_of_optimisers_is_refused(build):
    learner = build.learner(build.collected("climbing")[0].module)
    state = learner.state_dict()
    with pytest.raises(ValueError, match="zip"):
        learner.load_state_dict(state | {"optimizers": state["optimizers"] * 2})


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (0.0, 0.5), (0.0049, 0.5), (0.005, 1.0), (0.01, 1.0), (0.02, 1.0), (0.0201, 1.5),
        (5.0, 1.5),
    ],
)  # fmt: skip
def test_the_weight_of_the_divergence_moves_by_rllibs_rule(kl, factor):
    from ray.rllib.policy.torch_mixins import KLCoeffMixin

    theirs = KLCoeffMixin({"kl_coeff": 0.3, "kl_target": 0.01})
    found = adapted_kl_coeff(0.3, kl, target=0.01)
    assert found == theirs.update_kl(kl) == pytest.approx(0.3 * factor)


@pytest.mark.parametrize(("kl_target", "factor"), [(1e-9, 1.5), (1e3, 0.5)])
def test_an_update_adapts_the_weight_only_where_the_divergence_is_part_of_the_loss(
    build, kl_target, factor
):
    for use_kl_loss in (True, False):
        actor, batch = build.collected("climbing")
        plan = {"use_kl_loss": use_kl_loss, "kl_coeff": 0.2, "kl_target": kl_target}
        learner = build.learner(actor.module, 1e-2, 1e-2, num_epochs=3, **plan)
        metrics = learner.update(batch, env_steps=0, generator=random())
        expected = 0.2 * (factor if use_kl_loss else 1)
        assert learner.kl_coeff == metrics["cur_kl_coeff"] == pytest.approx(expected)
        assert learner.coefficients.kl_coeff == (learner.kl_coeff if use_kl_loss else 0)


@pytest.mark.parametrize("algorithm", ["agentmixer", "ippo"])
def test_an_update_scales_advantages_as_the_settings_say(build, algorithm):
    found = {}
    for name, scale in ADVANTAGE_SCALES.items():
        weights = []
        for by_hand in (True, False):
            settings = {"algorithm": algorithm, "advantage_scale": name}
            actor, batch = build.collected("climbing", **settings)
            batch.valid[0, :4] = False
            raw = 5 * batch.targets.advantages + 2
            batch = build.with_targets(batch, advantages=raw)
            learner = build.learner(actor.module, num_epochs=2, minibatch_size=7)
            if by_hand:
                scaled = build.with_targets(batch, advantages=scale(raw, batch.counts(raw)))
                learner.fit(scaled, random())
            else:
                learner.update(batch, env_steps=0, generator=random())
            assert torch.equal(batch.targets.advantages, raw)  # the batch is left as it was
            weights.append(parameters_of(actor.module))
        by_hand, updated = weights
        assert same(updated, by_hand)
        found[name] = updated
    first, *others = found.values()
    assert not any(same(other, first) for other in others)
