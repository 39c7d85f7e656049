# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""MuJoCo's own C engine as a pure function of arrays: it jits, scans and vmaps like any other.

Spread it over devices with `shard_map`, as the runner does. Where sharded arrays only flow through `jit`, XLA gathers
them for the call and every device steps the whole batch: the same numbers, and no faster than one device.

The whole integration state (time, positions, velocities, warm start of the solver, …) goes into the call and comes
out of it, as the bit pattern of its float64 numbers (see `bits`). A step is therefore a function of its arguments,
and exact: whatever JAX's precision, a trajectory is Gymnasium's to the last bit; only the observations and rewards
handed to the learner are rounded.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

from mbrl_jax.envs import bits, host_call
from mbrl_jax.envs.base import Advance, Start, float_dtype
from mbrl_jax.envs.mujoco_tasks import MEMORY, Frame, Task, locate
from mbrl_jax.envs.simulations import STATE, Pool, Simulations
from mbrl_jax.host import available_cores
from mbrl_jax.types import Key, PyTree

__all__ = ["make"]

HUGE = mujoco.mjMAXVAL
"""Positions and velocities beyond this are MuJoCo's own mark of a diverged simulation."""


def make(task: Task, model: mujoco.MjModel, *, threads: int | None = None) -> tuple[Start, Advance]:
    """Start and transition functions of a task on the C engine.

    The physics state is uint32 `[2 n]`: the words of MuJoCo's integration state (`mjSTATE_INTEGRATION`, which
    includes the warm start), followed by the derived fields the reward reads before the next step and by the task's
    memory.

    Args:
      task: the task.
      model: its compiled model, which is not modified.
      threads: threads that share the simulations of one call; default, the processors this process may use.
        The results do not depend on it.
    """
    host = _host_of(task, model, available_cores() if threads is None else threads)
    blank, end_of_qpos = bits.to_words(host.blank()), 2 * (1 + model.nq)

    def start(key: Key, wanted: ArrayLike = True) -> tuple[Array, Array]:
        qpos, qvel = task.noise(key, jnp.asarray(model.qpos0, float_dtype()), model.nv)
        words = jnp.asarray(blank).at[2:end_of_qpos].set(bits.widen(qpos))  # the first number is the time
        words = words.at[end_of_qpos : end_of_qpos + 2 * model.nv].set(bits.widen(qvel))
        derived = {}
        if task.memory is not None:
            derived[MEMORY] = task.memory.start(jax.random.fold_in(key, 1), qpos)
            words = words.at[-2 * task.memory.size :].set(bits.widen(derived[MEMORY]))
        if task.observes_derived:
            shapes = (_shape((host.obs_dim,)),)
            return words, _on_host(host.observe, f"{host.name}:observe", shapes)(words, jnp.asarray(wanted, bool))[0]
        return words, cast(Array, task.observe(Frame(qpos, qvel, derived)))

    def advance(key: Key, words: Array, obs: Array, action: Array) -> tuple[Array, Array, Array, Array]:
        del key
        shapes = (_shape(words.shape, jnp.uint32), _shape(obs.shape), _shape(()), _shape((), jnp.bool_))
        return _on_host(host.step, f"{host.name}:step", shapes)(words, action)

    return start, advance


def _shape(shape: tuple[int, ...], dtype: DTypeLike | None = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, float_dtype() if dtype is None else dtype)


def _on_host(
    run: Callable[..., tuple[np.ndarray, ...]], name: str, shapes: tuple[jax.ShapeDtypeStruct, ...]
) -> Callable[..., PyTree]:
    """`run` as a pure JAX function, on whatever platform its program is compiled for.

    On the CPU it works on XLA's buffers in place. `jax.pure_callback` would first put its arguments on the device, on
    the thread pool that the running program occupies: with several virtual devices and arguments of about a megabyte
    it waits for itself for ever. Elsewhere it is the way from the device to the host and back.
    """
    in_place = partial(host_call.call, host_call.publish(run, name), shapes)
    types = [shape.dtype for shape in shapes]

    def cast(*args: ArrayLike) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(value, dtype) for value, dtype in zip(run(*args), types, strict=True))

    def fetched(*args: Array) -> PyTree:
        return jax.pure_callback(cast, shapes, *args, vmap_method="broadcast_all")

    return partial(jax.lax.platform_dependent, cpu=in_place, default=fetched)


_hosts: dict[tuple[Task, str, int], _Host] = {}


def _host_of(task: Task, model: mujoco.MjModel, threads: int) -> _Host:
    """The host of a task and a model: one, with its simulations, however often the environment is made."""
    model = copy.deepcopy(model)
    # A diverged simulation must stay so and be seen; by default MuJoCo would silently start it anew.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    saved = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, saved)
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(task))  # the same in every process, so that they share programs
    name = f"{task.model}:{hashlib.sha256(saved.tobytes() + text.encode()).hexdigest()[:16]}"
    key = (task, name, threads)
    if key not in _hosts:
        _hosts[key] = _Host(task, model, threads, name)
    return _hosts[key]


class _Host:
    """What runs on the host, in NumPy and float64, for any leading axes of its arguments."""

    def __init__(self, task: Task, model: mujoco.MjModel, threads: int, name: str):
        self.name = name
        self._task, self._model = task, model
        self._dt = model.opt.timestep * task.frame_skip
        self._size = mujoco.mj_stateSize(model, STATE)
        self._shapes = {spec: _field_shape(model, spec) for spec in task.carried}
        if task.memory is not None:
            self._shapes[MEMORY] = (task.memory.size,)
        self._pool = Pool(model, ("qpos", "qvel", "ctrl", *task.derived), threads)
        with self._pool.take(1) as simulations:
            self.obs_dim = task.observe(self._frame(simulations, self._remembered(self.blank()[None]))).shape[-1]

    def blank(self) -> np.ndarray:
        """The numbers of a state at time 0 in the model's own posture; carried fields follow as zeros."""
        row = np.empty(self._size)
        mujoco.mj_getState(self._model, mujoco.MjData(self._model), row, STATE)
        return np.concatenate([row, np.zeros(sum(int(np.prod(shape)) for shape in self._shapes.values()))])

    def observe(self, words: ArrayLike, wanted: ArrayLike) -> tuple[np.ndarray]:
        """Observations of states at time 0; zeros where they are not wanted, which costs nothing."""
        words = np.asarray(words)
        rows = bits.from_words(words).reshape(-1, words.shape[-1] // 2)
        obs, ids = np.zeros((len(rows), self.obs_dim)), np.flatnonzero(wanted)
        if len(ids):
            with self._pool.take(len(rows)) as simulations:
                simulations.state[ids] = rows[ids, : self._size]
                simulations.forward(ids)
                obs[ids] = self._task.observe(self._frame(simulations, self._remembered(rows[ids]), ids))
        return (obs.reshape(*words.shape[:-1], -1),)

    def step(self, words: ArrayLike, action: ArrayLike) -> tuple[np.ndarray, ...]:
        """Words `[..., 2 n]` and actions `[..., nu]` in; words, observation, reward and termination out."""
        task, words, action = self._task, np.asarray(words), np.asarray(action)
        rows = bits.from_words(words).reshape(-1, words.shape[-1] // 2)
        action = action.reshape(len(rows), -1).astype(np.float64)
        with self._pool.take(len(rows)) as simulations:
            before = self._load(simulations, rows)
            control = action if task.control is None else task.control(before, action, self._dt)
            simulations.step(np.asarray(control), task.frame_skip)
            after = self._frame(simulations, self._remembered(rows))
            if task.memory is not None:
                memory = task.memory.step(before, action, after, self._dt)
                after = after._replace(derived={**after.derived, MEMORY: memory})
            carried = [np.asarray(after.derived[spec]).reshape(len(rows), -1) for spec in self._shapes]
            rows = np.concatenate([simulations.state, *carried], axis=-1)
        with np.errstate(invalid="ignore", over="ignore"):
            reward = np.where(_sound(after), task.reward(before, action, after, self._dt), np.nan)
            results = (bits.to_words(rows), task.observe(after), reward, task.terminated(after))
        return tuple(np.asarray(value).reshape(words.shape[:-1] + value.shape[1:]) for value in results)

    def _load(self, simulations: Simulations, rows: np.ndarray) -> Frame:
        """Put states into simulations. Those at time 0 are brought to where Gymnasium's reset leaves them."""
        simulations.state[:] = rows[:, : self._size]
        stored, at = {}, self._size
        for spec, shape in self._shapes.items():
            stored[spec] = rows[:, at : at + int(np.prod(shape))].reshape(-1, *shape).copy()
            at += int(np.prod(shape))
        fresh = np.flatnonzero(rows[:, 0] == 0.0)
        if len(fresh):
            simulations.forward(fresh)
            for spec in stored.keys() - {MEMORY}:
                stored[spec][fresh] = simulations.read(spec)[fresh]
        nq, nv = self._model.nq, self._model.nv
        return Frame(rows[:, 1 : 1 + nq], rows[:, 1 + nq : 1 + nq + nv], stored)

    def _remembered(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The task's memory in states, if it has any."""
        return {} if self._task.memory is None else {MEMORY: rows[:, -self._task.memory.size :]}

    def _frame(
        self, simulations: Simulations, memory: dict[str, np.ndarray], ids: np.ndarray | slice = slice(None)
    ) -> Frame:
        fields = {spec: simulations.read(spec)[ids] for spec in self._task.derived}
        return Frame(simulations.read("qpos")[ids], simulations.read("qvel")[ids], {**fields, **memory})


def _field_shape(model: mujoco.MjModel, spec: str) -> tuple[int, ...]:
    field, row = locate(model, spec)
    shape = getattr(mujoco.MjData(model), field).shape
    return shape if row is None else shape[1:]


def _sound(frame: Frame) -> np.ndarray:
    """Whether each simulation has kept to numbers that MuJoCo considers sane."""
    return (np.abs(frame.qpos) < HUGE).all(axis=-1) & (np.abs(frame.qvel) < HUGE).all(axis=-1)
