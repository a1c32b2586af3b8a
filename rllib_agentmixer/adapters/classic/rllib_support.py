"""RLlib's settings: which have an effect here, in which range, and which have none and why.

Every setting of RLlib's configuration stands in one of the tables. One without effect is refused
when it is changed: a user would otherwise believe in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rllib_agentmixer.core.settings.ranges import (
    Range,
    boolean,
    integer,
    number,
    one_of,
    optional,
    schedule,
)
from rllib_agentmixer.errors import ConfigError

MOST_SEED = 2**32 - 1 - 100_000
"""Seed to which RLlib still can add a worker's index and 10,000, within NumPy's range."""

_seconds = number(0)
_timeout = optional(number(0, open_low=True))
_seed = optional(integer(0, MOST_SEED))
_restarts = integer(0)
_legacy_schedule = optional(
    Range(
        "[[0, value], [env_steps, value], ...]",
        lambda v: isinstance(v, (list, tuple)) and schedule(number(0)).holds(v),
    )
)

RANGES: dict[str, Range] = {
    "batch_mode": one_of("truncate_episodes", "complete_episodes"),
    "clip_actions": boolean,
    "delay_between_env_runner_restarts_s": _seconds,
    "entropy_coeff_schedule": _legacy_schedule,
    "env_runner_health_probe_timeout_s": _timeout,
    "env_runner_restore_timeout_s": _timeout,
    "evaluation_duration": Range(
        "an integer of at least 1, or 'auto'", lambda v: v == "auto" or integer(1).holds(v)
    ),
    "evaluation_interval": optional(integer(1)),
    "evaluation_num_env_runners": integer(0, 10_000),
    "evaluation_parallel_to_training": boolean,
    "evaluation_sample_timeout_s": _timeout,
    "evaluation_seed": _seed,
    "explore": boolean,
    "ignore_env_runner_failures": boolean,
    "keep_per_episode_custom_metrics": boolean,
    "log_level": one_of("DEBUG", "INFO", "WARN", "WARNING", "ERROR"),
    "lr_schedule": _legacy_schedule,
    "max_num_env_runner_restarts": _restarts,
    "max_requests_in_flight_per_env_runner": integer(1, 1000),
    "metrics_episode_collection_timeout_s": _timeout,
    "metrics_num_episodes_for_smoothing": integer(1),
    "min_sample_timesteps_per_iteration": optional(integer(0)),
    "min_time_s_per_iteration": optional(_seconds),
    "min_train_timesteps_per_iteration": optional(integer(0)),
    "normalize_actions": boolean,
    "num_consecutive_env_runner_failures_tolerance": _restarts,
    "num_cpus_for_main_process": number(0, 1e6),
    "num_cpus_per_env_runner": number(0, 1e6),
    "num_env_runners": integer(0, 10_000),
    "num_envs_per_env_runner": integer(1, 65_536),
    "num_gpus_per_env_runner": number(0, 1000),
    "observation_filter": one_of("NoFilter", "MeanStdFilter"),
    "restart_failed_env_runners": boolean,
    "restart_failed_sub_environments": boolean,
    "rollout_fragment_length": Range(
        "an integer of at least 1, or 'auto'", lambda v: v == "auto" or integer(1).holds(v)
    ),
    "sample_timeout_s": _timeout,
    "seed": _seed,
    "simple_optimizer": Range("left alone: RLlib sets it", lambda v: v in (False, -1)),
}
"""RLlib's settings with an effect, checked before anything starts."""

_EFFECTIVE = """
algo_class callbacks_class checkpoint_trainable_policies_only clip_param compress_observations
create_env_on_local_worker custom_resources_for_main_process custom_resources_per_env_runner
entropy_coeff env env_config env_runner_cls evaluation_config
evaluation_error_after_n_consecutive_skips export_native_model_files
extra_python_environs_for_driver extra_python_environs_for_worker fake_sampler gamma grad_clip
in_evaluation kl_coeff kl_target lambda_ log_sys_usage lr minibatch_size model num_epochs num_gpus
output output_compress_columns output_config output_max_file_size
placement_strategy policies sync_filters_on_rollout_workers_timeout_s torch_compile_learner
torch_compile_learner_dynamo_backend torch_compile_learner_dynamo_mode torch_compile_worker
torch_compile_worker_dynamo_backend torch_compile_worker_dynamo_mode train_batch_size
update_worker_filter_stats use_kl_loss use_worker_filter_stats
validate_env_runners_after_construction vf_clip_param vf_loss_coeff
"""

EFFECTIVE = frozenset(_EFFECTIVE.split()) | RANGES.keys()
"""RLlib's settings that have an effect here."""

_NEW_STACK = """
action_mask_key add_default_connectors_to_env_to_module_pipeline
add_default_connectors_to_learner_pipeline add_default_connectors_to_module_to_env_pipeline
algorithm_config_overrides_per_module broadcast_env_runner_states callbacks_on_algorithm_init
callbacks_on_checkpoint_loaded callbacks_on_env_runners_recreated
callbacks_on_environment_created callbacks_on_episode_created callbacks_on_episode_end
callbacks_on_episode_start callbacks_on_episode_step callbacks_on_evaluate_end
callbacks_on_evaluate_offline_end callbacks_on_evaluate_offline_start callbacks_on_evaluate_start
callbacks_on_offline_eval_runners_recreated callbacks_on_sample_end callbacks_on_train_result
custom_resources_per_learner env_runner_state_server_max_concurrency episode_lookback_horizon
episodes_to_numpy evaluation_auto_duration_max_env_steps_per_sample
evaluation_auto_duration_min_env_steps_per_sample evaluation_force_reset_envs_before_iteration
gym_env_vectorize_mode learner_config_dict local_gpu_idx log_gradients
max_requests_in_flight_per_aggregator_actor max_requests_in_flight_per_learner
merge_env_runner_states num_aggregator_actors_per_learner num_cpus_per_learner
num_gpus_per_learner num_learners shuffle_batch_per_epoch stats_cls_lookup
torch_compile_learner_what_to_compile torch_ddp_kwargs torch_skip_nan_gradients
use_env_runner_state_server
"""

_OFFLINE = """
actions_in_input_normalized broadcast_offline_eval_runner_states
custom_resources_per_offline_eval_runner dataset_num_iters_per_eval_runner
dataset_num_iters_per_learner ignore_final_observation ignore_offline_eval_runner_failures input_
input_compress_columns input_config input_filesystem input_filesystem_kwargs
input_read_batch_size input_read_episodes input_read_method input_read_method_kwargs
input_read_sample_batches input_read_schema input_spaces_jsonable iter_batches_kwargs
map_batches_kwargs materialize_data materialize_mapped_data max_num_offline_eval_runner_restarts
max_requests_in_flight_per_offline_eval_runner num_cpus_per_offline_eval_runner
num_gpus_per_offline_eval_runner num_offline_eval_runners off_policy_estimation_methods
offline_data_class offline_eval_batch_size_per_runner offline_eval_rl_module_inference_only
offline_eval_runner_class offline_eval_runner_health_probe_timeout_s
offline_eval_runner_restore_timeout_s offline_evaluation_duration offline_evaluation_interval
offline_evaluation_parallel_to_training offline_evaluation_timeout_s offline_evaluation_type
offline_loss_for_module_fn offline_sampling ope_split_batch_by_episode output_filesystem
output_filesystem_kwargs output_max_rows_per_file output_write_episodes output_write_method
output_write_method_kwargs output_write_remaining_data postprocess_inputs prelearner_buffer_class
prelearner_buffer_kwargs prelearner_class prelearner_module_synch_period
prelearner_use_recorded_module_states restart_failed_offline_eval_runners shuffle_buffer_size
validate_offline_eval_runners_after_construction
"""

_DEPRECATED = """
always_attach_evaluation_results auto_wrap_old_gym_envs buffer_size collect_metrics_timeout
custom_async_evaluation_function enable_async_evaluation enable_connectors env_task_fn
evaluation_num_episodes input_evaluation learning_starts metrics_smoothing_episodes
min_iter_time_s min_sample_timesteps_per_reporting min_time_s_per_reporting
min_train_timesteps_per_reporting monitor policy_map_cache prioritized_replay
prioritized_replay_alpha prioritized_replay_beta prioritized_replay_eps replay_batch_size
replay_mode sgd_minibatch_size synchronize_filters timesteps_per_iteration
vf_share_layers worker_cls
"""

_WITHOUT_EFFECT: dict[str, str] = {
    _NEW_STACK: "it belongs to RLlib's new API stack, and the classic one is used",
    _OFFLINE: "teams learn from what they sample",
    _DEPRECATED: "RLlib has deprecated it",
    "eager_max_retraces eager_tracing enable_tf1_exec_eagerly local_tf_session_args "
    "tf_session_args": "it belongs to TensorFlow, and the networks are PyTorch",
    "policies_to_train policy_map_capacity policy_mapping_fn "
    "policy_states_are_swappable observation_fn": "the whole team is one policy",
    "action_space observation_space disable_env_checking": "spaces are those of the environment, "
    "and each step is checked",
    "exploration_config": "a team explores by its own distribution; algorithms have settings of "
    "their own, such as temperature or epsilon",
    "optimizer": "learners make their own; set lr",
    "create_local_env_runner": "the driver's worker learns",
    "remote_env_batch_wait_ms sample_collector replay_sequence_length preprocessor_pref "
    "sampler_perf_stats_ema_coef": "sub-environments are stepped as arrays by a sampler of their "
    "own",
    "render_env": "use `rllib-agentmixer evaluate --render`, or render in a callback",
    "custom_evaluation_function": "evaluate() compares joint and individual policies",
    "evaluation_duration_unit": "every policy plays whole episodes; set evaluation_duration",
    "evaluation_unhealthy_workers_timeout_s": "set evaluation_sample_timeout_s",
    "remote_worker_envs": "sub-environments are stepped as arrays inside their worker",
    "count_steps_by": "a step is a joint step of the team",
    "clip_rewards": "scale rewards in the environment",
    "enable_rl_module_and_learner enable_env_runner_and_connector_v2": "the classic API stack is "
    "used",
    "framework_str": "the networks are PyTorch",
    "grad_clip_by": "gradients are clipped by their global norm",
    "use_critic": "whether there is a critic is part of the algorithm",
    "use_gae": "advantages are generalised; lambda_=1 gives Monte Carlo returns",
}

WITHOUT_EFFECT: dict[str, str] = {
    name: reason for names, reason in _WITHOUT_EFFECT.items() for name in names.split()
}
"""RLlib's settings that are refused when they are changed, with the reason."""

USED_MODEL_OPTIONS = frozenset({"max_seq_len"})
"""Options of RLlib's ``model`` with an effect; networks are built by the algorithm's settings."""

SET_MODEL_OPTIONS = frozenset({"custom_model", "custom_model_config"})
"""Options of RLlib's ``model`` that are set here, to build the team's networks."""


def check_rllib_settings(config: Any, fresh: Any, unsupported: Mapping[str, str]) -> None:
    """Refuse settings of RLlib out of their range, and changed ones that have no effect.

    Args:
        config: a configuration.
        fresh: another one of its class, as it is made.
        unsupported: further settings that an algorithm refuses, with the reason.

    Raises:
        ConfigError: names the setting, its value and what to do.
    """
    for name, allowed in RANGES.items():
        if hasattr(config, name):  # some belong to PPO
            allowed.check(name, getattr(config, name))
    for name, reason in {**WITHOUT_EFFECT, **unsupported}.items():
        value, default = getattr(config, name, None), getattr(fresh, name, None)
        if not _is_same(value, default):
            raise ConfigError(
                f"{name}={value!r} has no effect here ({reason}); leave it at {default!r}"
            )
    for name, value in config.model.items():
        known = USED_MODEL_OPTIONS | SET_MODEL_OPTIONS
        if name not in known and not _is_same(value, fresh.model.get(name)):
            raise ConfigError(
                f"model[{name!r}]={value!r} has no effect: the networks are built by the "
                "algorithm's own settings, such as hidden_size and use_gru; leave it at "
                f"{fresh.model.get(name)!r}"
            )


def _is_same(value: Any, default: Any) -> bool:
    try:
        return value is default or bool(value == default)
    except (TypeError, ValueError):  # arrays compare entry by entry
        return False
