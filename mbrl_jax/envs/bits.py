"""Float64 numbers carried exactly through programs that have no float64: as pairs of uint32 words.

C MuJoCo computes in float64. Rounding its state to float32 between steps would make it a different, irreversible
system, so the state travels as its bit pattern: low word first, as in the memory of every machine JAX runs on.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

__all__ = ["from_words", "narrow", "to_words", "widen"]


def to_words(values: np.ndarray) -> np.ndarray:
    """Host side: float64 `[..., n]` to uint32 `[..., 2n]`."""
    return np.ascontiguousarray(values, np.float64).view(np.uint32)


def from_words(words: np.ndarray) -> np.ndarray:
    """Host side: uint32 `[..., 2n]` to float64 `[..., n]`."""
    return np.ascontiguousarray(words, np.uint32).view(np.float64)


def widen(values: Array) -> Array:
    """Device side: float32 or float64 `[..., n]` to the uint32 words `[..., 2n]` of the same numbers in float64.

    Exact for normal numbers, zeros, infinities and NaN; a float32 subnormal (below 1.2e-38) becomes a zero.
    """
    if values.dtype == jnp.float64:
        return jax.lax.bitcast_convert_type(values, jnp.uint32).reshape(*values.shape[:-1], -1)
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    sign, exponent, fraction = bits & jnp.uint32(0x80000000), (bits >> 23) & 0xFF, bits & 0x7FFFFF
    # The exponent's bias grows from 127 to 1023; the 23 fraction bits become the top ones of 52.
    wide = jnp.where(exponent == 0xFF, jnp.uint32(0x7FF), exponent + jnp.uint32(1023 - 127))
    high = sign | jnp.where(exponent == 0, 0, (wide << 20) | (fraction >> 3))
    low = jnp.where(exponent == 0, 0, fraction << 29)
    return jnp.stack([low, high], axis=-1).reshape(*values.shape[:-1], -1)


def narrow(words: Array) -> Array:
    """Device side: the words of float64 numbers `[..., 2n]` to `[..., n]` in the widest float type JAX has enabled.

    Without 64-bit mode the fraction is truncated to 23 bits and the exponent clamped to float32's range; use it to
    look at a state, not to compute with one.
    """
    pairs = words.reshape(*words.shape[:-1], -1, 2)
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        return jax.lax.bitcast_convert_type(pairs, jnp.float64)
    low, high = pairs[..., 0], pairs[..., 1]
    exponent = (high >> 20) & 0x7FF
    clamped = jnp.clip(exponent.astype(jnp.int32) - (1023 - 127), 0, 254).astype(jnp.uint32)
    clamped = jnp.where(exponent == 0x7FF, jnp.uint32(0xFF), clamped)
    fraction = ((high & 0xFFFFF) << 3) | (low >> 29)
    bits = (high & jnp.uint32(0x80000000)) | (clamped << 23) | jnp.where(clamped == 0, 0, fraction)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
