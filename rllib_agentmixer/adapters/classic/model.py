"""TorchModelV2 around the core: rows of RLlib in, flat policy parameters out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray.rllib.models import ModelCatalog
from ray.rllib.models.torch.torch_modelv2 import TorchModelV2
from ray.tune.registry import register_env as register_with_tune
from torch import Tensor, nn

from rllib_agentmixer.adapters.classic.sample_batches import hidden_from_rllib, hidden_to_rllib
from rllib_agentmixer.core.algorithms.registry import HYPERPARAMETERS
from rllib_agentmixer.core.data.batch import TeamInputs
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.teams.joint_policy import TeamNetwork
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
    also runs under stock algorithms. ``custom_model_config`` takes ``algorithm`` (a name in
    ``HYPERPARAMETERS``, default ``agentmixer``) and the fields of its settings.

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
        algorithm: str = "agentmixer",
        **settings: Any,
    ) -> None:
        TorchModelV2.__init__(self, obs_space, action_space, num_outputs, model_config, name)
        nn.Module.__init__(self)
        spec = getattr(getattr(obs_space, "original_space", obs_space), "spec", None)
        if not isinstance(spec, TeamSpec):
            raise ConfigError(
                f"the model {MODEL_NAME!r} needs a team environment, got observation space "
                f"{obs_space}; name one from ENVS or wrap yours with TeamEnvCreator"
            )
        self.team_spec = spec
        hyperparameters = HYPERPARAMETERS[algorithm].from_mapping(settings)
        self.layout = TeamLayout(team_sizes(spec))
        self.network = TeamNetwork(self.layout.sizes, hyperparameters)
        temperature = settings.get("temperature", 1.0)
        if not isinstance(temperature, (list, tuple)):
            self.network.temperature = float(temperature)
        self._values: Tensor | None = None

    def get_initial_state(self) -> list[Tensor]:
        """[N, H] of policies (and critics), [H] of the modifier, or nothing."""
        hidden = self.network.initial_state(1)
        return [] if hidden is None else [part[0] for part in hidden_to_rllib(hidden)]

    def forward(
        self, input_dict: dict[str, Any], state: list[Tensor], seq_lens: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """[R, P] flat parameters of the joint policy; rows are batch-major when recurrent.

        Raises:
            ConfigError: a correlated form, whose joint policy is no product over agents.
        """
        correlation = self.network.settings.correlation
        if correlation != "state":
            raise ConfigError(
                f"correlation={correlation!r} is no product over agents, which is all that RLlib's "
                "own action distributions can express; use AgentMixer's own worker (train, "
                "evaluate) or the exported individual policies"
            )
        rows = input_dict["obs_flat"].float()
        num_sequences = len(seq_lens) if state and seq_lens is not None else len(rows)
        inputs = self.inputs_of(rows, num_sequences)
        hidden = hidden_from_rllib(state) if state else None
        output = self.network(inputs, hidden)
        values = self.network.values(inputs, hidden.critic if hidden else None)
        in_reward_units = self.network.critic.normalizer.denormalize(values.normalized)
        by_rows = in_reward_units.transpose(0, 1).flatten(0, 1)
        self._values = by_rows if by_rows.ndim == 1 else by_rows.mean(-1)
        after = output.hidden and hidden_to_rllib(replace(output.hidden, critic=values.hidden))
        return output.joint.flat().transpose(0, 1).flatten(0, 1), after or []

    def inputs_of(self, rows: Tensor, num_sequences: int) -> TeamInputs:
        """Batch-major rows [R, F] as what the networks read, [T, B, ..]."""
        by_time = rows.view(num_sequences, -1, rows.shape[-1]).transpose(0, 1)
        return self.layout.inputs(by_time)

    def value_function(self) -> Tensor:
        """[R] V(s), or the agents' mean V_i, at the last forward pass, in reward units."""
        if self._values is None:
            raise ValueError("value_function() needs a forward pass first")
        return self._values


def register_model() -> None:
    """Make the model known to RLlib by name, in the Ray that runs now or is started next."""
    ModelCatalog.register_custom_model(MODEL_NAME, TeamModel)


def register_environments() -> None:
    """Make the environments of ``ENVS`` known to Tune and RLlib's own algorithms by name."""
    for name in ENVS:
        register_with_tune(name, TeamEnvCreator(name))


register_model()
