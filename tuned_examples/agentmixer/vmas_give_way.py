"""AgentMixer on VMAS's give way: two robots pass each other in a corridor with one niche.

Random play earns 0.02.

Expected: individual policies earn at least 1.5 within 512 000 environment steps.
Measured: 256 000 steps on seeds 0, 1 and 2, 41 to 43 s on one core.

    python tuned_examples/agentmixer/vmas_give_way.py
"""

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.runs.tuned import train

config = (
    AgentMixerConfig()
    .environment("vmas_give_way")
    .env_runners(num_envs_per_env_runner=256)
    .training(
        train_batch_size=25_600,
        minibatch_size=6400,
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
    "evaluation/individual/episode_return_mean": 1.5,
    "num_env_steps_sampled_lifetime": 512_000,
}

if __name__ == "__main__":
    train(config, stop)
