"""Discriminator-augmented estimates: Haghgoo et al., "Discriminator Augmented Model-Based RL" (2021).

`rewards [..., T]` and `weights [..., T - 1]` run along a trajectory `s_1, a_1, ..., s_T, a_T` drawn from a model;
`weights[t]` belongs to the transition from step t to t + 1. Returns are undiscounted, as in Algorithm 1; fold a
discount into the rewards. With Bayes-optimal logits every estimate below except the sigmoid's is unbiased if the model
has mass wherever the true dynamics have.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.tabular import trajectories
from mbrl_jax.tabular.trajectories import Paths
from mbrl_jax.types import Values, checked

__all__ = [
    "minimum_variance_distribution",
    "minimum_variance_gradient",
    "step_logits",
    "stepwise_estimate",
    "stepwise_estimate_inclusive",
    "trajectory_estimate",
]


@checked
def trajectory_estimate(
    weights: Float[Values, "*batch transitions"], rewards: Float[Values, "*batch time"]
) -> Float[Array, "*batch"]:
    """Eq. 2 and 3, `[...]`: the whole return times the product of all weights."""
    return jnp.prod(weights, axis=-1) * rewards.sum(axis=-1)


@checked
def stepwise_estimate(
    weights: Float[Values, "*batch transitions"], rewards: Float[Values, "*batch transitions+1"]
) -> Float[Array, "*batch"]:
    """Algorithm 1, `[...]`: the reward at step t times the product of the weights of the transitions *before* t."""
    ones = jnp.ones_like(rewards[..., :1])
    return jnp.sum(jnp.concatenate([ones, jnp.cumprod(weights, axis=-1)], axis=-1) * rewards, axis=-1)


@checked
def stepwise_estimate_inclusive(
    weights: Float[Values, "*batch time"], rewards: Float[Values, "*batch time"]
) -> Float[Array, "*batch"]:
    """Eq. 4, `[...]`: as `stepwise_estimate` with the transition *after* step t in the product too.

    `weights` has one entry per reward, `[..., T]`. Same expectation, since `E_q[w] = 1`; each term has at least the
    variance of Algorithm 1's. Right where the reward depends on the next state.
    """
    return jnp.sum(jnp.cumprod(weights, axis=-1) * rewards, axis=-1)


@checked
def minimum_variance_distribution(
    log_probability: Float[Values, " paths"], returns: Float[Values, " paths"]
) -> Float[Array, " paths"]:
    """Eq. 9: log of `q*(tau) = R(tau) p(tau) / E_p[R]` over enumerated trajectories `[N]`; returns must be >= 0.

    Drawn from it, `w(tau) R(tau)` is the constant `E_p[R]`: the variance is zero.
    """
    return jax.nn.log_softmax(log_probability + jnp.log(returns))


@checked
def minimum_variance_gradient(
    log_probability: Float[Values, " paths"],
    returns: Float[Values, " paths"],
    logits: Float[Values, "states actions states"],
    paths: Paths,
) -> Float[Array, "states actions states"]:
    """Eq. 10 exactly: gradient `[S, A, S]` of `KL(q* || q)` in the logits of a softmax model.

    Args:
      log_probability: `[N]` log-probability of each enumerated trajectory under the true dynamics.
      returns: `[N]` their returns, non-negative.
      logits: `[S, A, S]`.
      paths: the trajectories.
    """
    share = jnp.exp(minimum_variance_distribution(log_probability, returns))
    before, action, after = paths.states[:, :-1], paths.actions[:, :-1], paths.states[:, 1:]
    counts = jnp.zeros_like(logits).at[before, action, after].add(share[:, None])
    return jax.nn.softmax(logits, axis=-1) * counts.sum(axis=-1, keepdims=True) - counts


@checked
def step_logits(
    true: Float[Values, "states actions states"], model: Float[Values, "states actions states"], paths: Paths
) -> Float[Array, "paths steps"]:
    """`[N, T - 1]` Bayes-optimal discriminator logits `log(p / q)` (Eq. 7) of each transition."""
    return jnp.log(trajectories.step_ratio(true, model, paths))
