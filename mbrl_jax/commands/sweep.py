"""`mbrl sweep plan|run|status FILE.toml`: a plan of blocks, its execution here, and how far it is."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from mbrl_jax.runner.run import Run
    from mbrl_jax.runner.sweep import Block
    from mbrl_jax.types import Facts

__all__ = ["Sweep", "sweep"]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Plans, runs or follows a sweep. Finished blocks are not repeated, begun ones are resumed."""

    action: Annotated[Literal["plan", "run", "status"], tyro.conf.Positional]
    """plan: which blocks there are and the memory each takes; run: trains them; status: how far each is."""
    file: Annotated[Path, tyro.conf.Positional]
    """The sweep as a TOML file, as those in experiments/sweeps/."""
    shard: str | None = None
    """i/N: only every N-th block, from the i-th on; N processes with a results folder in common do all."""
    results: Path = Path("results")
    """The results folder."""
    checkpoint_seconds: float = 120.0
    """Least time between checkpoints."""
    quiet: bool = False
    """No progress shown."""


def sweep(words: list[str]) -> int:
    """Runs the command; 1 if a block failed, else 0."""
    args = tyro.cli(Sweep, prog="mbrl sweep", args=words)
    from mbrl_jax.checks import check_fields, resolved
    from mbrl_jax.runner import setup

    check_fields(args)
    resolved(args.results)  # refused before anything is planned
    setup.configure()
    setup.check_jit()
    from mbrl_jax.runner import sweep as planning

    planned = planning.shard(planning.blocks(planning.read(args.file)), args.shard)
    return {"plan": _plan, "run": _run, "status": _status}[args.action](planned, args)


def _plan(planned: list[Block], args: Sweep) -> int:
    """Prints the blocks with their lanes and memory; 1 if one does not fit on this machine."""
    from mbrl_jax.runner import loop

    too_large, lanes = 0, 0
    print(f"{'run':<17} {'lanes':>5} {'state/lane':>11} {'per device':>11}  block")
    for run, identity in planned:
        memory = loop.plan_run(run, run.environment(), 1, loop.Options()).memory
        too_large += not memory.fits
        lanes += memory.lanes
        note = "" if memory.fits else "  DOES NOT FIT here"
        sizes = f"{memory.per_lane / 2**20:>7.1f} MiB {memory.per_device / 2**20:>7.1f} MiB"
        print(f"{identity:<17} {memory.lanes:>5} {sizes}  {_title(run)}{note}")
    print(f"{len(planned)} blocks, {lanes} lanes")
    return 1 if too_large else 0


def _run(planned: list[Block], args: Sweep) -> int:
    """Trains block after block; one that fails or is being worked on elsewhere does not stop the others."""
    from mbrl_jax.runner import loop

    options = loop.Options(checkpoint_seconds=args.checkpoint_seconds, quiet=args.quiet)
    failed = []
    for position, (run, identity) in enumerate(planned, 1):
        print(f"== block {position}/{len(planned)} {identity} {_title(run)}", file=sys.stderr, flush=True)
        try:
            loop.train(run, args.results, options)
        except loop.BusyError as error:
            print(f"left out: {error}", file=sys.stderr)
        except Exception:  # reported; the other blocks still run
            traceback.print_exc()
            failed.append(identity)
    _status(planned, args)
    if failed:
        print(f"mbrl sweep: {len(failed)} of {len(planned)} blocks failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _status(planned: list[Block], args: Sweep) -> int:
    """Prints a line per block."""
    rows = [(_state(identity, args.results), run, identity) for run, identity in planned]
    print(f"{'run':<17} {'status':<12} {'steps':>17} {'diverged':>8} {'seconds':>8}  block")
    for (status, facts), run, identity in rows:
        steps = f"{facts.get('env_step', 0):,}/{run.config.steps:,}"
        seconds = facts.get("compile_seconds", 0.0) + facts.get("run_seconds", 0.0)
        diverged = len(facts.get("diverged", {}))
        print(f"{identity:<17} {status:<12} {steps:>17} {diverged:>8} {seconds:>8.0f}  {_title(run)}")
    counts = {name: sum(status == name for (status, _), _, _ in rows) for name in ("finished", "running")}
    print(f"{counts['finished']} of {len(rows)} blocks finished, {counts['running']} running")
    return 0


def _state(identity: str, root: Path) -> tuple[str, Facts]:
    """What is known of a block: finished, running (its lock is held), begun, or nothing."""
    from mbrl_jax import results
    from mbrl_jax.checks import resolved
    from mbrl_jax.runner.lock import held

    running = held(resolved(root) / "runs" / identity)
    try:
        facts = results.manifest(root, identity)
    except FileNotFoundError:
        return ("running" if running else "not begun"), {}
    if facts["status"] == "finished":
        return "finished", facts
    return ("running" if running else "to resume"), facts


def _title(run: Run) -> str:
    swept = "".join(f" {name} x {len(values)}" for name, values in run.sweep)
    return f"{run.algorithm} {run.env} seeds {len(run.seeds)}{swept}"
