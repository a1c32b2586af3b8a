"""Joint actions outside of training, by RLlib's methods of its classic stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray.rllib.policy.sample_batch import DEFAULT_POLICY_ID, SampleBatch

from rllib_agentmixer.core.data.action_scaling import ActionScaling
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.rollouts.team import team_scaling

UNUSED = ("prev_action", "prev_reward", "info", "episode", "episodes", "timestep")
"""Arguments of RLlib's methods that a team's policy does not read."""


class TeamInference:
    """Mixin for RLlib algorithms: actions of the joint policy for given team observations.

    An observation is what the team's gymnasium environment returns
    (``algo.config.env_creator()({}).reset()``): a dictionary of ``obs``, ``state``,
    ``action_mask`` and ``alive``; or the same flattened to one row. Policies that see their own
    observation only are exported (:mod:`rllib_agentmixer.export`).
    """

    config: Any
    team_worker: Any
    team_policy: Any

    def compute_single_action(
        self,
        observation: Any = None,
        state: Sequence[Any] | None = None,
        *,
        input_dict: Mapping[str, Any] | None = None,
        policy_id: str = DEFAULT_POLICY_ID,
        full_fetch: bool = False,
        explore: bool | None = None,
        unsquash_action: bool | None = None,
        clip_action: bool | None = None,
        **unused: Any,
    ) -> Any:
        """The joint action for one team observation.

        Args:
            observation: of the team, see the class.
            state: recurrent state, at first ``algo.get_policy().get_initial_state()``.
            input_dict: ``{"obs": observation}`` and, where recurrent, ``state_in_0``, ..
            policy_id: the team's only policy.
            full_fetch: return the state and further outputs in any case.
            explore: sample; False takes the mode. None for the configuration's ``explore``.
            unsquash_action: scale to the environment's bounds; None for ``normalize_actions``.
            clip_action: clip otherwise; None for ``clip_actions``.
            **unused: ``prev_action`` and others of RLlib's arguments, which have no influence.

        Returns:
            [N] integers or [N * A] floats, as the team's environment takes them; with a state or
            ``full_fetch`` a tuple of these, the next state, and log-probabilities.

        Raises:
            ConfigError: an argument is unknown or has another form.
        """
        _check_names(unused, policy_id)
        if input_dict is not None:
            observation, state = _from_input(input_dict)
        state = list(state or ())
        actions, states, extra = self._joint_actions(
            [observation],
            [np.asarray(part)[None] for part in state],
            explore,
            self._scaling(unsquash_action, clip_action),
        )
        next_state = [part[0] for part in states]
        if next_state or full_fetch:
            return actions[0], next_state, {name: value[0] for name, value in extra.items()}
        return actions[0]

    def compute_actions(
        self,
        observations: Mapping[Any, Any],
        state: Mapping[Any, Sequence[Any]] | None = None,
        *,
        policy_id: str = DEFAULT_POLICY_ID,
        full_fetch: bool = False,
        explore: bool | None = None,
        unsquash_actions: bool | None = None,
        clip_actions: bool | None = None,
        **unused: Any,
    ) -> Any:
        """Joint actions for several team observations by name; see the method for one.

        Args:
            observations: team observations by any key, such as a sub-environment's index.
            state: recurrent states by the same keys; one that is missing is the initial state.
            policy_id: the team's only policy.
            full_fetch: as for one observation.
            explore: as for one observation.
            unsquash_actions: as for one observation.
            clip_actions: as for one observation.
            **unused: further arguments of RLlib's, which have no influence.

        Returns:
            Actions by key; with a state or ``full_fetch`` a tuple of these, states by key, and
            log-probabilities.
        """
        _check_names(unused, policy_id)
        initial = self.team_policy.get_initial_state()
        given = [(state or {}).get(key, initial) for key in observations]
        actions, states, extra = self._joint_actions(
            list(observations.values()),
            [np.stack([np.asarray(part) for part in parts]) for parts in zip(*given, strict=True)],
            explore,
            self._scaling(unsquash_actions, clip_actions),
        )
        by_key = dict(zip(observations, actions, strict=True))
        if state is None and not full_fetch:
            return by_key
        after = {key: [part[i] for part in states] for i, key in enumerate(observations)}
        return by_key, after, extra

    def _joint_actions(
        self,
        observations: list[Any],
        states: list[np.ndarray],
        explore: bool | None,
        scaling: ActionScaling | None,
    ) -> tuple[np.ndarray, list[Any], dict[str, Any]]:
        rows = np.stack([self._row(observation) for observation in observations])
        if self.team_worker.team_filter is not None:
            rows = self.team_worker.team_filter(rows, update=False)
        actions, states, extra = self.team_policy.compute_actions(
            rows, states or self._initial_states(len(rows)), explore=explore
        )
        if scaling is not None:
            per_agent = actions.reshape(len(rows), self.team_worker.team_spec.num_agents, -1)
            actions = scaling(per_agent).reshape(len(rows), -1).astype(np.float32)
        return actions, states, extra

    def _initial_states(self, num_rows: int) -> list[np.ndarray]:
        parts = self.team_policy.get_initial_state()
        return [np.repeat(np.asarray(part)[None], num_rows, axis=0) for part in parts]

    def _row(self, observation: Any) -> np.ndarray:
        """[F] one team observation as the networks read it."""
        layout = self.team_policy.model.layout
        if isinstance(observation, Mapping):
            try:
                row = np.empty((1, layout.row_size), np.float32)
                layout.pack({name: np.asarray(v)[None] for name, v in observation.items()}, row)
            except (KeyError, ValueError) as error:
                raise ConfigError(
                    f"not an observation of the team ({error}); give what reset() and step() of "
                    "algo.config.env_creator()(env_config) return"
                ) from error
            return row[0]
        row = np.asarray(observation, np.float32)
        if row.shape != (layout.row_size,):
            raise ConfigError(
                f"a flattened team observation has shape ({layout.row_size},), got {row.shape}"
            )
        return row

    def _scaling(self, unsquash: bool | None, clip: bool | None) -> ActionScaling | None:
        return team_scaling(
            self.team_worker.team_spec,
            normalize_actions=self.config.normalize_actions if unsquash is None else unsquash,
            clip_actions=self.config.clip_actions if clip is None else clip,
        )


def _from_input(input_dict: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    names = sorted((n for n in input_dict if n.startswith("state_in_")), key=_index)
    return input_dict[SampleBatch.OBS], [input_dict[name] for name in names]


def _index(name: str) -> int:
    return int(name.rpartition("_")[2])


def _check_names(unused: Mapping[str, Any], policy_id: str) -> None:
    for name in unused:
        if name not in UNUSED:
            raise ConfigError(f"unknown argument {name!r}")
    if policy_id != DEFAULT_POLICY_ID:
        raise ConfigError(f"the team's policy is {DEFAULT_POLICY_ID!r}, got {policy_id!r}")
