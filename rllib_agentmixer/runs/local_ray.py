"""Startup of a local Ray instance, or connection to the cluster in ``RAY_ADDRESS``."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rllib_agentmixer.errors import ConfigError

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 512 * 2**20
"""Object store of a local Ray instance: batches of a few workers need far less."""

LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Binds a node to 127.0.0.1. On Linux Ray otherwise replaces it by the address of a network
interface and listens on all of them; despite its name, the variable applies to all systems."""


NOTICE = b"Set ray log level from environment variable"


def keep_ray_private() -> None:
    """Set the environment variables that Ray reads on import; call before Ray is imported.

    A local Ray instance listens on the loopback address and requires a token. Without one in
    the environment Ray writes it to the home folder, where others can read it. Settings of a
    cluster are left unchanged.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if cluster_address() is not None:
        return
    for name, value in LOOPBACK_ONLY.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def cluster_address() -> str | None:
    """Address of the cluster in RAY_ADDRESS, or None for a local Ray instance."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def start_ray(num_workers: int) -> None:
    """Connect to the cluster in RAY_ADDRESS, else start a local Ray instance.

    The local instance listens on the loopback address and declares enough logical CPUs for
    the workers, whatever the machine has. A cluster must have a free CPU for each worker.

    Raises:
        ConfigError: the cluster is unavailable, rejects the token, or has too few CPUs; or the
            local instance does not start, also at a second try.
    """
    import ray

    if ray.is_initialized():
        return
    address = cluster_address()
    if address is not None:
        from rllib_agentmixer.runs.ray_cluster import join_cluster, wait_for_cpus

        join_cluster(address)
        wait_for_cpus(num_workers)
        return
    if num_workers:
        # RLlib's start of workers makes Ray's backend log advice as an error.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for attempt in (1, 2):
        try:
            with _without_notice():
                ray.init(
                    address="local",
                    num_cpus=max(os.cpu_count() or 1, num_workers + 1),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                )
            return
        except Exception as error:  # Ray raises plain exceptions when its 30 seconds are over
            ray.shutdown()
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            if attempt == 2:
                raise ConfigError(
                    f"Ray did not start on this machine, tried twice: {reason}; it waits 30 s, "
                    "which a busy machine may exceed: try again with less load"
                ) from error
            logger.warning("Ray did not start (%s); trying once more", reason)


@contextmanager
def _without_notice() -> Iterator[None]:
    """Standard error without the line in which Ray's backend states its log level."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if NOTICE not in line:
                    os.write(2, line)
