"""REINFORCE with a batch-mean baseline: an algorithm that is written outside the package."""

from dataclasses import dataclass, replace

import torch

from rllib_agentmixer import AlgorithmEntry, register_algorithm
from rllib_agentmixer.adapters.classic import OnPolicyAlgorithm, OnPolicyConfig
from rllib_agentmixer.core.functional.returns import discounted_returns
from rllib_agentmixer.core.learners.learner import Learner
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.teams.team_module import IndividualTeam


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings(TeamSettings):
    use_baseline: bool = True


@dataclass(frozen=True)
class Returns:
    returns: torch.Tensor


class Reinforce(Learner):
    targets = Returns

    def __init__(self, team, settings, rllib, *, compiler=None):
        super().__init__(team, settings, rllib, compiler=compiler)
        self.optimizer = torch.optim.Adam(team.parameters(), lr=self.current["lr"])

    @property
    def optimizers(self):
        return [self.optimizer]

    @staticmethod
    def postprocess(team, fragment, settings, rllib):
        steps = fragment.steps
        ended = steps.terminated | steps.truncated
        returns = discounted_returns(steps.rewards, ended, gamma=rllib.gamma)
        return replace(steps, targets=Returns(returns))

    def update(self, batch, *, env_steps, generator):
        self.follow_schedules(env_steps)
        returns = batch.targets.returns
        advantages = returns - returns[batch.valid].mean() * self.settings.use_baseline
        policy = self.team(batch.inputs, batch.hidden).joint
        loss = -(policy.log_prob(batch.actions) * advantages)[batch.valid].mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"policy_loss": loss.item(), "num_updates": 1, **self.metrics_of_schedules()}


register_algorithm(
    AlgorithmEntry(
        name="own_reinforce",
        class_name="OwnReinforce",
        summary="REINFORCE",
        settings=ReinforceSettings,
        team=IndividualTeam,
        learners={"reinforce": Reinforce},
        search_space={"lr": "loguniform(1e-3, 1e-2)"},
    )
)


class OwnReinforceConfig(OnPolicyConfig):
    algorithm = "own_reinforce"


class OwnReinforce(OnPolicyAlgorithm):
    config_class = OwnReinforceConfig
