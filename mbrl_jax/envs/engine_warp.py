# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""MuJoCo Warp as the engine of the same tasks: CUDA kernels of its own, a physics step launched as one graph.

It is MJX's other implementation, behind the same data. Single precision; made for NVIDIA GPUs, and compiled for a CPU
where there is none, for tests. It has no contact forces on bodies, which some tasks observe.
"""

from __future__ import annotations

import copy
import functools

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array

from mbrl_jax.envs import engine_mjx
from mbrl_jax.envs.base import Advance, Start, float_dtype
from mbrl_jax.envs.engine_mjx import Physics, as_mjx_is_written, per_precision
from mbrl_jax.envs.mujoco_tasks import Task
from mbrl_jax.envs.quiet_mjx import mjx
from mbrl_jax.host import package

__all__ = ["ENVIRONMENTS", "make"]

ENVIRONMENTS = 4096
"""Environments whose contacts there is room for, if nothing else is stated."""
LOST = 0b1111
"""Bits of Warp's word on overflows that mean lost contacts or constraints; others mean an unmet tolerance."""
WARNINGS = 30  # of Warp's levels of what it says


def make(
    task: Task,
    model: mujoco.MjModel,
    *,
    environments: int = ENVIRONMENTS,
    iterations: int | None = None,
    ls_iterations: int | None = None,
) -> tuple[Start, Advance]:
    """Start and transition functions of a task on MuJoCo Warp.

    Args:
      task: the task.
      model: its compiled model, which is not modified.
      environments: how many at most are stepped together, over all seeds of a device. Warp keeps the contacts of all in
        one list of that many times what one can have; where that is too short it prints so, and the steps of all are
        failures (`EnvState.failures`).
      iterations: the most Newton iterations of the constraint solver, which ends where its tolerance is met; default,
        the model's own.
      ls_iterations: the most steps of the line search per iteration; default, the model's own.

    Raises:
      MissingPackageError: the package warp-lang is not installed.
    """
    warp = package("warp", "the engine warp", "warp")
    warp.config.log_level = max(warp.config.log_level, WARNINGS)  # it names every kernel that it loads
    from mbrl_jax.envs import warp_exact

    warp_exact.install()
    return engine_mjx.functions(
        task, model, physics_of(model, task.frame_skip, task.solver, environments, iterations, ls_iterations)
    )


@functools.cache
def physics_of(
    model: mujoco.MjModel,
    frame_skip: int,
    resets: int,
    environments: int,
    iterations: int | None,
    ls_iterations: int | None,
) -> Physics:
    """One per model; `resets` are the solver's iterations of MJX's implementation in JAX, which resets stay on."""
    in_jax = engine_mjx.physics_of(model, frame_skip, resets, None)
    model = copy.deepcopy(model)
    model.opt.iterations = iterations or model.opt.iterations
    model.opt.ls_iterations = ls_iterations or model.opt.ls_iterations
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON  # it has no PGS, which Gym's humanoid asks for
    room = mjx.make_data(model, impl="jax")._impl  # what the model can have at most
    most = max(1, int(room.ncon) * environments)
    device_model = per_precision(lambda: mjx.put_model(model, impl="warp"))
    blank = per_precision(lambda: mjx.make_data(model, impl="warp", naconmax=most, njmax=max(1, int(room.nefc))))

    def one(_: Array, data: mjx.Data) -> mjx.Data:
        data = mjx.step(device_model(), data)
        fits = (data._impl.overflow & LOST) == 0
        return data.replace(qpos=jnp.where(fits, data.qpos, jnp.nan))

    def step(qpos: Array, qvel: Array, warmstart: Array, action: Array) -> mjx.Data:
        single = {"qpos": qpos, "qvel": qvel, "qacc_warmstart": warmstart, "ctrl": action}
        data = blank().replace(**{name: value.astype(jnp.float32) for name, value in single.items()})
        with as_mjx_is_written():
            data = jax.lax.fori_loop(0, frame_skip, one, data)
        wide = {name: getattr(data, name).astype(float_dtype()) for name in ("qpos", "qvel", "qacc_warmstart")}
        return data.replace(**wide)

    return Physics(in_jax.kinematics, jax.jit(step))
