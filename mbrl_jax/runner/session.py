"""The host's side of a run: chunks on the device; between them evaluate, record, checkpoint, show progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax import results
from mbrl_jax.host import peak_memory
from mbrl_jax.runner import program, record
from mbrl_jax.runner.checkpoint import Checkpoints, remove, to_host
from mbrl_jax.runner.memory import Plan
from mbrl_jax.runner.progress import Bar, how_long, say
from mbrl_jax.runner.publish import Publisher
from mbrl_jax.runner.run import Lane, Run
from mbrl_jax.runner.signals import Signals, TimeUpError
from mbrl_jax.types import Algorithm, Env, Facts, PyTree, Storage

__all__ = ["Compiled", "Options", "Session", "Sink", "plain_shapes", "with_keys", "without_storage"]

Sink = Callable[[int, Mapping[str, float]], None]
LONG_SECONDS = 30 * 86_400.0  # a run that takes longer is told of as soon as its speed is known
CHECKPOINT_SHARE = 0.1  # of the time may go into checkpoints; where a state is huge they are made less often


class Options(NamedTuple):
    """How a run is executed; nothing here changes its numbers (`batching` does in the last digits).

    Attributes:
      chunk_seconds: the host looks in about this often.
      checkpoint_seconds: least time between checkpoints; 0 writes one after every chunk.
      keep: checkpoints kept while the run goes on.
      batching: `vmap`, `map`, or None for the platform's default.
      devices: None for all local devices.
      sinks: called after every evaluation with (env_step, metrics averaged over healthy seeds).
      quiet: no progress shown.
      until: time (seconds since the epoch) from which on a run writes a checkpoint and stops; None for no such time.
    """

    chunk_seconds: float = 5.0
    checkpoint_seconds: float = 120.0
    keep: int = 2
    batching: Literal["vmap", "map"] | None = None
    devices: Sequence[jax.Device] | None = None
    sinks: Sequence[Sink] = ()
    quiet: bool = False
    until: float | None = None


class Compiled(NamedTuple):
    """The run's functions, compiled; where its lanes live; what it records, how many iterations a chunk may take; the
    memory that it takes, and how long compiling took."""

    program: program.Program
    lanes: program.Lanes
    shapes: PyTree
    metrics: list[str]
    length: int
    init: Callable[..., PyTree]
    advance: Callable[..., PyTree]
    evaluate: Callable[..., PyTree]
    memory: Plan
    seconds: float


class _Clock:
    """Seconds of training, evaluating and compiling, and the most memory, of all processes that worked on a run."""

    def __init__(self, facts: Facts):
        self.train = float(facts.get("train_seconds", 0.0))
        self.evaluate = float(facts.get("evaluate_seconds", 0.0))
        self.compile, self.peak = float(facts.get("compile_seconds", 0.0)), int(facts.get("peak_memory", 0))

    def facts(self) -> dict[str, float]:
        spent = {"train_seconds": self.train, "evaluate_seconds": self.evaluate, "compile_seconds": self.compile}
        return {**spent, "peak_memory": max(self.peak, peak_memory())}


class Session:
    """One process's work on a run, whose lock it holds."""

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
        publisher: Publisher,
    ):
        self.run, self.env, self.algorithm, self.schedule = run, env, algorithm, schedule
        self.compiled, self.root, self.identity, self.options = compiled, root, identity, options
        self.folder, self.publisher = root / "runs" / identity, publisher
        self.lanes: list[Lane] = run.lanes()
        self.title = f"{run.experiment} {run.algorithm} {env.spec.name}"
        self.seconds_per_iteration, self.foretold = 0.0, False
        self.next_save = time.monotonic() + options.checkpoint_seconds

    def work(self, signals: Signals) -> None:
        """Trains from the newest checkpoint, or from scratch, to the end.

        Raises:
          Interrupted: a signal came and everything so far is in a checkpoint.
        """
        self.checkpoints = Checkpoints(self.folder / "checkpoints", self.options.keep, self.identity)
        try:
            self._begin()
            self._loop(signals)
        except BaseException:
            self._close_quietly()
            raise
        self._finish()

    def _loop(self, signals: Signals) -> None:
        bar = None if self.options.quiet else Bar(self.title, self.schedule.steps, self._steps(self.iteration))
        try:
            while self.iteration < self.schedule.iterations:
                self._chunk()
                if self.iteration in self.schedule.eval_at:
                    self._evaluate()
                if bar is not None:
                    bar.update(self._steps(self.iteration), self._score(), self._healthy(), len(self.lanes))
                self.checkpoints.check()
                self.publisher.check()
                if signals.received is not None:
                    self._save("interrupted")
                    self.checkpoints.wait()
                    signals.stop_if_received()
                if self.options.until is not None and time.time() > self.options.until:
                    self._save("interrupted")
                    self.checkpoints.wait()
                    raise TimeUpError(f"{self.title}: stopped at step {self._steps(self.iteration):,}, to be resumed")
                if time.monotonic() > self.next_save:
                    self._save("running")
        finally:
            if bar is not None:
                bar.close()

    def _begin(self) -> None:
        """Starts from the newest sound checkpoint, or from scratch."""
        self.history = record.empty(self.schedule, self.compiled.metrics, len(self.lanes), self.compiled.program.scores)
        carry = program.shapes_of(self.compiled.program.one, len(self.lanes))
        found = self.checkpoints.newest({"carry": plain_shapes(carry), "history": self.history})
        self.clock = _Clock(found.facts if found else {})
        self.clock.compile += self.compiled.seconds
        if found is None:
            self.iteration = 0
            self.carry = self.compiled.init(self.compiled.lanes)
            if self.iteration in self.schedule.eval_at:
                self._evaluate()
            self._store("running")
            return
        for warning in found.warnings:
            say(f"warning: {warning}; going back to the one at iteration {found.iteration}")
        self.iteration, self.history = found.iteration, found.tree["history"]
        filled = program.resized(found.tree["carry"], self.compiled.program.lanes)
        self.carry = self.compiled.program.place(with_keys(filled, self.compiled.shapes))
        self._warn_of_rounding(found.facts)
        if not self.options.quiet:
            say(f"{self.title}: resumed at environment step {self._steps(self.iteration):,}")

    def _execution(self) -> Facts:
        """How lanes are spread and batched: what the last digits may depend on."""
        devices = int(self.compiled.program.mesh.devices.size)
        return {"batching": self.options.batching or program.default_batching(self.options.devices), "devices": devices}

    def _warn_of_rounding(self, before: Facts) -> None:
        """Says so where the run goes on in another way than it began, in which its arithmetic may round otherwise."""
        now = self._execution()
        then = {name: before.get(name, value) for name, value in now.items()}  # older checkpoints do not say
        if then != now:
            old, new = (f"--batching {each['batching']} --devices {each['devices']}" for each in (then, now))
            say(f"warning: {self.title} was begun with {old} and goes on with {new}: its last digits may differ")

    def _chunk(self) -> None:
        """Advances to the next evaluation, or as far as about `chunk_seconds` take."""
        left = min(e for e in self.schedule.eval_at if e > self.iteration) - self.iteration
        affordable = self.options.chunk_seconds / max(self.seconds_per_iteration, 1e-6)
        count = max(1, min(left, self.compiled.length, int(affordable)) if self.seconds_per_iteration else 1)
        began = time.monotonic()
        start, stop = (jnp.asarray(i, jnp.int32) for i in (self.iteration, self.iteration + count))
        self.carry, info = self.compiled.advance(self.compiled.lanes, self.carry, start, stop)
        info = jax.device_get(info)
        seconds = time.monotonic() - began
        self.clock.train += seconds
        first, self.seconds_per_iteration = not self.seconds_per_iteration, seconds / count
        record.put_info(self.history, self.iteration, count, info)
        self.iteration += count
        self._report_divergence()
        if not first and not self.foretold:
            self._foretell()

    def _foretell(self) -> None:
        """Says once how long the run will take if that is very long; the first chunk, which warms up, does not tell."""
        self.foretold = True
        left = (self.schedule.iterations - self.iteration) * self.seconds_per_iteration
        if left > LONG_SECONDS:
            say(f"warning: {self.title}: at this speed training will take {how_long(left)}")

    def _report_divergence(self) -> None:
        diverged = np.array(self.carry.diverged)[: len(self.lanes)]
        fresh = (diverged >= 0) & (self.history["diverged"] < 0)
        for i in np.flatnonzero(fresh):
            say(f"{self.title}: seed {self.lanes[i].seed} diverged at step {self._steps(diverged[i]):,} and is frozen")
        self.history["diverged"] = diverged

    def _evaluate(self) -> None:
        began = time.monotonic()
        at = jnp.asarray(self.iteration, jnp.int32)
        scores = jax.device_get(self.compiled.evaluate(self.compiled.lanes, self.carry, at))
        record.put_scores(self.history, self.schedule, self.iteration, scores)
        self.clock.evaluate += time.monotonic() - began
        for sink in self.options.sinks:
            sink(self._steps(self.iteration), record.means(self.history, self.schedule, self.iteration))

    def _save(self, status: str) -> None:
        began = time.monotonic()
        self.checkpoints.wait()  # before the copy, so that two of them never wait at once
        carry = program.resized(to_host(self.carry), len(self.lanes))
        history = jax.tree.map(np.array, self.history)
        facts = {**self.clock.facts(), **self._execution()}
        self.checkpoints.save(self.iteration, {"carry": carry, "history": history}, facts)
        if self.publisher.active:
            self.checkpoints.wait()  # what is published is complete
        self._store(status)
        now = time.monotonic()
        often = self.options.checkpoint_seconds
        self.next_save = now + (max(often, (now - began) / CHECKPOINT_SHARE) if often else 0.0)

    def _store(self, status: str) -> None:
        table = record.table(self.history, self.schedule, self.lanes, self.iteration)
        facts = record.manifest(self.run, self.env, self.algorithm, self.schedule, self.history, status)
        execution = {
            **self.clock.facts(),
            "run_seconds": self.clock.train + self.clock.evaluate,
            **self._execution(),
            "env_step": self._steps(self.iteration),
            "memory": self.compiled.memory.host,
        }
        results.save(self.root, self.identity, table, {**facts, **execution})
        self.publisher.later()

    def _finish(self) -> None:
        """Keeps the final state without its bulk storage, marks the run finished, then drops the checkpoints."""
        remove(self.folder / "final")  # of a process killed just before the mark
        final = Checkpoints(self.folder / "final", 1, self.identity)
        final.save(self.iteration, program.resized(to_host(without_storage(self.carry)), len(self.lanes)), {})
        final.close()
        self._store("finished")
        self._close_quietly()  # what could not be written there is not needed any more
        remove(self.folder / "checkpoints")

    def _close_quietly(self) -> None:
        """Lets the writer end; an error of it must not hide the one under way."""
        try:
            self.checkpoints.close()
        except OSError as error:
            say(f"warning: {error}")

    def _steps(self, iteration: int) -> int:
        return int(iteration) * self.algorithm.env_steps

    def _score(self) -> float:
        return record.means(self.history, self.schedule, self.iteration).get("eval/return_mean", float("nan"))

    def _healthy(self) -> int:
        return int((self.history["diverged"] < 0).sum())


def without_storage(tree: PyTree) -> PyTree:
    """The tree with bulk storage emptied."""

    def is_storage(node: object) -> bool:
        return isinstance(node, Storage)

    return jax.tree.map(lambda node: Storage(()) if is_storage(node) else node, tree, is_leaf=is_storage)


def _is_key(leaf: Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain_shapes(tree: PyTree) -> PyTree:
    """Shapes of a tree on the host, where random keys are their key data."""
    return jax.tree.map(lambda x: jax.eval_shape(jax.random.key_data, x) if _is_key(x) else x, tree)


def with_keys(tree: PyTree, shapes: PyTree) -> PyTree:
    """The inverse of `checkpoint.to_host` on key data: leaves that are random keys in `shapes` become keys again."""
    return jax.tree.map(lambda x, s: jax.random.wrap_key_data(x) if _is_key(s) else x, tree, shapes)
