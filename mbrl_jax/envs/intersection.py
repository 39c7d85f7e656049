"""Intersection (Haghgoo et al., 2021, Appendix C): an oncoming car turns left or right, and nobody knows which.

What the paper leaves open is a field of `Config` that says so; docs/dam.md gives the reasons for the values.

Observation: `[10]`, `(x, y, vx, vy, heading)` of the agent's car, then of the other; metres, m/s, radians.

Action: `[3]`, scores of `ACTIONS` without a unit, of which the largest is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.checks import check_fields
from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec

__all__ = [
    "ACTIONS",
    "ENVS",
    "STEPS",
    "Config",
    "Physics",
    "distance",
    "log_ratio",
    "make",
    "move",
    "observed_turn",
    "path_reward",
    "place",
]

ACTIONS = ("accelerate", "decelerate", "neither")
CHANGE = (1.0, -1.0, 0.0)
STEPS = 25
"""Steps of an episode (Appendix C)."""
SPEED = 5.0
"""Speed of the other car, and of the agent's at the start, metres per second (Appendix C)."""
PENALTY = 10.0
"""What a collision costs (Eq. 21)."""
_NORTH, _SOUTH = 0.5 * math.pi, -0.5 * math.pi
_TINY = 1e-3  # radians; a turn changes the heading by more than this in its first step


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the paper leaves open, and the chance of a left turn.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `dt`, `acceleration`, `max_speed`, `lane` or
        `collision_distance` is not positive; not lane < half_width <= other_start; `left_probability` is outside [0,
        1].
    """

    dt: float = 0.1
    """Seconds per step; not given in the paper."""
    acceleration: float = 1.0
    """Change of the agent's speed per step, in metres per second, as in IcyRoad; not given in the paper."""
    max_speed: float = 5.0
    """The agent's speed stays in [0, max_speed] metres per second; not given (the best return rules out much more)."""
    agent_start: float = -9.0
    """The agent's first y, in metres; not given in the paper."""
    other_start: float = 5.0
    """The other car's first y, in metres; not given in the paper."""
    lane: float = 2.0
    """The agent drives at x = lane metres, the other comes at x = -lane; not given in the paper."""
    half_width: float = 4.0
    """The intersection is |x|, |y| <= half_width metres, and a turn begins on entering it; not given in the paper."""
    collision_distance: float = 2.5
    """The cars collide where their centres are closer, in metres; not given in the paper."""
    latched: bool = True
    """After a collision every further step costs as much; not given in the paper (False: only while they overlap)."""
    left_probability: float = 0.5
    """Chance that the other car turns left (Appendix C: 50 %)."""

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.dt, self.acceleration, self.max_speed, self.lane, self.collision_distance) <= 0:
            raise ValueError(f"dt, acceleration, max_speed, lane and collision_distance must be positive, got {self}")
        if self.lane >= self.half_width or self.other_start < self.half_width:
            raise ValueError(
                "need lane < half_width <= other_start, "
                f"got lane={self.lane}, half_width={self.half_width}, other_start={self.other_start}"
            )
        if not 0 <= self.left_probability <= 1:
            raise ValueError(f"left_probability must lie in [0, 1], got {self.left_probability}")

    @property
    def approach(self) -> float:
        """Metres that the other car drives straight on before it turns."""
        return self.other_start - self.half_width

    @property
    def stride(self) -> float:
        """Metres that the other car drives in a step."""
        return SPEED * self.dt


class Physics(NamedTuple):
    """What the observation does not tell.

    Attributes:
      steps: int32 `[]`, steps taken.
      left: bool `[]`, whether the other car will turn left.
      collided: bool `[]`, whether the cars collided before the present state.
    """

    steps: Array
    left: Array
    collided: Array


def place(config: Config, driven: Array, left: Array) -> Array:
    """Observed `(x, y, vx, vy, heading)` `[..., 5]` of the other car, on a straight, an arc and a straight.

    Args:
      driven: metres driven, `[...]`.
      left: whether it turns left, bool `[...]`.
    """
    radius = jnp.where(left, config.half_width + config.lane, config.half_width - config.lane)
    sign = jnp.where(left, 1.0, -1.0).astype(driven.dtype)
    turned = jnp.clip((driven - config.approach) / radius, 0.0, 0.5 * math.pi)
    beyond = jnp.maximum(driven - config.approach - 0.5 * math.pi * radius, 0.0)
    heading = _SOUTH + sign * turned
    x = sign * (config.half_width - radius * jnp.cos(turned) + beyond)
    y = config.other_start - jnp.minimum(driven, config.approach) - radius * jnp.sin(turned)
    return jnp.stack([x, y, SPEED * jnp.cos(heading), SPEED * jnp.sin(heading), heading], axis=-1).astype(driven.dtype)


def distance(obs: Array) -> Array:
    """Metres between the centres of the cars, `[...]`, of `obs [..., 10]`."""
    return jnp.hypot(obs[..., 0] - obs[..., 5], obs[..., 1] - obs[..., 6])


def path_reward(config: Config, obs: Array, action: Array | None = None) -> Array:
    """Eq. 21 along paths `obs [time, ..., 10]`, `[time, ...]`: speed, minus the penalty of having collided.

    It does not depend on `action [time, ..., 3]`.
    """
    del action
    hit = distance(obs) < config.collision_distance
    if config.latched:
        hit = jnp.cumsum(hit, axis=0) > 0
    return obs[..., 3] - jnp.where(hit, PENALTY, 0.0).astype(obs.dtype)


def move(config: Config, key: Key, obs: Array, action: Array) -> Array:
    """A draw of what `[..., 10]` follows `obs [..., 10]` and `action [..., 3]`: the turn is drawn where it first shows.

    The turn can be seen as soon as it has begun, so this is the true distribution of what the agent sees.
    """
    known, left, driven = observed_turn(config, obs)
    coin = jax.random.bernoulli(key, config.left_probability, known.shape)
    other = place(config, driven + config.stride, jnp.where(known, left, coin))
    return jnp.concatenate([_drive(config, obs[..., :5], action), other], axis=-1)


def log_ratio(true: Config, model: Config) -> Callable[[Array, Array, Array], Array]:
    """Logits of the Bayes-optimal discriminator (Eq. 7) between two chances of a left turn: `log(p / q)`, `[...]`.

    For transitions `(obs, action, next_obs)` of the model, whose chance must be neither 0 nor 1.
    """
    of_left = math.log(true.left_probability / model.left_probability)
    of_right = math.log((1 - true.left_probability) / (1 - model.left_probability))

    def logit(obs: Array, action: Array, next_obs: Array) -> Array:
        del action
        before, after = observed_turn(model, obs)[0], observed_turn(model, next_obs)
        return jnp.where(~before & after[0], jnp.where(after[1], of_left, of_right), 0.0).astype(obs.dtype)

    return logit


def make(name: str = "intersection-v0", *, time_limit: int = STEPS, config: Config | None = None) -> Env:
    """`intersection-v0`: 25 steps, three actions given as scores, reward by Eq. 21; the task never ends by itself.

    The latched penalty depends on the past, so the reward is known as a function of paths (`Env.path_reward`); it is
    one of the observation only without the latch.
    """
    settings = config or Config()
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=10,
        action_dim=3,
        action_low=(-1.0,) * 3,
        action_high=(1.0,) * 3,
        time_limit=time_limit,
        dt=settings.dt,
        choices=True,
    )

    def start(key: Key) -> tuple[Physics, Array]:
        dtype = float_dtype()
        left = jax.random.bernoulli(key, settings.left_probability)
        agent = jnp.asarray([settings.lane, settings.agent_start, 0.0, min(SPEED, settings.max_speed), _NORTH], dtype)
        physics = Physics(jnp.zeros((), jnp.int32), left, jnp.zeros((), bool))
        return physics, jnp.concatenate([agent, place(settings, jnp.zeros((), dtype), left)])

    def advance(key: Key, physics: Physics, obs: Array, action: Array) -> tuple[Physics, Array, Array, Array]:
        del key
        hit = distance(obs) < settings.collision_distance
        collided = physics.collided | hit
        gain = obs[3] - PENALTY * (collided if settings.latched else hit).astype(obs.dtype)
        steps = physics.steps + 1
        other = place(settings, steps.astype(obs.dtype) * settings.stride, physics.left)
        next_obs = jnp.concatenate([_drive(settings, obs[:5], action), other])
        return Physics(steps, physics.left, collided), next_obs, gain, jnp.zeros((), bool)

    def reward(obs: Array, action: Array, next_obs: Array) -> Array:
        del next_obs
        return path_reward(settings, obs[None], action)[0]

    env = build(spec, start, advance, None if settings.latched else reward)

    def never(next_obs: Array) -> Array:
        return jnp.zeros(next_obs.shape[:-1], bool)

    return env._replace(terminal=never, path_reward=lambda obs, action: path_reward(settings, obs, action))


def _drive(config: Config, car: Array, action: Array) -> Array:
    """The agent's car `[..., 5]` after a step: the speed changes, then the place."""
    x, y, across, speed, heading = jnp.moveaxis(car, -1, 0)
    change = config.acceleration * jnp.asarray(CHANGE, car.dtype)[jnp.argmax(action, axis=-1)]
    speed = jnp.clip(speed + change, 0.0, config.max_speed)
    return jnp.stack([x, y + config.dt * speed, across, speed, heading], axis=-1)


def observed_turn(config: Config, obs: Array) -> tuple[Array, Array, Array]:
    """What `obs [..., 10]` shows of the other car, each `[...]`: if its turn is known, if it is left, metres driven."""
    x, y, heading = obs[..., 5], obs[..., 6], obs[..., 9]
    turned = heading - _SOUTH
    left = turned > 0
    radius = jnp.where(left, config.half_width + config.lane, config.half_width - config.lane)
    arc = config.approach + radius * jnp.abs(turned)
    beyond = arc + jnp.maximum(jnp.abs(x) - config.half_width, 0.0)
    known = jnp.abs(turned) > _TINY
    finished = jnp.abs(turned) > 0.5 * math.pi - _TINY
    return known, left, jnp.where(known, jnp.where(finished, beyond, arc), config.other_start - y)


ENVS = {"intersection-v0": make}
"""What this module offers, by name, see `registry`."""
