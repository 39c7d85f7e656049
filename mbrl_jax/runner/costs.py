"""What jobs are thought to take: from earlier runs, on this kind of machine if there are any, else from their programs.

The best that is known counts, in this order: the job itself, done before on such a machine; jobs that are alike (same
method, environment and configuration), by their lanes and steps; the job itself on another kind of machine; what the
job states; its traced program; other jobs of the experiment.

Memory is what a whole process takes at its fullest: as it was measured where an earlier attempt recorded it, else what
the job's programs take and `PROCESS_MEMORY`.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mbrl_jax import results
from mbrl_jax.host import available_cores, machine
from mbrl_jax.jobs import Job, Traced
from mbrl_jax.runner.work import alike
from mbrl_jax.types import Facts

__all__ = ["Price", "measured", "prices", "seconds_of"]

COMPILE_SECONDS = 15.0
"""Of a program of which nothing else is known: the median of 30 stored runs on 2 cores of an AMD EPYC."""
FLOPS_PER_SECOND, CALL_SECONDS = 1.1e11, 2.5e-5
"""Of one core: matrix products, and an operation that is started with all that is fused into it. Least squares of the
logarithms over the same runs, of all papers: 23 of them took between half and twice as long, 28 within a factor of 3,
and two tabular ones seven times as long. Fits until held-out data say stop count as one epoch, which is in these
numbers."""
PROCESS_MEMORY = 2**30
"""Bytes that a process takes beside what its programs hold: Python, JAX, and what compiling takes."""
TRACE_SECONDS = 3.0
"""How long all tracing of one plan may take; what is not traced then is priced by its experiment."""


class Price(NamedTuple):
    """What a job is thought to take.

    Attributes:
      seconds: of compiling and running; None where nothing is known.
      memory: bytes of the process that does it, at its fullest; None where nothing is known.
      source: where the seconds are from: `measured`, `alike`, `other machine`, `stated`, `operations`, `experiment`.
    """

    seconds: float | None = None
    memory: int | None = None
    source: str = "unknown"


class _Earlier(NamedTuple):
    """A finished run of the store."""

    compile_seconds: float
    run_seconds: float
    amount: float
    memory: int | None
    here: bool


class _Known(NamedTuple):
    """Finished runs by their id, and by what they are alike in."""

    runs: dict[str, _Earlier]
    alike: dict[str, list[_Earlier]]


def measured(folders: Iterable[Path]) -> list[tuple[Path, Facts]]:
    """Folders of results with the kind of machine that runs in them were made on where their manifests do not say it.

    A folder may hold `machine.json` with `processor`, `cores` and `memory` (bytes, by run). One that is damaged counts
    as none.
    """
    found = []
    for folder in folders:
        try:
            facts = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = {}
        found.append((folder, facts if isinstance(facts, dict) else {}))
    return found


def prices(jobs: Sequence[Job], folders: Iterable[Path], trace_seconds: float = TRACE_SECONDS) -> dict[str, Price]:
    """The price of every job, by identity.

    Args:
      jobs: the jobs.
      folders: results folders with earlier runs.
      trace_seconds: how long programs may be traced in all.
    """
    known, found = _known(measured(folders)), {}
    until = time.monotonic() + trace_seconds
    traced: dict[str, tuple[Traced, float]] = {}
    for job in jobs:
        price = _looked_up(job, known)
        if price is None and job.cost.trace is not None:
            key = job.cost.alike or job.identity
            if key not in traced and time.monotonic() < until:
                traced[key] = (job.cost.trace(), job.cost.amount)
            price = _from_program(job, traced.get(key))
        found[job.identity] = price or Price()
    return _filled(jobs, found)


def _known(folders: Sequence[tuple[Path, Facts]]) -> _Known:
    here, known = machine(), _Known({}, {})
    for folder, usual in folders:
        for run, facts in _finished(folder):
            lanes, steps = facts.get("lanes") or len(facts["seeds"]), facts.get("steps") or 0
            compiled, ran = (float(facts.get(name) or 0.0) for name in ("compile_seconds", "run_seconds"))
            memory = facts.get("peak_memory") or _recorded(folder, run)
            if memory is None and (held := facts.get("memory") or usual.get("memory", {}).get(run)):
                memory = int(held) + PROCESS_MEMORY
            earlier = _Earlier(compiled, ran, float(lanes * steps), memory, _same(facts.get("machine") or usual, here))
            known.runs.setdefault(run, earlier)
            if earlier.here and earlier.amount and "method" in facts and isinstance(facts.get("config"), dict):
                key = alike(str(facts["method"]), facts["env"], facts["config"])
                known.alike.setdefault(key, []).append(earlier)
    return known


def _recorded(folder: Path, job: str) -> int | None:
    """The most memory that the last attempt at a job took, if it ended well and says so."""
    try:
        facts = json.loads((folder / "jobs" / job / "record.json").read_text(encoding="utf-8"))
        return int(facts["peak_memory"]) if facts["status"] == "done" else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _finished(folder: Path) -> Iterator[tuple[str, Facts]]:
    """Id and manifest of every finished run; the report names those that cannot be read."""
    for path in (folder / "runs").glob("*/manifest.json"):
        with contextlib.suppress(results.ResultsError, FileNotFoundError):
            facts = results.manifest(folder, path.parent.name)
            if facts["status"] == "finished":
                yield path.parent.name, facts


def _same(stated: Facts, here: Facts) -> bool:
    """Whether machines are of one kind: as many cores, and one processor's name begins with the other's."""
    names = [" ".join(str(one.get("processor", "?")).split()) for one in (stated, here)]
    return stated.get("cores") == here["cores"] and (names[0].startswith(names[1]) or names[1].startswith(names[0]))


def _looked_up(job: Job, known: _Known) -> Price | None:
    """What earlier runs, or the job itself, say."""
    itself = known.runs.get(job.identity)
    if itself is not None and itself.here:
        return Price(itself.compile_seconds + itself.run_seconds, itself.memory, "measured")
    if job.cost.amount and job.cost.alike in known.alike:
        rows = known.alike[job.cost.alike]
        rate = statistics.median(row.run_seconds / row.amount for row in rows)
        first = statistics.median(row.compile_seconds for row in rows)
        return Price(first + rate * job.cost.amount, max(row.memory or 0 for row in rows) or None, "alike")
    if itself is not None:
        return Price(itself.compile_seconds + itself.run_seconds, itself.memory, "other machine")
    return None if job.cost.seconds is None else Price(job.cost.seconds, None, "stated")


def seconds_of(traced: Traced, cores: int) -> float:
    """Seconds of compiling and running a program, whose lanes share the cores."""
    work = traced.flops / FLOPS_PER_SECOND + traced.calls * CALL_SECONDS
    return COMPILE_SECONDS + work * -(-traced.lanes // cores) / traced.lanes


def _from_program(job: Job, found: tuple[Traced, float] | None) -> Price | None:
    """From the traced program of this job, or of one that is alike and has another amount of work."""
    if found is None:
        return None
    traced, amount = found
    share = job.cost.amount / amount if amount else 1.0
    scaled = traced._replace(flops=traced.flops * share, calls=traced.calls * share)
    return Price(seconds_of(scaled, available_cores()), traced.memory + PROCESS_MEMORY, "operations")


def _filled(jobs: Sequence[Job], found: dict[str, Price]) -> dict[str, Price]:
    """What has no price gets the median of its experiment's, where there is one."""
    by_experiment: dict[str, list[Price]] = {}
    for job in jobs:
        if found[job.identity].seconds is not None:
            by_experiment.setdefault(job.experiment, []).append(found[job.identity])
    for job in jobs:
        others = by_experiment.get(job.experiment)
        if found[job.identity].seconds is None and others:
            seconds = statistics.median(one.seconds for one in others if one.seconds is not None)
            memory = max((one.memory for one in others if one.memory is not None), default=None)
            found[job.identity] = Price(seconds, memory, "experiment")
    return found
