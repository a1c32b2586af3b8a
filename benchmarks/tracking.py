"""Overhead of logging to MLflow in a training run.

    python -m benchmarks.tracking

Runs with and without MLflow are interleaved. Measured are the CPU time of the training thread
for writing records, of the sending thread and of the whole process during the iterations, and
one-time costs: opening the store, the learning curve.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STORES = ("none", "sqlite", "server")


def train_once(store: str, uri: str, iterations: int) -> dict[str, Any]:
    """Run once in this process; CPU seconds of training thread, sender and process."""
    from rich.console import Console

    from rllib_agentmixer.commands.common import make_config
    from rllib_agentmixer.runs import training
    from rllib_agentmixer.runs.live_progress import LiveProgress
    from rllib_agentmixer.runs.local_ray import keep_ray_private, start_ray
    from rllib_agentmixer.tracking import run_log, sender

    keep_ray_private()
    start_ray(0)
    spent = {"writing": 0.0}
    honest = run_log.RunLog.metrics

    def timed(self: Any, values: dict[str, float], env_steps: int) -> None:
        began = time.perf_counter()
        honest(self, values, env_steps)
        spent["writing"] += time.perf_counter() - began

    run_log.RunLog.metrics = timed
    senders: list[sender.Sender] = []
    close = sender.Sender.close
    sender.Sender.close = lambda self, seconds: senders.append(self) or close(self, seconds)
    config = make_config("predator_prey", "agentmixer", 0, 0, ("train_batch_size=3200",))
    with tempfile.TemporaryDirectory() as place:
        plan = training.RunPlan(
            out=Path(place) / "runs" / "run",
            total_steps=3200 * iterations,
            tracking_uri=uri or None,
            use_mlflow=store != "none",
            checkpoint_every=10**9,
        )
        algorithm = training.build(config, plan)
        cpu_after: list[float] = []

        class Watch(LiveProgress):
            def show(self, now: Any) -> None:
                cpu_after.append(_cpu_seconds())

        before = _cpu_seconds()
        silent = Console(file=io.StringIO())
        outcome = training.run(algorithm, plan, Watch(plan.total_steps, None, console=silent))
        whole = _cpu_seconds() - before
        algorithm.stop()
    # The first iteration includes late imports.
    iterating = cpu_after[-1] - cpu_after[0]
    return {
        "store": store,
        "iterations": len(outcome.rows),
        "metrics": len(outcome.rows[0]) - 2,
        "training_s": outcome.rows[-1]["seconds"],
        "iterations_cpu_s": iterating,
        "once_cpu_s": whole - iterating * len(cpu_after) / (len(cpu_after) - 1),
        "writing_s": spent["writing"],
        "sender_cpu_s": senders[0].thread_seconds if senders else 0.0,
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure in fresh processes, interleaved, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", choices=STORES, help="measure in this process, print JSON")
    parser.add_argument("--uri", default="")
    chosen = parser.parse_args()
    if chosen.once:
        sys.stdout.write(json.dumps(train_once(chosen.once, chosen.uri, chosen.iterations)) + "\n")
        return
    from tests.tracking.servers import Server

    with tempfile.TemporaryDirectory() as place:
        server = Server(Path(place))
        server.start()
        try:
            uris = {"none": "", "sqlite": "", "server": server.uri}
            results = [
                _in_fresh_process(store, uris[store], chosen.iterations)
                for _ in range(chosen.repeats)
                for store in STORES
            ]
        finally:
            server.kill()
    _print_table(results)


def _in_fresh_process(store: str, uri: str, iterations: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tracking", "--once", store, "--uri", uri]
    command += ["--iterations", str(iterations)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _print_table(results: list[dict[str, Any]]) -> None:
    names = ("training_s", "iterations_cpu_s", "once_cpu_s", "writing_s", "sender_cpu_s")
    lines = [f"| store | {' | '.join(names)} |", "| :-- |" + " --: |" * len(names)]
    for store in STORES:
        mine = [one for one in results if one["store"] == store]
        cells = (f"{statistics.median(one[name] for one in mine):.3f}" for name in names)
        lines.append(f"| {store} | {' | '.join(cells)} |")
    shape = f"{results[0]['iterations']} iterations, {results[0]['metrics']} metrics each"
    sys.stdout.write("\n".join([*lines, shape, ""]))


if __name__ == "__main__":
    main()
