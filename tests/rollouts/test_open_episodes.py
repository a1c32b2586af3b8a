"""Episodes across fragments: each step is in exactly one, with the successor of its last."""

import pytest
import torch

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.core.data.layout import TeamLayout
from rllib_agentmixer.envs import make_vector_env
from rllib_agentmixer.rollouts.actor import TeamActor, start
from rllib_agentmixer.rollouts.collect import collect
from rllib_agentmixer.rollouts.open_episodes import OpenEpisodes
from rllib_agentmixer.rollouts.team import team_sizes

NUM_ENVS = 3


def actor_of(env):
    torch.manual_seed(0)
    sizes = team_sizes(env.spec)
    team = ALGORITHMS["vdn"].team(sizes, ALGORITHMS["vdn"].make_settings(hidden_size=8))
    return TeamActor(team, TeamLayout(sizes), torch.Generator().manual_seed(0))


def played(fragment_lengths, **config):
    """Episodes handed over fragment by fragment, and all steps in one piece."""
    env = make_vector_env("predator_prey", NUM_ENVS, config={"max_steps": 7, **config})
    actor = actor_of(env)
    state, taken, fragments = start(actor, env, 1), [], []
    episodes = OpenEpisodes(NUM_ENVS)
    for length in fragment_lengths:
        fragments.append(collect(actor, env, state, length).fragment)
        taken.append(episodes.take(fragments[-1]))
    return episodes, taken, fragments


def contents(episode):
    return episode.rewards[:, 0].tolist(), episode.inputs.obs[:, 0].flatten().tolist()


def test_how_fragments_are_cut_changes_no_episode():
    _, at_once, _ = played([24])
    for cuts in ([5, 19], [1] * 24, [8, 8, 8]):
        open_episodes, taken, _ = played(cuts)
        found = sorted(contents(e) for batch in taken for e in batch)
        assert found == sorted(contents(e) for e in at_once[0])
        assert (
            open_episodes.num_steps + sum(int(e.valid.sum()) for batch in taken for e in batch)
            == 24 * NUM_ENVS
        )


def test_an_episode_has_its_steps_and_a_last_row_that_counts_nowhere():
    _, (episodes,), _ = played([24])
    assert episodes
    for episode in episodes:
        length = len(episode.valid) - 1
        assert 1 <= length <= 7
        assert episode.valid[:, 0].tolist() == [True] * length + [False]
        ended = (episode.terminated | episode.truncated)[:length, 0].tolist()
        assert ended == [False] * (length - 1) + [True]


def test_after_a_time_limit_the_last_row_is_what_was_seen_before_the_reset():
    _, taken, fragments = played([7], penalty=-1.0)
    (fragment,) = fragments
    bootstrap = fragment.bootstraps[6]
    truncated = fragment.steps.truncated[6].nonzero().flatten().tolist()
    assert truncated
    finals = [bootstrap.inputs.obs[index].flatten().tolist() for index in truncated]
    cut = [e for e in taken[0] if bool(e.truncated[-2, 0])]
    assert [e.inputs.obs[-1, 0].flatten().tolist() for e in cut] == finals
    resets = [fragment.inputs.obs[7, index].flatten().tolist() for index in truncated]
    assert finals != resets


def test_open_pieces_survive_what_the_worker_does_with_its_arrays():
    episodes, _, fragments = played([3])
    before = [piece.rewards.clone() for pieces in episodes._pieces for piece in pieces]
    fragments[0].steps.rewards.fill_(99.0)
    after = [piece.rewards for pieces in episodes._pieces for piece in pieces]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("length", [1, 2])
def test_episodes_shorter_than_a_fragment_are_all_handed_over(length):
    _, taken, _ = played([12], max_steps=length)
    assert len(taken[0]) == 12 // length * NUM_ENVS
