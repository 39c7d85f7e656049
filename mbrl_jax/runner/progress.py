"""What a person sees while a run is going on: one live line in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeRemainingColumn

__all__ = ["Bar", "how_long", "say"]

QUIET_SECONDS = 20.0


def say(message: str, stream: TextIO | None = None) -> None:
    """One line for the person at the terminal, on stderr, so that stdout stays data."""
    print(message, file=stream or sys.stderr, flush=True)


def how_long(seconds: float) -> str:
    """A time as people say it, in the largest unit of which it is more than one."""
    for size, unit in ((365.25 * 86_400, "years"), (86_400, "days"), (3_600, "hours")):
        if seconds > size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} seconds"


class Bar:
    """Progress of one run in environment steps, with speed, time left, the last return and the healthy seeds."""

    def __init__(self, title: str, total: int, done: int, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._title, self._total, self._first, self._began = title, total, done, time.monotonic()
        self._said = self._began
        self._live: Progress | None = None
        if self._stream.isatty():
            columns: list[ProgressColumn | str] = [
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:,}/{task.total:,}"),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(),
            ]
            self._live = Progress(*columns, console=Console(file=self._stream), refresh_per_second=4)
            self._task = self._live.add_task(title, total=total, completed=done, facts="")
            self._live.start()

    def update(self, done: int, score: float, healthy: int, seeds: int) -> None:
        """Shows the state after `done` environment steps per seed; `score` is the last mean return (NaN: none)."""
        now = time.monotonic()
        rate = (done - self._first) * seeds / max(now - self._began, 1e-9)
        earned = "" if math.isnan(score) else f" · return {score:,.1f}"
        facts = f"{rate:,.0f} steps/s{earned} · seeds {healthy}/{seeds}"
        if self._live is not None:
            self._live.update(self._task, completed=done, facts=facts)
        elif now - self._said > QUIET_SECONDS or done >= self._total:
            self._said = now
            left = (self._total - done) * (now - self._began) / max(done - self._first, 1)
            say(f"{self._title}: {done:,}/{self._total:,} · {facts} · {left:,.0f} s left", self._stream)

    def close(self) -> None:
        """Leaves the last state on screen."""
        if self._live is not None:
            self._live.stop()
