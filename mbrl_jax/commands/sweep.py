"""`mbrl sweep plan|run|status FILE.toml`: a plan of blocks, its execution anywhere, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mbrl_jax.commands import priced
from mbrl_jax.commands.priced import Where

if TYPE_CHECKING:
    from mbrl_jax.jobs import Job
    from mbrl_jax.runner.executors.attempt import Outcome
    from mbrl_jax.runner.sweep import Block

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True, kw_only=True)
class Sweep(Where):
    """Plans, runs or follows a sweep. Finished blocks are not repeated, begun ones are resumed."""

    action: Annotated[Literal["plan", "run", "status"], tyro.conf.Positional]
    """plan: which blocks there are, seconds and memory of each; run: trains them; status: how far each is."""
    file: Annotated[Path, tyro.conf.Positional]
    """The sweep as a TOML file, as those in experiments/sweeps/."""
    shard: str | None = None
    """i/N: only every N-th block, from the i-th on; N processes with a results folder in common do all."""
    budget: str | None = None
    """A time such as 1h, after which blocks write a checkpoint and stop; the next call goes on."""
    results: Path = Path("results")
    """The results folder, or an address s3://BUCKET/PREFIX or gs://BUCKET/PREFIX."""
    checkpoint_seconds: float = 120.0
    """Least time between checkpoints."""
    trace_seconds: float = 3.0
    """How long a plan may trace programs of which no earlier run tells the seconds or the memory."""
    quiet: bool = False
    """No progress shown."""


def sweep(words: list[str]) -> int:
    """Runs the command; 1 if a block failed, else 0.

    Raises:
      ValueError: an option breaks a rule of `checks.RULES`.
    """
    args = tyro.cli(Sweep, prog="mbrl sweep", args=words)
    from mbrl_jax import storage
    from mbrl_jax.checks import check_fields
    from mbrl_jax.runner import setup

    check_fields(args)
    root = storage.located(args.results)  # refused before anything is planned
    budget = None if args.budget is None else priced.seconds_of(args.budget)
    setup.configure()
    setup.check_jit()
    from mbrl_jax.runner import sweep as planning
    from mbrl_jax.runner import work

    planned = planning.shard(planning.blocks(planning.read(args.file)), args.shard)
    jobs = work.jobs(block.run for block in planned)
    if args.action == "plan":
        return _plan(planned, jobs, root, args.trace_seconds)
    return _run(jobs, root, args, budget) if args.action == "run" else _status(jobs, root)


def _plan(planned: Sequence[Block], jobs: Sequence[Job], root: Path, trace_seconds: float) -> int:
    """Prints the blocks with their lanes, seconds and memory; 1 if one does not fit on this machine."""
    import psutil

    from mbrl_jax.runner import costs
    from mbrl_jax.runner.executors.attempt import state

    prices = costs.prices(jobs, priced.references(root), trace_seconds)
    rows = [priced.Row(str(i), job, prices[job.identity], state(job, root)) for i, job in enumerate(jobs, 1)]
    print(priced.table(rows, ids=True))
    room = psutil.virtual_memory().total
    large = [row.job.identity for row in rows if (row.price.memory or 0) > room]
    lanes = sum(len(block.run.lanes()) for block in planned)
    print(f"{len(rows)} blocks, {lanes} lanes; those that are left take about {priced.clock(priced.total(rows))}")
    if large:
        print(f"need more memory than this machine's {priced.size(room)}: {', '.join(large)}")
    return 1 if large else 0


def _run(jobs: Sequence[Job], root: Path, args: Sweep, budget: float | None) -> int:
    """Trains all blocks; one that fails does not stop the others."""
    import time

    from mbrl_jax import results, storage
    from mbrl_jax.jobs import How
    from mbrl_jax.runner import costs
    from mbrl_jax.runner.executors import attempt, by_name, schedule

    began = time.time()
    results.check_writable(root)
    attempt.check_locks(root)
    prices = costs.prices(jobs, priced.references(root), 0.0) if args.executor != "here" else {}
    executor = by_name.make(args.wanted(), root)
    deadline = None if budget is None else began + budget
    how = How(args.checkpoint_seconds, deadline, args.quiet or args.executor != "here")
    told = None if args.quiet else partial(_told, len(jobs))
    summary = schedule.carry_out(jobs, root, executor, how, prices, told, view=args.executor != "here")
    storage.refresh(root)
    _status(jobs, root)
    failed = [one.identity for one in summary.failed]
    if failed:
        print(f"mbrl sweep: {len(failed)} of {len(jobs)} blocks failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _told(count: int, outcome: Outcome, job: Job) -> None:
    said = f"{job.title}: {outcome.ending}, {priced.clock(outcome.seconds)} {outcome.reason}".strip()
    print(f"{outcome.identity} of {count}: {said}", file=sys.stderr, flush=True)


def _status(jobs: Sequence[Job], root: Path) -> int:
    """Prints a line per block: what is known of it at this moment, whoever works on it."""
    from mbrl_jax.runner.executors.attempt import state

    states = {job.identity: state(job, root) for job in jobs}
    print(f"{'run':<17} {'status':<12} {'step':>10} {'diverged':>8} {'seconds':>8}  block")
    for job in jobs:
        one = states[job.identity]
        reason = f"  {one.reason}" if one.reason and one.status in ("failed", "diverged") else ""
        print(
            f"{job.identity:<17} {one.status:<12} {one.step:>10,} {one.diverged:>8} {one.seconds:>8.0f}  "
            f"{job.title}{reason}"
        )
    over = sum(one.over for one in states.values())
    print(f"{over} of {len(states)} blocks done ({priced.by_status(states) or 'none planned'})")
    return 0
