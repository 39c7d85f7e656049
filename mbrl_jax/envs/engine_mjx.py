# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""MuJoCo XLA as the engine of the same tasks: physics that never leaves the device."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array

from mbrl_jax.envs import mjx_solver
from mbrl_jax.envs.base import Advance, Start, float_dtype
from mbrl_jax.envs.mjx_exact import make_step
from mbrl_jax.envs.mujoco_tasks import MEMORY, Frame, Task, locate
from mbrl_jax.envs.quiet_mjx import mjx, smooth
from mbrl_jax.promotions import promoting
from mbrl_jax.types import Key

__all__ = ["Bodies", "make"]

T = TypeVar("T")


class Bodies(NamedTuple):
    """State between environment steps.

    Attributes:
      qpos: positions `[nq]`, in metres and radians, of free and ball joints quaternions.
      qvel: velocities `[nv]`, per second.
      warmstart: where the solver starts, accelerations `[nv]`.
      derived: carried fields of `mjx.Data` by name, each `[...]`, for one environment.
    """

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
        never met, so a larger bound only costs time. A single one starts where no constraint acts instead of at the
        last solution, and is then exact for one constraint.
      ls_iterations: steps of MJX's own line search per iteration; by default its direction is followed to the exact
        minimum, see `mjx_solver`.

    Raises:
      ValueError: the model has no exact line search, and `ls_iterations` is not stated.
    """
    return functions(task, model, physics_of(model, task.frame_skip, iterations or task.solver, ls_iterations))


class Physics(NamedTuple):
    """Functions of a model; both return MJX's whole data, of which a larger program keeps what it uses.

    Attributes:
      kinematics: `kinematics(qpos, qvel)`: positions and velocities of all bodies; contact and actuator forces stay
        zero, as after Gymnasium's reset.
      step: `step(qpos, qvel, warmstart, action)`: the physics steps of one environment step.
    """

    kinematics: Callable[..., mjx.Data]
    step: Callable[..., mjx.Data]


def functions(task: Task, model: mujoco.MjModel, physics: Physics) -> tuple[Start, Advance]:
    """Start and transition functions of a task on some physics of MJX's data; `model` is not modified."""
    carries = task.carried if task.memory is None else (*task.carried, MEMORY)
    dt = model.opt.timestep * task.frame_skip

    def start(key: Key) -> tuple[Bodies, Array]:
        qpos, qvel = task.noise(key, jnp.asarray(model.qpos0, float_dtype()), model.nv)
        derived = {}
        if task.observes_derived or task.carried:
            derived = _fields(model, physics.kinematics(qpos, qvel), task.derived)
        if task.memory is not None:
            derived[MEMORY] = task.memory.start(jax.random.fold_in(key, 1), qpos)
        bodies = Bodies(qpos, qvel, jnp.zeros(model.nv, float_dtype()), {spec: derived[spec] for spec in carries})
        return bodies, cast(Array, task.observe(Frame(qpos, qvel, derived)))

    def advance(key: Key, bodies: Bodies, obs: Array, action: Array) -> tuple[Bodies, Array, Array, Array]:
        del key, obs
        before = Frame(bodies.qpos, bodies.qvel, bodies.derived)
        control = action if task.control is None else cast(Array, task.control(before, action, dt))
        data = physics.step(bodies.qpos, bodies.qvel, bodies.warmstart, control.astype(float_dtype()))
        derived = _fields(model, data, task.derived)
        after = Frame(data.qpos, data.qvel, derived)
        if task.memory is not None:
            derived[MEMORY] = cast(Array, task.memory.step(before, action, after, dt))
        sound = jnp.isfinite(data.qpos).all() & jnp.isfinite(data.qvel).all()
        reward = jnp.where(sound, task.reward(before, action, after, dt), jnp.nan)
        carried = {spec: derived[spec] for spec in carries}
        bodies = Bodies(data.qpos, data.qvel, data.qacc_warmstart, carried)
        return bodies, cast(Array, task.observe(after)), reward, cast(Array, task.terminated(after))

    return start, advance


@functools.cache
def physics_of(model: mujoco.MjModel, frame_skip: int, iterations: int, ls_iterations: int | None) -> Physics:
    """One per model, so that tasks on the same body that are not compiled as a whole share its program."""
    model = copy.deepcopy(model)
    model.opt.iterations, model.opt.ls_iterations = iterations, ls_iterations or model.opt.ls_iterations
    if iterations == 1:
        # A constraint that acts there acts at the solution too, and all the way to it the cost is a parabola.
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON  # MJX has no PGS, which Gym's humanoid asks for
    # By itself MJX asks which platform is there, which need not be the one that the program is for.
    model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    device_model = per_precision(lambda: mjx.put_model(model, impl="jax"))
    blank = per_precision(lambda: mjx.make_data(model, impl="jax"))
    if ls_iterations is None:
        mjx_solver.check_model(model)
    one = make_step(model, mjx_solver.solve(iterations, iterations > 1) if ls_iterations is None else None)

    def kinematics(qpos: Array, qvel: Array) -> mjx.Data:
        with as_mjx_is_written():
            data = mjx.kinematics(device_model(), blank().replace(qpos=qpos, qvel=qvel))
            return mjx.com_vel(device_model(), mjx.com_pos(device_model(), data))

    def step(qpos: Array, qvel: Array, warmstart: Array, action: Array) -> mjx.Data:
        data = blank().replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=action)
        with as_mjx_is_written():
            data = jax.lax.fori_loop(0, frame_skip, lambda _, d: one(device_model(), d), data)
            return smooth.rne_postconstraint(device_model(), data)  # contact forces on bodies, for tasks that ask

    return Physics(jax.jit(kinematics), jax.jit(step))


@contextlib.contextmanager
def as_mjx_is_written() -> Iterator[None]:
    """Products in full precision, and JAX's own promotions of types and axes, whatever the caller has set."""
    with jax.default_matmul_precision("highest"), promoting():
        yield


def _fields(model: mujoco.MjModel, data: mjx.Data, specs: tuple[str, ...]) -> dict[str, Array]:
    found = {}
    for spec in specs:
        field, row = locate(model, spec)
        values = getattr(data._impl if hasattr(data._impl, field) else data, field)
        found[spec] = (values if row is None else values[row]).astype(float_dtype())
    return found


def per_precision(build: Callable[[], T]) -> Callable[[], T]:
    """Build once per precision of JAX, at first use: the arrays' types follow the mode they are made in."""

    @functools.lru_cache
    def built(x64: bool) -> T:
        del x64
        with jax.ensure_compile_time_eval():
            return build()

    return lambda: built(float_dtype() == jnp.float64)
