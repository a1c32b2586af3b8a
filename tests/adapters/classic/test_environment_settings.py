"""One source of truth: what is trained in is what is stamped, evaluated and resumed."""

import functools

import pytest
from algorithms_test_helpers import Counter, Places, tiny
from ray import tune

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.envs.registry import env_name
from rllib_agentmixer.errors import CheckpointError, ConfigError, EnvContractError


class Short(Counter):
    def __init__(self, length=2, **config):
        super().__init__(length, **config)


class Long(Counter):
    def __init__(self, length=4, **config):
        super().__init__(length, **config)


WAYS = {
    "attribute": lambda config: _with(config, env=Long),
    "environment()": lambda config: config.environment(Long),
    "update_from_dict": lambda config: config.update_from_dict({"env": Long}),
    "to_dict": lambda config: AgentMixerConfig.from_dict(config.to_dict() | {"env": Long}),
    "copy": lambda config: _with(config.copy(copy_frozen=False), env=Long),
}


def _with(config, **attributes):
    for name, value in attributes.items():
        setattr(config, name, value)
    return config


def is_of(result, name, length):
    return result["environment"]["name"] == name and result["env_runners"]["episode_len_mean"] == (
        length
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_environment_set_last_is_the_one_trained_in_and_stamped(build, way):
    algorithm = build(WAYS[way](tiny(Short)))
    assert is_of(algorithm.train(), env_name(Long), 4)
    assert algorithm.stamp()["environment name"] == env_name(Long)
    assert algorithm.team.stamp["name"] == env_name(Long)


def test_the_environment_given_to_build_algo_is_the_one_trained_in(keep):
    algorithm = keep(tiny(Short).build_algo(env=Long))
    assert is_of(algorithm.train(), env_name(Long), 4)


def test_a_name_registered_with_tune_is_an_environment(build):
    tune.register_env("a_long_game", lambda config: Long(**config))
    algorithm = build(tiny("a_long_game", env_config={"length": 5}))
    assert is_of(algorithm.train(), "a_long_game", 5)


def test_evaluation_has_an_environment_of_its_own_where_asked(build):
    config = tiny(Short).evaluation(evaluation_interval=1, evaluation_config={"env": Long})
    assert build(config).train()["evaluation"]["individual"]["episode_len_mean"] == 4
    config = tiny(Short).evaluation(
        evaluation_interval=1, evaluation_config={"env_config": {"length": 7}}
    )
    assert build(config).train()["evaluation"]["individual"]["episode_len_mean"] == 7


def test_evaluation_of_a_team_of_another_size_is_refused_when_it_starts(keep):
    config = tiny("predator_prey")
    config.evaluation(evaluation_interval=1, evaluation_config={"env_config": {"num_predators": 3}})
    with pytest.raises(EnvContractError, match=r"of the driver's environment is .* of a worker's"):
        keep(config.build_algo())


def test_creators_read_the_place_of_their_environment(build):
    algorithm = build(tiny(Places, env_config={"some": 1}, num_envs=3))
    envs = algorithm.team_worker.vector_env.sub_environments()
    assert [env.length for env in envs] == [2, 3, 4]
    config = tiny(Places, env_config={"some": 1}, num_envs=2).env_runners(num_env_runners=1)
    (found,) = build(config).env_runner_group.foreach_env_runner(
        lambda worker: [env.length for env in worker.vector_env.sub_environments()],
        local_env_runner=False,
    )
    assert found == [12, 13]


def test_a_checkpoint_of_other_arguments_is_refused(build, tmp_path):
    saved = build(tiny(Counter, env_config={"length": 3}))
    saved.save(str(tmp_path / "c"))
    other = build(tiny(Counter, env_config={"length": 4}))
    with pytest.raises(CheckpointError, match=r"environment config is \{'length': 3\}.*4"):
        other.restore(str(tmp_path / "c"))


def test_a_checkpoint_of_other_networks_is_refused(build, tmp_path):
    build(tiny(Counter)).save(str(tmp_path / "c"))
    other = build(tiny(Counter, hidden_size=32))
    with pytest.raises(CheckpointError, match=r"other sizes.*hidden_size"):
        other.restore(str(tmp_path / "c"))


def test_arguments_that_a_checkpoint_cannot_hold_are_refused_when_training_starts():
    with pytest.raises(ConfigError, match=r"env_config\['log'\] is of type .*list_iterator"):
        tiny(Counter, env_config={"log": iter([])}).validate()


def maker(size):
    def make(**config):
        return Counter(length=size, **config)

    return make


def test_functions_without_a_name_are_told_apart_by_what_they_hold():
    names = [
        env_name(lambda **config: Counter(length=2, **config)),
        env_name(lambda **config: Counter(length=3, **config)),
        env_name(maker(2)),
        env_name(maker(3)),
        env_name(functools.partial(Counter, 2)),
        env_name(functools.partial(Counter, length=3)),
    ]
    assert len(set(names)) == len(names)
    assert env_name(maker(2)) == env_name(maker(2))
    assert env_name("climbing") == "climbing"
    assert env_name(Counter).endswith(":Counter")
