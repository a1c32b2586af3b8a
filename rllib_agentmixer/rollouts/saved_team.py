"""Saved teams: weights as safetensors, settings as JSON, no pickle.

RLlib's checkpoints are pickles, and opening a pickle runs whatever its writer wanted. So each
checkpoint also holds, in its folder ``inference``, all that evaluation and export need in
formats that hold data alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.envs.construction import package_of
from rllib_agentmixer.envs.registry import trusted_environment
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import CheckpointError, ConfigError, EnvContractError
from rllib_agentmixer.rollouts.obs_moments import ObsFilter
from rllib_agentmixer.rollouts.team import Team, environment_stamp, team_scaling, team_sizes
from rllib_agentmixer.utils.exact_json import decode
from rllib_agentmixer.utils.manifests import verify
from rllib_agentmixer.utils.tensor_files import parse_safetensors
from rllib_agentmixer.utils.untrusted import (
    UnreadableFileError,
    check_size,
    read_json,
)

FOLDER = "inference"
SETTINGS = "settings.json"
WEIGHTS = "network.safetensors"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)

RLLIB_SETTINGS = (
    "observation_filter",
    "normalize_actions",
    "clip_actions",
    "step_time_limit_s",
    "evaluation_max_steps",
    "seed",
)
"""RLlib's settings that decide how a trained team plays; the algorithm's own all do."""

MOMENTS = ("count", "mean", "squares")


def save_team(folder: Path, team: Team) -> None:
    """Write weights and settings below a checkpoint's folder.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    target = folder / FOLDER
    target.mkdir(parents=True)
    weights = team.module.state_dict().items()
    tensors = {f"network.{k}": v.detach().cpu().contiguous() for k, v in weights}
    if team.obs_filter is not None:
        moments = team.obs_filter.running_stats
        tensors |= {f"filter.{n}": torch.from_numpy(np.array(getattr(moments, n))) for n in MOMENTS}
    content = {
        "format_version": FORMAT_VERSION,
        "algorithm": team.entry.name,
        "environment": team.stamp,
        "agents": list(team.spec.agents),
        "team_reward": team.env_creator.team_reward,
        "env_steps": team.env_steps,
        "settings": {**vars(team.settings), **team.rllib},
    }
    # save_file() reports a full disk as an error of its own kind; writing bytes, as OSError.
    (target / WEIGHTS).write_bytes(save(tensors))
    (target / SETTINGS).write_text(json.dumps(content, indent=1, default=_by_name))


def _by_name(value: Any) -> Any:
    """Python number for a NumPy one; other types that JSON lacks by name only."""
    return value.item() if isinstance(value, np.generic) else f"<{type(value).__name__}>"


def load_team(folder: str | Path, env: str | None = None) -> Team:
    """A team that plays, from a checkpoint of any origin: nothing in it is unpickled.

    Args:
        folder: a checkpoint.
        env: environment to play in. Without it the checkpoint's own, if it is one of this
            package's: a checkpoint cannot make anybody import and call something else.

    Raises:
        CheckpointError: damaged, incomplete, or of another team than the environment's.
        ConfigError: the checkpoint names an environment that has to be named here too.
    """
    folder = Path(folder)
    verify(folder)
    content = _read(folder / FOLDER / SETTINGS)
    creator = _creator(content, env)
    env_config = _env_config(folder, content["environment"]["config"], creator)
    try:
        probe = creator.vector(env_config, 1)
    except EnvContractError as error:
        raise CheckpointError(
            f"the team in {folder} cannot play in {creator.source!r}: {error}"
        ) from error
    probe.close()
    team = _built(content, creator, env_config, probe.spec)
    _fill(team, folder)
    return team


def _creator(content: Mapping[str, Any], env: str | None) -> TeamEnvCreator:
    """Creator of the environment to play in, whose agents stand in the team's order."""
    return TeamEnvCreator(
        trusted_environment(content["environment"]["name"], env),
        content.get("team_reward"),
        step_time_limit_s=content["settings"].get("step_time_limit_s"),
        agents=tuple(content["agents"]) if "agents" in content else None,
    )


def _env_config(folder: Path, encoded: Mapping[str, Any], creator: TeamEnvCreator) -> dict:
    """Arguments of the environment, equal to those of training.

    The environment's module is imported first, since its enumerations are looked up in it.
    """
    package = package_of(creator.source)
    try:
        return decode(encoded, package)
    except ValueError as error:
        raise CheckpointError(f"env_config in {folder} cannot be read: {error}") from error


def _built(
    content: Mapping[str, Any], creator: TeamEnvCreator, env_config: dict, spec: TeamSpec
) -> Team:
    """The team with fresh networks."""
    entry, rllib = ALGORITHMS[content["algorithm"]], content["settings"]
    settings = _own_settings(entry, rllib)
    layout = TeamLayout(team_sizes(spec))
    has_filter = rllib.get("observation_filter") == "MeanStdFilter"
    return Team(
        entry=entry,
        settings=settings,
        spec=spec,
        module=entry.team(layout.sizes, settings),
        layout=layout,
        scaling=team_scaling(
            spec,
            normalize_actions=bool(rllib.get("normalize_actions", True)),
            clip_actions=bool(rllib.get("clip_actions", False)),
        ),
        obs_filter=ObsFilter(layout) if has_filter else None,
        env_creator=creator,
        env_config=env_config,
        stamp=environment_stamp(creator.source, env_config, spec),
        env_steps=content["env_steps"],
        rllib={name: rllib[name] for name in RLLIB_SETTINGS if name in rllib},
    )


def _own_settings(entry: AlgorithmEntry, given: Mapping[str, Any]) -> TeamSettings:
    """Settings of the algorithm; JSON has no tuples, and earlier versions had fewer settings."""
    defaults = vars(entry.make_settings())
    try:
        own = {
            name: tuple(given[name]) if isinstance(default, tuple) else given[name]
            for name, default in defaults.items()
            if name in given
        }
        return entry.make_settings(**own)
    except (TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(f"settings of the checkpoint cannot be used: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"{path.parents[1]} has no part that can be loaded without unpickling ({path.name} is "
            "missing): it was written by an earlier version. That version can load it with "
            "from_checkpoint(path) and write it anew with save()"
        )
    try:
        content = read_json(path)
        version, algorithm = content["format_version"], content["algorithm"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); use another checkpoint") from error
    if version not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{path} has format {version!r}; this version reads formats "
            f"{', '.join(map(str, READABLE_VERSIONS))}"
        )
    if algorithm not in ALGORITHMS:
        raise CheckpointError(
            f"{path} is of algorithm {algorithm!r}; known are {', '.join(ALGORITHMS)}. One of "
            "your own is known once its module is imported (--algo module:name)"
        )
    _check_entries(path, content)
    return content


def _check_entries(path: Path, content: Mapping[str, Any]) -> None:
    """Reject settings that lack entries required for playing.

    Raises:
        CheckpointError: names what is missing or of another type.
    """
    needed = {"environment": dict, "settings": dict, "env_steps": int, "algorithm": str}
    wrong = [name for name, kind in needed.items() if not isinstance(content.get(name), kind)]
    if not wrong:
        environment = content["environment"]
        inner = {"name": str, "config": dict}
        wrong = [n for n, kind in inner.items() if not isinstance(environment.get(n), kind)]
    agents = content.get("agents", ["of an earlier version"])
    if not isinstance(agents, list) or not all(isinstance(name, str) for name in agents):
        wrong.append("agents")
    elif len(set(agents)) != len(agents) or not agents:
        raise CheckpointError(f"{path} cannot be read: agents must be named, each once")
    if wrong:
        raise CheckpointError(
            f"{path} cannot be read ({', '.join(wrong)} missing or of another type); use another "
            "checkpoint"
        )


def _fill(team: Team, folder: Path) -> None:
    try:
        path = folder / FOLDER / WEIGHTS
        check_size(path)
        tensors = parse_safetensors(path.read_bytes())
        weights = {k.removeprefix("network."): v for k, v in tensors.items() if k[:8] == "network."}
        team.module.load_state_dict(weights)
        if team.obs_filter is not None:
            for name in MOMENTS:
                setattr(team.obs_filter.running_stats, name, tensors[f"filter.{name}"].numpy())
    except UnreadableFileError as error:
        raise CheckpointError(
            f"the networks in {folder} cannot be read: {error}; use an earlier checkpoint"
        ) from error
    except (OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"the networks in {folder} do not fit its environment {team.stamp['name']!r} as it is "
            f"now: {' '.join(str(error).split())}"
        ) from error
    team.module.follow_schedules(team.env_steps)
    team.module.eval()
