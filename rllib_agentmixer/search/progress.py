"""Live progress of a search: a table in a terminal, periodic lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

from ray import tune
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rllib_agentmixer.search.plan import STEPS
from rllib_agentmixer.search.results import setting_of, value_at
from rllib_agentmixer.search.tuner import trial_name

MOST_ROWS = 12
STATES = ("RUNNING", "PENDING", "PAUSED", "TERMINATED", "ERROR")
STATE_LABELS = {"TERMINATED": "done", "ERROR": "failed"}


class SearchProgress(tune.Callback):
    """Callback that displays the state of the trials.

    Args:
        metric: metric that trials are compared by; higher is better.
        searched: settings shown for each trial.
        lines_every_s: seconds between two lines without a terminal.
    """

    def __init__(self, metric: str, searched: list[str], lines_every_s: float = 10.0) -> None:
        self.metric = metric
        self.searched = searched
        self.lines_every_s = lines_every_s
        self._begin()

    def _begin(self) -> None:
        self.console = Console(stderr=True)
        self.best: dict[str, float] = {}
        self.steps: dict[str, int] = {}
        self._last_line = -math.inf
        self._live: Live | None = None

    def __getstate__(self) -> dict[str, Any]:
        """State without the terminal: Tune pickles its callbacks beside the trials."""
        return {n: getattr(self, n) for n in ("metric", "searched", "lines_every_s")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def setup(self, **info: Any) -> None:
        if self.console.is_terminal and self._live is None:
            self._live = Live(console=self.console, refresh_per_second=2, transient=True)
            self._live.start()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name = trial.trial_id
        self.steps[name] = int(result.get(STEPS, 0))
        value = value_at(result, self.metric)
        if value is not None:
            self.best[name] = max(value, self.best.get(name, -math.inf))
        self._show(trials)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._show(trials)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._report_failure(trial, "failed")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._report_failure(trial, "failed and restarts from its last checkpoint")

    def _report_failure(self, trial: Any, what: str) -> None:
        name = trial_name(trial.trial_id)
        self.console.print(f"{name} {what}: see {trial.path}/error.txt", soft_wrap=True)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self.console.print(self.line(trials), highlight=False, soft_wrap=True)

    def _show(self, trials: list[Any]) -> None:
        if self._live is not None:
            self._live.update(self._table(trials))
            return
        now = time.monotonic()
        if now - self._last_line >= self.lines_every_s:
            self._last_line = now
            self.console.print(self.line(trials), highlight=False, soft_wrap=True)

    def line(self, trials: list[Any]) -> str:
        """One-line summary of the search."""
        counts = {state: sum(t.status == state for t in trials) for state in STATES}
        states = ", ".join(
            f"{count} {STATE_LABELS.get(state, state.lower())}"
            for state, count in counts.items()
            if count
        )
        steps = sum(self.steps.values())
        leader = max(self.best, key=lambda name: self.best[name], default=None)
        best = "-" if leader is None else f"{self.best[leader]:.2f} ({trial_name(leader)})"
        return f"{len(trials)} trials: {states}  {steps:,} steps  best {best}"

    def _table(self, trials: list[Any]) -> Table:
        table = Table(title=self.line(trials), title_justify="left")
        for title in ("trial", "state", *self.searched, "steps", "best"):
            table.add_column(title)
        # The last trials are those still running.
        for trial in trials[-MOST_ROWS:]:
            name = trial.trial_id
            settings = [_shown(setting_of(trial.config, key)) for key in self.searched]
            table.add_row(
                trial_name(name),
                STATE_LABELS.get(trial.status, trial.status.lower()),
                *settings,
                f"{self.steps.get(name, 0):,}",
                f"{self.best[name]:.2f}" if name in self.best else "-",
            )
        return table


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
