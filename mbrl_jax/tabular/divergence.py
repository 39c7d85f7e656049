"""Distances between finite distributions, with the conventions `0 log 0 = 0` and `p log(p / 0) = infinity`.

Source: Cover and Thomas, *Elements of Information Theory*, 2006.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.types import Values, checked

__all__ = ["kl_divergence", "log_ratio", "product_or_zero", "total_variation"]


@checked
def product_or_zero(weight: Float[Values, "*#batch"], value: Float[Values, "*#batch"]) -> Float[Array, "*batch"]:
    """`weight * value`, and 0 wherever the weight is 0, even if the value is infinite or undefined there."""
    return jnp.where(weight > 0, weight * jnp.where(weight > 0, value, 0), 0)


@checked
def log_ratio(numerator: Float[Values, "*#batch"], denominator: Float[Values, "*#batch"]) -> Float[Array, "*batch"]:
    """`log(numerator / denominator)`; minus infinity where only the numerator is 0, 0 where both are."""
    both = (numerator > 0) | (denominator > 0)
    ratio = jnp.log(jnp.where(both, numerator, 1)) - jnp.log(jnp.where(both, denominator, 1))
    return jnp.where(both, ratio, 0)


@checked
def kl_divergence(p: Float[Values, "*#batch outcomes"], q: Float[Values, "*#batch outcomes"]) -> Float[Array, "*batch"]:
    """`KL(p || q)` in nats over the last axis; infinite where p has mass and q has none."""
    return product_or_zero(p, log_ratio(p, q)).sum(axis=-1)


@checked
def total_variation(
    p: Float[Values, "*#batch outcomes"], q: Float[Values, "*#batch outcomes"]
) -> Float[Array, "*batch"]:
    """Total variation distance over the last axis, between 0 and 1."""
    return jnp.abs(p - q).sum(axis=-1) / 2
