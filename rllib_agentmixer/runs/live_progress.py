"""Live progress table of a training run."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table


@dataclass(frozen=True)
class Snapshot:
    """Displayed metrics of one training iteration.

    Attributes:
        env_steps: joint environment steps so far.
        joint_return: mean episode return of the exploring joint policy in training.
        individual_return: mean return of the individual policies at the last evaluation.
        mode_agreement: fraction of decisions whose joint and individual modes agree.
    """

    env_steps: int
    joint_return: float
    individual_return: float
    mode_agreement: float


def snapshot(result: dict[str, Any], last_individual: float = math.nan) -> Snapshot:
    """Extract the displayed metrics from RLlib's result."""
    stats = result["info"]["learner"].get("default_policy", {}).get("learner_stats", {})
    evaluation = result.get("evaluation", {}).get("individual", {})
    return Snapshot(
        env_steps=int(result["num_env_steps_sampled_lifetime"]),
        joint_return=float(result["env_runners"]["episode_return_mean"]),
        individual_return=float(evaluation.get("episode_return_mean", last_individual)),
        mode_agreement=float(stats.get("mode_agreement", math.nan)),
    )


@dataclass
class LiveProgress:
    """Live table in a terminal, periodic lines elsewhere.

    Attributes:
        total_steps: steps at which training ends; None if only time limits it.
        time_limit_s: training time limit in seconds; None for no limit.
    """

    total_steps: int | None
    time_limit_s: float | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True))
    lines_every_s: float = 10.0

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.first_steps: int | None = None
        self._last_line = -math.inf
        unit = "seconds" if self.total_steps is None else "env steps"
        self._bar = Progress(
            TextColumn(unit), BarColumn(bar_width=40), MofNCompleteColumn(), console=self.console
        )
        total = self.time_limit_s if self.total_steps is None else self.total_steps
        self._task = self._bar.add_task(unit, total=total)
        self._live = Live(console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveProgress:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def begin(self, env_steps: int) -> None:
        """Start the timer at a step count (nonzero in a resumed run)."""
        self.started, self.first_steps = time.monotonic(), env_steps

    def show(self, now: Snapshot) -> None:
        """Display the metrics of an iteration."""
        elapsed = time.monotonic() - self.started
        steps = now.env_steps - (self.first_steps or 0)
        rate = steps / elapsed if elapsed > 0 else math.nan
        left = self.seconds_left(now.env_steps, rate, elapsed)
        if self.console.is_terminal:
            done = int(elapsed) if self.total_steps is None else now.env_steps
            self._bar.update(self._task, completed=done)
            self._live.update(self._table(now, rate, left))
        elif elapsed - self._last_line >= self.lines_every_s:
            self._last_line = elapsed
            self.console.print(
                f"{now.env_steps:>9,} steps  {rate:>7,.0f} steps/s  "
                f"joint {_number(now.joint_return):>8}  "
                f"individual {_number(now.individual_return):>8}  "
                f"mode agreement {_share(now.mode_agreement):>5}  {_minutes(left)} left",
                highlight=False,
                soft_wrap=True,
            )

    def seconds_left(self, env_steps: int, rate: float, elapsed: float) -> float:
        """Estimated time until the first of the two limits."""
        by_steps = by_time = math.inf
        if self.total_steps is not None and rate > 0:
            by_steps = max(0.0, self.total_steps - env_steps) / rate
        if self.time_limit_s is not None:
            by_time = max(0.0, self.time_limit_s - elapsed)
        return min(by_steps, by_time)

    def _table(self, now: Snapshot, rate: float, left: float) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(self._bar)
        numbers = Table(show_edge=False, box=None)
        for title in (
            "env steps",
            "steps/s",
            "joint return",
            "individual return",
            "mode agreement",
            "left",
        ):
            numbers.add_column(title, justify="right")
        numbers.add_row(
            f"{now.env_steps:,}",
            f"{rate:,.0f}",
            _number(now.joint_return),
            _number(now.individual_return),
            _share(now.mode_agreement),
            _minutes(left),
        )
        table.add_row(numbers)
        return table


def _number(value: float) -> str:
    """Value with two decimals; a dash if there is none yet."""
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _share(value: float) -> str:
    """Percentage; a dash if not measured, as without a policy modifier."""
    return f"{value:.1%}" if math.isfinite(value) else "-"


def _minutes(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
