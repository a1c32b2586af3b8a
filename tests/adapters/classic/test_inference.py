"""Joint actions outside of training; RLlib's methods are used or refused."""

import numpy as np
import pytest
from algorithms_test_helpers import differences, make_decisive, measured, tiny
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.policy.policy import Policy
from ray.rllib.policy.torch_policy_v2 import TorchPolicyV2

from rllib_agentmixer import AgentMixer
from rllib_agentmixer.adapters.classic.policy import TeamPolicy
from rllib_agentmixer.adapters.classic.rllib_methods import ALGORITHM_METHODS, POLICY_METHODS
from rllib_agentmixer.errors import ConfigError


def played(algorithm, num_steps=6):
    """Actions chosen one by one in the team's environment, and their return."""
    team = algorithm.config.env_creator()(algorithm.config.env_config)
    obs, _ = team.reset(seed=0)
    is_recurrent = algorithm.get_policy().is_recurrent()
    state = algorithm.get_policy().get_initial_state() if is_recurrent else None
    actions, total = [], 0.0
    for _ in range(num_steps):
        found = algorithm.compute_single_action(obs, state=state, explore=False)
        action, state = (found[0], found[1]) if is_recurrent else (found, None)
        assert team.action_space.contains(action.astype(team.action_space.dtype))
        actions.append(action)
        obs, reward, terminated, truncated, _ = team.step(action)
        total += reward
        if terminated or truncated:
            break
    return np.array(actions), total


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        ("predator_prey", {}),
        ("predator_prey", {"use_gru": True}),
        ("continuous_game", {}),
        ("predator_prey", {"correlation": "autoregressive"}),
    ],
)
def test_modes_are_those_of_evaluation(build, env, settings):
    algorithm = make_decisive(build(tiny(env, **settings)))
    (record,) = algorithm.team_worker.play_episodes(
        1, policy="joint", explore=False, seed=0, num_envs=1
    )
    actions, total = played(algorithm, num_steps=1000)
    assert len(actions) == record.length
    assert total == pytest.approx(record.episode_return, rel=1e-6)


def test_observations_are_filtered_as_in_training(build):
    config = tiny("predator_prey").env_runners(observation_filter="MeanStdFilter")
    algorithm = make_decisive(build(config))
    algorithm.train()
    (record,) = algorithm.team_worker.play_episodes(
        1, policy="joint", explore=False, seed=0, num_envs=1
    )
    assert played(algorithm, 1000)[1] == pytest.approx(record.episode_return, rel=1e-6)


def test_actions_are_scaled_unless_asked_otherwise(build):
    algorithm = build(tiny("continuous_game"))
    team = algorithm.config.env_creator()({})
    obs, _ = team.reset(seed=0)
    low, high = team.action_space.low, team.action_space.high
    scaled = algorithm.compute_single_action(obs, explore=False)
    plain = algorithm.compute_single_action(
        obs, explore=False, unsquash_action=False, clip_action=False
    )
    expected = np.clip(plain, -1, 1) * (high - low) / 2 + (high + low) / 2
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)


def test_several_observations_are_decided_by_key(build):
    algorithm = make_decisive(build(tiny("predator_prey", use_gru=True)))
    team = algorithm.config.env_creator()({})
    observations = {key: team.reset(seed=seed)[0] for seed, key in enumerate(["x", 7])}
    alone = {
        key: algorithm.compute_single_action(obs, explore=False, full_fetch=True)
        for key, obs in observations.items()
    }
    assert algorithm.compute_actions(observations, explore=False).keys() == {"x", 7}
    actions, states, _ = algorithm.compute_actions(observations, full_fetch=True, explore=False)
    for key, (action, state, _) in alone.items():
        assert actions[key].tolist() == action.tolist()
        for one, among in zip(state, states[key], strict=True):
            np.testing.assert_allclose(one, among, atol=1e-6)
    again, *_ = algorithm.compute_actions(observations, state={"x": states["x"]}, explore=False)
    single, *_ = algorithm.compute_single_action(
        observations["x"], state=states["x"], explore=False
    )
    assert again["x"].tolist() == single.tolist()


def test_rllibs_input_dict_is_taken(build):
    algorithm = build(tiny("predator_prey", use_gru=True))
    obs, _ = algorithm.config.env_creator()({}).reset(seed=0)
    state = algorithm.get_policy().get_initial_state()
    inputs = {"obs": obs, **{f"state_in_{i}": part for i, part in enumerate(state)}}
    one, *_ = algorithm.compute_single_action(input_dict=inputs, explore=False)
    other, *_ = algorithm.compute_single_action(obs, state, explore=False, prev_reward=1.0)
    assert one.tolist() == other.tolist()


def test_actions_are_sampled_by_default_and_differ(build):
    algorithm = build(tiny("predator_prey"))
    obs, _ = algorithm.config.env_creator()({}).reset(seed=0)
    assert len({tuple(algorithm.compute_single_action(obs)) for _ in range(40)}) > 1


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        (np.zeros(3), r"a flattened team observation has shape \(\d+,\), got \(3,\)"),
        ({"obs": np.zeros(3)}, "not an observation of the team"),
    ],
)
def test_observations_of_another_form_are_refused(build, observation, words):
    algorithm = build(tiny("climbing"))
    with pytest.raises(ConfigError, match=words):
        algorithm.compute_single_action(observation)


def test_unknown_arguments_and_policies_are_refused(build):
    algorithm = build(tiny("climbing"))
    with pytest.raises(ConfigError, match="unknown argument 'sample'"):
        algorithm.compute_single_action(np.zeros(3), sample=True)
    with pytest.raises(ConfigError, match="the team's policy is 'default_policy', got 'p'"):
        algorithm.compute_actions({}, policy_id="p")


def test_acting_does_not_change_training(build):
    algorithms = [build(tiny("predator_prey", lr=[[0, 1e-3], [200, 0.0]])) for _ in range(2)]
    for algorithm in algorithms:
        algorithm.train()
    obs, _ = algorithms[0].config.env_creator()({}).reset(seed=0)
    algorithms[0].compute_single_action(obs)
    results = [measured(algorithm.train()) for algorithm in algorithms]
    assert differences(*results) == []


def test_the_policy_acts_alone_and_from_its_own_checkpoint(build, tmp_path):
    algorithm = make_decisive(build(tiny("predator_prey")))
    rows = algorithm.team_worker.sample()["obs"][:5]
    actions, _, _ = algorithm.get_policy().compute_actions(rows, explore=False)
    one, _, _ = algorithm.get_policy().compute_single_action(rows[0], explore=False)
    assert one.tolist() == actions[0].tolist()
    algorithm.save(str(tmp_path / "all"))
    algorithm.export_policy_checkpoint(str(tmp_path / "one"))
    restored = Policy.from_checkpoint(str(tmp_path / "all"))["default_policy"]
    alone = Policy.from_checkpoint(str(tmp_path / "one"))
    for policy in (restored, alone):
        assert policy.compute_actions(rows, explore=False)[0].tolist() == actions.tolist()


def test_results_say_how_old_the_sampling_policy_was(build):
    lags = {}
    for is_async in (False, True):
        config = tiny("climbing", num_epochs=3, minibatch_size=32)
        config.env_runners(num_env_runners=1, sample_async=is_async)
        algorithm = build(config)
        results = [algorithm.train() for _ in range(3)]
        name = "diff_num_grad_updates_vs_sampler_policy"
        lags[is_async] = [r["info"]["learner"]["default_policy"][name] for r in results]
    # Six gradient steps from each batch: their mean is 2.5, and 8.5 one batch later.
    assert lags == {False: [2.5, 2.5, 2.5], True: [2.5, 8.5, 8.5]}


def test_the_policys_learning_rate_follows_its_schedule(build):
    algorithm = build(tiny("climbing", lr=[[0, 1e-3], [128, 0.0]]))
    assert algorithm.get_policy().cur_lr == 1e-3
    algorithm.train()
    assert algorithm.get_policy().cur_lr == pytest.approx(5e-4)


WORK_AS_IN_RLLIB = {
    Algorithm: """
        default_resource_request env_runner evaluation_workers export_policy_checkpoint from_state
        get_auto_filled_metrics get_checkpointable_components get_config get_ctor_args_and_kwargs
        get_current_ip_pid get_metadata get_policy get_weights is_actor iteration log_result logdir
        merge_algorithm_configs reset reset_config resource_help restore restore_env_runners
        restore_workers save set_weights stop train train_buffered training_iteration
        trial_id trial_name trial_resources validate_env workers eval_env_runner
    """,
    TorchPolicyV2: """
        action_distribution_fn apply apply_gradients compute_actions
        compute_actions_from_input_dict compute_gradients compute_single_action export_checkpoint
        extra_action_out extra_compute_grad_fetches extra_grad_process from_checkpoint from_state
        get_batch_divisibility_req get_exploration_state get_host get_initial_state
        get_num_samples_loaded_into_buffer get_session get_tower_stats get_weights
        init_view_requirements is_recurrent learn_on_batch learn_on_loaded_batch
        load_batch_into_buffer loss_initialized make_model make_model_and_action_dist
        maybe_remove_time_dimension num_state_tensors postprocess_trajectory restore_connectors
        set_weights
    """,
}
"""Methods that RLlib defines and that mean here what they mean there."""


@pytest.mark.parametrize(
    ("theirs", "ours", "refused"),
    [(Algorithm, AgentMixer, ALGORITHM_METHODS), (TorchPolicyV2, TeamPolicy, POLICY_METHODS)],
)
def test_every_public_method_of_rllib_is_used_replaced_or_refused(theirs, ours, refused):
    names = {n for n in dir(theirs) if not n.startswith("_") and not n.isupper()}
    methods = {
        n for n in names if callable(getattr(theirs, n)) or isinstance(getattr(theirs, n), property)
    }
    replaced = {n for n in methods if getattr(ours, n) is not getattr(theirs, n)}
    as_is = set(WORK_AS_IN_RLLIB[theirs].split())
    bound_to_class = {n for n in methods if hasattr(getattr(theirs, n), "__self__")}
    assert methods - replaced - bound_to_class == as_is - bound_to_class
    assert refused.keys() <= replaced


@pytest.mark.parametrize("name", ALGORITHM_METHODS)
def test_methods_of_the_algorithm_without_a_meaning_say_so(name):
    with pytest.raises(ConfigError, match=rf"{name}\(\) has no meaning here: "):
        getattr(AgentMixer, name)(None, "x")


@pytest.mark.parametrize("name", POLICY_METHODS)
def test_methods_of_the_policy_without_a_meaning_say_so(name):
    with pytest.raises(ConfigError, match=rf"{name}\(\) has no meaning here: "):
        getattr(TeamPolicy, name)(None, "x")
