"""Jobs as arrays of a Slurm cluster, through submitit; logs and what is submitted lie in `root/slurm`.

A job that is not done when its time limit comes near writes a checkpoint and asks Slurm to queue it again, as it also
does when it is pre-empted: this goes on when nobody watches any more. The results folder must be one that all nodes
see; of an address in object storage its local copies folder (MBRL_COPIES), through which submitit speaks to them.
"""

from __future__ import annotations

import getpass
import os
import pickle
import re
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mbrl_jax import storage
from mbrl_jax.host import package
from mbrl_jax.jobs import How, Job
from mbrl_jax.runner.costs import Price
from mbrl_jax.runner.executors.attempt import Outcome, attempt
from mbrl_jax.runner.executors.by_name import Wanted
from mbrl_jax.runner.executors.setting import Setting
from mbrl_jax.runner.progress import say

__all__ = ["Call", "Slurm", "make"]

LEAST_MINUTES = 3
MARGIN_SECONDS = 240.0  # before the limit, at most half of it: a chunk ends and a checkpoint is written
SIGNAL_SECONDS = 90  # before the limit Slurm sends its signal, at most a ninth of it: should a chunk take too long.
# Slurm may send it a minute earlier than that, which must not be before the margin.
LEAST_MEMORY = 2**30  # bytes asked for where a job is thought to need less, or nothing is known
MOST_QUEUED = 1000  # Slurm's default limit of an array
REQUEUES = 100
LOOK_SECONDS = 20.0  # between looks at the queue; a job that two of them do not find, and that left no result, is lost


def make(wanted: Wanted, root: Path, setting: Setting, cluster: str | None = None) -> Slurm:
    """The executor.

    Args:
      wanted: time limit, GPUs, partition.
      root: the results folder.
      setting: what a job's process does first.
      cluster: submitit's name for it: `slurm`, or `local` for processes without Slurm; Slurm if None.

    Raises:
      MissingPackageError: submitit is not installed.
      RuntimeError: there is no Slurm here.
      ValueError: the time limit is too short for what Slurm's clock resolves.
    """
    if wanted.minutes < LEAST_MINUTES:
        raise ValueError(f"a job's time limit must be at least {LEAST_MINUTES} minutes, got {wanted.minutes}")
    submitit: Any = package("submitit", "the executor slurm", "slurm")
    folder, cluster = root / "slurm" / "%j", cluster or "slurm"
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, slurm_max_num_timeout=REQUEUES)
    limit = wanted.minutes * 60
    more: dict[str, object] = {"slurm_partition": wanted.partition} if wanted.partition else {}
    more["slurm_signal_delay_s"] = min(SIGNAL_SECONDS, limit // 9)
    executor.update_parameters(
        name="mbrl", timeout_min=wanted.minutes, cpus_per_task=1, gpus_per_node=wanted.gpus, tasks_per_node=1, **more
    )
    return Slurm(submitit, executor, setting, float(limit), None if cluster == "local" else Queue())


class Queue:
    """Which jobs Slurm still has.

    submitit asks Slurm's accounting, every ten minutes, which not every cluster keeps; the queue is always there.
    """

    def __init__(self) -> None:
        self._looked, self._missed = time.monotonic(), dict[str, int]()

    def gone(self, numbers: Iterable[str]) -> set[str]:
        """Those of these jobs that the last looks did not find."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            found = _said("squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}")
            if found is not None:
                held = set(found.split())
                self._missed = {n: 0 if n in held else self._missed.get(n, 0) + 1 for n in numbers}
        return {number for number, misses in self._missed.items() if misses > 1}

    def reason(self, number: str) -> str:
        """Why a job ended, as far as Slurm still knows."""
        text = _said("scontrol", "-o", "show", "job", number) or ""
        told = [re.search(rf"\b{name}=(\S+)", text) for name in ("JobState", "Reason")]
        return ": ".join(found[1] for found in told if found) or "left the queue without a result"


def _names(folder: Path) -> list[str]:
    """What a folder lists; nothing if it is not there, or not yet."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _said(*command: str) -> str | None:
    """What a command of Slurm's prints; None where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


class Slurm:
    """Jobs in the queue, and what they gave back.

    Args:
      submitit: the package.
      executor: its executor, with the parameters of all jobs.
      setting: what a job's process does first.
      limit: seconds that Slurm gives a job.
      queue: whom to ask for jobs that end without a word; None where submitit's own processes do the work.
    """

    def __init__(self, submitit: Any, executor: Any, setting: Setting, limit: float, queue: Queue | None):
        self._submitit, self._executor, self._setting, self._limit = submitit, executor, setting, limit
        self._queue = queue
        self._new: list[tuple[str, Call, int]] = []
        self._queued: dict[str, Any] = {}

    def room(self, price: Price) -> bool:
        """Whether the queue takes one more."""
        return len(self._queued) + len(self._new) < MOST_QUEUED

    def start(self, job: Job, root: Path, how: How, price: Price) -> None:
        """Notes the job; all that are ready are handed over together, as one array."""
        call = Call(pickle.dumps(self._setting), pickle.dumps(job), storage.place(root), how, self._limit)
        self._new.append((job.identity, call, max(price.memory or 0, LEAST_MEMORY)))

    def _submit(self) -> None:
        if not self._new:
            return
        memory = max(memory for _, _, memory in self._new)
        self._executor.update_parameters(mem_gb=-(-memory // 2**30))
        with self._executor.batch():
            handles = [(identity, self._executor.submit(call)) for identity, call, _ in self._new]
        self._queued |= dict(handles)
        self._new = []

    def wait(self, seconds: float) -> list[Outcome]:
        """Looks after the queue once; the outcomes of jobs that left it."""
        self._submit()
        until, found = time.monotonic() + seconds, []
        while not found and self._queued:
            found = self._ended()
            if time.monotonic() > until:
                break
            time.sleep(0.0 if found else min(0.2, seconds))
        for outcome in found:
            del self._queued[outcome.identity]
        return found

    def _ended(self) -> list[Outcome]:
        if self._queue is None:
            return [self._outcome(name, job) for name, job in self._queued.items() if job.done()]
        gone = self._queue.gone([job.job_id for job in self._queued.values()])
        found = []
        for name, job in self._queued.items():
            if job.paths.result_pickle.name in _names(job.paths.folder):  # a listing is new on network drives too
                found.append(self._outcome(name, job))
            elif job.job_id in gone:
                found.append(Outcome(name, "lost", self._queue.reason(job.job_id)))
        return found

    def _outcome(self, identity: str, job: Any) -> Outcome:
        try:
            return Outcome(*job.result())
        except self._submitit.core.utils.UncompletedJobError as error:
            return Outcome(identity, "lost", f"{job.state}: {' '.join(str(error).split())}"[:400])
        except Exception as error:  # whatever happened before the job's own code was reached
            return Outcome(identity, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:400])

    def close(self) -> None:
        """Leaves the queue as it is: Slurm goes on, `status` follows, and the same command waits for it again."""
        if self._queued:
            say(f"{len(self._queued)} jobs stay in Slurm's queue; the same command goes on watching, scancel ends them")


class Call:
    """A job as Slurm runs it.

    Args:
      setting: what the process does first, pickled.
      job: the job, pickled, so that it is unpacked after that.
      root: the results folder, or the address that it is a copy of.
      how: how it is done.
      limit: seconds that Slurm gives it.
    """

    def __init__(self, setting: bytes, job: bytes, root: str, how: How, limit: float):
        self.setting, self.job, self.root, self.how, self.limit = setting, job, root, how, limit

    def __call__(self) -> tuple:
        """Does the job; where its time is up, queues itself again and does not return."""
        began = time.time()
        setting: Setting = pickle.loads(self.setting)
        setting.begin()
        job: Job = pickle.loads(self.job)
        until = began + self.limit - min(MARGIN_SECONDS, 0.5 * self.limit)
        own = self.how.deadline is not None and self.how.deadline < until
        how = self.how if own else self.how._replace(deadline=until)
        outcome = attempt(job, storage.folder(self.root), how)
        if outcome.ending == "stopped" and not own:
            os.kill(os.getpid(), signal.SIGUSR2)  # submitit's own signal: it calls `checkpoint`, requeues and ends
            time.sleep(MARGIN_SECONDS)
        return tuple(outcome)

    def checkpoint(self) -> Any:
        """What is queued again: the same job, which goes on from its last checkpoint."""
        submitit: Any = package("submitit", "the executor slurm", "slurm")
        return submitit.helpers.DelayedSubmission(self)
