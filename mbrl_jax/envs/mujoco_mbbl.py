"""The MuJoCo tasks of Wang et al. (2019), on which SLBO, SAC-SVG and MAO report: other rewards on Gym's bodies.

Source: "Benchmarking model-based reinforcement learning" and its code (`mbbl/env/gym_env/{walker,fixed_walker,
fixed_swimmer,humanoid,invertedPendulum,reacher}.py`). Rewards are functions of the observation before the step, with
the velocity read from it; observations are not clipped. `_et` (early termination) tasks end where Gym's do, the others
never.

Observation and action, with units: as in `mujoco_tasks`; the ninth entry of `mbbl_fixed_swimmer-v0` is in m/s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.envs.base import namespace
from mbrl_jax.envs.mujoco_table import TASKS
from mbrl_jax.envs.mujoco_tasks import (
    MEMORY,
    Frame,
    Memory,
    Task,
    in_square,
    never,
    out_of,
    outside,
    posture,
    unless,
)
from mbrl_jax.types import Key, Values

__all__ = ["MBBL_TASKS"]

_SOURCE = "Wang et al. (2019)"
Fell = Callable[[Values], Values]
Bonus = Callable[[Values], Values | float]
Reward = Callable[[Values, Values, Values | None], Values]


def _hopper_fell(obs: Values) -> Values:
    return outside(obs[..., 0], 0.7, 1e10) | outside(obs[..., 1], -0.2, 0.2)


def _walker_fell(obs: Values) -> Values:
    return outside(obs[..., 0], 0.8, 2.0) | outside(obs[..., 1], -1.0, 1.0)


def _ant_fell(obs: Values) -> Values:
    return out_of(obs[..., 0], 0.2, 1.0)


def _humanoid_fell(obs: Values) -> Values:
    return out_of(obs[..., 0], 1.0, 2.0)


def _walk(
    velocity: int, *, control: float = 0.1, height: float | None = None, bonus: Bonus = lambda obs: 0.0
) -> Reward:
    """`obs[velocity] - control |action|^2 - 3 (obs[0] - height)^2 + bonus(obs)`."""

    def reward(obs: Values, action: Values, next_obs: Values | None) -> Values:
        penalty = 0.0 if height is None else 3.0 * (obs[..., 0] - height) ** 2
        return obs[..., velocity] - penalty - control * (action**2).sum(axis=-1) + bonus(obs)

    return reward


def _task(base: str, hidden: int, reward: Reward, fell: Fell = never) -> Task:
    """The base task's body with another reward on plain positions and velocities."""
    observe = posture(hidden)
    return replace(
        TASKS[base],
        observe=observe,
        reward=lambda before, action, after, dt: reward(observe(before), action, None),
        terminated=lambda frame: fell(observe(frame)),
        derived=(),
        carried=(),
        observes_derived=False,
        obs_reward=reward,
        obs_terminal=fell,
        gym=(),
        source=_SOURCE,
    )


def _always(obs: Values) -> float:
    return 1.0


def _while(fell: Fell, bonus: float = 1.0) -> Bonus:
    """The bonus where the state before the step is healthy."""
    return lambda obs: unless(fell(obs), bonus)


def _humanoid(obs: Values, action: Values, next_obs: Values | None) -> Values:
    """`0.25 / 0.015 velocity - 0.1 |action|^2 + 5 [1 <= z <= 2]`."""
    return 0.25 / 0.015 * obs[..., 22] - 0.1 * (action**2).sum(axis=-1) + unless(_humanoid_fell(obs), 5.0)


def _impact(forces: Values) -> Values:
    """`min(5e-7 |contact forces|^2, 10)` of forces `[..., 14, 6]`."""
    return namespace(forces).minimum(5e-7 * (forces**2).sum(axis=(-2, -1)), 10.0)


def _whole_humanoid() -> Task:
    """Humanoid-ET: 376 observations, and the impact cost of the contact forces before the step."""
    plain = posture(2)

    def reward(before: Frame, action: Values, after: Frame, dt: float) -> Values:
        return _humanoid(plain(before), action, None) - _impact(before.derived["cfrc_ext"])

    def obs_reward(obs: Values, action: Values, next_obs: Values) -> Values:
        return _humanoid(obs, action, None) - _impact(obs[..., -84:].reshape(*obs.shape[:-1], 14, 6))

    return replace(
        TASKS["humanoid-v4"],
        reward=reward,
        carried=("cfrc_ext",),
        obs_reward=obs_reward,
        gym=(),
        source=_SOURCE,
    )


def _tip_x(frame: Frame) -> Values:
    """The swimmer's front end: three times as far from the torso's frame as the middle link's, on the same line."""
    torso, middle = frame.derived["xpos:torso"], frame.derived["xpos:mid"]
    return (torso + 3.0 * (middle - torso))[..., :1]


def _at_rest(key: Key, qpos: Array) -> Array:
    return jnp.zeros(1, qpos.dtype)


def _fixed_swimmer() -> Task:
    """Swimmer with a ninth entry, the mean velocity of its front end over the last step, which is what it is paid for.

    Theirs is Gym's body moved by 1.5 m, with a site at that end. Their reset leaves the entry as it was; here it is 0.
    """
    plain = posture(2)
    base = _task("swimmer-v4", 2, _walk(8, control=1e-4))

    def observe(frame: Frame) -> Values:
        return namespace(frame.qpos).concatenate([plain(frame), frame.derived[MEMORY]], axis=-1)

    return replace(
        base,
        observe=observe,
        reward=lambda before, action, after, dt: before.derived[MEMORY][..., 0] - 1e-4 * (action**2).sum(axis=-1),
        derived=("xpos:torso", "xpos:mid"),
        carried=("xpos:torso", "xpos:mid"),
        observes_derived=True,
        memory=Memory(1, _at_rest, lambda before, action, after, dt: (_tip_x(after) - _tip_x(before)) / dt),
    )


MBBL_TASKS: dict[str, Task] = {
    "mbbl_half_cheetah-v0": _task("half_cheetah-v4", 1, _walk(8)),
    "mbbl_hopper-v0": _task("hopper-v4", 1, _walk(5, height=1.3, bonus=_always)),
    "mbbl_hopper_et-v0": _task("hopper-v4", 1, _walk(5, height=1.3, bonus=_while(_hopper_fell)), _hopper_fell),
    "mbbl_walker2d-v0": _task("walker2d-v4", 1, _walk(8, height=1.3, bonus=_always)),
    "mbbl_walker2d_et-v0": _task("walker2d-v4", 1, _walk(8, height=1.3, bonus=_while(_walker_fell)), _walker_fell),
    "mbbl_ant-v0": _task("ant-v4", 2, _walk(13, height=0.57, bonus=_always)),
    "mbbl_ant_et-v0": _task("ant-v4", 2, _walk(13, height=0.57, bonus=_while(_ant_fell)), _ant_fell),
    "mbbl_swimmer-v0": _task("swimmer-v4", 2, _walk(3, control=1e-4)),
    "mbbl_fixed_swimmer-v0": _fixed_swimmer(),
    "mbbl_humanoid_et-v0": _whole_humanoid(),
    "mbbl_slim_humanoid_et-v0": _task("humanoid-v4", 2, _humanoid, _humanoid_fell),
    "mbbl_slim_humanoid-v0": _task("humanoid-v4", 2, _humanoid),
    # It goes on with the pole down, where the ends of rail and hinge may act at once; in Gym's only the rail's does.
    "mbbl_inverted_pendulum-v0": replace(
        _task("inverted_pendulum-v4", 0, lambda obs, action, next_obs: -(obs[..., 1] ** 2)),
        time_limit=100,
        solver=4,
    ),
    # Gym's, whose reward it is too, with the targets of the Gym of that time (0.7 to 0.12).
    "mbbl_reacher-v0": replace(TASKS["reacher-v4"], noise=in_square, gym=(), source=_SOURCE),
}
