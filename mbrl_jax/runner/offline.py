"""A run compiled for a device that may not be here: the memory that it takes and what an environment step launches."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import jax

from mbrl_jax.runner import kernels, loop, lowering, memory, targets
from mbrl_jax.runner.run import Run

__all__ = ["Report", "TooLargeError", "plan"]

LENGTH = 4  # iterations of a chunk; sets the size of its metrics buffer only


class TooLargeError(MemoryError):
    """The program does not fit the device: found by planning, or by the compiler, which then makes none."""


class Report(NamedTuple):
    """What compiling a run for a target has shown.

    Attributes:
      memory: the plan, with what the compiled training program takes.
      seconds: how long tracing and compiling took.
      found: operations of an environment step.
      iteration: the loops of an iteration that they are counted from.
    """

    memory: memory.Plan
    seconds: float
    found: kernels.Count
    iteration: kernels.Loop

    @property
    def most(self) -> int:
        """About how many lanes would fit the device, by proportion."""
        each = self.memory.per_device / self.memory.lanes
        return int(self.memory.available / each) if self.memory.available else 0

    def lines(self, name: str) -> Iterator[str]:
        """As a person reads it."""
        yield f"compiled for {name} in {self.seconds:.0f} s"
        yield str(self.memory)
        yield f"by proportion about {self.most:,} lanes fit" if self.most else "the device does not say what it has"
        lanes = "all lanes together" if self.memory.copies == 1 else "each lane, one after the other"
        yield f"operations launched per environment step, of {lanes}:"
        yield from kernels.described(self.found)


def plan(run: Run, name: str) -> Report:
    """Compiles the training program of a run for a target; runs nothing.

    Physics is MJX's where the run names no engine: the host's cores beside a device that is not here are unknown.

    Args:
      name: a name in `targets.TARGETS`, for which the process has been prepared, or `here`.

    Raises:
      TooLargeError: it does not fit; says how many lanes would.
      ValueError: physics is Warp's, and the target is not here.
    """
    here = name == targets.HERE
    if not here and run.environment().spec.engine == "warp":
        raise ValueError("the engine warp brings kernels of its own, which no compiler here sees: plan with mjx")
    devices = jax.local_devices()[:1] if here else [targets.device(name)]
    available = None if here else targets.target(name).available
    if not here and run.engine is None and run.environment().spec.engine == "mujoco":
        run = replace(run, engine="mjx")
    env, began = run.environment(), time.monotonic()
    planned = loop.plan_run(run, env, LENGTH, loop.Options(devices=devices), available)
    compiled = _compiled(planned)
    seconds = time.monotonic() - began
    needed = memory.measured(planned.memory, [compiled])
    steps = run.build(run.first, env).env_steps
    one = kernels.iteration(kernels.loops(compiled.as_text() or ""))
    report = Report(needed, seconds, kernels.count(one, steps), one)
    if needed.available and needed.per_device > needed.available:
        raise TooLargeError(f"the run does not fit: {needed}. By proportion about {report.most:,} lanes would")
    return report


def _compiled(planned: loop.Planned) -> jax.stages.Compiled:
    if planned.memory.available and planned.memory.per_lane * planned.memory.lanes > planned.memory.available:
        raise TooLargeError(f"the run does not fit: {planned.memory}. At most {planned.memory.most:,} lanes would")
    try:
        return lowering.lower(planned.program, "advance", planned.lanes).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        said = re.search(r"Used ([\d.]+)G of ([\d.]+)G|\(([\d.]+)G\) exceeds available HBM \(([\d.]+)G\)", str(error))
        text = "the compiler finds no room for it"
        if said:
            needed, there = (number for number in said.groups() if number)
            fit = int(planned.memory.lanes * float(there) / float(needed))
            text += f": {needed} GiB are needed, {there} GiB are there. By proportion about {fit} lanes would fit"
        raise TooLargeError(f"the run does not fit: {text} ({planned.memory})") from error
