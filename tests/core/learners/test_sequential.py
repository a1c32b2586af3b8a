"""HAPPO: agents updated in turn, against recorded numbers, and what must hold for any team."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rllib_agentmixer.core.data.batch import TeamInputs
from rllib_agentmixer.core.data.experience import Experience
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.functional import losses
from rllib_agentmixer.core.functional.distributions import MASKED_LOGIT, TeamCategorical
from rllib_agentmixer.core.learners.policy_gradient import PPOLearner
from rllib_agentmixer.core.learners.postprocessing import PolicyGradientTargets
from rllib_agentmixer.core.learners.sequential import HAPPOLearner, agent_loss, ratio_factor
from rllib_agentmixer.core.networks.normalization import ValueNormalizer
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings
from rllib_agentmixer.core.settings.sequential import HAPPOSettings
from rllib_agentmixer.core.teams.outputs import PolicyOutput, Values
from rllib_agentmixer.core.teams.product_policy import ProductPolicy
from rllib_agentmixer.errors import ConfigError

ORACLE = Path(__file__).parents[2] / "oracles" / "happo.npz"
T, B, N, A, OBS = 4, 3, 3, 4, 6
LAYERS = ("base.mlp.fc.0", "base.mlp.fc.2", "base.mlp.fc.3", "base.mlp.fc.5")
PARTS = ("base.feature_norm", *LAYERS, "act.action_out.linear")
NAMES = [f"{part}.{kind}" for part in PARTS for kind in ("weight", "bias")]


@pytest.fixture(scope="module")
def recorded():
    with np.load(ORACLE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


class RecordedActors(nn.Module):
    """The reference's actors, one set of weights per agent, stacked."""

    def __init__(self, recorded):
        super().__init__()
        for name in NAMES:
            stacked = torch.stack([recorded[f"w/{agent}/{name}"] for agent in range(N)])
            self.register_parameter(name.replace(".", "_"), nn.Parameter(stacked))

    def forward(self, obs):
        x = obs.movedim(-2, 0).flatten(1, -2)  # [N, R, O]
        named = dict(self.named_parameters())

        def pair(layer):
            layer = layer.replace(".", "_")
            return named[f"{layer}_weight"], named[f"{layer}_bias"]

        def linear(x, layer):
            weight, bias = pair(layer)
            return x @ weight.mT + bias.unsqueeze(1)

        def norm(x, layer):
            weight, bias = pair(layer)
            x = (x - x.mean(-1, keepdim=True)) / (
                x.var(-1, correction=0, keepdim=True) + 1e-5
            ).sqrt()
            return x * weight.unsqueeze(1) + bias.unsqueeze(1)

        x = norm(x, "base.feature_norm")
        x = norm(linear(x, LAYERS[0]).relu(), LAYERS[1])
        x = norm(linear(x, LAYERS[2]).relu(), LAYERS[3])
        return linear(x, "act.action_out.linear").unflatten(1, obs.shape[:2]).movedim(0, -2)


class RecordedTeam(ProductPolicy):
    """The reference's actors beside a critic that learns nothing."""

    def __init__(self, recorded):
        nn.Module.__init__(self)
        self.sizes = TeamSizes((OBS,) * N, 1, "discrete", (A,) * N)
        self.settings = HAPPOSettings(normalize_values=False)
        self.individual_policies = RecordedActors(recorded)
        self.critic = nn.Linear(1, 1).double()
        self.critic.normalizer = ValueNormalizer().double()
        self.critic.observe_targets = lambda targets, counts: None

    def forward(self, inputs, hidden=None, actions=None):
        logits = self.individual_policies(inputs.obs)
        policy = TeamCategorical(
            logits.masked_fill(~inputs.action_mask, MASKED_LOGIT), inputs.alive
        )
        return PolicyOutput(policy, policy, None)

    def values(self, inputs, hidden=None):
        return Values(self.critic(inputs.state).squeeze(-1), None)


class AsRecorded(HAPPOLearner):
    """Advantages as they were recorded; the ratios of dead agents count, as in the reference."""

    recorded = None

    def _with_advantages(self, batch, factor, agent):
        self.factors[agent] = factor
        own = self.recorded[f"out/advantages/{agent}"] * factor
        return replace(batch, targets=replace(batch.targets, advantages=own))

    def _ratio(self, batch, agent):
        with torch.no_grad():
            policy = self.team(batch.inputs).joint
            everybody = TeamCategorical(policy.logits, torch.ones_like(policy.alive))
            new = everybody.agent_log_prob(batch.actions)[..., agent]
        old = self.recorded[f"out/log_prob_old/{agent}"]
        return ratio_factor(new, old, torch.ones_like(batch.valid))


def recorded_batch(team, recorded):
    zeros = torch.zeros(T, B, dtype=torch.float64)
    inputs = TeamInputs(
        recorded["obs"], zeros.unsqueeze(-1), recorded["action_mask"], recorded["alive"]
    )
    with torch.no_grad():
        policy = team(inputs).joint
    old = torch.stack([recorded[f"out/log_prob_old/{agent}"] for agent in range(N)], -1)
    return Experience(
        inputs=inputs,
        actions=recorded["actions"],
        rewards=zeros,
        valid=torch.ones(T, B, dtype=torch.bool),
        terminated=zeros.bool(),
        truncated=zeros.bool(),
        behaviour=policy.flat(),
        targets=PolicyGradientTargets(old, zeros, zeros, zeros),
    )


RLLIB = OnPolicySettings(
    lr=5e-3, num_epochs=2, clip_param=0.2, entropy_coeff=0.01, vf_loss_coeff=0.0, grad_clip=10.0
)


@pytest.fixture(scope="module")
def updated(recorded):
    """The recorded team after one update in the recorded order."""
    team = RecordedTeam(recorded)
    before = recorded_batch(team, recorded)
    learner = AsRecorded(team, team.settings, RLLIB)
    learner.recorded, learner.factors = recorded, {}
    order = recorded["out/order"].tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randperm", lambda n, generator=None: torch.tensor(order))
        patch.setattr(Experience, "minibatches", lambda self, size, generator: iter([self]))
        metrics = learner.fit(before, torch.Generator())
    return team, learner, metrics


def test_weights_after_an_update_are_the_recorded_ones(updated, recorded):
    team, _, _ = updated
    for name, stacked in team.individual_policies.named_parameters():
        original = next(n for n in NAMES if n.replace(".", "_") == name)
        for agent in range(N):
            expected = recorded[f"w_after/{agent}/{original}"]
            torch.testing.assert_close(stacked[agent].detach(), expected, rtol=1e-6, atol=1e-12)


def test_factors_are_the_recorded_products_of_the_ratios_before(updated, recorded):
    _, learner, metrics = updated
    for agent in range(N):
        expected = recorded[f"out/factor_before/{agent}"]
        torch.testing.assert_close(learner.factors[agent], expected.double(), rtol=1e-6, atol=0.0)
    assert metrics["num_updates"] == 2 * N
    assert metrics["num_epochs"] == 2


@pytest.mark.parametrize("agent", range(N))
def test_the_first_gradient_of_an_agent_is_the_recorded_one(recorded, agent):
    team = RecordedTeam(recorded)
    batch = recorded_batch(team, recorded)
    with torch.no_grad():  # agents before this one have moved already; its own loss sees factors
        own = recorded[f"out/advantages/{agent}"] * recorded[f"out/factor_before/{agent}"]
    batch = replace(batch, targets=replace(batch.targets, advantages=own))
    weights = PPOLearner.coefficients.fget(
        type("L", (), {"rllib": RLLIB, "current": {"entropy_coeff": 0.01}, "kl_coeff": 0.0})()
    )
    loss = agent_loss(team, batch, weights, agent, False)
    torch.testing.assert_close(
        loss.metrics["policy_loss"],
        recorded[f"out/policy_loss/{agent}/epoch0"],
        rtol=1e-6,
        atol=1e-12,
    )
    torch.testing.assert_close(
        loss.metrics["entropy"], recorded[f"out/entropy/{agent}/epoch0"], rtol=1e-6, atol=1e-12
    )
    loss.total.backward()
    for name, stacked in team.individual_policies.named_parameters():
        original = next(n for n in NAMES if n.replace(".", "_") == name)
        expected = recorded[f"grad/{agent}/{original}"]
        torch.testing.assert_close(stacked.grad[agent], expected, rtol=1e-6, atol=1e-12)
        others = [i for i in range(N) if i != agent]
        assert stacked.grad[others].abs().max() == 0


def test_the_clipped_loss_alone_is_the_recorded_one(recorded):
    pure = {name.removeprefix("pure/"): x for name, x in recorded.items() if name[:5] == "pure/"}
    loss = losses.clipped_policy_loss(
        pure["log_prob_new"],
        pure["log_prob_old"],
        pure["advantages"] * pure["factor"],
        pure["alive"].bool(),
        clip_param=0.2,
    )
    torch.testing.assert_close(loss, recorded["out/pure/policy_loss"], rtol=1e-6, atol=1e-12)
    ratio = (pure["log_prob_new"] - pure["log_prob_old"]).exp()
    assert ((ratio - 1).abs() > 0.2).any()


# --- properties


def test_where_an_agent_takes_no_part_its_ratio_is_one():
    new, old = torch.tensor([0.5, 0.7]), torch.tensor([0.1, -0.3])
    found = ratio_factor(new, old, torch.tensor([True, False]))
    torch.testing.assert_close(found, torch.tensor([0.4, 0.0]).exp())


def learner_of(build, network, kind=HAPPOLearner, **plan):
    return build.learner(network, kind=kind, **{"num_epochs": 2, **plan})


def parameters_of(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def happo(build, env="climbing", **settings):
    return build.collected(env, algorithm="happo", **settings)


@pytest.mark.parametrize("env", ["climbing", "continuous_game"])
@pytest.mark.parametrize("use_gru", [False, True])
@pytest.mark.parametrize("grad_clip", [None, 1e-2])
def test_with_one_agent_it_is_ppo_bit_for_bit(build, env, use_gru, grad_clip):
    config = {"num_agents": 1, "dimensions": 2} if env == "continuous_game" else None
    name = "continuous_game" if config else "memory_game"
    config = config or {"num_agents": 1, "delay": 3}
    after = []
    for algorithm, kind in (("mappo", PPOLearner), ("happo", HAPPOLearner)):
        actor, batch = build.collected(name, algorithm=algorithm, config=config, use_gru=use_gru)
        learner = learner_of(build, actor.module, kind, minibatch_size=8, grad_clip=grad_clip)
        for _ in range(2):
            learner.update(batch, env_steps=0, generator=torch.Generator().manual_seed(3))
        after.append(parameters_of(actor.module))
    assert all(torch.equal(after[0][name], after[1][name]) for name in after[0])


def test_an_agents_step_moves_no_other_agent(build):
    actor, batch = happo(build)
    learner = learner_of(build, actor.module)
    learner.update(batch, env_steps=0, generator=torch.Generator())  # every agent has momentum
    before = parameters_of(actor.module)
    learner.agent_step(batch, weights=learner.coefficients, agent=1, has_value=False)
    for name, after in parameters_of(actor.module).items():
        if name.startswith("critic"):
            assert torch.equal(after, before[name])
        else:
            assert torch.equal(after[0], before[name][0]), name
    moved = [n for n, x in parameters_of(actor.module).items() if not torch.equal(x, before[n])]
    assert moved


def test_the_order_is_drawn_anew_at_every_update(build):
    actor, batch = happo(build, "predator_prey")
    learner, orders = learner_of(build, actor.module), []
    step = learner.agent_step

    def watched(batch, **arguments):
        orders[-1].append(arguments["agent"])
        return step(batch, **arguments)

    learner.agent_step = watched
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        orders.append([])
        learner.update(batch, env_steps=0, generator=generator)
    assert {tuple(order) for order in orders} == {(0, 0, 1, 1), (1, 1, 0, 0)}


def test_rows_of_dead_agents_change_nothing(build):
    actor, batch = happo(build, "predator_prey")
    batch.inputs.alive[0, ::3, 0] = False
    dead = ~batch.inputs.alive
    obs = batch.inputs.obs
    garbage = torch.where(dead.unsqueeze(-1), torch.full_like(obs, 3.0), obs)
    log_prob = torch.where(dead, batch.targets.log_prob + 2.0, batch.targets.log_prob)
    other = replace(batch, inputs=replace(batch.inputs, obs=garbage))
    other = build.with_targets(other, log_prob=log_prob)
    start, after = actor.module.state_dict(), []
    start = {name: x.clone() for name, x in start.items()}
    for given in (batch, other):
        actor.module.load_state_dict(start)
        learner = learner_of(build, actor.module)
        learner.update(given, env_steps=0, generator=torch.Generator().manual_seed(1))
        after.append(parameters_of(actor.module))
    for name, found in after[0].items():
        torch.testing.assert_close(found, after[1][name], msg=name)


def test_later_agents_are_corrected_for_those_before(build):
    actor, batch = happo(build)
    learner = learner_of(build, actor.module, num_epochs=4)
    seen = {}
    with_advantages = learner._with_advantages

    def watched(batch, factor, agent):
        seen[agent] = factor.clone()
        return with_advantages(batch, factor, agent)

    learner._with_advantages = watched
    old = batch.targets.log_prob
    learner.update(batch, env_steps=0, generator=torch.Generator().manual_seed(0))
    first, second = seen
    assert (seen[first] == 1).all()
    with torch.no_grad():
        new = actor.module(batch.inputs).joint.agent_log_prob(batch.actions)
    torch.testing.assert_close(seen[second], (new - old)[..., first].exp())
    assert (seen[second] != 1).any()


def test_a_resumed_learner_goes_on_bit_for_bit(build):
    actor, batch = happo(build)
    learner = learner_of(build, actor.module)
    learner.update(batch, env_steps=0, generator=torch.Generator().manual_seed(0))
    state, weights = deepcopy((learner.state_dict(), actor.module.state_dict()))
    learner.update(batch, env_steps=0, generator=torch.Generator().manual_seed(1))
    expected = parameters_of(actor.module)
    other, _ = happo(build, seed=5)
    other.module.load_state_dict(weights)
    resumed = learner_of(build, other.module)
    resumed.load_state_dict(state)
    resumed.update(batch, env_steps=0, generator=torch.Generator().manual_seed(1))
    found = parameters_of(other.module)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_shared_parameters_are_refused():
    with pytest.raises(ConfigError, match="parameter_sharing must be one of"):
        HAPPOSettings(parameter_sharing="shared")


def test_it_has_no_single_loss_for_the_gradient_api(build):
    actor, batch = happo(build)
    with pytest.raises(NotImplementedError, match="one after the other"):
        learner_of(build, actor.module).loss_of(batch)
