"""Settings take effect, and invalid combinations are rejected with the reason."""

import pytest
import torch
from algorithms_test_helpers import counter, differences, learner_stats, tiny, weights_of
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_agentmixer import AgentMixerConfig, IPPOConfig, MAPPOConfig, VDNConfig
from rllib_agentmixer.adapters.classic.rllib_support import EFFECTIVE, WITHOUT_EFFECT
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings
from rllib_agentmixer.envs.games.predator_prey import PredatorPrey
from rllib_agentmixer.errors import CheckpointError, ConfigError

# Names and ranges.


def test_a_setting_of_another_algorithm_is_refused_by_its_owner():
    with pytest.raises(ConfigError, match="'igc' is a setting of agentmixer, not of mappo"):
        MAPPOConfig().training(igc="strict")


def test_a_name_far_from_all_is_refused_without_listing_hundreds():
    with pytest.raises(ConfigError, match=r"'zzzzzz'\. None of the .* known names is near"):
        AgentMixerConfig().training(zzzzzz=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_epochs": 15}, "num_epochs=15"),
        ({"num_epochs": 1, "minibatch_size": 32}, "minibatch_size=32 of 64"),
    ],
)
def test_a2c_learns_from_each_batch_once_and_as_a_whole(settings, words):
    with pytest.raises(ConfigError, match=f"learner='a2c'.*{words}"):
        tiny(learner="a2c", **settings).validate()
    tiny(learner="a2c", num_epochs=1).validate()


@pytest.mark.parametrize("config_class", [AgentMixerConfig, MAPPOConfig, IPPOConfig])
def test_a_learner_brings_its_own_defaults(config_class):
    config = config_class().environment("climbing").training(learner="a2c")
    config.validate()
    assert (config.num_epochs, config.minibatch_size) == (1, config.train_batch_size)
    explicit = config_class().environment("climbing").training(num_epochs=15, learner="a2c")
    with pytest.raises(ConfigError, match=r"set num_epochs=1 .* got num_epochs=15"):
        explicit.validate()


@pytest.mark.parametrize("bootstraps", [True, False])
def test_workers_follow_what_a_time_limit_counts_as(build, bootstraps):
    config = tiny(env_config={"max_steps": 8}, bootstrap_truncated=bootstraps)
    batch = build(config).team_worker.sample()
    assert batch["truncateds"].any() == bootstraps
    assert batch["terminateds"].sum() >= (0 if bootstraps else 4)


@pytest.mark.usefixtures("ray_cluster")
def test_an_order_of_agents_must_fit_the_team():
    config = tiny(correlation="autoregressive", agent_order=[1, 0, 2])
    with pytest.raises(ConfigError, match=r"each of the 2 agents 0..1 once, got \[1, 0, 2\]"):
        config.build_algo()


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown training setting 'modifier_rl'.*'modifier_lr'"):
        AgentMixerConfig().training(modifier_rl=1e-3)
    with pytest.raises(ConfigError, match=r"unknown training setting 'gama'.*'gamma'"):
        AgentMixerConfig().training(gama=0.9)


OUT_OF_RANGE = {
    "lr": -1e-4,
    "gamma": 1.5,
    "lambda_": -0.1,
    "clip_param": 0.0,
    "vf_clip_param": 0.0,
    "vf_loss_coeff": -1.0,
    "entropy_coeff": [[10, 0.1]],
    "grad_clip": 0.0,
    "kl_coeff": -0.1,
    "kl_target": 0.0,
    "num_epochs": 0,
    "minibatch_size": 0,
    "train_batch_size": 0,
    "num_env_runners": -1,
    "num_envs_per_env_runner": 0,
    "igc": "lenient",
    "modifier_lr": float("nan"),
    "temperature": 0.0,
    "dispersion_ceiling": 1.0,
    "hidden_size": 0,
    "use_gru": "yes",
    "parameter_sharing": [[0], [0]],
    "kl_stop": 0.0,
    "advantage_scale": "big",
    "team_reward": "max",
}


def test_every_inherited_range_is_tried():
    assert set(OnPolicySettings.names()) - {"use_kl_loss"} <= set(OUT_OF_RANGE)


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_by_name(name):
    config = tiny()
    setattr(config, name, OUT_OF_RANGE[name])
    with pytest.raises(ConfigError) as raised:
        config.validate()
    assert str(raised.value).startswith(f"{name} must be ")
    assert f"got {OUT_OF_RANGE[name]!r}" in str(raised.value)


# RLlib's settings.

ANOTHER = {
    "action_mask_key": "mask",
    "policies_to_train": [],
    "observation_space": "x",
    "exploration_config": {"type": "EpsilonGreedy"},
    "num_gpus_per_learner": 1,
}
"""Other values than the default, where a text is not what a user would set."""


def test_every_setting_of_rllib_has_an_effect_or_a_reason_why_not():
    known = EFFECTIVE | WITHOUT_EFFECT.keys()
    ours = {"custom_vector_env", "is_atari"}
    internal = {name for name in vars(PPOConfig()) if name.startswith("_")}
    assert set(vars(PPOConfig())) - internal - ours <= known
    assert not EFFECTIVE & WITHOUT_EFFECT.keys()


def test_no_reason_is_given_for_a_setting_that_rllib_does_not_have():
    known = {*vars(PPOConfig()), *dir(PPOConfig)}
    assert WITHOUT_EFFECT.keys() <= known


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_a_setting_without_effect_is_refused_with_the_reason(name):
    config = tiny()
    default = getattr(config, name, None)
    value = ANOTHER.get(name, not default if isinstance(default, bool) else "another")
    try:
        setattr(config, name, value)
    except (AttributeError, ValueError):  # RLlib refuses names that it has deprecated
        return
    with pytest.raises(ConfigError) as raised:
        config.validate()
    assert f"{name}={value!r} has no effect here ({WITHOUT_EFFECT[name]})" in str(raised.value)


@pytest.mark.parametrize(
    "name", ["observation_filter", "output", "compress_observations", "batch_mode"]
)
def test_replay_refuses_what_only_on_policy_learning_uses(name):
    config = VDNConfig().environment("climbing")
    values = {"batch_mode": "complete_episodes", "observation_filter": "MeanStdFilter"}
    setattr(config, name, values.get(name, "x"))
    with pytest.raises(ConfigError, match=f"{name}=.* has no effect here"):
        config.validate()


@pytest.mark.parametrize("config_class", [AgentMixerConfig, MAPPOConfig, IPPOConfig, VDNConfig])
def test_defaults_are_accepted(config_class):
    config_class().environment("climbing").validate()


RLLIB_OUT_OF_RANGE = {
    "batch_mode": "whole",
    "seed": 2**32,
    "evaluation_seed": -1,
    "evaluation_duration": 0,
    "evaluation_interval": 0,
    "evaluation_num_env_runners": -1,
    "rollout_fragment_length": 0,
    "lr_schedule": 5,
    "entropy_coeff_schedule": [[10, 0.1]],
    "sample_timeout_s": 0.0,
    "num_env_runners": 1e9,
    "num_gpus_per_env_runner": -1,
    "max_requests_in_flight_per_env_runner": 0,
    "explore": "yes",
    "metrics_num_episodes_for_smoothing": 0,
    "log_level": "LOUD",
}


@pytest.mark.parametrize("name", RLLIB_OUT_OF_RANGE)
def test_a_value_of_rllibs_settings_out_of_range_is_refused_by_name(name):
    config = tiny()
    setattr(config, name, RLLIB_OUT_OF_RANGE[name])
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        config.validate()


@pytest.mark.parametrize(
    ("name", "value"), [("fcnet_hiddens", [64]), ("use_lstm", True), ("custom_action_dist", "x")]
)
def test_options_of_rllibs_model_without_effect_are_refused(name, value):
    config = tiny(model={name: value})
    with pytest.raises(ConfigError, match=rf"model\['{name}'\]=.* has no effect: the networks"):
        config.validate()


@pytest.mark.parametrize("callbacks", ["foo", [RLlibCallback, "foo"], 5])
def test_callbacks_that_cannot_be_called_are_refused(callbacks):
    config = tiny()
    config.callbacks_class = callbacks
    with pytest.raises(ConfigError, match="callbacks_class must be a subclass of RLlibCallback"):
        config.validate()


def test_a_minibatch_larger_than_the_batch_is_refused():
    with pytest.raises(ConfigError, match="minibatch_size=500 must be at most train_batch_size=64"):
        tiny(minibatch_size=500).validate()


def test_what_rllib_refuses_itself_is_an_error_of_the_configuration():
    config = tiny().env_runners(rollout_fragment_length=7, num_envs_per_env_runner=4)
    with pytest.raises(ConfigError, match="rollout_fragment_length"):
        config.validate()


def test_a_gpu_that_is_not_there_is_missed_before_anything_starts(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ConfigError, match="num_gpus=1, but neither PyTorch nor a running Ray"):
        tiny().resources(num_gpus=1).validate()


def test_several_learners_are_refused():
    with pytest.raises(ConfigError, match="num_gpus must be 0 or 1"):
        tiny().resources(num_gpus=2).validate()


def test_several_policies_are_refused():
    config = tiny().multi_agent(
        policies={"p0", "p1"}, policy_mapping_fn=lambda *args, **kwargs: "p0"
    )
    with pytest.raises(ConfigError, match="the whole team is one policy"):
        config.validate()


def test_the_longest_sequence_must_be_a_whole_number():
    config = tiny()
    config.model["max_seq_len"] = 0
    with pytest.raises(ConfigError, match=r"model\['max_seq_len'\] must be an integer"):
        config.validate()


# Environments.


def make_prey(config):
    return PredatorPrey(**config)


@pytest.mark.parametrize(
    "env", ["predator_prey", "rllib_agentmixer.envs.games.predator_prey:PredatorPrey", PredatorPrey]
)
def test_names_import_paths_and_classes_are_environments(build, env):
    algorithm = build(env=env, env_config={"max_steps": 8})
    assert algorithm.team_spec.agents == ("predator_0", "predator_1")
    assert algorithm.train()["num_env_steps_sampled_lifetime"] == 64


def test_functions_of_a_dictionary_and_of_arguments_are_environments(build):
    for env in (make_prey, lambda max_steps: PredatorPrey(max_steps=max_steps)):
        algorithm = build(env=env, env_config={"max_steps": 8})
        assert algorithm.team_spec.num_agents == 2


def test_a_function_is_stamped_with_where_it_comes_from(build):
    assert build(env=make_prey).stamp()["environment name"].endswith("test_config:make_prey")


def test_an_unknown_environment_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'predator_prey'"):
        tiny("predatorprey").build_algo()


def test_a_configuration_without_an_environment_says_what_to_call():
    with pytest.raises(ConfigError, match=r"call config\.environment"):
        AgentMixerConfig().env_creator()


@pytest.mark.parametrize(("team_reward", "expected"), [("sum", 12.0), ("mean", 6.0)])
def test_the_team_reward_is_made_as_asked(build, team_reward, expected):
    config = tiny(counter).environment(team_reward=team_reward)
    assert build(config).train()["env_runners"]["episode_return_mean"] == expected


# Copies.


def test_a_copy_and_a_dictionary_hold_every_setting():
    config = tiny(env_config={"penalty": -1.0}, igc="gumbel", modifier_lr=[[0, 1e-3], [100, 0.0]])
    own = {name: getattr(config, name) for name in AgentMixerConfig.own_settings()}
    again = AgentMixerConfig.from_dict(config.to_dict())
    for other in (config.copy(), again):
        assert {name: getattr(other, name) for name in AgentMixerConfig.own_settings()} == own
        assert other.env_config == {"penalty": -1.0}
        assert other.env == "predator_prey"
        assert other.train_batch_size == 64
    assert again.hyperparameters() == config.hyperparameters()


def test_an_algorithm_from_a_dictionary_trains_alike(build):
    config = tiny(env_config={"max_steps": 8})
    results = [build(c).train() for c in (config, AgentMixerConfig.from_dict(config.to_dict()))]
    assert differences(*map(learner_stats, results)) == []


def test_defaults_are_declared_in_one_place():
    config = AgentMixerConfig()
    assert config.hyperparameters() == AgentMixerSettings()


def test_by_default_a_batch_is_learned_from_as_a_whole():
    config = tiny(train_batch_size=100)
    config.validate()
    assert config.minibatch_size == 100


# What settings do.


def moved_parts(algorithm):
    network = algorithm.team_policy.module
    before = {name: value.clone() for name, value in network.named_parameters()}
    algorithm.train()
    return {n.split(".")[0] for n, v in network.named_parameters() if not v.equal(before[n])}


def test_each_learning_rate_moves_its_own_part(build):
    actors = {"individual_policies", "critic"}
    # A normaliser of values rescales the critic at any rate.
    short = {"env_config": {"max_steps": 8}, "normalize_values": False}
    assert moved_parts(build(**short, modifier_lr=0.0, lr=1e-3)) == actors
    assert moved_parts(build(**short, modifier_lr=1e-3, lr=0.0)) == {"policy_modifier"}


def test_the_learning_rates_of_a_result_are_those_of_the_schedules(build):
    algorithm = build(env=counter, lr=[[0, 1e-2], [128, 0.0]], modifier_lr=1e-4)
    rates = [learner_stats(algorithm.train())["cur_lr"] for _ in range(3)]
    assert rates == pytest.approx([1e-2, 5e-3, 0.0])


def test_epochs_stop_at_a_divergence(build):
    short = {"env_config": {"max_steps": 8}, "lr": 0.05, "num_epochs": 8}
    assert learner_stats(build(**short).train())["num_epochs"] == 8
    stopped = learner_stats(build(**short, kl_stop=1e-6).train())
    assert 1 < stopped["num_epochs"] < 8


def test_minibatches_multiply_gradient_steps(build):
    algorithm = build(env=counter, minibatch_size=16, num_epochs=2)
    assert learner_stats(algorithm.train())["num_updates"] == 2 * 64 // 16


@pytest.mark.parametrize(("target", "factor"), [(1e-9, 1.5), (1e3, 0.5)])
def test_the_weight_of_the_divergence_adapts_to_its_target(build, target, factor):
    settings = {"use_kl_loss": True, "kl_coeff": 0.2, "lr": 0.01, "num_epochs": 3}
    algorithm = build(env_config={"max_steps": 8}, kl_target=target, **settings)
    algorithm.train()
    assert algorithm.team_policy.learner.kl_coeff == pytest.approx(0.2 * factor)


def test_without_its_loss_the_divergence_has_no_weight(build):
    algorithm = build(env=counter, kl_coeff=0.2, kl_target=1e-9)
    algorithm.train()
    assert algorithm.team_policy.learner.kl_coeff == 0.2


def test_gradients_are_reported_as_they_were_before_clipping(build):
    def train(**settings):
        config = {"env_config": {"max_steps": 8}, "lr": 1.0, "normalize_values": False}
        algorithm = build(**config, **settings)
        # Plain descent: Adam's steps hardly depend on the length of a gradient.
        policy = algorithm.team_policy
        policy.learner.optimizer = torch.optim.SGD(
            [
                {"params": group["params"], "lr": 1.0}
                for group in policy._optimizers[0].param_groups
            ],
            fused=True,
        )
        before = weights_of(algorithm)
        norm = learner_stats(algorithm.train())["grad_norm"]
        after = weights_of(algorithm)
        trained = [name for name, _ in policy.module.named_parameters()]
        names = [name for name in before if name.removeprefix("module.") in trained]
        # The modifier's own rate is not 1 and its gradient is tiny at first.
        names = [name for name in names if "policy_modifier" not in name]
        length = sum(float(((after[n] - before[n]) ** 2).sum()) for n in names) ** 0.5
        return norm, length

    norm, length = train(grad_clip=None)
    assert length == pytest.approx(norm, rel=0.05)
    clipped_norm, clipped_length = train(grad_clip=0.01)
    assert clipped_norm == pytest.approx(norm)
    assert clipped_length == pytest.approx(0.01, rel=0.05)


def test_the_gradient_interface_of_rllib_works(build):
    algorithm = build(env=counter)
    policy = algorithm.team_policy
    batch = algorithm.env_runner.sample()
    gradients, info = policy.compute_gradients(batch)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
    assert {"policy_loss", "vf_loss", "entropy"} <= set(info["learner_stats"])


def test_restoring_by_the_method_that_does_nothing_is_refused(build, tmp_path):
    with pytest.raises(CheckpointError, match=r"use algo\.restore\(path\)"):
        build(env=counter).restore_from_path(str(tmp_path))


# Tune.


def test_tune_knows_the_algorithm_by_name_and_searches_its_settings(tmp_path):
    from ray import tune

    tuner = tune.Tuner(
        "AgentMixer",
        param_space=tiny(counter).training(igc=tune.grid_search(["strict", "none"])),
        run_config=tune.RunConfig(
            stop={"training_iteration": 1}, storage_path=str(tmp_path), verbose=0
        ),
    )
    results = tuner.fit()
    assert results.num_errors == 0
    assert sorted(result.config["igc"] for result in results) == ["none", "strict"]
    assert [r.metrics["env_runners"]["episode_return_mean"] for r in results] == [6.0, 6.0]


def test_a_configuration_from_before_a_setting_came_has_its_default():
    config = IPPOConfig().environment("climbing")
    del config.individual_rewards, config.step_time_limit_s
    assert config.hyperparameters().individual_rewards is False
    assert config.env_creator().step_time_limit_s == 300.0


def test_a_batch_of_gigabytes_is_announced(build, caplog):
    from rllib_agentmixer.adapters.classic.memory import batch_bytes

    algorithm = build(tiny("climbing", train_batch_size=64))
    assert "a batch of" not in caplog.text
    row = algorithm.team.layout.row_size
    assert batch_bytes(algorithm.team.layout, 64) == 64 * row * 4 * 5
    config = tiny("climbing", train_batch_size=100_000_000)
    build(config)
    assert "a batch of 100000000 steps takes about" in caplog.text
    assert "Lower train_batch_size" in caplog.text
