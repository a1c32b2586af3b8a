"""Rollouts as RLlib's rows and back: each step, agent and sequence remains together."""

import math

import numpy as np
import pytest
import torch
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import SampleBatch, concat_samples

from rllib_agentmixer.adapters.classic.sample_batches import (
    to_experience,
    to_sample_batch,
)
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.batch import RecurrentState, round_up
from rllib_agentmixer.core.data.columns import state_columns, state_of
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.core.data.sizes import TeamSizes
from rllib_agentmixer.core.learners.policy_losses import PPOCoefficients, team_loss
from rllib_agentmixer.core.learners.postprocessing import (
    PolicyGradientTargets,
    policy_gradient_targets,
)
from rllib_agentmixer.envs import make_env
from rllib_agentmixer.envs.stepping.loop_vector_env import LoopVectorEnv
from rllib_agentmixer.rollouts.actor import TeamActor, start
from rllib_agentmixer.rollouts.collect import collect

NUM_ENVS, NUM_STEPS, MAX_SEQ_LEN, FIRST_ID = 3, 7, 3, 100
SMALL = {"hidden_size": 8, "modifier_width": 6, "critic_hidden": (8,)}

LENGTHS = (2, 5, 4)
"""Most steps of an episode in each sub-environment."""

CASES = {
    "state": ("agentmixer", {}),
    "signal": ("agentmixer", {"correlation": "signal"}),
    "recurrent signal": ("agentmixer", {"correlation": "signal", "use_gru": True}),
    "random order": ("agentmixer", {"correlation": "autoregressive", "agent_order": "random"}),
    "recurrent random order": (
        "agentmixer",
        {"correlation": "autoregressive", "agent_order": "random", "use_gru": True},
    ),
    "mappo": ("mappo", {}),
    "recurrent mappo": ("mappo", {"use_gru": True}),
    "ippo": ("ippo", {}),
    "recurrent ippo": ("ippo", {"use_gru": True}),
    "recurrent modifier and own critics": (
        "agentmixer",
        {"critic_input": "obs", "ratio": "agent", "use_gru": True},
    ),
    "continuous signal": ("agentmixer", {"correlation": "signal"}),
    "recurrent continuous ippo": ("ippo", {"use_gru": True}),
}


@pytest.fixture(autouse=True, scope="session")
def _ray():
    """Arrays alone need no cluster."""


def env_of(case):
    """Sub-environments whose episodes differ in length: truncated in the grid, terminated in the
    continuous game."""
    lengths = iter(LENGTHS)

    def make_one():
        if "continuous" in case:
            return make_env("continuous_game", dimensions=3, repeat=next(lengths))
        return make_env("predator_prey", grid=4, max_steps=next(lengths))

    return LoopVectorEnv(make_one, NUM_ENVS)


def collected(case, *, complete=False, seed=11, num_fragments=1):
    """A team with random parameters, and fragments of what it played."""
    algorithm, settings = CASES[case]
    env = env_of(case)
    spec = env.spec
    sizes = TeamSizes(spec.obs_sizes, spec.state_size, spec.action_kind, spec.action_sizes)
    entry = ALGORITHMS[algorithm]
    small = {k: v for k, v in SMALL.items() if k in entry.settings.names()}
    network = entry.team(sizes, entry.make_settings(**(small | settings)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    actor = TeamActor(network, TeamLayout(sizes), torch.Generator().manual_seed(seed))
    state = start(actor, env, seed)
    fragments = []
    for _ in range(num_fragments):
        fragment = collect(actor, env, state, NUM_STEPS, complete_episodes=complete).fragment
        steps = policy_gradient_targets(network, fragment, gamma=0.9, lambda_=0.8)
        fragments.append(Rollout(actor, steps, fragment.hidden))
    return actor, fragments


class Rollout:
    """Steps as NumPy arrays by name."""

    def __init__(self, actor, steps, hidden):
        self.steps, self.hidden, self.layout = steps, hidden, actor.layout
        self.rows = actor.layout.rows(steps.inputs).numpy()
        self.keep, self.latents = steps.valid.numpy(), steps.inputs.latents
        for name in ("actions", "rewards", "terminated", "truncated", "behaviour"):
            setattr(self, name, getattr(steps, name).numpy())
        for name, column in vars(steps.targets).items():
            setattr(self, name, column.numpy())


def sample_batch(rollout):
    return to_sample_batch(
        rollout.steps,
        rollout.hidden,
        rollout.layout,
        max_seq_len=MAX_SEQ_LEN,
        first_episode_id=FIRST_ID,
    )


def experience(actor, rows):
    like = actor.module.initial_state(1)
    return to_experience(rows, actor.layout, targets=PolicyGradientTargets, like=like)


def stored_steps(rollout):
    """(step, env_index) in the order of rows: by sub-environment, each in the order of time."""
    return [
        (t, env_index)
        for env_index in range(NUM_ENVS)
        for t in range(len(rollout.rows))
        if rollout.keep[t, env_index]
    ]


def sequences_of(rollout):
    """Lists of (step, env_index): each sub-environment's episodes, cut evenly where too long."""
    episodes = []
    ended = rollout.terminated | rollout.truncated
    steps = stored_steps(rollout)
    for (t, env_index), before in zip(steps, [None, *steps], strict=False):
        is_new_env = before is None or before[1] != env_index
        if is_new_env or ended[t - 1, env_index]:
            episodes.append([])
        episodes[-1].append((t, env_index))
    sequences = []
    for episode in episodes:
        num_parts = math.ceil(len(episode) / MAX_SEQ_LEN)
        length = math.ceil(len(episode) / num_parts)
        sequences += [episode[at : at + length] for at in range(0, len(episode), length)]
    return sequences


every_case = pytest.mark.parametrize("case", CASES)
fragments_and_episodes = pytest.mark.parametrize("complete", [False, True])


@every_case
@fragments_and_episodes
def test_every_column_of_a_row_belongs_to_the_same_step_and_sub_environment(case, complete):
    _, (rollout,) = collected(case, complete=complete)
    rows = sample_batch(rollout)
    steps = stored_steps(rollout)
    assert rows.count == len(steps)
    assert not complete or not rollout.keep.all()
    columns = {
        SampleBatch.OBS: rollout.rows,
        SampleBatch.ACTIONS: rollout.actions.reshape(*rollout.keep.shape, -1),
        SampleBatch.REWARDS: rollout.rewards,
        SampleBatch.TERMINATEDS: rollout.terminated,
        SampleBatch.TRUNCATEDS: rollout.truncated,
        SampleBatch.ACTION_LOGP: rollout.log_prob,
        SampleBatch.ACTION_DIST_INPUTS: rollout.behaviour,
        SampleBatch.VF_PREDS: rollout.values,
        Postprocessing.ADVANTAGES: rollout.advantages,
        Postprocessing.VALUE_TARGETS: rollout.value_targets,
    }
    if "signal" in case:
        columns["signal"] = rollout.latents.signal.numpy()
    elif "order" in case:
        columns["agent_order"] = rollout.latents.agent_order.numpy()
    assert {"signal", "agent_order"} & set(rows) == {"signal", "agent_order"} & set(columns)
    for name, column in columns.items():
        assert len(rows[name]) == len(steps)
        for row, (t, env_index) in enumerate(steps):
            np.testing.assert_array_equal(rows[name][row], column[t, env_index], err_msg=name)
    has_agents = "ippo" in case or "critics" in case
    assert rows[SampleBatch.VF_PREDS].shape[1:] == ((2,) if has_agents else ())


def columns_of(actor, rollout, batch):
    """Name -> (what the batch has, [T, B, ...] what was collected)."""
    inputs = actor.layout.inputs(torch.from_numpy(rollout.rows))
    drawn = vars(rollout.latents) if rollout.latents else {}
    return {
        "actions": (batch.actions, rollout.actions),
        "log_prob": (batch.targets.log_prob, rollout.log_prob),
        "behaviour": (batch.behaviour, rollout.behaviour),
        "values": (batch.targets.values, rollout.values),
        "advantages": (batch.targets.advantages, rollout.advantages),
        "value_targets": (batch.targets.value_targets, rollout.value_targets),
        "state": (batch.inputs.state, inputs.state),
        "obs": (batch.inputs.obs, inputs.obs),
        "action_mask": (batch.inputs.action_mask, inputs.action_mask),
    } | {
        name: (getattr(batch.inputs.latents, name), column)
        for name, column in drawn.items()
        if column is not None
    }


@every_case
@fragments_and_episodes
def test_a_team_batch_has_every_step_at_its_place_in_its_sequence(case, complete):
    actor, (rollout,) = collected(case, complete=complete)
    batch = experience(actor, sample_batch(rollout))
    is_recurrent = "recurrent" in case
    sequences = sequences_of(rollout) if is_recurrent else [[s] for s in stored_steps(rollout)]
    if not is_recurrent:  # every step a sequence of its own, in one row
        assert batch.hidden is None
    lengths = [len(sequence) for sequence in sequences]
    assert batch.valid.shape == (max(lengths), len(sequences))
    assert batch.valid.sum(0).tolist() == lengths
    assert (batch.inputs.latents is None) == (rollout.latents is None)
    columns = columns_of(actor, rollout, batch)
    for index, sequence in enumerate(sequences):
        for position, (t, env_index) in enumerate(sequence):
            assert batch.valid[position, index]
            for name, (found, expected) in columns.items():
                row = torch.as_tensor(expected[t, env_index])
                assert torch.equal(found[position, index], row.to(found.dtype)), name


@pytest.mark.parametrize("case", [case for case in CASES if "recurrent" in case])
@fragments_and_episodes
def test_a_sequence_starts_from_the_memory_that_the_team_had_there(case, complete):
    actor, (rollout,) = collected(case, complete=complete)
    batch = experience(actor, sample_batch(rollout))
    sequences = sequences_of(rollout)
    assert {len(sequence) for sequence in sequences} >= {2, 3}
    assert max(len(sequence) for sequence in sequences) == MAX_SEQ_LEN
    for index, ((t, env_index), *_) in enumerate(sequences):
        for part, stored in vars(rollout.hidden[t]).items():
            found = getattr(batch.hidden, part)
            assert (found is None) == (stored is None)
            assert stored is None or torch.equal(found[:, index], stored[:, env_index])
    assert (batch.hidden.individual.abs().amax((0, 2)) > 0).any()


def test_orders_stay_whole_numbers_on_their_way():
    actor, (rollout,) = collected("random order")
    rows = sample_batch(rollout)
    order = experience(actor, rows).inputs.latents.agent_order
    assert order.dtype == torch.int64
    assert {tuple(row) for row in order[0].tolist()} == {(0, 1), (1, 0)}


WEIGHTS = PPOCoefficients(clip_param=0.2, vf_clip_param=0.2, vf_loss_coeff=1.0, entropy_coeff=0.01)


def assert_recomputed(actor, batch):
    """The networks reproduce, from the batch alone, their outputs at collection."""
    network = actor.module
    with torch.no_grad():
        joint = network(batch.inputs, batch.hidden, batch.actions).joint
        memory = batch.hidden.critic if batch.hidden else None
        values = network.critic.normalizer.denormalize(
            network.values(batch.inputs, memory).normalized
        )
    of_agents = joint.agent_log_prob(batch.actions)
    log_prob = of_agents if network.settings.ratio == "agent" else of_agents.sum(-1)
    for found, stored in (
        (log_prob, batch.targets.log_prob),
        (values, batch.targets.values),
        (joint.flat(), batch.behaviour),
    ):
        torch.testing.assert_close(found[batch.valid], stored[batch.valid], atol=1e-4, rtol=1e-4)
    loss = team_loss(network, batch, WEIGHTS)
    assert loss.metrics["kl"].item() == pytest.approx(0, abs=1e-4)
    assert loss.metrics["clip_fraction"] == 0
    assert torch.isfinite(loss.total)


@every_case
@fragments_and_episodes
def test_networks_recompute_from_the_batch_what_they_said_when_it_was_collected(case, complete):
    actor, fragments = collected(case, complete=complete, num_fragments=2)
    for rollout in fragments:  # the second begins in the middle of episodes
        rows = sample_batch(rollout)
        assert_recomputed(actor, experience(actor, rows))


@every_case
def test_batches_of_several_workers_are_joined_without_mixing_their_steps(case):
    actor, fragments = collected(case, num_fragments=2)
    parts = [sample_batch(rollout) for rollout in fragments]
    joined = concat_samples(parts)
    batch = experience(actor, joined)
    assert batch.valid.sum() == 2 * NUM_ENVS * NUM_STEPS
    assert_recomputed(actor, batch)


@pytest.mark.parametrize("has_modifier", [True, False])
@pytest.mark.parametrize("has_critic", [True, False])
def test_recurrent_states_come_back_from_the_order_that_rllib_keeps_them_in(
    has_modifier, has_critic
):
    N, B, H = 3, 4, 5
    noise = torch.randn(2 * N + 1, B, H, generator=torch.Generator().manual_seed(0))
    hidden = RecurrentState(
        individual=noise[:N],
        modifier=noise[N : N + 1] if has_modifier else None,
        critic=noise[N + 1 :] if has_critic else None,
    )
    columns = state_columns(hidden)
    parts = list(columns.values())
    assert len(parts) == 1 + has_modifier + has_critic
    assert all(len(part) == B for part in parts)  # sub-environments first
    found = state_of(columns, hidden)
    for name, stored in vars(hidden).items():
        assert (getattr(found, name) is None) == (stored is None)
        assert stored is None or torch.equal(getattr(found, name), stored)


LOSS_WEIGHTS = PPOCoefficients(
    clip_param=0.2, vf_clip_param=0.3, vf_loss_coeff=1.0, entropy_coeff=0.1
)


@pytest.mark.parametrize(
    ("case", "num_fragments"), [("recurrent modifier and own critics", 8), ("random order", 5)]
)
def test_what_is_empty_fills_up_and_changes_nothing(case, num_fragments):
    actor, fragments = collected(case, num_fragments=num_fragments)
    rows = concat_samples([sample_batch(f) for f in fragments])
    number = len(rows.get(SampleBatch.SEQ_LENS, rows[SampleBatch.REWARDS]))
    batch = experience(actor, rows)
    assert batch.num_sequences == round_up(number) > number
    assert not batch.valid[:, number:].any()
    assert int(batch.valid.sum()) == rows.count
    if batch.hidden is not None:
        assert not batch.hidden.individual[:, number:].any()
    alone = batch.select(torch.arange(number))
    with_empty, without = (team_loss(actor.module, b, LOSS_WEIGHTS).metrics for b in (batch, alone))
    for name, value in with_empty.items():
        torch.testing.assert_close(value, without[name], msg=name)
