"""The networks as RLlib's model, under RLlib's own PPO and its own sampler."""

import math

import gymnasium
import pytest
import torch
from algorithms_test_helpers import SMALL_NETWORKS, learner_stats
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_agentmixer.adapters.classic.algorithms import register_with_rllib
from rllib_agentmixer.adapters.classic.model import TeamModel
from rllib_agentmixer.envs.team_gym import TeamGymEnv, TeamSpace, joint_action_space
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import ConfigError, user_error


def stock_ppo(env, settings, env_config=None):
    """RLlib's PPO with nothing of this package but model and environment, both by name."""
    register_with_rllib()
    return (
        PPOConfig()
        .api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        .environment(env, env_config=env_config or {})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .training(
            train_batch_size=64,
            minibatch_size=32,
            num_epochs=1,
            model={
                "custom_model": "agentmixer",
                "custom_model_config": {**SMALL_NETWORKS, **settings},
                "max_seq_len": 5,
            },
        )
        .debugging(seed=1, log_sys_usage=False)
    )


@pytest.mark.parametrize("use_gru", [False, True])
@pytest.mark.parametrize(
    ("env", "env_config"),
    [("predator_prey", {"max_steps": 8}), ("continuous_game", {"repeat": 4})],
)
def test_rllibs_own_ppo_trains_every_part_of_the_model(build, env, env_config, use_gru):
    algorithm = build(stock_ppo(env, {"use_gru": use_gru}, env_config))
    network = algorithm.get_policy().model.module
    before = {name: value.clone() for name, value in network.named_parameters()}
    result = algorithm.train()
    assert math.isfinite(learner_stats(result)["total_loss"])
    assert math.isfinite(result["env_runners"]["episode_return_mean"])
    moved = {n.split(".")[0] for n, v in network.named_parameters() if not v.equal(before[n])}
    assert moved == {"individual_policies", "policy_modifier", "critic"}


def test_a_wrong_option_of_the_model_is_refused_with_the_nearest_name(build):
    with pytest.raises(Exception, match="unknown AgentMixer setting 'use_gnu'") as raised:
        build(stock_ppo("predator_prey", {"use_gnu": True}))
    assert isinstance(user_error(raised.value), ConfigError)
    assert "Did you mean 'use_gru'?" in str(raised.value)


def test_an_environment_without_a_team_is_refused(build):
    with pytest.raises(Exception, match="needs a team environment") as raised:
        build(stock_ppo("CartPole-v1", {}))
    assert isinstance(user_error(raised.value), ConfigError)


def test_a_new_ray_after_a_shutdown_learns_of_the_model_again(build):
    from ray.tune.registry import RLLIB_MODEL, _global_registry

    _global_registry.unregister(RLLIB_MODEL, "agentmixer")
    assert not _global_registry.contains(RLLIB_MODEL, "agentmixer")
    build(env="climbing")


@pytest.fixture
def spec():
    return TeamSpec("team", ("a", "b"), (3, 2), 4, "env", "discrete", (5, 3))


def model_of(spec, **settings):
    space, actions = TeamSpace(spec), joint_action_space(spec)
    return TeamModel(space, actions, sum(actions.nvec), {}, "model", **SMALL_NETWORKS, **settings)


@torch.no_grad()
def test_recurrent_rows_are_read_sequence_by_sequence(spec):
    torch.manual_seed(0)
    model = model_of(spec, use_gru=True)
    rows = torch.randn(6, model.layout.row_size)
    rows[:, : model.layout.slices["obs"].start] = 1.0
    state = [x.expand(2, *x.shape) for x in model.get_initial_state()]
    both, after = model.forward({"obs_flat": rows}, state, torch.tensor([3, 3]))
    for sequence in range(2):
        own = [x[sequence : sequence + 1] for x in state]
        part = rows[3 * sequence : 3 * sequence + 3]
        alone, after_alone = model.forward({"obs_flat": part}, own, torch.tensor([3]))
        assert alone == pytest.approx(both[3 * sequence : 3 * sequence + 3], abs=1e-5)
        for x, y in zip(after, after_alone, strict=True):
            assert x[sequence] == pytest.approx(y[0], abs=1e-5)


def test_a_feed_forward_model_has_no_state(spec):
    model = model_of(spec)
    assert model.get_initial_state() == []
    with pytest.raises(ValueError, match="needs a forward pass first"):
        model.value_function()


def test_values_come_in_the_units_of_rewards(spec):
    model = model_of(spec)
    normalizer = model.module.critic.normalizer
    normalizer.mean.fill_(100.0)
    normalizer.variance.fill_(4.0)
    rows = torch.ones(2, model.layout.row_size)
    model.forward({"obs_flat": rows}, [], None)
    plain = model.module.critic(rows[:, model.layout.slices["state"]])
    assert model.value_function().detach() == pytest.approx((100 + 2 * plain).detach())


def test_the_facade_is_an_environment_of_gymnasium():
    assert issubclass(TeamGymEnv, gymnasium.Env)
