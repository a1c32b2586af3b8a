"""Export of the individual policies of a trained team, which run without Ray.

One folder: a safetensors file per agent and ``manifest.json`` (format version, agents,
spaces, recurrence, constants, training algorithm, environment, versions, and examples whose
outputs every later load must reproduce). Nothing is pickled, and nothing that needs more
than an agent's own observation is written.
"""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save

from rllib_agentmixer import runtime
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.networks.individual_policies import IndividualPolicies, agent_groups
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.errors import ExportError
from rllib_agentmixer.export.examples import play_examples
from rllib_agentmixer.export.spaces import action_numbers, as_json, describe_space
from rllib_agentmixer.rollouts.team import Team
from rllib_agentmixer.utils.files import checksum, replaced_atomically

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
            largest = max(parity.values())
            proof = {"max_difference": largest, "modes_equal": True, "actions_equal": True}
            manifest["parity"] = proof
            manifest = runtime.write_manifest(folder, manifest)
    except OSError as error:
        raise ExportError(
            f"could not write the export to {target}: {error}; choose a folder that is writable"
        ) from error
    return manifest


def _write(team: Team, folder: Path) -> dict[str, Any]:
    policies = team.module.individual_policies
    names, fixtures, env = play_examples(team)
    agents = [
        _write_agent(team, folder, index, env, name) | {"fixture": fixture}
        for index, (name, fixture) in enumerate(zip(names, fixtures, strict=True))
    ]
    manifest = {
        "format_version": runtime.FORMAT_VERSION,
        "algorithm": team.entry.class_name,
        "env_steps": team.env_steps,
        "environment": team.stamp,
        "network": network_settings(policies),
        "versions": _versions(),
        "agents": agents,
    }
    return runtime.write_manifest(folder, manifest)


def _write_agent(team: Team, folder: Path, index: int, env: Any, name: Any) -> dict[str, Any]:
    """Write one agent's weights; its entry in the manifest."""
    spec, settings = team.spec, team.settings
    single = single_policy(team.module.individual_policies, index, settings.parameter_sharing)
    weights = f"agent_{index}.safetensors"
    # save_file() reports a full disk as an error of its own kind; writing bytes, as OSError.
    tensors = {k: v.contiguous() for k, v in single.state_dict().items()}
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ExportError(
            f"the policy of {name!r} has non-finite weights: training has diverged; export an "
            "earlier checkpoint"
        )
    (folder / weights).write_bytes(save(tensors))
    action_space = env.action_space(name)
    return {
        "name": as_json(name),
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
        "preprocessing": _preprocessing(team, index, env, action_space),
    }


def _preprocessing(team: Team, agent: int, env: Any, action_space: Any) -> dict[str, Any]:
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
        **action_numbers(action_space),
        "mask_form": env.metadata.get("action_mask_form"),
    }


def _versions() -> dict[str, str]:
    packages = ("rllib_agentmixer", "torch", "ray", "pettingzoo", "gymnasium", "numpy")
    return {name: metadata.version(name) for name in packages} | {
        "python": platform.python_version()
    }
