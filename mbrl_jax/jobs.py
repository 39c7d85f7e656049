"""A unit of work as data: what it is, what must be done before it, what it costs, and how it is done.

An artefact, a sweep and a run are all jobs. Nothing here does anything: `runner.work` makes jobs of runs,
`runner.executors` does them, here, in worker processes or on a cluster. Everything in a job pickles by name, so that a
process on another machine can do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cost", "How", "Job", "Traced", "distinct"]


class How(NamedTuple):
    """How a job is done; nothing here changes its numbers.

    Attributes:
      checkpoint_seconds: least time between checkpoints, of jobs that make any.
      deadline: time (seconds since the epoch) at which a job that makes checkpoints writes one and stops.
      quiet: no progress shown.
    """

    checkpoint_seconds: float = 120.0
    deadline: float | None = None
    quiet: bool = False


class Traced(NamedTuple):
    """What tracing a job's program says of its cost.

    Attributes:
      flops: floating-point operations of matrix products, of all lanes; loops whose length is not known count once.
      calls: operations that a processor starts one after the other, of all lanes.
      memory: bytes of memory while it runs.
      lanes: seeds with their hyper-parameters, which devices share.
    """

    flops: float
    calls: float
    memory: int
    lanes: int


class Cost(NamedTuple):
    """What a job is priced by. An earlier run of it says most, one that is alike less, its program least.

    Attributes:
      alike: what a job has in common with others that take as long for as much work.
      amount: how much work it is (lanes times environment steps), which the time of alike jobs grows with.
      trace: traces its program; None where that needs the results of others.
      seconds: what it takes on a laptop, of jobs that are always the same.
    """

    alike: str = ""
    amount: float = 0.0
    trace: Callable[[], Traced] | None = None
    seconds: float | None = None


class Job(NamedTuple):
    """A unit of work.

    Attributes:
      identity: the run's id in the results store; of a job that stores no run, a plain file name of its own.
      experiment: what it belongs to, for example `mbpo/figure2`.
      title: what it is, for a person.
      after: identities of the jobs whose results it reads.
      cost: what it is priced by.
      execute: `execute(root, how)` does it, or goes on with it, and stores its results under the folder `root`.
      run: whether its results are a run of the store, which then says whether it is finished.
      resumes: whether it writes checkpoints, stops at a deadline and goes on from there.
    """

    identity: str
    experiment: str
    title: str
    after: tuple[str, ...]
    cost: Cost
    execute: Callable[[Path, How], object]
    run: bool = True
    resumes: bool = False


def distinct(jobs: Iterable[Job]) -> list[Job]:
    """Each job once, where it comes first.

    Raises:
      ValueError: a job comes before one that it needs, or needs one that is not there.
    """
    found: dict[str, Job] = {}
    for job in jobs:
        if job.identity in found:
            continue
        if missing := [name for name in job.after if name not in found]:
            raise ValueError(f"a job must come after those it needs, {job.identity} needs {', '.join(missing)}")
        found[job.identity] = job
    return list(found.values())
