"""Multi-step targets built from imagined steps."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.types import checked

__all__ = ["expanded_return"]


@checked
def expanded_return(
    reward: Float[Array, "time batch"], discount: Float[Array, "time batch"], last_value: Float[Array, "batch"]
) -> Float[Array, "batch"]:
    r"""Discounted return of a roll-out of H steps closed with a value.

    $$ \sum_{i=0}^{H-1} \Bigl(\prod_{j<i} d_j\Bigr) r_i + \Bigl(\prod_{j<H} d_j\Bigr) V(s_H) $$

    Args:
      reward: r_i, in reward units.
      discount: d_i = γ times the step's own discount (0 after a termination), so later terms vanish by themselves.
      last_value: V(s_H) in return units.

    Source: Feinberg et al., "Model-Based Value Expansion for Efficient Model-Free RL", 2018, the H-step expansion.
    """
    before = jnp.concatenate([jnp.ones_like(discount[:1]), jnp.cumprod(discount, axis=0)])
    return (before[:-1] * reward).sum(axis=0) + before[-1] * last_value
