"""Every setting refuses what lies outside its range, by name and with the value."""

import math
from dataclasses import fields

import pytest

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS, setting_rows
from rllib_agentmixer.core.settings.actor_critic import PolicyGradientSettings
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings
from rllib_agentmixer.errors import ConfigError

NAN = math.nan
RISING = [[0, 1e-3], [1000, 1e-4]]

GOOD = {
    "learner": ["ppo", "a2c"],
    "ratio": ["joint", "agent"],
    "critic_input": ["state"],
    "igc": ["strict", "gumbel", "none"],
    "distillation_coeff": [0.0],
    "correlation": ["state", "signal", "autoregressive"],
    "signal_size": [1, 256],
    "agent_order": [None],
    "policy_modifier": ["mixer", "linear", "hypernetwork", "attention", "none"],
    "modifier_lr": [0.0, 1e-3, RISING],
    "temperature": [0.05, 3.0, RISING],
    "dispersion_ceiling": [0.01, 0.99],
    "dispersion_gain": [0.3, 9.0],
    "strict_bound": [0.1, 20.0],
    "min_std": [1e-6, 1.0],
    "hidden_size": [1, 256],
    "num_hidden_layers": [0, 8],
    "input_layer_norm": [True, False],
    "use_gru": [True, False],
    "parameter_sharing": ["separate", "shared", [[0, 1], [2]], [[1], [0]]],
    "modifier_width": [1, 128],
    "num_mixer_blocks": [1, 16],
    "agent_mixing_factor": [1, 256],
    "agent_mixing_limit": [1, 4096],
    "channel_mixing_factor": [1, 16],
    "critic_hidden": [(), (64,), (64, 32)],
    "huber_delta": [0.5, 10.0],
    "normalize_values": [True, False],
    "advantage_scale": ["standard", "hysteretic", "robust"],
    "bootstrap_truncated": [True, False],
    "individual_rewards": [False],
    "kl_stop": [None, 0.01],
    "non_finite": ["raise", "skip", "warn"],
    "learner_threads": [None, 1],
    "sample_std_from_joint": [True, False],
}

BAD = {
    "learner": ["PPO", None],
    "ratio": ["team", 1],
    "critic_input": ["observation", None],
    "distillation_coeff": [-0.1, NAN],
    "correlation": ["none", None],
    "signal_size": [0, 257, 2.0],
    "agent_order": ["fixed", [1, 2], [0, 0], [], 3, [0, 2]],
    "policy_modifier": ["mlp", None],
    "igc": ["Strict", None],
    "modifier_lr": [-1e-9, "fast", NAN, None],
    "temperature": [0.0, -1.0, math.inf, [], [[1, 0.5]], [[0, 0.0]]],
    "dispersion_ceiling": [0.0, 1.0, NAN],
    "dispersion_gain": [0.0, -1.0, True],
    "strict_bound": [0.0, 20.1],
    "min_std": [0.0, 1.1],
    "hidden_size": [0, 2.5, "64", True],
    "num_hidden_layers": [-1, 9, False],
    "input_layer_norm": [1],
    "use_gru": [1, None],
    "parameter_sharing": ["all", [[0], [2]], [[0, 0]], [], [[]], 3, [["a"]]],
    "modifier_width": [0],
    "num_mixer_blocks": [0, 17],
    "agent_mixing_factor": [0, 257],
    "agent_mixing_limit": [0, 4097],
    "channel_mixing_factor": [0, 17],
    "critic_hidden": [64, (0,), (2.5,), "64"],
    "huber_delta": [0.0],
    "normalize_values": ["yes"],
    "advantage_scale": ["rank", None],
    "individual_rewards": [1, None],
    "bootstrap_truncated": [1, None],
    "kl_stop": [0.0, -1.0],
    "non_finite": ["ignore", None],
    "learner_threads": [0, 1.5],
    "sample_std_from_joint": [0],
}

INHERITED_BAD = {
    "lr": [-1.0, [[0, -1.0]], [[5, 1.0]]],
    "gamma": [-0.1, 1.1],
    "lambda_": [-0.1, 1.1],
    "clip_param": [0.0, 1.1],
    "vf_clip_param": [0.0],
    "vf_loss_coeff": [-0.1],
    "entropy_coeff": [-0.1, [[0, 0.1], [0, 0.2]]],
    "grad_clip": [0.0],
    "use_kl_loss": [0, "yes"],
    "kl_coeff": [-0.1],
    "kl_target": [0.0],
    "num_epochs": [0],
    "minibatch_size": [0],
    "train_batch_size": [0],
    "num_env_runners": [-1, False],
    "num_envs_per_env_runner": [0],
}


def cases(table):
    return [(name, value) for name, values in table.items() for value in values]


def names():
    return {field.name for field in fields(AgentMixerSettings)}


def test_every_setting_is_tried_here_and_documented():
    assert set(GOOD) <= names()
    assert set(BAD) == names() == set(GOOD)
    assert set(INHERITED_BAD) == set(OnPolicySettings.names())


@pytest.mark.parametrize(("name", "value"), cases(GOOD))
def test_values_in_range_are_taken(name, value):
    assert getattr(AgentMixerSettings(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), cases(BAD))
def test_values_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ConfigError) as error:
        AgentMixerSettings(**{name: value})
    message = str(error.value)
    assert message.startswith(f"{name} must be ")
    assert message.endswith(f", got {value!r}")


@pytest.mark.parametrize(("name", "value"), cases(INHERITED_BAD))
def test_rllibs_settings_are_checked_likewise(name, value):
    with pytest.raises(ConfigError, match=f"^{name} must be .*, got "):
        OnPolicySettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0), ("lr", RISING), ("gamma", 0.0), ("gamma", 1.0), ("clip_param", 1.0),
        ("grad_clip", None), ("minibatch_size", None), ("minibatch_size", 1),
        ("num_env_runners", 0), ("entropy_coeff", 0.0), ("kl_coeff", 0.0),
    ],
)  # fmt: skip
def test_rllibs_settings_may_take_their_limits(name, value):
    assert getattr(OnPolicySettings(**{name: value}), name) == value


@pytest.mark.parametrize(
    "schedule",
    [
        [[0, 1.0], [0, 0.5]],  # steps must rise
        [[0, 1.0], [10, 0.5], [5, 0.1]],
        [[1, 1.0], [10, 0.5]],  # and start at 0
        [[0, 1.0], [10, -0.5]],  # with every value in range
        [[0, 1.0, 2.0]],
        [0, 1.0],
        [[0, "x"]],
        [],
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedule):
    with pytest.raises(ConfigError, match=r"temperature must be .*\[env_steps, value\]"):
        AgentMixerSettings(temperature=schedule)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("modifier_lr", -1.0, "a number of at least 0"),
        ("dispersion_gain", 0.0, "a number above 0"),
        ("strict_bound", 0.0, r"a number in \(0, 20\]"),
        ("hidden_size", 0, "one of 1..8192"),
        ("num_hidden_layers", 9, "one of 0..8"),
        ("igc", "x", r"one of \['strict', 'gumbel', 'none'\]"),
        ("kl_stop", 0.0, "None or a number above 0"),
    ],
)
def test_the_message_says_what_is_allowed(name, value, words):
    with pytest.raises(ConfigError, match=words):
        AgentMixerSettings(**{name: value})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policy_modifier": "none", "igc": "none"}, "leaves the joint policy undefined"),
        ({"policy_modifier": "none", "correlation": "signal"}, "correlation='signal'"),
        ({"policy_modifier": "none", "correlation": "autoregressive"}, "'autoregressive'"),
        ({"agent_order": [1, 0]}, r"agent_order=\[1, 0\].*correlation='state'"),
        ({"agent_order": "random", "correlation": "signal"}, "agent_order='random'"),
        ({"distillation_coeff": 0.5}, "distillation_coeff=0.5 needs igc='none'"),
        ({"critic_input": "obs"}, "critic_input='obs'.*ratio='joint'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        AgentMixerSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"policy_modifier": "none"},
        {"agent_order": "random", "correlation": "autoregressive"},
        {"agent_order": [2, 0, 1], "correlation": "autoregressive"},
        {"distillation_coeff": 0.5, "igc": "none"},
        {"igc": "none", "correlation": "autoregressive"},
        {"critic_input": "obs", "ratio": "agent"},
    ],
)
def test_settings_that_go_together_are_taken(settings):
    AgentMixerSettings(**settings)


def test_baselines_differ_from_each_other_by_their_defaults():
    common = {field.name for field in fields(PolicyGradientSettings)}
    for name, expected in {
        "agentmixer": ("joint", "state"),
        "mappo": ("agent", "state"),
        "ippo": ("agent", "obs"),
    }.items():
        settings = ALGORITHMS[name].make_settings()
        assert (settings.ratio, settings.critic_input) == expected
        assert hasattr(settings, "policy_modifier") == (name == "agentmixer")
        if name != "agentmixer":
            assert {field.name for field in fields(settings)} == common
            assert common < names()


def test_gamma_says_its_closed_range():
    with pytest.raises(ConfigError, match=r"gamma must be a number in \[0, 1\], got 2"):
        OnPolicySettings(gamma=2)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"'temprature'.*'temperature'"):
        AgentMixerSettings.from_mapping({"temprature": 1.0})


def test_a_name_like_no_other_lists_what_is_known():
    with pytest.raises(ConfigError, match=r"'zzz'.*Known: .*use_gru"):
        AgentMixerSettings.from_mapping({"zzz": 1})


def test_a_mapping_sets_what_it_names_and_leaves_the_rest():
    found = AgentMixerSettings.from_mapping({"igc": "gumbel", "hidden_size": 32})
    assert found == AgentMixerSettings(igc="gumbel", hidden_size=32)


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        AgentMixerSettings().igc = "none"


def test_the_listing_names_every_setting_with_its_default_and_range():
    rows = {name: (default, words) for name, default, words in setting_rows()}
    assert set(rows) == names() | set(OnPolicySettings.names())
    assert rows["hidden_size"] == (64, "one of 1..8192")
    assert rows["gamma"] == (0.99, "a number in [0, 1]")
    assert rows["kl_target"] == (0.01, "a number above 0")
