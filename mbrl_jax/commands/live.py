"""Follows a results folder while runs go on: writes the report again, and says how far they are."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd

from mbrl_jax import results, storage
from mbrl_jax.report.select import RETURN

__all__ = ["follow", "progress", "stored"]


def follow(
    write: Callable[[float | None], None],
    root: Path,
    every: float,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Writes whenever something was stored, until Ctrl-C; then once more, without the page's refresh.

    Args:
      write: `write(refresh)` writes the report, whose page a browser reads again after `refresh` seconds (None: never).
      root: the results folder; it need not exist yet.
      every: seconds between two looks.
      pause: waits; raises KeyboardInterrupt to stop.
    """
    seen: dict[str, int] | None = None
    try:
        while True:
            storage.refresh(root)
            now = stored(root)
            if now != seen:
                write(every)
                print("\n".join([f"\n{datetime.now():%H:%M:%S}", *progress(root), "(Ctrl-C stops)"]), flush=True)
                seen = now
            pause(every)
    except KeyboardInterrupt:
        print("writing the report once more", file=sys.stderr)
        write(None)


def stored(root: Path) -> dict[str, int]:
    """When each run of a store was last written, in nanoseconds."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sorted(root.glob("runs/*/manifest.json"))}


def progress(root: Path) -> list[str]:
    """A line for each run that has not finished: its steps so far and its last return, the mean over seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report names damaged runs
        rows = results.manifests(root).to_dict("records")
        going = [facts for facts in rows if facts["status"] != "finished"]
        frame = results.load(root, run=[facts["run"] for facts in going]) if going else pd.DataFrame()
    lines = []
    for facts in going:
        own = frame[frame["run"] == facts["run"]]
        scores = own[own["metric"] == RETURN]
        step = f"{own['env_step'].max():,} steps" if len(own) else "nothing recorded yet"
        last = scores[scores["env_step"] == scores["env_step"].max()]["value"]
        earned = f", return {last.mean():,.1f}" if len(last) else ""
        lines.append(f"{facts['status']:<12} {facts['algorithm']} on {facts['env']}: {step}{earned}")
    return lines or ["no run is going on"]
