"""Run tasks in this process, or in several with a Ray each."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmarks.studies.task import Task, attempt, failure, prepare_process

Record = Callable[..., None]
"""Takes every result as soon as it is there."""

READY = "ready"
PATIENCE_S = 10.0
"""Time that a process gets to stop its Ray at the end."""


def run_tasks(tasks: Sequence[Task], num_jobs: int, record: Record) -> None:
    """Run all tasks and hand each result to ``record``, in the order in which they end.

    A task that raises, or takes its process along, becomes a failed result; the others go on.

    Args:
        tasks: in the order in which they start.
        num_jobs: processes; 1 runs everything in this one.
        record: called in this process.
    """
    if not tasks:
        return
    if num_jobs == 1:
        prepare_process()
        for task in tasks:
            record(attempt(task))
        return
    _run_in_processes(deque(tasks), min(num_jobs, len(tasks)), record)


def _run_in_processes(waiting: deque[Task], num_jobs: int, record: Record) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it when it is imported
    members: list[Member] = []
    try:
        for _ in range(num_jobs):
            # One after another: each finds its ports free, and works while the next starts.
            members.append(Member())
            members[-1].give(waiting.popleft())
        while busy := [member for member in members if member.task is not None]:
            ready = wait([handle for member in busy for handle in member.handles])
            for member in busy:
                if not set(member.handles) & set(ready):
                    continue
                record(member.take())
                if not member.is_alive and waiting:
                    member.start()
                if waiting:
                    member.give(waiting.popleft())
    finally:
        for member in members:
            member.close()


class Member:
    """A process that runs one task after another."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.start()

    def start(self) -> None:
        """Start the process, and wait until its Ray is up.

        Raises:
            RuntimeError: it died before.
        """
        context = get_context("spawn")
        self.connection, its_end = context.Pipe()
        self.process = context.Process(target=work, args=(its_end,), daemon=True)
        self.process.start()
        its_end.close()
        try:
            self.connection.recv()
        except EOFError as error:
            raise RuntimeError("a worker process died before its first task") from error

    @property
    def handles(self) -> tuple[Any, int]:
        """What becomes ready when there is a result or the process died."""
        return self.connection, self.process.sentinel

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def give(self, task: Task) -> None:
        """Let it run a task."""
        self.task = task
        self.connection.send(task)

    def take(self) -> Any:
        """The result of its task; a failure if the process died over it."""
        task, self.task = self.task, None
        assert task is not None
        try:
            if self.connection.poll():
                return self.connection.recv()
        except (EOFError, ConnectionError):
            pass
        self.process.join()
        return failure(task, f"the process died with exit code {self.process.exitcode}")

    def close(self) -> None:
        """Let it stop its Ray; a process that is in the middle of a task is terminated."""
        self.connection.close()
        if self.task is None:
            self.process.join(PATIENCE_S)
        self.process.terminate()
        self.process.join()


def work(connection: Connection) -> None:
    """What a process does: tasks in, results out, until the other end closes."""
    import ray

    prepare_process()
    connection.send(READY)
    while True:
        try:
            task = connection.recv()
        except (EOFError, KeyboardInterrupt):
            break
        connection.send(attempt(task))
    ray.shutdown()
