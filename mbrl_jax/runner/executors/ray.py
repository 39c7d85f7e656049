"""Jobs as tasks of a Ray cluster: one that exists (RAY_ADDRESS), or one that is started on this machine.

The results folder must be one that all nodes see, or an address in object storage. A task that dies with its worker or
its node is started again, on whatever node has room, and goes on from the last checkpoint there.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mbrl_jax import storage
from mbrl_jax.host import package
from mbrl_jax.jobs import How, Job
from mbrl_jax.runner.costs import Price
from mbrl_jax.runner.executors.attempt import Outcome, attempt
from mbrl_jax.runner.executors.by_name import Wanted
from mbrl_jax.runner.executors.setting import Setting
from mbrl_jax.runner.loop import Interrupted

__all__ = ["Ray", "make"]

LEAST_MEMORY = 2**29  # bytes asked for where a job is thought to need less, or nothing is known
AHEAD = 2  # times as many tasks as the cluster has room for are handed over; it chooses where each goes


class Place(NamedTuple):
    """What a task asks for.

    Attributes:
      cpus: processors.
      gpus: GPUs.
      most: tasks at once; None for as many as the cluster has room for.
    """

    cpus: int = 1
    gpus: int = 0
    most: int | None = None


def make(wanted: Wanted, root: Path, setting: Setting) -> Ray:
    """The executor, connected to the cluster.

    Raises:
      MissingPackageError: Ray is not installed.
      ConnectionError: RAY_ADDRESS names no cluster.
    """
    ray: Any = package("ray", "the executor ray", "ray")
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        with warnings.catch_warnings():  # what Ray forks is another program at once, so that JAX has nothing to fear
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    return Ray(ray, setting, Place(gpus=wanted.gpus, most=wanted.workers))


class Ray:
    """Tasks under way, and what they gave back.

    Args:
      ray: the package, connected.
      setting: what a worker does before its first job.
      place: what a task asks for.
    """

    def __init__(self, ray: Any, setting: Setting, place: Place):
        self._ray, self._place = ray, place
        self._setting = ray.put(pickle.dumps(setting))
        # Ours are the retries: a job knows its checkpoints, Ray does not.
        self._task: Any = ray.remote(num_cpus=place.cpus, num_gpus=place.gpus, max_retries=0)(_do)
        self._under_way: dict[Any, str] = {}

    def room(self, price: Price) -> bool:
        """Whether fewer tasks are handed over than the cluster has processors for, and some more."""
        if self._place.most is not None:
            return len(self._under_way) < self._place.most
        there = self._ray.cluster_resources()
        slots = there.get("CPU", 1) / self._place.cpus
        if self._place.gpus:
            slots = min(slots, there.get("GPU", 0) / self._place.gpus)
        return len(self._under_way) < max(1, AHEAD * int(slots))

    def start(self, job: Job, root: Path, how: How, price: Price) -> None:
        """Hands the job to the cluster."""
        asked = self._task.options(memory=max(price.memory or 0, LEAST_MEMORY), name=job.title)
        self._under_way[asked.remote(self._setting, pickle.dumps(job), storage.place(root), how)] = job.identity

    def wait(self, seconds: float) -> list[Outcome]:
        """The outcomes of tasks that ended, those included whose worker or node died."""
        ended, _ = self._ray.wait(list(self._under_way), num_returns=1, timeout=seconds)
        found = []
        for each in ended:
            identity = self._under_way.pop(each)
            found.append(self._outcome(identity, lambda each=each: self._ray.get(each)))
        return found

    def _outcome(self, identity: str, get: Callable[[], tuple]) -> Outcome:
        lost = (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError)
        lost += (self._ray.exceptions.OutOfMemoryError, self._ray.exceptions.ObjectLostError)
        try:
            return Outcome(*get())
        except lost as error:
            return Outcome(identity, "lost", type(error).__name__)
        except self._ray.exceptions.RayError as error:
            return Outcome(identity, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:400])

    def close(self) -> None:
        """Tasks under way are cancelled; they are resumed another time."""
        for each in self._under_way:
            self._ray.cancel(each, force=True)
        self._under_way = {}


def _do(packed: bytes, job: bytes, root: str, how: How) -> tuple:
    """A task: unpacks the setting first, by which the job's functions are found."""
    setting: Setting = pickle.loads(packed)
    setting.begin()
    found: Job = pickle.loads(job)
    try:
        return tuple(attempt(found, storage.folder(root), how))
    except Interrupted:
        return tuple(Outcome(found.identity, "stopped", "a signal came"))
