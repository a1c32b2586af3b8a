"""HAPPO on the penalty game without penalty: two optima of 10, the team must agree on one.

Expected: individual policies earn 10 (the optimum), modes and samples alike (at least 9.5 in
training), within 50 000 environment steps.

    python tuned_examples/happo/penalty_0.py
"""

from rllib_agentmixer import HAPPOConfig
from rllib_agentmixer.runs.tuned import train

config = (
    HAPPOConfig()
    .environment("penalty_0")
    .env_runners(num_envs_per_env_runner=64)
    .training(train_batch_size=512, num_epochs=5, lr=1e-3)
    .evaluation(evaluation_interval=2, evaluation_duration=32)
)

stop = {
    "evaluation/individual/episode_return_mean": 10.0,
    "env_runners/episode_return_mean": 9.5,
    "num_env_steps_sampled_lifetime": 50_000,
}

if __name__ == "__main__":
    train(config, stop)
