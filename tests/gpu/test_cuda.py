"""The core and the actor on a GPU compute what they compute on the CPU."""

from dataclasses import replace

import pytest
import torch

from rllib_agentmixer.core.data.batch import TeamInputs
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients, team_loss
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.teams.joint_policy import agentmixer_team
from rllib_agentmixer.core.teams.product_policy import ProductPolicy
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.rollouts.actor import TeamActor, start
from tests.core.conftest import Build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

SIZES = TeamSizes((28, 20), 9, "discrete", (5, 3))
WEIGHTS = PPOCoefficients(clip_param=0.2, vf_clip_param=0.2, vf_loss_coeff=1.0, entropy_coeff=0.01)


def batch_of(network: ProductPolicy, num_steps: int, num_sequences: int) -> Experience:
    generator = torch.Generator().manual_seed(0)
    shape = (num_steps, num_sequences)

    def random(*size):
        return torch.randn(*shape, *size, generator=generator)

    inputs = TeamInputs(
        random(2, 28) * SIZES.obs_valid,
        random(9),
        SIZES.action_valid.expand(*shape, 2, 5),
        torch.ones(*shape, 2, dtype=torch.bool),
    )
    hidden = network.initial_state(num_sequences)
    with torch.no_grad():
        joint = network(inputs, hidden).joint
        actions = joint.sample(generator)
    batch = Build.experience(
        inputs,
        actions,
        joint.flat(),
        torch.ones(shape, dtype=torch.bool),
        log_prob=joint.log_prob(actions),
        values=random(),
        advantages=random(),
        value_targets=random(),
    )
    return replace(batch, hidden=hidden)


@pytest.mark.parametrize("use_gru", [False, True])
def test_loss_and_gradients_agree_with_the_cpu(use_gru):
    torch.manual_seed(0)
    network = agentmixer_team(SIZES, AgentMixerSettings(use_gru=use_gru))
    batch = batch_of(network, 4 if use_gru else 1, 16)
    loss = team_loss(network, batch, WEIGHTS)
    loss.total.backward()
    expected = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    network.cuda()
    on_gpu = team_loss(network, batch.to("cuda"), WEIGHTS)
    on_gpu.total.backward()
    assert on_gpu.total.item() == pytest.approx(loss.total.item(), abs=1e-4)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad.cpu(), expected[name], atol=1e-4, rtol=1e-3)


def test_a_network_on_the_gpu_collects_and_learns():
    env = make_vector_env("predator_prey", 4)
    spec = env.spec
    sizes = TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)
    network = agentmixer_team(sizes, AgentMixerSettings(use_gru=True)).cuda()
    actor = TeamActor(network, TeamLayout(sizes), torch.Generator().manual_seed(0))
    state = start(actor, env, 0)
    rollout = Build.rollout(actor, env, state, 8, gamma=0.99, lambda_=0.95)
    assert rollout.hidden is not None
    batch = Build.batch(actor, rollout).to("cuda")
    learner = Build.learner(network, num_epochs=2, minibatch_size=16, grad_clip=1.0)
    metrics = learner.update(batch, env_steps=0, generator=torch.Generator())
    assert metrics["kl"] == metrics["kl"]
    assert all(p.is_cuda for p in network.parameters())


@pytest.fixture
def one_gpu_ray():
    import ray

    from rllib_agentmixer.runs.local_ray import start_ray

    ray.shutdown()  # a Ray of other tests was started without the GPU
    start_ray(2)
    yield
    ray.shutdown()


@pytest.mark.parametrize("use_gru", [False, True])
def test_num_gpus_puts_the_learner_on_the_gpu_and_leaves_workers_on_the_cpu(
    one_gpu_ray, use_gru, tmp_path
):
    from rllib_agentmixer import AgentMixerConfig

    config = (
        AgentMixerConfig()
        .environment("predator_prey")
        .resources(num_gpus=1)
        .env_runners(num_env_runners=1, num_envs_per_env_runner=8)
        .training(train_batch_size=256, num_epochs=2, use_gru=use_gru)
        .evaluation(evaluation_duration=8)
    )
    algorithm = config.build_algo()
    before = {k: v.copy() for k, v in algorithm.get_policy().get_weights().items()}
    for _ in range(2):
        algorithm.train()
    network = algorithm.team_policy.module
    devices = algorithm.workers_group.foreach_env_runner(
        lambda worker: str(worker.actor.device), local_env_runner=False
    )
    after = algorithm.get_policy().get_weights()
    returns = algorithm.evaluate()["env_runners"]
    folder = str(tmp_path / "checkpoint")
    algorithm.save(folder)
    algorithm.stop()
    assert all(parameter.is_cuda for parameter in network.parameters())
    assert devices == ["cpu"]
    assert any((before[name] != after[name]).any() for name in before)
    assert returns


def test_a_compiled_step_on_the_gpu_is_the_step():
    results = []
    for compiler in (None, torch.compile):
        torch.manual_seed(0)
        network = agentmixer_team(SIZES, AgentMixerSettings())
        batch = batch_of(network, 1, 64).to("cuda")
        learner = Build.learner(network.cuda(), compiler=compiler, grad_clip=1.0)
        results.append({k: v.item() for k, v in learner.step(batch, WEIGHTS).items()})
    plain, compiled = results
    assert compiled == pytest.approx(plain, abs=1e-3)
