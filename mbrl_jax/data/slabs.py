"""Slabs of imagined transitions on the device, sampled uniformly over all that are held."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.data.rows import row_width, unpack
from mbrl_jax.types import Key, Spec, Storage, Transition

__all__ = ["Slabs", "SlabsState", "make_slabs"]


class SlabsState(NamedTuple):
    """`rows[slots * horizon, batch, row_width]`; the first `filled[slot * horizon + h]` rows of a slab hold data."""

    rows: Storage
    filled: Array


class Slabs(NamedTuple):
    """Imagined transitions of the last `slots` roll-outs, as pure functions.

    A roll-out loses rows as they terminate, a different number for each seed. Keeping each step's survivors at the
    front of a slab of its own, with a count, makes sampling exactly uniform over all transitions held while every
    write stays an unbatched slice update.

    Attributes:
      init: `init() -> SlabsState`, empty.
      clear: `clear(state, slot) -> state`: forget the roll-out in `slot` before a shorter one is written there.
      write: `write(state, slot, step, rows[batch, row_width], count) -> state`.
      sample: `sample(key, state, shape) -> Transition [*shape, ...]`, uniform with replacement over what is held.
    """

    init: Callable[[], SlabsState]
    clear: Callable[[SlabsState, Array], SlabsState]
    write: Callable[[SlabsState, Array, Array, Array, Array], SlabsState]
    sample: Callable[[Key, SlabsState, tuple[int, ...]], Transition]


def make_slabs(spec: Spec, slots: int, horizon: int, batch: int) -> Slabs:
    """Slabs for `slots` roll-outs of up to `horizon` steps from `batch` start states."""

    def init() -> SlabsState:
        rows = jnp.zeros((slots * horizon, batch, row_width(spec)))
        return SlabsState(Storage(rows), jnp.zeros(slots * horizon, jnp.int32))

    def clear(state: SlabsState, slot: Array) -> SlabsState:
        empty = jnp.zeros(horizon, jnp.int32)
        return state._replace(filled=lax.dynamic_update_slice(state.filled, empty, (slot * horizon,)))

    def write(state: SlabsState, slot: Array, step: Array, rows: Array, count: Array) -> SlabsState:
        at, zero = slot * horizon + step, jnp.zeros((), jnp.int32)
        data = lax.dynamic_update_slice(state.rows.value, rows[None], (at, zero, zero))
        return SlabsState(Storage(data), lax.dynamic_update_slice(state.filled, count[None], (at,)))

    def sample(key: Key, state: SlabsState, shape: tuple[int, ...]) -> Transition:
        total = jnp.cumsum(state.filled)
        draw = jax.random.randint(key, shape, 0, total[-1])
        slab = jnp.searchsorted(total, draw, side="right", method="compare_all")
        row = draw - (total - state.filled)[slab]
        return unpack(state.rows.value[slab, row], spec)

    return Slabs(init, clear, write, sample)
