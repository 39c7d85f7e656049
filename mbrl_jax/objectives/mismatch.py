"""Objectives of a model that a classifier takes for the world and that leads to high values, and of its classifier.

Eysenbach et al., "Mismatched No More: Joint Model-Policy Optimization for Model-Based RL" (NeurIPS 2022), whose
equation numbers these are, and what its Figure 6 compares it with. What is minimised is a loss: smaller is better.
Values are those of target critics; their parameters, the classifier's and the policy's are held constant by the
caller, so that gradients reach the model through its draw alone. The same objective on finite MDPs is in `theory.mnm`,
what smoothing does to it in `theory.mnm_smoothing`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.types import Scalar, checked

__all__ = [
    "augmented_reward",
    "bellman_error",
    "optimism_loss",
    "smoothed_logit",
    "smoothed_loss",
    "twisted_reward",
    "value_slope",
    "value_weights",
]


@checked
def optimism_loss(
    next_value: Float[Array, " critics *batch"],
    discount: Float[Array, "*batch"],
    logit: Float[Array, "*batch"],
    coefficient: Scalar,
) -> Float[Array, "*batch"]:
    r"""The model's objective at a draw of its own from a real state and action, negated.

    $$ -c \, d \min_i Q_i'(s', a') - \log \frac{C(s, a, s')}{1 - C(s, a, s')}, \qquad
       s' \sim q_\theta(\cdot \mid s, a), \; a' \sim \pi(\cdot \mid s') $$

    Args:
      next_value: target critics at (s', a'), in return units; differentiable in s', also through a'.
      discount: d, 0 where the task ends at s', else 1; a constant.
      logit: the classifier's log-odds that (s, a, s') is real, in nats; differentiable in s'.
      coefficient: c, nats per return unit; the paper has 1. Appendix B.6 derives γ in its place.

    Returns:
      One loss per draw, in nats.

    Bias: the classifier's. At the optimal one, without smoothing, the gradient is that of `E_q[c V] - KL(q || p)`.

    Source: Eq. 9, with the minimum of two target critics (Appendix D.1).
    """
    return -coefficient * lax.stop_gradient(discount) * next_value.min(axis=0) - logit


@checked
def smoothed_loss(
    real_logit: Float[Array, "*batch"], fake_logit: Float[Array, " kinds *batch"], smoothing: Scalar
) -> Float[Array, "*batch"]:
    r"""The classifier's loss with one-sided label smoothing: the fakes' label is α in the place of 0.

    $$ -\log C(x) - \frac1K \sum_k \bigl( \alpha \log C(x_k) + (1 - \alpha) \log (1 - C(x_k)) \bigr) $$

    Args:
      real_logit: log-odds of real transitions, in nats.
      fake_logit: log-odds of imagined ones, of K kinds (the model's, the averaged model's), each as many as real ones.
      smoothing: α in [0, 1); the paper has 0.1. Salimans et al. (2016) smooth the other side.

    Returns:
      One loss per row, in nats; least at `smoothed_logit(log(p / q), α)`, q being the kinds' mixture.

    Source: Eq. 4 with Appendix D.1. That kinds are averaged, not summed, is ours: a sum would shift logits by −log K.
    """
    fake = smoothing * jax.nn.softplus(-fake_logit) + (1.0 - smoothing) * jax.nn.softplus(fake_logit)
    return jax.nn.softplus(-real_logit) + fake.mean(axis=0)


@checked
def smoothed_logit(log_ratio: Float[Array, "*batch"], smoothing: Scalar) -> Float[Array, "*batch"]:
    r"""What `smoothed_loss` is least at: log (p / q + α) − log (1 − α), in nats.

    It is above log (p / q) everywhere, at least log (α / (1 − α)) (−2.197 for α = 0.1), and constant where q is p.

    Args:
      log_ratio: log (p / q) in nats.
      smoothing: α in [0, 1).

    Source: ours, the minimiser of `smoothed_loss`, by differentiation.
    """
    return jnp.logaddexp(log_ratio, jnp.log(jnp.asarray(smoothing, log_ratio.dtype))) - jnp.log1p(-smoothing)


@checked
def augmented_reward(
    reward: Float[Array, "*batch"], logit: Float[Array, "*batch"], gamma: Scalar, floor: Scalar = 1e-3
) -> Float[Array, "*batch"]:
    r"""The critics' reward in full MnM: (1 − γ) log r + log C / (1 − C), in nats.

    `ratios.classifier_reward` without its constant, which the paper leaves out here.

    Args:
      reward: r, which the paper takes to be positive; smaller ones count as `floor`, ours.
      logit: the classifier's log-odds at the model's transition; at most 0 in expectation under the model if optimal.
      gamma: γ, the learner's discount factor.

    Source: Appendix D.3.
    """
    return (1.0 - gamma) * jnp.log(jnp.maximum(reward, floor)) + logit


@checked
def twisted_reward(
    reward: Float[Array, "*batch"], logit: Float[Array, "*batch"], temperature: Scalar
) -> Float[Array, "*batch"]:
    r"""The critics' reward in VMBPO: η r + log C / (1 − C), in nats; MnM's without the logarithm of the reward.

    With it and `optimism_loss` the best model is p(s' | s, a) exp(V(s')), normalised: an exponential twist.

    Args:
      reward: r, of either sign.
      logit: the classifier's log-odds at the model's transition.
      temperature: η, nats per reward unit.

    Source: Eysenbach et al., Appendix B.1, for Chow et al., "Variational Model-based Policy Optimization" (2021). That
    ν = log (q / p), for which the latter fit a variational bound, is taken from a classifier is ours and unverified.
    """
    return temperature * reward + logit


@checked
def bellman_error(
    value: Float[Array, "*batch"],
    reward: Float[Array, "*batch"],
    next_value: Float[Array, " critics *batch"],
    discount: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    r"""Squared Bellman error at the model's draw, (Q'(s, a) − r − γ_t min_i Q_i'(s', a'))²: Figure 6's "VAML".

    The paper's text only says that predicted next states should have a low Bellman error. It is not Farahmand's
    (V(ŝ') − V(s'))², which is `value_aware.vaml`: where the critics err at (s, a), the truth does not minimise it.

    Args:
      value: Q'(s, a) of the real state and action, in return units; no gradient flows into it.
      reward: r in the critics' units; no gradient flows into it.
      next_value: target critics at the draw, in return units; differentiable in s'.
      discount: γ, 0 where the task ends at the draw; a constant.

    Returns:
      One loss per draw, in squared return units.

    Source: Appendix C, Figure 6, as read here.
    """
    target = lax.stop_gradient(reward) + lax.stop_gradient(discount) * next_value.min(axis=0)
    return jnp.square(lax.stop_gradient(value) - target)


@checked
def value_weights(value: Float[Array, " batch"], temperature: Scalar | None = None) -> Float[Array, " batch"]:
    """Weights of a batch's likelihoods, a softmax of its values times the number of rows: their mean is 1; constants.

    Args:
      value: min_i Q_i'(s, a) of the batch, in return units.
      temperature: what values are divided by. None: their standard deviation over the batch, ours; 1 is the paper's
        text, with which values that differ by tens leave one row.

    Source: Appendix C, Figure 6, after Lambert et al., "Objective Mismatch in Model-based Reinforcement Learning"
    (2020).
    """
    spread = value.std() + 1e-6 if temperature is None else temperature
    return lax.stop_gradient(value.shape[0] * jax.nn.softmax(value / spread))


@checked
def value_slope(
    gradient: Float[Array, "*batch dim"], std: Float[Array, "*batch dim"], coefficient: Scalar
) -> Float[Array, "*batch"]:
    r"""‖c σ ∘ ∇V(s')‖, how steep the value is over the width of the model's draw, in nats.

    Above `theory.mnm_smoothing.largest_slope` a model that is fitted by `optimism_loss` runs away.

    Args:
      gradient: ∇V at the draw, return units per unit of each entry.
      std: σ, the model's standard deviation of each entry of the next observation.
      coefficient: c of `optimism_loss`.

    Source: ours, what Eq. 9's reparameterised gradient says of the value (`theory.mnm_smoothing`).
    """
    return jnp.linalg.norm(coefficient * std * gradient, axis=-1)
