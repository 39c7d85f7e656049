"""Artefacts that train and measure in one program of their own, on all seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import pandas as pd

from mbrl_jax import results
from mbrl_jax.jobs import Cost, How, Job, Traced
from mbrl_jax.runner import record, work
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.seeds import over_seeds
from mbrl_jax.types import Info

__all__ = ["Measurement", "job"]


class Measurement(NamedTuple):
    """What is measured, and what it is stored as; everything in it pickles by name.

    Attributes:
      run: what the results say they are of: experiment, label, configuration, environment, seeds.
      facts: what else determines the numbers, by name; enters the identity.
      stated: those of the facts that the manifest names.
      measure: `measure(key, env=env)` of one seed.
      tabulate: maps what all seeds give, on the host, to a long table.
    """

    run: Run
    facts: Mapping[str, object]
    stated: tuple[str, ...]
    measure: Callable[..., Info]
    tabulate: Callable[..., pd.DataFrame]


def job(one: Measurement) -> Job:
    """A job that measures all seeds in one program."""
    env = one.run.environment()
    identity = results.run_id({**one.run.identity(env), **one.facts})
    cost, execute = Cost(trace=partial(_trace, one)), partial(_execute, identity, one)
    return Job(identity, one.run.experiment, work.title(one.run, env), (), cost, execute)


def _trace(one: Measurement) -> Traced:
    program = jax.make_jaxpr(partial(one.measure, env=one.run.environment()))(jax.random.key(0))
    return work.repeated(work.traced(program), len(one.run.seeds))


def _execute(identity: str, one: Measurement, root: Path, how: How) -> None:
    if results.finished(root, identity):
        return
    env = one.run.environment()
    measured = over_seeds(partial(one.measure, env=env), one.run.seeds)
    facts = record.facts(one.run, env) | {
        "status": "finished",
        "compile_seconds": measured.compile_seconds,
        "run_seconds": measured.run_seconds,
        **{name: one.facts[name] for name in one.stated},
    }
    results.save(root, identity, one.tabulate(measured.value), facts)
