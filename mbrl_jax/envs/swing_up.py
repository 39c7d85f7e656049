"""The cartpole of PETS (Chua et al., 2018): a heavy pole that hangs down and is to be swung up and held.

A cart of 10.5 kg on a rail within ±2.5 m carries a pole of 5 kg, 0.6 m long, both damped; the force is 100 N per unit
of the action, which is within ±3. Two Runge–Kutta steps of 0.02 s per step. The original is a MuJoCo model
(`handful-of-trials`, `cartpole.xml`); its equations are solved here, so that it runs wherever JAX does.

Observation: `[4]`, the cart's place in metres, the pole's angle in radians (0 hanging, not wrapped), and their speeds
in m/s and rad/s.

Action: `[1]`, the force in units of 100 N.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec

__all__ = ["ENVS", "LENGTH", "make", "tip"]

LENGTH = 0.6
"""Length of the pole in metres."""
RAIL = 2.5
"""The cart stops here, in metres from the middle."""
GEAR, DAMPING, GRAVITY, STEP, STEPS = 100.0, 1.0, 9.81, 0.02, 2


class _Capsule(NamedTuple):
    """Mass in kg, and moment of inertia across its axis about its centre in kg m², of a rod with round ends."""

    mass: float
    inertia: float


def _capsule(radius: float, length: float, density: float = 1000.0) -> _Capsule:
    rod, ends = density * np.pi * radius**2 * length, density * 4.0 / 3.0 * np.pi * radius**3
    across = rod * (length**2 / 12.0 + radius**2 / 4.0)
    across += ends * (0.4 * radius**2 + length**2 / 4.0 + 3.0 / 8.0 * radius * length)
    return _Capsule(float(rod + ends), float(across))


CART, POLE = _capsule(0.1, 0.2), _capsule(0.049, float(np.hypot(0.001, LENGTH)))
CENTRE = (0.0005, -LENGTH / 2.0)
"""Where the pole's centre is from the hinge, across and up, when it hangs: its model is a millimetre askew."""


def _rates(state: Array, force: Array) -> Array:
    """Derivatives `[4]` of place, angle and their speeds; the angle is 0 where the pole hangs.

    The pole's centre moves as the cart does, and by `across` and `up` times the spin.
    """
    _, theta, speed, spin = state
    sine, cosine = jnp.sin(theta), jnp.cos(theta)
    across = -CENTRE[0] * sine + CENTRE[1] * cosine
    up = -CENTRE[0] * cosine - CENTRE[1] * sine
    total, turning = CART.mass + POLE.mass, POLE.inertia + POLE.mass * (CENTRE[0] ** 2 + CENTRE[1] ** 2)
    push = force - DAMPING * speed - POLE.mass * up * spin**2
    turn = -DAMPING * spin - POLE.mass * GRAVITY * up
    coupling = POLE.mass * across
    det = total * turning - coupling**2
    return jnp.stack([speed, spin, (turning * push - coupling * turn) / det, (total * turn - coupling * push) / det])


def _dynamics(state: Array, action: Array) -> Array:
    """Two steps of fourth order; the rail's end takes the cart's speed away (MuJoCo's lets it sink in a little)."""
    force = GEAR * jnp.clip(action[0], -3.0, 3.0)
    for _ in range(STEPS):
        k1 = _rates(state, force)
        k2 = _rates(state + 0.5 * STEP * k1, force)
        k3 = _rates(state + 0.5 * STEP * k2, force)
        k4 = _rates(state + STEP * k3, force)
        place, theta, speed, spin = state + STEP / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        stopped = jnp.abs(place) >= RAIL
        speed = jnp.where(stopped & (speed * place > 0), 0.0, speed)
        state = jnp.stack([jnp.clip(place, -RAIL, RAIL), theta, speed, spin])
    return state


def tip(obs: Array) -> Array:
    """Where the pole's end is, metres across and up `[..., 2]`, of `obs [..., 4]`."""
    place, theta = obs[..., 0], obs[..., 1]
    return jnp.stack([place - LENGTH * jnp.sin(theta), -LENGTH * jnp.cos(theta)], axis=-1)


def _reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """`exp(-|tip - (0, 0.6)|² / 0.36) - 0.01 action²` after the step."""
    del obs
    off = tip(next_obs) - jnp.asarray([0.0, LENGTH], next_obs.dtype).reshape((1,) * (next_obs.ndim - 1) + (2,))
    return jnp.exp(-jnp.square(off).sum(axis=-1) / LENGTH**2) - 0.01 * jnp.square(action).sum(axis=-1)


def make(name: str, *, time_limit: int = 200) -> Env:
    """Observations are place, angle (0 hanging, not wrapped), and their speeds; a start is N(0, 0.1) in each."""
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=4,
        action_dim=1,
        action_low=(-3.0,),
        action_high=(3.0,),
        time_limit=time_limit,
        dt=STEPS * STEP,
    )

    def start(key: Key) -> tuple[tuple[()], Array]:
        return (), 0.1 * jax.random.normal(key, (4,), float_dtype())

    def advance(key: Key, physics: tuple[()], obs: Array, action: Array) -> tuple[tuple[()], Array, Array, Array]:
        del key
        next_obs = _dynamics(obs, action)
        return physics, next_obs, _reward(obs, action, next_obs), jnp.zeros((), bool)

    return build(spec, start, advance, _reward, terminal=lambda obs: jnp.zeros(obs.shape[:-1], bool))


ENVS = {"pets_cartpole-v0": make}
"""What this module offers, by name, see `registry`."""
