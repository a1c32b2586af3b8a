"""Entries of algorithms: parts that are missing or clash are refused when the entry is made."""

import importlib.util
import sys
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest

from rllib_agentmixer import AlgorithmEntry, register_algorithm
from rllib_agentmixer.core.algorithms import entry, registry
from rllib_agentmixer.core.algorithms.registry import (
    ALGORITHMS,
    Registry,
    owners_of,
    setting_rows,
)
from rllib_agentmixer.core.learners.learner import Learner
from rllib_agentmixer.core.learners.policy_gradient import A2CLearner, PPOLearner
from rllib_agentmixer.core.learners.q_learning import QLearner
from rllib_agentmixer.core.settings.base import TeamSettings, setting
from rllib_agentmixer.core.settings.ranges import one_of
from rllib_agentmixer.core.settings.rllib_names import RESERVED_NAMES
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings
from rllib_agentmixer.core.teams.product_policy import ProductPolicy
from rllib_agentmixer.errors import ConfigError

MAPPO = ALGORITHMS["mappo"]


def unchecked(module):
    """Module without the type checker of the tests, which would raise first."""
    name = f"unchecked_{module.__name__.rpartition('.')[2]}"
    spec = importlib.util.spec_from_file_location(name, module.__file__)
    found = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


UNCHECKED_ENTRY = unchecked(entry).AlgorithmEntry
unchecked_register = unchecked(registry).register_algorithm


@dataclass(frozen=True, kw_only=True)
class OwnSettings(TeamSettings):
    own: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ClashingSettings(TeamSettings):
    gamma: float = 1.0
    seed: int = 3


@dataclass(frozen=True, kw_only=True)
class SettingsWithoutDefault(TeamSettings):
    own: float


@dataclass(frozen=True, kw_only=True)
class SettingsOfAnotherLearner(TeamSettings):
    learner: str = setting("sac", one_of("sac"))


class Unfinished(Learner):
    def update(self, batch, *, env_steps, generator):
        return {}


class BadDefaults(PPOLearner):
    rllib_defaults: ClassVar = {"num_epoch": 1}


def entry_of(kind=AlgorithmEntry, **changes):
    parts = {
        "name": "own",
        "class_name": "Own",
        "summary": "a test",
        "settings": OwnSettings,
        "team": ProductPolicy,
        "learners": {"ppo": PPOLearner},
    }
    return kind(**(parts | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "own algorithm"}, "the name of an algorithm has letters.*'own algorithm'"),
        ({"class_name": None}, "the class_name of an algorithm has letters.*None"),
        ({"summary": ""}, "algorithm 'own': summary must be one line of text"),
        ({"settings": dict}, "settings must be a dataclass derived from TeamSettings"),
        ({"settings": OwnSettings()}, "settings must be a dataclass"),
        ({"settings": ClashingSettings}, "gamma, seed are names of RLlib's"),
        ({"settings": SettingsWithoutDefault}, "every setting needs a default.*own"),
        ({"rllib": OwnSettings}, "rllib must be a dataclass derived from RLlibSettings"),
        ({"team": "ProductPolicy"}, "team must be a function of"),
        ({"learners": {}}, "it has no learner"),
        ({"learners": {"ppo": ProductPolicy}}, "learner 'ppo' must be a subclass of Learner"),
        ({"learners": {"own": Unfinished}}, "learner 'own' lacks optimizers"),
        ({"learners": {"own": BadDefaults}}, "rllib_defaults of learner 'own'.*num_epoch"),
        (
            {"learners": {"ppo": PPOLearner, "a2c": A2CLearner}},
            "its settings need `learner` with one of them as default, got None",
        ),
        (
            {
                "learners": {"ppo": PPOLearner, "a2c": A2CLearner},
                "settings": SettingsOfAnotherLearner,
            },
            "got 'sac'",
        ),
        ({"defaults": {"onw": 1}}, "defaults names unknown settings: onw"),
        ({"rllib_defaults": {"own": 1}}, "rllib_defaults names unknown settings: own"),
        ({"rllib_defaults": {"gamma": 2.0}}, "gamma must be a number in"),
        ({"search_space": {"lr": "x", "zzz": "y"}}, "search_space names unknown settings: zzz"),
        ({"data": "offline"}, "data must be one of"),
        ({"execution": "joint"}, "execution must be one of"),
        ({"action_kinds": frozenset({"text"})}, "action_kinds must be some of"),
        ({"action_kinds": frozenset()}, "action_kinds must be some of"),
    ],
)
def test_an_entry_with_a_part_that_is_missing_or_clashes_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        entry_of(UNCHECKED_ENTRY, **changes)


@pytest.mark.parametrize("part", ["name", "settings", "team", "learners", "summary", "class_name"])
def test_every_part_that_has_no_default_is_needed(part):
    parts = {f.name: getattr(MAPPO, f.name) for f in fields(MAPPO)}
    del parts[part]
    with pytest.raises(TypeError, match=part):
        AlgorithmEntry(**parts)


@pytest.fixture
def own():
    yield register_algorithm(entry_of())
    ALGORITHMS.remove("own")


def test_a_registered_algorithm_is_known_everywhere(own):
    assert ALGORITHMS["own"] is own
    assert owners_of("own") == ["own"]
    rows = {name: default for name, default, _ in setting_rows("own")}
    assert (rows["own"], rows["gamma"]) == (1.0, 0.99)
    register_algorithm(entry_of())  # its module may be imported again


def test_a_name_that_is_taken_is_refused(own):
    with pytest.raises(ConfigError, match=r"named 'own' is registered already \(a test\)"):
        register_algorithm(replace(own, summary="another one"))
    with pytest.raises(ConfigError, match="named 'mappo' is registered already"):
        register_algorithm(entry_of(name="mappo"))
    assert ALGORITHMS["mappo"] is MAPPO


def test_something_else_than_an_entry_is_refused():
    with pytest.raises(ConfigError, match="register_algorithm takes an AlgorithmEntry, got"):
        unchecked_register(PPOLearner)


def test_an_unknown_name_suggests_the_nearest_and_says_how_ones_own_are_known():
    with pytest.raises(ConfigError, match=r"'mapo'.*'mappo'.*once the module that registers it"):
        ALGORITHMS["mapo"]
    assert "mapo" not in ALGORITHMS
    assert len(Registry(MAPPO)) == 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_defaults_of_every_entry_and_learner_are_in_range(name):
    known = ALGORITHMS[name]
    assert known.learner(known.make_settings()) is next(iter(known.learners.values()))
    for learner, kind in known.learners.items():
        chosen = {"learner": learner} if len(known.learners) > 1 else {}
        given = known.make_settings(**chosen)
        kind.check(given, known.default_rllib(given))


def test_learners_bring_their_own_defaults_of_rllibs_settings():
    ppo, a2c = (MAPPO.default_rllib(MAPPO.make_settings(learner=x)) for x in ("ppo", "a2c"))
    assert (ppo.num_epochs, a2c.num_epochs) == (15, 1)
    assert replace(ppo, num_epochs=1) == a2c


def test_a_learner_that_the_entry_has_not_is_refused():
    only_ppo = replace(MAPPO, name="other", learners={"ppo": PPOLearner})
    with pytest.raises(ConfigError, match=r"learner must be one of \['ppo'\] for other"):
        only_ppo.learner(only_ppo.make_settings(learner="a2c"))


def test_an_entry_is_shown_by_its_name():
    assert repr(MAPPO) == str(MAPPO) == "AlgorithmEntry('mappo')"


def test_reserved_names_are_those_of_rllibs_configurations():
    from ray.rllib.algorithms.ppo import PPOConfig

    config = PPOConfig()
    used = {n for n in (*vars(config), *dir(PPOConfig)) if not n.startswith("_")}
    assert used <= RESERVED_NAMES
    assert {"team_agents", "sample_async"} <= RESERVED_NAMES
    own = {name for known in ALGORITHMS.values() for name in known.settings.names()}
    assert not own & RESERVED_NAMES
    assert set(OnPolicySettings.names()) <= RESERVED_NAMES
    assert QLearner.accepts_stale_batches
