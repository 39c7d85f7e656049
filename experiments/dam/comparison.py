"""Table 1 of DAM beside itself under other settings: verdicts, returns, and by how much each gap has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.dam import common
from experiments.dam.settings import Setting, known
from mbrl_jax.report.claims import Judgement, Verdict, judge
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.report.statistics import Interval, bootstrap, iqm

__all__ = [
    "CHANGES",
    "DECIDED",
    "OPEN",
    "SIZES",
    "changes",
    "decided",
    "judged",
    "present",
    "relation",
    "returns",
    "shift",
    "turned",
    "verdicts",
]

SIZES, OPEN = ("fuller", "smaller", "same"), ("open",)
"""Kinds of settings: sizes, with Table 1's own again, and what the paper leaves open."""
CHANGES = (
    "by how much each difference is larger than in Table 1 [95 % interval]; a star marks what is beyond chance, "
    "corrected for the size of this table."
)
DECIDED = (
    "Counted are verdicts that turn into their opposite, and those decided only there or only in Table 1 where the "
    "difference itself has changed by more than chance (starred in the tables)."
)
OPPOSITE = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}


def present(frame: pd.DataFrame, env: str, kinds: Sequence[str]) -> dict[str, Setting]:
    """Settings of these kinds that there are results of, by name."""
    there = set(frame["env"])
    return {one.name: one for one in known(env) if one.kind in kinds and common.place(env, one.name) in there}


def judged(frame: pd.DataFrame, env: str, setting: Setting | None = None) -> dict[str, Judgement]:
    """The verdict on every statement, in Table 1 or under a setting."""
    where, same = (env, ()) if setting is None else (common.place(env, setting.name), setting.same)
    return {s.short: judge(common.claim(s, env, where, same), frame) for s in common.statements()}


def relation(verdict: Verdict, usual: Verdict) -> str:
    """How a verdict stands to that of Table 1: `same`, `opposite`, `open` here only, or `decided` here only."""
    if verdict is usual:
        return "same"
    if verdict is Verdict.OPEN:
        return "open"
    return "opposite" if OPPOSITE.get(usual) is verdict else "decided"


def shift(here: np.ndarray, usual: np.ndarray, confidence: float = 0.95) -> Interval:
    """By how much a gap differs from that of Table 1, the bootstrap over the seeds of all cells of both.

    Args:
      here: scores `[seeds, cells]` under a setting; the first cell is said to be better than the others.
      usual: scores `[other seeds, cells]` in Table 1.
      confidence: of the interval.
    """

    def gap(scores: np.ndarray) -> np.ndarray:
        middles = iqm(scores, axis=1)
        return middles[:, 0] - middles[:, 1:].max(axis=1)

    return bootstrap(lambda a, b: gap(a) - gap(b), here, usual, confidence=confidence, repetitions=10_000)


def _shifts(
    frame: pd.DataFrame, env: str, settings: dict[str, Setting], confidence: float
) -> dict[str, dict[str, Interval]]:
    """`shift` of every statement's gap under every setting."""

    def scores(statement: common.Statement, where: str) -> np.ndarray:
        cells = (statement.better, *statement.worse)
        return np.stack([common.scores(frame, where, *cell) for cell in cells], axis=1)

    return {
        name: {
            one.short: shift(scores(one, common.place(env, name)), scores(one, env), confidence)
            for one in common.statements()
        }
        for name in settings
    }


def _moved(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> dict[str, set[str]]:
    """Statements whose gap differs from Table 1's by more than chance, by setting; corrected for all of them."""
    count = len(settings) * len(common.statements())
    found = _shifts(frame, env, settings, 1 - 0.05 / count) if count else {}
    return {name: {short for short, one in row.items() if one.low > 0 or one.high < 0} for name, row in found.items()}


def verdicts(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """A row for Table 1 and per setting, a column per statement."""
    usual = judged(frame, env)
    rows = []
    for name, found in {"Table 1": usual, **{n: judged(frame, env, s) for n, s in settings.items()}}.items():
        row: dict[str, Any] = {"setting": name, "seeds": next(iter(found.values())).n_seeds}
        for short, one in found.items():
            against = "" if found is usual else f" ({relation(one.verdict, usual[short].verdict)})"
            row[short] = f"{one.estimate:+.1f} [{one.low:+.1f}, {one.high:+.1f}] {one.verdict}{against}"
        rows.append(row)
    return pd.DataFrame(rows)


def changes(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """How every gap differs from Table 1's, a row per setting."""
    moved, rows = _moved(frame, env, settings), []
    for name, found in _shifts(frame, env, settings, 0.95).items():
        shown = {
            short: f"{one.estimate:+.1f} [{one.low:+.1f}, {one.high:+.1f}]" + (" *" if short in moved[name] else "")
            for short, one in found.items()
        }
        rows.append({"setting": name, "seeds": settings[name].seeds, **shown})
    return pd.DataFrame(rows)


def returns(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """Mean and standard error of every cell, in Table 1 and under every setting."""
    rows = []
    for name, setting in {"Table 1": None, **settings}.items():
        row = {"setting": name}
        for model in common.MODELS:
            for method in common.METHODS:
                varied = setting is not None and method not in setting.same
                found = common.scores(frame, common.place(env, name) if varied else env, model, method)
                error = found.std(ddof=1) / np.sqrt(len(found))
                row[f"{model}, {method}"] = f"{found.mean():.1f} ± {error:.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


def decided(env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """0.5 minus the number of verdicts that another size decides.

    That is, those that turn into their opposite, and those that are decided in only one of the two where the gap
    differs by more than chance as well.
    """

    def gap(frame: pd.DataFrame) -> np.ndarray:
        others, usual = _compared(frame, env, ("fuller",))
        sizes = _moved(frame, env, present(frame, env, SIZES))
        moved = {(name, short) for name, found in sizes.items() for short in found}
        turned = _related(others, usual, ("opposite",))
        return np.array([0.5 - len(turned | (_related(others, usual, ("open", "decided")) & moved))])

    return gap


def turned(env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """0.5 minus the number of verdicts that turn into their opposite under a setting that the paper leaves open."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        others, usual = _compared(frame, env, OPEN)
        if all(one.verdict is Verdict.OPEN for one in usual.values()):
            raise MissingDataError("no verdict of Table 1 is decided, so none can turn")
        return np.array([0.5 - len(_related(others, usual, ("opposite",)))])

    return gap


def _compared(
    frame: pd.DataFrame, env: str, kinds: Sequence[str]
) -> tuple[dict[str, dict[str, Judgement]], dict[str, Judgement]]:
    """Verdicts by setting of these kinds, and those of Table 1; raises MissingDataError if there is no such setting."""
    settings = present(frame, env, kinds)
    if not settings:
        raise MissingDataError(f"no such variations of {env}")
    return {name: judged(frame, env, one) for name, one in settings.items()}, judged(frame, env)


def _related(
    others: dict[str, dict[str, Judgement]], usual: dict[str, Judgement], relations: Sequence[str]
) -> set[tuple[str, str]]:
    """Pairs of setting and statement whose verdict stands in one of these relations to that of Table 1."""
    return {
        (name, short)
        for name, row in others.items()
        for short, one in row.items()
        if relation(one.verdict, usual[short].verdict) in relations
    }
