"""Random finite MDPs, models and policies, for property tests and benchmarks.

Ours: distributions for tests, of no paper.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.tabular.mdp import MDP
from mbrl_jax.types import Key, Scalar, along, checked

__all__ = ["random_mdp", "random_model", "random_policy"]


@checked
def random_mdp(key: Key, states: int, actions: int, *, scale: Scalar = 1.0, dtype=jnp.float32) -> MDP:
    """A random MDP of at most `states` states and `actions` actions, embedded in arrays of exactly that size.

    The true numbers are drawn too (2 to `states`, 1 to `actions`). A surplus state is unreachable and absorbing, a
    surplus action copies action 0, so the embedded MDP has the same values as the smaller one.

    Args:
      key: random key.
      states: number of states of the arrays, at least 2.
      actions: number of actions of the arrays.
      scale: standard deviation of the softmax logits; above 30 most rows are nearly deterministic.
      dtype: float dtype of the result.

    Returns:
      An MDP with rewards in `(0.01, 10)` and a discount in `(0, 0.98)`.
    """
    k_size, k_step, k_reward, k_start, k_discount = jax.random.split(key, 5)
    sizes = jax.random.uniform(k_size, (2,))
    used_states = 2 + jnp.floor(sizes[0] * (states - 1)).astype(jnp.int32)
    used_actions = 1 + jnp.floor(sizes[1] * actions).astype(jnp.int32)
    real = jnp.arange(states, dtype=jnp.int32) < used_states
    logits = scale * jax.random.normal(k_step, (states, actions, states), dtype)
    step = jax.nn.softmax(jnp.where(along(real, logits), logits, -jnp.inf), axis=-1)
    step = jnp.where(real[:, None, None], step, jnp.eye(states, dtype=dtype)[:, None, :])
    reward = jnp.exp(jax.random.uniform(k_reward, (states, actions), dtype, jnp.log(0.01), jnp.log(10.0)))
    surplus = jnp.arange(actions, dtype=jnp.int32) >= used_actions
    step = jnp.where(surplus[None, :, None], step[:, :1], step)
    reward = jnp.where(surplus[None], reward[:, :1], reward)
    start = jax.nn.softmax(jnp.where(real, scale * jax.random.normal(k_start, (states,), dtype), -jnp.inf))
    return MDP(step, reward, start, 0.98 * jax.random.uniform(k_discount, (), dtype))


@checked
def random_policy(key: Key, mdp: MDP, *, scale: Scalar = 1.0) -> Float[Array, "states actions"]:
    """A random softmax policy `[S, A]`; actions that copy action 0 everywhere (`random_mdp`'s surplus) get no mass."""
    same_step = jnp.all(mdp.transition == mdp.transition[:, :1], axis=(0, 2))
    same_reward = jnp.all(mdp.reward == mdp.reward[:, :1], axis=0)
    surplus = same_step & same_reward & (jnp.arange(mdp.reward.shape[1]) > 0)
    logits = scale * jax.random.normal(key, mdp.reward.shape, mdp.reward.dtype)
    return jax.nn.softmax(jnp.where(surplus[None], -jnp.inf, logits), axis=-1)


@checked
def random_model(key: Key, mdp: MDP, *, scale: Scalar = 1.0) -> Float[Array, "states actions states"]:
    """Random dynamics `[S, A, S]` with the true support: the true row, re-weighted by a log-normal factor.

    `scale` is the standard deviation of the log factor: 0 gives the true dynamics, above 30 an almost arbitrary
    deterministic model.
    """
    noise = scale * jax.random.normal(key, mdp.transition.shape, mdp.transition.dtype)
    return jax.nn.softmax(jnp.log(mdp.transition) + noise, axis=-1)
