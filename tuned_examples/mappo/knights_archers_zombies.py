"""MAPPO on knights_archers_zombies: agents die one by one, and kills are summed.

Sampled actions are judged: in the run that was looked at, modes still earned 3 when samples
earned 8.

Random play earns 3.

Expected: individual policies, sampled, earn at least 6 within 400 000 environment steps.
Measured: 61 440 / 61 440 / 276 480 steps on seeds 0, 1 and 2, 65 to 431 s on one busy core.

    python tuned_examples/mappo/knights_archers_zombies.py
"""

from rllib_agentmixer import MAPPOConfig
from rllib_agentmixer.runs.tuned import train

config = (
    MAPPOConfig()
    .environment("knights_archers_zombies")
    .env_runners(num_envs_per_env_runner=8)
    .training(train_batch_size=2048, num_epochs=5, parameter_sharing="shared")
    .evaluation(evaluation_interval=15, evaluation_duration=16)
)

stop = {
    "evaluation/individual_sampled/episode_return_mean": 6.0,
    "num_env_steps_sampled_lifetime": 400_000,
}

if __name__ == "__main__":
    train(config, stop)
