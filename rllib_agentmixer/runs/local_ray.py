"""A private Ray on this machine, or the cluster that the environment names."""

from __future__ import annotations

import logging
import os
import secrets

OBJECT_STORE_BYTES = 512 * 2**20
"""Shared memory of a private Ray: batches of a few workers need far less."""

LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Keeps a node on 127.0.0.1. Ray on Linux otherwise takes the address of a network card in its
place and listens on all of them; by its name the variable is for other systems, but all heed it."""


def keep_ray_private() -> None:
    """Set what Ray reads once, when it is first imported: call before anything imports it.

    A private Ray listens on the loopback address and asks for a token. Without one in the
    environment Ray writes it into the home folder, where others can read it. A cluster's own
    settings are left alone.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if cluster_address() is not None:
        return
    for name, value in LOOPBACK_ONLY.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def cluster_address() -> str | None:
    """The cluster that RAY_ADDRESS names, or None for a private Ray."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def start_ray(num_workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names, else start a private one.

    The private one listens on the loopback address and has enough logical CPUs for the
    workers whatever the machine has. A cluster has to have one free for each worker.

    Raises:
        ConfigError: the cluster does not answer, refuses the token, or has too few CPUs.
    """
    import ray

    if ray.is_initialized():
        return
    address = cluster_address()
    if address is not None:
        from rllib_agentmixer.runs.ray_cluster import join_cluster, wait_for_processors

        join_cluster(address)
        wait_for_processors(num_workers)
        return
    if num_workers:
        # RLlib's own way to start workers makes Ray's backend print advice as an error.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, num_workers + 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
        _node_ip_address="127.0.0.1",
    )
