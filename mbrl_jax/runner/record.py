"""A run's metrics on the host: fixed-size arrays while it goes on, the store's long table when it is saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array

from mbrl_jax import results
from mbrl_jax.runner.run import Lane, Run
from mbrl_jax.types import Algorithm, Env, Facts

__all__ = [
    "Schedule",
    "empty",
    "facts",
    "manifest",
    "means",
    "names_of",
    "put_info",
    "put_scores",
    "schedule",
    "scheduled",
    "summary",
    "table",
    "usual_interval",
]

SCORES = ("eval/return_mean", "eval/return_std", "eval/length")
"""What every evaluation gives; a task's own scores come behind them."""
Numbers = TypeVar("Numbers", bound=Array | np.ndarray)


class Schedule(NamedTuple):
    """Outer iterations of a run, their environment steps, and the iterations after which it is evaluated."""

    iterations: int
    env_steps: int
    eval_iterations: int
    eval_at: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Environment steps of the run, warm-up not counted."""
        return self.iterations * self.env_steps


def schedule(run: Run, algorithm: Algorithm) -> Schedule:
    """The run's schedule: evaluated before training (if wanted), every `eval_every` steps, and at the end.

    Raises:
      ValueError: `eval_every` is not a multiple of the environment steps per iteration, or beyond the run.
    """
    return scheduled(run.config.steps, algorithm.env_steps, run.eval_every, run.evaluated_untrained)


def scheduled(steps: int, per: int, eval_every: int | None, untrained: bool = True) -> Schedule:
    """The schedule of `steps` environment steps, `per` of them an iteration, evaluated every `eval_every` steps.

    Args:
      eval_every: environment steps between evaluations; `usual_interval` if None.
      untrained: whether before training too.

    Raises:
      ValueError: as of `schedule`.
    """
    eval_every = usual_interval(steps, per) if eval_every is None else eval_every
    if eval_every < 1 or eval_every % per:
        raise ValueError(
            f"eval_every must be a multiple of the {per} environment steps of an iteration, got {eval_every}"
        )
    if eval_every > steps:
        raise ValueError(f"eval_every must be at most the run's {steps} steps, got {eval_every}")
    iterations, every = steps // per, eval_every // per
    at = sorted({*range(0 if untrained else every, iterations + 1, every), iterations})
    return Schedule(iterations, per, every, tuple(at))


def usual_interval(steps: int, per: int) -> int:
    """Environment steps between evaluations where nobody says: about 1,000, whole iterations, at most the run."""
    return min(-(-1000 // per) * per, steps)


History = dict[str, Any]


def names_of(scores: Iterable[str]) -> tuple[str, ...]:
    """Names of what is recorded of an evaluation, given those of what a program's `evaluate` returns."""
    return (*SCORES, *sorted(set(scores) - {"eval/return", "eval/length"}))


def summary(scores: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """What is recorded of evaluations, each value `[..., episodes]` before and `[...]` after, by the recorded names."""
    total, own = scores["eval/return"], names_of(scores)[len(SCORES) :]
    values = (total.mean(axis=-1), total.std(axis=-1), scores["eval/length"].mean(axis=-1))
    found = dict(zip(SCORES, values, strict=True)) | {name: scores[name].mean(axis=-1) for name in own}
    return cast(dict[str, Numbers], found)


def empty(schedule: Schedule, metrics: Sequence[str], lanes: int, scores: Sequence[str] = SCORES) -> History:
    """Room for everything a run records: `info[metric][iteration, lane]`, `eval[metric][evaluation, lane]`."""

    def blank(rows: int) -> np.ndarray:
        return np.full((rows, lanes), np.nan, np.float32)

    return {
        "info": {name: blank(schedule.iterations) for name in metrics},
        "eval": {name: blank(len(schedule.eval_at)) for name in scores},
        "diverged": np.full(lanes, -1, np.int32),
    }


def put_info(history: History, start: int, count: int, info: dict[str, np.ndarray]) -> None:
    """Writes the metrics of `count` iterations, given as `[lanes or more, length]`."""
    for name, rows in history["info"].items():
        rows[start : start + count] = np.asarray(info[name])[: rows.shape[1], :count].T


def put_scores(history: History, schedule: Schedule, iteration: int, scores: dict[str, np.ndarray]) -> None:
    """Writes one evaluation, given as `[lanes or more, episodes]`."""
    at, lanes = schedule.eval_at.index(iteration), history["diverged"].shape[0]
    for name, value in summary({name: np.asarray(rows)[:lanes] for name, rows in scores.items()}).items():
        history["eval"][name][at] = value


def means(history: History, schedule: Schedule, iteration: int) -> dict[str, float]:
    """The latest metrics, averaged over the healthy lanes in which they are finite; none where that is no lane."""
    healthy = history["diverged"] < 0
    if not healthy.any():
        return {}
    done = [i for i, e in enumerate(schedule.eval_at) if e <= iteration]
    latest = {name: rows[done[-1]] for name, rows in history["eval"].items()} if done else {}
    if iteration:
        latest |= {name: rows[iteration - 1] for name, rows in history["info"].items()}
    found = {name: row[healthy & np.isfinite(row)] for name, row in latest.items()}
    return {name: float(row.mean()) for name, row in found.items() if len(row)}


def table(history: History, schedule: Schedule, lanes: list[Lane], iteration: int) -> pd.DataFrame:
    """The long table of what is recorded up to `iteration`; what does not exist (NaN) has no row.

    Metrics come in alphabetical order, so that the table is the same whether or not the run was taken up again.

    A diverged lane's scores after it froze are those of the frozen policy and are left out.
    """
    done = [i for i, e in enumerate(schedule.eval_at) if e <= iteration]
    eval_steps = np.asarray(schedule.eval_at)[done] * schedule.env_steps
    info_steps = (np.arange(iteration) + 1) * schedule.env_steps
    parts = [_long(name, rows[done], eval_steps, lanes) for name, rows in sorted(history["eval"].items())]
    parts += [_long(name, rows[:iteration], info_steps, lanes) for name, rows in sorted(history["info"].items())]
    whole: pd.DataFrame = pd.concat(parts, ignore_index=True)
    frozen = np.where(history["diverged"] < 0, np.inf, history["diverged"] * schedule.env_steps)
    keep = np.isfinite(whole["value"]) & (whole["env_step"] <= frozen[whole["lane"]])
    return whole.loc[keep].drop(columns="lane").reset_index(drop=True)


def _long(name: str, rows: np.ndarray, steps: np.ndarray, lanes: list[Lane]) -> pd.DataFrame:
    count = len(steps)
    columns = {
        "algorithm": np.repeat([lane.label for lane in lanes], count),
        "seed": np.repeat([lane.seed for lane in lanes], count),
        "lane": np.repeat(np.arange(len(lanes)), count),
        "env_step": np.tile(steps, len(lanes)),
        "metric": name,
        "value": rows.T.reshape(-1).astype(np.float64),
    }
    return pd.DataFrame(columns)


def manifest(run: Run, env: Env, algorithm: Algorithm, schedule: Schedule, history: History, status: str) -> Facts:
    """What the run is and on what it ran, for the store."""
    lanes, each = run.lanes(), getattr(run.config, "updates_per_step", None)
    frozen = {
        f"{lane.label}/{lane.seed}": int(at) * schedule.env_steps
        for lane, at in zip(lanes, history["diverged"], strict=True)
        if at >= 0
    }
    return {
        **facts(run, env),
        "lanes": len(lanes),
        "diverged": frozen,
        "status": status,
        "steps": schedule.steps,
        "warmup_steps": algorithm.warmup_steps,
        "updates": None if each is None else each * schedule.steps,
    }


def facts(run: Run, env: Env) -> Facts:
    """What a run is, whether it has been trained or not, and the machine, for the store."""
    device = jax.local_devices()[0]
    return {
        "experiment": run.experiment,
        "method": run.entry.name,
        "algorithm": run.algorithm,
        "env": env.spec.name,
        "engine": env.spec.engine,
        "profile": run.profile,
        "config": dataclasses.asdict(run.config),
        "sweep": dict(run.sweep),
        "seeds": list(run.seeds),
        "eval_episodes": run.eval_episodes,
        "device": f"{device.platform}: {device.device_kind}",
        "precision": run.precision,
        **results.provenance(),
    }
