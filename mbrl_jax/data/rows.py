"""Packed transitions, so that a batch is one gather: `obs | action | reward | discount | next_obs | truncated`."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.types import Spec, Transition

__all__ = ["pack", "row_width", "unpack"]


def row_width(spec: Spec) -> int:
    """Floats in a packed transition."""
    return 2 * spec.obs_dim + spec.action_dim + 3


def pack(transition: Transition) -> Array:
    """Packs transitions with leading axes `[...]` into rows `[..., width]`, float32."""
    t = transition
    scalars = jnp.stack([t.reward, t.discount], axis=-1)
    ends = t.truncated[..., None].astype(jnp.float32)
    return jnp.concatenate([t.obs, t.action, scalars, t.next_obs, ends], axis=-1)


def unpack(rows: Array, spec: Spec) -> Transition:
    """The inverse of `pack`, of `rows [..., width]`."""
    o, a = spec.obs_dim, spec.action_dim
    return Transition(
        obs=rows[..., :o],
        action=rows[..., o : o + a],
        reward=rows[..., o + a],
        discount=rows[..., o + a + 1],
        next_obs=rows[..., o + a + 2 : 2 * o + a + 2],
        truncated=rows[..., -1] > 0.5,
    )
