"""ROBEL's simulated D'Claw tasks (Ahn et al., 2019; `google-research/robel`, `robel/dclaw`): pose, turn, screw.

Observations hold no velocities, rewards do: to the learner the tasks are partially observed. None ever terminates. The
bodies are `claw_model`'s; those of names with `_full` have the contacts of everything with everything.

Observation: pose `[27]`, the joints' angles in radians, the last action, what is left to the target in radians, 9 each.
Turn and screw `[21]`, the joints' 9 angles in radians, cosine and sine of the valve's, the last action 9, what is left
to the target in radians.

Action: `[9]`, targets of the joints' servos as shares of `RANGES`, which are in radians.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import namespace
from mbrl_jax.envs.mujoco_tasks import MEMORY, Frame, Memory, Noise, Task, never
from mbrl_jax.types import Key, Values

__all__ = ["CLAW_TASKS", "RESET_POSE"]

_SOURCE = "ROBEL"
RANGES = (0.48, np.pi / 3, np.pi / 2) * 3
"""Half the range of each joint's target, and what an action of 1 asks for."""
RESET_POSE = (0.0, -np.pi / 3, np.pi / 3) * 3
"""Joint angles at the start of turning and screwing, and what they are pulled back to."""
SPEED = 2 * np.pi / 3
"""The fastest a joint's target may run ahead of the joint, rad/s."""


def _like(values: tuple[float, ...], other: Values) -> Values:
    """Constants in the arrays and the precision of others."""
    return namespace(other).asarray(values, dtype=other.dtype)


def _servo(before: Frame, action: Values, dt: float) -> Values:
    """Targets of the position servos: the action's, but no further from the joints than the fastest move takes them."""
    xp, q = namespace(before.qpos), before.qpos[..., :9]
    target = xp.clip(action, -1.0, 1.0) * _like(RANGES, q)
    return q + xp.clip((target - q) / dt, -SPEED, SPEED) * dt


def _norm(values: Values) -> Values:
    return namespace(values).sqrt((values**2).sum(axis=-1))


def _fast(speeds: Values, threshold: float) -> Values:
    """Euclidean norm of those speeds that reach a threshold."""
    xp = namespace(speeds)
    return _norm(xp.where(xp.abs(speeds) >= threshold, speeds, xp.zeros_like(speeds)))


# Turning and screwing: memory is the valve's target, its speed, and the last action.


def _wrapped(angle: Values) -> Values:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _error(frame: Frame) -> Values:
    """What is left to the target, within ±π."""
    return _wrapped(frame.derived[MEMORY][..., 0] - frame.qpos[..., 9])


def _observe_valve(frame: Frame) -> Values:
    """Joints 9, cosine and sine of the valve's angle, the last action 9, and the error."""
    xp, angle = namespace(frame.qpos), frame.qpos[..., 9:]
    last = frame.derived[MEMORY][..., 2:]
    return xp.concatenate([frame.qpos[..., :9], xp.cos(angle), xp.sin(angle), last, _error(frame)[..., None]], axis=-1)


def _turn_reward(before: Frame, action: Values, after: Frame, dt: float) -> Values:
    """`−5 |e| − |q − reset| − |q̇ where ≥ .5| + 10 [|e| < .25] + 50 [|e| < .1]`."""
    xp, q = namespace(after.qpos), after.qpos[..., :9]
    error = xp.abs(_error(after))
    bonus = xp.where(error < 0.25, 10.0, 0.0) + xp.where(error < 0.1, 50.0, 0.0)
    return -5.0 * error - _norm(q - _like(RESET_POSE, q)) - _fast(after.qvel[..., :9], 0.5) + bonus


def _advance_target(before: Frame, action: Values, after: Frame, dt: float) -> Values:
    xp, memory = namespace(after.qpos), before.derived[MEMORY]
    target = memory[..., :1] + memory[..., 1:2] * dt
    return xp.concatenate([target, memory[..., 1:2], xp.clip(action, -1.0, 1.0).astype(memory.dtype)], axis=-1)


def _valve_scores(within: float) -> Callable[[Values], Mapping[str, Values]]:
    """ROBEL's: `success` where the error is below a bound, and `points`, 1 without error and 0 opposite the target."""

    def scores(obs: Values) -> Mapping[str, Values]:
        error = namespace(obs).abs(obs[..., -1])
        return {"success": error < within, "points": 1.0 - error / np.pi}

    return scores


def _valve_at(low: float, high: float) -> Noise:
    """The reset pose at rest, with the valve's angle uniform between two."""

    def noise(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
        angle = jax.random.uniform(key, (1,), qpos0.dtype, low, high) if high > low else jnp.full(1, low, qpos0.dtype)
        return jnp.concatenate([jnp.asarray(RESET_POSE, qpos0.dtype), angle]), jnp.zeros(nv, qpos0.dtype)

    return noise


def _valve_memory(target: Array, speed: Array) -> Array:
    return jnp.concatenate([jnp.stack([target, speed]), jnp.zeros(9, target.dtype)])


def _turn_start(key: Key, qpos: Array) -> Array:
    """The target opposite, give or take 60 degrees, and at rest."""
    turn = jax.random.uniform(key, (), qpos.dtype, -np.pi / 3, np.pi / 3)
    return _valve_memory(jnp.asarray(_wrapped(np.pi + turn)), jnp.zeros((), qpos.dtype))


def _fixed_start(key: Key, qpos: Array) -> Array:
    return _valve_memory(qpos[9], jnp.full((), 0.5, qpos.dtype))


def _random_start(key: Key, qpos: Array) -> Array:
    return _valve_memory(qpos[9], jax.random.uniform(key, (), qpos.dtype, -0.75, 0.75))


_TURN = Task(
    model="dclaw_valve",
    frame_skip=40,
    observe=_observe_valve,
    reward=_turn_reward,
    terminated=lambda frame: never(frame.qpos),
    noise=_valve_at(-np.pi / 3, np.pi / 3),
    memory=Memory(11, _turn_start, _advance_target),
    control=_servo,
    bounds=(-1.0, 1.0, 9),
    solver=8,
    time_limit=40,
    obs_terminal=never,
    obs_scores=_valve_scores(0.1),
    camera={"distance": 0.5, "lookat": (0.0, 0.0, 0.19), "azimuth": 150.0, "elevation": -30.0},
    source=_SOURCE,
)
_SCREW_FIXED = replace(
    _TURN,
    noise=_valve_at(0.0, 0.0),
    memory=Memory(11, _fixed_start, _advance_target),
    time_limit=80,
    obs_scores=_valve_scores(0.2),
)
_SCREW_RANDOM = replace(_SCREW_FIXED, noise=_valve_at(-np.pi, np.pi), memory=Memory(11, _random_start, _advance_target))

# Pose: memory is the middle, the amplitude and the angular frequency of each joint's target, the time, the last action.


def _pose_target(memory: Values) -> Values:
    xp = namespace(memory)
    middle, amplitude, rate, time = memory[..., :9], memory[..., 9:18], memory[..., 18:27], memory[..., 27:28]
    return middle + amplitude * xp.sin(rate * time)


def _pose_error(frame: Frame) -> Values:
    return _pose_target(frame.derived[MEMORY]) - frame.qpos


def _observe_pose(frame: Frame) -> Values:
    """Joints 9, the last action 9, and what is left to the target 9."""
    parts = [frame.qpos, frame.derived[MEMORY][..., 28:], _pose_error(frame)]
    return namespace(frame.qpos).concatenate(parts, axis=-1)


def _pose_reward(before: Frame, action: Values, after: Frame, dt: float) -> Values:
    """`−|e| − .1 |q̇ where ≥ π|`."""
    return -_norm(_pose_error(after)) - 0.1 * _fast(after.qvel, np.pi)


def _advance_pose(before: Frame, action: Values, after: Frame, dt: float) -> Values:
    xp, memory = namespace(after.qpos), before.derived[MEMORY]
    action = xp.clip(action, -1.0, 1.0).astype(memory.dtype)
    return xp.concatenate([memory[..., :27], memory[..., 27:28] + dt, action], axis=-1)


def _two_poses(key: Key, qpos0: Array) -> Array:
    """Two poses `[2, 9]` uniform in the joints' range, the middle joints bent outwards only."""
    high = jnp.asarray(RANGES, qpos0.dtype)
    return jax.random.uniform(key, (2, 9), qpos0.dtype, -high, high * jnp.asarray((1, 0, 1) * 3, qpos0.dtype))


def _pose_noise(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
    """At rest half the way between the two poses that the target moves between."""
    return _two_poses(jax.random.fold_in(key, 1), qpos0).mean(axis=0), jnp.zeros(nv, qpos0.dtype)


def _pose_start(key: Key, qpos: Array) -> Array:
    """Amplitudes half the distance of the poses, as far as 30 degrees per second allow."""
    first, second = _two_poses(key, qpos)
    rate = jax.random.uniform(jax.random.fold_in(key, 1), (9,), qpos.dtype, 0.5, 2.0)
    amplitude = jnp.minimum(0.5 * jnp.abs(second - first), np.pi / 6 / rate)
    return jnp.concatenate([qpos, amplitude, rate, jnp.zeros(10, qpos.dtype)])


def _pose_scores(obs: Values) -> Mapping[str, Values]:
    """ROBEL's: `success` where the mean error is below 10 degrees, and `points`, 1 without error and 0 from 45 on."""
    xp = namespace(obs)
    error = xp.abs(obs[..., 18:]).mean(axis=-1)
    return {"success": error < np.pi / 18, "points": 1.0 - xp.minimum(error / (np.pi / 4), 1.0)}


_POSE = Task(
    model="dclaw",
    frame_skip=20,
    observe=_observe_pose,
    reward=_pose_reward,
    terminated=lambda frame: never(frame.qpos),
    noise=_pose_noise,
    memory=Memory(37, _pose_start, _advance_pose),
    control=_servo,
    bounds=(-1.0, 1.0, 9),
    solver=4,
    time_limit=80,
    obs_terminal=never,
    obs_scores=_pose_scores,
    camera={"distance": 0.45, "lookat": (0.0, 0.0, 0.19), "azimuth": 150.0, "elevation": -15.0},
    source=_SOURCE,
)
_TASKS = {"pose_random": _POSE, "turn_random": _TURN, "screw_fixed": _SCREW_FIXED, "screw_random": _SCREW_RANDOM}
CLAW_TASKS: dict[str, Task] = {
    **{f"dclaw_{name}-v0": task for name, task in _TASKS.items()},
    **{f"dclaw_{name}_full-v0": replace(task, model=f"{task.model}_full") for name, task in _TASKS.items()},
}
