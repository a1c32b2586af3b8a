"""RLlib's settings of ``torch.compile`` reach the loss and the acting forward pass."""

from types import SimpleNamespace

import pytest
import torch
from algorithms_test_helpers import tiny, weights_of

from rllib_agentmixer.errors import ConfigError


@pytest.fixture
def graphs(monkeypatch):
    """Compiled graphs and their calls; no code is generated, so that tests remain short.

    That compiled functions compute the same is tested in the core.
    """
    log = SimpleNamespace(compiled=[], calls=[])

    def compile_(function, *, backend, mode):
        name = function.__qualname__
        log.compiled.append((name, backend, mode))

        def call(*arguments):
            log.calls.append((name, arguments))
            return function(*arguments)

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    return log


def compiled(**settings):
    return tiny(entropy_coeff=[[0, 0.1], [500, 0.0]]).framework("torch", **settings)


def test_nothing_is_compiled_unless_asked_for(build, graphs):
    build().train()
    assert graphs.compiled == []


def test_the_settings_choose_what_is_compiled_and_how(build, graphs):
    algorithm = build(
        compiled(
            torch_compile_learner=True,
            torch_compile_learner_dynamo_mode="max-autotune",
            torch_compile_worker=True,
        )
    )
    assert sorted(graphs.compiled) == [
        ("JointPolicy.forward", "inductor", None),
        ("team_loss", "inductor", "max-autotune"),
    ]
    assert algorithm.team_worker.actor.forward is not None


def test_the_loss_is_called_in_its_compiled_form_with_schedules_as_tensors(build, graphs):
    plain, fast = build(compiled()), build(compiled(torch_compile_learner=True))
    for _ in range(2):
        plain.train()
        fast.train()
    coefficients = [arguments[2].entropy_coeff for name, arguments in graphs.calls]
    assert {name for name, _ in graphs.calls} == {"team_loss"}
    assert all(isinstance(coefficient, torch.Tensor) for coefficient in coefficients)
    assert len({float(coefficient) for coefficient in coefficients}) == 2
    for name, weight in weights_of(plain).items():
        assert (weights_of(fast)[name] == weight).all(), name


def test_actions_come_from_the_compiled_forward_pass(build, graphs):
    plain, fast = build(compiled()), build(compiled(torch_compile_worker=True))
    for algorithm in (plain, fast):
        algorithm.train()
    num_steps = fast.config.train_batch_size // fast.config.num_envs_per_env_runner
    assert [name for name, _ in graphs.calls] == ["JointPolicy.forward"] * num_steps
    for name, weight in weights_of(plain).items():
        assert (weights_of(fast)[name] == weight).all(), name


def test_a_scheduled_temperature_is_a_tensor_only_where_it_would_be_compiled_in(build, graphs):
    settings = {"temperature": [[0, 2.0], [1000, 1.0]]}
    plain = build(tiny(**settings))
    fast = build(tiny(**settings).framework("torch", torch_compile_worker=True))
    for _ in range(2):
        plain.train()
        fast.train()
    assert isinstance(plain.team_policy.module.temperature, float)
    temperature = fast.team_policy.module.temperature
    assert isinstance(temperature, torch.Tensor)
    assert float(temperature) == pytest.approx(plain.team_policy.module.temperature)
    assert float(temperature) < 2.0


@pytest.mark.parametrize("place", ["learner", "worker"])
def test_a_missing_cpp_compiler_is_said_before_anything_starts(monkeypatch, place):
    monkeypatch.setenv("CXX", "no-such-compiler")
    config = tiny().framework("torch", **{f"torch_compile_{place}": True})
    with pytest.raises(ConfigError, match=f"torch_compile_{place}=True needs.*no-such-compiler"):
        config.validate()
    config.framework("torch", **{f"torch_compile_{place}_dynamo_backend": "eager"})
    config.validate()
