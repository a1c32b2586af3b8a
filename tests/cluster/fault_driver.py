"""A training on a cluster that writes one line of JSON per iteration, until a file appears.

python fault_driver.py '{"workers": 2, "lines": "..", "stop": "..", ...}'
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from rllib_agentmixer.runs.local_ray import keep_ray_private, start_ray

BATCH = 1600


def pid_of(worker):
    return os.getpid()


def evaluation_pids(algorithm):
    group = algorithm.eval_env_runner_group
    return group.foreach_env_runner(pid_of, local_env_runner=False) if group else []


def make(settings):
    from rllib_agentmixer import AgentMixerConfig

    config = AgentMixerConfig().environment("predator_prey")
    config.env_runners(num_env_runners=settings["workers"], num_envs_per_env_runner=8)
    config.training(train_batch_size=BATCH, num_epochs=1)
    config.fault_tolerance(
        delay_between_env_runner_restarts_s=0, env_runner_health_probe_timeout_s=5
    )
    config.env_runners(sample_timeout_s=20)
    if settings.get("evaluation_workers"):
        config.evaluation(
            evaluation_interval=1,
            evaluation_num_env_runners=settings["evaluation_workers"],
            evaluation_duration=8,
        )
    return config.debugging(seed=0).build_algo()


def main(settings):
    keep_ray_private()
    start_ray(settings["workers"] + settings.get("evaluation_workers", 0))
    algorithm = make(settings)
    kill_at = settings.get("kill_evaluation_at")
    with Path(settings["lines"]).open("w") as file:
        while not Path(settings["stop"]).exists():
            if kill_at == algorithm.iteration:
                for pid in evaluation_pids(algorithm):
                    os.kill(pid, signal.SIGKILL)
            steps = algorithm.num_env_steps
            started = time.monotonic()
            result = algorithm.train()
            line = {
                "seconds": time.monotonic() - started,
                "at": time.time(),
                "steps": algorithm.num_env_steps - steps,
                "healthy": algorithm.workers_group.num_healthy_remote_workers(),
                "evaluated": result.get("evaluation", {}).get("individual", {}).get("num_episodes"),
            }
            file.write(json.dumps(line) + "\n")
            file.flush()
    algorithm.stop()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
