"""What a MuJoCo task is, and the parts its definition is put together from, for any physics engine.

The functions take `Frame`s with any leading axes, of NumPy or JAX arrays alike: the C engine calls them with float64
on the host, MJX on the device. The tasks themselves are in `mujoco_table`.

Observation: `posture` is the positions but for those that leave a task the same wherever it is, then the velocities:
metres and m/s of slides and free joints, radians and rad/s of hinges; a free joint's rotation is a unit quaternion.
What tasks add: places and distances in metres, sines and cosines, contact forces in N and N m, forces of joints in N or
N m, inertias in kg, kg m and kg m². Reacher and pusher show angles of joints, their speeds, and places.

Action: the motors' controls, without a unit; times a motor's gear they are forces in N of slides, torques in N m of
hinges. Rewards add numbers of different units, as their sources do: they have a unit of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import namespace
from mbrl_jax.types import Key, Values

__all__ = [
    "MEMORY",
    "Frame",
    "Memory",
    "Task",
    "in_disc",
    "in_square",
    "locate",
    "never",
    "out_of",
    "outside",
    "posture",
    "push",
    "run",
    "uniform",
    "uniform_normal",
    "unless",
]

MEMORY = "memory"
"""Name, among a frame's derived fields, of what `Task.memory` holds."""


class Frame(NamedTuple):
    """What an engine tells a task about the bodies, with any leading axes.

    Attributes:
      qpos: positions `[..., nq]`, in metres and radians, of free and ball joints quaternions.
      qvel: velocities `[..., nv]`, per second.
      derived: the fields of `MjData` that the task asked for, by name, each `[..., *shape]`.
    """

    qpos: Values
    qvel: Values
    derived: Mapping[str, Values]


Observe = Callable[[Frame], Values]
Reward = Callable[[Frame, Values, Frame, float], Values]
Fell = Callable[[Frame], Values]
Camera = Mapping[str, float | tuple[float, ...]]
Noise = Callable[[Key, Array, int], tuple[Array, Array]]
"""`noise(key, qpos0 [nq], nv) -> (qpos [nq], qvel [nv])`, the state of a reset."""
Control = Callable[[Frame, Values, float], Values]
Scores = Callable[[Values], Mapping[str, Values]]


class Memory(NamedTuple):
    """Numbers that a task keeps beside the bodies: a target, the last action, a sensor's mean over a step.

    Attributes:
      size: how many.
      start: `start(key, qpos [nq]) -> [size]` at a reset to these positions; its key is `fold_in(key, 1)` of the key
        that `Task.noise` was given.
      step: `step(before, action, after, dt) -> [..., size]`; the earlier frame holds the memory as it was.
    """

    size: int
    start: Callable[[Key, Array], Array]
    step: Callable[[Frame, Values, Frame, float], Values]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task.

    Args:
      obs_reward: `obs_reward(obs [..., O], action [..., A], next_obs [..., O]) -> [...]`, the reward where it is a
        function of these.
      obs_terminal: `obs_terminal(next_obs [..., O]) -> bool [...]`, the termination where it is a function of this.

    Attributes:
      model: file name of the MJCF model.
      frame_skip: physics steps per environment step.
      observe: observation of a frame.
      reward: `reward(before, action, after, dt) -> [...]`.
      terminated: `terminated(after) -> bool [...]`.
      noise: the random state of a reset.
      derived: fields of `MjData` besides positions and velocities that the functions read after a step: `field` or
        `field:object`, such as `xpos:torso`. As in Gymnasium they are what the last physics step computed.
      carried: those of them that the reward also reads before the step.
      observes_derived: whether the observation reads derived fields, so that a reset has to compute them.
      memory: what the task itself remembers, if anything; frames have it as the derived field `MEMORY`.
      control: `control(before, action, dt) -> [..., nu]`, the actuators' inputs; the action itself if None.
      bounds: least and largest action, the same for each of so many entries; those of the actuators if None.
      solver: Newton iterations that MJX needs to be as accurate as with MuJoCo's own limit (100), which in float32 is
        always used up.
      time_limit: steps until an episode is truncated.
      obs_reward: the reward as a function of (obs, action, next_obs), where it is one.
      obs_terminal: the termination as a function of next_obs, where it is one.
      obs_scores: how well the task is done in next_obs, by name, where it has measures of that.
      gym: Gymnasium's id of the same task followed by (option, value) pairs; empty where it has none.
      camera: settings of the camera for pictures (fields of `MjvCamera`).
      source: where the definition comes from, if not from Gymnasium.
    """

    model: str
    frame_skip: int
    observe: Observe
    reward: Reward
    terminated: Fell
    noise: Noise
    derived: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    observes_derived: bool = False
    memory: Memory | None = None
    control: Control | None = None
    bounds: tuple[float, float, int] | None = None
    solver: int = 4
    time_limit: int = 1000
    obs_reward: Callable[[Values, Values, Values], Values] | None = None
    obs_terminal: Callable[[Values], Values] | None = None
    obs_scores: Scores | None = None
    gym: tuple[Any, ...] = ()
    camera: Camera = field(default_factory=dict, hash=False)
    source: str = "Gymnasium"


def locate(model: Any, spec: str) -> tuple[str, int | None]:
    """Field of `MjData` and row in it (or None for all) of an entry of `Task.derived`."""
    name, _, thing = spec.partition(":")
    if not thing:
        return name, None
    kind = model.site if name.startswith("site") else model.body
    return name, kind(thing).id


def uniform(scale: float) -> Noise:
    """Every position and velocity off by a uniform number within ±`scale`."""

    def noise(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
        nq = qpos0.shape[0]
        offset = jax.random.uniform(key, (nq + nv,), qpos0.dtype, -scale, scale)
        return qpos0 + offset[:nq], offset[nq:]

    return noise


def uniform_normal(scale: float) -> Noise:
    """Positions off by uniform numbers within ±`scale`, velocities normal with that standard deviation."""

    def noise(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
        k_qpos, k_qvel = jax.random.split(key)
        offset = jax.random.uniform(k_qpos, qpos0.shape, qpos0.dtype, -scale, scale)
        return qpos0 + offset, scale * jax.random.normal(k_qvel, (nv,), qpos0.dtype)

    return noise


def in_disc(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
    """Reacher: joints within ±0.1, their speeds within ±0.005, and a resting target uniform in the disc of 0.2.

    Metres, radians, per second: qpos `[nq]` and qvel `[nv]` of the model's `qpos0 [nq]`.
    """
    k_joints, k_speeds, k_radius, k_angle = jax.random.split(key, 4)
    radius = 0.2 * jnp.sqrt(jax.random.uniform(k_radius, (), qpos0.dtype))
    angle = jax.random.uniform(k_angle, (), qpos0.dtype, 0, 2 * jnp.pi)
    return _reach_for(radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)]), k_joints, k_speeds, qpos0, nv)


def in_square(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
    """Reacher before Gym's -v2: as `in_disc`, but with the target uniform in the square of ±0.2.

    Metres, radians, per second: qpos `[nq]` and qvel `[nv]` of the model's `qpos0 [nq]`.
    """
    k_joints, k_speeds, k_target = jax.random.split(key, 3)
    target = jax.random.uniform(k_target, (2,), qpos0.dtype, -0.2, 0.2)
    return _reach_for(target, k_joints, k_speeds, qpos0, nv)


def _reach_for(target: Array, k_joints: Key, k_speeds: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
    joints = qpos0[:2] + jax.random.uniform(k_joints, (2,), qpos0.dtype, -0.1, 0.1)
    speeds = jax.random.uniform(k_speeds, (2,), qpos0.dtype, -0.005, 0.005)
    return jnp.concatenate([joints, target]), jnp.concatenate([speeds, jnp.zeros(nv - 2, qpos0.dtype)])


def push(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
    """Pusher: the object uniform in x (-0.3, 0), y ±0.2 but more than 0.17 from the goal; joint speeds ±0.005.

    Metres, radians, per second: qpos `[nq]` and qvel `[nv]` of the model's `qpos0 [nq]`.
    """
    k_object, k_speeds = jax.random.split(key)
    low, high = jnp.asarray([-0.3, -0.2], qpos0.dtype), jnp.asarray([0.0, 0.2], qpos0.dtype)
    # Rejection with a fixed number of draws: all 32 fail once in 10^13 resets (a draw fails with probability 0.38).
    draws = jax.random.uniform(k_object, (32, 2), qpos0.dtype, low, high)
    place = draws[jnp.argmax(jnp.hypot(draws[:, 0], draws[:, 1]) > 0.17)]
    speeds = jax.random.uniform(k_speeds, (nv - 4,), qpos0.dtype, -0.005, 0.005)
    zeros = jnp.zeros(4, qpos0.dtype)
    return jnp.concatenate([qpos0[:-4], place, zeros[:2]]), jnp.concatenate([speeds, zeros])


def posture(hidden: int, *, clip: float = np.inf, derived: tuple[tuple[str, int], ...] = ()) -> Observe:
    """All positions but the first `hidden`, on which the dynamics do not depend, all velocities, derived fields.

    Velocities are clipped to ±`clip`. Of a derived field the rows from the given one on are taken, flattened.
    """

    def observe(frame: Frame) -> Values:
        xp = namespace(frame.qpos)
        qvel = xp.clip(frame.qvel, -clip, clip) if np.isfinite(clip) else frame.qvel
        lead = frame.qpos.shape[:-1]
        # A field has one axis (a number per degree of freedom) or two (a row per body) behind the leading ones.
        parts = [frame.derived[name][(slice(None),) * len(lead) + (slice(first, None),)] for name, first in derived]
        flat = [xp.reshape(part, (*lead, -1)) for part in parts]
        return xp.concatenate([frame.qpos[..., hidden:], qvel, *flat], axis=-1)

    return observe


def never(obs: Values) -> Values:
    """No termination: False `[...]` for observations `[..., O]`."""
    return namespace(obs).zeros(obs.shape[:-1], bool)


def outside(value: Values, low: float, high: float) -> Values:
    """Whether a value `[...]` is not strictly between two bounds; true of NaN, bool `[...]`."""
    return namespace(value).logical_not((value > low) & (value < high))


def out_of(value: Values, low: float, high: float) -> Values:
    """Whether a value `[...]` is not within two bounds, which count as inside; true of NaN, bool `[...]`."""
    return namespace(value).logical_not((value >= low) & (value <= high))


def unless(fell: Values, bonus: float) -> Values:
    """The bonus `[...]`, and 0 where something fell (bool `[...]`)."""
    return namespace(fell).where(fell, 0.0, bonus)


def run(
    *,
    control: float,
    speed: float = 1.0,
    healthy: float = 0.0,
    fallen: Fell | None = None,
    place: Observe = lambda frame: frame.qpos[..., 0],
    contact: Callable[[Frame], Values | float] = lambda frame: 0.0,
) -> Reward:
    """`speed * (place' - place) / dt + healthy - control * |action|^2 - contact'`.

    `speed` is the reward of a metre per second, `control` of an action's square; `place(frame) -> [...]` is in metres,
    `contact(frame) -> [...]` a cost.

    With `fallen` the healthy reward is withheld on the step that ends the episode (Gymnasium's -v5).
    """

    def reward(before: Frame, action: Values, after: Frame, dt: float) -> Values:
        progress = speed * (place(after) - place(before)) / dt
        bonus = healthy if fallen is None else unless(fallen(after), healthy)
        return progress + bonus - control * (action**2).sum(axis=-1) - contact(after)

    return reward
