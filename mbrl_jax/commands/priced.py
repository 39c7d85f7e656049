"""What `mbrl bench` and `mbrl sweep` share: options of executors, times as people write them, a plan as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from mbrl_jax.checks import shown

if TYPE_CHECKING:
    from mbrl_jax.jobs import Job
    from mbrl_jax.runner.costs import Price
    from mbrl_jax.runner.executors.attempt import State
    from mbrl_jax.runner.executors.by_name import Wanted

__all__ = ["Row", "Where", "by_status", "clock", "references", "seconds_of", "size", "table", "total"]

UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where jobs are done. Results do not depend on it."""

    executor: Literal["here", "local", "ray", "slurm"] = "here"
    """here: this process, one job at a time on all devices; local: worker processes; ray, slurm: a cluster (extras of
    these names). See docs/scaling.md."""
    workers: int | None = None
    """Processes at once with `local`; as many as cores and memory allow if not given."""
    gpus: int = 0
    """GPUs of each job on a cluster."""
    minutes: int = 240
    """Time limit of each of Slurm's jobs; one that is not done by then writes a checkpoint and is queued again."""
    partition: str = ""
    """Slurm's partition; its default if not given."""

    def wanted(self) -> Wanted:
        """The executor that is asked for."""
        from mbrl_jax.runner.executors.by_name import Wanted

        return Wanted(self.executor, self.workers, self.gpus, self.minutes, self.partition)


class Row(NamedTuple):
    """A job in a plan, under the heading of what asks for it first."""

    heading: str
    job: Job
    price: Price
    state: State


def seconds_of(text: str) -> float:
    """Seconds of a time such as `1h`, `90m`, `45s` or `1h30m`.

    Raises:
      ValueError: it is none.
    """
    parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text)
    if parts is None or not any(parts.groups()):
        raise ValueError(f"a budget must be a time such as 1h, 90m, 45s or 1h30m, got {shown(text)}")
    return sum(float(count) * UNITS[unit] for count, unit in zip(parts.groups(), UNITS, strict=True) if count)


def clock(seconds: float | None) -> str:
    """A time of jobs, short; a dash where none is known."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(count: int | None) -> str:
    """Bytes, short; a dash where they are not known."""
    if count is None:
        return "–"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def references(root: Path) -> list[Path]:
    """Where earlier runs are looked for: in the results folder, and in the reference results of a clone."""
    stored = Path(__file__).parents[2] / "results" / "reference"
    return [root, *(sorted(each for each in stored.iterdir() if each.is_dir()) if stored.is_dir() else [])]


def total(rows: Sequence[Row]) -> float:
    """Seconds of what is left to be done, as far as they are known."""
    return sum(row.price.seconds or 0.0 for row in rows if not row.state.over)


def table(rows: Sequence[Row], ids: bool = False) -> str:
    """The plan, a line per job: what is left to be done, in order, with times added up; what is done, as such.

    Args:
      rows: the jobs.
      ids: whether the identities are shown.
    """
    lines, passed = [], 0.0
    heads, names = max((len(row.heading) for row in rows), default=0), max((len(r.job.title) for r in rows), default=0)
    names, first = min(names, 60), f"{'run':<22} " if ids else ""
    lines.append(
        f"{first}{'':<{heads}}  {'job':<{names}} {'takes':>7} {'by then':>8} {'memory':>8}  {'from':<13} status"
    )
    for heading, job, price, state in rows:
        passed += 0.0 if state.over else price.seconds or 0.0
        then, name = "" if state.over else clock(passed), f"{job.identity:<22} " if ids else ""
        reason = f": {state.reason}" if state.reason and state.status in ("failed", "diverged") else ""
        lines.append(
            f"{name}{heading:<{heads}}  {job.title[:60]:<{names}} {clock(price.seconds):>7} {then:>8} "
            f"{size(price.memory):>8}  {price.source:<13} {state.status}{reason}"
        )
    return "\n".join(lines)


def by_status(states: Mapping[str, State]) -> str:
    """How many jobs are in which state, in words."""
    counts: dict[str, int] = {}
    for state in states.values():
        counts[state.status] = counts.get(state.status, 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items())
