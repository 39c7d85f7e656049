"""Gym's Pendulum-v1: swing a pole up and hold it there, with a motor too weak to lift it in one go."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec

__all__ = ["Angle", "make"]

GRAVITY, MASS, LENGTH, DT = 10.0, 1.0, 1.0, 0.05
MAX_SPEED, MAX_TORQUE = 8.0, 2.0


class Angle(NamedTuple):
    """Angle from the upright, in radians (not wrapped), and angular velocity, in radians per second."""

    theta: Array
    velocity: Array


def make(name: str, *, time_limit: int = 200) -> Env:
    """Observation (cos, sin, velocity); reward `-(theta^2 + 0.1 velocity^2 + 0.001 torque^2)` before the step.

    Torques beyond ±2 are clipped, as in Gym. It never terminates.
    """
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=3,
        action_dim=1,
        action_low=(-MAX_TORQUE,),
        action_high=(MAX_TORQUE,),
        time_limit=time_limit,
        dt=DT,
    )
    return build(spec, _start, _advance, reward=_reward, terminal=lambda obs: jnp.zeros(obs.shape[:-1], bool))


def _observe(state: Angle) -> Array:
    return jnp.stack([jnp.cos(state.theta), jnp.sin(state.theta), state.velocity])


def _start(key: Key) -> tuple[Angle, Array]:
    high = jnp.asarray([jnp.pi, 1.0], float_dtype())
    state = Angle(*jax.random.uniform(key, (2,), float_dtype(), -high, high))
    return state, _observe(state)


def _advance(key: Key, state: Angle, obs: Array, action: Array) -> tuple[Angle, Array, Array, Array]:
    del key, obs
    torque = jnp.clip(action[0], -MAX_TORQUE, MAX_TORQUE)
    wrapped = jnp.mod(state.theta + jnp.pi, 2 * jnp.pi) - jnp.pi
    reward = -_cost(wrapped, state.velocity, torque)
    acceleration = 3 * GRAVITY / (2 * LENGTH) * jnp.sin(state.theta) + 3.0 / (MASS * LENGTH**2) * torque
    velocity = jnp.clip(state.velocity + acceleration * DT, -MAX_SPEED, MAX_SPEED)
    state = Angle(state.theta + velocity * DT, velocity)
    return state, _observe(state), reward, jnp.zeros((), bool)


def _cost(angle: Array, velocity: Array, torque: Array) -> Array:
    return angle**2 + 0.1 * velocity**2 + 0.001 * torque**2


def _reward(obs: Array, action: Array, next_obs: Array) -> Array:
    del next_obs
    torque = jnp.clip(action[..., 0], -MAX_TORQUE, MAX_TORQUE)
    return -_cost(jnp.arctan2(obs[..., 1], obs[..., 0]), obs[..., 2], torque)
