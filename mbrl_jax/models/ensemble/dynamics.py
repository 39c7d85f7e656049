"""A fitted ensemble as a model to roll out: a new elite at every step (TS1), or one for the whole roll-out (TS∞).

Source: Chua et al., 2018, Sec. 5 (TS1, TS∞); MBPO's released code (`fake_env.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.models.ensemble.network import Config, State, predict
from mbrl_jax.rollouts import memoryless
from mbrl_jax.types import Dynamics, Imagined, Key, Spec

__all__ = ["fixed_members", "random_elites"]


def _ended(terminal: Callable[[Array], Array] | None, next_obs: Array) -> Array:
    """The discount of steps to `next_obs[batch, obs_dim]`: 0 where the task ends there."""
    ended = jnp.zeros(next_obs.shape[:1], bool) if terminal is None else terminal(next_obs)
    return 1.0 - ended.astype(next_obs.dtype)


def _drawn(config: Config, key: Key, mean: Array, log_var: Array) -> Array:
    """A draw from the members' Gaussians, or their means, of the same shape."""
    if config.deterministic:
        return mean
    return mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape, mean.dtype)


def random_elites(
    config: Config, spec: Spec, state: State, terminal: Callable[[Array], Array] | None = None
) -> Dynamics[tuple[()]]:
    """The elites as a model to roll out: at every step each row gets a uniformly random one and a draw from it (TS1).

    Randomly permuted rows are dealt in turn to randomly permuted elites. So each row's elite is exactly uniform and
    independent between steps, shares differ by at most one row, and every elite computes only its share (the released
    code draws every row's elite independently and computes all members for every row).

    Args:
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's termination; None if it never terminates.
    """
    count = config.elites

    def step(key: Key, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        k_deal, k_elites, k_noise = jax.random.split(key, 3)
        batch = obs.shape[0]
        share = -(-batch // count)
        order = jax.random.permutation(k_deal, batch)
        # Places left over are filled with rows that do not exist: read as the last row, dropped when written.
        filled = jnp.concatenate([order, jnp.arange(batch, share * count, dtype=order.dtype)])
        dealt = filled.reshape(share, count).T
        elites = jax.random.permutation(k_elites, state.elites)
        rows = jnp.minimum(dealt, batch - 1)
        mean, log_var = predict(config, spec, state, obs[rows], action[rows], elites)
        flat = _drawn(config, k_noise, mean, log_var).reshape(share * count, -1)
        out = jnp.zeros_like(flat[:batch]).at[dealt.reshape(-1)].set(flat, mode="drop", unique_indices=True)
        return out[:, 1:], out[:, 0], _ended(terminal, out[:, 1:])

    return memoryless(step)


def fixed_members(
    config: Config, spec: Spec, state: State, terminal: Callable[[Array], Array] | None = None
) -> Dynamics[Array]:
    """Every row keeps the elite that it draws at the start (TS∞ of Chua et al., 2018); its memory is the member.

    Whoever wants a certain member gives its index as the memory, elite or not: all members are computed for every row.

    Args:
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's termination; None if it never terminates.
    """
    members = jnp.arange(config.members)

    def start(key: Key, obs: Array) -> Array:
        return state.elites[jax.random.randint(key, obs.shape[:1], 0, config.elites)]

    def step(key: Key, member: Array, obs: Array, action: Array) -> tuple[Array, Imagined]:
        every_obs, every_action = (jnp.broadcast_to(x, (config.members, *x.shape)) for x in (obs, action))
        mean, log_var = predict(config, spec, state, every_obs, every_action, members)
        mean, log_var = (x[member, jnp.arange(obs.shape[0])] for x in (mean, log_var))
        out = _drawn(config, key, mean, log_var)
        return member, Imagined(out[:, 1:], out[:, 0], _ended(terminal, out[:, 1:]))

    return Dynamics(start, step)
