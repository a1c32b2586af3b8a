"""Examinations of an environment, one aspect each."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rllib_agentmixer.envs.checks.stepping_speed import (
    bare_speed,
    random_team_actions,
    team_speed,
)
from rllib_agentmixer.envs.checks.subject import Subject, Verdict, description
from rllib_agentmixer.envs.checks.traces import action_mask, closed_afterwards, same
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.envs.stepping.outcomes import CRASHES
from rllib_agentmixer.envs.stepping.team_env import SAME_REWARD
from rllib_agentmixer.errors import AgentMixerError


def _team(on: Subject) -> tuple[Verdict, str]:
    spec = on.layout.spec
    kinds = f"{spec.action_kind} actions {_brief(spec.action_sizes)}"
    return "ok", f"{spec.num_agents} agents, observations {_brief(spec.obs_sizes)}, {kinds}"


def _brief(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else f"of sizes {list(sizes)}"


def _training(on: Subject) -> tuple[Verdict, str]:
    """Random play as training steps the environment: what fails here fails there."""
    vector_env = LoopVectorEnv(on.make, 1, on.entry.name, on.team_reward)
    rng = np.random.default_rng(on.seed)
    try:
        seen = vector_env.reset(on.seed)
        for _ in range(on.num_steps):
            seen = vector_env.step(random_team_actions(vector_env.spec, seen, rng)).observation
    finally:
        vector_env.close()
    return "ok", f"{on.num_steps} steps as training takes them"


def _api(on: Subject) -> tuple[Verdict, str]:
    from pettingzoo.test import parallel_api_test

    output = contextlib.redirect_stdout(io.StringIO())
    with (
        warnings.catch_warnings(record=True) as caught,
        output,
        closed_afterwards(on.make()) as env,
    ):
        warnings.simplefilter("always")
        try:
            parallel_api_test(env, num_cycles=min(on.num_steps, 100))
        except CRASHES as error:
            masked = any(on.layout.sends_mask)
            reason = ", which plays illegal actions" if masked else ""
            return "note", f"PettingZoo's parallel_api_test{reason} fails: {description(error)}"
    warned = sorted({str(warning.message) for warning in caught if "UserWarning" in repr(warning)})
    if env.agents is env.possible_agents:
        return "note", "env.agents is env.possible_agents: one list for two things"
    return (
        ("note", "; ".join(warned)) if warned else ("ok", "PettingZoo's parallel_api_test passes")
    )


def _spaces(on: Subject) -> tuple[Verdict, str]:
    with closed_afterwards(on.make()) as env:
        for agent in env.possible_agents:
            if env.observation_space(agent) is not env.observation_space(agent):
                return "note", f"observation_space({agent!r}) is another object at every call"
        for number, step in enumerate(on.trace.steps):
            for agent, value in step.obs.items():
                space = env.observation_space(agent)
                if not space.contains(value):
                    return "note", f"step {number}: observation of {agent!r} lies outside {space}"
    return "ok", "every observation lies in its space"


def _determinism(on: Subject) -> tuple[Verdict, str]:
    again, other = on.again(on.seed), on.again(on.seed + 1)
    for number, (one, two) in enumerate(zip(on.trace.steps, again.steps, strict=True)):
        for name in ("agents", "obs", "rewards", "terminated", "truncated", "state"):
            if not same(getattr(one, name), getattr(two, name)):
                verdict: Verdict = "FAIL" if on.entry.is_reproducible else "note"
                return verdict, f"same seed and actions, but {name} differ in step {number}"
    if all(same(a.obs, b.obs) for a, b in zip(on.trace.steps, other.steps, strict=False)):
        return "note", "another seed changes no observation: is reset(seed=...) used?"
    return "ok", f"{on.num_steps} steps repeat exactly with the same seed"


def _masks(on: Subject) -> tuple[Verdict, str]:
    if not any(on.layout.sends_mask):
        return "ok", "no action masks: every action is legal"
    allowed = [
        np.mean(np.concatenate([np.ravel(part) for part in _parts(mask)]))
        for step in on.trace.steps
        for agent in step.agents
        if (mask := action_mask(step.obs.get(agent), step.infos.get(agent))) is not None
    ]
    return "ok", f"{np.mean(allowed):.0%} of actions are legal on average, never none"


def _parts(mask: Any) -> Any:
    return mask if isinstance(mask, (tuple, list)) else (mask,)


def _state(on: Subject) -> tuple[Verdict, str]:
    if not on.has_state:
        return "note", "no working state(): the concatenated observations are used"
    states = [step.state for step in on.trace.steps if step.state is not None]
    sizes = {np.asarray(state).size for state in states}
    if len(sizes) > 1 or not all(np.isfinite(state).all() for state in states):
        return "FAIL", f"state() must be finite and of one size, got sizes {sorted(sizes)}"
    return "ok", f"{sizes.pop()} numbers"


def _rewards(on: Subject) -> tuple[Verdict, str]:
    for number, step in enumerate(on.trace.steps):
        values = list(step.rewards.values())
        if values and not np.isfinite(values).all():
            return "FAIL", f"step {number}: rewards {step.rewards} are not finite"
        differ = values and np.ptp(values) > SAME_REWARD * max(1.0, np.abs(values).max())
        if differ and on.team_reward == "shared":
            return "FAIL", (
                f"step {number}: agents got different rewards {step.rewards}; choose "
                "team_reward='sum' or 'mean'"
            )
    combine = np.mean if on.team_reward == "mean" else np.sum
    shared = on.team_reward == "shared"
    returns = [
        sum(float(np.mean(v) if shared else combine(v)) for s in e if (v := [*s.rewards.values()]))
        for e in on.trace.episodes
    ]
    scale = f"returns of random play {np.mean(returns):.4g}" if returns else "no complete episode"
    return "ok", f"team_reward={on.team_reward!r}; {scale}"


def _episodes(on: Subject) -> tuple[Verdict, str]:
    lengths = [len(episode) for episode in on.trace.episodes]
    if not lengths:
        return "note", f"no episode ended within {on.num_steps} steps; raise --steps"
    last = [episode[-1] for episode in on.trace.episodes]
    cut = sum(not all(step.terminated.values()) for step in last)
    leaving = sum(any(0 < len(s.agents) < len(e[0].agents) for s in e) for e in on.trace.episodes)
    ends = f"{len(lengths)} ended after {min(lengths)} to {max(lengths)} steps, {cut} by truncation"
    return "ok", ends + (f"; agents left early in {leaving}" if leaving else "")


def _memory(on: Subject) -> tuple[Verdict, str]:
    if on.trace.overwritten:
        return "note", "observations are mutated after they were returned: copy them before storing"
    return "ok", "returned observations are not mutated"


def _resume(on: Subject) -> tuple[Verdict, str]:
    vector_env = LoopVectorEnv(on.make, 1, on.entry.name, on.team_reward)
    vector_env.reset(seed=on.seed)
    snapshot = vector_env.get_state()
    vector_env.close()
    if snapshot is None:
        return "note", "cannot be copied: resumed training starts with fresh episodes"
    return "ok", f"can be copied ({len(snapshot) / 1024:.0f} KiB): training resumes exactly"


def _rendering(on: Subject) -> tuple[Verdict, str]:
    with closed_afterwards(on.make()) as env:
        modes = env.metadata.get("render_modes") or []
    if "rgb_array" not in modes:
        return "note", "metadata['render_modes'] has no rgb_array: rendering is unavailable"
    try:
        env = on.make(render_mode="rgb_array")
    except (AgentMixerError, TypeError) as error:
        return "note", f"declares rgb_array, but does not accept render_mode: {error}"
    with closed_afterwards(env):
        env.reset(seed=on.seed)
        picture = env.render()
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
        return "FAIL", f"render() must return [height, width, 3], got {type(picture).__name__}"
    return "ok", f"pictures of {picture.shape[1]} x {picture.shape[0]}"


def _closing(on: Subject) -> tuple[Verdict, str]:
    try:
        on.make().close()
    except CRASHES as error:
        return "note", f"close() raised {description(error)}; training reports it and goes on"
    return "ok", "close() works"


def _speed(on: Subject) -> tuple[Verdict, str]:
    bare = bare_speed(on.make)
    in_team = team_speed(partial(LoopVectorEnv, on.make, 1, on.entry.name, on.team_reward))
    return "ok", f"{bare:,.0f} steps/s, in a team {in_team:,.0f} (random play)"


CHECKS: dict[str, Callable[[Subject], tuple[Verdict, str]]] = {
    "team": _team,
    "training": _training,
    "api": _api,
    "spaces": _spaces,
    "determinism": _determinism,
    "masks": _masks,
    "state": _state,
    "rewards": _rewards,
    "episodes": _episodes,
    "memory": _memory,
    "resume": _resume,
    "rendering": _rendering,
    "closing": _closing,
    "speed": _speed,
}
"""Name -> check, in the order of the report."""
