"""Density ratios: classifiers that tell real transitions from imagined ones, and weights made of their logits.

Haghgoo et al., "Discriminator Augmented Model-Based RL" (2021), where a logit is a scalar; Ghugare et al., "Simplifying
Model-Based RL" (ICLR 2023), where a classifier has two outputs. Equation numbers are those of the paper named.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mbrl_jax.types import checked

__all__ = [
    "classifier_loss",
    "discriminator_loss",
    "effective_sample_size",
    "log_products",
    "log_ratio",
    "log_weight",
    "ratio_weight",
    "self_normalised",
    "sigmoid_weight",
]


def ratio_weight(logit: Array) -> Array:
    """Eq. 8: the density ratio `p / q = exp(logit)` of a Bayes-optimal discriminator's logits, any shape."""
    return jnp.exp(logit)


def sigmoid_weight(logit: Array) -> Array:
    """What Algorithm 1 prints in the place of Eq. 8: `sigma(logit)`, bounded by 1.

    Biased: a perfect model has logit 0 and weight 1/2, so the reward at step t is scaled by `2^-(t - 1)`.
    """
    return jax.nn.sigmoid(logit)


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


@checked
def classifier_loss(logits: Float[Array, "batch 2"], real: Bool[Array, " batch"]) -> Float[Array, " batch"]:
    r"""Cross-entropy of telling real next representations (class 1) from the model's (class 0), in nats.

    Source: Eq. 9, negated.
    """
    log_prob = jax.nn.log_softmax(logits)
    return -jnp.where(real, log_prob[:, 1], log_prob[:, 0])


@checked
def log_ratio(logits: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    r"""log C / (1 − C), which estimates log e(z' | s') − log m(z' | z, a) when both classes are shown equally often.

    Source: Sec. 4, the equation after Eq. 8.
    """
    return logits[..., 1] - logits[..., 0]
