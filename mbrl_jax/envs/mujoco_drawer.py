"""Meta-World's `drawer-open-v2` (Yu et al., 2019) with the reward for opening alone, as MnM has it.

An observation holds this step's view and that of the step before. Meta-World of that time showed an episode's first
step the last view of the episode before (its reset set another attribute than the one it read); here, as in later
versions, it shows the same view twice. The body is `drawer_model`'s.

Observation: `[39]`, 18 of this step, 18 of the one before, 3 zeros for the goal. Of each: the hand's place in metres 3,
the distance of the fingers in units of .1 metres, the handle's place in metres 3, its quaternion 4, zeros 7.

Action: `[4]`, how the hand's target moves in centimetres 3, and the fingers' servos' target in metres.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.envs.base import namespace
from mbrl_jax.envs.mujoco_tasks import MEMORY, Frame, Memory, Task, never
from mbrl_jax.types import Key, Values

__all__ = ["DRAWER_TASKS", "scripted"]

HAND = (0.0, 0.6, 0.2)
"""Where the hand starts."""
LOW, HIGH = (-0.5, 0.4, 0.05), (0.5, 1.0, 0.5)
"""The box that the hand's target stays in."""
HANDLE, TARGET = (0.73, 0.09), 0.54
"""The handle's y and z when the drawer is shut, and the y it has to be brought to."""
_PLACE, _MOCAP, _SEEN = slice(0, 1), slice(1, 4), slice(4, 11)
"""Parts of the memory: the drawer's x, the hand's target, and what was seen a step before."""


def _like(values: tuple[float, ...], other: Values) -> Values:
    return namespace(other).asarray(values, dtype=other.dtype)


def _view(frame: Frame) -> Values:
    """Hand 3, distance of the fingers as a share of .1 m within [0, 1], handle 3: `[..., 7]`."""
    xp, q, place = namespace(frame.qpos), frame.qpos, frame.derived[MEMORY][..., _PLACE].astype(frame.qpos.dtype)
    gap = xp.clip((0.1 + q[..., 4:5] - q[..., 3:4]) / 0.1, 0.0, 1.0)
    parts = [q[..., :1] + place, q[..., 1:3], gap, place, HANDLE[0] + q[..., 5:6], HANDLE[1] + 0.0 * place]
    return xp.concatenate(parts, axis=-1)


def _padded(view: Values) -> Values:
    """A view with the handle's rotation, which is none, and the zeros of the object that is not there: `[..., 18]`."""
    xp = namespace(view)
    zeros = xp.zeros((*view.shape[:-1], 7), dtype=view.dtype)
    return xp.concatenate([view, xp.ones_like(view[..., :1]), xp.zeros_like(view[..., :3]), zeros], axis=-1)


def _observe(frame: Frame) -> Values:
    """This step's 18 entries, those of the step before, and zeros for the goal, which is hidden."""
    xp, view = namespace(frame.qpos), _view(frame)
    before = frame.derived[MEMORY][..., _SEEN].astype(view.dtype)
    return xp.concatenate([_padded(view), _padded(before), xp.zeros_like(view[..., :3])], axis=-1)


def _open(obs: Values, action: Values, next_obs: Values) -> Values:
    """5 where the handle's distance e from its target is within .02, else 5 / ((15 (e − .02))² + 1)."""
    xp = namespace(next_obs)
    beyond = xp.maximum(xp.abs(next_obs[..., 5] - TARGET) - 0.02, 0.0)
    return 5.0 / ((3.0 * beyond / 0.2) ** 2 + 1.0)


def _scores(obs: Values) -> Mapping[str, Values]:
    """`success` within .03 of the target, and `points`, the share of the way that is done, within [0, 1]."""
    xp, error = namespace(obs), namespace(obs).abs(obs[..., 5] - TARGET)
    return {"success": error <= 0.03, "points": xp.clip(1.0 - error / (HANDLE[0] - TARGET), 0.0, 1.0)}


def _control(before: Frame, action: Values, dt: float) -> Values:
    """The hand's target, relative to the drawer, and the two fingers' forces."""
    xp, memory = namespace(before.qpos), before.derived[MEMORY]
    grip = xp.clip(action[..., 3:], -1.0, 1.0)
    return xp.concatenate(
        [_target(memory, action) - memory[..., _PLACE] * _like((1, 0, 0), memory), grip, -grip], axis=-1
    )


def _target(memory: Values, action: Values) -> Values:
    xp = namespace(memory)
    step = xp.clip(action[..., :3], -1.0, 1.0).astype(memory.dtype) / 100.0
    return xp.clip(memory[..., _MOCAP] + step, _like(LOW, memory), _like(HIGH, memory))


def _remember(before: Frame, action: Values, after: Frame, dt: float) -> Values:
    memory = before.derived[MEMORY]
    seen = _view(before).astype(memory.dtype)
    return namespace(memory).concatenate([memory[..., _PLACE], _target(memory, action), seen], axis=-1)


def _place(key: Key, dtype: jnp.dtype) -> Array:
    """The drawer's x, uniform within ±.1."""
    return jax.random.uniform(key, (1,), dtype, -0.1, 0.1)


def _noise(key: Key, qpos0: Array, nv: int) -> tuple[Array, Array]:
    """All at rest and shut, the hand at its place, which the drawer's makes a random one in the model."""
    hand = jnp.asarray(HAND, qpos0.dtype) - jnp.concatenate(
        [_place(jax.random.fold_in(key, 1), qpos0.dtype), jnp.zeros(2, qpos0.dtype)]
    )
    return jnp.concatenate([hand, jnp.zeros(3, qpos0.dtype)]), jnp.zeros(nv, qpos0.dtype)


def _start(key: Key, qpos: Array) -> Array:
    place, hand = _place(key, qpos.dtype), jnp.asarray(HAND, qpos.dtype)
    seen = [hand, jnp.ones(1, qpos.dtype), place, jnp.asarray(HANDLE, qpos.dtype)]
    return jnp.concatenate([place, hand, *seen])


DRAWER_TASKS: dict[str, Task] = {
    "drawer_open-v2": Task(
        model="drawer",
        frame_skip=5,
        observe=_observe,
        reward=lambda before, action, after, dt: _open(_observe(before), action, _observe(after)),
        terminated=lambda frame: never(frame.qpos),
        noise=_noise,
        memory=Memory(11, _start, _remember),
        control=_control,
        bounds=(-1.0, 1.0, 4),
        solver=8,
        time_limit=500,
        obs_reward=_open,
        obs_terminal=never,
        obs_scores=_scores,
        camera={"distance": 0.9, "lookat": (0.0, 0.68, 0.1), "azimuth": 55.0, "elevation": -25.0},
        source="Meta-World",
    )
}


def scripted(obs: Values) -> Values:
    """Actions `[..., 4]` of Meta-World's scripted hand (`SawyerDrawerOpenV2Policy`) for observations `[..., 39]`.

    It goes above the handle, down behind it, and away with it, its fingers open.
    """
    xp, hand = namespace(obs), obs[..., :3]
    down, back, up = (
        xp.broadcast_to(_like(each, obs), hand.shape) for each in ((0.0, 0.0, 0.02), (0.0, 0.06, 0.0), (0.0, 0.0, 0.3))
    )
    handle = obs[..., 4:7] - down
    aside = xp.linalg.norm((hand - handle)[..., :2], axis=-1, keepdims=True) > 0.06
    above = xp.abs(hand - handle)[..., 2:] > 0.04
    move = xp.where(above, 4.0 * (handle - hand), 50.0 * (handle - back - hand))
    move = xp.where(aside, 4.0 * (handle + up - hand), move)
    return xp.concatenate([xp.clip(move, -1.0, 1.0), -xp.ones_like(hand[..., :1])], axis=-1)
