"""The host's side of a run: chunks on the device; between them evaluate, record, checkpoint, show progress."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax import results
from mbrl_jax.runner import memory, program, record
from mbrl_jax.runner.checkpoint import Checkpoints, to_host
from mbrl_jax.runner.progress import Bar, say
from mbrl_jax.runner.run import Lane, Run
from mbrl_jax.types import Algorithm, Env, PyTree, Storage

__all__ = ["Interrupted", "Options", "Sink", "final_state", "train"]

Sink = Callable[[int, Mapping[str, float]], None]
MAX_CHUNK = 64  # iterations a chunk may take; sets the size of its metrics buffer only


class Interrupted(SystemExit):
    """The run was asked to stop, wrote a checkpoint and stopped. Its code is that of the signal."""


class Options(NamedTuple):
    """How a run is executed; nothing here changes its numbers.

    Attributes:
      chunk_seconds: the host looks in about this often.
      checkpoint_seconds: time between checkpoints.
      keep: checkpoints kept while the run goes on.
      batching: `vmap`, `map`, or None for the platform's default.
      devices: None for all local devices.
      sinks: called after every evaluation with (env_step, metrics averaged over healthy seeds).
      quiet: no progress shown.
    """

    chunk_seconds: float = 5.0
    checkpoint_seconds: float = 120.0
    keep: int = 2
    batching: str | None = None
    devices: Sequence[jax.Device] | None = None
    sinks: Sequence[Sink] = ()
    quiet: bool = False


class Compiled(NamedTuple):
    """The run's functions, compiled; where its lanes live; how long compiling took."""

    program: program.Program
    lanes: program.Lanes
    shapes: PyTree
    init: Callable[..., Any]
    advance: Callable[..., Any]
    evaluate: Callable[..., Any]
    seconds: float


class _Clock:
    """Seconds spent training and evaluating, over all the processes that worked on a run."""

    def __init__(self, facts: Mapping[str, Any]):
        self.train = float(facts.get("train_seconds", 0.0))
        self.evaluate = float(facts.get("evaluate_seconds", 0.0))
        self.compile = float(facts.get("compile_seconds", 0.0))

    def facts(self) -> dict[str, float]:
        return {"train_seconds": self.train, "evaluate_seconds": self.evaluate, "compile_seconds": self.compile}


class _Signals:
    """Notes SIGINT and SIGTERM instead of dying of them, so that a checkpoint can be written first."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> _Signals:
        self._before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: the caller deals with signals
                return self
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Interrupted(128 + number)
        self.received = number
        say("stopping after this chunk; a checkpoint will be written (once more to stop at once)")

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def compile_run(run: Run, env: Env, length: int, options: Options) -> Compiled:
    """Plans the memory, then compiles init, advance and evaluate for all lanes of a run.

    Raises:
      MemoryError: before compilation, if the run cannot fit.
    """
    lanes = run.lanes()
    columns = {name: [lane.values[name] for lane in lanes] for name, _ in run.sweep}
    seeds = [lane.seed for lane in lanes]
    build = lambda values: run.build(values, env)  # noqa: E731
    wanted = program.lanes_of(seeds, columns, len(lanes))
    made = program.make(
        build,
        env,
        wanted,
        episodes=run.eval_episodes,
        length=length,
        batching=options.batching,
        devices=options.devices,
    )
    placed = program.lanes_of(seeds, columns, made.lanes)
    copies = 1 if (options.batching or program.default_batching()) == "vmap" else 2
    planned = memory.plan(lambda: made.init(placed), made.lanes, list(made.mesh.devices.flat), copies)
    if not options.quiet:
        say(str(planned))
    placed = jax.device_put(placed, jax.NamedSharding(made.mesh, jax.P("seed")))
    began = time.monotonic()
    init = jax.jit(made.init).lower(placed).compile()
    shapes = jax.eval_shape(made.init, placed)
    at = jax.ShapeDtypeStruct((), jnp.int32)
    carry = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, init.output_shardings)
    advance = jax.jit(made.advance, donate_argnums=1).lower(placed, carry, at, at).compile()
    evaluate = jax.jit(made.evaluate).lower(placed, carry, at).compile()
    return Compiled(made, placed, shapes, init, advance, evaluate, time.monotonic() - began)


def train(run: Run, root: str | Path = "results", options: Options | None = None) -> str:
    """Trains all lanes of a run to the end and stores the results; resumes if it was begun, returns if it is done.

    Returns:
      The run's id.

    Raises:
      ValueError: step counts that do not divide.
      OSError: the results folder cannot be written; said before training where it can be known.
      Interrupted: SIGINT or SIGTERM came; everything so far is in a checkpoint.
    """
    options = options or Options()
    env = run.environment()
    identity = run.run_id(env)
    if results.finished(root, identity):
        return identity
    algorithm = run.build(run.lanes()[0].values, env)
    schedule = record.schedule(run, algorithm)
    results.check_writable(root)
    compiled = compile_run(run, env, min(schedule.eval_iterations, MAX_CHUNK), options)
    session = _Session(run, env, algorithm, schedule, compiled, Path(root), identity, options)
    with _Signals() as signals:
        session.work(signals)
    return identity


class _Session:
    """One process's work on a run."""

    def __init__(
        self,
        run: Run,
        env: Env,
        algorithm: Algorithm,
        schedule: record.Schedule,
        compiled: Compiled,
        root: Path,
        identity: str,
        options: Options,
    ):
        self.run, self.env, self.algorithm, self.schedule = run, env, algorithm, schedule
        self.compiled, self.root, self.identity, self.options = compiled, root, identity, options
        self.folder = root / "runs" / identity
        self.lanes: list[Lane] = run.lanes()
        self.checkpoints = Checkpoints(self.folder / "checkpoints", options.keep)
        self.title = f"{run.experiment} {run.algorithm} {env.spec.name}"

    def work(self, signals: _Signals) -> None:
        self._begin()
        bar = None if self.options.quiet else Bar(self.title, self.schedule.steps, self._steps(self.iteration))
        saved = time.monotonic()
        try:
            while self.iteration < self.schedule.iterations:
                self._chunk()
                if self.iteration in self.schedule.eval_at:
                    self._evaluate()
                if bar is not None:
                    bar.update(self._steps(self.iteration), self._score(), self._healthy(), len(self.lanes))
                if signals.received is not None:
                    self._save("interrupted")
                    self.checkpoints.close()
                    raise Interrupted(128 + signals.received)
                if time.monotonic() - saved > self.options.checkpoint_seconds:
                    self._save("running")
                    saved = time.monotonic()
        finally:
            if bar is not None:
                bar.close()
        self._finish()

    def _begin(self) -> None:
        """Starts from the newest sound checkpoint, or from scratch."""
        metrics = list(jax.eval_shape(self.compiled.program.advance, *self._advance_shapes())[1])
        self.history = record.empty(self.schedule, metrics, len(self.lanes))
        like = {"carry": _plain_shapes(self.compiled.shapes), "history": self.history}
        found = self.checkpoints.newest(like)
        self.clock = _Clock(found.facts if found else {})
        self.clock.compile += self.compiled.seconds
        self.seconds_per_iteration = 0.0
        if found is None:
            self.iteration = 0
            self.carry = self.compiled.init(self.compiled.lanes)
            self._evaluate()
            return
        for warning in found.warnings:
            say(f"warning: {warning}; using the one before it")
        self.iteration, self.history = found.iteration, found.tree["history"]
        self.carry = self.compiled.program.place(_with_keys(found.tree["carry"], self.compiled.shapes))
        if not self.options.quiet:
            say(f"{self.title}: resumed at environment step {self._steps(self.iteration):,}")

    def _advance_shapes(self) -> tuple:
        at = jax.ShapeDtypeStruct((), jnp.int32)
        return self.compiled.lanes, self.compiled.shapes, at, at

    def _chunk(self) -> None:
        """Advances to the next evaluation, or as far as about `chunk_seconds` take."""
        left = min(e for e in self.schedule.eval_at if e > self.iteration) - self.iteration
        affordable = self.options.chunk_seconds / max(self.seconds_per_iteration, 1e-6)
        count = max(1, min(left, MAX_CHUNK, int(affordable)) if self.seconds_per_iteration else 1)
        began = time.monotonic()
        start, stop = (jnp.asarray(i, jnp.int32) for i in (self.iteration, self.iteration + count))
        self.carry, info = self.compiled.advance(self.compiled.lanes, self.carry, start, stop)
        info = jax.device_get(info)
        seconds = time.monotonic() - began
        self.clock.train += seconds
        self.seconds_per_iteration = seconds / count
        record.put_info(self.history, self.iteration, count, info)
        self.iteration += count
        self._report_divergence()

    def _report_divergence(self) -> None:
        diverged = np.asarray(self.carry.diverged)[: len(self.lanes)]
        fresh = (diverged >= 0) & (self.history["diverged"] < 0)
        for i in np.flatnonzero(fresh):
            say(f"{self.title}: seed {self.lanes[i].seed} diverged at step {self._steps(diverged[i]):,} and is frozen")
        self.history["diverged"] = diverged.copy()

    def _evaluate(self) -> None:
        began = time.monotonic()
        at = jnp.asarray(self.iteration, jnp.int32)
        scores = jax.device_get(self.compiled.evaluate(self.compiled.lanes, self.carry, at))
        record.put_scores(self.history, self.schedule, self.iteration, scores)
        self.clock.evaluate += time.monotonic() - began
        for sink in self.options.sinks:
            sink(self._steps(self.iteration), record.means(self.history, self.schedule, self.iteration))

    def _save(self, status: str) -> None:
        tree = {"carry": to_host(self.carry), "history": self.history}
        self.checkpoints.save(self.iteration, tree, self.clock.facts())
        self._store(status)

    def _store(self, status: str) -> None:
        table = record.table(self.history, self.schedule, self.lanes, self.iteration)
        facts = record.manifest(self.run, self.env, self.algorithm, self.schedule, self.history, status)
        execution = {
            **self.clock.facts(),
            "run_seconds": self.clock.train + self.clock.evaluate,
            "batching": self.options.batching or program.default_batching(),
            "devices": int(self.compiled.program.mesh.devices.size),
        }
        results.save(self.root, self.identity, table, {**facts, **execution})

    def _finish(self) -> None:
        """Keeps the final state without its bulk storage, marks the run finished, then drops the checkpoints."""
        final = Checkpoints(self.folder / "final", keep=1)
        final.save(self.iteration, to_host(_without_storage(self.carry)), {})
        final.close()
        self._store("finished")
        self.checkpoints.close()
        _remove(self.folder / "checkpoints")

    def _steps(self, iteration: int) -> int:
        return int(iteration) * self.algorithm.env_steps

    def _score(self) -> float:
        means = record.means(self.history, self.schedule, self.iteration)
        return means.get("eval/return_mean", float("nan"))

    def _healthy(self) -> int:
        return int((self.history["diverged"] < 0).sum())


def final_state(run: Run, root: str | Path = "results") -> PyTree:
    """The state of all lanes at the end of a finished run, on the host; bulk storage is left out.

    Raises:
      FileNotFoundError: the run is not finished.
    """
    env = run.environment()
    identity = run.run_id(env)
    if not results.finished(root, identity):
        raise FileNotFoundError(f"a final state needs a finished run, {run.experiment} {run.algorithm} is not")
    keys = jax.random.key(0)
    one = jax.eval_shape(run.build(run.lanes()[0].values, env).init, keys)
    carry = program.Carry(one, jax.ShapeDtypeStruct((), jnp.int32))
    folder = Path(root) / "runs" / identity / "final"
    count = results.manifest(root, identity)["lanes"]
    like = jax.tree.map(
        lambda x, lane: jax.ShapeDtypeStruct((count, *x.shape) if lane else x.shape, x.dtype),
        _without_storage(carry),
        program.batched(_without_storage(carry)),
    )
    found = Checkpoints(folder, keep=1).newest(_plain_shapes(like))
    if found is None:
        raise FileNotFoundError(f"no final state in {folder}")
    return _with_keys(found.tree, like).state


def _without_storage(tree: PyTree) -> PyTree:
    is_storage = lambda node: isinstance(node, Storage)  # noqa: E731
    return jax.tree.map(lambda node: Storage(()) if is_storage(node) else node, tree, is_leaf=is_storage)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain_shapes(tree: PyTree) -> PyTree:
    """Shapes of a tree on the host, where random keys are their key data."""
    return jax.tree.map(lambda x: jax.eval_shape(jax.random.key_data, x) if _is_key(x) else x, tree)


def _with_keys(tree: PyTree, shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda x, s: jax.random.wrap_key_data(x) if _is_key(s) else x, tree, shapes)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
