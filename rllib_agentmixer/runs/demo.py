"""The demonstration: train, compare joint and individual play, export, act without Ray, draw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from rllib_agentmixer.errors import ExportError
from rllib_agentmixer.runs import training
from rllib_agentmixer.runs.checkpoints import FOLDER, RunCheckpoints
from rllib_agentmixer.runs.live_progress import LiveProgress
from rllib_agentmixer.runs.local_ray import start_ray
from rllib_agentmixer.tracking import MLflowTracker, flatten
from rllib_agentmixer.utils.figures import check_available, save_learning_curve

if TYPE_CHECKING:
    from rllib_agentmixer.adapters.classic.algorithms import AgentMixerConfig

NUM_EPISODES = 100
NUM_WORKERS = 2


def demo_config(seed: int) -> AgentMixerConfig:
    """Predator-prey 5x5 with penalty -1, on two rollout workers.

    Hysteretic advantages: with standard ones most runs learn to avoid the prey
    (see ``docs/algorithms/agentmixer.md``).
    """
    from rllib_agentmixer.adapters.classic.algorithms import AgentMixerConfig

    config = (
        AgentMixerConfig()
        .environment("predator_prey", env_config={"penalty": -1.0})
        .env_runners(num_env_runners=NUM_WORKERS, num_envs_per_env_runner=32)
        .training(train_batch_size=6400, advantage_scale="hysteretic")
        .evaluation(evaluation_interval=5, evaluation_duration=64)
        .debugging(seed=seed)
    )
    return config  # type: ignore[return-value]


@dataclass(frozen=True)
class _Files:
    """Files that the demonstration writes."""

    out: Path

    @property
    def exported(self) -> Path:
        return self.out / "exported"

    @property
    def curve(self) -> Path:
        return self.out / "learning_curve.png"

    @property
    def episode(self) -> Path:
        return self.out / "episode.gif"

    @property
    def summary(self) -> Path:
        return self.out / "summary.json"


def run_demo(
    out: Path, minutes: float, seed: int, console: Console | None = None
) -> dict[str, Any]:
    """Run all steps and return the metrics of the summary.

    Args:
        out: folder; a run that is already there moves aside to ``<out>-<time>``.
        minutes: training time.
        seed: of everything.
        console: where to print.
    """
    from rllib_agentmixer.export import export_policies

    check_available()
    console = console or Console()
    _move_aside(out)
    files = _Files(out)
    plan = training.RunPlan(out=out, time_limit_s=60 * minutes, experiment="demo")
    console.print(
        "[bold]1/5[/] starting Ray on this machine (127.0.0.1, two workers); this takes a minute"
    )
    with training.preparing(plan):
        start_ray(NUM_WORKERS)
    algorithm = training.build(demo_config(seed), plan)
    console.print("[bold]2/5[/] untrained policies, then training predator-prey, penalty -1")
    before = algorithm.evaluate()
    outcome = training.run(algorithm, plan, LiveProgress(None, plan.time_limit_s))
    console.print("[bold]3/5[/] joint and individual policies side by side")
    after = algorithm.evaluate()
    console.print("[bold]4/5[/] exporting the individual policies, playing them without Ray")
    manifest = export_policies(algorithm, files.exported)
    algorithm.stop()
    played = play_in_fresh_process(files.exported, NUM_EPISODES, files.episode)
    console.print("[bold]5/5[/] drawing")
    _draw_curve(files, before, outcome, after)
    numbers = {"seed": seed, **_numbers(outcome, before, after), "without_ray": played}
    numbers["parity"] = manifest["parity"]
    files.summary.write_text(json.dumps(numbers, indent=1))
    _log_files(plan, files)
    _print_summary(console, numbers, files)
    return numbers


def _numbers(
    outcome: training.RunOutcome, before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    last = outcome.rows[-1]
    return {
        "env_steps": int(last["env_steps"]),
        "training_seconds": round(last["seconds"], 1),
        "untrained": _returns(before),
        "trained": _returns(after),
        "central_gap": after["central_gap"],
        "mode_agreement": last["learner/mode_agreement"],
    }


def _draw_curve(
    files: _Files, before: dict[str, Any], outcome: training.RunOutcome, after: dict[str, Any]
) -> None:
    start = {"env_steps": 0.0} | flatten({"evaluation": before})
    *rows, last = outcome.rows
    end = last | flatten({"evaluation": after})  # what the summary reports
    title = "AgentMixer on predator-prey, penalty -1"
    save_learning_curve([start, *rows, end], files.curve, title)


def _move_aside(out: Path) -> None:
    if RunCheckpoints(out).all:
        out.rename(out.with_name(f"{out.name}-{time.strftime('%Y%m%d-%H%M%S')}"))


def play_in_fresh_process(folder: Path, num_episodes: int, gif: Path) -> dict[str, Any]:
    """Load an export in a process of its own, which never imports Ray, play, draw an episode.

    Raises:
        ExportError: the process failed, or did import Ray.
    """
    command = [
        sys.executable,
        *("-m", "rllib_agentmixer.play", str(folder), "--episodes", str(num_episodes)),
        *("--render", str(gif)),
    ]
    done = subprocess.run(  # noqa: S603 - our own module on our own folder
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise ExportError(f"playing {folder} without Ray failed:\n{done.stderr.strip()}")
    results = json.loads(done.stdout)
    if results["uses_ray"]:
        raise ExportError("playing the export imported Ray; it must not")
    return results


def _returns(evaluation: dict[str, Any]) -> dict[str, float]:
    return {
        kind: evaluation[kind]["episode_return_mean"]
        for kind in ("individual", "joint", "individual_sampled", "joint_sampled")
    }


def _log_files(plan: training.RunPlan, files: _Files) -> None:
    tracker = MLflowTracker(plan.out, plan.experiment, plan.tracking_uri)
    for path in (files.curve, files.episode, files.summary, files.exported):
        tracker.log_artifact(path)
    tracker.finish()


def _print_summary(console: Console, numbers: dict[str, Any], files: _Files) -> None:
    table = Table(title="mean team return per episode", title_justify="left")
    for title in ("policy", "untrained", "trained"):
        table.add_column(title, justify="left" if title == "policy" else "right")
    for kind, label in (
        ("individual", "individual policies (deployed), modes"),
        ("joint", "joint policy, modes"),
        ("individual_sampled", "individual policies, sampled"),
        ("joint_sampled", "joint policy, sampled"),
    ):
        before, after = (numbers[when][kind] for when in ("untrained", "trained"))
        table.add_row(label, f"{before:.2f}", f"{after:.2f}")
    played = numbers["without_ray"]
    table.add_row(
        f"export without Ray, {played['num_episodes']} episodes",
        "",
        f"{played['episode_return_mean']:.2f}",
    )
    console.print(table)
    console.print(
        f"{numbers['env_steps']:,} steps in {numbers['training_seconds']:.0f} s of training; "
        f"modes agree in {numbers['mode_agreement']:.1%} of decisions; "
        f"export differs from checkpoint by at most {numbers['parity']['max_difference']:.1e}",
        highlight=False,
    )
    _print_files(console, files)


def own_interpreter() -> Path:
    """Path of the current Python, relative to the current folder if it lies inside."""
    here = Path(sys.executable)
    return here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here


def _print_files(console: Console, files: _Files) -> None:
    out, interpreter = files.out, own_interpreter()
    command, store = f"{interpreter} -m rllib_agentmixer", f"sqlite:///{out.parent / 'mlflow.db'}"
    for path, what in (
        (files.curve, "learning curve"),
        (files.episode, "one episode"),
        (files.exported, "individual policies for deployment"),
        (out / FOLDER, "checkpoints"),
        (files.summary, "these numbers"),
        (out.parent / "mlflow.db", "MLflow store"),
    ):
        console.print(f"  {path}  [dim]{what}[/]", highlight=False, soft_wrap=True)
    console.print("next:", highlight=False)
    for line in (
        f"{command} evaluate {out} --render {out / 'joint.gif'}",
        f"{command}.play {files.exported} --episodes 100",
        f"{command} train predator_prey --steps 300000 --out runs/gumbel igc=gumbel",
        f"{interpreter} -m mlflow ui --host 127.0.0.1 --backend-store-uri {store}",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
