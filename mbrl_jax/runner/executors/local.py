"""Worker processes on this machine, as many as its cores and its memory allow."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import psutil

from mbrl_jax.host import available_cores
from mbrl_jax.jobs import How, Job
from mbrl_jax.runner.costs import PROCESS_MEMORY, Price
from mbrl_jax.runner.executors.attempt import Outcome, attempt
from mbrl_jax.runner.executors.setting import Setting
from mbrl_jax.runner.loop import Interrupted

__all__ = ["Local"]

MEMORY = 2 * PROCESS_MEMORY  # bytes that a worker takes with a job of which nothing is known
GRACE = 60.0  # seconds that a worker has to write its checkpoint when all must end


class _Worker(NamedTuple):
    """A process and the pipe to it."""

    process: BaseProcess
    pipe: multiprocessing.connection.Connection


class Local:
    """Workers that live as long as the executor: each does one job at a time and keeps what it has compiled.

    Args:
      setting: what a worker does before its first job.
      workers: how many at most; as many as there are cores if None.
    """

    def __init__(self, setting: Setting, workers: int | None = None):
        self._setting = setting
        self._most = available_cores() if workers is None else workers
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}

    def room(self, price: Price) -> bool:
        """Whether fewer than the most work, and memory is left for this job; one job is always allowed."""
        if not self._busy:
            return True
        wanted = MEMORY if price.memory is None else price.memory
        return len(self._busy) < self._most and psutil.virtual_memory().available > wanted

    def start(self, job: Job, root: Path, how: How, price: Price) -> None:
        """Hands the job to a worker that has none, or to a new one."""
        content = pickle.dumps((pickle.dumps(job), root, how))
        while True:
            worker = self._idle.pop() if self._idle else self._spawn()
            try:
                worker.pipe.send_bytes(content)
            except OSError:  # it died while it had nothing to do
                continue
            self._busy[job.identity] = worker
            return

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._setting), daemon=False)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes of workers that have one, or that died."""
        pipes = {worker.pipe: identity for identity, worker in self._busy.items()}
        found = []
        for pipe in multiprocessing.connection.wait(list(pipes), seconds):
            assert isinstance(pipe, multiprocessing.connection.Connection)
            identity = pipes[pipe]
            worker = self._busy.pop(identity)
            try:
                found.append(Outcome(*pipe.recv()))
                self._idle.append(worker)
            except (EOFError, OSError):
                worker.process.join()
                found.append(Outcome(identity, "lost", f"exit code {worker.process.exitcode}"))
        return found

    def close(self) -> None:
        """Asks workers that are at work to stop, which writes a checkpoint, and waits for all to end."""
        for worker in self._busy.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid or 0, signal.SIGTERM)
        until = time.monotonic() + GRACE
        for worker in (*self._idle, *self._busy.values()):
            worker.pipe.close()
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._idle, self._busy = [], {}

    @property
    def processes(self) -> list[int]:
        """The workers' process numbers, those at work first."""
        return [worker.process.pid or 0 for worker in (*self._busy.values(), *self._idle)]


def _serve(pipe: multiprocessing.connection.Connection, setting: Setting) -> None:
    """A worker's life: it ends when the pipe does, or with a signal."""
    setting.begin()
    while True:
        try:
            content = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        packed, root, how = pickle.loads(content)
        job: Job = pickle.loads(packed)
        try:
            outcome = attempt(job, root, how)
        except Interrupted as stopped:
            _send(pipe, Outcome(job.identity, "stopped", "a signal came"))
            if stopped.at_once and isinstance(stopped.code, int):
                os._exit(stopped.code)  # Python's own end waits for the program that is running
            sys.exit(stopped.code)
        if not _send(pipe, outcome):
            return


def _send(pipe: multiprocessing.connection.Connection, outcome: Outcome) -> bool:
    try:
        pipe.send(tuple(outcome))
    except OSError:  # nobody listens any more; the results folder knows
        return False
    return True
