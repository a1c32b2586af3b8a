"""TorchModelV2 around the networks of a team: rows of RLlib in, flat policy parameters out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray.rllib.models import ModelCatalog
from ray.rllib.models.torch.torch_modelv2 import TorchModelV2
from ray.tune.registry import register_env as register_with_tune
from torch import Tensor, nn

from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.batch import RecurrentState, TeamInputs
from rllib_agentmixer.core.data.columns import STATE_IN, state_columns, state_of
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.teams.product_policy import ProductPolicy
from rllib_agentmixer.envs import ENVS
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.rollouts.team import team_sizes

MODEL_NAME = "agentmixer"
"""Name in RLlib's ModelCatalog: ``model={"custom_model": "agentmixer"}``."""


class TeamModel(TorchModelV2, nn.Module):
    """The joint policy of a team as RLlib's single-agent model.

    Its outputs are the parameters of RLlib's own MultiCategorical or DiagGaussian, so it
    also runs under stock algorithms. ``custom_model_config`` takes ``algorithm`` (an entry or
    its name in the registry, default ``agentmixer``) and the fields of its settings.

    Raises:
        ConfigError: the observation space is not a team's, or a setting is wrong.
    """

    def __init__(
        self,
        obs_space: Any,
        action_space: Any,
        num_outputs: int,
        model_config: dict[str, Any],
        name: str,
        algorithm: str | AlgorithmEntry = "agentmixer",
        team_spec: TeamSpec | None = None,
        **settings: Any,
    ) -> None:
        TorchModelV2.__init__(self, obs_space, action_space, num_outputs, model_config, name)
        nn.Module.__init__(self)
        spec = getattr(getattr(obs_space, "original_space", obs_space), "spec", team_spec)
        if not isinstance(spec, TeamSpec):
            raise ConfigError(
                f"the model {MODEL_NAME!r} needs a team environment, got observation space "
                f"{obs_space}; name one from ENVS or wrap yours with TeamEnvCreator"
            )
        self.team_spec = spec
        self.entry = ALGORITHMS[algorithm] if isinstance(algorithm, str) else algorithm
        given = self.entry.settings.from_mapping({**self.entry.defaults, **settings})
        self.layout = TeamLayout(team_sizes(spec))
        self.entry.check_sizes(self.layout.sizes)
        self.module = self.entry.team(self.layout.sizes, given)
        self.module.follow_schedules(0)
        self._values: Tensor | None = None

    def get_initial_state(self) -> list[Tensor]:
        """[X, H] of each recurrent part: X is N of policies and critics, 1 of the modifier."""
        hidden = self.module.initial_state(1)
        return [] if hidden is None else [part[0] for part in state_list(hidden)]

    def forward(
        self, input_dict: dict[str, Any], state: list[Tensor], seq_lens: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """[R, P] flat parameters of the joint policy; rows are batch-major when recurrent.

        Raises:
            ConfigError: the joint policy is not a product over agents, or has no critic.
        """
        module = self.module
        if not module.is_factored:
            raise ConfigError(
                f"the joint policy of {self.entry.name} is not a product over agents with these "
                "settings (correlation), which is all that RLlib's own action distributions can "
                "express; use this package's worker (train, evaluate) or the exported policies"
            )
        if not isinstance(module, ProductPolicy):
            raise ConfigError(f"{self.entry.name} has no critic, which RLlib's algorithms need")
        rows = input_dict["obs_flat"].float()
        num_sequences = len(seq_lens) if state and seq_lens is not None else len(rows)
        inputs = self.inputs_of(rows, num_sequences)
        hidden = self.hidden_of(state)
        output = module(inputs, hidden)
        values = module.values(inputs, hidden.critic if hidden else None)
        in_reward_units = module.critic.normalizer.denormalize(values.normalized)
        by_rows = in_reward_units.transpose(0, 1).flatten(0, 1)
        self._values = by_rows if by_rows.ndim == 1 else by_rows.mean(-1)
        after = output.hidden and state_list(replace(output.hidden, critic=values.hidden))
        return output.joint.flat().transpose(0, 1).flatten(0, 1), after or []

    def hidden_of(self, states: list[Tensor]) -> RecurrentState | None:
        """The team's recurrent state from RLlib's list, sequences first; None without any."""
        like = self.module.initial_state(1)
        if not states or like is None:
            return None
        return state_of({f"{STATE_IN}{i}": part for i, part in enumerate(states)}, like)

    def inputs_of(self, rows: Tensor, num_sequences: int) -> TeamInputs:
        """Batch-major rows [R, F] as what the networks read, [T, B, ..]."""
        by_time = rows.view(num_sequences, -1, rows.shape[-1]).transpose(0, 1)
        return self.layout.inputs(by_time)

    def value_function(self) -> Tensor:
        """[R] V(s), or the agents' mean V_i, at the last forward pass, in reward units."""
        if self._values is None:
            raise ValueError("value_function() needs a forward pass first")
        return self._values


def state_list(hidden: RecurrentState) -> list[Tensor]:
    """Recurrent state as RLlib stores it, sequences first: [B, X, H] of each part."""
    return list(state_columns(hidden).values())


def register_model() -> None:
    """Make the model known to RLlib by name, in the Ray that runs now or is started next."""
    ModelCatalog.register_custom_model(MODEL_NAME, TeamModel)


def register_environments() -> None:
    """Make the environments of ``ENVS`` known to Tune and RLlib's own algorithms by name."""
    for name in ENVS:
        register_with_tune(name, TeamEnvCreator(name))


register_model()
