"""TorchModelV2 around the core: rows of RLlib in, flat policy parameters out."""

from __future__ import annotations

from typing import Any

from ray.rllib.models import ModelCatalog
from ray.rllib.models.torch.torch_modelv2 import TorchModelV2
from torch import Tensor, nn

from rllib_agentmixer.core.batch import RecurrentState
from rllib_agentmixer.core.hyperparameters import AgentMixerHyperparameters
from rllib_agentmixer.core.individual_policies import TeamSizes
from rllib_agentmixer.core.layout import TeamLayout
from rllib_agentmixer.core.team_network import TeamNetwork
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import ConfigError

MODEL_NAME = "agentmixer"
"""Name in RLlib's ModelCatalog: ``model={"custom_model": "agentmixer"}``."""


def team_sizes(spec: TeamSpec) -> TeamSizes:
    """What the networks need to know of a team."""
    return TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)


class TeamModel(TorchModelV2, nn.Module):
    """The joint policy of a team as RLlib's single-agent model.

    Its outputs are the parameters of RLlib's own MultiCategorical or DiagGaussian, so it
    also runs under stock algorithms. ``custom_model_config`` takes the fields of
    :class:`AgentMixerHyperparameters`.

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
        hyperparameters = AgentMixerHyperparameters.from_mapping(settings)
        self.layout = TeamLayout(team_sizes(spec))
        self.network = TeamNetwork(self.layout.sizes, hyperparameters)
        if not isinstance(hyperparameters.temperature, (list, tuple)):
            self.network.temperature = float(hyperparameters.temperature)
        self._states: Tensor | None = None

    def get_initial_state(self) -> list[Tensor]:
        """[N, H] of the individual policies and [H] of the modifier, or nothing."""
        hidden = self.network.initial_state(1)
        if hidden is None:
            return []
        return [hidden.individual[:, 0], hidden.modifier[0, 0]]

    def forward(
        self, input_dict: dict[str, Any], state: list[Tensor], seq_lens: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """[R, P] flat parameters of the joint policy; rows are batch-major when recurrent."""
        rows = input_dict["obs_flat"].float()
        num_sequences = len(seq_lens) if state and seq_lens is not None else len(rows)
        by_time = rows.view(num_sequences, -1, rows.shape[-1]).transpose(0, 1)  # [T, B, F]
        inputs = self.layout.inputs(by_time)
        hidden = hidden_from_rllib(state) if state else None
        output = self.network(inputs, hidden)
        self._states = rows[:, self.layout.slices["state"]]
        after = [] if output.hidden is None else hidden_to_rllib(output.hidden)
        return output.joint.flat().transpose(0, 1).flatten(0, 1), after

    def value_function(self) -> Tensor:
        """[R] V(s) of the rows of the last forward pass, in reward units."""
        if self._states is None:
            raise ValueError("value_function() needs a forward pass first")
        return self.network.critic.value(self._states)


def hidden_from_rllib(state: list[Tensor]) -> RecurrentState:
    """[B, N, H] and [B, H] -> agent-first."""
    return RecurrentState(state[0].transpose(0, 1), state[1].unsqueeze(0))


def hidden_to_rllib(hidden: RecurrentState) -> list[Tensor]:
    """Agent-first -> [B, N, H] and [B, H]."""
    return [hidden.individual.transpose(0, 1), hidden.modifier[0]]


def register_model() -> None:
    """Make the model known to RLlib by name, in the Ray that runs now or is started next."""
    ModelCatalog.register_custom_model(MODEL_NAME, TeamModel)


register_model()
