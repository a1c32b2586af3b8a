"""Constructors of every form in which RLlib's users write them."""

import functools
import inspect

import pytest
from envs_test_fakes import FakeTeam

from rllib_agentmixer.envs import make_env
from rllib_agentmixer.errors import ConfigError


class Sized(FakeTeam):
    def __init__(self, size=2, render_mode=None):
        super().__init__(agents=tuple(f"a{index}" for index in range(size)))
        self.mode = render_mode


class ConfigOrNone(Sized):
    def __init__(self, config=None):
        super().__init__((config or {}).get("size", 2))


class AnnotatedDict(Sized):
    def __init__(self, arguments: dict = {}):  # noqa: B006
        super().__init__(arguments.get("size", 2))


class ConfigAndMode(Sized):
    def __init__(self, config, render_mode=None):
        super().__init__(config.get("size", 2), render_mode)


class Factory:
    def make(self, config):
        return Sized(config["size"])

    def __call__(self, config):
        return Sized(config["size"])


def from_options(opts):
    return Sized(opts["size"])


def by_position(_, config):
    return Sized(config["size"])


FORMS = {
    "default None": ConfigOrNone,
    "annotated": AnnotatedDict,
    "with a render mode": ConfigAndMode,
    "function": from_options,
    "lambda": lambda c: Sized(c["size"]),
    "partial": functools.partial(by_position, 1),
    "bound method": Factory().make,
    "callable": Factory(),
    "keywords": lambda **k: Sized(**k),
    "arguments": Sized,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_arguments_arrive(form):
    assert len(make_env(FORMS[form], size=3).possible_agents) == 3


def test_a_creator_of_a_dictionary_needs_no_entries():
    assert len(make_env(lambda c: Sized(c.get("size", 4))).possible_agents) == 4
    assert len(make_env(ConfigOrNone).possible_agents) == 2


def test_arguments_beside_the_dictionary_are_given_by_name():
    assert make_env(ConfigAndMode, size=3, render_mode="rgb_array").mode == "rgb_array"


def test_a_parameter_named_in_the_arguments_is_not_the_dictionary():
    built = make_env(lambda config: Sized(config), config=3)
    assert len(built.possible_agents) == 3


def test_the_dictionary_keeps_its_type():
    class Context(dict):
        worker_index = 7

    from rllib_agentmixer.envs.construction import build_env

    seen = []
    build_env(lambda config: seen.append(config) or Sized(), Context(size=1))
    assert seen[0].worker_index == 7


def test_a_misspelt_argument_is_not_taken_for_a_dictionary():
    with pytest.raises(ConfigError, match="no argument 'sise', did you mean 'size'"):
        make_env(lambda size: Sized(size), sise=3)


def test_a_class_with_a_missing_argument_gets_no_dictionary():
    class Needs(Sized):
        def __init__(self, number):
            super().__init__(number)

    assert list(inspect.signature(Needs).parameters) == ["number"]
    with pytest.raises(ConfigError, match="needs the argument 'number'"):
        make_env(Needs)
