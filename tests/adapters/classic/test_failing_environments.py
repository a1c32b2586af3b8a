"""Environments that crash, hang or send NaN, in training: a reproducible error, or it continues."""

import numpy as np
import pytest
from algorithms_test_helpers import failing, learner_stats, tiny

from rllib_agentmixer.errors import EnvContractError

WORDS = {"crash": "the bridge fell", "hang": "no response within 1 s", "nan": "is nan"}


def config_of(failure):
    config = tiny(failing, env_config={"failure": failure}, num_envs=2)
    return config.environment(step_time_limit_s=1.0)


@pytest.mark.parametrize("failure", WORDS)
def test_training_stops_with_what_it_takes_to_repeat_the_failure(build, failure):
    algorithm = build(config_of(failure))
    message = rf"step 3.*{WORDS[failure]}.*episode seed \d+; reproduce it with check-env --replay /"
    with pytest.raises(EnvContractError, match=message):
        algorithm.train()


@pytest.mark.parametrize("failure", WORDS)
def test_training_continues_where_sub_environments_are_restarted(build, failure):
    config = config_of(failure)
    config.fault_tolerance(restart_failed_sub_environments=True)
    algorithm = build(config.training(train_batch_size=40))
    result = algorithm.train()
    assert np.isfinite(learner_stats(result)["total_loss"])
    # What crashed counts nowhere: whole episodes earn 6.
    assert result["env_runners"]["episode_return_min"] == 6
    assert result["env_runners"]["num_faulty_episodes"] > 0


def test_a_remote_worker_reports_and_goes_on_too(build):
    config = config_of("hang").training(train_batch_size=40)
    config.env_runners(num_env_runners=1)
    config.fault_tolerance(restart_failed_sub_environments=True)
    result = build(config).train()
    assert np.isfinite(learner_stats(result)["total_loss"])
    assert result["env_runners"]["num_faulty_episodes"] > 0
