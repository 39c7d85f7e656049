"""Exact returns in Intersection: fixed actions, the optimum, and ideal planning of fixed sequences over a horizon.

The agent's speed is a whole number of steps of `acceleration`, its place a whole number of steps of
`acceleration * dt`, and the other car's path is known but for its turn, so dynamic programming visits all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import float_dtype
from mbrl_jax.envs.intersection import CHANGE, PENALTY, SPEED, STEPS, Config, distance, observed_turn

__all__ = ["Values", "fixed_return", "optimal_return", "optimal_values", "path_value", "planned_return"]

LEFT, RIGHT = 0, 1
_SHIFT = tuple(int(change) for change in CHANGE)


class _Grid(NamedTuple):
    """Whether the cars overlap, `hit [turn, time, place]`; the first speed; the step at which the turn shows."""

    hit: np.ndarray
    top: int
    first: int
    reveal: int


class _Car(NamedTuple):
    """Speed and place in whole steps, and whether the cars have collided if the other turns left, or right."""

    speed: int
    place: int
    collided: tuple[bool, bool]


def _grid(config: Config, times: int) -> _Grid:
    top, first = config.max_speed / config.acceleration, min(SPEED, config.max_speed) / config.acceleration
    if abs(top - round(top)) > 1e-9 or abs(first - round(first)) > 1e-9:
        raise ValueError(
            "exact returns need speeds that are multiples of the acceleration, "
            f"got max_speed={config.max_speed}, acceleration={config.acceleration}"
        )
    driven = config.stride * np.arange(times)
    y = config.agent_start + config.acceleration * config.dt * np.arange(round(top) * times + 1)
    hit = []
    for left in (True, False):
        other = _place(config, driven, left)
        gap = np.hypot(config.lane - other[:, :1], y[None, :] - other[:, 1:])
        hit.append(gap < config.collision_distance)
    reveal = int(np.sum(driven <= config.approach + 1e-9))
    return _Grid(np.stack(hit), round(top), round(first), reveal)


def _place(config: Config, driven: np.ndarray, left: bool) -> np.ndarray:
    """`(x, y)` `[times, 2]` of the other car, in double precision."""
    sign = 1 if left else -1
    radius = config.half_width + sign * config.lane
    turned = np.clip((driven - config.approach) / radius, 0, np.pi / 2)
    beyond = np.maximum(driven - config.approach - radius * np.pi / 2, 0)
    x = sign * (config.half_width - radius * np.cos(turned) + beyond)
    return np.stack([x, config.other_start - np.minimum(driven, config.approach) - radius * np.sin(turned)], axis=1)


def _step(config: Config, grid: _Grid, car: _Car, t: int, action: int) -> tuple[tuple[float, float], _Car]:
    """The rewards at time t if the other car turns left, or right, and where the agent is after its action."""
    hit = tuple(bool(grid.hit[turn, t, car.place]) for turn in (LEFT, RIGHT))
    paid = tuple(h or (c and config.latched) for h, c in zip(hit, car.collided, strict=True))
    speed = car.speed * config.acceleration
    after = min(max(car.speed + _SHIFT[action], 0), grid.top)
    rewards = (speed - PENALTY * paid[LEFT], speed - PENALTY * paid[RIGHT])
    return rewards, _Car(after, car.place + after, (paid[LEFT], paid[RIGHT]))


def fixed_return(config: Config | None = None, actions: Sequence[int] = (2,) * STEPS) -> tuple[float, float]:
    """Returns of a fixed sequence of actions if the other car turns left, and if it turns right.

    Raises:
      ValueError: `max_speed` or the first speed is no multiple of the acceleration.
    """
    config = config or Config()
    grid = _grid(config, len(actions))
    car, total = _Car(grid.first, 0, (False, False)), np.zeros(2)
    for t, action in enumerate(actions):
        rewards, car = _step(config, grid, car, t, action)
        total += rewards
    return float(total[LEFT]), float(total[RIGHT])


def _backup(config: Config, grid: _Grid, t: int, share: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Action values `[3, speed, place, collided left, collided right]` at time t, given values at t + 1.

    `share [2]` are the probabilities of the turns that the rewards are averaged with.
    """
    places = following.shape[1]
    speed, place = np.arange(grid.top + 1)[:, None], np.arange(places)[None, :]
    flag = np.array([False, True])
    paid = [grid.hit[turn, t, :places, None] | (flag & config.latched) for turn in (LEFT, RIGHT)]
    cost = share[LEFT] * paid[LEFT][:, :, None] + share[RIGHT] * paid[RIGHT][:, None, :]
    gain = config.acceleration * speed[..., None, None] - PENALTY * cost[None]
    values = []
    for shift in _SHIFT:
        after = np.clip(speed + shift, 0, grid.top)
        to = np.minimum(place + after, places - 1)
        moved = following[
            np.broadcast_to(after, to.shape)[..., None, None],
            to[..., None, None],
            paid[LEFT].astype(int)[None, :, :, None],
            paid[RIGHT].astype(int)[None, :, None, :],
        ]
        values.append(gain + moved)
    return np.stack(values)


class Values(NamedTuple):
    """What an optimal agent will still earn, `[time, speed, place, collided left, collided right]`.

    Speed and place are counted in steps of `acceleration` and `acceleration * dt`; time goes up to the episode's
    end, where everything is worth 0. `known [2, ...]`: if the turn, left or right, has been seen; `unknown`: if not.
    """

    known: np.ndarray
    unknown: np.ndarray


def optimal_values(config: Config | None = None, steps: int = STEPS) -> Values:
    """The optimal value function, for `path_value` or to be looked up.

    Raises:
      ValueError: `max_speed` or the first speed is no multiple of the acceleration.
    """
    config = config or Config()
    grid = _grid(config, steps)
    shape = (steps + 1, grid.top + 1, grid.top * steps + 1, 2, 2)
    chances = np.array([config.left_probability, 1 - config.left_probability])
    known, unknown = np.zeros((2, *shape)), np.zeros(shape)
    for t in reversed(range(steps)):
        for turn in (LEFT, RIGHT):
            known[turn, t] = _backup(config, grid, t, np.eye(2)[turn], known[turn, t + 1]).max(axis=0)
        # The turn is drawn on the way to the step at which it shows.
        following = np.tensordot(chances, known[:, t + 1], axes=1) if t + 1 >= grid.reveal else unknown[t + 1]
        unknown[t] = _backup(config, grid, t, chances, following).max(axis=0)
    return Values(known, unknown)


def optimal_return(config: Config | None = None, steps: int = STEPS) -> float:
    """The best expected return of an agent that knows the dynamics and reacts to what it sees.

    Raises:
      ValueError: `max_speed` or the first speed is no multiple of the acceleration.
    """
    config = config or Config()
    return float(optimal_values(config, steps).unknown[0, _grid(config, steps).first, 0, 0, 0])


def path_value(config: Config | None = None, steps: int = STEPS) -> Callable[[Array], Array]:
    """What an optimal agent earns from the end of paths `obs [time, ..., 10]` on, `[...]`: a planner's `final_value`.

    A collision counts from the paths' beginning; behind the episode's last step everything is worth 0.
    """
    config = config or Config()
    known, unknown = (jnp.asarray(table, float_dtype()) for table in optimal_values(config, steps))

    def value(obs: Array) -> Array:
        last = obs[-1]
        seen, left, driven = observed_turn(config, last)

        def whole(x: Array, unit: float, most: int) -> Array:
            return jnp.clip(jnp.rint(x / unit).astype(jnp.int32), 0, most)

        time = whole(driven, config.stride, steps)
        speed = whole(last[..., 3], config.acceleration, unknown.shape[1] - 1)
        place = whole(last[..., 1] - config.agent_start, config.acceleration * config.dt, unknown.shape[2] - 1)
        hit = (distance(obs[:-1]) < config.collision_distance).any(axis=0).astype(jnp.int32)
        at = (time, speed, place, hit, hit)
        return jnp.where(seen, jnp.where(left, known[(LEFT, *at)], known[(RIGHT, *at)]), unknown[at])

    return value


def planned_return(horizon: int, config: Config | None = None, steps: int = STEPS) -> float:
    """The expected return of ideal shooting with the true dynamics: at each step the best of all fixed sequences.

    Such a planner does not know that it will be able to react, so it can earn less than the optimum. Of equally good
    first actions it takes the first of accelerate, decelerate, neither.

    Raises:
      ValueError: `max_speed` or the first speed is no multiple of the acceleration.
    """
    config = config or Config()
    grid = _grid(config, steps + horizon)
    chances = np.array([config.left_probability, 1 - config.left_probability])
    total = 0.0
    for turn in (LEFT, RIGHT):
        car = _Car(grid.first, 0, (False, False))
        for t in range(steps):
            share = np.eye(2)[turn] if t >= grid.reveal else chances
            action = _best_first(config, grid, t, horizon, share, car)
            rewards, car = _step(config, grid, car, t, action)
            total += chances[turn] * rewards[turn]
    return float(total)


def _best_first(config: Config, grid: _Grid, t: int, horizon: int, share: np.ndarray, car: _Car) -> int:
    """The first action of the best fixed sequence from time t."""
    values = np.zeros((grid.top + 1, grid.hit.shape[2], 2, 2))
    choices = np.zeros((len(_SHIFT), *values.shape))
    for later in reversed(range(t, t + horizon)):
        choices = _backup(config, grid, later, share, values)
        values = choices.max(axis=0)
    here = choices[:, car.speed, car.place, int(car.collided[LEFT]), int(car.collided[RIGHT])]
    return int(np.argmax(here > here.max() - 1e-9))
