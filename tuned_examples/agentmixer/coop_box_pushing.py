"""AgentMixer on OpenSpiel's cooperative box pushing, 30 steps, everybody sees the whole board.

A small box brought home pays 10, the large one, which takes two, 100; a bump costs 5, a step
0.1. Random play earns -15.8, standing still -3, both small boxes home 17.

Expected: individual policies earn at least 10 within 250 000 environment steps.
Measured: 17.0 after 64 000 / 96 000 / 64 000 steps on seeds 0, 1 and 2, 37 to 67 s on one
busy core.

    python tuned_examples/agentmixer/coop_box_pushing.py
"""

from rllib_agentmixer import AgentMixerConfig
from rllib_agentmixer.runs.tuned import train

config = (
    AgentMixerConfig()
    .environment("coop_box_pushing", env_config={"fully_observable": True, "horizon": 30})
    .env_runners(num_envs_per_env_runner=32)
    .training(
        train_batch_size=3200,
        minibatch_size=800,
        num_epochs=10,
        lr=1e-3,
        entropy_coeff=0.05,
    )
    .evaluation(evaluation_interval=10, evaluation_duration=32)
)

stop = {
    "evaluation/individual/episode_return_mean": 10.0,
    "num_env_steps_sampled_lifetime": 250_000,
}

if __name__ == "__main__":
    train(config, stop)
