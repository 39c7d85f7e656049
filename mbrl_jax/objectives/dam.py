"""Discriminator-augmented estimates: Haghgoo et al., "Discriminator Augmented Model-Based RL" (2021).

`rewards [..., T]` and `weights [..., T - 1]` run along a trajectory `s_1, a_1, ..., s_T, a_T` drawn from a model;
`weights[t]` belongs to the transition from step t to t + 1. Returns are undiscounted, as in Algorithm 1; fold a
discount into the rewards. With Bayes-optimal logits every estimate below except the sigmoid's is unbiased if the model
has mass wherever the true dynamics have.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.tabular import trajectories
from mbrl_jax.tabular.trajectories import Paths

__all__ = [
    "discriminator_loss",
    "effective_sample_size",
    "log_products",
    "log_weight",
    "minimum_variance_distribution",
    "minimum_variance_gradient",
    "minimum_variance_loss",
    "ratio_weight",
    "return_weights",
    "self_normalised",
    "sigmoid_weight",
    "step_logits",
    "stepwise_estimate",
    "stepwise_estimate_inclusive",
    "trajectory_estimate",
]


def ratio_weight(logit: Array) -> Array:
    """Eq. 8: the density ratio `p / q = exp(logit)` of a Bayes-optimal discriminator's logits, any shape."""
    return jnp.exp(logit)


def sigmoid_weight(logit: Array) -> Array:
    """What Algorithm 1 prints in the place of Eq. 8: `sigma(logit)`, bounded by 1.

    Biased: a perfect model has logit 0 and weight 1/2, so the reward at step t is scaled by `2^-(t - 1)`.
    """
    return jax.nn.sigmoid(logit)


def trajectory_estimate(weights: Array, rewards: Array) -> Array:
    """Eq. 2 and 3, `[...]`: the whole return times the product of all weights."""
    return jnp.prod(weights, axis=-1) * rewards.sum(axis=-1)


def log_weight(logit: Array, form: float | Array = 0.0) -> Array:
    """Logarithm of a transition's weight, any shape: `logit` (Eq. 8) for form 0, `log sigma(logit)` for form 1.

    A number, so that both forms are lanes of one program; in between it gives geometric means of the two.
    """
    return (1.0 - form) * logit + form * jax.nn.log_sigmoid(logit)


def log_products(log_weights: Array, limit: float | Array) -> Array:
    """Logarithms `[..., T]` of the weights of the rewards in Algorithm 1: 0, then sums over the transitions before.

    Args:
      log_weights: `[..., T - 1]` of the transitions.
      limit: largest logarithm of a product, at least 0.

    Bias: none as long as no product is clipped; clipping lowers the estimates of positive rewards.
    """
    first = jnp.zeros((*log_weights.shape[:-1], 1), log_weights.dtype)
    product = jnp.concatenate([first, jnp.cumsum(log_weights, axis=-1)], axis=-1)
    return jnp.minimum(product, limit)


def self_normalised(log_weights: Array, share: float | Array = 1.0, axis: int = -1) -> Array:
    """Log-weights of samples of one model, less `share` times the logarithm of the weights' mean along an axis.

    For 1 the weights have the mean 1 that exact ones have in expectation (self-normalised importance sampling, Owen
    2013, Sec. 9.2; not in the paper), and none exceeds the number of samples; 0 leaves them as they are. A number, so
    that both are lanes of one program. Where all weights are 0 they stay 0.

    Bias: of order 1/n with n samples, for a normalised estimate; a single sample gets the weight 1 whatever it was.
    """
    size = jnp.log(jnp.asarray(log_weights.shape[axis], log_weights.dtype))
    log_mean = jax.nn.logsumexp(log_weights, axis=axis, keepdims=True) - size
    return log_weights - share * jnp.where(jnp.isfinite(log_mean), log_mean, 0.0)


def effective_sample_size(weights: Array, axis: int = -1) -> Array:
    """`(sum w)^2 / sum w^2` along an axis: how many equally weighted samples are worth as much; 0 if all are 0."""
    top = jnp.max(weights, axis=axis, keepdims=True)
    scaled = weights / jnp.where(top > 0, top, 1.0)
    squares = jnp.square(scaled).sum(axis=axis)
    return jnp.square(scaled.sum(axis=axis)) / jnp.where(squares > 0, squares, 1.0)


def discriminator_loss(real_logit: Array, fake_logit: Array) -> Array:
    """Algorithm 2, `[...]`: `-log D(real) - log(1 - D(fake))`; least at the logit `log(p / q)` (Eq. 5 to 7)."""
    return jax.nn.softplus(-real_logit) + jax.nn.softplus(fake_logit)


def return_weights(returns: Array, valid: Array) -> Array:
    """Returns of trajectories `[N]` as weights for Eq. 10: shifted so that the least is 0, scaled to mean 1.

    Eq. 9 needs returns >= 0, and tasks have negative ones; the paper does not say what is done about it. Where all
    returns are equal, all weights are 1.

    Args:
      returns: `[N]`.
      valid: bool `[N]`, which of them there are; the others get weight 0.
    """
    shifted = jnp.where(valid, returns - jnp.min(jnp.where(valid, returns, jnp.inf)), 0.0)
    mean = shifted.sum() / jnp.maximum(valid.sum(), 1)
    alike = valid.astype(returns.dtype)
    return jnp.where(mean > 0, shifted / jnp.where(mean > 0, mean, 1.0), alike)


def stepwise_estimate(weights: Array, rewards: Array) -> Array:
    """Algorithm 1, `[...]`: the reward at step t times the product of the weights of the transitions *before* t."""
    ones = jnp.ones_like(rewards[..., :1])
    return jnp.sum(jnp.concatenate([ones, jnp.cumprod(weights, axis=-1)], axis=-1) * rewards, axis=-1)


def stepwise_estimate_inclusive(weights: Array, rewards: Array) -> Array:
    """Eq. 4, `[...]`: as `stepwise_estimate` with the transition *after* step t in the product too.

    `weights` has one entry per reward, `[..., T]`. Same expectation, since `E_q[w] = 1`; each term has at least the
    variance of Algorithm 1's. Right where the reward depends on the next state.
    """
    return jnp.sum(jnp.cumprod(weights, axis=-1) * rewards, axis=-1)


def minimum_variance_distribution(log_probability: Array, returns: Array) -> Array:
    """Eq. 9: log of `q*(tau) = R(tau) p(tau) / E_p[R]` over enumerated trajectories `[N]`; returns must be >= 0.

    Drawn from it, `w(tau) R(tau)` is the constant `E_p[R]`: the variance is zero.
    """
    return jax.nn.log_softmax(log_probability + jnp.log(returns))


def minimum_variance_loss(step_log_probability: Array, returns: Array) -> Array:
    """Eq. 10 and 19 as a loss per real trajectory, `[...]`: `-R(tau) sum_t log q(s_{t+1} | s_t, a_t)`.

    Args:
      step_log_probability: `[..., T - 1]` of the model at real transitions; gradients flow through it.
      returns: `[...]` non-negative returns of the trajectories, constants; shift them first where they can be negative.

    Bias: none, up to the factor `E_p[R]`, for the gradient of `KL(q* || q)`.
    """
    return -jax.lax.stop_gradient(returns) * step_log_probability.sum(axis=-1)


def minimum_variance_gradient(log_probability: Array, returns: Array, logits: Array, paths: Paths) -> Array:
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


def step_logits(true: Array, model: Array, paths: Paths) -> Array:
    """`[N, T - 1]` Bayes-optimal discriminator logits `log(p / q)` (Eq. 7) of each transition."""
    return jnp.log(trajectories.step_ratio(true, model, paths))
