"""The part of a checkpoint that plays: weights as safetensors, settings as JSON, no pickle.

RLlib's checkpoints are pickles, and opening a pickle runs whatever its writer wanted. So each
checkpoint also holds all that evaluation and export need in formats that hold data alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED
from safetensors.torch import load_file, save

from rllib_agentmixer.adapters import ALGORITHMS
from rllib_agentmixer.envs.registry import trusted_environment
from rllib_agentmixer.errors import CheckpointError
from rllib_agentmixer.utils.manifests import verify

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.algorithm import TeamAlgorithm
    from rllib_agentmixer.adapters.team_config import TeamConfig

FOLDER = "inference"
SETTINGS = "settings.json"
WEIGHTS = "network.safetensors"
FORMAT_VERSION = 1

KEPT = (
    "observation_filter",
    "normalize_actions",
    "clip_actions",
    "step_time_limit_s",
    "seed",
    "evaluation_duration",
)
"""RLlib's settings that decide how a trained team plays; the package's own all do."""

MOMENTS = ("count", "mean", "squares")


def write_inference(algorithm: TeamAlgorithm, folder: Path) -> None:
    """Write weights and settings below a checkpoint's folder.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    target = folder / FOLDER
    target.mkdir()
    network = algorithm.team_policy.network
    tensors = {
        f"network.{k}": v.detach().cpu().contiguous() for k, v in network.state_dict().items()
    }
    team_filter = algorithm.team_worker.team_filter
    if team_filter is not None:
        moments = team_filter.running_stats
        tensors |= {f"filter.{n}": torch.from_numpy(np.array(getattr(moments, n))) for n in MOMENTS}
    # save_file() reports a full disk as an error of its own kind; writing bytes, as OSError.
    (target / WEIGHTS).write_bytes(save(tensors))
    (target / SETTINGS).write_text(json.dumps(_settings(algorithm), indent=1, default=_refuse))


def _settings(algorithm: TeamAlgorithm) -> dict[str, Any]:
    config = algorithm.config
    names = (*config.own_settings(), *KEPT)
    return {
        "format_version": FORMAT_VERSION,
        "algorithm": config.algorithm,
        "environment": algorithm.config.environment_stamp(algorithm.team_spec),
        "team_reward": config.team_reward,
        "max_seq_len": config.model["max_seq_len"],
        "env_steps": algorithm.num_env_steps,
        "iteration": algorithm.iteration,
        "settings": {name: getattr(config, name) for name in names if hasattr(config, name)},
    }


def _refuse(value: Any) -> Any:
    """Numbers of NumPy become Python's; what JSON cannot hold is noted by its name alone."""
    return value.item() if isinstance(value, np.generic) else f"<{type(value).__name__}>"


def load_for_play(folder: Path, env: str | None = None) -> TeamAlgorithm:
    """A team that plays, from a checkpoint of any origin: nothing in it is unpickled.

    The algorithm has local workers only and the networks, filters and schedules of the
    checkpoint. What training needs beyond them is not restored.

    Args:
        folder: a checkpoint.
        env: environment to play in. Without it the checkpoint's own, if it is one of this
            package's: a checkpoint cannot make anybody import and call something else.

    Raises:
        CheckpointError: damaged, incomplete, or of another team than the environment's.
        ConfigError: the checkpoint names an environment that has to be named here too.
    """
    verify(folder)
    content = _read(folder / FOLDER / SETTINGS)
    config = _config_of(content, trusted_environment(content["environment"]["name"], env))
    algorithm: Any = config.build_algo()
    try:
        _fill(algorithm, folder, content)
    except CheckpointError:
        algorithm.stop()
        raise
    return algorithm


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"{path.parents[1]} has no part that can be loaded without unpickling ({path.name} is "
            "missing): it was written by an earlier version. If you know where it comes from, "
            "AgentMixer.from_checkpoint(path) loads it, and save() writes it anew"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
        known = content["algorithm"] in ALGORITHMS
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); use another checkpoint") from error
    if version != FORMAT_VERSION or not known:
        raise CheckpointError(
            f"{path} has format {version!r} of algorithm {content['algorithm']!r}; this version "
            f"reads format {FORMAT_VERSION} of {', '.join(ALGORITHMS)}"
        )
    _check_entries(path, content)
    return content


def _check_entries(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse settings that lack what playing needs.

    Raises:
        CheckpointError: names what is missing or of another type.
    """
    needed = {
        "environment": dict,
        "settings": dict,
        "max_seq_len": int,
        "env_steps": int,
        "iteration": int,
    }
    wrong = [name for name, kind in needed.items() if not isinstance(content.get(name), kind)]
    if not wrong:
        environment = content["environment"]
        inner = {"name": str, "config": dict}
        wrong = [n for n, kind in inner.items() if not isinstance(environment.get(n), kind)]
    if wrong:
        raise CheckpointError(
            f"{path} cannot be read ({', '.join(wrong)} missing or of another type); use another "
            "checkpoint"
        )


def _config_of(content: Mapping[str, Any], env: str) -> TeamConfig:
    config = ALGORITHMS[content["algorithm"]]()()
    config.environment(
        env,
        env_config=dict(content["environment"]["config"]),
        team_reward=content.get("team_reward"),
    )
    allowed = {*config.own_settings(), *KEPT}
    for name, value in content["settings"].items():
        if name in allowed:
            setattr(config, name, tuple(value) if name == "critic_hidden" else value)
    config.model["max_seq_len"] = content["max_seq_len"]
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    config.training(train_batch_size=max(2, content["max_seq_len"]), minibatch_size=None)
    if getattr(config, "learner", None) == "a2c":
        config.training(num_epochs=1)
    config.evaluation(evaluation_interval=None, evaluation_num_env_runners=0)
    config.debugging(log_sys_usage=False)
    return config


def _fill(algorithm: TeamAlgorithm, folder: Path, content: Mapping[str, Any]) -> None:
    try:
        tensors = load_file(folder / FOLDER / WEIGHTS)
        weights = {k.removeprefix("network."): v for k, v in tensors.items() if k[:8] == "network."}
        algorithm.team_policy.network.load_state_dict(weights)
        team_filter = algorithm.team_worker.team_filter
        if team_filter is not None:
            for name in MOMENTS:
                setattr(team_filter.running_stats, name, tensors[f"filter.{name}"].numpy())
    except (OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"the networks in {folder} do not fit its environment "
            f"{algorithm.config.env!r} as it is now: {error}"
        ) from error
    algorithm._counters[NUM_ENV_STEPS_SAMPLED] = content["env_steps"]
    algorithm._iteration = content["iteration"]
    global_vars = {
        "timestep": content["env_steps"],
        "num_grad_updates_per_policy": {DEFAULT_POLICY_ID: 0},
    }
    algorithm.team_worker.set_global_vars(global_vars)
