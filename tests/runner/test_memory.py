"""The plan of a run's memory: what passes through it beside the state, and how many lanes would fit."""

import jax
import jax.numpy as jnp
import pytest
import tiny
from jax import lax

from mbrl_jax.runner import loop, memory

MIB = 2**20
KEY = jax.random.key(0)
X = jnp.ones((3, 5))


def stacked(x):
    return lax.scan(lambda total, _: (total + 1.0, total @ x.T), x, length=7)[1].sum()


@pytest.mark.parametrize(
    ("program", "largest"),
    [
        (lambda x: (x @ x.T).sum(), 3 * 3 * 4),
        (lambda x: jax.jit(lambda y: y.T @ y)(x).sum(), 5 * 5 * 4),
        (stacked, 7 * 3 * 3 * 4),
        (lambda x: x[jnp.zeros(100, jnp.int32)].sum(), 100 * 5 * 4),
        (lambda x: jax.random.normal(KEY, (50,)).sum() + x.sum(), 50 * 4),
        (lambda x: jax.random.uniform(jax.random.split(KEY, 90)[3]) + x.sum(), 90 * 8),
        (lambda x: (jnp.broadcast_to(x[0, 0], (10**6,)) + 1.0).sum(), 0),  # never written
        (lambda x: x.sum(), 0),
    ],
)
def test_the_largest_array_is_the_one_that_is_written(program, largest):
    assert memory.largest([jax.make_jaxpr(program)(X)], ()) == largest


def test_arrays_of_the_states_own_shapes_do_not_count_twice():
    program = jax.make_jaxpr(lambda x: lax.fori_loop(0, 9, lambda i, y: y + x, x).sum() + (x @ x.T).sum())(X)
    assert memory.largest([program], ()) == 3 * 5 * 4
    assert memory.largest([program], {"x": X}) == 3 * 3 * 4


def test_a_runs_batches_pass_through_it():
    """Hidden values of both critics, the batch's rows: as the batch grows, they do; the replay is the state's."""

    def passing(batch, capacity=20_000):
        one = tiny.run(config=tiny.shorter(30_000, batch=batch, replay_capacity=capacity, warmup_steps=4))
        return loop.plan_run(one, one.environment(), 1, loop.Options()).memory.passing

    first = passing(5_000)
    assert first >= 2 * 5_000 * 8 * 4
    assert passing(10_000) == 2 * first == 2 * passing(5_000, 25_000)


def test_the_record_of_a_run_is_planned_too():
    one = jax.ShapeDtypeStruct((MIB,), jnp.int8)
    plain, recording = (memory.plan(one, 3, jax.devices()[:1], 2, recorded=count) for count in (0, 1000))
    assert recording.host - plain.host == 3 * 1000 * memory.RECORD_BYTES and plain.per_device == recording.per_device


@pytest.mark.parametrize(("copies", "passing", "fit"), [(1, 0, 10), (1, 3 * MIB, 7), (2, 0, 5), (2, 14 * MIB, 4)])
def test_as_many_lanes_are_said_to_fit_as_do(copies, passing, fit):
    """50 MiB; a lane's state takes 4, a quarter of the states is for small temporaries, or what passes if that is more.

    Lanes that are updated in place are updated side by side; the others one after the other, with a second state each.
    """
    one = jax.ShapeDtypeStruct((4 * MIB,), jnp.int8)
    planned = memory.plan(one, 100, jax.devices()[:1], copies, passing)._replace(available=50 * MIB)
    with pytest.raises(MemoryError, match=rf"At most {fit} lanes would"):
        memory.require(planned)
    assert memory.plan(one, fit, jax.devices()[:1], copies, passing).per_device <= 50 * MIB
    assert memory.plan(one, fit + 1, jax.devices()[:1], copies, passing).per_device > 50 * MIB
