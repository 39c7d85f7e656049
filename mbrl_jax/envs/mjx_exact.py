# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""MJX's physics step with the two things that made it differ from C MuJoCo put right.

1. Runge-Kutta with free or ball joints. C MuJoCo integrates rotations in the Lie algebra (Runge-Kutta-Munthe-Kaas): a
   stage's angular velocity w, measured in the frame that the stage has been rotated into by u, counts as
   `w + u x w / 2 + u x (u x w) / 12`. MJX leaves the correction out, which costs 1e-7 to 1e-6 per step.
2. The tangents of a contact between a plane and a capsule. Both engines lay the first tangent along the capsule, but
   MJX gives that up for a world axis where the capsule stands steeper than 60 degrees on the plane. With a pyramidal
   friction cone, other tangents are other forces: up to 0.4 in a joint's velocity after one step of Ant.

A solver can be given in place of MJX's own, see `mjx_solver`. Everything else is MJX's. The functions used from it have
no public names; they are those of mujoco-mjx 3.17.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.quiet_mjx import collision_driver, collision_primitive, forward, mjx, scan
from mbrl_jax.types import PyTree

__all__ = ["Solve", "make_step"]

Solve = Callable[[mjx.Model, mjx.Data], mjx.Data]

_STAGES = np.array([(0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)])
"""The second, third and fourth stage of the classic Runge-Kutta scheme: (time within the step, weight)."""
_PAIR = (mjx.GeomType.PLANE, mjx.GeomType.CAPSULE)


def make_step(model: mujoco.MjModel, solve: Solve | None = None) -> Solve:
    """`step(device_model, data) -> data`, one physics step as C MuJoCo's `mj_step` does it.

    Args:
      solve: finds accelerations and forces of the constraints; MJX's own solver if None.
    """
    # Where the angular velocity of a joint starts, behind the first degree of freedom of the joint.
    behind = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    joints = zip(model.jnt_type.tolist(), model.jnt_dofadr.tolist(), strict=True)
    turning = [address + behind[kind] for kind, address in joints if kind in behind]
    runge_kutta = int(model.opt.integrator) == int(mujoco.mjtIntegrator.mjINT_RK4)

    def step(device_model: mjx.Model, data: mjx.Data) -> mjx.Data:
        with _true_tangents(), _solving(solve):
            if runge_kutta:
                after = _runge_kutta(device_model, mjx.forward(device_model, data), turning)
            else:
                after = mjx.step(device_model, data)
        # MJX turns some indices of tendons into int64 in 64-bit mode; a loop needs types that stay.
        return jax.tree.map(lambda new, old: jnp.asarray(new).astype(jnp.asarray(old).dtype), after, data)

    return step


def _runge_kutta(model: mjx.Model, start: mjx.Data, turning: list[int]) -> mjx.Data:
    """One step from forwarded data; `turning` holds the addresses of angular velocities with three entries."""
    h = model.opt.timestep

    def integrate(velocity: Array) -> Array:
        def one(kinds: Sequence[int], qpos: Array, qvel: Array) -> Array:
            return forward._integrate_pos(kinds, qpos, qvel, dt=h)

        return scan.flat(model, one, "jqv", "q", model.jnt_type, start.qpos, velocity)

    def stage(carry: tuple[PyTree, ...], part: Array) -> tuple[tuple[PyTree, ...], None]:
        data, rate, velocity, acceleration, change = carry
        fraction, weight = part
        turn = fraction * rate
        qvel = start.qvel + h * fraction * data.qacc
        act = start.act + h * fraction * data.act_dot
        data = data.replace(qpos=integrate(turn), qvel=qvel, act=act, time=start.time + h * fraction)
        data = mjx.forward(model, data)
        rate = _pulled_back(qvel, h * turn, turning)
        sums = (velocity + weight * rate, acceleration + weight * data.qacc, change + weight * data.act_dot)
        return (data, rate, *sums), None

    first = (start.qvel / 6, start.qacc / 6, start.act_dot / 6)
    parts = jnp.asarray(_STAGES, start.qvel.dtype)
    (data, _, velocity, acceleration, change), _ = jax.lax.scan(stage, (start, start.qvel, *first), parts)
    data = data.replace(qpos=start.qpos, qvel=start.qvel, act=start.act, time=start.time)
    return forward._advance(model, data, change, acceleration, velocity)


def _pulled_back(qvel: Array, turned: Array, turning: list[int]) -> Array:
    """Angular velocities as rates of the rotation vector, after a turn by `turned`; other entries unchanged."""
    for at in turning:
        u, w = turned[at : at + 3], qvel[at : at + 3]
        across = jnp.cross(u, w)
        qvel = qvel.at[at : at + 3].set(w + across / 2 + jnp.cross(u, across) / 12)
    return qvel


def _plane_capsule(model: mjx.Model, data: mjx.Data, key: PyTree, geom: Array) -> tuple[Array, Array, Array]:
    """MJX's two contacts of each pair, with the first tangent along the capsule, however steep it stands."""
    dist, pos, _ = collision_primitive.plane_capsule(model, data, key, geom)  # pyright: ignore[reportCallIssue]
    plane, capsule = geom.T
    normal, axis = data.geom_xmat[plane][..., 2], data.geom_xmat[capsule][..., 2]
    along = axis - normal * (normal * axis).sum(axis=-1, keepdims=True)
    length = jnp.sqrt((along**2).sum(axis=-1, keepdims=True))
    along = jnp.where(length > 1e-8, along / jnp.maximum(length, 1e-8), jnp.asarray([0.0, 1.0, 0.0], axis.dtype))
    frame = jnp.stack([normal, along, jnp.cross(normal, along)], axis=-2)
    return dist, pos, jnp.repeat(frame, 2, axis=0)


_plane_capsule.ncon = 2  # pyright: ignore[reportFunctionMemberAccess]


@contextmanager
def _true_tangents() -> Iterator[None]:
    """MJX finds its collision functions in a table; ours stands in it while a step is traced."""
    table = collision_driver._COLLISION_FUNC
    original = table[_PAIR]
    table[_PAIR] = _plane_capsule
    try:
        yield
    finally:
        table[_PAIR] = original


@contextmanager
def _solving(solve: Solve | None) -> Iterator[None]:
    """MJX finds its solver in a module; the one given stands there while a step is traced."""
    original = forward.solver.solve
    forward.solver.solve = solve or original
    try:
        yield
    finally:
        forward.solver.solve = original
