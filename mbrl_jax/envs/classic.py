"""Classic control with continuous actions: Gym's definitions, and the benchmark variants of Wang et al. (2019).

Gym's CartPole and Acrobot take discrete actions. Here, as in Wang et al., the action is a number in [-1, 1] and is
rounded to the nearest of Gym's; everything else of `cartpole-v1` and `acrobot-v1` is Gym's. The `mbbl_` variants
(Wang et al., "Benchmarking model-based reinforcement learning", and its code) pay for the state before the step and
never end an episode before 200 steps.

Observation: pendulum `[3]` (cos θ, sin θ, θ̇ in rad/s), θ = 0 upright. Cartpole `[4]` (place in metres, speed in m/s, θ
in radians, θ̇ in rad/s). Acrobot `[6]` (cos θ₁, sin θ₁, cos θ₂, sin θ₂, θ̇₁, θ̇₂ in rad/s), θ = 0 hanging. Mountain car
`[2]` (place, place per step), without a unit.

Action: `[1]`. Pendulum: a torque in N m. Cartpole, acrobot: a choice among forces of ±10 N, among torques of −1, 0 and
1 N m. Mountain car: the share of the engine's power.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec

__all__ = ["ENVS", "SYSTEMS", "System", "make"]


def _never(next_obs: Array) -> Array:
    return jnp.zeros(next_obs.shape[:-1], bool)


@dataclass(frozen=True, kw_only=True)
class System:
    """One task. States are `[n]`; `reward` and `terminal` are batched functions of observations `[..., O]`.

    Attributes:
      low: lower bounds of a random initial state.
      high: upper bounds of it.
      dynamics: `dynamics(state, action) -> next_state`.
      reward: `reward(obs, action, next_obs)`.
      obs_dim: number of observation entries.
      time_limit: steps until an episode is truncated.
      dt: seconds per step.
      observe: `observe(state [n]) -> obs [obs_dim]`.
      terminal: `terminal(next_obs)`.
      bound: actions lie within ± this.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    dynamics: Callable[[Array, Array], Array]
    reward: Callable[[Array, Array, Array], Array]
    obs_dim: int
    time_limit: int
    dt: float
    observe: Callable[[Array], Array] = lambda state: state
    terminal: Callable[[Array], Array] = _never
    bound: float = 1.0


def make(name: str, *, time_limit: int | None = None) -> Env:
    """The task of that name in `SYSTEMS`, on JAX."""
    system = SYSTEMS[name]
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=system.obs_dim,
        action_dim=1,
        action_low=(-system.bound,),
        action_high=(system.bound,),
        time_limit=system.time_limit if time_limit is None else time_limit,
        dt=system.dt,
    )

    def start(key: Key) -> tuple[Array, Array]:
        low, high = jnp.asarray(system.low, float_dtype()), jnp.asarray(system.high, float_dtype())
        state = jax.random.uniform(key, low.shape, low.dtype, low, high)
        return state, system.observe(state)

    def advance(key: Key, state: Array, obs: Array, action: Array) -> tuple[Array, Array, Array, Array]:
        del key
        state = system.dynamics(state, action)
        next_obs = system.observe(state)
        return state, next_obs, system.reward(obs, action, next_obs), system.terminal(next_obs)

    return build(spec, start, advance, system.reward, system.terminal)


def _ones(obs: Array, action: Array, next_obs: Array) -> Array:
    return jnp.ones_like(obs[..., 0])


def _pendulum(state: Array, action: Array) -> Array:
    """Gym's Pendulum: g 10, mass 1, length 1, semi-implicit Euler of 0.05 s, speed within ±8, torque clipped to ±2."""
    theta, velocity = state
    velocity += (15.0 * jnp.sin(theta) + 3.0 * jnp.clip(action[0], -2.0, 2.0)) * 0.05
    velocity = jnp.clip(velocity, -8.0, 8.0)
    return jnp.stack([theta + velocity * 0.05, velocity])


def _see_pendulum(state: Array) -> Array:
    return jnp.stack([jnp.cos(state[0]), jnp.sin(state[0]), state[1]])


def _upright(obs: Array, action: Array, next_obs: Array) -> Array:
    """`-(theta^2 + 0.1 velocity^2 + 0.001 torque^2)` before the step, theta from the upright in ±pi."""
    del next_obs
    torque = jnp.clip(action[..., 0], -2.0, 2.0)
    return -(jnp.arctan2(obs[..., 1], obs[..., 0]) ** 2 + 0.1 * obs[..., 2] ** 2 + 0.001 * torque**2)


def _hanging(obs: Array, action: Array, next_obs: Array) -> Array:
    """Wang et al.: `-(cos + 0.1 |sin| + 0.1 velocity^2 + 0.001 torque^2)`; it does reward hanging down."""
    del next_obs
    torque = jnp.clip(action[..., 0], -2.0, 2.0)
    return -(obs[..., 0] + 0.1 * jnp.abs(obs[..., 1]) + 0.1 * obs[..., 2] ** 2 + 0.001 * torque**2)


def _cartpole(state: Array, action: Array) -> Array:
    """Gym's cart (1 kg) and pole (0.1 kg, half length 0.5): ±10 N, explicit Euler of 0.02 s."""
    _, speed, theta, spin = state
    force = jnp.where(action[0] > 0, 10.0, -10.0)
    cosine, sine = jnp.cos(theta), jnp.sin(theta)
    push = (force + 0.05 * spin**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    rates = jnp.stack([speed, push - 0.05 * turn * cosine / 1.1, spin, turn])
    return state + 0.02 * rates


def _cartpole_fell(next_obs: Array) -> Array:
    return (jnp.abs(next_obs[..., 0]) > 2.4) | (jnp.abs(next_obs[..., 2]) > 12 * jnp.pi / 180)


def _acrobot_rates(state: Array, torque: Array) -> Array:
    """Two links of 1 kg and 1 m, centres of mass at 0.5 m, moments of inertia 1 (Sutton and Barto's version)."""
    theta1, theta2, spin1, spin2 = state
    cosine, sine = jnp.cos(theta2), jnp.sin(theta2)
    d1 = 0.25 + (1.0 + 0.25 + cosine) + 2.0
    d2 = 0.25 + 0.5 * cosine + 1.0
    phi2 = 0.5 * 9.8 * jnp.cos(theta1 + theta2 - jnp.pi / 2)
    phi1 = -0.5 * spin2**2 * sine - spin2 * spin1 * sine + 1.5 * 9.8 * jnp.cos(theta1 - jnp.pi / 2) + phi2
    turn2 = (torque + d2 / d1 * phi1 - 0.5 * spin1**2 * sine - phi2) / (0.25 + 1.0 - d2**2 / d1)
    return jnp.stack([spin1, spin2, -(d2 * turn2 + phi1) / d1, turn2])


def _acrobot(threshold: float) -> Callable[[Array, Array], Array]:
    """One Runge–Kutta step of 0.2 s with torque -1, 0 or 1: 0 where |action| is below the threshold."""

    def dynamics(state: Array, action: Array) -> Array:
        torque = jnp.where(action[0] < -threshold, -1.0, jnp.where(action[0] < threshold, 0.0, 1.0))
        h, rates = 0.2, lambda at: _acrobot_rates(at, torque)
        k1 = rates(state)
        k2 = rates(state + h / 2 * k1)
        k3 = rates(state + h / 2 * k2)
        k4 = rates(state + h * k3)
        angles, spins = jnp.split(state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), 2)
        limits = jnp.asarray([4 * jnp.pi, 9 * jnp.pi], state.dtype)
        wrapped = jnp.mod(angles + jnp.pi, 2 * jnp.pi) - jnp.pi
        return jnp.concatenate([wrapped, jnp.clip(spins, -limits, limits)])

    return dynamics


def _see_acrobot(state: Array) -> Array:
    first, second = state[:2]
    return jnp.stack([jnp.cos(first), jnp.sin(first), jnp.cos(second), jnp.sin(second), state[2], state[3]])


def _height(obs: Array) -> Array:
    """Height of the tip above the pivot: `-cos(theta1) - cos(theta1 + theta2)`."""
    return -obs[..., 0] - (obs[..., 0] * obs[..., 2] - obs[..., 1] * obs[..., 3])


def _car(state: Array, action: Array) -> Array:
    """Gym's continuous mountain car: power 0.0015, an inelastic wall at the left end, speed within ±0.07."""
    force = jnp.clip(action[0], -1.0, 1.0)
    speed = jnp.clip(state[1] + 0.0015 * force - 0.0025 * jnp.cos(3 * state[0]), -0.07, 0.07)
    place = jnp.clip(state[0] + speed, -1.2, 0.6)
    return jnp.stack([place, jnp.where((place == -1.2) & (speed < 0), 0.0, speed)])


def _arrived(next_obs: Array) -> Array:
    return (next_obs[..., 0] >= 0.45) & (next_obs[..., 1] >= 0)


def _drive(obs: Array, action: Array, next_obs: Array) -> Array:
    return jnp.where(_arrived(next_obs), 100.0, 0.0) - 0.1 * action[..., 0] ** 2


_PENDULUM = System(
    low=(-jnp.pi, -1.0),
    high=(jnp.pi, 1.0),
    dynamics=_pendulum,
    observe=_see_pendulum,
    obs_dim=3,
    reward=_upright,
    bound=2.0,
    time_limit=200,
    dt=0.05,
)
_CARTPOLE = System(
    low=(-0.05,) * 4,
    high=(0.05,) * 4,
    dynamics=_cartpole,
    obs_dim=4,
    reward=_ones,
    terminal=_cartpole_fell,
    time_limit=500,
    dt=0.02,
)
_ACROBOT = System(
    low=(-0.1,) * 4,
    high=(0.1,) * 4,
    dynamics=_acrobot(1 / 3),
    observe=_see_acrobot,
    obs_dim=6,
    reward=lambda obs, action, next_obs: jnp.where(_height(next_obs) > 1.0, 0.0, -1.0),
    terminal=lambda next_obs: _height(next_obs) > 1.0,
    time_limit=500,
    dt=0.2,
)
SYSTEMS: dict[str, System] = {
    "pendulum-v1": _PENDULUM,
    "mbbl_pendulum-v0": replace(_PENDULUM, reward=_hanging),
    "cartpole-v1": _CARTPOLE,
    "mbbl_cartpole-v0": replace(
        _CARTPOLE,
        reward=lambda obs, action, next_obs: jnp.cos(obs[..., 2]) - 0.01 * obs[..., 0] ** 2,
        terminal=_never,
        time_limit=200,
    ),
    "acrobot-v1": _ACROBOT,
    "mbbl_acrobot-v0": replace(
        _ACROBOT,
        dynamics=_acrobot(0.33),
        reward=lambda obs, action, next_obs: _height(obs),
        terminal=_never,
        time_limit=200,
    ),
    "mountain_car_continuous-v0": System(
        low=(-0.6, 0.0),
        high=(-0.4, 0.0),
        dynamics=_car,
        obs_dim=2,
        reward=_drive,
        terminal=_arrived,
        time_limit=999,
        dt=0.0,
    ),
}


ENVS = dict.fromkeys(SYSTEMS, make)
"""What this module offers, by name, see `registry`."""
