"""Jobs in order on any executor: what is ready is started, what is held elsewhere waited for, what is lost repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from mbrl_jax import storage
from mbrl_jax.jobs import How, Job, distinct
from mbrl_jax.runner.costs import Price
from mbrl_jax.runner.executors.attempt import Outcome, done, state
from mbrl_jax.runner.progress import say

__all__ = ["Executor", "Summary", "carry_out", "fits"]

ATTEMPTS = 3  # of a job whose worker dies
POLL_SECONDS, REFRESH_SECONDS = 1.0, 10.0  # of a folder, and of an address: every look is a request or more
VIEW_SECONDS = 30.0
SHOWN = 8  # jobs that a line of the view names
LEAST_SECONDS = 45.0  # that must be left for a job that can be resumed: it compiles, and cannot stop before


class Executor(Protocol):
    """Where jobs are done. Results do not depend on which."""

    def room(self, price: Price) -> bool:
        """Whether one more job can be started now."""
        ...

    def start(self, job: Job, root: Path, how: How, price: Price) -> None:
        """Starts a job, and returns."""
        ...

    def wait(self, seconds: float) -> list[Outcome]:
        """How jobs ended that did since the last call; waits for one at most so long."""
        ...

    def close(self) -> None:
        """Ends what it has started; jobs under way are asked to stop and are resumed another time."""
        ...


class Summary(NamedTuple):
    """What became of jobs.

    Attributes:
      outcomes: the last outcome of every job that was attempted, by identity.
      before: how many were done before.
      left: jobs that are left for another time, by what the time allows.
      blocked: jobs that need one that failed.
    """

    outcomes: dict[str, Outcome]
    before: int
    left: list[Job]
    blocked: list[Job]

    @property
    def failed(self) -> list[Outcome]:
        """Those that failed, or whose workers died again and again."""
        return [one for one in self.outcomes.values() if one.ending in ("failed", "lost")]


def fits(job: Job, price: Price, left: float) -> bool:
    """Whether a job may be started with so many seconds left: it can be resumed, or is thought to take less."""
    wanted = price.seconds if price.seconds is not None else LEAST_SECONDS
    return left > (min(LEAST_SECONDS, wanted) if job.resumes else wanted)


def carry_out(
    jobs: Sequence[Job],
    root: Path,
    executor: Executor,
    how: How,
    prices: Mapping[str, Price] | None = None,
    told: Callable[[Outcome, Job], None] | None = None,
    view: bool = False,
) -> Summary:
    """Does what is not done of some jobs, in their order as far as what they need allows.

    Args:
      jobs: what must be done; those that others need are among them, before them.
      root: the results folder.
      executor: where they are done.
      how: how; with a deadline, jobs that would not end in time are left for another call.
      prices: what each is thought to take, by identity.
      told: called with every outcome as it comes.
      view: whether a line now and then says what is under way; executors whose jobs show no progress need it.
    """
    course = _Course(distinct(jobs), root, executor, how, prices or {}, told)
    said = time.monotonic()
    try:
        while course.step():
            if view and time.monotonic() > said + VIEW_SECONDS:
                said = time.monotonic()
                say(course.view())
    finally:
        executor.close()
    return course.summary()


class _Course:
    """The state of `carry_out`: a few words for each job."""

    def __init__(
        self,
        jobs: list[Job],
        root: Path,
        executor: Executor,
        how: How,
        prices: Mapping[str, Price],
        told: Callable[[Outcome, Job], None] | None,
    ):
        self.jobs = {job.identity: job for job in jobs}
        self.root, self.executor, self.how, self.prices, self.told = root, executor, how, prices, told
        self.over = {job.identity for job in jobs if done(job, root)}
        self.before = len(self.over)
        self.waiting = [job.identity for job in jobs if job.identity not in self.over]
        self.started: set[str] = set()
        self.elsewhere: set[str] = set()
        self.left: set[str] = set()
        self.failed: set[str] = set()
        self.lost: dict[str, int] = {}
        self.outcomes: dict[str, Outcome] = {}

    def step(self) -> bool:
        """Starts what can be started, then waits for something to end; False if there is nothing more to do."""
        self._start()
        if self.started:
            for outcome in self.executor.wait(POLL_SECONDS):
                self._ended(outcome)
            return True
        if not self.elsewhere:
            return False
        if self._seconds_left() < 0:
            self.left |= self.elsewhere
            return False
        self._look_elsewhere()
        return True

    def _start(self) -> None:
        for identity in list(self.waiting):
            job, price = self.jobs[identity], self.prices.get(identity, Price())
            if self.failed & set(job.after):
                self.failed.add(identity)
                self.waiting.remove(identity)
            elif self.left & set(job.after) or not fits(job, price, self._seconds_left()):
                self.left.add(identity)
                self.waiting.remove(identity)
            elif self.over.issuperset(job.after):
                if not self.executor.room(price):
                    return
                self.waiting.remove(identity)
                self.started.add(identity)
                self.executor.start(job, self.root, self.how, price)

    def _seconds_left(self) -> float:
        return float("inf") if self.how.deadline is None else self.how.deadline - time.time()

    def _ended(self, outcome: Outcome) -> None:
        name, ending = outcome.identity, outcome.ending
        self.started.discard(name)
        if ending == "busy":
            self.elsewhere.add(name)
            return
        self.outcomes[name] = outcome
        if ending == "done":
            self.over.add(name)
        elif ending == "stopped":
            self.left.add(name)
        elif ending == "lost" and self.lost.get(name, 0) + 1 < ATTEMPTS:
            self.lost[name] = self.lost.get(name, 0) + 1
            say(f"{self.jobs[name].title}: its worker died ({outcome.reason}); it is done again, from its checkpoint")
            self.waiting.insert(0, name)
        else:
            self.failed.add(name)
        if self.told is not None:
            self.told(outcome, self.jobs[name])

    def _look_elsewhere(self) -> None:
        """Jobs that others hold: done, still held, or free again because their holder died."""
        time.sleep(REFRESH_SECONDS if storage.is_copy(self.root) else POLL_SECONDS)
        self._refresh(self.elsewhere)
        for name in list(self.elsewhere):
            found = state(self.jobs[name], self.root)
            if found.over:
                self.over.add(name)
            elif found.status != "running":
                self.waiting.insert(0, name)
            else:
                continue
            self.elsewhere.discard(name)

    def _refresh(self, names: set[str]) -> None:
        """What others have published of some jobs, where results lie in object storage."""
        try:
            storage.refresh(self.root, names)
        except OSError as error:  # it is asked again in a while
            say(f"warning: {error}")

    def view(self) -> str:
        """All that is under way in one line: steps are those of the last checkpoints."""
        self._refresh(self.started)
        under_way = [
            f"{self.jobs[name].title} (step {state(self.jobs[name], self.root).step:,})" for name in self.started
        ]
        shown = "; ".join([*sorted(under_way)[:SHOWN], *(["…"] if len(under_way) > SHOWN else [])])
        counts = f"{len(self.over)} of {len(self.jobs)} done, {len(self.waiting)} wait, {len(self.elsewhere)} elsewhere"
        return f"{counts}; under way: {shown}"

    def summary(self) -> Summary:
        """What became of all."""
        left = [self.jobs[name] for name in self.jobs if name in self.left]
        blocked = [self.jobs[name] for name in self.jobs if name in self.failed - self.outcomes.keys()]
        return Summary(self.outcomes, self.before, left, blocked)
