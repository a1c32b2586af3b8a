"""VDN: greedy consistency, exploration, target network, and whether it learns."""

import itertools
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.replay import EpisodeReplay
from rllib_agentmixer.core.learners.q_learning import QLearner
from rllib_agentmixer.core.settings.value_based import ReplaySettings, ValueSettings
from rllib_agentmixer.core.teams.factored_values import epsilon_greedy
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.errors import ConfigError, LearningError
from rllib_agentmixer.rollouts.actor import TeamActor, start
from rllib_agentmixer.rollouts.collect import collect
from rllib_agentmixer.rollouts.open_episodes import OpenEpisodes
from rllib_agentmixer.rollouts.play import play
from rllib_agentmixer.rollouts.team import team_sizes


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def network_of(build, sizes=None, seed=0, **settings):
    return build.network(sizes or build.sizes(), seed, algorithm="vdn", **settings)


def learner_of(network, **rllib):
    return QLearner(network, network.settings, ReplaySettings(**{"lr": 1e-2, **rllib}))


def actor_of(env, seed=0, **settings):
    torch.manual_seed(seed)
    sizes = team_sizes(env.spec)
    entry = ALGORITHMS["vdn"]
    team = entry.team(sizes, entry.make_settings(hidden_size=16, **settings))
    return TeamActor(team, TeamLayout(sizes), random(seed))


def replayed(env, actor, num_steps=40, seed=0):
    """A replay of everything that ended in some steps of an environment."""
    episodes = OpenEpisodes(env.num_envs)
    replay = EpisodeReplay(2000, actor.layout)
    fragment = collect(actor, env, start(actor, env, seed), num_steps).fragment
    for episode in episodes.take(fragment):
        replay.add(episode)
    return replay


def batch_for(build, network, seed=0):
    """Episodes of three steps and the row that follows, some padding, random rewards."""
    inputs = build.inputs(network.sizes, T=4, B=5, seed=seed)
    actions = inputs.action_mask.float().argmax(-1)
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[-1] = False
    valid[2:, 1] = False
    return replace(
        build.experience(
            inputs,
            actions,
            torch.zeros(4, 5, 12),
            valid,
            log_prob=torch.zeros(4, 5),
            values=torch.zeros(4, 5),
            advantages=torch.zeros(4, 5),
            value_targets=torch.zeros(4, 5),
        ),
        rewards=torch.randn(4, 5, generator=random(seed)),
        terminated=torch.zeros(4, 5, dtype=torch.bool).index_fill_(1, torch.tensor([2]), True),
        targets=None,
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_greedy_joint_action_is_the_tuple_of_the_greedy_individual_ones(build, seed):
    network = network_of(build, seed=seed)
    inputs = build.inputs(network.sizes, T=1, B=4, seed=seed)
    q = network.values(inputs).detach()
    modes = network.act_individually(inputs, None, explore=False, generator=None).actions
    for b in range(4):
        legal = [torch.nonzero(inputs.action_mask[0, b, i]).flatten().tolist() for i in range(3)]
        totals = {
            joint: float(sum(q[0, b, i, a] for i, a in enumerate(joint)))
            for joint in itertools.product(*legal)
        }
        assert tuple(modes[0, b].tolist()) == max(totals, key=totals.get)


def test_agents_that_take_no_part_add_nothing(build):
    network = network_of(build)
    inputs = build.inputs(network.sizes, everybody_lives=False)
    chosen = torch.ones(inputs.alive.shape)
    assert torch.equal(network.mix(chosen, inputs), inputs.alive.sum(-1).float())


def test_exploring_policies_mix_the_best_action_with_all_legal_ones():
    values = torch.tensor([[[1.0, 3.0, -1e9, 2.0], [5.0, 0.0, 1.0, -1e9]]])
    mask = values > -1e8
    alive = torch.ones(1, 2, dtype=torch.bool)
    probabilities = epsilon_greedy(values, mask, alive, 0.3).log_probs.exp()
    expected = torch.tensor([[[0.1, 0.8, 0.0, 0.1], [0.8, 0.1, 0.1, 0.0]]])
    torch.testing.assert_close(probabilities, expected)
    greedy = epsilon_greedy(values, mask, alive, 0.0)
    assert greedy.mode().tolist() == [[1, 0]]
    torch.testing.assert_close(greedy.log_probs.exp().amax(-1), torch.ones(1, 2))


def test_every_agent_tosses_a_coin_of_its_own(build):
    network = network_of(build, build.sizes(obs_sizes=(3, 3), action_sizes=(2, 2)))
    network.epsilon = 0.5
    inputs = build.inputs(network.sizes, T=1, B=4000)
    best = network.act(inputs, None, explore=False, generator=random()).actions
    explored = network.act(inputs, None, explore=True, generator=random()).actions != best
    shares = explored.float().mean((0, 1))
    torch.testing.assert_close(shares, torch.full((2,), 0.25), atol=0.03, rtol=0)
    together = (explored[..., 0] & explored[..., 1]).float().mean()
    assert float(together) == pytest.approx(0.25**2, abs=0.02)


def test_epsilon_follows_its_schedule(build):
    network = network_of(build, epsilon=[[0, 1.0], [100, 0.2]])
    found = []
    for env_steps in (0, 50, 100, 1000):
        network.follow_schedules(env_steps)
        found.append(network.epsilon)
    assert found == pytest.approx([1.0, 0.6, 0.2, 0.2])


@pytest.mark.parametrize("double_q", [True, False])
@pytest.mark.parametrize("use_gru", [False, True])
def test_the_temporal_difference_by_loops(build, double_q, use_gru):
    network = network_of(build, double_q=double_q, use_gru=use_gru)
    learner = learner_of(network, gamma=0.9)
    build.randomize(learner.target, 7)
    batch = batch_for(build, network)
    q, target = network.values(batch.inputs), learner.target.values(batch.inputs)
    terms = []
    for b in range(5):
        for t in range(3):
            if not batch.valid[t, b]:
                continue
            following = torch.zeros(())
            for i in range(3):
                chooser = (q if double_q else target)[t + 1, b, i].clone()
                chooser[~batch.inputs.action_mask[t + 1, b, i]] = -1e30
                following = following + target[t + 1, b, i, chooser.argmax()]
            y = batch.rewards[t, b]
            y = y if batch.terminated[t, b] else y + 0.9 * following.detach()
            value = sum(q[t, b, i, batch.actions[t, b, i]] for i in range(3))
            terms.append((value - y) ** 2)
    loss, metrics = learner.temporal_difference(batch)
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    assert metrics.keys() == {"td_loss", "q_taken_mean", "target_mean", "td_error_abs"}
    assert all(x.grad is None for x in learner.target.parameters())


def test_padding_and_what_follows_it_change_nothing(build):
    network = network_of(build)
    learner, batch = learner_of(network), batch_for(build, network)
    first, _ = learner.temporal_difference(batch)
    batch.rewards[2:, 1] = 99.0
    batch.inputs.obs[3:, 1] = 7.0
    second, _ = learner.temporal_difference(batch)
    torch.testing.assert_close(first, second)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_the_target_network_is_copied_after_so_many_updates(build):
    network = network_of(build)
    learner = learner_of(network, target_network_update_freq=3)
    first, batch = deepcopy(learner.target), batch_for(build, network)
    for update in range(1, 7):
        learner.update(batch, env_steps=0, generator=random())
        if update % 3 == 0:
            assert same(learner.target, network)
            first = deepcopy(network)
        else:
            assert same(learner.target, first)
            assert not same(learner.target, network)


def test_with_tau_the_target_network_moves_part_of_the_way(build):
    network = network_of(build)
    learner = learner_of(network, target_network_update_freq=1, tau=0.25)
    before = [p.clone() for p in learner.target.parameters()]
    learner.update(batch_for(build, network), env_steps=0, generator=random())
    for old, new, now in zip(
        before, network.parameters(), learner.target.parameters(), strict=True
    ):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * new)


def test_a_resumed_learner_goes_on_bit_for_bit(build):
    network, batch = network_of(build), None
    batch = batch_for(build, network)
    learner = learner_of(network, target_network_update_freq=2)
    learner.update(batch, env_steps=0, generator=random())
    state, weights = deepcopy((learner.state_dict(), network.state_dict()))
    for _ in range(2):
        learner.update(batch, env_steps=0, generator=random())
    other = network_of(build, seed=3)
    other.load_state_dict(weights)
    resumed = learner_of(other, target_network_update_freq=2)
    resumed.load_state_dict(state)
    for _ in range(2):
        resumed.update(batch, env_steps=0, generator=random())
    assert same(other, network)
    assert same(resumed.target, learner.target)


def test_gradients_are_clipped_and_reported_as_they_were(build):
    network, found = network_of(build), []
    for grad_clip in (None, 1e-3):
        learner = learner_of(deepcopy(network), grad_clip=grad_clip, lr=0.0)
        metrics = learner.update(batch_for(build, network), env_steps=0, generator=random())
        norm = torch.stack([p.grad.norm() for p in learner.team.parameters()]).norm()
        found.append((metrics["grad_norm"], float(norm)))
    assert found[0][0] == found[1][0] == pytest.approx(found[0][1])
    assert found[1][1] == pytest.approx(1e-3, rel=1e-3)


def test_a_reward_that_is_not_finite_moves_no_weight(build):
    network = network_of(build)
    batch, before = batch_for(build, network), deepcopy(network)
    batch.rewards[0, 0] = torch.nan
    with pytest.raises(LearningError, match="gradients were not finite"):
        learner_of(network).update(batch, env_steps=0, generator=random())
    assert same(network, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon", 1.5), ("replay_capacity", 0), ("updates_per_episode", 0.0)],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be"):
        ValueSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("tau", 0.0), ("target_network_update_freq", 0), ("train_batch_size", 0)],
)
def test_rllibs_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be"):
        ReplaySettings(**{name: value})


def test_a_few_updates_find_the_safe_equilibrium_of_climbing():
    # What a sum of values finds under uniform exploration: 5 a decision, where 11 is best.
    env = make_vector_env("climbing", 16, config={"repeat": 4})
    actor = actor_of(env, seed=3)
    replay = replayed(env, actor, num_steps=400)
    learner = learner_of(actor.module, lr=5e-3, target_network_update_freq=20)
    generator = random()
    for _ in range(300):
        learner.update(replay.sample(16, generator), env_steps=0, generator=generator)
    records = play(actor, env, 8, policy="individual", explore=False, seed=0)
    assert [record.episode_return for record in records] == [20] * 8
