"""Runs as jobs, and what tracing says of a job's cost; jobs done one after the other in this process."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from jax.extend import core

from mbrl_jax import results, storage
from mbrl_jax.jobs import Cost, How, Job, Traced, distinct
from mbrl_jax.runner import loop, memory, record
from mbrl_jax.runner.operations import count
from mbrl_jax.runner.run import Run
from mbrl_jax.types import Env, Facts

__all__ = ["alike", "job", "jobs", "perform", "repeated", "title", "traced"]


def job(run: Run) -> Job:
    """A run as a job: finished if the store says so, resumed from its checkpoints if it was begun."""
    env = run.environment()
    lanes = len(run.seeds) * math.prod(len(values) for _, values in run.sweep)
    kind = alike(run.entry.name, env.spec.name, dataclasses.asdict(run.config))
    cost = Cost(kind, float(lanes * run.config.steps), partial(_trace, run))
    return Job(run.run_id(env), run.experiment, title(run, env), (), cost, partial(_train, run), resumes=True)


def jobs(runs: Iterable[Run]) -> list[Job]:
    """Runs as jobs, in the same order."""
    return [job(run) for run in runs]


def title(run: Run, env: Env) -> str:
    """What a run is, in a line: label, environment, seeds and what is swept."""
    swept = "".join(f" {name} x {len(values)}" for name, values in run.sweep)
    return f"{run.algorithm} {env.spec.name} seeds {len(run.seeds)}{swept}"


def alike(method: str, env: str, config: Mapping[str, object]) -> str:
    """What runs have in common that take equally long for a step of a lane: all but their length and their seeds."""
    rest: Facts = {name: value for name, value in config.items() if name != "steps"}
    return results.run_id({"method": method, "env": env, "config": rest})


def perform(planned: Iterable[Job], root: str | Path, how: How | None = None) -> None:
    """Does what is not done of some jobs, one after the other, in this process.

    Raises:
      ValueError: a job comes before one that it needs.
      Exception: whatever a job raises; those after it are not begun.
    """
    home = storage.folder(root)
    for one in distinct(planned):
        for each in (*one.after, one.identity):
            storage.fetch(home, each)
        one.execute(home, how or How())
        storage.publish(home, (one.identity, *one.after))


def _train(run: Run, root: Path, how: How) -> None:
    loop.train(run, root, loop.Options(checkpoint_seconds=how.checkpoint_seconds, quiet=how.quiet, until=how.deadline))


def _trace(run: Run) -> Traced:
    """The cost of a run: of starting, of every iteration and of every evaluation of all its lanes."""
    env = run.environment()
    planned = loop.plan_run(run, env, 1, loop.Options())
    schedule, lanes = record.schedule(run, run.build(run.first, env)), planned.memory.lanes
    init, step, evaluation = planned.program.work
    each = init.plus(step.times(schedule.iterations)).plus(evaluation.times(len(schedule.eval_at)))
    return Traced(each.flops * lanes, each.calls * lanes, planned.memory.host, lanes)


def traced(closed: core.ClosedJaxpr, lanes: int = 1) -> Traced:
    """The cost of any program, whose lanes share the devices."""
    found = count(closed.jaxpr)
    size = memory.tree_bytes([v.aval for v in (*closed.jaxpr.invars, *closed.jaxpr.outvars)])
    return Traced(found.flops, found.calls, size + memory.largest([closed], ()), lanes)


def repeated(one: Traced, lanes: int) -> Traced:
    """The cost of a program that is passed once for each lane."""
    return Traced(one.flops * lanes, one.calls * lanes, one.memory * lanes, lanes)
