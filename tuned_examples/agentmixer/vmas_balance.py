"""AgentMixer on VMAS's balance: three robots carry a ball on a beam to its goal.

Random play earns -9.7.

Expected: individual policies earn at least -2 within 100 000 environment steps.
Measured: 25 600 / 12 800 / 12 800 steps on seeds 0, 1 and 2, 6 to 13 s on one core.

    python tuned_examples/agentmixer/vmas_balance.py
"""

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.runs.tuned import train

config = (
    AgentMixerConfig()
    .environment("vmas_balance")
    .env_runners(num_envs_per_env_runner=64)
    .training(
        train_batch_size=6400,
        minibatch_size=1600,
        num_epochs=10,
        lr=1e-3,
        modifier_lr=1e-3,
        entropy_coeff=0.0,
        dispersion_ceiling=0.75,
        dispersion_gain=0.3,
        parameter_sharing="shared",
    )
    .evaluation(evaluation_interval=2, evaluation_duration=64)
)

stop = {
    "evaluation/individual/episode_return_mean": -2.0,
    "num_env_steps_sampled_lifetime": 100_000,
}

if __name__ == "__main__":
    train(config, stop)
