"""`mbrl bench` runs artefacts and writes the report; `mbrl report` only writes it."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import tyro

if TYPE_CHECKING:
    from mbrl_jax.report.artefact import Artefact

__all__ = ["Bench", "Report", "bench", "report"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Runs artefacts, then writes the report. Finished runs are not repeated."""

    artefacts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names such as mbpo/figure2, or a paper such as mbpo for all of its artefacts. Some take too long for a profile
    and run only where they, or their paper, are named; the others run if nothing is named."""
    profile: Literal["smoke", "laptop", "paper"] = "laptop"
    """smoke: proves that it runs; laptop: two CPU cores; paper: the papers' scale, on a GPU."""
    results: Path = Path("results")
    """The results folder."""
    experiments: Path | None = None
    """A folder of experiments of your own, `<paper>/<artefact>.py`; this package's if not given."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Writes the report on what lies in the results folder; runs nothing."""

    live: bool = False
    """Write it again whenever a run has stored something, until you stop it with Ctrl-C; the page in a browser reads
    itself again."""
    every: float = 15.0
    """Seconds between two looks at the results folder while live."""

    results: Path = Path("results")
    """The results folder."""
    out: Path | None = None
    """Where to write; RESULTS/report if not given."""
    experiments: Path | None = None
    """A folder of experiments of your own, `<paper>/<artefact>.py`; this package's if not given."""


class Outcome(NamedTuple):
    """What running one artefact took, and how it went wrong, if it did."""

    name: str
    seconds: float
    compile_seconds: float
    run_seconds: float
    problem: str


def bench(words: list[str]) -> int:
    """Runs the command; 0 if every artefact ran and the report was written, else 1."""
    args = tyro.cli(Bench, prog="mbrl bench", args=words)
    from mbrl_jax import results
    from mbrl_jax.commands import artefacts
    from mbrl_jax.runner import setup

    setup.configure()
    setup.check_jit()
    known, broken = artefacts.discover(args.experiments)
    picked = artefacts.chosen(args.artefacts, known | {name: _unusable(name) for name in broken})
    results.check_writable(args.results)
    picked = picked if args.artefacts else _without_requested(picked, args.profile)
    outcomes = [_broken(one.name, broken) if one.name in broken else _run(one, args) for one in picked]
    _summary(outcomes)
    _write(known, args.results, None)
    failed = [outcome.name for outcome in outcomes if outcome.problem]
    if failed:
        print(f"mbrl bench: {len(failed)} of {len(outcomes)} artefacts failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def report(words: list[str]) -> int:
    """Runs the command; 1 if an artefact's module could not be imported, else 0."""
    args = tyro.cli(Report, prog="mbrl report", args=words)
    if args.live and not args.every > 0:
        raise ValueError(f"seconds between two looks must be positive, got {args.every:g}")
    from mbrl_jax.commands import artefacts, live
    from mbrl_jax.runner import setup

    setup.configure()
    known, broken = artefacts.discover(args.experiments)
    if args.live:
        live.follow(lambda refresh: _write(known, args.results, args.out, refresh), args.results, args.every)
    else:
        _write(known, args.results, args.out)
    for name, problem in broken.items():
        print(f"mbrl report: {name} could not be imported and is left out:\n{problem}", file=sys.stderr)
    return 1 if broken else 0


def _without_requested(picked: list[Artefact], profile: str) -> list[Artefact]:
    """The artefacts that a bench of everything runs; says which it leaves out, and how they are run."""
    left_out = [one.name for one in picked if profile in one.on_request]
    if left_out:
        how = f"mbrl bench NAME --profile {profile}"
        print(f"too long for a {profile} bench of everything, run with {how}: {', '.join(left_out)}", file=sys.stderr)
    return [one for one in picked if one.name not in left_out]


def _unusable(name: str) -> Artefact:
    """Stands for a module that cannot be imported, so that its name is still known."""
    from mbrl_jax.report.artefact import Artefact

    return Artefact(name=name, title=name, paper="", jobs=lambda profile: (), blocks=lambda frame: ())


def _broken(name: str, broken: dict[str, str]) -> Outcome:
    print(f"{name} could not be imported:\n{broken[name]}", file=sys.stderr)
    return Outcome(name, 0.0, 0.0, 0.0, broken[name].strip().splitlines()[-1])


def _run(artefact: Artefact, args: Bench) -> Outcome:
    from mbrl_jax.runner import work

    print(f"== {artefact.name} ({args.profile}): {artefact.title}", file=sys.stderr, flush=True)
    began, problem = time.monotonic(), ""
    before = _spent(artefact.name, args)
    try:
        work.perform(artefact.jobs(args.profile), args.results)
    except Exception as error:  # reported below; the other artefacts still run
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}"
    compiled, ran = (after - first for after, first in zip(_spent(artefact.name, args), before, strict=True))
    return Outcome(artefact.name, time.monotonic() - began, compiled, ran, problem)


def _spent(experiment: str, args: Bench) -> tuple[float, float]:
    """Seconds of compilation and of running that the store knows of for an experiment and a profile."""
    import warnings

    from mbrl_jax import results

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report names damaged runs
        rows = results.manifests(args.results).to_dict("records")
    mine = [row for row in rows if row["experiment"] == experiment and row.get("profile") == args.profile]
    return _total(mine, "compile_seconds"), _total(mine, "run_seconds")


def _total(rows: list[dict], name: str) -> float:
    values = [float(row.get(name, 0.0)) for row in rows]
    return sum(value for value in values if value == value)


def _summary(outcomes: Sequence[Outcome]) -> None:
    width = max((len(outcome.name) for outcome in outcomes), default=0)
    print(f"\n{'artefact':<{width}}  {'all s':>8} {'compile s':>9} {'run s':>8}")
    for name, seconds, compiled, ran, problem in outcomes:
        print(f"{name:<{width}}  {seconds:8.1f} {compiled:9.1f} {ran:8.1f}  {'FAILED ' + problem if problem else 'ok'}")


def _write(known: dict[str, Artefact], root: Path, out: Path | None, refresh: float | None = None) -> None:
    """Writes the report, then prints the claims' scoreboard and the report's path."""
    import pandas as pd

    from mbrl_jax.commands import artefacts
    from mbrl_jax.report.build import build

    index = build([*known.values(), *artefacts.others(root, known)], root, out, refresh=refresh)
    try:
        claims = pd.read_csv(index.parent / "tables" / "claims.csv")
    except pd.errors.EmptyDataError:
        claims = pd.DataFrame({"verdict": [], "artefact": [], "claim": []})
    print()
    for row in claims.to_dict("records") if refresh is None else ():  # while live the tally says enough
        print(f"{row['verdict']:<6} {row['artefact']:<18} {row['claim']}")
    counts = claims["verdict"].value_counts()
    tally = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ("HOLDS", "FAILS", "OPEN"))
    print(f"\nclaims: {tally}\nreport: {index}")
