"""Win rates of scripted players on skirmish: baselines for learned policies.

python -m benchmarks.skirmish_bars --episodes 2000
"""

from __future__ import annotations

import argparse

from rllib_agentmixer.envs.games.skirmish.players import PLAYERS, measure
from rllib_agentmixer.envs.games.skirmish.vector import VectorSkirmish

NUM_ENVS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--episodes", type=int, default=2000, help="per size and player")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print("| battle | player | win rate | standard error | return | steps | episodes |")
    print("|---|---|---|---|---|---|---|")
    for size in chosen.sizes:
        env = VectorSkirmish(NUM_ENVS, num_allies=size, num_enemies=size)
        for name, build in PLAYERS.items():
            score = measure(build(), env, max(1, chosen.episodes // NUM_ENVS), chosen.seed)
            error = (score.win_rate * (1 - score.win_rate) / score.episodes) ** 0.5
            print(
                f"| {size}v{size} | {name} | {score.win_rate:.3f} | {error:.3f} "
                f"| {score.episode_return:.2f} | {score.length:.1f} | {score.episodes} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
