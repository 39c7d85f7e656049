"""What MnM's claims on continuous control compare: each maps the results to what is positive where the claim holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr

from experiments.mnm import continuous
from mbrl_jax import envs
from mbrl_jax.algorithms import mnm
from mbrl_jax.report import MissingDataError, Rivals, Samples, select, statistics

__all__ = [
    "MSE",
    "SLOPE",
    "VALUE",
    "Values",
    "area",
    "at_end",
    "best",
    "better",
    "calm",
    "close",
    "drop",
    "excess",
    "falls",
    "far",
    "faster",
    "late",
    "least",
    "nearer",
    "one_sided",
    "rougher",
    "values",
]

MSE, SLOPE, VALUE = "mnm/holdout_mse", "mnm/value_slope", "sac/value"
BLOW_UP = 10.0
"""A model error this many times the first one counts as a blow-up."""
GAMMA = mnm.Config().agent.gamma
SCALE = mnm.Config().reward_scale

Gap = Callable[[pd.DataFrame], np.ndarray]
Two = Callable[[pd.DataFrame], Samples]


class Values(NamedTuple):
    """Critics beside what was earned, at the steps at which both are known.

    Attributes:
      env_step: `[points]`.
      value: the critics' mean on their batches, in the task's units, `[seeds, points]`.
      earned: the mean over the steps of evaluation episodes of the discounted rest, if every step pays the same.
    """

    env_step: np.ndarray
    value: np.ndarray
    earned: np.ndarray


def values(frame: pd.DataFrame, label: str, env: str) -> Values:
    """The critics' values of a method with a learned reward in the task's units, and what its policy earned.

    An evaluation stores the return R and the length L of whole episodes. With R / L at every step, the discounted rest
    is R / L / (1 − γ) where the time limit ended it, since critics see none, and less where the task did.
    """
    believed = select.curves(frame, label, env, VALUE, worst=np.inf)
    score = select.curves(frame, label, env)
    length = select.curves(frame, label, env, "eval/length", worst=1.0)  # a diverged seed has earned the worst
    steps = np.intersect1d(believed.env_step, score.env_step)
    limit = envs.make(env).spec.time_limit
    total, long = (one.value[:, np.isin(one.env_step, steps)] for one in (score, length))
    cut = np.where(long >= limit, 0.0, GAMMA * (1 - GAMMA**long) / (long * (1 - GAMMA)))
    earned = total / long / (1 - GAMMA) * (1 - cut)
    return Values(steps, believed.value[:, np.isin(believed.env_step, steps)] / SCALE, earned)


def better(first: str, second: str, env: str) -> Two:
    """A method's final returns against another's."""

    def gap(frame: pd.DataFrame) -> Samples:
        return Samples(select.final(frame, first, env), select.final(frame, second, env))

    return gap


def best(first: str, others: Sequence[str], env: str) -> Callable[[pd.DataFrame], Rivals]:
    """A method's final returns against those of all others."""

    def gap(frame: pd.DataFrame) -> Rivals:
        return Rivals(select.final(frame, first, env), [select.final(frame, other, env) for other in others])

    return gap


def area(frame: pd.DataFrame, label: str, env: str) -> np.ndarray:
    """Mean return over the evaluations after training has begun, per seed."""
    return select.curves(frame, label, env).value[:, 1:].mean(axis=1)


def faster(first: str, second: str, env: str) -> Two:
    """The areas under a method's curves against another's."""

    def gap(frame: pd.DataFrame) -> Samples:
        return Samples(area(frame, first, env), area(frame, second, env))

    return gap


def close(first: str, second: str, env: str, share: float = 0.1) -> Two:
    """Whether final returns of two methods differ by less than a share of the second one's rise over the run."""

    def gap(frame: pd.DataFrame) -> Samples:
        ours, theirs = select.final(frame, first, env), select.final(frame, second, env)
        start = select.curves(frame, second, env).value[:, 0]
        margin = share * float(np.abs(statistics.iqm(theirs) - statistics.iqm(start)))
        return Samples(ours, theirs, statistics.closeness(margin))

    return gap


def excess(label: str, env: str) -> Gap:
    """How far the critics' values are at the end above the largest discounted return that there is."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        if env not in continuous.BEST:
            raise MissingDataError(f"rewards of {env} have no largest value")
        return late(frame, label, env, VALUE) / SCALE - continuous.BEST[env] / (1 - GAMMA)

    return gap


def nearer(first: str, second: str, env: str) -> Two:
    """How much farther the second method's critics are from what its policy earns, in the mean over the last half."""

    def off(frame: pd.DataFrame, label: str) -> np.ndarray:
        found = values(frame, label, env)
        late = found.env_step >= found.env_step[-1] / 2
        return np.abs(found.value - found.earned)[:, late].mean(axis=1)

    return lambda frame: Samples(off(frame, second), off(frame, first))


def rougher(first: str, second: str, env: str) -> Two:
    """How much more the second method's values move between iterations, in the mean over the run."""

    def moves(frame: pd.DataFrame, label: str) -> np.ndarray:
        found = select.curves(frame, label, env, VALUE, worst=0.0)
        moved = np.abs(np.diff(found.value / SCALE, axis=1)).mean(axis=1)
        return np.where(found.diverged, np.inf, moved)

    return lambda frame: Samples(moves(frame, second), moves(frame, first))


def at_end(values: np.ndarray) -> np.ndarray:
    """The mean `[seeds]` over the last tenth of `values [seeds, points]`."""
    return values[:, -max(1, values.shape[1] // 10) :].mean(axis=1)


def late(frame: pd.DataFrame, label: str, env: str, metric: str) -> np.ndarray:
    """A metric's mean over the last tenth of a run, per seed; infinite where the seed diverged."""
    return at_end(select.curves(frame, label, env, metric, worst=np.inf).value)


def drop(label: str, env: str) -> Gap:
    """By what share of its largest height over the start a value has fallen at the end; of a diverged seed unknown."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        found = select.curves(frame, label, env, VALUE, worst=0.0)
        top = found.value.max(axis=1)
        lost = (top - at_end(found.value)) / np.maximum(top - found.value[:, 0], 1e-6)
        return np.where(found.diverged, np.nan, lost)

    return gap


def _errors(frame: pd.DataFrame, label: str, env: str) -> np.ndarray:
    return np.maximum(select.curves(frame, label, env, MSE, worst=np.inf).value, 1e-12)


def falls(label: str, env: str) -> Gap:
    """The logarithm of a model's first error on steps not yet learned from over its last ones."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        error = _errors(frame, label, env)
        return np.log(error[:, 0]) - np.log(at_end(error))

    return gap


def calm(label: str, env: str) -> Gap:
    """How far below a blow-up the largest error of a model stays, as a logarithm."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        error = _errors(frame, label, env)
        return np.log(BLOW_UP * error[:, 0]) - np.log(error.max(axis=1))

    return gap


def least(frame: pd.DataFrame, label: str, env: str) -> float:
    """The smallest error of a model over a run, in the mean over seeds."""
    return float(_errors(frame, label, env).min(axis=1).mean())


def far(label: str, twin: str, env: str, factor: float = 1.0) -> Gap:
    """How far a model's smallest error is above `factor` times the twin's, as a logarithm."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        return np.log(_errors(frame, label, env).min(axis=1) / (factor * least(frame, twin, env)))

    return gap


def one_sided(first: np.ndarray, second: np.ndarray) -> float:
    """The p-value of Welch's one-sided test that the first sample's mean is the larger; NaN where it has none."""
    known = [one[np.isfinite(one)] for one in (first, second)]
    if min(map(len, known)) < 2 or max(one.std() for one in known) == 0:
        return float("nan")
    each = [one.var(ddof=1) / len(one) for one in known]
    freedom = sum(each) ** 2 / sum(error**2 / (len(one) - 1) for error, one in zip(each, known, strict=True))
    return float(stdtr(freedom, -(known[0].mean() - known[1].mean()) / np.sqrt(sum(each))))
