"""VDN on predator-prey, 5x5, without a penalty for a lone predator beside the prey.

Expected: greedy individual policies earn at least 9 of 10 an episode within 50 000 environment
steps; random play earns 3.1.

    python tuned_examples/vdn/predator_prey.py
"""

from rllib_agentmixer import VDNConfig
from rllib_agentmixer.runs.tuned import train

config = (
    VDNConfig()
    .environment("predator_prey", env_config={"penalty": 0.0})
    .env_runners(num_envs_per_env_runner=8, rollout_fragment_length=25)
    .training(lr=1e-3, epsilon=[[0, 1.0], [50_000, 0.05]], target_network_update_freq=200)
    .evaluation(evaluation_interval=25, evaluation_duration=32)
)

stop = {
    "evaluation/individual/episode_return_mean": 9.0,
    "num_env_steps_sampled_lifetime": 50_000,
}

if __name__ == "__main__":
    train(config, stop)
