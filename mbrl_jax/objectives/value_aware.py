"""Value-aware model losses: errors of a model weighted by what they do to values or returns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["minimum_variance_loss", "return_weights"]


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


def minimum_variance_loss(step_log_probability: Array, returns: Array) -> Array:
    """Eq. 10 and 19 as a loss per real trajectory, `[...]`: `-R(tau) sum_t log q(s_{t+1} | s_t, a_t)`.

    Args:
      step_log_probability: `[..., T - 1]` of the model at real transitions; gradients flow through it.
      returns: `[...]` non-negative returns of the trajectories, constants; shift them first where they can be negative.

    Bias: none, up to the factor `E_p[R]`, for the gradient of `KL(q* || q)`.
    """
    return -jax.lax.stop_gradient(returns) * step_log_probability.sum(axis=-1)
