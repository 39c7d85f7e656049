"""From the long table of results to arrays over seeds: curves, final scores, steps to a threshold.

What is missing raises `MissingDataError` with the reason; a diverged seed stays in, as the worst outcome.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from mbrl_jax import results
from mbrl_jax.report.statistics import steps_to

__all__ = [
    "RETURN",
    "Curves",
    "MissingDataError",
    "Times",
    "arrays",
    "curves",
    "final",
    "on_common_steps",
    "paired",
    "steps_until",
    "times",
]

RETURN = "eval/return_mean"


class MissingDataError(LookupError):
    """The results do not (yet) hold what was asked for."""


class Curves(NamedTuple):
    """One metric of one algorithm on one environment.

    Attributes:
      seeds: `[runs]`.
      env_step: `[points]`, increasing.
      value: `[runs, points]`; NaN where nothing was recorded, the worst value once a seed diverged.
      diverged: `[runs]`, whether the seed diverged at some point.
    """

    seeds: np.ndarray
    env_step: np.ndarray
    value: np.ndarray
    diverged: np.ndarray


class Times(NamedTuple):
    """Environment steps that two samples of runs need, of which one is claimed to be the slower.

    Attributes:
      slow: `[runs]`, `inf` for runs that did not get there within the budget.
      fast: `[other runs]`, likewise.
      budget: the steps after which nobody looked any more.
    """

    slow: np.ndarray
    fast: np.ndarray
    budget: float


def curves(
    frame: pd.DataFrame,
    algorithm: str,
    env: str | None = None,
    metric: str = RETURN,
    worst: float = -np.inf,
) -> Curves:
    """The curves of all seeds, on the union of their evaluation points.

    Args:
      frame: as `results.load` gives it.
      algorithm: label of the algorithm.
      env: environment; may be left out when there is one only.
      metric: name of the metric.
      worst: the value of a diverged seed from the point at which it diverged; `inf` where smaller is better.

    Raises:
      MissingDataError: no such rows, or several environments and none named.
      ValueError: one seed comes from two runs.
    """
    wanted = (frame["algorithm"] == algorithm) & (frame["metric"] == metric)
    if env is not None:
        wanted &= frame["env"] == env
    rows = frame.loc[wanted]
    if rows.empty:
        raise MissingDataError(f"no results for {algorithm}{f' on {env}' if env else ''}: {metric}")
    if rows["env"].nunique() > 1:
        raise MissingDataError(f"name one environment of {', '.join(sorted(rows['env'].unique()))}")
    if rows.duplicated(["seed", "env_step"]).any():
        raise ValueError(f"a seed must come from one run, {algorithm}'s seeds come from {sorted(rows['run'].unique())}")
    wide = rows.pivot(index="seed", columns="env_step", values="value").sort_index(axis=1)
    at = rows.groupby("seed")["diverged_at"].first().reindex(wide.index).to_numpy()[:, None]
    step = wide.columns.to_numpy()
    value = np.where(step >= np.minimum(at, step[-1]), worst, wide.to_numpy())
    return Curves(wide.index.to_numpy(), step, value, np.isfinite(at[:, 0]))


def on_common_steps(found: Curves, points: int = 200) -> tuple[Curves, bool]:
    """The curves at steps at which all seeds have a value.

    Those are the steps that all seeds share. Where these are fewer than half of what the seed with the fewest points
    has in the range that all have been through, every seed is interpolated linearly onto an even grid of that range.
    A seed is not finite from the step at which it was recorded so, and not before.

    Args:
      found: curves, with NaN where a seed has no value.
      points: the most points of the even grid; it has no more than the seed with the fewest.

    Returns:
      The curves without NaN, `[runs, 0]` if the seeds have no steps in common; and whether they are interpolated.
    """
    step, there = found.env_step, ~np.isnan(found.value)
    shared = there.all(axis=0)
    first, last = step[there.argmax(axis=1)].max(), step[len(step) - 1 - there[:, ::-1].argmax(axis=1)].min()
    fewest = int((there & (step >= first) & (step <= last)).sum(axis=1).min())
    if 2 * shared.sum() >= fewest:
        return found._replace(env_step=step[shared], value=found.value[:, shared]), False
    grid = np.linspace(first, last, min(fewest, points))
    rows = [_between(grid, step[own], row[own]) for own, row in zip(there, found.value, strict=True)]
    return found._replace(env_step=grid, value=np.stack(rows)), True


def _between(grid: np.ndarray, step: np.ndarray, value: np.ndarray) -> np.ndarray:
    """`value [points]` at `step [points]`, interpolated linearly at `grid`; beside an infinity, the value before."""
    before, after = np.searchsorted(step, grid, side="right") - 1, np.searchsorted(step, grid)
    low, high = value[before], value[after]
    share = (grid - step[before]) / np.maximum(step[after] - step[before], 1)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(low) & np.isfinite(high), low + share * (high - low), low)


def final(
    frame: pd.DataFrame,
    algorithm: str,
    env: str | None = None,
    metric: str = RETURN,
    at: float | None = None,
    window: float = 0.1,
) -> np.ndarray:
    """Score per seed `[runs]`: the mean of the evaluations in the last `window` share of the steps up to `at`.

    `at` is the last recorded step by default. A diverged seed scores `-inf`.

    Raises:
      MissingDataError: as in `curves`, or a seed has no evaluation there.
    """
    found = curves(frame, algorithm, env, metric)
    if found.diverged.all():  # nothing is recorded after a divergence, so there may be no point near the end
        return np.full(len(found.seeds), -np.inf)
    stop = found.env_step[-1] if at is None else at
    inside = (found.env_step <= stop) & (found.env_step >= (1 - window) * stop)
    if not inside.any() or np.isnan(found.value[:, inside]).all(axis=1).any() or found.env_step[-1] < stop * (1 - 1e-9):
        raise MissingDataError(f"{algorithm} has no {metric} around step {stop:,.0f} for every seed")
    return np.nanmean(found.value[:, inside], axis=1)


def paired(
    frame: pd.DataFrame,
    first: str,
    second: str,
    env: str | None = None,
    metric: str = RETURN,
    at: float | None = None,
) -> np.ndarray:
    """`final` of `first` minus that of `second`, on the seeds that both have `[common runs]`; NaN if both diverged.

    Raises:
      MissingDataError: one is missing or they share no seed.
    """
    seeds = [curves(frame, name, env, metric).seeds for name in (first, second)]
    common, left, right = np.intersect1d(seeds[0], seeds[1], return_indices=True)
    if common.size == 0:
        raise MissingDataError(f"{first} and {second} share no seed")
    with np.errstate(invalid="ignore"):
        return final(frame, first, env, metric, at)[left] - final(frame, second, env, metric, at)[right]


def steps_until(
    frame: pd.DataFrame,
    threshold: float,
    *algorithms: str,
    env: str | None = None,
    metric: str = RETURN,
) -> list[np.ndarray]:
    """Steps until each algorithm's seeds first reach a threshold, censored (`inf`) at the budget they all share.

    Returns:
      One array `[runs]` per algorithm.

    Raises:
      MissingDataError: as in `curves`.
    """
    found = [curves(frame, name, env, metric) for name in algorithms]
    return [steps_to(one.env_step, one.value, threshold, _budget(found)) for one in found]


def times(
    frame: pd.DataFrame,
    threshold: float,
    slow: str,
    fast: str,
    env: str | None = None,
    metric: str = RETURN,
) -> Times:
    """`steps_until` of two algorithms with the budget that they share.

    Raises:
      MissingDataError: as in `curves`.
    """
    late, early = steps_until(frame, threshold, slow, fast, env=env, metric=metric)
    return Times(late, early, _budget([curves(frame, name, env, metric) for name in (slow, fast)]))


def _budget(found: list[Curves]) -> float:
    """The last step that all have reached; those whose seeds all diverged are not asked."""
    return float(min((one.env_step[-1] for one in found if not one.diverged.all()), default=np.inf))


def arrays(frame: pd.DataFrame, algorithm: str, env: str | None = None) -> dict[str, np.ndarray]:
    """The bulk arrays, of any shape, stored with an algorithm's run; `frame` must be one that the report handed out.

    Raises:
      MissingDataError: no such run, or it stored none.
    """
    wanted = (frame["algorithm"] == algorithm) & ((frame["env"] == env) if env is not None else True)
    for run in frame.loc[wanted, "run"].unique():
        stored = results.arrays(frame.attrs["root"], run)
        if stored:
            return stored
    raise MissingDataError(f"no arrays stored for {algorithm}{f' on {env}' if env else ''}")
