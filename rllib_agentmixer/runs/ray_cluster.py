"""Connection to a Ray cluster: reachability, authentication, free CPUs and package code."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import placement_group, remove_placement_group

import rllib_agentmixer
from rllib_agentmixer.errors import ConfigError

logger = logging.getLogger(__name__)

WAIT_VARIABLE = "RLLIB_AGENTMIXER_CLUSTER_WAIT_S"
DEFAULT_WAIT_S = 30.0
FIRST_WAIT_S = 2
REPORT_EVERY_S = 30
CONNECT_SECONDS = 5.0
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the environment of a submitted job."""

ADVICE = (
    "check that the head node is running, that no firewall blocks it, and RAY_ADDRESS (host:port "
    "of the head's GCS, usually port 6379; unset it to train on this machine only)"
)


def join_cluster(address: str) -> None:
    """Connect this process as a driver.

    Workers receive this package: nodes may have another version of it, or none. A submitted
    job has its own runtime environment, which is left unchanged.

    Raises:
        ConfigError: the cluster is unreachable, or rejects this driver.
    """
    check_answers(address)
    # RLlib's start of workers makes Ray's backend log advice as an error.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    settings: dict[str, Any] = {}
    if SUBMITTED not in os.environ:
        settings["runtime_env"] = {"py_modules": [str(Path(rllib_agentmixer.__file__).parent)]}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **settings)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        raise ConfigError(
            f"the Ray cluster at {address} answers but cannot be joined: {error}; check that "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH give the cluster's token, and that the "
            f"cluster has the Ray version of this process ({ray.__version__})"
        ) from error


def check_answers(address: str) -> None:
    """Fail within seconds where Ray would retry for over a minute and then exit the process.

    Raises:
        ConfigError: unknown host, connection refused, or not the address of a GCS.
    """
    if address == "auto":
        return
    if "://" in address:
        raise ConfigError(
            f"RAY_ADDRESS={address!r} is not an address for drivers: give host:port "
            "of the head's GCS; for a jobs address (http://) use `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"RAY_ADDRESS={address!r} is not host:port; {ADVICE}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {address}: {error}; {ADVICE}") from error


def wait_for_cpus(num_workers: int) -> None:
    """Block until the cluster has a free CPU for every worker.

    Otherwise RLlib would silently wait for workers that cannot be scheduled. The CPUs are
    requested as a placement group, for which an autoscaler adds nodes, and released for the
    workers that start next.

    Raises:
        ConfigError: they do not become free within ``RLLIB_AGENTMIXER_CLUSTER_WAIT_S`` seconds.
    """
    if not num_workers:
        return
    timeout = wait_seconds()
    group = placement_group([{"CPU": 1}] * num_workers, strategy="SPREAD")
    deadline = time.monotonic() + timeout
    try:
        if group.wait(timeout_seconds=FIRST_WAIT_S):
            return
        while (left := math.ceil(deadline - time.monotonic())) > 0:
            logger.warning(
                "Waiting up to %d s for %d free CPUs: %s.", left, num_workers, describe_cluster()
            )
            if group.wait(timeout_seconds=min(REPORT_EVERY_S, left)):  # integers only
                return
        raise ConfigError(
            f"the cluster has no free CPU for each of {num_workers} workers after "
            f"{timeout:g} s: {describe_cluster()}; train with fewer --workers, add nodes, or "
            f"raise {WAIT_VARIABLE} if an autoscaler or a queue adds them later"
        )
    finally:
        remove_placement_group(group)


def wait_seconds() -> float:
    """Time to wait for CPUs, from the environment.

    Raises:
        ConfigError: not a nonnegative number.
    """
    text = os.environ.get(WAIT_VARIABLE, str(DEFAULT_WAIT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigError(f"{WAIT_VARIABLE} must be a number of seconds, at least 0, got {text!r}")
    return seconds


def describe_cluster() -> str:
    """Summary such as ``1 of 4 CPUs free on 3 nodes (0, 2, 2)``."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    each = [node["Resources"].get("CPU", 0.0) for node in nodes]
    free = ray.available_resources().get("CPU", 0.0)
    sizes = ", ".join(f"{count:g}" for count in each)
    return f"{free:g} of {sum(each):g} CPUs free on {len(nodes)} nodes ({sizes})"
