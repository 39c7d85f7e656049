"""Slabs of imagined transitions on the device, sampled uniformly over all that are held."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.data.rows import row_width, unpack
from mbrl_jax.types import Key, Spec, Storage, Transition

__all__ = ["Slabs", "SlabsState", "make_slabs"]


SHIFT = 7
LINE = 1 << SHIFT
"""Numbers of a line, those of a TPU's vector register. Of an array with fewer columns its compiler makes copies: padded
to as many, or in an order for each loop (docs/accelerators.md)."""


class SlabsState(NamedTuple):
    """`lines[slots * horizon * lines, LINE]`, a slab's rows one after the other on as many lines as they need.

    The first `filled[slot * horizon + h]` rows of a slab hold data.
    """

    lines: Storage
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
      rows: `rows(state) -> [slots * horizon, batch, row_width]`, whether they hold data or not.
    """

    init: Callable[[], SlabsState]
    clear: Callable[[SlabsState, Array], SlabsState]
    write: Callable[[SlabsState, Array, Array, Array, Array], SlabsState]
    sample: Callable[[Key, SlabsState, tuple[int, ...]], Transition]
    rows: Callable[[SlabsState], Array]


def by_numbers(width: int, lines: Array, line: Array, start: Array) -> Array:
    """Rows that lie one after the other on lines, number by number.

    Args:
      width: numbers of a row.
      lines: `[count, LINE]`.
      line: the lines `[...]` that what is read is counted from.
      start: how many numbers `[...]` after the beginning of these the rows begin.

    Returns:
      The rows `[..., width]`.
    """
    at = start[..., None] + jnp.arange(width).reshape(*[1] * start.ndim, width)
    there = line[..., None] + (at >> SHIFT), at & (LINE - 1)  # cheaper than a division for every number
    return lines.at[there].get(mode="promise_in_bounds")


def by_lines(width: int, lines: Array, line: Array, start: Array) -> Array:
    """The same from whole lines, which is how a TPU reads.

    Args:
      width: numbers of a row.
      lines: `[count, LINE]`.
      line: as in `by_numbers`, `[...]`.
      start: as in `by_numbers`, `[...]`.

    Returns:
      The rows `[..., width]`.
    """
    reach = (LINE - 1 + width - 1) // LINE + 1  # lines that a row may lie on
    there = (line + start // LINE)[..., None] + jnp.arange(reach).reshape(*[1] * start.ndim, reach)
    around = lines[there].reshape(*start.shape, reach * LINE)  # beyond the last line the last one is read
    at = (start % LINE)[..., None] + jnp.arange(width).reshape(*[1] * start.ndim, width)
    return jnp.take_along_axis(around, at, axis=-1)


def make_slabs(spec: Spec, slots: int, horizon: int, batch: int) -> Slabs:
    """Slabs for `slots` roll-outs of up to `horizon` steps from `batch` start states."""

    width = row_width(spec)
    lines = -(-batch * width // LINE)

    def init() -> SlabsState:
        empty = jnp.zeros((slots * horizon * lines, LINE))
        return SlabsState(Storage(empty), jnp.zeros(slots * horizon, jnp.int32))

    def clear(state: SlabsState, slot: Array) -> SlabsState:
        empty = jnp.zeros(horizon, jnp.int32)
        return state._replace(filled=lax.dynamic_update_slice(state.filled, empty, (slot * horizon,)))

    def write(state: SlabsState, slot: Array, step: Array, rows: Array, count: Array) -> SlabsState:
        at, zero = slot * horizon + step, jnp.zeros((), jnp.int32)
        whole = jnp.pad(rows.reshape(-1), (0, lines * LINE - rows.size)).reshape(lines, LINE)
        data = lax.dynamic_update_slice(state.lines.value, whole, (at * lines, zero))
        return SlabsState(Storage(data), lax.dynamic_update_slice(state.filled, count[None], (at,)))

    def read(state: SlabsState, slab: Array, row: Array) -> Array:
        at = slab * lines, row * width
        return lax.platform_dependent(
            state.lines.value, *at, tpu=partial(by_lines, width), default=partial(by_numbers, width)
        )

    def rows(state: SlabsState) -> Array:
        whole = state.lines.value.reshape(slots * horizon, lines * LINE)
        return whole[:, : batch * width].reshape(slots * horizon, batch, width)

    def sample(key: Key, state: SlabsState, shape: tuple[int, ...]) -> Transition:
        total = jnp.cumsum(state.filled)
        draw = jax.random.randint(key, shape, 0, total[-1])
        slab = jnp.searchsorted(total, draw, side="right", method="compare_all")
        row = draw - (total - state.filled)[slab]
        return unpack(read(state, slab, row), spec)

    return Slabs(init, clear, write, sample, rows)
