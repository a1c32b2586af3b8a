"""Small teams, networks and batches that the tests of the core share as the fixture ``build``."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.batch import TeamInputs, map_tensors
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional.advantages import standardized
from rllib_agentmixer.core.learners.policy_gradient import A2CLearner, PPOLearner
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients
from rllib_agentmixer.core.learners.postprocessing import (
    PolicyGradientTargets,
    policy_gradient_targets,
)
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings
from rllib_agentmixer.core.teams.team_module import TeamModule
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.rollouts.actor import TeamActor, start
from rllib_agentmixer.rollouts.collect import collect

SMALL = {"hidden_size": 8, "modifier_width": 6, "critic_hidden": (8,)}
"""Widths that differ from each other and from every size of a team."""

TARGETS = tuple(entry.name for entry in fields(PolicyGradientTargets))


@dataclass(frozen=True, eq=False)
class Rollout:
    """Fragment with its targets as NumPy arrays, time first, and its metadata."""

    rows: np.ndarray
    raw_rows: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    behaviour: np.ndarray
    keep: np.ndarray
    alive: np.ndarray
    log_prob: np.ndarray
    values: np.ndarray
    advantages: np.ndarray
    value_targets: np.ndarray
    hidden: list | None
    latents: Any
    episodes: list
    steps: Experience


class Build:
    """Factory of small teams, networks and batches, drawn from the given seeds."""

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
        entry = ALGORITHMS[algorithm]
        known = entry.settings.names()
        return entry.make_settings(**({k: v for k, v in SMALL.items() if k in known} | settings))

    @classmethod
    def team(cls, sizes, algorithm="agentmixer", **settings) -> TeamModule:
        """Fresh networks."""
        return ALGORITHMS[algorithm].team(sizes, cls.settings(algorithm, **settings))

    @staticmethod
    def randomize(module, seed=0, scale=0.5):
        """Set every parameter at random: fresh networks are nearly uniform and hide mistakes."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0, scale, generator=generator)
        return module

    @classmethod
    def network(cls, sizes, seed=0, **settings) -> TeamModule:
        return cls.randomize(cls.team(sizes, **settings), seed)

    @classmethod
    def learner(
        cls, network, lr=1e-3, modifier_lr=1e-3, *, weights=None, kind=None, compiler=None, **plan
    ) -> PPOLearner:
        """The learner of a team.

        ``plan`` holds RLlib's settings (one epoch over the whole batch without them), and
        ``kl_stop`` and ``non_finite``.
        """
        own = {name: plan.pop(name) for name in ("kl_stop", "non_finite") if name in plan}
        settings = network.settings
        if "modifier_lr" in settings.names():
            own["modifier_lr"] = modifier_lr
        settings = replace(settings, **own)
        given = vars(weights or cls.weights) | {"use_kl_loss": True, "lr": lr}
        rllib = OnPolicySettings(**(given | {"num_epochs": 1, "grad_clip": None} | plan))
        if kind is None:
            kind = A2CLearner if getattr(settings, "learner", "") == "a2c" else PPOLearner
        return kind(network, settings, rllib, compiler=compiler)

    @staticmethod
    def loss(network, batch, weights):
        """Loss of the learner that the settings choose."""
        kind = A2CLearner if getattr(network.settings, "learner", "") == "a2c" else PPOLearner
        return kind.loss_function(network, batch, weights)

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
        team = cls.team(sizes, **settings)
        return TeamActor(team, TeamLayout(sizes), torch.Generator().manual_seed(seed), scaling=None)

    @staticmethod
    def rollout(actor, env, state, num_steps, *, gamma, lambda_, **arguments) -> Rollout:
        """A fragment as it is collected, with the targets of the policy gradient."""
        collected = collect(actor, env, state, num_steps, **arguments)
        fragment = collected.fragment
        steps = policy_gradient_targets(actor.module, fragment, gamma=gamma, lambda_=lambda_)
        names = ("actions", "rewards", "terminated", "truncated", "behaviour")
        return Rollout(
            rows=actor.layout.rows(steps.inputs).numpy(),
            raw_rows=collected.raw_rows,
            keep=steps.valid.numpy(),
            alive=steps.inputs.alive.numpy(),
            hidden=fragment.hidden and fragment.hidden[:-1],
            latents=steps.inputs.latents,
            episodes=collected.episodes,
            steps=steps,
            **{name: getattr(steps, name).numpy() for name in names},
            **{name: getattr(steps.targets, name).numpy() for name in TARGETS},
        )

    @staticmethod
    def experience(inputs, actions, behaviour, valid, **targets) -> Experience:
        """Steps of a policy-gradient learner whose rewards and ends are unused."""
        zeros = torch.zeros(valid.shape)
        return Experience(
            inputs=inputs,
            actions=actions,
            rewards=zeros,
            valid=valid,
            terminated=zeros.bool(),
            truncated=zeros.bool(),
            behaviour=behaviour,
            targets=PolicyGradientTargets(**targets),
        )

    @staticmethod
    def with_targets(batch, **changes) -> Experience:
        """The batch with some targets changed."""
        return replace(batch, targets=replace(batch.targets, **changes))

    @classmethod
    def batch(cls, actor, rollout) -> Experience:
        """All steps of a rollout; a recurrent one remains as sequences of T steps."""
        batch = map_tensors(rollout.steps, torch.clone)
        if rollout.hidden is not None:
            batch = replace(batch, hidden=map_tensors(rollout.hidden[0], torch.clone))
        else:  # every step is a sequence of its own
            batch = map_tensors(batch, lambda x: x.flatten(0, 1).unsqueeze(0))
        advantages = batch.targets.advantages
        return cls.with_targets(
            batch, advantages=standardized(advantages, batch.counts(advantages))
        )

    @classmethod
    def collected(cls, name="climbing", T=4, B=6, skip=0, seed=0, config=None, **settings):
        """An actor with random parameters and the batch that it collected after some steps."""
        env = make_vector_env(name, B, config=config)
        actor = cls.actor(env, seed, **settings)
        cls.randomize(actor.module, seed)
        state = start(actor, env, seed)
        for length in (skip, T):
            if length:
                rollout = cls.rollout(actor, env, state, length, gamma=0.9, lambda_=0.8)
        return actor, cls.batch(actor, rollout)


@pytest.fixture(scope="session")
def build():
    return Build
