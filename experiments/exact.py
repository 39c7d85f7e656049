"""Runs of the tabular artefacts: one compiled program each, timed, and stored once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from mbrl_jax import results
from mbrl_jax.checks import nearest
from mbrl_jax.jobs import Cost, How, Job, Traced
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.runner import work
from mbrl_jax.runner.progress import say

__all__ = ["PROFILES", "Task", "by_profile", "job", "pick", "table"]

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


class Task(NamedTuple):
    """A program and what its results are stored as; everything in it pickles by name.

    Attributes:
      experiment: `paper/artefact`.
      profile: name of the profile, recorded in the manifest.
      config: whatever determines the numbers; enters the identity.
      seeds: number of seeds, all inside the program.
      program: returns a traceable function and its arguments; called, compiled and run in the chosen precision.
      tabulate: maps the function's result, as NumPy arrays, to long tables (see `table`).
      double: float64 instead of float32.
      reads: whether `program` takes the results folder, because it reads what other jobs have stored.
    """

    experiment: str
    profile: str
    config: Any
    seeds: int
    program: Callable[..., tuple[Callable[..., Any], tuple[Any, ...]]]
    tabulate: Callable[[Any], Iterable[pd.DataFrame]]
    double: bool = True
    reads: bool = False

    @property
    def identity(self) -> str:
        """The id of its run."""
        facts = {"experiment": self.experiment, "config": self.config, "seeds": self.seeds, "version": VERSION}
        return results.run_id(facts)


def job(task: Task, after: tuple[str, ...] = (), label: str = "") -> Job:
    """A job that compiles, runs and stores an artefact's program.

    Args:
      task: the program.
      after: ids of the runs that it reads.
      label: what tells it from other jobs of the experiment, for a person.
    """
    cost = Cost(trace=None if task.reads else partial(_trace, task))
    title = f"{label} {f'seeds {task.seeds}' if task.seeds > 1 else 'exact'}".strip()
    return Job(task.identity, task.experiment, title, after, cost, partial(_execute, task))


def _execute(task: Task, root: Path, how: How) -> None:
    """Runs and stores the program, unless a finished run of the same identity is on disk."""
    if results.finished(root, task.identity):
        return
    outcome, seconds = _timed(partial(task.program, root) if task.reads else task.program, task.double)
    metrics = pd.concat(list(task.tabulate(outcome)), ignore_index=True)
    facts = {"experiment": task.experiment, "profile": task.profile, "config": task.config, **seconds}
    facts |= _facts(metrics, task.seeds, task.double)
    results.save(root, task.identity, metrics, facts)
    if not how.quiet:
        spent = f"compile {seconds['compile_seconds']:.1f} s, run {seconds['run_seconds']:.1f} s"
        say(f"{task.experiment}: {spent}, {task.seeds} seeds")


def _trace(task: Task) -> Traced:
    with jax.enable_x64(task.double):
        function, arguments = task.program()
        return work.traced(jax.make_jaxpr(function)(*arguments), task.seeds)


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
