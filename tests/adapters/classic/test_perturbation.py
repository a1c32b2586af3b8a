"""A trial that takes over another's checkpoint trains with its own, perturbed settings."""

import pytest
from algorithms_test_helpers import learner_stats, tiny

from rllib_agentmixer.search.spaces import PERTURBABLE

BEFORE_AND_AFTER = {
    "lr": (1e-3, 7e-4),
    "modifier_lr": (1e-3, 6e-4),
    "entropy_coeff": (0.01, 0.02),
    "temperature": (1.0, 2.0),
    "clip_param": (0.2, 0.25),
    "vf_clip_param": (1.0, 2.0),
    "vf_loss_coeff": (0.5, 0.7),
    "gamma": (0.99, 0.9),
    "lambda_": (0.95, 0.8),
    "grad_clip": (10.0, 5.0),
    "num_epochs": (1, 2),
    "advantage_scale": ("standard", "robust"),
    "dispersion_gain": (1.0, 3.0),
}


def in_effect(algorithm, name):
    """Effective value, read where it is applied."""
    policy, worker = algorithm.team_policy, algorithm.team_worker
    if name in ("lr", "modifier_lr"):
        groups = policy.learner.optimizer.param_groups
        return groups[name == "modifier_lr"]["lr"]
    if name == "temperature":
        return float(policy.module.temperature)
    if name == "dispersion_gain":
        return policy.module.settings.dispersion_gain
    if name in ("clip_param", "vf_clip_param", "vf_loss_coeff", "entropy_coeff"):
        return getattr(policy.learner.coefficients, name)
    if name in ("gamma", "lambda_"):
        return worker.config[name] if name in worker.config else worker.config["lambda"]
    return policy.config[name]


def test_every_perturbable_setting_is_tried():
    assert BEFORE_AND_AFTER.keys() == set(PERTURBABLE)


@pytest.fixture(scope="module")
def donor(ray_cluster, tmp_path_factory):
    """Checkpoint of a trial with the values before the perturbation."""
    algorithm = tiny(
        **{name: before for name, (before, _) in BEFORE_AND_AFTER.items()}
    ).build_algo()
    algorithm.train()
    folder = str(tmp_path_factory.mktemp("donor") / "checkpoint")
    algorithm.save(folder)
    algorithm.stop()
    return folder


@pytest.mark.parametrize("name", PERTURBABLE)
def test_a_perturbed_setting_takes_effect(donor, name, ray_cluster):
    values = {key: before for key, (before, _) in BEFORE_AND_AFTER.items()}
    algorithm = tiny(**values | {name: BEFORE_AND_AFTER[name][1]}).build_algo()
    try:
        algorithm.restore(donor)
        for key, (before, after) in BEFORE_AND_AFTER.items():
            assert in_effect(algorithm, key) == pytest.approx(after if key == name else before), key
        assert algorithm.num_env_steps == 64
        result = algorithm.train()
        if name in ("lr", "modifier_lr"):
            assert learner_stats(result)[f"cur_{name}"] == BEFORE_AND_AFTER[name][1]
    finally:
        algorithm.stop()


def test_a_restored_policy_follows_its_schedules_from_the_restored_step(build):
    policy = build(tiny(lr=[[0, 1e-3], [100, 0.0]])).team_policy
    policy.set_state(policy.get_state() | {"global_timestep": 50})
    assert policy.learner.current["lr"] == pytest.approx(5e-4)
    assert policy.learner.optimizer.param_groups[0]["lr"] == pytest.approx(5e-4)
