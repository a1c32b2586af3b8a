"""AgentMixer on the continuous game: each agent must act on the target that it alone sees.

Expected: individual policies earn at least 0.99 (the optimum is 1) within 100 000
environment steps.
Measured: .994, .997 and .998 after 30 720 steps on seeds 0, 1 and 2, 3 to 6 s on one core.

    python tuned_examples/agentmixer/continuous_game.py
"""

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.runs.tuned import train

config = (
    AgentMixerConfig()
    .environment("continuous_game")
    .env_runners(num_env_runners=0, num_envs_per_env_runner=64)
    .training(
        train_batch_size=2048,
        minibatch_size=512,
        num_epochs=5,
        lr=1e-3,
        modifier_lr=1e-3,
        entropy_coeff=0.0,
        dispersion_ceiling=0.75,
        dispersion_gain=0.3,
    )
    .evaluation(evaluation_interval=5, evaluation_duration=64)
)

stop = {
    "evaluation/individual/episode_return_mean": 0.99,
    "num_env_steps_sampled_lifetime": 100_000,
}

if __name__ == "__main__":
    train(config, stop)
