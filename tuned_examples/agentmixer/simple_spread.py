"""AgentMixer on simple_spread (mpe2, three agents, team reward, 25 steps).

Expected: individual policies earn at least -39 per episode (team reward with
``local_ratio=0``: every agent gets the same, counted once) within 300 000 steps.
Measured: 64 000 / 96 000 / 64 000 steps on seeds 0, 1 and 2, 33 to 48 s on one core.

    python tuned_examples/agentmixer/simple_spread.py
"""

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.runs.tuned import train

config = (
    AgentMixerConfig()
    .environment("simple_spread", env_config={"local_ratio": 0.0, "max_cycles": 25})
    .env_runners(num_env_runners=0, num_envs_per_env_runner=32)
    .training(train_batch_size=3200, num_epochs=10)
    .evaluation(evaluation_interval=10, evaluation_duration=64)
)

stop = {
    "evaluation/individual/episode_return_mean": -39.0,
    "num_env_steps_sampled_lifetime": 300_000,
}

if __name__ == "__main__":
    train(config, stop)
