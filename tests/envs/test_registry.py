"""Environments by name: construction, messages, registration, lazy imports."""

import subprocess
import sys

import numpy as np
import pytest

from rllib_agentmixer.envs import ENVS, EnvEntry, make_env, make_vector_env, register_env
from rllib_agentmixer.envs.games.matrix_game import MatrixGame, VectorMatrixGame
from rllib_agentmixer.envs.games.predator_prey import PredatorPrey
from rllib_agentmixer.envs.games.predator_prey_vector import VectorPredatorPrey
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.errors import ConfigError, EnvContractError, MissingExtraError


@pytest.fixture
def registry(monkeypatch):
    """ENVS, restored afterwards."""
    before = dict(ENVS)
    yield ENVS
    ENVS.clear()
    ENVS.update(before)


# Names.


@pytest.mark.parametrize(
    ("name", "k"), [("penalty", 100), ("penalty_0", 0), ("penalty_7", 7), ("penalty_2.5", 2.5)]
)
def test_penalty_names_carry_their_k(name, k):
    assert make_env(name).payoffs[0, 0] == -k
    vector = make_vector_env(name, 1)
    vector.reset()
    assert vector.step(np.array([[0, 0]])).reward[0] == -k
    assert vector.spec.name == name


def test_penalty_takes_any_k_but_a_name_with_a_number_keeps_it():
    assert make_env("penalty", k=3).payoffs[0, 0] == -3
    with pytest.raises(ConfigError, match=r"k=25.*k=3"):
        make_env("penalty_25", k=3)
    with pytest.raises(ConfigError, match="k=25"):
        make_vector_env("penalty_25", 1, config={"k": 3})


def test_names_pass_on_their_arguments():
    assert len(make_env("permutation").possible_agents) == 4
    assert len(make_env("permutation", num_agents=6).possible_agents) == 6
    assert make_env("matrix_game", game="nonmonotonic", repeat=3).optimum == 24
    assert len(make_env("predator_prey", preset="10x10").possible_agents) == 8
    assert make_vector_env("predator_prey", 2, config={"preset": "7x7"}).spec.num_agents == 4


def test_simple_spread_shares_one_reward_by_default():
    pytest.importorskip("mpe2")
    vector = make_vector_env("simple_spread", 2)
    assert (vector.spec.obs_sizes, vector.spec.state_size) == ((18, 18, 18), 54)
    vector.reset(seed=0)
    steps = [vector.step(np.ones((2, 3), int)) for _ in range(25)]
    assert steps[-1].truncated.all()
    assert not any(step.truncated.any() for step in steps[:-1])
    continuous = make_vector_env("simple_spread", 1, config={"continuous_actions": True, "N": 2})
    assert continuous.spec.action_kind == "continuous"
    assert continuous.spec.num_agents == 2


def test_an_argument_that_a_pass_through_constructor_does_not_know_is_named():
    pytest.importorskip("mpe2")
    with pytest.raises(ConfigError, match=r"simple_spread.*'max_cycle'"):
        make_env("simple_spread", max_cycle=3)


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list():
    with pytest.raises(ConfigError, match="'predator_pray', did you mean 'predator_prey'") as info:
        make_env("predator_pray")
    assert "climbing" in str(info.value)


@pytest.mark.parametrize("build", [make_env, lambda e, **c: make_vector_env(e, 1, config=c)])
def test_an_unknown_argument_is_answered_with_the_nearest(build):
    with pytest.raises(ConfigError, match="no argument 'penalti', did you mean 'penalty'"):
        build("predator_prey", penalti=-1)


@pytest.mark.parametrize("env", [3, None, PredatorPrey()])
def test_what_is_no_environment_is_refused(env):
    with pytest.raises(ConfigError, match="must be a name"):
        make_env(env)


@pytest.mark.parametrize("num_envs", [0, -1, 2.0])
def test_the_number_of_copies_is_checked(num_envs):
    with pytest.raises(ConfigError, match=f"num_envs.*{num_envs}"):
        make_vector_env("climbing", num_envs)


# Other ways to name an environment.


def test_a_class_a_function_and_an_import_path_are_constructors():
    assert isinstance(make_env(MatrixGame, game="climbing"), MatrixGame)
    assert isinstance(make_env(lambda repeat=1: MatrixGame(repeat=repeat), repeat=2), MatrixGame)
    path = "rllib_agentmixer.envs.games.matrix_game:MatrixGame"
    assert make_env(path, game="penalty").game == "penalty"
    vector = make_vector_env(path, 2)
    assert isinstance(vector, LoopVectorEnv)
    assert vector.spec.name == path


@pytest.mark.parametrize(
    "constructor",
    [
        lambda config: MatrixGame(**config),
        lambda env_config: MatrixGame(**env_config),
        lambda _: MatrixGame(game="penalty"),
        lambda ctx, verbose=False: MatrixGame(**ctx),
    ],
)
def test_a_constructor_in_rllibs_style_gets_the_whole_dictionary(constructor):
    assert make_env(constructor, game="penalty").game == "penalty"
    assert make_vector_env(constructor, 1, config={"game": "penalty"}).spec.num_agents == 2


def test_a_required_argument_that_is_missing_is_named():
    with pytest.raises(ConfigError, match="needs the argument 'size'"):
        make_env(lambda size: MatrixGame())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module_at_all:make", "no module 'no_such_module_at_all'"),
        ("rllib_agentmixer.envs.games.matrix_game:MatrixGam", "did you mean 'MatrixGame'"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_named(path, message):
    with pytest.raises(ConfigError, match=message):
        make_env(path)


def test_a_constructor_that_returns_something_else_is_refused():
    with pytest.raises(EnvContractError, match="ParallelEnv, got dict"):
        make_env(lambda: {})


def test_an_error_inside_a_constructor_is_the_environments_and_keeps_its_cause():
    def broken():
        raise TypeError("inside")

    with pytest.raises(EnvContractError, match=r"'broken': its constructor raised .*inside") as it:
        make_env(broken)
    assert isinstance(it.value.__cause__, TypeError)


# Registration.


def test_a_registered_environment_is_built_by_name(registry):
    register_env("mine", lambda config: PredatorPrey(**config), summary="mine")
    assert make_env("mine", max_steps=5).settings.max_steps == 5
    assert isinstance(make_vector_env("mine", 2), LoopVectorEnv)


def test_a_batched_form_is_used_where_there_is_one_and_rewards_are_shared(registry):
    register_env("mine", PredatorPrey, vector=VectorPredatorPrey)
    vector = make_vector_env("mine", 4, config={"max_steps": 9})
    assert isinstance(vector, VectorPredatorPrey)
    assert vector.settings.max_steps == 9
    assert vector.spec.name == "mine"
    summed = make_vector_env("mine", 1, team_reward="sum")
    assert isinstance(summed, LoopVectorEnv)
    summed.reset(seed=0)
    assert summed.step(np.full((1, 2), 4)).reward[0] == pytest.approx(-0.02)
    assert isinstance(make_vector_env("climbing", 2), VectorMatrixGame)


def test_a_name_belongs_to_one_constructor(registry):
    register_env("mine", PredatorPrey)
    register_env("mine", PredatorPrey, summary="again")
    assert registry["mine"].summary == "again"
    for taken in ("mine", "climbing", "penalty_33"):
        with pytest.raises(ConfigError, match=f"{taken}.*already registered"):
            register_env(taken, MatrixGame)


@pytest.mark.parametrize("arguments", [("", PredatorPrey), ("a:b", PredatorPrey), ("x", 3)])
def test_a_registration_that_cannot_work_is_refused(registry, arguments):
    with pytest.raises(ConfigError):
        register_env(*arguments)


def test_a_missing_package_is_answered_with_the_extra_that_brings_it(registry):
    def needs_it():
        import package_that_is_not_there  # noqa: F401

    register_env("exotic", needs_it, extra="mpe")
    with pytest.raises(MissingExtraError, match=r"exotic.*pip install rllib_agentmixer\[mpe\]"):
        make_env("exotic")
    registry["path"] = EnvEntry("path", "package_that_is_not_there.envs:make", extra="mpe")
    with pytest.raises(MissingExtraError, match=r"rllib_agentmixer\[mpe\]"):
        make_env("path")


MODULES = {
    "mpe": "mpe2",
    "sisl": "pettingzoo.sisl",
    "butterfly": "pettingzoo.butterfly",
    "mamujoco": "gymnasium_robotics",
    "lbf": "lbforaging",
    "rware": "rware",
    "vmas": "vmas",
    "openspiel": "pyspiel",
}
"""Extra -> what its environments import."""

ARGUMENTS = {"ma_mujoco": {"scenario": "Ant", "partition": "2x4"}, "vmas": {"scenario": "balance"}}


def test_every_extra_of_the_registry_is_known_here():
    assert {entry.extra for entry in ENVS.values() if entry.extra} == set(MODULES)


@pytest.mark.parametrize("name", sorted(name for name, entry in ENVS.items() if entry.extra))
def test_every_environment_names_the_extra_that_it_lacks(name, monkeypatch):
    extra = ENVS[name].extra
    for module in [*sys.modules]:
        if f"{module}.".startswith(f"{MODULES[extra]}."):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, MODULES[extra], None)
    message = rf"{name}.*pip install rllib_agentmixer\[{extra}\]"
    with pytest.raises(MissingExtraError, match=message):
        make_env(name, **ARGUMENTS.get(name, {}))
    with pytest.raises(MissingExtraError, match=message):
        make_vector_env(name, 2, config=ARGUMENTS.get(name, {}))


def test_a_game_that_the_user_installs_is_explained():
    with pytest.raises(MissingExtraError, match=r"smacv2_terran_5v5.*github"):
        make_env("smacv2_terran_5v5")


def test_a_missing_package_without_an_extra_comes_through():
    def needs_it():
        import package_that_is_not_there  # noqa: F401

    with pytest.raises(ImportError, match="package_that_is_not_there"):
        make_env(needs_it)


def test_importing_the_registry_imports_nothing_heavy():
    script = (
        "import sys, rllib_agentmixer.envs\n"
        "heavy = {'pettingzoo', 'torch', 'ray', 'supersuit', 'mpe2', 'gymnasium'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr
