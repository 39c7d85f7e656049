"""Distances between finite distributions, with the conventions `0 log 0 = 0` and `p log(p / 0) = infinity`."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["kl_divergence", "log_ratio", "product_or_zero", "total_variation"]


def product_or_zero(weight: Array, value: Array) -> Array:
    """`weight * value`, and 0 wherever the weight is 0, even if the value is infinite or undefined there."""
    return jnp.where(weight > 0, weight * jnp.where(weight > 0, value, 0), 0)


def log_ratio(numerator: Array, denominator: Array) -> Array:
    """`log(numerator / denominator)`; minus infinity where only the numerator is 0, 0 where both are."""
    both = (numerator > 0) | (denominator > 0)
    ratio = jnp.log(jnp.where(both, numerator, 1)) - jnp.log(jnp.where(both, denominator, 1))
    return jnp.where(both, ratio, 0)


def kl_divergence(p: Array, q: Array) -> Array:
    """`KL(p || q)` in nats over the last axis; infinite where p has mass and q has none."""
    return product_or_zero(p, log_ratio(p, q)).sum(axis=-1)


def total_variation(p: Array, q: Array) -> Array:
    """Total variation distance over the last axis, between 0 and 1."""
    return jnp.abs(p - q).sum(axis=-1) / 2
