"""Lanes one after the other, each with the bits that it has whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.types import PyTree

__all__ = ["in_turn"]


def in_turn(fn: Callable[[list[Array]], PyTree], xs: list[Array], bulk: Sequence[bool]) -> PyTree:
    """`lax.map` with results that do not depend, in any bit, on how many lanes a device has.

    Over an axis of length one, in a loop of one turn, the compiler sees that nothing changes from turn to turn, and
    computes otherwise: `x / std` with a constant `std` stays a division where it else becomes a product with the
    reciprocal. So how often the loop turns is kept from it, and an axis of one gets a second place, never computed.

    Args:
      fn: of one lane's leaves.
      xs: leaves `[lanes, ...]`; the first holds integers or keys.
      bulk: which of them are too large for a second place.
    """
    count = xs[0].shape[0]
    wide = [x if large or count > 1 else jnp.concatenate([x, x]) for x, large in zip(xs, bulk, strict=True)]
    bits = jax.random.key_data(xs[0]) if jax.dtypes.issubdtype(xs[0].dtype, jax.dtypes.prng_key) else xs[0]
    nothing = lax.population_count(bits.reshape(-1)[0]) >> 7  # 0, which the compiler does not know
    turns = count + nothing.astype(jnp.int32)

    once = jax.jit(fn, inline=True)  # traced for its shapes, and not again in the loop

    def at(i: Array) -> PyTree:
        return once([lax.dynamic_index_in_dim(x, i, keepdims=False) for x in wide])

    def room(shape: jax.ShapeDtypeStruct) -> Array:
        if jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(room(jax.eval_shape(jax.random.key_data, shape)))
        return jnp.zeros((count, *shape.shape), shape.dtype)

    def turn(i: Array, done: PyTree) -> PyTree:
        return jax.tree.map(lambda into, x: lax.dynamic_update_index_in_dim(into, x, i, axis=0), done, at(i))

    start = jax.tree.map(room, jax.eval_shape(at, jax.ShapeDtypeStruct((), jnp.int32)))
    return lax.fori_loop(0, turns, turn, start)
