"""Settings of the command line are parsed as data, never evaluated, and checked by name."""

import pytest

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.runs.settings import PRIVATE, apply_settings, parse_settings, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-1", -1),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[[0, 1e-3], [100, 0]]", [[0, 0.001], [100, 0]]),
        ("(64, 64)", (64, 64)),
        ('"text"', "text"),
        ("strict", "strict"),
        ("a=b", "a=b"),
        ("", ""),
        ("1 + 1", "1 + 1"),
    ],
)
def test_values_are_read_as_data(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text", ["__import__('os')", "open('/etc/passwd').read()", "exit()", "(lambda: 1)()"]
)
def test_code_stays_text(text):
    assert parse_value(text) == text


def test_pairs_are_split_at_the_first_equals_sign():
    assert parse_settings(["lr=1e-3", "env.name=a=b"]) == {"lr": 0.001, "env.name": "a=b"}


@pytest.mark.parametrize("pair", ["lr", "=3", ""])
def test_what_is_no_pair_is_refused(pair):
    with pytest.raises(ConfigError, match="settings are written key=value"):
        parse_settings([pair])


def test_settings_reach_configuration_environment_and_model():
    config = AgentMixerConfig().environment("predator_prey", env_config={"grid": 5})
    apply_settings(
        config,
        {"lr": 0.01, "igc": "gumbel", "env.penalty": -1, "model.max_seq_len": 7, "gamma": 0.5},
    )
    assert (config.lr, config.igc, config.gamma) == (0.01, "gumbel", 0.5)
    assert config.env_config == {"grid": 5, "penalty": -1}
    assert config.model["max_seq_len"] == 7


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("modifier_rl", "modifier_lr"),
        ("num_env_runer", "num_env_runners"),
        ("model.max_seq_length", "max_seq_len"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, nearest):
    config = AgentMixerConfig().environment("predator_prey")
    with pytest.raises(ConfigError, match=f"Did you mean '{nearest}'"):
        apply_settings(config, {name: 1})


@pytest.mark.parametrize("name", [*PRIVATE, "_is_frozen", "training"])
def test_what_is_set_by_other_means_is_no_setting(name):
    with pytest.raises(ConfigError, match="unknown setting"):
        apply_settings(AgentMixerConfig().environment("predator_prey"), {name: 1})
