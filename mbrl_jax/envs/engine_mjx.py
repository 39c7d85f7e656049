"""MuJoCo XLA as the engine of the same tasks: physics that never leaves the device."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array
from mujoco import mjx

from mbrl_jax.envs.base import Advance, Start, float_dtype
from mbrl_jax.envs.mujoco_tasks import Frame, Task
from mbrl_jax.types import Key

__all__ = ["Bodies", "make"]


class Bodies(NamedTuple):
    """State between environment steps: MuJoCo's positions, velocities, solver warm start, and derived fields."""

    qpos: Array
    qvel: Array
    warmstart: Array
    derived: dict[str, Array]


def make(task: Task, model: mujoco.MjModel, *, iterations: int = 4, ls_iterations: int = 8) -> tuple[Start, Advance]:
    """Start and transition functions of a task on MJX's JAX implementation.

    Args:
      task: the task.
      model: its compiled model, which is not modified.
      iterations: Newton iterations of the constraint solver. In float32 its tolerance is never met, so a larger
        bound only costs time: 4 with 8 line-search steps is as accurate as 100 with 50 and several times faster.
      ls_iterations: line-search steps per iteration.
    """
    model = _tuned(model, iterations, ls_iterations)
    device_model = _per_precision(lambda: mjx.put_model(model, impl="jax"))
    blank = _per_precision(lambda: mjx.make_data(model, impl="jax"))
    dt = model.opt.timestep * task.frame_skip

    def start(key: Key) -> tuple[Bodies, Array]:
        dtype = float_dtype()
        qpos, qvel = task.noise(key, model.nq, model.nv, dtype)
        qpos = qpos + jnp.asarray(model.qpos0, dtype)
        bodies = Bodies(qpos, qvel, jnp.zeros(model.nv, dtype), {})
        return bodies, task.observe(Frame(qpos, qvel, {}))

    def advance(key: Key, bodies: Bodies, obs: Array, action: Array) -> tuple[Bodies, Array, Array, Array]:
        del key, obs
        data = blank().replace(
            qpos=bodies.qpos, qvel=bodies.qvel, qacc_warmstart=bodies.warmstart, ctrl=action.astype(float_dtype())
        )
        with jax.default_matmul_precision("highest"):
            data = jax.lax.fori_loop(0, task.frame_skip, lambda _, d: mjx.step(device_model(), d), data)
        before = Frame(bodies.qpos, bodies.qvel, bodies.derived)
        after = Frame(data.qpos, data.qvel, {})
        sound = jnp.isfinite(data.qpos).all() & jnp.isfinite(data.qvel).all()
        reward = jnp.where(sound, task.reward(before, action, after, dt), jnp.nan)
        bodies = Bodies(data.qpos, data.qvel, data.qacc_warmstart, {})
        return bodies, task.observe(after), reward, task.terminated(after)

    return start, advance


def _tuned(model: mujoco.MjModel, iterations: int, ls_iterations: int) -> mujoco.MjModel:
    model = copy.deepcopy(model)
    model.opt.iterations, model.opt.ls_iterations = iterations, ls_iterations
    return model


def _per_precision(build: Callable[[], Any]) -> Callable[[], Any]:
    """Build once per precision of JAX, at first use: the arrays' types follow the mode they are made in."""

    @functools.lru_cache
    def built(x64: bool) -> Any:
        del x64
        with jax.ensure_compile_time_eval():
            return build()

    return lambda: built(float_dtype() == jnp.float64)
