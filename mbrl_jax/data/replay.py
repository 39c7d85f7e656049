"""Replay on the device: a uniform ring of real transitions.

All seeds write in lock-step, so the write position is `Shared`: a write is an in-place slice update, never a scatter
or a copy. Transitions are packed (`data.rows`), so that a batch is one gather.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.data.rows import pack, row_width, unpack
from mbrl_jax.types import Config, Key, Shared, Spec, Storage, Transition

__all__ = ["Replay", "ReplayState", "extend", "make", "of_run", "sample_consecutive"]

ROUNDS = 64  # of drawing windows; with one transition in five starting one, a draw in 1.6 million is left after them


class ReplayState(NamedTuple):
    """`rows[capacity, row_width]`, the next write position and the number of transitions held."""

    rows: Storage
    head: Shared
    size: Shared


class Replay(NamedTuple):
    """A uniform ring replay as pure functions.

    Attributes:
      init: `init() -> ReplayState`, empty.
      add: `add(state, transition) -> state`, one transition; the oldest is overwritten when full.
      sample: `sample(key, state, shape) -> Transition [*shape, ...]`, uniform with replacement; needs size >= 1.
      sample_sequences: `sample_sequences(key, state, batch, length) -> Transition [batch, length, ...]`, uniform over
        all windows that lie within one episode (`window_ages`). Where none exists (no episode is that long yet) the
        result's `discount` is NaN throughout, which freezes a seed that trains on it rather than teaching it nonsense.
      capacity: transitions it can hold.
    """

    init: Callable[[], ReplayState]
    add: Callable[[ReplayState, Transition], ReplayState]
    sample: Callable[[Key, ReplayState, tuple[int, ...]], Transition]
    sample_sequences: Callable[[Key, ReplayState, int, int], Transition]
    capacity: int


def make(spec: Spec, capacity: int) -> Replay:
    """A replay for `capacity` transitions of an environment with this `spec`.

    Raises:
      ValueError: `capacity` is below 1.
    """
    if capacity < 1:
        raise ValueError(f"replay capacity must be at least 1 transition, got {capacity}")

    def init() -> ReplayState:
        zero = jnp.zeros((), jnp.int32)
        return ReplayState(Storage(jnp.zeros((capacity, row_width(spec)))), Shared(zero), Shared(zero))

    def add(state: ReplayState, transition: Transition) -> ReplayState:
        head = state.head.value
        rows = lax.dynamic_update_slice(state.rows.value, pack(transition)[None], (head, jnp.zeros_like(head)))
        size = jnp.minimum(state.size.value + 1, capacity)
        return ReplayState(Storage(rows), Shared((head + 1) % capacity), Shared(size))

    def sample(key: Key, state: ReplayState, shape: tuple[int, ...]) -> Transition:
        index = jax.random.randint(key, shape, 0, state.size.value)
        return unpack(state.rows.value[index], spec)

    def sample_sequences(key: Key, state: ReplayState, batch: int, length: int) -> Transition:
        age, found = window_ages(key, state, spec, batch, length)
        windows = unpack(state.rows.value[_slot(state, age[:, None] + jnp.arange(length)[None])], spec)
        return windows._replace(discount=jnp.where(found[:, None], windows.discount, jnp.nan))

    return Replay(init, add, sample, sample_sequences, capacity)


def of_run(config: Config, spec: Spec) -> Replay:
    """A replay for the run of a configuration: `replay_capacity` transitions, or all that it can collect if fewer."""
    return make(spec, min(config.replay_capacity, config.steps + config.warmup_steps))


def extend(memory: Replay, state: ReplayState, steps: Transition) -> ReplayState:
    """The replay with transitions `[time, ...]` of one environment, the oldest first."""

    def add(state: ReplayState, step: Transition) -> tuple[ReplayState, None]:
        return memory.add(state, step), None

    return lax.scan(add, state, steps)[0]


def sample_consecutive(key: Key, state: ReplayState, spec: Spec, shape: tuple[int, ...], length: int) -> Transition:
    """Transitions `[length, *shape, ...]` that follow one another in the ring, from uniformly random first ones.

    They go on past the ends of episodes and from the youngest to the oldest transition: whoever uses them looks for
    what ended. Needs size >= 1.
    """
    first = jax.random.randint(key, shape, 0, state.size.value)
    offset = jnp.arange(length).reshape(length, *[1] * len(shape))
    return unpack(state.rows.value[(first[None] + offset) % state.size.value], spec)


def _slot(state: ReplayState, age: Array) -> Array:
    """The slot of the transition that is `age` places younger than the oldest one held."""
    return (state.head.value - state.size.value + age) % state.rows.value.shape[0]


def _ends(state: ReplayState, spec: Spec, age: Array) -> Array:
    """Whether the transitions of these ages are the last of their episodes; reads two entries of each."""
    rows, slot = state.rows.value, _slot(state, age)
    return (rows[slot, spec.obs_dim + spec.action_dim + 1] == 0) | (rows[slot, row_width(spec) - 1] > 0.5)


class _Draws(NamedTuple):
    """Ages of first transitions `[batch]`, which of them start a window, and the rounds of drawing so far."""

    age: Array
    found: Array
    rounds: Array


def window_ages(key: Key, state: ReplayState, spec: Spec, batch: int, length: int) -> tuple[Array, Array]:
    """Ages `[batch]` of transitions, exactly uniform over those that start a window, and whether there are any.

    A window of `length` lies within one episode: it may end with an episode's last transition but may not reach past
    it, nor past the youngest transition. Whether a transition starts one is seen from the window alone, so they are
    drawn from all and the others drawn anew: the cost does not depend on the capacity. Only if `ROUNDS` rounds leave
    some undrawn, because windows are rare or there is none, is the whole replay searched for those. Either way a draw
    is uniform, so all are. The loops hold no replay; a seed's draws do not depend on the other seeds'.
    """
    k_draw, k_search = jax.random.split(key)

    def draw(draws: _Draws) -> _Draws:
        last = jnp.maximum(state.size.value - length, 0)
        fresh = jax.random.randint(jax.random.fold_in(k_draw, draws.rounds), (batch,), 0, last + 1, jnp.int32)
        age = jnp.where(draws.found, draws.age, fresh)
        broken = _ends(state, spec, age[:, None] + jnp.arange(length - 1)[None]).any(axis=1)
        return _Draws(age, ~broken & (age + length <= state.size.value), draws.rounds + 1)

    def search(draws: _Draws) -> _Draws:
        # Zero, but known inside the loop only: else the compiler would search before it, every time.
        zero = draws.rounds - ROUNDS
        total = jnp.cumsum(window_starts(state, spec, length, zero))
        fresh = jax.random.randint(k_search, (batch,), 0, jnp.maximum(total[-1], 1), total.dtype)
        found = jnp.searchsorted(total, fresh, side="right").astype(jnp.int32)
        age = jnp.where(draws.found, draws.age, found)
        return _Draws(age, jnp.broadcast_to(total[-1] > 0, (batch,)), draws.rounds + 1)

    none = jnp.zeros((batch,), bool)
    draws = _Draws(jnp.zeros((batch,), jnp.int32), none, jnp.zeros((), jnp.int32))
    draws = lax.while_loop(lambda d: ~d.found.all() & (d.rounds < ROUNDS), draw, draws)
    draws = lax.while_loop(lambda d: ~d.found.all() & (d.rounds == ROUNDS), search, draws)  # once or not at all
    return draws.age, draws.found


def window_starts(state: ReplayState, spec: Spec, length: int, zero: Array | int = 0) -> Array:
    """Marks, from the oldest on, the transitions that start a window of `length` within one episode; `[capacity]`.

    Args:
      zero: 0 `[]`, and nothing else. Traced, it ties what is computed here to where it comes from, so that the compiler
        does not move it out of a loop.
    """
    capacity = state.rows.value.shape[0]
    age = zero + jnp.arange(capacity)
    before = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(_ends(state, spec, age))])
    last = jnp.minimum(age + length - 1, capacity - 1)
    return (before[last] == before[age]) & (age + length <= state.size.value)
