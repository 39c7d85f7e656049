"""One attempt at a job by whoever holds its lease, and what is known of a job from the results folder alone.

A lease is a lock that the operating system gives back however its holder ends: nobody takes it over before, and nobody
waits after. On a file system that several machines share it must have working locks (`check_locks`). Where results lie
in object storage the lease is there as well (`storage.lease`), and what an attempt reads and leaves is fetched and
published by it.

    root/jobs/<identity>/lock           the lease: who works, or worked last, on the job
    root/jobs/<identity>/record.json    how the last attempt went, where, and how long it took
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Literal, NamedTuple

from mbrl_jax import results, storage
from mbrl_jax.files import in_the_way, write_whole
from mbrl_jax.host import peak_memory, reset_peak_memory
from mbrl_jax.jobs import How, Job
from mbrl_jax.locks import FileLock
from mbrl_jax.runner.lock import BusyError, Lock, held
from mbrl_jax.runner.loop import Interrupted, TimeUpError
from mbrl_jax.runner.progress import say
from mbrl_jax.types import Facts

__all__ = ["Outcome", "State", "attempt", "check_locks", "done", "folder", "state"]

Ending = Literal["done", "failed", "stopped", "busy", "lost"]
REASON = 400  # letters of a reason that are kept


class Outcome(NamedTuple):
    """How an attempt ended.

    Attributes:
      identity: the job's.
      ending: `done`; `failed` with a reason; `stopped` before its end, to be resumed; `busy`: another one works on it;
        `lost`: whoever worked on it died.
      reason: why it failed, or who works on it.
      seconds: what the attempt took.
    """

    identity: str
    ending: Ending
    reason: str = ""
    seconds: float = 0.0


class State(NamedTuple):
    """What is known of a job.

    Attributes:
      status: `done`, `diverged` (done, but some seeds diverged), `running`, `to resume`, `failed` or `not begun`.
      reason: why it failed, or which seeds diverged.
      step: environment steps that are stored.
      diverged: seeds that diverged.
      seconds: of compiling and running, as stored.
    """

    status: str
    reason: str = ""
    step: int = 0
    diverged: int = 0
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return self.status in ("done", "diverged")


def folder(root: Path, identity: str) -> Path:
    """Where a job's lease and record are."""
    return root / "jobs" / identity


def check_locks(root: Path) -> None:
    """Refuses a results folder on whose file system two processes could hold one lease.

    Raises:
      OSError: a second lock is granted, or none is.
    """
    probe = root / "jobs" / f".probe-{os.getpid()}"
    try:
        with FileLock(probe):
            try:
                with FileLock(probe):
                    pass
            except BusyError:
                return
        raise OSError(f"the results folder must be on a file system with locks (flock), {root} grants one twice")
    finally:
        (probe / "lock").unlink(missing_ok=True)
        probe.rmdir()


def done(job: Job, root: Path) -> bool:
    """Whether nothing is left to be done of a job."""
    return results.finished(root, job.identity) if job.run else _record(root, job.identity).get("status") == "done"


def attempt(job: Job, root: Path, how: How) -> Outcome:
    """Does a job, or goes on with it, if nobody else does and it is not done. Failures are recorded, not raised.

    Raises:
      Interrupted: a signal came.
      OSError: results lie in object storage that cannot be reached.
    """
    began = time.monotonic()
    try:
        with Lock(folder(root, job.identity)) as lock:
            for each in (*job.after, job.identity):
                storage.fetch(root, each)
            storage.fetch_record(root, job.identity)
            if done(job, root):
                return Outcome(job.identity, "done")
            reset_peak_memory()
            _write(job, root, "running")
            ending, reason = _execute(job, root, how, lock)
            seconds = time.monotonic() - began
            _write(job, root, ending, reason, seconds)
            return Outcome(job.identity, ending, reason, seconds)
    except BusyError as error:
        return Outcome(job.identity, "busy", str(error), time.monotonic() - began)


def _execute(job: Job, root: Path, how: How, lock: Lock) -> tuple[Ending, str]:
    try:
        job.execute(root, how)
        lock.check()
        storage.publish(root, (job.identity, *job.after))  # some keep what they make with a run that they need
    except TimeUpError as stopped:
        return "stopped", str(stopped)
    except Interrupted:
        _write(job, root, "stopped", "a signal came")
        raise
    except BusyError:
        raise
    except Exception as error:  # told by the record; the other jobs are done nevertheless
        traceback.print_exc(file=sys.stderr)
        return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:REASON]
    return "done", ""


def _write(job: Job, root: Path, status: str, reason: str = "", seconds: float = 0.0) -> None:
    """Writes the record; only who holds the lease may."""
    facts = {"experiment": job.experiment, "title": job.title, "status": status, "reason": reason, "seconds": seconds}
    facts |= {"host": socket.gethostname(), "process": os.getpid(), "peak_memory": peak_memory()}
    write_whole(folder(root, job.identity) / "record.json", (json.dumps(facts, indent=2) + "\n").encode())
    try:
        storage.publish_record(root, job.identity)
    except OSError as error:  # the results themselves are another matter
        say(f"warning: {error}; others do not see that {job.title} is {status}")


def _record(root: Path, identity: str) -> Facts:
    """The last attempt's record; empty if there is none that can be read."""
    path = folder(root, identity) / "record.json"
    if in_the_way(path, "file"):
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def state(job: Job, root: Path) -> State:
    """What is known of a job at this moment, whoever works on it: read from the results folder."""
    facts = _stored(job, root)
    step = int(facts.get("env_step") or 0)
    seconds = sum(float(facts.get(name) or 0.0) for name in ("compile_seconds", "run_seconds"))
    frozen = facts.get("diverged") or {}
    if facts.get("status") == "finished":
        shown = ", ".join(f"{seed} at step {at:,}" for seed, at in list(frozen.items())[:3])
        return State("diverged" if frozen else "done", shown, step, len(frozen), seconds)
    record = _record(root, job.identity)
    if not job.run and record.get("status") == "done":
        return State("done", "", 0, 0, float(record.get("seconds") or 0.0))
    if held(folder(root, job.identity)) or (job.run and held(root / "runs" / job.identity)):
        return State("running", "", step, len(frozen), seconds)
    if record.get("status") == "failed":
        return State("failed", str(record.get("reason", "")), step, len(frozen), seconds)
    begun = bool(facts or record)
    return State("to resume" if begun else "not begun", str(record.get("reason", "")), step, len(frozen), seconds)


def _stored(job: Job, root: Path) -> Facts:
    """The manifest of a job's run; empty if there is none that can be read."""
    if not job.run:
        return {}
    try:
        return results.manifest(root, job.identity)
    except (FileNotFoundError, results.ResultsError):
        return {}
