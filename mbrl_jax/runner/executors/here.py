"""This process does the jobs itself, one after the other, each on all devices."""

from __future__ import annotations

from pathlib import Path

from mbrl_jax.jobs import How, Job
from mbrl_jax.runner.costs import Price
from mbrl_jax.runner.executors.attempt import Outcome, attempt

__all__ = ["Here"]


class Here:
    """The executor without any other process: what is started is done while the caller waits."""

    def __init__(self) -> None:
        self._next: tuple[Job, Path, How] | None = None

    def room(self, price: Price) -> bool:
        """One job at a time."""
        return self._next is None

    def start(self, job: Job, root: Path, how: How, price: Price) -> None:
        """Notes the job."""
        self._next = (job, root, how)

    def wait(self, seconds: float) -> list[Outcome]:
        """Does the job that was noted, however long that takes."""
        if self._next is None:
            return []
        job, root, how = self._next
        self._next = None
        return [attempt(job, root, how)]

    def close(self) -> None:
        """There is nothing to end."""
