"""MAPPO on multiwalker: three walkers learn to stand under their package.

A walker that falls costs 100. Random play earns -98: it falls after some 70 steps.

Expected: individual policies earn at least -40 within 200 000 environment steps.
Measured: 61 440 / 40 960 / 81 920 steps on seeds 0, 1 and 2, 44 to 111 s on one busy core.

    python tuned_examples/mappo/multiwalker.py
"""

from rllib_agentmixer import MAPPOConfig
from rllib_agentmixer.runs.tuned import train

config = (
    MAPPOConfig()
    .environment("multiwalker")
    .env_runners(num_envs_per_env_runner=8, observation_filter="MeanStdFilter")
    .training(
        train_batch_size=2048,
        minibatch_size=512,
        num_epochs=10,
        lr=3e-4,
        entropy_coeff=0.0,
        parameter_sharing="shared",
    )
    .evaluation(evaluation_interval=10, evaluation_duration=16)
)

stop = {
    "evaluation/individual/episode_return_mean": -40.0,
    "num_env_steps_sampled_lifetime": 200_000,
}

if __name__ == "__main__":
    train(config, stop)
