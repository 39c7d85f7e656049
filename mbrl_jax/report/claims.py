"""Claims of papers as checkable predicates, and their verdicts: HOLDS, FAILS or OPEN.

A claim holds or fails when the 95 % bootstrap interval of its gap over seeds excludes zero; a wide interval is not a
failure but an open question. A FAILS is a result like any other. Every claim is judged by itself: of many without any
effect about one in twenty gets a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from mbrl_jax.report import statistics
from mbrl_jax.report.select import MissingDataError, Times
from mbrl_jax.report.statistics import Interval, Statistic

__all__ = ["MIN_SEEDS", "Claim", "Judgement", "Rivals", "Samples", "Verdict", "judge"]

MIN_SEEDS = 5
"""With n seeds of no effect at all, every gap has the same sign with probability 2^(1-n): 12.5 % of 4, 6 % of 5."""


class Verdict(StrEnum):
    """What the evidence says about a claim."""

    HOLDS = "HOLDS"
    FAILS = "FAILS"
    OPEN = "OPEN"


class Samples(NamedTuple):
    """Two unpaired samples and how they are compared.

    Attributes:
      a: `[runs]` or `[runs, tasks]`.
      b: `[other runs]` or `[other runs, tasks]`.
      estimator: statistic of both, > 0 where the claim holds: `statistics.difference(...)`, `log_ratio(...)` or own.
    """

    a: np.ndarray
    b: np.ndarray
    estimator: Statistic = statistics.difference()


class Rivals(NamedTuple):
    """A sample that is claimed to be the best of several: its gap is that to the strongest rival.

    The claim holds if it is better than every rival, each at the interval's confidence (an intersection-union test,
    which needs no correction), and fails if one of the rivals is better with their number corrected for (Bonferroni).

    Attributes:
      a: `[runs]` or `[runs, tasks]`.
      others: the rivals, each `[other runs]` or `[other runs, tasks]`.
      estimator: as in `Samples`.
    """

    a: np.ndarray
    others: Sequence[np.ndarray]
    estimator: Statistic = statistics.difference()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A checkable statement of a paper, or of ours.

    Attributes:
      text: the statement in our words.
      source: where it is made, with section, figure or table.
      gap: maps the artefact's results to per-seed gaps `[runs]` (> 0 where the claim holds; NaN where a seed decides
        nothing), `Samples`, `Rivals` or `select.Times`; raises `MissingDataError` where results are lacking.
      unit: what the gap is measured in, for the report.
      center: how per-seed gaps are summed up: `statistics.iqm`, `median` or `mean`.
      tolerance: set for exact results (no chance in them): the claim holds if every gap exceeds it, fails if one is
        below its negative.
      note: what a reader must know about how we test it.
      profiles: profiles whose scale the claim is about; in others it stays OPEN. All but `smoke` if empty.

    Raises:
      ValueError: `tolerance` is negative or not a number.
    """

    text: str
    source: str
    gap: Callable[[pd.DataFrame], np.ndarray | Samples | Rivals | Times]
    unit: str = ""
    center: Statistic = statistics.iqm
    tolerance: float | None = None
    note: str = ""
    profiles: tuple[str, ...] = ()

    def __post_init__(self):
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ValueError(f"a tolerance must be >= 0, got {self.tolerance}")


class Judgement(NamedTuple):
    """A verdict with its evidence.

    Attributes:
      verdict: HOLDS, FAILS or OPEN.
      estimate: the gap; NaN if there is none.
      low: lower end of its 95 % interval (the smallest gap of an exact claim).
      high: upper end (the largest gap of an exact claim).
      n_seeds: seeds the interval rests on, of the smaller sample if there are two; 0 for an exact claim.
      n_diverged: seeds that diverged among the results; they are in the interval as the worst outcome.
      note: the reason where the verdict is OPEN, and other remarks.
      exact: whether there is no chance in it: `low` and `high` are the range over its cases, not an interval.
    """

    verdict: Verdict
    estimate: float
    low: float
    high: float
    n_seeds: int
    n_diverged: int
    note: str
    exact: bool = False


def judge(claim: Claim, results: pd.DataFrame, *, repetitions: int = 10_000, seed: int = 0) -> Judgement:
    """Judges a claim on results as `results.load` gives them. Never raises: what goes wrong leaves the claim OPEN.

    Args:
      claim: the claim.
      results: the long table of its artefact.
      repetitions: bootstrap resamples.
      seed: seed of the bootstrap.
    """
    n_diverged = _count_diverged(results)
    try:
        gap = claim.gap(results)
        if claim.tolerance is not None:
            return _judge_exact(claim, np.asarray(gap, dtype=float).ravel(), n_diverged)
        if isinstance(gap, Rivals):
            interval, count, note = _best(gap, repetitions, seed)
        elif isinstance(gap, Times):
            interval, count, note = _sooner(gap, repetitions, seed)
        else:
            interval, count, note = _interval(claim, gap, repetitions, seed)
    except MissingDataError as error:
        return Judgement(Verdict.OPEN, np.nan, np.nan, np.nan, 0, n_diverged, str(error))
    except Exception as error:  # one claim that cannot be computed must not take the report with it
        reason = f"could not be judged: {type(error).__name__}: {error}"
        return Judgement(Verdict.OPEN, np.nan, np.nan, np.nan, 0, n_diverged, reason)
    estimate, low, high = (float(part) for part in interval)
    verdict = Verdict.HOLDS if low > 0 else Verdict.FAILS if high < 0 else Verdict.OPEN
    if verdict is Verdict.OPEN:
        note = _join(note, "the interval contains zero")
    if count < MIN_SEEDS:
        verdict, note = Verdict.OPEN, f"a verdict needs at least {MIN_SEEDS} seeds, there are {count}"
    return Judgement(verdict, estimate, low, high, count, n_diverged, note)


def _interval(claim: Claim, gap: np.ndarray | Samples, repetitions: int, seed: int) -> tuple[Interval, int, str]:
    if isinstance(gap, Samples):
        interval = statistics.bootstrap(gap.estimator, gap.a, gap.b, repetitions=repetitions, seed=seed)
        sizes = len(gap.a), len(gap.b)
        return interval, min(sizes), "" if sizes[0] == sizes[1] else f"{sizes[0]} seeds against {sizes[1]}"
    gaps = np.atleast_1d(np.asarray(gap, dtype=float))
    if gaps.size == 0:
        raise MissingDataError("no seed has finished")
    undecided = int(np.isnan(gaps).any(axis=tuple(range(1, gaps.ndim))).sum())
    # A seed that decides nothing counts against whichever verdict is being considered.
    against, favour = (
        statistics.aggregate(np.where(np.isnan(gaps), worst, gaps), claim.center, repetitions=repetitions, seed=seed)
        for worst in (-np.inf, np.inf)
    )
    known = gaps[~np.isnan(gaps)]
    estimate = claim.center(known) if known.size else np.array(np.nan)
    note = f"{undecided} of {len(gaps)} seeds decide nothing" if undecided else ""
    return Interval(estimate, against.low, favour.high), len(gaps), note


def _best(gap: Rivals, repetitions: int, seed: int, confidence: float = 0.95) -> tuple[Interval, int, str]:
    """The smallest gap to a rival; its high end is the smallest of intervals that hold for all rivals at once."""
    if not gap.others:
        raise MissingDataError("there is no rival")
    corrected = 1 - (1 - confidence) / len(gap.others)
    draw = partial(statistics.bootstrap, gap.estimator, gap.a, repetitions=repetitions, seed=seed)
    each = [draw(b, confidence=confidence) for b in gap.others]
    all_of_them = [draw(b, confidence=corrected) for b in gap.others]
    estimate = np.min([one.estimate for one in each])
    interval = Interval(estimate, np.min([one.low for one in each]), np.min([one.high for one in all_of_them]))
    count = min(len(gap.a), *(len(b) for b in gap.others))
    return interval, count, f"the smallest of {len(gap.others)} gaps; high end corrected for their number"


def _sooner(gap: Times, repetitions: int, seed: int) -> tuple[Interval, int, str]:
    """`log(median(slow) / median(fast))`, as far as it is known.

    Of a run that did not get there it is only known that it needs longer than the budget. The low end takes such runs
    for done at the budget among the slow ones and for never done among the fast ones, the high end the other way round.
    """
    draw = partial(statistics.bootstrap, statistics.log_ratio(), repetitions=repetitions, seed=seed)
    least = draw(np.minimum(gap.slow, gap.budget), gap.fast)
    most = draw(gap.slow, np.minimum(gap.fast, gap.budget))
    known = np.isfinite(least.estimate) or np.isfinite(most.estimate)
    estimate = (least if np.isfinite(least.estimate) else most).estimate if known else np.array(np.nan)
    late = [f"{np.isinf(one).sum()} of {len(one)}" for one in (gap.slow, gap.fast)]
    beyond = f"not within {gap.budget:,.0f} steps: {late[0]} of the slower, {late[1]} of the faster"
    note = beyond if np.isinf(gap.slow).any() or np.isinf(gap.fast).any() else ""
    return Interval(estimate, least.low, most.high), min(len(gap.slow), len(gap.fast)), note


def _judge_exact(claim: Claim, gaps: np.ndarray, n_diverged: int) -> Judgement:
    if gaps.size == 0 or np.isnan(gaps).any():
        raise MissingDataError("the exact result is missing or not a number")
    tolerance = claim.tolerance or 0.0
    low, high = float(gaps.min()), float(gaps.max())
    verdict = Verdict.HOLDS if low > tolerance else Verdict.FAILS if low < -tolerance else Verdict.OPEN
    note = f"exact; tolerance {tolerance:g}"
    if verdict is Verdict.OPEN:
        note = _join(note, "the gap is zero within it")
    return Judgement(verdict, low, low, high, 0, n_diverged, note, exact=True)


def _count_diverged(results: pd.DataFrame) -> int:
    if "diverged_at" not in results:
        return 0
    return len(results.loc[results["diverged_at"].notna(), ["run", "algorithm", "seed"]].drop_duplicates())


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
