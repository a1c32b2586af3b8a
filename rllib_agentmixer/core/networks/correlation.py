r"""Correlated joint policies: latents and orders that agents' actions share beyond the state.

Given the state, the published joint policy is a product over agents. Two further forms are
mixtures or chains of such products; execution is the same for all, since the individual
policies see none of this.

``signal``
    A latent :math:`z \sim N(0, I)` is drawn once per environment step, read by the modifier
    and stored with the step: with z integrated out, the joint policy
    :math:`\int \prod_i \pi_i(a_i | s, z)\, dN(z)` is a true mixture of products (the device
    of a correlated equilibrium, Aumann 1987). Ratios are exact given the stored z.
``autoregressive``
    Agent i's dispersion also sees the sampled actions of the agents before it:
    :math:`\prod_k \pi_{o_k}(a_{o_k} | s, a_{o_1}, .., a_{o_{k-1}})` in an order o that is
    fixed, or drawn at every step and stored with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from rllib_agentmixer.core.data.batch import Latents, TeamInputs
from rllib_agentmixer.core.networks.mixing import ChannelMixing
from rllib_agentmixer.core.settings.agentmixer import AgentMixerSettings
from rllib_agentmixer.core.shapes import Float, Int, Tensor
from rllib_agentmixer.errors import ConfigError


def fixed_order(setting: Sequence[int] | str | None, num_agents: int) -> tuple[int, ...] | None:
    """The order in which agents act, or None if it is drawn anew at every step.

    Raises:
        ConfigError: not every agent of the team occurs once.
    """
    if isinstance(setting, str):
        return None
    order = tuple(range(num_agents)) if setting is None else tuple(int(i) for i in setting)
    if sorted(order) != list(range(num_agents)):
        raise ConfigError(
            f"agent_order must name each of the {num_agents} agents 0..{num_agents - 1} once, "
            f"got {setting!r}"
        )
    return order


def sample_latents(
    settings: AgentMixerSettings,
    num_agents: int,
    leading: Sequence[int],
    *,
    explore: bool,
    generator: torch.Generator,
) -> Latents | None:
    """Latents of the joint policy for rows ``leading`` = [T, B].

    Without exploration the signal is its mean, 0, and the order 0..N-1.
    """
    if settings.correlation == "signal":
        signal = torch.zeros(*leading, settings.signal_size)
        return Latents(signal=signal.normal_(generator=generator) if explore else signal)
    if settings.agent_order != "random":
        return None
    order = torch.arange(num_agents).expand(*leading, -1)
    if explore:
        order = torch.rand(*leading, num_agents, generator=generator).argsort(-1)
    return Latents(agent_order=order)


def agent_order(inputs: TeamInputs, fixed: tuple[int, ...] | None) -> Int[Tensor, "T B N"]:
    """Agents in the order in which they act: the one stored with the inputs, or the fixed one."""
    if inputs.latents is not None and inputs.latents.agent_order is not None:
        return inputs.latents.agent_order
    if fixed is None:
        raise ValueError("agent_order='random' needs the sampled order, got None")
    return torch.tensor(fixed, device=inputs.alive.device).expand_as(inputs.alive)


def precedence(order: Int[Tensor, "R N"]) -> Float[Tensor, "R N N"]:
    """Precedence matrices: 1 at [r, i, j] where agent j acts before agent i."""
    position = order.argsort(-1)
    return (position.unsqueeze(-1) > position.unsqueeze(-2)).float()


def action_inputs(
    actions: Tensor, num_actions: int, *, is_discrete: bool
) -> Float[Tensor, "*batch A"]:
    """Actions as network inputs: one-hot, or as they are."""
    if is_discrete:
        return functional.one_hot(actions.long(), num_actions).float()
    return actions


class ActionConditioning(nn.Module):
    r"""Conditioning of an agent's embedding on the actions of the agents before it.

    .. math:: X_i \leftarrow \mathrm{ChannelMixing}(X_i + \sum_{j \prec i} E_j\, a_j)

    No mixing across agents follows, so a later action cannot reach an earlier agent: the
    masked sum is the only path of actions into the modifier.

    Args:
        num_agents: N.
        num_actions: A, of one-hot or continuous actions.
        width: D.
        hidden: hidden width of the channel mixing.
    """

    def __init__(self, num_agents: int, num_actions: int, width: int, *, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(num_agents, num_actions, width))
        for matrix in self.embedding:
            nn.init.orthogonal_(matrix)
        self.channels = ChannelMixing(width, hidden)

    def forward(
        self,
        agents: Float[Tensor, "N R D"],
        actions: Float[Tensor, "N R A"],
        precedes: Float[Tensor, "R N N"],
    ) -> Float[Tensor, "N R D"]:
        """All agents at once, the actions being known (teacher forcing).

        Args:
            agents: embeddings before anybody has acted.
            actions: what all did, zero for the dead.
            precedes: 1 at [r, i, j] where j acts before i.
        """
        embedded = actions @ self.embedding
        earlier = torch.einsum("rij,jrd->ird", precedes, embedded)
        return self.channels(agents + earlier)

    def embed(self, actions: Float[Tensor, "R A"], agent: Int[Tensor, "R"]) -> Float[Tensor, "R D"]:
        """Messages of one agent's action to later agents; zeros convey nothing."""
        return torch.einsum("ra,rad->rd", actions, self.embedding[agent])
