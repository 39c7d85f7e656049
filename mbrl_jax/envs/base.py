"""What every environment shares: the state record and the step that keeps the contract of `types.Env`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mbrl_jax.envs.contract import ContractError, check_parts
from mbrl_jax.types import Env, Key, PyTree, Spec, Transition, Values, along, checked

__all__ = [
    "Advance",
    "EnvState",
    "Start",
    "build",
    "checked_action",
    "float_dtype",
    "namespace",
    "restart",
    "to_env",
]


class EnvState(NamedTuple):
    """State of one episode.

    Attributes:
      obs: the current observation, `[obs_dim]`.
      physics: whatever the environment itself carries; a pytree of arrays.
      t: int32 `[]`, steps taken in this episode.
      failures: int32 `[]`, steps of this episode that were non-finite and therefore ended it.
    """

    obs: Array
    physics: PyTree
    t: Array
    failures: Array


Start = Callable[..., tuple[PyTree, Array]]
"""`start(key) -> (physics, obs)`; `start(key, wanted)` where `build` is told so."""
Advance = Callable[[Key, PyTree, Array, Array], tuple[PyTree, Array, Array, Array]]
"""`advance(key, physics, obs, action) -> (physics, next_obs, reward, terminated)`.

An engine says that its state is no longer finite, where the observation does not show it, by a reward of NaN.
"""


def float_dtype() -> np.dtype:
    """Type of observations and rewards: float32, or float64 where JAX runs in its 64-bit mode."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def namespace(array: Values) -> Any:
    """`numpy` or `jax.numpy`, whichever an array `[...]` belongs to: a task is written once and serves every engine."""
    return array.__array_namespace__()


def build(
    spec: Spec,
    start: Start,
    advance: Advance,
    reward: Callable[[Array, Array, Array], Array] | None = None,
    terminal: Callable[[Array], Array] | None = None,
    *,
    selective: bool = False,
    traced: bool = True,
) -> Env:
    """An `Env` from a task's start and transition functions.

        >>> bounds = {"action_low": (-1.0,), "action_high": (1.0,)}
        >>> spec = mb.Spec(name="walk-v0", engine="jax", obs_dim=1, action_dim=1, time_limit=9, **bounds)
        >>> def start(key):  # what the environment carries, and what is observed
        ...     return jnp.zeros(1), jnp.zeros(1)
        >>> def advance(key, at, obs, action):
        ...     return at + action, at + action, -jnp.abs(at[0]), jnp.abs(at[0]) > 5.0
        >>> env = mb.build_env(spec, start, advance)

    The step counts time, sets exactly one of termination (`discount` 0) and `truncated`, and guards against numbers
    that are not finite: a step whose action or outcome has a NaN or an infinity ends the episode as a termination
    with reward 0, leaves the state where it was and adds one to `failures`, so that nothing spreads.

    With `selective`, `start(key, wanted)` takes a bool `[]` as well and may return anything of those shapes where it
    is false: the environment then has a `restart`.

    Every function is traced once, and nothing compiled, to check what it returns (`envs.contract`); `traced=False`
    leaves that out, for engines whose steps take seconds to trace and whose tasks have tests.

    Args:
      spec: what it is.
      start: how an episode starts, see `Start`.
      advance: how it goes on, see `Advance`.
      reward: `reward(obs [..., obs_dim], action [..., action_dim], next_obs [..., obs_dim]) -> [...]`, the task's, or
        None where it is no function of these.
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's, or None where it is no function of this.
      selective: whether `start` takes `wanted`.
      traced: whether what the functions return is checked.

    Raises:
      ValueError: the spec or what a function returns breaks a rule of `types.Env`; names field, rule and value. At
        trace time, if an action's shape is not `[action_dim]`.
      TypeError: at trace time, if an action is not of a real number type.
    """
    if traced:
        try:
            check_parts(spec, start, advance, reward, terminal, selective=selective)
        except ContractError as error:
            raise ContractError(f"{spec.name!r} cannot be built: {error}") from None

    def reset(key: Key, *wanted: Array) -> EnvState:
        physics, obs = start(key, *wanted)
        zero = jnp.zeros((), jnp.int32)
        return EnvState(jnp.asarray(obs, float_dtype()), jax.tree.map(_strong, physics), zero, zero)

    def restart_some(key: Key, ended: Array, state: EnvState) -> EnvState:
        return _choose(ended, reset(key, ended), state)

    return Env(reset, _guarded(spec, advance), spec, reward, terminal, restart=restart_some if selective else None)


def _guarded(spec: Spec, advance: Advance) -> Callable[[Key, EnvState, Array], tuple[EnvState, Transition]]:
    """The step of `build`: counts time, and keeps what is not finite from the state."""

    def step(key: Key, state: EnvState, action: Array) -> tuple[EnvState, Transition]:
        action = checked_action(spec, action)
        valid = jnp.isfinite(action).all()
        action = jnp.where(valid, action, jnp.zeros_like(action))
        physics, obs, gain, terminated = advance(key, state.physics, state.obs, action)
        obs, gain = jnp.asarray(obs, float_dtype()), jnp.asarray(gain, float_dtype())
        valid &= jnp.isfinite(obs).all() & jnp.isfinite(gain)
        before = (state.physics, state.obs)
        physics, obs = jax.tree.map(lambda new, old: jnp.where(valid, new, old), (physics, obs), before)
        terminated = terminated | ~valid
        t = state.t + 1
        transition = Transition(
            obs=state.obs,
            action=action,
            reward=jnp.where(valid, gain, jnp.zeros_like(gain)),
            discount=jnp.where(terminated, 0.0, 1.0).astype(float_dtype()),
            next_obs=obs,
            truncated=(t >= spec.time_limit) & ~terminated,
        )
        return EnvState(obs, physics, t, state.failures + (~valid).astype(jnp.int32)), transition

    return step


def _strong(leaf: ArrayLike) -> Array:
    """An array that keeps its dtype in a loop, which a number of Python, of a weak type, does not."""
    array = jnp.asarray(leaf)
    return array.astype(array.dtype) if array.weak_type else array


def restart(key: Key, env: Env, ended: Array, state: PyTree) -> PyTree:
    """`state`, or, where `ended` (bool `[]`), the fresh one of `env.reset(key)`."""
    if env.restart is not None:
        return env.restart(key, ended, state)
    return _choose(ended, env.reset(key), state)


def _choose(ended: Array, fresh: PyTree, state: PyTree) -> PyTree:
    return jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, state)


def checked_action(spec: Spec, action: ArrayLike) -> Array:
    """One action, anything that is an array `[action_dim]`, as floats `[action_dim]` in the environment's units.

    Raises:
      ValueError: if its shape is not `[action_dim]`.
      TypeError: if it is not of a real number type.
    """
    action = jnp.asarray(action)
    if action.shape != (spec.action_dim,):
        raise ValueError(
            f"an action of {spec.name} must have shape {(spec.action_dim,)}, got {action.shape}"
            " (vmap the step for a batch of environments)"
        )
    if not (jnp.issubdtype(action.dtype, jnp.floating) or jnp.issubdtype(action.dtype, jnp.integer)):
        raise TypeError(f"an action of {spec.name} must be of a real number type, got {action.dtype}")
    return action.astype(float_dtype())


@checked
def to_env(spec: Spec, action: Float[Array, "*batch action_dim"]) -> Float[Array, "*batch action_dim"]:
    """Maps actions `[..., action_dim]` in [-1, 1], beyond which they are clipped, to the environment's units.

    An entry that is not finite becomes NaN: clipping must not hide an infinity from the environment's guard.
    """
    low, high = jnp.asarray(spec.action_low, float_dtype()), jnp.asarray(spec.action_high, float_dtype())
    low, high = along(low, action), along(high, action)
    scaled = low + 0.5 * (jnp.clip(action, -1.0, 1.0) + 1.0) * (high - low)
    return jnp.where(jnp.isfinite(action), scaled, jnp.nan)
