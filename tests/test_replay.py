"""Replay: what goes in comes out, uniformly, and sequences stay within one episode."""

import re
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core
from scipy import stats

from mbrl_jax.data import replay
from mbrl_jax.data import slabs as slabs_module
from mbrl_jax.data.rows import pack, row_width, unpack
from mbrl_jax.data.slabs import make_slabs
from mbrl_jax.testing.programs import equations, has_batched_end, touching, trace
from mbrl_jax.types import Shared, Spec, Transition

SPEC = Spec(name="test-v0", engine="jax", obs_dim=2, action_dim=1, action_low=(-1.0,), action_high=(1.0,), time_limit=9)
CAPACITY = 13
MEMORY = replay.make(SPEC, CAPACITY)
ADD = jax.jit(MEMORY.add)


def transition(i, discount=1.0, truncated=False):
    """A transition that carries its number in every entry."""
    i = jnp.float32(i)
    return Transition(
        obs=jnp.stack([i, -i]),
        action=jnp.stack([i / 2]),
        reward=10 * i,
        discount=jnp.float32(discount),
        next_obs=jnp.stack([i + 1, -i - 1]),
        truncated=jnp.asarray(truncated),
    )


def filled(ends):
    """A replay after one transition per letter of `ends`: t terminates, c is cut by a time limit, - goes on."""
    state = MEMORY.init()
    for i, end in enumerate(ends):
        state = ADD(state, transition(i, discount=float(end != "t"), truncated=end == "c"))
    return state


def chi_square(values, categories):
    """p-value of uniform draws over exactly these categories; 0 if a draw lies outside."""
    values = np.asarray(values).ravel()
    counts = np.array([(values == c).sum() for c in categories])
    if counts.sum() != values.size:
        return 0.0
    return stats.chisquare(counts).pvalue if len(counts) > 1 else 1.0


def test_unpack_inverts_pack(rng):
    shape = (3, 4)
    batch = Transition(
        obs=rng.normal(size=(*shape, 2)),
        action=rng.normal(size=(*shape, 1)),
        reward=rng.normal(size=shape),
        discount=rng.integers(2, size=shape),
        next_obs=rng.normal(size=(*shape, 2)),
        truncated=rng.integers(2, size=shape),
    )
    batch = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), batch)._replace(truncated=batch.truncated > 0)
    rows = pack(batch)
    assert rows.shape == (*shape, row_width(SPEC))
    jax.tree.map(np.testing.assert_array_equal, unpack(rows, SPEC), batch)


@pytest.mark.parametrize("added", [1, CAPACITY - 1, CAPACITY, CAPACITY + 1, 2 * CAPACITY + 5])
def test_the_ring_holds_the_youngest(added):
    state = filled("-" * added)
    held = unpack(state.rows.value, SPEC)
    kept = range(max(0, added - CAPACITY), added)
    assert int(state.size.value) == len(kept)
    assert int(state.head.value) == added % CAPACITY
    np.testing.assert_array_equal(sorted(held.reward[: len(kept)]), [10.0 * i for i in kept])
    np.testing.assert_array_equal(held.next_obs[:, 0][: len(kept)], held.obs[:, 0][: len(kept)] + 1)


@pytest.mark.parametrize("added", [5, CAPACITY + 4])
def test_sampling_is_uniform_over_what_is_held(added):
    drawn = MEMORY.sample(jax.random.key(0), filled("-" * added), (40, 100))
    assert drawn.obs.shape == (40, 100, 2)
    assert chi_square(drawn.obs[..., 0], range(max(0, added - CAPACITY), added)) > 1e-3
    np.testing.assert_array_equal(drawn.reward, 10 * drawn.obs[..., 0])


def valid_windows(ends, length):
    """First transitions of all windows of `length` within one episode, by enumeration."""
    kept = range(max(0, len(ends) - CAPACITY), len(ends))
    return [i for i in kept if i + length <= len(ends) and all(e == "-" for e in ends[i : i + length - 1])]


SEQUENCES = {1: None, 3: None}
for _length in SEQUENCES:
    SEQUENCES[_length] = jax.jit(lambda k, s, length=_length: MEMORY.sample_sequences(k, s, 6000, length))


@pytest.mark.parametrize("length", list(SEQUENCES))
@pytest.mark.parametrize(
    "ends", ["---", "----t-c---", "---t-----t---", "--t----c------t--", "-----t-----c-t---------c---"]
)
def test_sequences_are_uniform_over_the_windows_within_one_episode(ends, length):
    drawn = SEQUENCES[length](jax.random.key(1), filled(ends))
    first = np.asarray(drawn.obs[:, 0, 0])
    np.testing.assert_array_equal(drawn.obs[..., 0], first[:, None] + np.arange(length))
    assert chi_square(first, valid_windows(ends, length)) > 1e-3


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("ends", ["--t----c------t--", "t" * CAPACITY + "--t--" + "tc" * 3])
def test_windows_that_were_not_drawn_are_searched_for_and_just_as_uniform(monkeypatch, ends, rounds):
    """All of them, or those that one round has left."""
    monkeypatch.setattr(replay, "ROUNDS", rounds)
    drawn = jax.jit(lambda k, s: MEMORY.sample_sequences(k, s, 6000, 3))(jax.random.key(4), filled(ends))
    assert chi_square(drawn.obs[:, 0, 0], valid_windows(ends, 3)) > 1e-3


def sample_many(keys, states):
    """Sequences of 3 for many seeds that share the ring's pointers."""
    axes = replay.ReplayState(rows=0, head=None, size=None)
    return jax.vmap(lambda k, s: MEMORY.sample_sequences(k, s, 20, 3), in_axes=(0, axes))(keys, states)


def stacked(states):
    """Replays of many seeds, of equal size, as the runner keeps them."""
    return states[0]._replace(rows=jax.tree.map(lambda *x: jnp.stack(x), *(s.rows for s in states)))


def test_the_windows_of_a_seed_do_not_depend_on_the_other_seeds():
    """One seed has many windows, one few, one none: they end after different numbers of rounds."""
    states = [filled(ends) for ends in ("-" * 12, "ttttttttt---", "tttttttttttt")]
    keys = jax.random.split(jax.random.key(5), 3)
    many = jax.jit(sample_many)(keys, stacked(states))
    for i, state in enumerate(states):
        alone = jax.jit(lambda k, s: MEMORY.sample_sequences(k, s, 20, 3))(keys[i], state)
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[i], y), many, alone)  # noqa: B023


def test_only_the_search_looks_through_the_replay():
    states = stacked([filled("-" * 12)] * 2)
    top = list(jax.make_jaxpr(sample_many)(jax.random.split(jax.random.key(0)), states).eqns)
    loops = [e for e in top if e.primitive.name == "while"]
    assert len(loops) == 2 and all(map(has_batched_end, loops))  # rounds of drawing, then the search

    def wide(eqns):
        return [e for e in eqns for v in e.outvars if CAPACITY in getattr(v.aval, "shape", ())]

    def inner(e):
        return [i for p in core.jaxprs_in_params(e.params) for i in equations(p)]

    assert wide(inner(loops[1]))
    assert not wide(top) and not [e for e in top if e is not loops[1] and wide(inner(e))]


def test_the_compiled_program_searches_inside_the_loop_only():
    """XLA moves what does not change in a loop out of it."""
    draw = jax.jit(lambda k, s: MEMORY.sample_sequences(k, s, 20, 3))
    program = draw.lower(jax.random.key(0), MEMORY.init()).compile().as_text()

    def wide(text):
        return set(re.findall(rf"= \w+(\[(?:\d+,)*{CAPACITY}(?:,\d+)*\])", text))

    inside, outside = program.split("\nENTRY ")
    assert wide(inside) - wide(outside) and wide(outside) == {f"[{CAPACITY},{row_width(SPEC)}]"}


def test_drawing_windows_while_storing_copies_no_replay():
    """The compiled loop of acting and learning writes in place and reads in place."""

    def interact(state, keys):
        def step(state, k):
            state = MEMORY.add(state, transition(1))
            return state, MEMORY.sample_sequences(k, state, 20, 3).reward.sum()

        return jax.lax.scan(step, state, keys)

    keys = jax.random.split(jax.random.key(0), 4)
    program = jax.jit(interact, donate_argnums=0).lower(MEMORY.init(), keys).compile().as_text()
    rows = rf"f32\[{CAPACITY},{row_width(SPEC)}\]"
    assert re.search(rf"{rows}\S* dynamic-update-slice\(", program)
    assert not re.search(rf"{rows}\S* (copy|select)\(", program)


@pytest.mark.parametrize("ends", ["--", "-t-c-t-t-c--", "t" * 2 * CAPACITY])
def test_without_a_valid_window_the_discount_is_nan(ends):
    assert valid_windows(ends, 3) == []
    drawn = SEQUENCES[3](jax.random.key(1), filled(ends))
    assert np.isnan(drawn.discount).all()


def test_a_capacity_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1 transition, got 0"):
        replay.make(SPEC, 0)


@pytest.mark.parametrize(("wish", "capacity"), [(100, 8), (8, 8), (6, 6)])
def test_a_run_keeps_no_more_than_it_can_collect(wish, capacity):
    config = SimpleNamespace(replay_capacity=wish, steps=5, warmup_steps=3)
    assert replay.of_run(config, SPEC).capacity == capacity


def test_writing_for_many_seeds_is_a_slice_update_not_a_scatter():
    state = replay.ReplayState(MEMORY.init().rows, Shared(jnp.int32(0)), Shared(jnp.int32(0)))
    many = state._replace(rows=jax.tree.map(lambda x: jnp.stack([x] * 3), state.rows))
    axes = replay.ReplayState(rows=0, head=None, size=None)
    write = jax.vmap(MEMORY.add, in_axes=(axes, 0), out_axes=axes)
    batch = jax.tree.map(lambda x: jnp.stack([x] * 3), transition(1))
    shapes = {many.rows.value.shape}
    # JAX batches a slice update as a scatter with one index, whatever the index; XLA makes it a slice update again.
    assert touching(trace(write, many, batch), {"scatter"}, shapes)
    assert not touching(trace(write, many, batch), {"select_n", "gather", "copy"}, shapes)
    program = jax.jit(write, donate_argnums=0).lower(many, batch).compile().as_text()
    rows = rf"f32\[3,{CAPACITY},{row_width(SPEC)}\]"
    assert re.search(rf"{rows}\S* dynamic-update-slice\(", program)
    assert not re.search(rf"{rows}\S* (copy|scatter|while|select)\(", program)


SLOTS, HORIZON, BATCH = 2, 3, 4
SLABS = make_slabs(SPEC, SLOTS, HORIZON, BATCH)
WRITE = jax.jit(SLABS.write)


@pytest.mark.parametrize(("obs", "batch"), [(3, 7), (60, 3), (64, 5), (200, 4)])
def test_rows_of_any_width_are_read_from_the_lines_they_lie_on(obs, batch):
    """Narrower than a line, as wide as one, wider: every row of every slab is drawn, each as it was written."""
    spec = replace(SPEC, obs_dim=obs)
    slabs, width = make_slabs(spec, 2, 2, batch), row_width(spec)
    rows = jax.random.normal(jax.random.key(0), (4, batch, width))
    state = slabs.init()
    for k in range(4):
        state = slabs.write(state, jnp.int32(k // 2), jnp.int32(k % 2), rows[k], jnp.int32(batch))
    np.testing.assert_array_equal(slabs.rows(state), rows)
    drawn = np.asarray(pack(slabs.sample(jax.random.key(1), state, (400,))))[:, :-1]
    known = np.asarray(rows).reshape(-1, width)[:, :-1]
    found = (drawn[:, None] == known[None]).all(axis=-1)
    assert (found.sum(axis=1) == 1).all() and found.any(axis=0).all()
    whole = -(-batch * width // slabs_module.LINE) * jnp.arange(4)[:, None], width * jnp.arange(batch)[None]
    for read in (slabs_module.by_lines, slabs_module.by_numbers):
        np.testing.assert_array_equal(read(width, state.lines.value, *jnp.broadcast_arrays(*whole)), rows)


def written(slabs, slot, step, count):
    """Writes rows numbered 100 slot + 10 step + row, the first `count` of which count."""
    numbers = 100 * slot + 10 * step + np.arange(BATCH)
    rows = pack(jax.vmap(transition)(jnp.asarray(numbers)))
    return WRITE(slabs, jnp.int32(slot), jnp.int32(step), rows, jnp.int32(count)), list(numbers[:count])


def test_slabs_are_sampled_uniformly_over_all_rows_that_count():
    slabs, held = SLABS.init(), []
    for slot, step, count in ((0, 0, 4), (0, 1, 3), (0, 2, 0), (1, 0, 4), (1, 1, 1)):
        slabs, numbers = written(slabs, slot, step, count)
        held += numbers
    drawn = SLABS.sample(jax.random.key(2), slabs, (60, 100))
    assert len(held) == 12
    assert chi_square(drawn.obs[..., 0], held) > 1e-3
    np.testing.assert_array_equal(drawn.reward, 10 * drawn.obs[..., 0])


def test_a_cleared_slot_is_forgotten_and_the_other_kept():
    slabs = SLABS.init()
    for slot, step in ((0, 0), (0, 1), (0, 2), (1, 0)):
        slabs, _ = written(slabs, slot, step, 4)
    slabs = SLABS.clear(slabs, jnp.int32(0))
    np.testing.assert_array_equal(slabs.filled, [0, 0, 0, 4, 0, 0])
    slabs, short = written(slabs, 0, 0, 2)
    drawn = SLABS.sample(jax.random.key(3), slabs, (3000,))
    assert chi_square(drawn.obs[..., 0], [*short, 100, 101, 102, 103]) > 1e-3
