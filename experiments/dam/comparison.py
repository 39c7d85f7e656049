"""Table 1 of DAM beside itself under other settings: verdicts, returns, and by how much each gap has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.dam import common
from experiments.dam.settings import UNCORRECTED, Setting, known
from mbrl_jax.report import select
from mbrl_jax.report.claims import Claim, Judgement, Verdict, judge
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.report.statistics import Interval, bootstrap, iqm

__all__ = [
    "CHANGES",
    "OPEN",
    "SIZES",
    "TOGETHER",
    "added",
    "changes",
    "decided",
    "judged",
    "present",
    "relation",
    "returns",
    "shift",
    "turned",
    "unfinished",
    "verdicts",
]

SIZES, OPEN = ("fuller", "smaller", "same"), ("open",)
"""Kinds of settings: sizes, with Table 1's own again, and what the paper leaves open."""
TOGETHER = "Table 1 and other seeds"
CHANGES = (
    "by how much each difference is larger than in Table 1 [95 % interval]; a star marks what is beyond chance, "
    "corrected for all changes of its kind (larger, smaller, other seeds)."
)
OPPOSITE = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}


def present(frame: pd.DataFrame, env: str, kinds: Sequence[str], own: bool | None = None) -> dict[str, Setting]:
    """Settings of these kinds whose cells all have results, by name; only those with or without runs of their `own`."""
    rows = frame.loc[frame["metric"] == select.RETURN, ["env", "algorithm"]].drop_duplicates()
    there = set(rows.itertuples(index=False, name=None))
    cells = [(model, method) for model in common.MODELS for method in common.METHODS]

    def complete(one: Setting) -> bool:
        labels = [common.label(*cell) for cell in cells if cell[1] not in one.same]
        return all((common.place(env, one.name), label) in there for label in labels)

    wanted = (one for one in known(env) if one.kind in kinds and (own is None or one.own == own))
    return {one.name: one for one in wanted if complete(one)}


def unfinished(frame: pd.DataFrame, env: str, kinds: Sequence[str]) -> list[str]:
    """Names of the settings of these kinds that some cells have results of, but not all."""
    there, whole = set(frame["env"]), present(frame, env, kinds)
    some = (one.name for one in known(env) if one.kind in kinds and common.place(env, one.name) in there)
    return [name for name in dict.fromkeys(some) if name not in whole]


def _cells(frame: pd.DataFrame, env: str, settings: Sequence[Setting | None]) -> common.Cells:
    """Scores of every cell in Table 1 (None) or under a setting; those of several settings as one sample."""

    def found(model: str, method: str) -> np.ndarray:
        places = [env if one is None or method in one.same else common.place(env, one.name) for one in settings]
        return np.concatenate([common.scores(frame, where, model, method) for where in places])

    return found


def _repeated(frame: pd.DataFrame, env: str) -> tuple[Setting | None, ...]:
    """Table 1, and its repetitions with other seeds."""
    return (None, *present(frame, env, ("same",)).values())


def _against(frame: pd.DataFrame, env: str, setting: Setting) -> tuple[Setting | None, ...]:
    """What a setting is compared with: Table 1, and where it is trained otherwise also Table 1 with other seeds."""
    every = _repeated(frame, env)
    return every if setting.own and setting not in every else (None,)


def _verdicts_against(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> dict[str, dict[str, Judgement]]:
    """The verdicts that those under each setting are set against, by its name."""
    alone, together = judged(frame, env), judged(frame, env, _repeated(frame, env))
    return {name: together if len(_against(frame, env, one)) > 1 else alone for name, one in settings.items()}


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


def shift(
    here: Sequence[np.ndarray], usual: Sequence[np.ndarray], confidence: float = 0.95, paired: bool = False
) -> Interval:
    """By how much a gap differs from that of Table 1, the bootstrap over the seeds of all cells of both.

    Args:
      here: scores of each cell under a setting, each `[its seeds]`; the first is said to be better than the others.
      usual: those of as many cells in Table 1.
      confidence: of the interval.
      paired: whether the seeds of a cell are the same fitted models in both, so that they are resampled together; those
        that Table 1 alone has are left out.
    """

    def gap(scores: Sequence[np.ndarray]) -> np.ndarray:
        better, *others = (iqm(one, axis=(1, 2)) for one in scores)
        return better - np.max(others, axis=0)

    def change(*scores: np.ndarray) -> np.ndarray:
        if paired:
            both = gap(scores)
            return both[..., 0] - both[..., 1]
        return gap(scores[: len(here)]) - gap(scores[len(here) :])

    samples = [*here, *usual]
    if paired:
        samples = [np.stack([a, b[: len(a)]], axis=-1)[:, None] for a, b in zip(here, usual, strict=True)]
    return bootstrap(change, *samples, confidence=confidence, repetitions=10_000)


def _shifts(
    frame: pd.DataFrame, env: str, settings: dict[str, Setting], confidence: float
) -> dict[str, dict[str, Interval]]:
    """`shift` of every statement's gap under every setting.

    Settings of the planner are compared with the same fitted models, Table 1's other seeds with Table 1, and what is
    trained otherwise with both samples of Table 1 together.
    """

    def scores(statement: common.Statement, settings: Sequence[Setting | None]) -> list[np.ndarray]:
        cells = _cells(frame, env, settings)
        return [cells(*one) for one in (statement.better, *statement.worse)]

    found = {}
    for name, here in settings.items():
        against = _against(frame, env, here)
        found[name] = {
            one.short: shift(scores(one, (here,)), scores(one, against), confidence, paired=not here.own)
            for one in common.statements()
        }
    return found


def _moved(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> dict[str, set[str]]:
    """Statements whose gap differs from Table 1's by more than chance, by setting.

    Corrected for all changes under settings of the same kind, so that rows of other kinds do not hide one.
    """
    found: dict[str, dict[str, Interval]] = {}
    for kind in dict.fromkeys(one.kind for one in settings.values()):
        alike = {name: one for name, one in settings.items() if one.kind == kind}
        found |= _shifts(frame, env, alike, 1 - 0.05 / (len(alike) * len(common.statements())))
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
    """A row for Table 1 and per setting, a column per statement.

    Each verdict is set against that of what its differences are compared with; where this is Table 1 with other seeds,
    it has a row before the first that is set against it.
    """
    usual = judged(frame, env)
    found, against = {"Table 1": usual}, _verdicts_against(frame, env, settings)
    for name, setting in settings.items():
        if TOGETHER not in found and len(_against(frame, env, setting)) > 1:
            found[TOGETHER], against[TOGETHER] = against[name], usual
        found[name] = judged(frame, env, (setting,))
    return _table(found, against)


def added(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """Verdicts of the seeds alone that the methods without a discriminator got after all methods' own."""
    found = {}
    for name, setting in settings.items():
        later = frame.loc[
            frame["env"].eq(common.place(env, name)) & (frame["seed"] >= setting.first_seed + setting.seeds)
        ]
        if not later.empty:
            cells = _cells(later, env, (setting,))
            about = [one for one in common.statements() if _uncorrected(one)]
            found[name] = {
                one.short: judge(common.claim(one, env, lambda _, cells=cells: cells), later) for one in about
            }
    return _table(found, {})


def _uncorrected(statement: common.Statement) -> bool:
    return all(method in UNCORRECTED for _, method in (statement.better, *statement.worse))


def _table(found: dict[str, dict[str, Judgement]], usual: dict[str, dict[str, Judgement]]) -> pd.DataFrame:
    """A row per setting, a column per statement, each verdict beside the usual one where there is one."""
    rows = []
    for name, row in found.items():
        shown: dict[str, Any] = {"setting": name, "seeds": _range(one.n_seeds for one in row.values())}
        for short, one in row.items():
            against = f" ({relation(one.verdict, usual[name][short].verdict)})" if name in usual else ""
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


def decided(env: str, own: bool) -> Claim:
    """That no larger size was found to change a verdict; the gap is 0.5 minus the number of such verdicts.

    The verdict that counts is that of Table 1's setting with all its seeds: other seeds too where there are some and
    the larger size has runs of its own. What 20 seeds leave open is no matter of size if more of the same decide it.

    Args:
      env: the environment.
      own: whether it is about sizes of data, fits and networks (runs of their own) or about the planner's.
    """

    def gap(frame: pd.DataFrame) -> np.ndarray:
        related = _compared(frame, env, ("fuller",), own)
        larger = _moved(frame, env, present(frame, env, ("fuller",), own))
        moved = {(name, short) for name, found in larger.items() for short in found}
        counted = [
            cell for cell, how in related.items() if how == "opposite" or (how in ("open", "decided") and cell in moved)
        ]
        return np.array([0.5 - len(counted)])

    note = (
        "Counted are verdicts that turn into their opposite at a larger size, and those decided only there or only in "
        "Table 1 where the difference itself has changed by more than chance (starred in the tables). "
        + ("Table 1 has all its seeds here, other ones too. " if own else "")
        + "Changes too small for these seeds are not found, and differences that change without a verdict not counted."
    )
    sizes = "sizes of data, fits and networks" if own else "planner's sizes"
    return _counted(f"{common.ENVS[env]}: no verdict of Table 1 was found to hang on the {sizes}", gap, note)


def turned(env: str) -> Claim:
    """That no open setting turns a verdict into its opposite; the exact gap is 0.5 minus the number of those turned."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        related = _compared(frame, env, OPEN)
        if all(one.verdict is Verdict.OPEN for one in judged(frame, env).values()):
            raise MissingDataError("no verdict of Table 1 is decided, so none can turn")
        return np.array([0.5 - list(related.values()).count("opposite")])

    text = "no setting that the paper leaves open turns a verdict of Table 1 into its opposite"
    return _counted(
        f"{common.ENVS[env]}: {text}", gap, "A verdict that becomes OPEN is not counted; the tables show it."
    )


def _counted(text: str, gap: Callable[[pd.DataFrame], np.ndarray], note: str) -> Claim:
    note = f"{note} The verdicts that are counted rest on 95 % intervals."
    return Claim(text=text, source="ours", gap=gap, unit="= 0.5 − number of such verdicts", tolerance=0.0, note=note)


def _compared(
    frame: pd.DataFrame, env: str, kinds: Sequence[str], own: bool | None = None
) -> dict[tuple[str, str], str]:
    """How each verdict under settings of these kinds stands to what it is compared with, by setting and statement.

    Raises MissingDataError if there is no such setting.
    """
    settings = present(frame, env, kinds, own)
    if not settings:
        raise MissingDataError(f"no such variations of {env}")
    against = _verdicts_against(frame, env, settings)
    return {
        (name, short): relation(one.verdict, against[name][short].verdict)
        for name, setting in settings.items()
        for short, one in judged(frame, env, (setting,)).items()
    }
