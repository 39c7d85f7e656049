"""Jobs as arrays of a Slurm cluster, through submitit; logs and what is submitted lie in `root/slurm`.

A job that is not done when its time limit comes near writes a checkpoint and asks Slurm to queue it again, as it also
does when it is pre-empted: this goes on when nobody watches any more. The results folder must be one that all nodes
see; of an address in object storage its local copies folder (MBRL_COPIES), through which submitit speaks to them.
"""

from __future__ import annotations

import os
import pickle
import signal
import time
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
    return Slurm(submitit, executor, setting, float(limit))


class Slurm:
    """Jobs in the queue, and what they gave back.

    Args:
      submitit: the package.
      executor: its executor, with the parameters of all jobs.
      setting: what a job's process does first.
      limit: seconds that Slurm gives a job.
    """

    def __init__(self, submitit: Any, executor: Any, setting: Setting, limit: float):
        self._submitit, self._executor, self._setting, self._limit = submitit, executor, setting, limit
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
            found = [self._outcome(name, job) for name, job in list(self._queued.items()) if job.done()]
            if time.monotonic() > until:
                break
            time.sleep(0.0 if found else min(0.2, seconds))
        for outcome in found:
            del self._queued[outcome.identity]
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
