"""`mbrl bench` does artefacts' jobs and writes the report; `mbrl report` only writes it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import tyro

from mbrl_jax.commands import priced
from mbrl_jax.commands.priced import Where

if TYPE_CHECKING:
    from mbrl_jax.jobs import Job
    from mbrl_jax.report.artefact import Artefact
    from mbrl_jax.runner.costs import Price
    from mbrl_jax.runner.executors.attempt import Outcome
    from mbrl_jax.runner.executors.schedule import Summary

__all__ = ["Bench", "Report", "bench", "report"]

REPORT_SECONDS = 60.0  # of a budget are kept for the report, but at most a tenth


@dataclass(frozen=True, kw_only=True)
class Bench(Where):
    """Does artefacts' jobs, then writes the report. What is done is not done again, what was begun goes on."""

    artefacts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names such as mbpo/figure2, or a paper such as mbpo for all of its artefacts. Some take too long for a profile
    and are done only where they, or their paper, are named, or with --budget or --all."""
    profile: Literal["smoke", "laptop", "paper"] = "laptop"
    """smoke: proves that it runs; laptop: two CPU cores; paper: the papers' scale, on a GPU."""
    plan: bool = False
    """Only show what would be done: in which order, seconds, memory, and what is done."""
    budget: str | None = None
    """A time such as 1h: the papers' headlines first, then the rest; the next call goes on with what is left."""
    all: bool = False
    """Everything, those that take long too, without a limit of time."""
    results: Path = Path("results")
    """The results folder, or an address s3://BUCKET/PREFIX or gs://BUCKET/PREFIX."""
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
    """The results folder, or an address s3://BUCKET/PREFIX or gs://BUCKET/PREFIX."""
    out: Path | None = None
    """Where to write; RESULTS/report if not given, at an address too."""
    experiments: Path | None = None
    """A folder of experiments of your own, `<paper>/<artefact>.py`; this package's if not given."""


class Planned(NamedTuple):
    """Jobs in order, which of them each artefact asks for, what each takes, and artefacts that cannot say any."""

    jobs: list[Job]
    asked: dict[str, list[str]]
    prices: dict[str, Price]
    broken: dict[str, str]


def bench(words: list[str]) -> int:
    """Runs the command; 0 if no job failed and the report was written, else 1."""
    args = tyro.cli(Bench, prog="mbrl bench", args=words)
    began = time.time()
    from mbrl_jax import results, storage
    from mbrl_jax.commands import artefacts
    from mbrl_jax.runner import setup

    budget = None if args.budget is None else priced.seconds_of(args.budget)
    root = storage.located(args.results)
    setup.configure()
    setup.check_jit()
    known, broken = artefacts.discover(args.experiments)
    picked = artefacts.chosen(args.artefacts, known | {name: _unusable(name) for name in broken})
    everything = bool(args.artefacts) or args.all or budget is not None
    picked = picked if everything else _without_requested(picked, args.profile)
    planned = _planned(picked, args.profile, root, broken)
    if args.plan:
        return _show(planned, root, budget)
    results.check_writable(root)
    before = _spent(root, args.profile)
    reserve = min(REPORT_SECONDS, 0.1 * (budget or 0.0))
    deadline = None if budget is None else began + budget - reserve
    summary = _carry_out(planned, root, args, deadline)
    storage.refresh(root)
    _summarise(planned, summary, before, _spent(root, args.profile))
    _write(known, root, None)
    failed = _failed(planned, summary)
    if failed:
        print(
            f"mbrl bench: {len(failed)} of {len(planned.asked)} artefacts failed: {', '.join(failed)}", file=sys.stderr
        )
    return 1 if failed else 0


def report(words: list[str]) -> int:
    """Runs the command; 1 if an artefact's module could not be imported, else 0.

    Raises:
      ValueError: with `--live`, if `--every` is not positive.
    """
    args = tyro.cli(Report, prog="mbrl report", args=words)
    if args.live and not args.every > 0:
        raise ValueError(f"seconds between two looks must be positive, got {args.every:g}")
    from mbrl_jax import storage
    from mbrl_jax.commands import artefacts, live
    from mbrl_jax.runner import setup

    root = storage.located(args.results)
    setup.configure()
    known, broken = artefacts.discover(args.experiments)
    if args.live:
        live.follow(lambda refresh: _write(known, root, args.out, refresh), root, args.every)
    else:
        _write(known, root, args.out)
    for name, problem in broken.items():
        print(f"mbrl report: {name} could not be imported and is left out:\n{problem}", file=sys.stderr)
    return 1 if broken else 0


def _without_requested(picked: list[Artefact], profile: str) -> list[Artefact]:
    """The artefacts that a bench of everything does; says which it leaves out, and how they are done."""
    left_out = [one.name for one in picked if profile in one.on_request]
    if left_out:
        how = f"mbrl bench NAME --profile {profile} (or --all, or --budget)"
        print(f"too long for a {profile} bench of everything, run with {how}: {', '.join(left_out)}", file=sys.stderr)
    return [one for one in picked if one.name not in left_out]


def _unusable(name: str) -> Artefact:
    """Stands for a module that cannot be imported, so that its name is still known."""
    from mbrl_jax.report.artefact import Artefact

    return Artefact(name=name, title=name, paper="", jobs=lambda profile: (), blocks=lambda frame: ())


def _planned(picked: list[Artefact], profile: str, root: Path, broken: Mapping[str, str]) -> Planned:
    """Every job once: the papers' headlines first, cheap artefacts before dear ones, those on request last."""
    from mbrl_jax.jobs import distinct
    from mbrl_jax.runner import costs

    jobs = {one.name: one.jobs(profile) for one in picked}
    every = list({job.identity: job for each in jobs.values() for job in each}.values())
    prices = costs.prices(every, priced.references(root))

    def seconds(one: Artefact) -> float:
        return sum(prices[job.identity].seconds or 0.0 for job in jobs[one.name])

    ordered = sorted(picked, key=lambda one: (not one.headline, profile in one.on_request, seconds(one)))
    asked = {one.name: [job.identity for job in jobs[one.name]] for one in ordered}
    wrong = {one.name: broken[one.name] for one in picked if one.name in broken}
    return Planned(distinct(job for one in ordered for job in jobs[one.name]), asked, prices, wrong)


def _show(planned: Planned, root: Path, budget: float | None) -> int:
    """Prints the plan."""
    from mbrl_jax.runner.executors.attempt import state

    first = {identity: name for name in reversed(planned.asked) for identity in planned.asked[name]}
    rows = [
        priced.Row(first[job.identity], job, planned.prices[job.identity], state(job, root)) for job in planned.jobs
    ]
    print(priced.table(rows))
    over = sum(row.state.over for row in rows)
    print(f"\n{len(rows)} jobs, {over} done; those that are left take about {priced.clock(priced.total(rows))}")
    if budget is not None:
        within, passed = 0, 0.0
        for row in rows:
            passed += 0.0 if row.state.over else row.price.seconds or 0.0
            within += not row.state.over and passed <= budget
        print(f"within {priced.clock(budget)}: about {within} of the {len(rows) - over} that are left")
    for name, problem in planned.broken.items():
        print(f"{name} could not be imported: {problem.strip().splitlines()[-1]}", file=sys.stderr)
    return 1 if planned.broken else 0


def _carry_out(planned: Planned, root: Path, args: Bench, deadline: float | None) -> Summary:
    from mbrl_jax.commands import artefacts
    from mbrl_jax.jobs import How
    from mbrl_jax.runner.executors import attempt, by_name, schedule

    attempt.check_locks(root)
    executor = by_name.make(args.wanted(), root, partial(artefacts.prepare, args.experiments))
    how = How(deadline=deadline, quiet=args.executor != "here")
    count, before = len(planned.jobs), sum(attempt.done(job, root) for job in planned.jobs)
    ended: list[str] = []
    if before:
        print(f"{before} of {count} jobs were done before", file=sys.stderr)

    def told(outcome: Outcome, job: Job) -> None:
        ended.append(outcome.identity)
        said = (
            f"{job.experiment} {job.title}: {outcome.ending}, {priced.clock(outcome.seconds)} {outcome.reason}".strip()
        )
        print(f"[{before + len(ended)}/{count}] {said}", file=sys.stderr, flush=True)

    return schedule.carry_out(planned.jobs, root, executor, how, planned.prices, told, view=how.quiet)


def _failed(planned: Planned, summary: Summary) -> list[str]:
    """Artefacts that could not be imported, or of which a job failed or could not be begun because of one."""
    bad = {one.identity for one in summary.failed} | {job.identity for job in summary.blocked}
    return [name for name, asked in planned.asked.items() if name in planned.broken or bad & set(asked)]


def _spent(root: Path, profile: str) -> dict[str, tuple[float, float]]:
    """Seconds of compilation and of running that the store knows of, by experiment, for a profile."""
    import warnings

    from mbrl_jax import results

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report names damaged runs
        rows = results.manifests(root).to_dict("records")
    found: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row.get("profile") == profile:
            compiled, ran = found.get(row["experiment"], (0.0, 0.0))
            found[row["experiment"]] = (
                compiled + _number(row.get("compile_seconds")),
                ran + _number(row.get("run_seconds")),
            )
    return found


def _number(value: object) -> float:
    """A number of a table of manifests; 0 where it is missing."""
    return value if isinstance(value, float) and value == value else 0.0


Spent = Mapping[str, tuple[float, float]]


def _summarise(planned: Planned, summary: Summary, before: Spent, after: Spent) -> None:
    """Prints a line per artefact: what it took now, and how it ended."""
    width = max((len(name) for name in planned.asked), default=0)
    left, blocked = ({job.identity for job in jobs} for jobs in (summary.left, summary.blocked))
    print(f"\n{'artefact':<{width}}  {'all s':>8} {'compile s':>9} {'run s':>8}")
    for name, asked in planned.asked.items():
        outcomes = [summary.outcomes[each] for each in asked if each in summary.outcomes]
        compiled, ran = (after.get(name, (0.0, 0.0))[i] - before.get(name, (0.0, 0.0))[i] for i in (0, 1))
        reasons = [one.reason for one in outcomes if one.ending in ("failed", "lost")]
        reasons += [planned.broken[name].strip().splitlines()[-1]] if name in planned.broken else []
        reasons += ["needs what failed"] if blocked & set(asked) else []
        waits = f"{len(left & set(asked))} of {len(asked)} jobs are left for another call"
        ending = f"FAILED {reasons[0]}" if reasons else waits if left & set(asked) else "ok"
        print(f"{name:<{width}}  {sum(o.seconds for o in outcomes):8.1f} {compiled:9.1f} {ran:8.1f}  {ending}")
    if summary.left:
        rest = sum(planned.prices[job.identity].seconds or 0.0 for job in summary.left)
        print(f"left for another call: {len(summary.left)} jobs, about {priced.clock(rest)}; the same command goes on")


def _write(known: dict[str, Artefact], root: Path, out: Path | None, refresh: float | None = None) -> None:
    """Writes the report, then prints the claims' scoreboard and the report's path."""
    import pandas as pd

    from mbrl_jax import storage
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
    if out is None and (at := storage.publish_folder(root, index.parent.name)):
        print(f"        {at}/{index.name}")
