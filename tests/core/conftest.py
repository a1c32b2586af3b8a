"""Small teams, networks and batches that the tests of the core share as the fixture ``build``."""

from dataclasses import fields, replace

import pytest
import torch

from rllib_agentmixer.core.algorithms.registry import HYPERPARAMETERS
from rllib_agentmixer.core.data.batch import TeamBatch, TeamInputs, map_tensors
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.advantages import standardized
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.teams.joint_policy import TeamNetwork
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.rollouts.actor import TeamActor, start
from rllib_agentmixer.rollouts.collect import collect

SMALL = {"hidden_size": 8, "modifier_width": 6, "critic_hidden": (8,)}
"""Widths that differ from each other and from every size of a team."""


class Build:
    """Everything is drawn from the seed that is passed in."""

    weights = PPOCoefficients(
        clip_param=0.2, vf_clip_param=0.3, vf_loss_coeff=0.5, entropy_coeff=0.1, kl_coeff=0.2
    )

    @staticmethod
    def sizes(
        action_kind="discrete", obs_sizes=(3, 5, 2), action_sizes=(2, 4, 3), state_size=7
    ) -> TeamSizes:
        """Three agents whose observations and actions all differ in size."""
        return TeamSizes(obs_sizes, state_size, action_kind, action_sizes)

    @staticmethod
    def settings(algorithm="agentmixer", **settings) -> TeamSettings:
        kind = HYPERPARAMETERS[algorithm]
        known = {entry.name for entry in fields(kind)}
        return kind(**({k: v for k, v in SMALL.items() if k in known} | settings))

    @staticmethod
    def randomize(module, seed=0, scale=0.5):
        """Set every parameter at random: fresh networks are nearly uniform and hide mistakes."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0, scale, generator=generator)
        return module

    @classmethod
    def network(cls, sizes, seed=0, **settings) -> TeamNetwork:
        return cls.randomize(TeamNetwork(sizes, cls.settings(**settings)), seed)

    @staticmethod
    def inputs(sizes, T=2, B=3, seed=0, *, everybody_lives=True) -> TeamInputs:
        """Padded observations; one legal action of agents that have three is forbidden."""
        generator = torch.Generator().manual_seed(seed)
        N = sizes.num_agents
        obs = torch.randn(T, B, N, sizes.obs_size, generator=generator) * sizes.obs_valid
        mask = sizes.action_valid.expand(T, B, -1, -1).clone()
        if sizes.action_kind == "discrete":
            many = torch.tensor(sizes.action_sizes) > 2
            mask[:, 0, many, 0] = False
        alive = torch.ones(T, B, N, dtype=torch.bool)
        if not everybody_lives:
            alive[-1, :, 0] = False
        state = torch.randn(T, B, sizes.state_size, generator=generator)
        return TeamInputs(obs, state, mask, alive)

    @classmethod
    def actor(cls, env, seed=0, **settings) -> TeamActor:
        """A fresh actor for an environment of the package."""
        torch.manual_seed(seed)
        spec = env.spec
        sizes = TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)
        network = TeamNetwork(sizes, cls.settings(**settings))
        return TeamActor(
            network, TeamLayout(sizes), torch.Generator().manual_seed(seed), scaling=None
        )

    @staticmethod
    def batch(actor, rollout) -> TeamBatch:
        """All steps of a rollout; a recurrent one stays as sequences of T steps."""
        hidden = None
        inputs = actor.layout.inputs(torch.from_numpy(rollout.rows))
        inputs = replace(inputs, latents=map_tensors(rollout.latents, torch.clone))
        columns = {
            name: torch.from_numpy(getattr(rollout, source))
            for name, source in {
                "actions": "actions",
                "log_prob": "log_prob",
                "policy_parameters": "parameters",
                "values": "values",
                "advantages": "advantages",
                "value_targets": "value_targets",
            }.items()
        }
        if rollout.hidden is not None:
            hidden = map_tensors(rollout.hidden[0], torch.clone)
        batch = TeamBatch(inputs, **columns, valid=torch.from_numpy(rollout.keep), hidden=hidden)
        if hidden is None:  # every step is a sequence of its own
            batch = map_tensors(batch, lambda x: x.flatten(0, 1).unsqueeze(0))
        advantages = batch.advantages
        return replace(batch, advantages=standardized(advantages, batch.counts(advantages)))

    @classmethod
    def collected(cls, name="climbing", T=4, B=6, skip=0, seed=0, config=None, **settings):
        """An actor with random parameters and the batch that it collected after some steps."""
        env = make_vector_env(name, B, config=config)
        actor = cls.actor(env, seed, **settings)
        cls.randomize(actor.network, seed)
        state = start(actor, env, seed)
        for length in (skip, T):
            if length:
                rollout = collect(actor, env, state, length, gamma=0.9, lambda_=0.8)
        return actor, cls.batch(actor, rollout)


@pytest.fixture(scope="session")
def build():
    return Build
