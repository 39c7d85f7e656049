"""A linear-quadratic regulator: continuous states and actions, and every value known in closed form.

Observation: `[2]`, position and velocity of a point mass, without a unit.

Action: `[1]`, a force, without a unit.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array

from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec, along

__all__ = ["DYNAMICS", "ENVS", "INPUT", "NOISE", "STATE_COST", "TORQUE_COST", "gain", "make", "value", "value_of"]

# A point mass in one dimension (position, velocity) with a slight instability, steered by a force.
DYNAMICS = np.array([[1.0, 0.1], [0.05, 1.0]])
INPUT = np.array([[0.0], [0.1]])
STATE_COST = np.diag([1.0, 0.1])
TORQUE_COST = np.array([[0.01]])
NOISE = 0.02
"""Standard deviation of the Gaussian noise added to each entry of the state at each step."""
MAX_FORCE = 10.0


def make(name: str, *, time_limit: int = 50) -> Env:
    """`x' = A x + B u + noise`, reward `-(x'Qx + u'Ru)` before the step, x uniform in ±0.5 at reset; never ends.

    Actions are bounded by ±10 for the learner's sake, but not clipped, so that the closed forms below are exact.
    """
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=2,
        action_dim=1,
        action_low=(-MAX_FORCE,),
        action_high=(MAX_FORCE,),
        time_limit=time_limit,
        dt=0.1,
    )
    return build(spec, _start, _advance, _reward, terminal=lambda obs: jnp.zeros(obs.shape[:-1], bool))


def gain(gamma: float) -> np.ndarray:
    """Optimal feedback `u = -K x` for discount `gamma`: K `[1, 2]`, from the discrete Riccati equation.

    Raises:
      ValueError: `gamma` is outside (0, 1).
    """
    _check(gamma)
    a, b = np.sqrt(gamma) * DYNAMICS, np.sqrt(gamma) * INPUT
    p = scipy.linalg.solve_discrete_are(a, b, STATE_COST, TORQUE_COST)
    return np.linalg.solve(TORQUE_COST + b.T @ p @ b, b.T @ p @ a)


def value(obs: Array, gamma: float) -> Array:
    """Optimal discounted value `[...]` of observations `[..., 2]`."""
    return value_of(gain(gamma), obs, gamma)


def value_of(feedback: np.ndarray, obs: Array, gamma: float) -> Array:
    """Discounted value of the policy `u = -K x`: `-(x'Px + gamma / (1 - gamma) noise^2 tr P)`.

    P solves the Lyapunov equation `P = Q + K'RK + gamma (A - BK)' P (A - BK)`.

    Args:
      feedback: K, `[1, 2]`.
      obs: x, `[..., 2]`.
      gamma: the discount factor.

    Returns:
      `[...]`.

    Raises:
      ValueError: if the policy's value is infinite, that is if `sqrt(gamma) (A - BK)` is not stable.
    """
    _check(gamma)
    closed = np.sqrt(gamma) * (DYNAMICS - INPUT @ feedback)
    radius = float(np.abs(np.linalg.eigvals(closed)).max())
    if radius >= 1:
        raise ValueError(f"sqrt(gamma) (A - BK) must have spectral radius < 1, got {radius:.4g} for K = {feedback}")
    p = scipy.linalg.solve_discrete_lyapunov(closed.T, STATE_COST + feedback.T @ TORQUE_COST @ feedback)
    spread = gamma / (1 - gamma) * NOISE**2 * np.trace(p)
    obs = jnp.asarray(obs)
    return -(jnp.einsum("...i,ij,...j->...", obs, jnp.asarray(p, obs.dtype), obs) + spread)


def _check(gamma: float) -> None:
    if not 0 < gamma < 1:
        raise ValueError(f"gamma must be in (0, 1), got {gamma}")


def _start(key: Key) -> tuple[tuple[()], Array]:
    return (), jax.random.uniform(key, (2,), float_dtype(), -0.5, 0.5)


def _advance(key: Key, physics: tuple[()], obs: Array, action: Array) -> tuple[tuple[()], Array, Array, Array]:
    a, b = jnp.asarray(DYNAMICS, obs.dtype), jnp.asarray(INPUT, obs.dtype)
    noise = NOISE * jax.random.normal(key, (2,), obs.dtype)
    next_obs = jnp.matmul(a, obs, precision="highest") + jnp.matmul(b, action, precision="highest") + noise
    return physics, next_obs, _reward(obs, action, next_obs), jnp.zeros((), bool)


def _reward(obs: Array, action: Array, next_obs: Array) -> Array:
    del next_obs
    q, r = jnp.asarray(np.diag(STATE_COST), obs.dtype), jnp.asarray(TORQUE_COST[0, 0], obs.dtype)
    return -((along(q, obs) * obs**2).sum(axis=-1) + r * (action**2).sum(axis=-1))


ENVS = {"lqr-v0": make}
"""What this module offers, by name, see `registry`."""
