"""AgentMixer on multi-agent MuJoCo's HalfCheetah: two legs run, each by its own joints alone.

Random play earns -291.

Expected: individual policies earn at least 1300 within 300 000 environment steps.
Measured: 1877, 1676 and 1565 after 163 840 steps on seeds 0, 1 and 2, 106 to 136 s on one
busy core.

    python tuned_examples/agentmixer/halfcheetah_2x3.py
"""

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.runs.tuned import train

config = (
    AgentMixerConfig()
    .environment("halfcheetah_2x3")
    .env_runners(num_envs_per_env_runner=16, observation_filter="MeanStdFilter")
    .training(
        train_batch_size=2048,
        minibatch_size=512,
        num_epochs=10,
        lr=3e-4,
        modifier_lr=3e-4,
        entropy_coeff=0.0,
        num_hidden_layers=2,
        dispersion_ceiling=0.75,
        dispersion_gain=0.3,
    )
    .evaluation(evaluation_interval=40, evaluation_duration=8)
)

stop = {
    "evaluation/individual/episode_return_mean": 1300.0,
    "num_env_steps_sampled_lifetime": 300_000,
}

if __name__ == "__main__":
    train(config, stop)
