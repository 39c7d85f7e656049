"""IcyRoad (Haghgoo et al., 2021, Appendix C): faster pays more, but above a threshold speed the car may slide off.

The observation is the whole state `(x, y, vx, vy)`. What the paper leaves open is a field of `Config` that says so;
docs/dam.md gives the reasons for the values.

Observation: `[4]`, x and y in metres, vx and vy in metres per second; names for units that the paper does not give.

Action: `[3]`, scores of `ACTIONS` without a unit, of which the largest is taken.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.checks import check_fields
from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec

__all__ = [
    "ACTIONS",
    "ENVS",
    "START",
    "STEPS",
    "Config",
    "best",
    "exact_return",
    "log_ratio",
    "make",
    "move",
    "reward",
    "uniform",
]

ACTIONS = ("accelerate", "decelerate", "cruise")
CHANGE = (1.0, -1.0, 0.0)
"""What each action adds to the speed (Appendix C)."""
START = (0.0, 0.0, 1.0, 0.0)
"""`(x, y, vx, vy)` at the start of every episode (Appendix C)."""
STEPS = 5
"""Steps of an episode (Appendix C)."""
FAST = 2.0
"""The speed above which the car may slide and the bonus is paid (Appendix C, Eq. 20)."""
HALF_WIDTH = 1.0
"""The car is off the road where |y| exceeds this (Eq. 20)."""

Choose = Callable[[int, Sequence[float]], float]
"""`choose(step, action values) -> value`: what is done at a step, given what each action is worth."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the paper leaves open.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `swerve_probability` is outside [0, 1]; `swerve_speed` or
        `dt` is not positive.
    """

    swerve_probability: float = 0.8
    """Chance to swerve in a step that ends faster than `FAST`, either side alike; not given in the paper ("high")."""
    swerve_speed: float = 2.0
    """Sideways speed of a car that swerves, metres per second, which it keeps from then on; not given in the paper."""
    dt: float = 1.0
    """Seconds per step of the Euler integration, new speeds first; not given in the paper (Figure 2 fits 1)."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.swerve_probability <= 1:
            raise ValueError(f"swerve_probability must lie in [0, 1], got {self.swerve_probability}")
        if self.swerve_speed <= 0 or self.dt <= 0:
            raise ValueError(f"swerve_speed and dt must be positive, got {self.swerve_speed} and {self.dt}")


def reward(obs: Array, action: Array | None = None, next_obs: Array | None = None) -> Array:
    """Eq. 20 at the state before the move, `[...]` of `obs [..., 4]`.

    It depends on neither `action [..., 3]` nor `next_obs [..., 4]`.
    """
    del action, next_obs
    off, speed = jnp.abs(obs[..., 1]) > HALF_WIDTH, obs[..., 2]
    return speed + jnp.where(off, -6.0, jnp.where(speed > FAST, 8.0, 0.0)).astype(obs.dtype)


def move(config: Config, key: Key, obs: Array, action: Array) -> Array:
    """A draw of what `[..., 4]` follows `obs [..., 4]`; `action [..., 3]` is a score per choice, the largest is taken.

    The speed changes first; whether the car swerves depends on the new one (Figure 2); then the place changes. A car
    that has swerved slides on sideways as fast as before.
    """
    x, y, speed, slip = jnp.moveaxis(obs, -1, 0)
    speed = speed + _change(action, obs.dtype)
    draw = jax.random.uniform(key, speed.shape, obs.dtype)
    side = jnp.where(draw < 0.5 * config.swerve_probability, config.swerve_speed, -config.swerve_speed)
    swerves = _may_swerve(config, speed, slip) & (draw < config.swerve_probability)
    slip = jnp.where(swerves, side.astype(obs.dtype), slip)
    return jnp.stack([x + config.dt * speed, y + config.dt * slip, speed, slip], axis=-1)


def log_ratio(true: Config, model: Config) -> Callable[[Array, Array, Array], Array]:
    """Logits of the Bayes-optimal discriminator (Eq. 7) between two swerve probabilities: `log(p / q)`, `[...]`.

    For transitions `(obs, action, next_obs)` of the model, whose probability must be neither 0 nor 1.
    """
    swerved = math.log(true.swerve_probability / model.swerve_probability)
    held = math.log((1 - true.swerve_probability) / (1 - model.swerve_probability))

    def logit(obs: Array, action: Array, next_obs: Array) -> Array:
        may = _may_swerve(model, obs[..., 2] + _change(action, obs.dtype), obs[..., 3])
        slides = jnp.abs(next_obs[..., 3]) > 0.5 * model.swerve_speed
        return jnp.where(may, jnp.where(slides, swerved, held), 0.0).astype(obs.dtype)

    return logit


def make(name: str = "icy_road-v0", *, time_limit: int = STEPS, config: Config | None = None) -> Env:
    """`icy_road-v0`: five steps, three actions given as scores, reward by Eq. 20; the task never ends by itself."""
    config = config or Config()
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=4,
        action_dim=3,
        action_low=(-1.0,) * 3,
        action_high=(1.0,) * 3,
        time_limit=time_limit,
        dt=config.dt,
        choices=True,
    )

    def start(key: Key) -> tuple[tuple[()], Array]:
        del key
        return (), jnp.asarray(START, float_dtype())

    def advance(key: Key, physics: tuple[()], obs: Array, action: Array) -> tuple[tuple[()], Array, Array, Array]:
        return physics, move(config, key, obs, action), reward(obs), jnp.zeros((), bool)

    return build(spec, start, advance, reward, lambda next_obs: jnp.zeros(next_obs.shape[:-1], bool))


def best(step: int, values: Sequence[float]) -> float:
    """The optimal choice."""
    del step
    return max(values)


def uniform(step: int, values: Sequence[float]) -> float:
    """All actions alike."""
    del step
    return sum(values) / len(values)


def exact_return(config: Config | None = None, choose: Choose = best, steps: int = STEPS) -> float:
    """Exact expected return of an episode, by enumeration of all that can happen.

    Args:
      config: the open settings.
      choose: `best`, `uniform`, or for a fixed sequence of actions `lambda t, values: values[sequence[t]]`.
      steps: length of the episode.
    """
    settings = config or Config()

    @functools.cache
    def value(t: int, y: float, speed: float, slip: float) -> float:
        if t == steps:
            return 0.0
        gain = speed + (-6 if abs(y) > HALF_WIDTH else 8 if speed > FAST else 0)
        after = [
            sum(chance * value(t + 1, *state) for chance, state in _outcomes(settings, y, speed + change, slip))
            for change in CHANGE
        ]
        return gain + choose(t, after)

    return value(0, *START[1:])


def _outcomes(config: Config, y: float, speed: float, slip: float) -> list[tuple[float, tuple[float, float, float]]]:
    """Probability and `(y, vx, vy)` of whatever can follow, given the new speed."""
    p = config.swerve_probability if speed > FAST and slip == 0 else 0.0
    slips = ((1 - p, slip), (p / 2, config.swerve_speed), (p / 2, -config.swerve_speed))
    return [(chance, (y + config.dt * s, speed, s)) for chance, s in slips if chance]


def _change(action: Array, dtype: jnp.dtype) -> Array:
    return jnp.asarray(CHANGE, dtype)[jnp.argmax(action, axis=-1)]


def _may_swerve(config: Config, speed: Array, slip: Array) -> Array:
    return (speed > FAST) & (jnp.abs(slip) < 0.5 * config.swerve_speed)


ENVS = {"icy_road-v0": make}
"""What this module offers, by name, see `registry`."""
