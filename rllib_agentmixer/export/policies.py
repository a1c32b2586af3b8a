"""Export of the individual policies of a trained team, which run without Ray.

One folder: a safetensors file per agent and ``manifest.json`` (format version, agents,
spaces, recurrence, constants, training algorithm, environment, versions, and examples whose
outputs every later load must reproduce). Nothing is pickled, and nothing that needs more
than an agent's own observation is written.
"""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import save
from torch import Tensor

from rllib_agentmixer import runtime
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.generators import seeded
from rllib_agentmixer.core.networks.individual_policies import IndividualPolicies, agent_groups
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.envs import make_env
from rllib_agentmixer.errors import ExportError
from rllib_agentmixer.rollouts.actor import pack_rows, reset_hidden, start
from rllib_agentmixer.rollouts.team import Team
from rllib_agentmixer.utils.files import checksum, replaced_atomically

NUM_EXAMPLES = 16
"""Steps of play stored per agent as input and expected output."""

NETWORK_SETTINGS = ("hidden_size", "num_hidden_layers", "use_gru", "input_layer_norm")
"""Settings that shape an individual policy."""


def network_settings(policies: IndividualPolicies) -> dict[str, Any]:
    """Settings that shape one agent's network, as resolved for the whole team."""
    settings = {name: getattr(policies.settings, name) for name in NETWORK_SETTINGS}
    return settings | {"input_layer_norm": policies.encoder.input_norm is not None}


def single_policy(policies: IndividualPolicies, agent: int, sharing: Any) -> IndividualPolicies:
    """One agent's policy as a team of one, without padding."""
    sizes = policies.sizes
    group = agent_groups(sharing, sizes.num_agents)[agent]
    own = TeamSizes((sizes.obs_sizes[agent],), 1, sizes.action_kind, (sizes.action_sizes[agent],))
    single = IndividualPolicies(own, TeamSettings(**network_settings(policies)))
    state, full = single.state_dict(), policies.state_dict()
    per_agent = ("agent_embedding", "log_std")
    for name, target in state.items():
        row = full[name][agent if name in per_agent else group]
        target.copy_(row[tuple(slice(0, size) for size in target.shape[1:])].unsqueeze(0))
    single.load_state_dict(state)
    return single.cpu()


def export_policies(team: Any, out: str | Path) -> dict[str, Any]:
    """Export the individual policies of a team and prove that they act alike.

    Args:
        team: a :class:`.Team`, or an algorithm of RLlib, built or restored, that has one.
        out: folder to write; an existing export there is replaced once all is proven.

    Returns:
        The manifest.

    Raises:
        ExportError: the folder cannot be written, an exported policy differs, or agents need
            the actions of others.
    """
    team = team if isinstance(team, Team) else team.team
    if team.entry.execution != "individual":
        raise ExportError(
            f"the agents of {team.entry.name} act in turn, each on the actions of those before it: "
            "there are no individual policies to export"
        )
    target = Path(out)
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target} is a file; name an empty or new folder")
    if target.exists() and not (target / runtime.MANIFEST).is_file() and any(target.iterdir()):
        raise ExportError(f"{target} holds other files; name an empty or new folder")
    try:
        with replaced_atomically(target) as folder:
            manifest = _write(team, folder)
            parity = {
                name: runtime.check_parity(policy, entry["fixture"])
                for (name, policy), entry in zip(
                    runtime.load_policies(folder, verify=False).items(),
                    manifest["agents"],
                    strict=True,
                )
            }
            manifest["parity"] = {"max_difference": max(parity.values()), "modes_equal": True}
            _write_json(folder, manifest)
    except OSError as error:
        raise ExportError(
            f"could not write the export to {target}: {error}; choose a folder that is writable"
        ) from error
    return manifest


def _write_json(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / runtime.MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False))


def _write(team: Team, folder: Path) -> dict[str, Any]:
    spec, policies = team.spec, team.module.individual_policies
    fixtures = _play_examples(team)
    env = make_env(team.env_creator.source, **dict(team.env_config))
    agents = [
        _write_agent(team, folder, index, env) | {"fixture": fixtures[index]}
        for index in range(spec.num_agents)
    ]
    env.close()
    manifest = {
        "format_version": runtime.FORMAT_VERSION,
        "algorithm": team.entry.class_name,
        "env_steps": team.env_steps,
        "environment": team.stamp,
        "network": network_settings(policies),
        "versions": _versions(),
        "agents": agents,
    }
    _write_json(folder, manifest)
    return manifest


def _write_agent(team: Team, folder: Path, index: int, env: Any) -> dict[str, Any]:
    """Write one agent's weights; its entry in the manifest."""
    spec, settings = team.spec, team.settings
    name = spec.agents[index]
    single = single_policy(team.module.individual_policies, index, settings.parameter_sharing)
    weights = f"agent_{index}.safetensors"
    # save_file() reports a full disk as an error of its own kind; writing bytes, as OSError.
    tensors = {k: v.contiguous() for k, v in single.state_dict().items()}
    (folder / weights).write_bytes(save(tensors))
    action_space = env.action_space(name)
    return {
        "name": name,
        "weights": weights,
        "sha256": checksum(folder / weights),
        "observation_space": describe_space(env.observation_space(name)),
        "action_space": describe_space(action_space),
        "obs_size": spec.obs_sizes[index],
        "action_kind": spec.action_kind,
        "action_size": spec.action_sizes[index],
        "action_shape": list(action_space.shape or ()),
        "has_action_mask": spec.has_action_mask,
        "is_recurrent": settings.use_gru,
        "preprocessing": _preprocessing(team, index, action_space),
    }


def _play_examples(team: Team) -> list[dict[str, list]]:
    """Example steps of sampled play: per agent its observations, masks and network outputs."""
    spec, env = team.spec, team.vector_env(1)
    actor = team.actor(seeded(0))
    rollout = start(actor, env, seed=0)
    fixtures: list[dict[str, list]] = [
        {"alive": [], "obs": [], "action_mask": [], "head": []} for _ in spec.agents
    ]
    # One unbroken recurrent sequence: states are not reset at episode ends, as in `fixture`.
    for _ in range(NUM_EXAMPLES):
        raw = rollout.observation
        masks, observations = raw.action_mask[0].copy(), raw.obs[0].copy()
        rows = pack_rows(actor.layout, raw)
        rows = team.obs_filter.standardize(rows) if team.obs_filter else rows
        heads = _heads(actor, rows, rollout.hidden)
        output = actor.act(rows, rollout.hidden, explore=True, policy="individual")
        for index, fixture in enumerate(fixtures):
            obs_size, num_actions = spec.obs_sizes[index], spec.action_sizes[index]
            fixture["alive"].append(bool(raw.alive[0, index]))
            fixture["obs"].append(observations[index, :obs_size].tolist())
            fixture["action_mask"].append(masks[index, :num_actions].astype(int).tolist())
            fixture["head"].append(heads[index, :num_actions].tolist())
        step = env.step(actor.to_env(output.actions))
        rollout.observation = step.observation
        rollout.hidden = reset_hidden(output.hidden, np.zeros(1, bool), actor.layout.alive(rows))
    env.close()
    return fixtures


@torch.inference_mode()
def _heads(actor: Any, rows: np.ndarray, hidden: Any) -> Tensor:
    """[N, A] logits or means of the individual policies, from the network that trained."""
    inputs = actor.layout.inputs(torch.from_numpy(rows).to(actor.device).unsqueeze(0))
    return actor.module.individual_output(inputs, hidden).head[:, 0].cpu()


def _preprocessing(team: Team, agent: int, action_space: Any) -> dict[str, Any]:
    spec, obs_filter = team.spec, team.obs_filter
    mean = std = clip = action = None
    if obs_filter is not None:
        obs_size = spec.obs_sizes[agent]
        constants = [part.reshape(spec.num_agents, -1) for part in obs_filter.obs_constants()]
        mean, std = (part[agent, :obs_size].tolist() for part in constants)
        clip = obs_filter.clip
    if team.scaling is not None:
        size = spec.action_sizes[agent]
        action = {
            name: [float(v) if np.isfinite(v) else None for v in values[agent, :size]]
            for name, values in vars(team.scaling).items()
        }
    return {
        "obs_mean": mean,
        "obs_std": std,
        "obs_clip": clip,
        "action": action,
        **_action_numbers(action_space),
    }


def _action_numbers(space: spaces.Space) -> dict[str, Any]:
    """Map from outputs counted from 0 to actions of a discrete space."""
    if isinstance(space, spaces.MultiDiscrete):
        starts = space.start.tolist()
        return {"action_start": 0, "action_parts": space.nvec.tolist(), "action_starts": starts}
    if isinstance(space, spaces.MultiBinary):
        n = int(np.prod(space.shape))
        return {"action_start": 0, "action_parts": [2] * n, "action_starts": [0] * n}
    return {"action_start": int(getattr(space, "start", 0)), "action_parts": []}


def describe_space(space: spaces.Space) -> dict[str, Any]:
    """JSON description of a gymnasium space; null stands for infinity."""
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bounds(space.low),
            "high": _bounds(space.high),
        }
    if isinstance(space, spaces.MultiDiscrete):
        parts = {"n": space.nvec.tolist(), "start": space.start.tolist()}
        return {"type": "MultiDiscrete", **parts}
    if isinstance(space, spaces.Dict):
        parts = {name: describe_space(part) for name, part in space.items()}
        return {"type": "Dict", "spaces": parts}
    return {"type": type(space).__name__, "description": str(space)}


def _bounds(bounds: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in bounds.reshape(-1)]


def _versions() -> dict[str, str]:
    packages = ("rllib_agentmixer", "torch", "ray", "pettingzoo", "gymnasium", "numpy")
    return {name: metadata.version(name) for name in packages} | {
        "python": platform.python_version()
    }
