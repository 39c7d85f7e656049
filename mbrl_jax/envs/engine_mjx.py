# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""MuJoCo XLA as the engine of the same tasks: physics that never leaves the device."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array

from mbrl_jax.envs.base import Advance, Start, float_dtype
from mbrl_jax.envs.mjx_exact import make_step
from mbrl_jax.envs.mujoco_tasks import Frame, Task, locate
from mbrl_jax.types import Key

with contextlib.redirect_stdout(io.StringIO()):  # it prints that the optional package warp is not there
    from mujoco import mjx
    from mujoco.mjx._src import smooth  # rne_postconstraint has no public name

__all__ = ["Bodies", "make"]


class Bodies(NamedTuple):
    """State between environment steps: MuJoCo's positions, velocities, solver warm start, and carried fields."""

    qpos: Array
    qvel: Array
    warmstart: Array
    derived: dict[str, Array]


def make(
    task: Task, model: mujoco.MjModel, *, iterations: int | None = None, ls_iterations: int | None = None
) -> tuple[Start, Advance]:
    """Start and transition functions of a task on MJX's JAX implementation.

    Args:
      task: the task.
      model: its compiled model, which is not modified.
      iterations: Newton iterations of the constraint solver; default, `task.solver`. In float32 its tolerance is
        never met, so a larger bound only costs time.
      ls_iterations: line-search steps per iteration; default, `task.solver`.
    """
    model = copy.deepcopy(model)
    model.opt.iterations = task.solver[0] if iterations is None else iterations
    model.opt.ls_iterations = task.solver[1] if ls_iterations is None else ls_iterations
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON  # MJX has no PGS, which Gym's humanoid asks for
    device_model = _per_precision(lambda: mjx.put_model(model, impl="jax"))
    blank = _per_precision(lambda: mjx.make_data(model, impl="jax"))
    dt, step = model.opt.timestep * task.frame_skip, make_step(model)
    fields = functools.partial(_fields, model)

    def start(key: Key) -> tuple[Bodies, Array]:
        qpos, qvel = task.noise(key, jnp.asarray(model.qpos0, float_dtype()), model.nv)
        derived = {}
        if task.observes_derived or task.carried:
            with jax.default_matmul_precision("highest"):
                data = _kinematics(device_model(), blank().replace(qpos=qpos, qvel=qvel))
            derived = fields(data, task.derived)
        carried = {spec: derived[spec] for spec in task.carried}
        bodies = Bodies(qpos, qvel, jnp.zeros(model.nv, float_dtype()), carried)
        return bodies, task.observe(Frame(qpos, qvel, derived))

    def advance(key: Key, bodies: Bodies, obs: Array, action: Array) -> tuple[Bodies, Array, Array, Array]:
        del key, obs
        qpos, qvel, warmstart, carried = bodies
        data = blank().replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=action.astype(float_dtype()))
        with jax.default_matmul_precision("highest"):
            data = jax.lax.fori_loop(0, task.frame_skip, lambda _, d: step(device_model(), d), data)
            if "cfrc_ext" in task.derived:
                data = smooth.rne_postconstraint(device_model(), data)
        after = Frame(data.qpos, data.qvel, fields(data, task.derived))
        sound = jnp.isfinite(data.qpos).all() & jnp.isfinite(data.qvel).all()
        reward = jnp.where(sound, task.reward(Frame(qpos, qvel, carried), action, after, dt), jnp.nan)
        carried = {spec: after.derived[spec] for spec in task.carried}
        bodies = Bodies(data.qpos, data.qvel, data.qacc_warmstart, carried)
        return bodies, task.observe(after), reward, task.terminated(after)

    return start, advance


def _kinematics(model: Any, data: Any) -> Any:
    """Positions and velocities of all bodies; contact and actuator forces stay zero, as after Gymnasium's reset."""
    return mjx.com_vel(model, mjx.com_pos(model, mjx.kinematics(model, data)))


def _fields(model: mujoco.MjModel, data: Any, specs: tuple[str, ...]) -> dict[str, Array]:
    found = {}
    for spec in specs:
        field, row = locate(model, spec)
        values = getattr(data, field) if hasattr(data, field) else getattr(data._impl, field)
        found[spec] = (values if row is None else values[row]).astype(float_dtype())
    return found


def _per_precision(build: Callable[[], Any]) -> Callable[[], Any]:
    """Build once per precision of JAX, at first use: the arrays' types follow the mode they are made in."""

    @functools.lru_cache
    def built(x64: bool) -> Any:
        del x64
        with jax.ensure_compile_time_eval():
            return build()

    return lambda: built(float_dtype() == jnp.float64)
