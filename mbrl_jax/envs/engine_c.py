"""MuJoCo's own C engine as a pure function of arrays: it jits, scans, vmaps and shards like any other.

The whole integration state (time, positions, velocities, warm start of the solver, …) goes into the call and comes
out of it, as the bit pattern of its float64 numbers (see `bits`). A step is therefore a function of its arguments,
and exact: whatever JAX's precision, a trajectory is Gymnasium's to the last bit; only the observations and rewards
handed to the learner are rounded.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array
from mujoco.batch import Batch

from mbrl_jax.envs import bits
from mbrl_jax.envs.base import Advance, Start, float_dtype
from mbrl_jax.envs.mujoco_tasks import Frame, Task
from mbrl_jax.types import Key

__all__ = ["BatchPool", "make", "row_offset"]

HUGE = mujoco.mjMAXVAL
"""Positions and velocities beyond this are MuJoCo's own mark of a diverged simulation."""


def make(task: Task, model: mujoco.MjModel, *, threads: int | None = None) -> tuple[Start, Advance]:
    """Start and transition functions of a task on the C engine.

    The physics state is uint32 `[2 n]`: the words of MuJoCo's integration state (`mjSTATE_INTEGRATION`, which
    includes the warm start), followed by the derived fields the reward reads before the next step.

    Args:
      task: the task.
      model: its compiled model, which is not modified.
      threads: threads that share the simulations of one call; default, the processors this process may use.
        The results do not depend on it.
    """
    model = _without_autoreset(model)
    threads = len(os.sched_getaffinity(0)) if threads is None else threads
    pool = BatchPool(model, ("qpos", "qvel", "ctrl", *task.derived), threads)
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
    extra = sum(pool.sizes[name] for name in task.derived)
    rest = bits.to_words(np.concatenate([_row(model), np.zeros(extra)]))
    places = [slice(2 * at, 2 * (at + n)) for at, n in (row_offset(model, name) for name in ("qpos", "qvel"))]
    run = _host_step(task, model, pool, size)

    def start(key: Key) -> tuple[Array, Array]:
        dtype = float_dtype()
        qpos, qvel = task.noise(key, model.nq, model.nv, dtype)
        qpos = qpos + jnp.asarray(model.qpos0, dtype)
        words = jnp.asarray(rest)
        for place, values in zip(places, (qpos, qvel), strict=True):
            words = words.at[place].set(bits.widen(values))
        return words, task.observe(Frame(qpos, qvel, {}))

    def advance(key: Key, words: Array, obs: Array, action: Array) -> tuple[Array, Array, Array, Array]:
        del key
        scalar = jax.ShapeDtypeStruct((), float_dtype())
        shapes = (
            jax.ShapeDtypeStruct(words.shape, jnp.uint32),
            jax.ShapeDtypeStruct(obs.shape, float_dtype()),
            scalar,
            jax.ShapeDtypeStruct((), jnp.bool_),
        )
        return _on_host(run, shapes)(words, action)

    return start, advance


def _on_host(run: Callable[..., tuple[np.ndarray, ...]], shapes: Any) -> Callable[..., Any]:
    """`run` as a pure JAX function.

    On the CPU the callback works on XLA's buffers in place. The ordinary `jax.pure_callback` first puts its arguments
    on the device, on the thread pool that the running program occupies: with several virtual devices and arguments
    of about a megabyte it waits for itself for ever.
    """
    if jax.default_backend() != "cpu":
        return partial(jax.pure_callback, run, shapes, vmap_method="broadcast_all")

    def fill(context: Any, out: Any, *args: Any) -> None:
        del context
        for buffer, value in zip(out, run(*args), strict=True):
            np.asarray(buffer)[...] = value

    return buffer_callback(fill, shapes, vmap_method="broadcast_all")


def _host_step(
    task: Task, model: mujoco.MjModel, pool: BatchPool, size: int
) -> Callable[[Any, Any], tuple[np.ndarray, ...]]:
    """The host's half of a step: words `[..., 2 n]` and actions `[..., nu]` in; words, obs, reward, end out."""
    dt = model.opt.timestep * task.frame_skip

    def run(words: Any, action: Any) -> tuple[np.ndarray, ...]:
        words, action = np.asarray(words), np.asarray(action)
        rows = bits.from_words(words).reshape(-1, words.shape[-1] // 2)
        with pool.take(len(rows)) as batch:
            batch.state[:] = rows[:, :size]
            before = pool.frame(batch, rows[:, size:])
            _prepare(batch, before, rows[:, 0] == 0.0)
            batch.bind("ctrl")[:] = action.reshape(len(rows), -1)
            batch.step(nstep=task.frame_skip)
            after = pool.frame(batch)
            derived = [after.derived[name].reshape(len(rows), -1) for name in task.derived]
            rows = np.concatenate([batch.state, *derived], axis=-1)
        action = action.reshape(len(rows), -1).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            reward = task.reward(before, action, after, dt)
            results = (bits.to_words(rows), task.observe(after), _or_nan(reward, after), task.terminated(after))
        lead = words.shape[:-1]
        types = (np.uint32, float_dtype(), float_dtype(), np.bool_)
        return tuple(
            np.asarray(value, dtype).reshape(lead + value.shape[1:])
            for value, dtype in zip(results, types, strict=True)
        )

    return run


def _prepare(batch: Batch, before: Frame, fresh: np.ndarray) -> None:
    """Bring simulations at time 0 to the state Gym's reset leaves: forces and warm start computed once."""
    if fresh.any():
        ids = np.flatnonzero(fresh)
        batch.forward(ids=ids)
        for name, values in before.derived.items():
            values[ids] = batch.bind(name)[ids]


def _or_nan(reward: np.ndarray, frame: Frame) -> np.ndarray:
    """The reward, or NaN where the simulation has diverged."""
    sound = (np.abs(frame.qpos) < HUGE).all(axis=-1) & (np.abs(frame.qvel) < HUGE).all(axis=-1)
    return np.where(sound, reward, np.nan)


class BatchPool:
    """Simulations ready for use, by their number; callbacks that run at once each take their own."""

    def __init__(self, model: mujoco.MjModel, fields: tuple[str, ...], threads: int):
        self._model, self._fields, self._threads = model, fields, threads
        self._free: dict[int, list[Batch]] = {}
        self._lock = threading.Lock()
        data = mujoco.MjData(model)
        self.shapes = {name: np.shape(getattr(data, name)) for name in fields}
        self.sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}

    @contextmanager
    def take(self, count: int):
        """A batch of `count` simulations for the length of the block."""
        with self._lock:
            free = self._free.setdefault(count, [])
            batch = free.pop() if free else None
        if batch is None:
            batch = Batch(self._model, count, min(self._threads, count))
            for name in self._fields:
                batch.bind(name)
        try:
            yield batch
        finally:
            with self._lock:
                free.append(batch)

    def frame(self, batch: Batch, stored: np.ndarray | None = None) -> Frame:
        """A copy of the batch's frame; derived fields are taken from `stored` `[count, extra]` where given."""
        derived, at = {}, 0
        for name in self._fields[3:]:
            if stored is None:
                derived[name] = batch.bind(name).copy()
            else:
                values = stored[:, at : at + self.sizes[name]]
                derived[name] = values.reshape(-1, *self.shapes[name]).copy()
            at += self.sizes[name]
        return Frame(batch.bind("qpos").copy(), batch.bind("qvel").copy(), derived)


def row_offset(model: mujoco.MjModel, name: str) -> tuple[int, int]:
    """Offset and length of `time`, `qpos` or `qvel` in a row of the integration state."""
    fields = {"time": 1, "qpos": model.nq, "qvel": model.nv}
    at = 0
    for field, length in fields.items():
        if field == name:
            return at, length
        at += length
    raise ValueError(f"field must be one of {tuple(fields)}, got {name!r}")


def _row(model: mujoco.MjModel) -> np.ndarray:
    """The integration state of a simulation as the model defines it."""
    spec = mujoco.mjtState.mjSTATE_INTEGRATION
    row = np.empty(mujoco.mj_stateSize(model, spec))
    mujoco.mj_getState(model, mujoco.MjData(model), row, spec)
    return row


def _without_autoreset(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy whose diverged simulations stay diverged, so that they are seen, instead of silently starting anew."""
    model = copy.deepcopy(model)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model
