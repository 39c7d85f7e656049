"""Table 1 of DAM beside itself under other settings: verdicts, returns, and by how much each gap has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.dam import common
from experiments.dam.settings import Setting, known
from mbrl_jax.report.claims import Claim, Judgement, Verdict, judge
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.report.statistics import Interval, bootstrap, iqm

__all__ = [
    "CHANGES",
    "OPEN",
    "SIZES",
    "TOGETHER",
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
TOGETHER = "Table 1 and other seeds"
CHANGES = (
    "by how much each difference is larger than in Table 1, with its other seeds where there are any [95 % interval]; "
    "a star marks what is beyond chance, corrected for the size of this table."
)
OPPOSITE = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}


def present(frame: pd.DataFrame, env: str, kinds: Sequence[str]) -> dict[str, Setting]:
    """Settings of these kinds that there are results of, by name."""
    there = set(frame["env"])
    return {one.name: one for one in known(env) if one.kind in kinds and common.place(env, one.name) in there}


def _cells(frame: pd.DataFrame, env: str, settings: Sequence[Setting | None]) -> common.Cells:
    """Scores of every cell in Table 1 (None) or under a setting; those of several settings as one sample."""

    def found(model: str, method: str) -> np.ndarray:
        places = [env if one is None or method in one.same else common.place(env, one.name) for one in settings]
        return np.concatenate([common.scores(frame, where, model, method) for where in places])

    return found


def _repeated(frame: pd.DataFrame, env: str) -> tuple[Setting | None, ...]:
    """Table 1, and its repetitions with other seeds."""
    return (None, *present(frame, env, ("same",)).values())


def judged(frame: pd.DataFrame, env: str, settings: Sequence[Setting | None] = (None,)) -> dict[str, Judgement]:
    """The verdict on every statement, in Table 1 or under a setting, or of several settings together."""
    return {
        one.short: judge(common.claim(one, env, lambda frame: _cells(frame, env, settings)), frame)
        for one in common.statements()
    }


def relation(verdict: Verdict, usual: Verdict) -> str:
    """How a verdict stands to that of Table 1: `same`, `opposite`, `open` here only, or `decided` here only."""
    if verdict is usual:
        return "same"
    if verdict is Verdict.OPEN:
        return "open"
    return "opposite" if OPPOSITE.get(usual) is verdict else "decided"


def shift(here: Sequence[np.ndarray], usual: Sequence[np.ndarray], confidence: float = 0.95) -> Interval:
    """By how much a gap differs from that of Table 1, the bootstrap over the seeds of all cells of both.

    Args:
      here: scores of each cell under a setting, each `[its seeds]`; the first is said to be better than the others.
      usual: those of as many cells in Table 1.
      confidence: of the interval.
    """

    def gap(scores: Sequence[np.ndarray]) -> np.ndarray:
        better, *others = (iqm(one, axis=(1, 2)) for one in scores)
        return better - np.max(others, axis=0)

    def change(*scores: np.ndarray) -> np.ndarray:
        return gap(scores[: len(here)]) - gap(scores[len(here) :])

    return bootstrap(change, *here, *usual, confidence=confidence, repetitions=10_000)


def _shifts(
    frame: pd.DataFrame, env: str, settings: dict[str, Setting], confidence: float
) -> dict[str, dict[str, Interval]]:
    """`shift` of every statement's gap under every setting, against Table 1 with all its seeds."""

    def scores(statement: common.Statement, settings: Sequence[Setting | None]) -> list[np.ndarray]:
        cells = _cells(frame, env, settings)
        return [cells(*one) for one in (statement.better, *statement.worse)]

    every = _repeated(frame, env)
    return {
        name: {
            one.short: shift(scores(one, (here,)), scores(one, (None,) if here in every else every), confidence)
            for one in common.statements()
        }
        for name, here in settings.items()
    }


def _moved(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> dict[str, set[str]]:
    """Statements whose gap differs from Table 1's by more than chance, by setting; corrected for all of them."""
    count = len(settings) * len(common.statements())
    found = _shifts(frame, env, settings, 1 - 0.05 / count) if count else {}
    return {name: {short for short, one in row.items() if one.low > 0 or one.high < 0} for name, row in found.items()}


def _seeds(frame: pd.DataFrame, env: str, setting: Setting) -> list[int]:
    """Seeds of every cell."""
    cells = _cells(frame, env, (setting,))
    return [len(cells(model, method)) for model in common.MODELS for method in common.METHODS]


def _range(counts: Iterable[int]) -> int | str:
    """One number where all are equal, else the smallest and the largest."""
    ordered = sorted(set(counts))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def verdicts(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """A row for Table 1 and per setting, a column per statement; Table 1 and its repetition together where shown."""
    usual, every = judged(frame, env), _repeated(frame, env)
    found = {"Table 1": usual}
    for name, setting in settings.items():
        found[name] = judged(frame, env, (setting,))
        if setting is every[-1]:
            found[TOGETHER] = judged(frame, env, every)
    rows = []
    for name, row in found.items():
        shown: dict[str, Any] = {"setting": name, "seeds": _range(one.n_seeds for one in row.values())}
        for short, one in row.items():
            against = "" if row is usual else f" ({relation(one.verdict, usual[short].verdict)})"
            shown[short] = f"{one.estimate:+.1f} [{one.low:+.1f}, {one.high:+.1f}] {one.verdict}{against}"
        rows.append(shown)
    return pd.DataFrame(rows)


def changes(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """How every gap differs from Table 1's, a row per setting."""
    moved, rows = _moved(frame, env, settings), []
    for name, found in _shifts(frame, env, settings, 0.95).items():
        shown = {
            short: f"{one.estimate:+.1f} [{one.low:+.1f}, {one.high:+.1f}]" + (" *" if short in moved[name] else "")
            for short, one in found.items()
        }
        rows.append({"setting": name, "seeds": _range(_seeds(frame, env, settings[name])), **shown})
    return pd.DataFrame(rows)


def returns(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """Mean and standard error of every cell, in Table 1 and under every setting."""
    rows = []
    for name, setting in {"Table 1": None, **settings}.items():
        row, cells = {"setting": name}, _cells(frame, env, (setting,))
        for model in common.MODELS:
            for method in common.METHODS:
                found = cells(model, method)
                error = found.std(ddof=1) / np.sqrt(len(found))
                row[f"{model}, {method}"] = f"{found.mean():.1f} ± {error:.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


def decided(env: str) -> Claim:
    """That no larger size changes a verdict beyond chance; the exact gap is 0.5 minus the number of such verdicts."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        others, usual = _compared(frame, env, ("fuller",))
        sizes = _moved(frame, env, present(frame, env, SIZES))
        moved = {(name, short) for name, found in sizes.items() for short in found}
        opposite = _related(others, usual, ("opposite",))
        return np.array([0.5 - len(opposite | (_related(others, usual, ("open", "decided")) & moved))])

    note = (
        "Counted are verdicts that turn into their opposite, and those decided only there or only in Table 1 where "
        "the difference itself has changed by more than chance (starred in the tables)."
    )
    text = f"{common.ENVS[env]}: no larger size that was tried changes a verdict of Table 1 by more than chance"
    return _counted(text, gap, note)


def turned(env: str) -> Claim:
    """That no open setting turns a verdict into its opposite; the exact gap is 0.5 minus the number of those turned."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        others, usual = _compared(frame, env, OPEN)
        if all(one.verdict is Verdict.OPEN for one in usual.values()):
            raise MissingDataError("no verdict of Table 1 is decided, so none can turn")
        return np.array([0.5 - len(_related(others, usual, ("opposite",)))])

    text = "no setting that the paper leaves open turns a verdict of Table 1 into its opposite"
    return _counted(
        f"{common.ENVS[env]}: {text}", gap, "A verdict that becomes OPEN is not counted; the tables show it."
    )


def _counted(text: str, gap: Callable[[pd.DataFrame], np.ndarray], note: str) -> Claim:
    return Claim(text=text, source="ours", gap=gap, unit="= 0.5 − number of such verdicts", tolerance=0.0, note=note)


def _compared(
    frame: pd.DataFrame, env: str, kinds: Sequence[str]
) -> tuple[dict[str, dict[str, Judgement]], dict[str, Judgement]]:
    """Verdicts by setting of these kinds, and those of Table 1; raises MissingDataError if there is no such setting."""
    settings = present(frame, env, kinds)
    if not settings:
        raise MissingDataError(f"no such variations of {env}")
    return {name: judged(frame, env, (one,)) for name, one in settings.items()}, judged(frame, env)


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
