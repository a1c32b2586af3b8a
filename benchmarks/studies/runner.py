"""Execution of tasks in this process, or in several with one Ray instance each."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmarks.studies.results import Result
from benchmarks.studies.task import Task, attempt, failure, own_ray

READY = "ready"
PATIENCE_S = 10.0
"""Time limit for a process to stop its Ray at the end."""

Record = Callable[[Result], None]
Serve = Callable[[Connection], None]


def serve(
    connection: Connection,
    surroundings: Callable[[], AbstractContextManager[None]] = own_ray,
    run: Callable[[Task], Result] = attempt,
) -> None:
    """Function run by a process: receives tasks, sends results, until the pipe closes."""
    with surroundings():
        connection.send(READY)
        while True:
            try:
                task = connection.recv()
            except (EOFError, KeyboardInterrupt):
                return
            connection.send(run(task))


def run_tasks(tasks: Sequence[Task], num_jobs: int, record: Record, serve: Serve = serve) -> None:
    """Run all tasks and hand each result to ``record``, in the order in which they end.

    A task that raises, or kills its process, becomes a failed result; the others continue.

    Args:
        tasks: in the order in which they start.
        num_jobs: processes; 1 runs everything in this one.
        record: called in this process.
        serve: function run by the processes, if there are several.
    """
    if not tasks:
        return
    if num_jobs > 1:
        run_in_processes(deque(tasks), min(num_jobs, len(tasks)), record, serve)
        return
    with own_ray():
        for task in tasks:
            record(attempt(task))


def run_in_processes(waiting: deque[Task], num_jobs: int, record: Record, serve: Serve) -> None:
    """Run tasks in processes that are restarted when they die; empties ``waiting``."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it when it is imported
    members: list[Member] = []
    try:
        for _ in range(num_jobs):
            # Sequential startup avoids port conflicts; each works while the next starts.
            members.append(Member(serve))
            members[-1].give(waiting.popleft())
        while busy := [member for member in members if member.task is not None]:
            ready = set(wait([handle for member in busy for handle in member.handles]))
            for member in busy:
                if ready.isdisjoint(member.handles):
                    continue
                record(member.take())
                if waiting:
                    member.give(waiting.popleft())
    finally:
        for member in members:
            member.close()


class Member:
    """Process that runs tasks sequentially."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.task: Task | None = None
        self.start()

    def start(self) -> None:
        """Start the process, and wait until its Ray instance is ready.

        Raises:
            RuntimeError: the process died.
        """
        context = get_context("spawn")
        self.connection, its_end = context.Pipe()
        self.process = context.Process(target=self.serve, args=(its_end,), daemon=True)
        self.process.start()
        its_end.close()
        try:
            self.connection.recv()
        except EOFError as error:
            raise RuntimeError("a worker process died before its first task") from error

    @property
    def handles(self) -> tuple[Any, int]:
        """Objects that become ready when there is a result or the process died."""
        return self.connection, self.process.sentinel

    def give(self, task: Task) -> None:
        """Send it a task; a process that died is restarted first."""
        if not self.process.is_alive():
            self.connection.close()
            self.start()
        self.task = task
        self.connection.send(task)

    def take(self) -> Result:
        """The result of its task; a failure if the process died."""
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
        """Stop it with its Ray; a process in the middle of a task is terminated."""
        self.connection.close()
        if self.task is None:
            self.process.join(PATIENCE_S)
        self.process.terminate()
        self.process.join()
