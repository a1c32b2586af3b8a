"""AgentMixer with memory: a cue that only the first observation shows is asked for later.

Policies without memory cannot do better than 1/4 (``MemoryGame.memoryless_optimum``).

Expected: individual policies with a GRU earn at least 0.95 (optimum 1) within 160 000
environment steps.

    python tuned_examples/agentmixer/memory_game.py
"""

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.runs.tuned import train

config = (
    AgentMixerConfig()
    .environment("memory_game")
    .env_runners(num_envs_per_env_runner=64)
    .training(train_batch_size=3200, num_epochs=10, lr=1e-3, modifier_lr=1e-3, use_gru=True)
    .evaluation(evaluation_interval=5, evaluation_duration=100)
)

stop = {
    "evaluation/individual/episode_return_mean": 0.95,
    "num_env_steps_sampled_lifetime": 160_000,
}

if __name__ == "__main__":
    train(config, stop)
