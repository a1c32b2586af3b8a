"""Runs of the command line in processes of their own, which tests may kill."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    *("num_envs_per_env_runner=4", "train_batch_size=64", "num_epochs=1", "hidden_size=16"),
    *("critic_hidden=[8]", "model.max_seq_len=5", "env.max_steps=8", "evaluation_duration=4"),
    *("evaluation_interval=1", "log_sys_usage=false", "min_time_s_per_iteration=0"),
)


class Command:
    """A command of this package in a process of its own, with all that it starts."""

    def __init__(self, *arguments, env=None):
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rllib_agentmixer", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200", **(env or {})},
        )
        self.family = []

    def note_family(self):
        """Remember every process below this one; they may be orphans later."""
        with suppress(psutil.NoSuchProcess):
            self.family += psutil.Process(self.process.pid).children(recursive=True)

    def wait_until(self, condition, seconds=90.0):
        """Whether a condition came true while the command ran."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and self.process.poll() is None:
            if condition():
                self.note_family()
                return True
            time.sleep(0.005)
        return False

    def kill(self):
        self.note_family()
        self.process.kill()
        return self.end()

    def send(self, number):
        self.note_family()
        self.process.send_signal(number)
        return self.end()

    def end(self, seconds=180.0):
        """Exit status, standard output and standard error."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def survivors(self, seconds=30.0):
        """Processes of the family that are still there after a while."""
        _, alive = psutil.wait_procs(set(self.family), timeout=seconds)
        return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def command():
    """Starts commands; whatever a test leaves of them is ended by process id."""
    started = []

    def start(*arguments, **options):
        started.append(Command(*arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.note_family()
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
        for process in one.survivors(seconds=5.0):
            process.kill()
