"""Gym's MuJoCo tasks as data: what is observed, what is rewarded, what ends an episode, for any physics engine.

The functions take `Frame`s with any leading axes, of NumPy or JAX arrays alike: the C engine calls them with float64
on the host, MJX on the device. The definitions are those of Gym's `envs/mujoco/*_v4.py` (equal to -v2 for these
tasks); the MJCF models come from the installed `gymnasium` package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import namespace
from mbrl_jax.types import Key

__all__ = ["TASKS", "Frame", "Task"]


class Frame(NamedTuple):
    """What an engine tells a task about the bodies: positions, velocities and the derived fields it asked for."""

    qpos: Any
    qvel: Any
    derived: dict[str, Any]


Observe = Callable[[Frame], Any]
Noise = Callable[[Key, int, int, np.dtype], tuple[Array, Array]]
"""`noise(key, nq, nv, dtype) -> (qpos offset [nq], qvel offset [nv])` of a reset."""


def _no_cost(action: Any) -> Any:
    return 0.0 * action[..., 0]


def _never(obs: Any) -> Any:
    return namespace(obs).zeros(obs.shape[:-1], bool)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Attributes:
      model: file name of the MJCF model.
      frame_skip: physics steps per environment step.
      observe: observation of a frame.
      reward: `reward(before, action, after, dt) -> [...]`.
      terminated: `terminated(after) -> bool [...]`.
      noise: offsets of a reset from the model's initial position and velocity.
      derived: fields of `MjData` besides positions and velocities that the functions read.
      time_limit: steps until an episode is truncated.
      obs_reward: the reward as a function of (obs, action, next_obs), where it is one.
      obs_terminal: the termination as a function of next_obs, where it is one.
      gym: Gymnasium's id of the same task followed by (option, value) pairs; empty where it has none.
      camera: arguments of the camera that Gym renders the task with.
    """

    model: str
    frame_skip: int
    observe: Observe
    reward: Callable[[Frame, Any, Frame, float], Any]
    terminated: Callable[[Frame], Any]
    noise: Noise
    derived: tuple[str, ...] = ()
    time_limit: int = 1000
    obs_reward: Callable[[Any, Any, Any], Any] | None = None
    obs_terminal: Callable[[Any], Any] | None = None
    gym: tuple[Any, ...] = ()
    camera: dict[str, Any] = field(default_factory=dict, hash=False)


def _uniform(scale: float) -> Noise:
    def noise(key: Key, nq: int, nv: int, dtype: np.dtype) -> tuple[Array, Array]:
        offset = jax.random.uniform(key, (nq + nv,), dtype, -scale, scale)
        return offset[:nq], offset[nq:]

    return noise


def _uniform_normal(scale: float) -> Noise:
    def noise(key: Key, nq: int, nv: int, dtype: np.dtype) -> tuple[Array, Array]:
        k_qpos, k_qvel = jax.random.split(key)
        qpos = jax.random.uniform(k_qpos, (nq,), dtype, -scale, scale)
        return qpos, scale * jax.random.normal(k_qvel, (nv,), dtype)

    return noise


def _posture(hidden: int, clip: float = np.inf) -> Observe:
    """All positions but the first `hidden`, which the dynamics do not depend on, then all velocities, clipped."""

    def observe(frame: Frame) -> Any:
        xp = namespace(frame.qpos)
        qvel = xp.clip(frame.qvel, -clip, clip) if np.isfinite(clip) else frame.qvel
        return xp.concatenate([frame.qpos[..., hidden:], qvel], axis=-1)

    return observe


def _run(control_weight: float, healthy: float = 0.0) -> Callable[[Frame, Any, Frame, float], Any]:
    """Forward speed of the root, plus a constant, minus the weighted square of the action."""

    def reward(before: Frame, action: Any, after: Frame, dt: float) -> Any:
        speed = (after.qpos[..., 0] - before.qpos[..., 0]) / dt
        return speed + healthy - control_weight * (action**2).sum(axis=-1)

    return reward


def _hopper_fell(height: Any, angle: Any, rest: Any) -> Any:
    """Gym's healthy ranges: z > 0.7, |angle| < 0.2, and every entry of the state from the angle on within ±100."""
    xp = namespace(rest)
    healthy = (abs(rest) < 100.0).all(axis=-1) & (height > 0.7) & (abs(angle) < 0.2)
    return xp.logical_not(healthy)


def _hopper_terminated(frame: Frame) -> Any:
    xp = namespace(frame.qpos)
    rest = xp.concatenate([frame.qpos[..., 2:], frame.qvel], axis=-1)
    return _hopper_fell(frame.qpos[..., 1], frame.qpos[..., 2], rest)


def _tipped(angle: Any) -> Any:
    return namespace(angle).logical_not(abs(angle) <= 0.2)


HALF_CHEETAH = Task(
    model="half_cheetah.xml",
    gym=("HalfCheetah-v4",),
    frame_skip=5,
    observe=_posture(hidden=1),
    reward=_run(control_weight=0.1),
    terminated=lambda frame: _never(frame.qpos),
    noise=_uniform_normal(0.1),
    obs_terminal=_never,
    camera={"distance": 4.0},
)
HOPPER = Task(
    model="hopper.xml",
    gym=("Hopper-v4",),
    frame_skip=4,
    observe=_posture(hidden=1, clip=10.0),
    reward=_run(control_weight=1e-3, healthy=1.0),
    terminated=_hopper_terminated,
    noise=_uniform(5e-3),
    obs_terminal=lambda obs: _hopper_fell(obs[..., 0], obs[..., 1], obs[..., 1:]),
    camera={"trackbodyid": 2, "distance": 3.0, "lookat": (0.0, 0.0, 1.15), "elevation": -20.0},
)
INVERTED_PENDULUM = Task(
    model="inverted_pendulum.xml",
    gym=("InvertedPendulum-v4",),
    frame_skip=2,
    observe=_posture(hidden=0),
    reward=lambda before, action, after, dt: 1.0 + _no_cost(action),
    terminated=lambda frame: _tipped(frame.qpos[..., 1]),
    noise=_uniform(0.01),
    obs_reward=lambda obs, action, next_obs: 1.0 + _no_cost(obs),
    obs_terminal=lambda obs: _tipped(obs[..., 1]),
    camera={"trackbodyid": 0, "distance": 2.04},
)

TASKS: dict[str, Task] = {
    "half_cheetah-v4": HALF_CHEETAH,
    "hopper-v4": HOPPER,
    "inverted_pendulum-v4": INVERTED_PENDULUM,
}
