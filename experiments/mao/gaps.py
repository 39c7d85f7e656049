"""What MAO's claims on continuous control compare: each maps the results to what is positive where the claim holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.mao import continuous
from mbrl_jax.report import Samples, select, statistics

__all__ = ["area", "beats_doing_nothing", "better", "comparable", "faster", "lives"]


def area(frame: pd.DataFrame, name: str, env: str) -> np.ndarray:
    """Mean return over the evaluations after the first stage, per seed."""
    return select.curves(frame, name, env).value[:, 1:].mean(axis=1)


def better(first: str, second: str, env: str) -> Callable[[pd.DataFrame], Samples]:
    """A method's final returns against another's."""

    def gap(frame: pd.DataFrame) -> Samples:
        return Samples(select.final(frame, first, env), select.final(frame, second, env))

    return gap


def faster(first: str, second: str, env: str) -> Callable[[pd.DataFrame], Samples]:
    """The areas under a method's curves against another's."""

    def gap(frame: pd.DataFrame) -> Samples:
        return Samples(area(frame, first, env), area(frame, second, env))

    return gap


def beats_doing_nothing(name: str, env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """A method's final returns above what doing nothing gives in the mean."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        return select.final(frame, name, env) - continuous.mean_return(frame, continuous.NOTHING, env)

    return gap


def comparable(first: str, second: str, env: str) -> Callable[[pd.DataFrame], Samples]:
    """Whether the means of two methods differ by less than the second one's standard error."""

    def gap(frame: pd.DataFrame) -> Samples:
        ours, theirs = select.final(frame, first, env), select.final(frame, second, env)
        margin = float(theirs.std(ddof=1) / np.sqrt(len(theirs)))
        return Samples(ours, theirs, statistics.closeness(margin, statistics.mean))

    return gap


def lives(name: str, env: str, sign: float) -> Callable[[pd.DataFrame], np.ndarray]:
    """How far the share of living hidden units at the end is above (sign 1) or below (−1) one half."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        return sign * (select.final(frame, name, env, "model/alive") - 0.5)

    return gap
