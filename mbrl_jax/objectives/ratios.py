"""Density ratios: classifiers that tell real transitions from imagined ones, and weights made of their logits.

Haghgoo et al., "Discriminator Augmented Model-Based RL" (2021), where a logit is a scalar; Eysenbach et al.,
"Mismatched No More" (2022), where it is part of the reward; Ghugare et al., "Simplifying Model-Based RL" (ICLR 2023),
where a classifier has two outputs. Equation numbers are those of the paper named.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mbrl_jax.tabular import divergence
from mbrl_jax.types import Scalar, Values, checked

__all__ = [
    "Terms",
    "classifier_logit",
    "classifier_loss",
    "classifier_reward",
    "discriminator_loss",
    "effective_sample_size",
    "log_products",
    "log_ratio",
    "log_weight",
    "ratio_weight",
    "self_normalised",
    "sigmoid_weight",
    "switched_reward",
]


@checked
def ratio_weight(logit: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Eq. 8: the density ratio `p / q = exp(logit)` of a Bayes-optimal discriminator's logits, any shape."""
    return jnp.exp(logit)


@checked
def sigmoid_weight(logit: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """What Algorithm 1 prints in the place of Eq. 8: `sigma(logit)`, bounded by 1.

    Biased: a perfect model has logit 0 and weight 1/2, so the reward at step t is scaled by `2^-(t - 1)`.
    """
    return jax.nn.sigmoid(logit)


@checked
def log_weight(logit: Float[Array, "*batch"], form: Scalar = 0.0) -> Float[Array, "*batch"]:
    """Logarithm of a transition's weight, any shape: `logit` (Eq. 8) for form 0, `log sigma(logit)` for form 1.

    A number, so that both forms are lanes of one program; in between it gives geometric means of the two.
    """
    return (1.0 - form) * logit + form * jax.nn.log_sigmoid(logit)


@checked
def log_products(log_weights: Float[Array, "*batch steps"], limit: Scalar) -> Float[Array, "*batch steps+1"]:
    """Logarithms `[..., T]` of the weights of the rewards in Algorithm 1: 0, then sums over the transitions before.

    Args:
      log_weights: `[..., T - 1]` of the transitions.
      limit: largest logarithm of a product, at least 0.

    Bias: none as long as no product is clipped; clipping lowers the estimates of positive rewards.
    """
    first = jnp.zeros((*log_weights.shape[:-1], 1), log_weights.dtype)
    product = jnp.concatenate([first, jnp.cumsum(log_weights, axis=-1)], axis=-1)
    return jnp.minimum(product, limit)


@checked
def self_normalised(log_weights: Float[Array, "*batch"], share: Scalar = 1.0, axis: int = -1) -> Float[Array, "*batch"]:
    """Log-weights of samples of one model, less `share` times the logarithm of the weights' mean along an axis.

    For 1 the weights have the mean 1 that exact ones have in expectation (self-normalised importance sampling, Owen
    2013, Sec. 9.2; not in the paper), and none exceeds the number of samples; 0 leaves them as they are. A number, so
    that both are lanes of one program. Where all weights are 0 they stay 0.

    Bias: of order 1/n with n samples, for a normalised estimate; a single sample gets the weight 1 whatever it was.
    """
    size = jnp.log(jnp.asarray(log_weights.shape[axis], log_weights.dtype))
    log_mean = jax.nn.logsumexp(log_weights, axis=axis, keepdims=True) - size
    return log_weights - share * jnp.where(jnp.isfinite(log_mean), log_mean, 0.0)


@checked
def effective_sample_size(weights: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """`(sum w)^2 / sum w^2` along an axis: how many equally weighted samples are worth as much; 0 if all are 0.

    Source: Owen, *Monte Carlo Theory, Methods and Examples*, 2013, Sec. 9.3.
    """
    top = jnp.max(weights, axis=axis, keepdims=True)
    scaled = weights / jnp.where(top > 0, top, 1.0)
    squares = jnp.square(scaled).sum(axis=axis)
    return jnp.square(scaled.sum(axis=axis)) / jnp.where(squares > 0, squares, 1.0)


@checked
def discriminator_loss(
    real_logit: Float[Array, "*batch"], fake_logit: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
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


@checked
def classifier_logit(
    transition: Float[Values, "*batch next"], model: Float[Values, "*batch next"]
) -> Float[Array, "*batch next"]:
    """Log-odds of the Bayes-optimal classifier between real and model next states: `log(p / q)`, in nats.

    Minus infinity where only the model has mass, 0 where neither has.

    Source: Eysenbach et al., below Eq. 4.
    """
    return divergence.log_ratio(transition, model)


@checked
def classifier_reward(
    reward: Float[Array, "*#batch"], logit: Float[Array, "*#batch"], discount: Scalar
) -> Float[Array, "*batch"]:
    r"""The augmented reward estimated by a classifier, on the scale of Eq. 3.

    $$ (1-\gamma) \log r + \log\tfrac{C}{1-C} - (1-\gamma) \log(1-\gamma) $$

    Eq. 5 as printed drops both factors `(1 - gamma)`; with them, a Bayes-optimal classifier gives exactly Eq. 3, and
    Appendix D.3 uses them too.

    Args:
      reward: positive rewards, any shape.
      logit: the classifier's log-odds for a real transition, same shape up to broadcasting.
      discount: scalar in `[0, 1)`.

    Returns:
      Augmented rewards in nats; differentiable in the logits.

    Source: Eysenbach et al., Eq. 5.
    """
    return (1 - discount) * (jnp.log(reward) - jnp.log1p(-discount)) + logit


class Terms(NamedTuple):
    """Which terms of MnM's Eq. 3 a method uses; numbers, so that methods are lanes of one program.

    Attributes:
      log: 1 takes `(1 - gamma) log r` as the reward (MnM), 0 takes `r` (VMBPO, Q-learning).
      classifier: 1 adds the classifier term, 0 leaves it out.
      model: 1 learns the optimistic model, 0 keeps the true dynamics.
    """

    log: Scalar
    classifier: Scalar
    model: Scalar


@checked
def switched_reward(
    reward: Float[Array, "states actions"], gap: Float[Array, "states actions"], discount: Scalar, terms: Terms
) -> Float[Array, "states actions"]:
    """The augmented reward in expectation over the model, with its terms switched on or off, in nats (or reward units).

    All on, it is the expectation of Eq. 3 without the constant `-(1 - gamma) log(1 - gamma)`, which changes no policy
    and which the authors' notebook leaves out. Without the log it is VMBPO's reward (Appendix B.1).

    Args:
      reward: task rewards, positive where their log is taken.
      gap: `KL(q || p)`, the expected classifier logit negated.
      discount: scalar in `[0, 1)`.
      terms: what is on.

    Source: Eysenbach et al., Eq. 3; released notebook.
    """
    gain = jnp.where(terms.log > 0, (1 - discount) * jnp.log(reward), reward)
    return gain - jnp.where(terms.classifier > 0, gap, 0)
