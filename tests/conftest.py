"""Settings and fixtures shared by all tests."""

import os
import secrets

# Set before anything imports Ray, MLflow or PyTorch, which read them once; child processes
# inherit them. A value that the caller has set is kept.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all of Ray on the loopback address
    "RAY_USAGE_STATS_ENABLED": "0",
    "SDL_VIDEODRIVER": "dummy",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# Without a mode Ray writes a token that others can read into the home folder. A token in
# the environment keeps the ports closed and leaves no file behind.
if "RAY_AUTH_MODE" not in os.environ:
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))

import jaxtyping
import pytest
import torch

# Left out of the checks below: settings check themselves, and raise the package's own error.
import rllib_agentmixer.core.settings.actor_critic
import rllib_agentmixer.core.settings.agentmixer
import rllib_agentmixer.core.settings.rllib_settings
import rllib_agentmixer.core.settings.sequential
import rllib_agentmixer.core.settings.value_based  # noqa: F401

torch.set_num_threads(1)

# Checks every shape annotation of the core, as long as nothing has imported it before.
jaxtyping.install_import_hook(
    "rllib_agentmixer.core",
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


def _start_ray():
    import ray

    # "local" never joins a cluster that the environment points to. Four logical CPUs let
    # driver and env runners start on a machine with fewer.
    return ray.init(
        address="local",
        num_cpus=4,
        num_gpus=0,
        include_dashboard=False,
        object_store_memory=256 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )


@pytest.fixture(scope="session")
def ray_cluster():
    """One local Ray for the whole run; the value is what ``ray.init`` returned."""
    import ray

    ray.shutdown()
    try:
        context = _start_ray()
    except Exception:  # a loaded machine can miss Ray's start-up deadline once
        ray.shutdown()
        context = _start_ray()
    yield context
    ray.shutdown()


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory):
    """Address of an empty MLflow store; creating its tables takes seconds, so all share it."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    MlflowClient(tracking_uri=uri).search_experiments()
    return uri
