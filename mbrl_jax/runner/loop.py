"""A run from its description to its results: planned, compiled, trained to the end, taken up where it was left."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mbrl_jax import results, storage
from mbrl_jax.checks import check_fields
from mbrl_jax.files import FOLDERS, check_places, tidy
from mbrl_jax.host import reset_peak_memory
from mbrl_jax.runner import lowering, memory, program, record
from mbrl_jax.runner.checkpoint import Checkpoints, check_names, remove
from mbrl_jax.runner.lock import BusyError, Lock
from mbrl_jax.runner.precision import check_precision
from mbrl_jax.runner.progress import how_long, say
from mbrl_jax.runner.publish import Publisher
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.session import Compiled, Options, Session, Sink, plain_shapes, with_keys, without_storage
from mbrl_jax.runner.setup import check_jit
from mbrl_jax.runner.signals import Interrupted, Signals, TimeUpError
from mbrl_jax.types import Env, PyTree

__all__ = [
    "BusyError",
    "Interrupted",
    "Options",
    "Planned",
    "Sink",
    "TimeUpError",
    "compile_run",
    "final_state",
    "plan_run",
    "train",
]

MAX_CHUNK = 64  # iterations a chunk may take; sets the size of its metrics buffer only
DISK_SLACK = 64 * 2**20
MOST_EVALUATION = 1000  # times as many steps of evaluation as of training are told of
FAST = 1e6  # environment steps per second and device: what few environments reach


class Planned(NamedTuple):
    """A run that has been traced and weighed, not compiled."""

    program: program.Program
    lanes: program.Lanes
    memory: memory.Plan
    length: int


def plan_run(run: Run, env: Env, length: int, options: Options, available: int | None = None) -> Planned:
    """Traces a run and plans its memory; compiles and computes nothing of it.

    Args:
      length: the most iterations of a chunk.
      available: bytes of memory of a device that is not here.

    Raises:
      ValueError: JAX is told not to compile, or the devices do not compute in the run's precision.
    """
    check_jit()
    check_precision(run.precision, (options.devices or jax.local_devices())[0])
    lanes = run.lanes()
    columns = {name: [lane.values[name] for lane in lanes] for name, _ in run.sweep}
    seeds = [lane.seed for lane in lanes]
    made = program.make(
        lambda values: run.build(values, env),
        env,
        program.lanes_of(seeds, columns, len(lanes)),
        episodes=run.eval_episodes,
        length=length,
        batching=options.batching,
        devices=options.devices,
        precision=run.precision,
    )
    copies = 1 if (options.batching or program.default_batching(options.devices)) == "vmap" else 2
    schedule = record.schedule(run, run.build(run.first, env))
    recorded = schedule.iterations * len(made.metrics) + len(schedule.eval_at) * len(made.scores)
    planned = memory.plan(made.one, len(lanes), list(made.mesh.devices.flat), copies, made.passing, recorded, available)
    return Planned(made, program.lanes_of(seeds, columns, made.lanes), planned, length)


def compile_run(planned: Planned) -> Compiled:
    """Compiles init, advance and evaluate for all lanes of a run.

    Raises:
      MemoryError: if the run cannot fit: before compilation where its state alone says so, else after it.
    """
    memory.require(planned.memory)
    made, began = planned.program, time.monotonic()
    lowered = [lowering.lower(made, which, planned.lanes) for which in lowering.FUNCTIONS]
    metrics = sorted(lowered[1].out_info[1])
    with ThreadPoolExecutor(len(lowered)) as pool:  # tracing holds Python's lock, compiling does not
        init, advance, evaluate = pool.map(lambda one: one.compile(), lowered)
    seconds = time.monotonic() - began
    needed = memory.measured(planned.memory, [init, advance, evaluate])
    memory.require(needed)
    placed = jax.device_put(planned.lanes, jax.NamedSharding(made.mesh, jax.P("seed")))
    shapes = program.shapes_of(made.one, made.lanes)
    functions = {"init": init, "advance": advance, "evaluate": evaluate}
    return Compiled(made, placed, shapes, metrics, planned.length, **functions, memory=needed, seconds=seconds)


def train(run: Run, root: str | Path = "results", options: Options | None = None) -> str:
    """Trains all lanes of a run to the end and stores the results; resumes if it was begun, returns if it is done.

        >>> sizes = {"steps": 40, "warmup_steps": 8, "steps_per_iteration": 20, "batch": 4}
        >>> config = replace(mb.preset("sac", "probe-action"), **sizes)
        >>> facts = {"experiment": "mine", "algorithm": "SAC", "method": "sac", "env": "probe-action"}
        >>> run = mb.Run(config=config, seeds=(0, 1), eval_every=20, **facts)
        >>> identity = mb.train(run, "results")
        >>> mb.load("results", experiment="mine", metric="eval/return_mean")["env_step"].tolist()
        [0, 20, 40, 0, 20, 40]

    Returns:
      The run's id.

    Raises:
      ValueError: step counts that do not divide; the devices do not compute in the run's precision; or JAX is told not
        to compile.
      BusyError: another process works on the same run.
      MemoryError: the run does not fit; said before anything is compiled where it can be known, else before training.
      OSError: the results folder cannot be written or has no room, or something else stands where a file or folder of
        the run will be; said before training where it can be known.
      ResultsError: there are checkpoints and none of them is usable, or something else bears a checkpoint's name.
      Interrupted: SIGINT or SIGTERM came; everything so far is in a checkpoint.
      TimeUpError: `options.until` has passed; likewise.
    """
    options = options or Options()
    check_fields(options)
    check_jit()
    env = run.environment()
    identity = run.run_id(env)
    root = storage.folder(root)
    storage.refresh(root, [identity])
    folder = root / "runs" / identity
    check_places(folder)
    if results.finished(root, identity) and storage.published(root, identity):
        remove(folder / "checkpoints")  # of a process killed just after the mark
        return identity
    for name in FOLDERS:
        check_names(folder / name)
    algorithm = run.build(run.first, env)
    schedule = record.schedule(run, algorithm)
    results.check_writable(root, DISK_SLACK)
    with Lock(folder) as lock, Publisher(root, identity, lock) as publisher:
        if results.finished(root, identity):  # by another process, just now
            return identity
        tidy(folder)
        reset_peak_memory()
        planned = plan_run(run, env, min(schedule.eval_iterations, MAX_CHUNK), options)
        if not options.quiet:
            say(str(planned.memory))
        memory.require(planned.memory)
        _foretell_evaluations(run, env, schedule, planned)
        # one more than are kept exists while the newest is being written
        results.check_writable(root, DISK_SLACK + (options.keep + 1) * planned.memory.checkpoint)
        compiled = compile_run(planned)
        if not options.quiet and compiled.memory.compiled:
            say(str(compiled.memory))
        with Signals() as signals:
            Session(run, env, algorithm, schedule, compiled, root, identity, options, publisher).work(signals)
            signals.stop_if_received()
    return identity


def _foretell_evaluations(run: Run, env: Env, schedule: record.Schedule, planned: Planned) -> None:
    """Says how long evaluations will take at least where they take far more steps than training."""
    steps = len(schedule.eval_at) * run.eval_episodes * env.spec.time_limit
    if steps > MOST_EVALUATION * schedule.steps:
        least = how_long(steps * planned.memory.lanes / planned.memory.devices / FAST)
        say(
            f"warning: evaluations take up to {steps:,} environment steps of each seed, training {schedule.steps:,}: "
            f"at a million steps per second and device {least}"
        )


def final_state(run: Run, root: str | Path = "results") -> PyTree:
    """The state of all lanes at the end of a finished run, on the host; bulk storage is left out.

        >>> last = jax.tree.map(lambda leaf: leaf[0], mb.final_state(run, "results").agent)  # of the first seed

    Raises:
      FileNotFoundError: the run is not finished.
      ResultsError: the file is damaged.
    """
    env = run.environment()
    root, identity = storage.folder(root), run.run_id(env)
    storage.fetch(root, identity)
    if not results.finished(root, identity):
        raise FileNotFoundError(f"a final state needs a finished run, {run.experiment} {run.algorithm} is not")
    one = jax.eval_shape(run.build(run.first, env).init, jax.random.key(0))
    diverged = jax.eval_shape(lambda: jnp.zeros((), jnp.int32))
    like = program.shapes_of(without_storage(program.Carry(one, diverged)), len(run.lanes()))
    folder = root / "runs" / identity / "final"
    checkpoints = Checkpoints(folder, 1, identity)
    try:
        found = checkpoints.newest(plain_shapes(like))
    finally:
        checkpoints.close()
    if found is None:
        raise FileNotFoundError(f"no final state in {folder}")
    return with_keys(found.tree, like).state
