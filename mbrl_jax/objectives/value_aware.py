"""Value-aware model losses: errors of a model measured in values, or weighted by what they do to returns.

Modhe et al., "Model-Advantage Optimization for Model-Based RL" (2021), after Farahmand et al. (2017, 2018), and Haghgoo
et al., "Discriminator Augmented Model-Based RL" (2021). Equation numbers are those of the paper named.

The losses of Modhe et al. take values, not states: V(s') at the true next state and the model's expectation of it,
`E V(s')`, which is V at the predicted state for a deterministic model and `softmax(logits) @ V` for a table. They leave
out the factor gamma of the model-advantage (Eq. 2), as Eq. 7 to 10 do. V is frozen: the caller holds its parameters
constant (`lax.stop_gradient`) where it makes `value_predicted`, so that the gradient reaches the model through V's
input alone; none flows through `value_next`. The exact forms on finite MDPs are in `theory.mao`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mbrl_jax.types import Scalar, checked

__all__ = [
    "minimum_variance_loss",
    "model_advantage_direct_l1",
    "model_advantage_direct_l2",
    "model_advantage_l1",
    "return_weights",
    "value_predictive_smoothness",
    "vaml",
]


def _difference(value_predicted: Array, value_next: Array) -> Array:
    """V(s') - E V(s'), the model-advantage of a real transition over gamma; constant in V(s')."""
    return lax.stop_gradient(value_next) - value_predicted


@checked
def model_advantage_l1(
    value_predicted: Float[Array, "*batch"], value_next: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""MA-L1, the upper bound on the direct loss, per transition; its mean over data is what is minimised.

    $$ \bigl| V(s_{t+1}) - \mathbb{E}_{s' \sim P_\phi(s_t, a_t)} V(s') \bigr| $$

    Args:
      value_predicted: the model's E V(s'), in return units; gradients flow through it.
      value_next: V(s_{t+1}) at the true next state; no gradient flows into it.

    Returns:
      One loss per transition, in return units. The gradient in `value_predicted` is ±1 whatever the error's size.

    Source: Modhe et al., Eq. 10, the estimate of Eq. 9.
    """
    return jnp.abs(_difference(value_predicted, value_next))


@checked
def vaml(value_predicted: Float[Array, "*batch"], value_next: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""VAML at the current value estimate, (V(s_{t+1}) − E V(s'))² per transition; its mean over data is minimised.

    With next states drawn from stochastic dynamics it is biased: the mean over s_{t+1} holds the variance of V(s_{t+1})
    too, which does not depend on the model. It does not bound the squared difference of returns (`theory.mao.vaml_l2`).

    Args:
      value_predicted: the model's E V(s'), in return units; gradients flow through it.
      value_next: V(s_{t+1}) at the true next state; no gradient flows into it.

    Returns:
      One loss per transition, in squared return units.

    Source: Modhe et al., Sec. 3.2 (L2^VAML), in the form of Eq. 10.
    """
    return jnp.square(_difference(value_predicted, value_next))


def _direct(value_predicted: Array, value_next: Array, weight: Array, trajectories: Scalar) -> Array:
    """What Eq. 8 takes the absolute value of."""
    return jnp.sum(weight * _difference(value_predicted, value_next)) / trajectories


@checked
def model_advantage_direct_l1(
    value_predicted: Float[Array, "*batch"],
    value_next: Float[Array, "*batch"],
    weight: Float[Array, "*batch"],
    trajectories: Scalar,
) -> Float[Array, ""]:
    r"""The absolute mean model-advantage of whole trajectories, which estimates the difference of returns over gamma.

    $$ \Bigl| \frac1m \sum_{\tau} \sum_t \gamma^t \bigl( V(s_{t+1}) - \mathbb{E}_{s' \sim P_\phi(s_t, a_t)} V(s')
       \bigr) \Bigr| $$

    Args:
      value_predicted: the model's E V(s') of each transition, in return units; gradients flow through it.
      value_next: V(s_{t+1}) at the true next states; no gradient flows into it.
      weight: γ^t of each transition, 0 where there is none; in a table, the sum over the transitions of an entry.
      trajectories: m, at least 1.

    Returns:
      One number, in return units. All transitions share one sign in its gradient.

    Source: Modhe et al., Eq. 8.
    """
    return jnp.abs(_direct(value_predicted, value_next, weight, trajectories))


@checked
def model_advantage_direct_l2(
    value_predicted: Float[Array, "*batch"],
    value_next: Float[Array, "*batch"],
    weight: Float[Array, "*batch"],
    trajectories: Scalar,
) -> Float[Array, ""]:
    """The square of `model_advantage_direct_l1`, same arguments, in squared return units.

    Source: Modhe et al., Sec. 3.2 (L2) in the form of Eq. 8.
    """
    return jnp.square(_direct(value_predicted, value_next, weight, trajectories))


@checked
def value_predictive_smoothness(
    value_predicted: Float[Array, "time batch"], value_next: Float[Array, "time batch"]
) -> Float[Array, "time-1 batch"]:
    r"""VPS: how far consecutive predicted values differ otherwise than the true ones do.

    $$ \bigl| (V(\hat s_{t+2}) - V(\hat s_{t+1})) - (V(s_{t+2}) - V(s_{t+1})) \bigr| $$

    Args:
      value_predicted: V(ŝ_{t+1}), V(ŝ_{t+2}), … along a roll-out of the model from the true s_t under the real actions,
        in return units; gradients flow through all of them.
      value_next: V(s_{t+1}), V(s_{t+2}), …; no gradient flows into it.

    Returns:
      One loss per pair of consecutive steps, in return units; two steps, as in the paper, give one row.

    Source: Modhe et al., Eq. 12 (V is a scalar, so that its 2-norm is an absolute value).
    """
    return jnp.abs(jnp.diff(_difference(value_predicted, value_next), axis=0))


@checked
def return_weights(returns: Float[Array, " paths"], valid: Bool[Array, " paths"]) -> Float[Array, " paths"]:
    """Returns of trajectories `[N]` as weights for Eq. 10: shifted so that the least is 0, scaled to mean 1.

    Eq. 9 needs returns >= 0, and tasks have negative ones; the paper does not say what is done about it. Where all
    returns are equal, all weights are 1.

    Args:
      returns: `[N]`.
      valid: bool `[N]`, which of them there are; the others get weight 0.

    Source: Haghgoo et al., Eq. 9 and 10; the shift is ours.
    """
    shifted = jnp.where(valid, returns - jnp.min(jnp.where(valid, returns, jnp.inf)), 0.0)
    mean = shifted.sum() / jnp.maximum(valid.sum(), 1).astype(returns.dtype)
    alike = valid.astype(returns.dtype)
    return jnp.where(mean > 0, shifted / jnp.where(mean > 0, mean, 1.0), alike)


@checked
def minimum_variance_loss(
    step_log_probability: Float[Array, "*batch steps"], returns: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Eq. 10 and 19 as a loss per real trajectory, `[...]`: `-R(tau) sum_t log q(s_{t+1} | s_t, a_t)`.

    Args:
      step_log_probability: `[..., T - 1]` of the model at real transitions; gradients flow through it.
      returns: `[...]` non-negative returns of the trajectories, constants; shift them first where they can be negative.

    Bias: none, up to the factor `E_p[R]`, for the gradient of `KL(q* || q)`.

    Source: Haghgoo et al., Eq. 10 and 19.
    """
    return -lax.stop_gradient(returns) * step_log_probability.sum(axis=-1)
