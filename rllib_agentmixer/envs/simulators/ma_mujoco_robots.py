"""MuJoCo robots of Gymnasium: construction, and their state as one array."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rllib_agentmixer.envs.simulators.ma_mujoco_partitions import Partition
from rllib_agentmixer.envs.simulators.ma_mujoco_views import Views
from rllib_agentmixer.errors import ConfigError

logger = logging.getLogger(__name__)


def _mujoco() -> Any:
    """The bindings, whose compiled names are invisible to type checkers."""
    import mujoco

    return mujoco


def get_state(robot: Any) -> np.ndarray:
    """The full state from which MuJoCo computes the next step."""
    mujoco = _mujoco()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(robot.model, kind))
    mujoco.mj_getState(robot.model, robot.data, state, kind)
    return state


def set_state(robot: Any, state: np.ndarray) -> None:
    """Restore a state of :func:`get_state`, positions of all bodies included."""
    mujoco = _mujoco()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    mujoco.mj_setState(robot.model, robot.data, state, kind)
    mujoco.mj_forward(robot.model, robot.data)


def build(
    scenario: str, partition: Partition, render_mode: str | None, settings: dict[str, Any]
) -> tuple[Any, int]:
    """The robot's bare Gymnasium environment, and its step limit."""
    import gymnasium

    if render_mode == "rgb_array" and sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # Gymnasium's own choice needs a display
    name = f"{scenario.removeprefix('ManySegment')}-v5"
    limit = gymnasium.spec(name).max_episode_steps or 1000
    with tempfile.TemporaryDirectory() as folder:
        if partition.num_segments:
            settings = {**settings, "xml_file": _segmented_robot(scenario, partition, folder)}
        with _model_warnings_logged():
            made = gymnasium.make(
                name, render_mode=render_mode, disable_env_checker=True, **settings
            )
    return made.unwrapped, limit


@contextlib.contextmanager
def _model_warnings_logged() -> Iterator[None]:
    """Redirect MuJoCo's warnings about Gymnasium's models to this package's log.

    By default it prints them and writes ``MUJOCO_LOG.TXT`` to the working directory, for every
    sub-environment.
    """
    mujoco = _mujoco()
    if not hasattr(mujoco, "set_mju_user_warning"):
        yield
        return
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: logger.debug("MuJoCo: %s", text))
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _segmented_robot(scenario: str, partition: Partition, folder: str) -> str:
    """Write the model of a robot made of segments; returns its path.

    The package itself writes it among its own files, where two processes collide.
    """
    from gymnasium_robotics.envs.multiagent_mujoco import many_segment_ant, many_segment_swimmer

    maker = many_segment_ant if scenario == "ManySegmentAnt" else many_segment_swimmer
    path = str(Path(folder) / "robot.xml")
    maker.gen_asset(n_segs=partition.num_segments, asset_path=path)
    return path


def partitioned(scenario: str, partition: Partition, views: Views, robot: Any) -> Any:
    """The package's environment around a robot, used only for its joints and views."""
    from gymnasium_robotics import mamujoco_v1

    local = views.local
    try:
        package = mamujoco_v1.parallel_env(
            scenario,
            agent_conf=partition.agent_conf,
            agent_obsk=views.depth,
            agent_factorization=partition.factorization,
            local_categories=None if local is None else [list(names) for names in local],
            global_categories=tuple(views.torso),
            gym_env=robot,
        )
    except (IndexError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"gymnasium-robotics cannot provide local_categories={local!r} and "
            f"global_categories={views.torso!r} of {scenario} ({error}); its agents can see "
            "what the robot's whole observation holds"
        ) from error
    for joints_by_distance in package.k_dicts:
        for joints in joints_by_distance.values():
            # Two of Pusher's have one label; their order would be that of their addresses.
            joints.sort(key=lambda node: (node.label, node.act_ids))
    return package
