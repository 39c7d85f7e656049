"""Standardisation over the rows that hold data."""

import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax.data import normalise


def test_fit_is_numpys_mean_and_deviation_of_the_valid_rows(rng):
    rows = rng.normal(3.0, 2.0, size=(50, 4))
    valid = rng.random(50) < 0.6
    scaler = normalise.fit(jnp.asarray(rows, jnp.float32), jnp.asarray(valid))
    np.testing.assert_allclose(scaler.mean, rows[valid].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scaler.std, rows[valid].std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("garbage", [1e30, np.inf, np.nan])
def test_other_rows_do_not_matter(rng, garbage):
    rows = rng.normal(size=(20, 3)).astype(np.float32)
    valid = np.arange(20) < 12
    poisoned = np.where(valid[:, None], rows, np.float32(garbage))
    a, b = (normalise.fit(jnp.asarray(x), jnp.asarray(valid)) for x in (rows, poisoned))
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.std, b.std)


def test_entries_that_never_vary_keep_their_scale():
    scaler = normalise.fit(jnp.full((8, 1), 7.0), jnp.ones(8, bool))
    assert (scaler.mean, scaler.std) == (7.0, 1.0)


@pytest.mark.parametrize("value", [2.0, np.pi / 2, 0.1, -1e4])
@pytest.mark.parametrize("count", [250, 371, 5000])
def test_the_rounding_of_a_mean_is_not_taken_for_a_deviation(value, count):
    rows = jnp.full((count + 50, 1), value, jnp.float32).at[count:].set(3.0)
    scaler = normalise.fit(rows, jnp.arange(count + 50) < count)
    assert scaler.std == 1.0


def test_a_large_mean_does_not_swallow_the_deviation(rng):
    rows = 1e4 + rng.normal(size=(1000, 1))
    scaler = normalise.fit(jnp.asarray(rows, jnp.float32), jnp.ones(1000, bool))
    np.testing.assert_allclose(scaler.std, rows.std(axis=0), rtol=1e-3)


def test_backward_inverts_forward_and_the_identity_changes_nothing(rng):
    scaler = normalise.Scaler(jnp.array([1.0, -2.0]), jnp.array([0.5, 4.0]))
    x = jnp.asarray(rng.normal(size=(5, 2)), jnp.float32)
    np.testing.assert_allclose(scaler.forward(x), (x - scaler.mean[None]) / scaler.std[None])
    np.testing.assert_allclose(scaler.backward(scaler.forward(x)), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(normalise.identity(2).forward(x), x)


def test_no_valid_row_gives_the_identity():
    scaler = normalise.fit(jnp.ones((4, 2)), jnp.zeros(4, bool))
    np.testing.assert_array_equal(scaler.mean, 0.0)
    np.testing.assert_array_equal(scaler.std, 1.0)


def test_wrong_shapes_raise():
    with pytest.raises(Exception, match=r"type|shape"):
        normalise.fit(jnp.ones((4, 2)), jnp.ones(3, bool))
