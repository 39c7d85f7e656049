"""Likelihood objectives against scipy and their own definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from mbrl_jax.objectives.likelihood import bounded_log_var, bounded_variance, gaussian_nll


def test_gaussian_nll_is_twice_scipys_without_the_constant(rng):
    mean, log_var, target = jnp.asarray(rng.normal(size=(3, 4, 5, 2)), jnp.float32)
    exact = -2 * stats.norm.logpdf(target, mean, np.exp(0.5 * log_var)) - np.log(2 * np.pi)
    np.testing.assert_allclose(gaussian_nll(mean, log_var, target), exact, rtol=1e-4, atol=1e-5)


def test_the_best_variance_is_the_squared_error():
    mean, target = jnp.zeros((1, 1)), jnp.full((1, 1), 0.3)
    best = jnp.log(jnp.full((1, 1), 0.09))
    slope = jax.grad(lambda v: gaussian_nll(mean, v, target).sum())
    np.testing.assert_allclose(slope(best), 0.0, atol=1e-6)
    assert slope(best + 0.1) > 0 > slope(best - 0.1)
    np.testing.assert_allclose(gaussian_nll(mean, best, target), 1 + np.log(0.09), rtol=1e-6)


def test_log_variances_are_bounded_as_in_the_released_code(rng):
    low, high = np.array([-10.0, -2.0]), np.array([0.5, 1.0])
    raw = rng.normal(scale=8, size=(50, 2))

    def softplus(x):
        return np.logaddexp(x, 0)

    upper = high - softplus(high - raw)
    exact = low + softplus(upper - low)
    as_float = [jnp.asarray(x, jnp.float32) for x in (raw, low, high)]
    np.testing.assert_allclose(bounded_log_var(*as_float), exact, rtol=1e-5, atol=1e-5)


def test_bounds_hold_far_out_and_vanish_in_the_middle():
    low, high = jnp.array([-10.0]), jnp.array([10.0])
    out = bounded_log_var(jnp.array([[-1e4], [0.0], [1e4]]), low, high)
    # The lower bound is applied last, so the upper end overshoots by softplus(low - high), 2e-9 here.
    np.testing.assert_allclose(out, [[-10.0], [0.0], [10.0]], atol=1e-4)


def test_bounded_variances_are_the_exponentials_of_bounded_log_variances(rng):
    low, high = jnp.array([-10.0, -2.0]), jnp.array([4.0, 1.0])
    raw = jnp.asarray(rng.normal(scale=8, size=(200, 2)), jnp.float32)
    np.testing.assert_allclose(bounded_variance(raw, low, high), np.exp(bounded_log_var(raw, low, high)), rtol=2e-5)
    slope, exact = (
        jax.grad(lambda r, f=f: f(r, low, high).sum())(raw)
        for f in (lambda *x: jnp.log(bounded_variance(*x)), bounded_log_var)
    )
    np.testing.assert_allclose(slope, exact, rtol=1e-3, atol=1e-6)
    far = jnp.array([[-1e4, -1e4], [1e4, 1e4]])
    value, slope = jax.value_and_grad(lambda r: bounded_variance(r, low, high).sum())(far)
    np.testing.assert_allclose(value, np.exp(low).sum() * 2 + np.exp(high).sum(), rtol=1e-6)
    np.testing.assert_array_equal(slope, 0.0)


def test_gradients_reach_the_bounds():
    low, high = jnp.array([-3.0]), jnp.array([0.5])
    g_low, g_high = jax.grad(lambda lo, hi: bounded_log_var(jnp.array([[-9.0]]), lo, hi).sum(), (0, 1))(low, high)
    assert g_low > 0.9 and abs(g_high) < 0.1
    g_low, g_high = jax.grad(lambda lo, hi: bounded_log_var(jnp.array([[9.0]]), lo, hi).sum(), (0, 1))(low, high)
    assert g_high > 0.9 and abs(g_low) < 0.1
    with jax.enable_x64(True):
        at = (np.array([[-1.0, 0.2]]), np.full(2, -3.0), np.full(2, 0.5))
        check_grads(lambda *x: bounded_log_var(*map(jnp.asarray, x)), at, order=1, modes=["rev"])


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_nll(jnp.zeros((2, 3)), jnp.zeros((2, 1)), jnp.zeros((2, 3))),
        lambda: gaussian_nll(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.zeros(3)),
        lambda: gaussian_nll(jnp.zeros((2, 3), int), jnp.zeros((2, 3)), jnp.zeros((2, 3))),
        lambda: bounded_log_var(jnp.zeros((2, 3)), jnp.zeros(2), jnp.zeros(3)),
        lambda: bounded_log_var(jnp.zeros((2, 3)), jnp.zeros((1, 3)), jnp.zeros(3)),
    ],
)
def test_wrong_shapes_and_types_raise(call):
    with pytest.raises(Exception, match=r"type|shape"):
        call()
