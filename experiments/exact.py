"""Runs of the tabular artefacts: one compiled program each, timed, and stored once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from mbrl_jax import results
from mbrl_jax.checks import nearest
from mbrl_jax.report.select import MissingDataError

__all__ = ["PROFILES", "by_profile", "pick", "run_once", "table"]

PROFILES = ("smoke", "laptop", "paper")
VERSION = 1
"""Enters every run's identity: raise it when a change of the code changes the numbers."""


def by_profile(profile: str, smoke: Any, full: Any) -> Any:
    """`smoke` or, for the profiles `laptop` and `paper`, `full`: tabular artefacts are always at the paper's scale.

    Raises:
      ValueError: there is no such profile; names the nearest.
    """
    if profile not in PROFILES:
        raise ValueError(nearest(profile, PROFILES, "profile"))
    return smoke if profile == "smoke" else full


def table(algorithm: str, metric: str, values: np.ndarray, steps: Sequence[int] | np.ndarray, env: str) -> pd.DataFrame:
    """Long rows of `values [seeds, points]` recorded at `steps [points]`; seeds are numbered from 0."""
    values = np.atleast_2d(np.asarray(values, dtype=float))
    seeds, points = values.shape
    return pd.DataFrame(
        {
            "algorithm": algorithm,
            "env": env,
            "seed": np.repeat(np.arange(seeds), points),
            "env_step": np.tile(np.asarray(steps, dtype=np.int64), seeds),
            "metric": metric,
            "value": values.ravel(),
        }
    )


def run_once(
    root: str | Path,
    experiment: str,
    profile: str,
    config: Any,
    seeds: int,
    program: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]],
    tabulate: Callable[[Any], Iterable[pd.DataFrame]],
    double: bool = True,
) -> None:
    """Compiles, runs and stores an artefact's program, unless a finished run of the same identity is on disk.

    Args:
      root: the results folder.
      experiment: `paper/artefact`.
      profile: name of the profile, recorded in the manifest.
      config: whatever determines the numbers; enters the identity.
      seeds: number of seeds, all inside the program.
      program: returns a traceable function and its arguments; called, compiled and run in the chosen precision.
      tabulate: maps the function's result, as NumPy arrays, to long tables (see `table`).
      double: float64 instead of float32.
    """
    identity = {"experiment": experiment, "config": config, "seeds": seeds, "version": VERSION}
    run = results.run_id(identity)
    if results.finished(root, run):
        print(f"{experiment}: finished before, run {run}", flush=True)
        return
    outcome, seconds = _timed(program, double)
    metrics = pd.concat(list(tabulate(outcome)), ignore_index=True)
    facts = {"experiment": experiment, "profile": profile, "config": identity["config"], **seconds}
    facts |= _facts(metrics, seeds, double)
    results.save(root, run, metrics, facts)
    spent = f"compile {seconds['compile_seconds']:.1f} s, run {seconds['run_seconds']:.1f} s"
    print(f"{experiment}: {spent}, {seeds} seeds", flush=True)


def _timed(
    program: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]], double: bool
) -> tuple[Any, dict[str, float]]:
    """The program's result as NumPy arrays, and the seconds of compiling and running it, apart."""
    with jax.enable_x64(double):
        start = time.perf_counter()
        function, arguments = program()
        compiled = jax.jit(function).lower(*arguments).compile()
        ready = time.perf_counter()
        outcome = jax.tree.map(np.asarray, jax.block_until_ready(compiled(*arguments)))
        done = time.perf_counter()
    return outcome, {"compile_seconds": ready - start, "run_seconds": done - ready}


def pick(frame: pd.DataFrame, experiment: str, metric: str, algorithm: str, env: str | None = None) -> pd.DataFrame:
    """`[seeds x steps]` frame of one metric: index the seed, columns the step.

    Raises:
      MissingDataError: there is none.
    """
    wanted = (frame["experiment"] == experiment) & (frame["metric"] == metric) & (frame["algorithm"] == algorithm)
    if env is not None:
        wanted &= frame["env"] == env
    rows = frame.loc[wanted]
    if rows.empty:
        raise MissingDataError(f"no results of {experiment} for {algorithm}: {metric}")
    latest = rows.loc[rows["run"] == rows["run"].iloc[-1]]
    return latest.pivot(index="seed", columns="env_step", values="value")


def _facts(metrics: pd.DataFrame, seeds: int, double: bool) -> dict[str, Any]:
    """What the manifest says of a finished run besides its identity and times; what a sweep varies is in the table."""
    return {
        "algorithm": ", ".join(dict.fromkeys(name.partition("[")[0] for name in metrics["algorithm"])),
        "env": ", ".join(metrics["env"].unique()),
        "seeds": list(range(seeds)),
        "status": "finished",
        "device": jax.devices()[0].device_kind,
        "precision": "float64" if double else "float32",
        **results.provenance(),
    }
