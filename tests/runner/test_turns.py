"""Lanes in turn: each has the bits that it has in any company."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mbrl_jax.runner.turns import in_turn

LANES = 3
KEYS = jax.random.split(jax.random.key(0), LANES)
SCALES = jax.random.uniform(jax.random.key(1), (LANES, 7), minval=0.1)


def standardised(leaves):
    """Steps in which what one lane divides by does not change, as an environment's scales do not."""
    key, scale = leaves
    start = jax.random.normal(key, (50, 7))

    def step(x, _):
        return jnp.tanh(x - 0.1) / jnp.where(scale > 1e-6, scale, 1.0)[None], None

    return lax.scan(step, start, length=20)[0], key


def run(lanes):
    found, keys = jax.jit(lambda *xs: in_turn(standardised, list(xs), [False, False]))(KEYS[:lanes], SCALES[:lanes])
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(KEYS[:lanes]))
    return np.asarray(found)


@pytest.mark.parametrize("lanes", (1, 2))
def test_a_lane_does_not_know_how_many_there_are(lanes):
    np.testing.assert_array_equal(run(lanes), run(LANES)[:lanes])


def test_it_is_a_map():
    mapped = jax.jit(lambda *xs: lax.map(lambda x: standardised(list(x))[0], xs))(KEYS, SCALES)
    np.testing.assert_allclose(run(LANES), mapped, rtol=1e-5)


def test_what_is_bulky_has_no_second_place():
    def shapes(large):
        text = jax.jit(lambda *xs: in_turn(lambda x: x[1].sum(), list(xs), [False, large])).lower(KEYS[:1], SCALES[:1])
        return text.as_text().count("tensor<2x7xf32>")

    assert shapes(False) > shapes(True) == 0
