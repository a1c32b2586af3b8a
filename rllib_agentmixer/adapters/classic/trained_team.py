"""The team of a rollout worker: for what works without RLlib, and the same on every worker."""

from __future__ import annotations

from typing import Any

from rllib_agentmixer.errors import EnvContractError
from rllib_agentmixer.rollouts.saved_team import RLLIB_SETTINGS
from rllib_agentmixer.rollouts.team import Team, team_scaling


def trained_team(worker: Any) -> Team:
    """The team as trained so far; its networks continue to change."""
    policy, config, spec = worker.team_policy, worker.config, worker.team_spec
    return Team(
        entry=policy.entry,
        settings=policy.module.settings,
        spec=spec,
        module=policy.module,
        layout=policy.model.layout,
        scaling=team_scaling(
            spec,
            normalize_actions=config.normalize_actions,
            clip_actions=config.clip_actions,
        ),
        obs_filter=worker.team_filter,
        env_creator=worker.team_env_creator,
        env_config=worker.env_context,
        stamp=config.environment_stamp(spec),
        env_steps=policy.global_timestep,
        rllib={name: getattr(config, name) for name in RLLIB_SETTINGS},
    )


def team_sizes_of(worker: Any) -> dict[str, Any] | None:
    """Names and sizes of a worker's team; None without an environment."""
    return None if worker.env is None else worker.team_spec.sizes


def check_same_team(sizes: dict[str, Any], of_worker: dict[str, Any] | None) -> None:
    """Raise unless a worker's environment holds the driver's team, if it has one."""
    for name, value in (of_worker or {}).items():
        if value != sizes[name]:
            advice = (
                "list possible_agents in one order, sorted for instance"
                if sorted(value if name == "agents" else []) == sorted(sizes["agents"])
                else "networks fit a single team: use the same sizes, also in evaluation_config"
            )
            raise EnvContractError(
                f"{name} of the driver's environment is {sizes[name]!r}, of a worker's {value!r}; "
                f"{advice}"
            )
