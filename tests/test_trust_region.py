"""Trust-region steps: conjugate gradients, natural gradients in closed form, and what the line search lets through."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import trust_region
from mbrl_jax.objectives.surrogate import gaussian_kl

CONFIG = trust_region.Config()


def positive_definite(size=5):
    root = np.random.default_rng(0).normal(size=(size, size))
    return root @ root.T + size * np.eye(size), np.random.default_rng(1).normal(size=size)


def solved(matrix, target, iterations=10):
    """The solution found in 64-bit mode."""
    with jax.enable_x64(True):
        solve = jax.jit(lambda a, b: trust_region.conjugate_gradients(lambda x: a @ x, b, iterations))
        return np.asarray(solve(jnp.asarray(matrix), jnp.asarray(target)))


def test_as_many_iterations_as_dimensions_solve_the_system():
    matrix, target = positive_definite()
    exact = np.linalg.solve(matrix, target)
    np.testing.assert_allclose(solved(matrix, target, 5), exact, rtol=1e-14 * np.linalg.cond(matrix))
    assert np.abs(solved(matrix, target, 4) - exact).max() > 1e-6


def by_the_book(matrix, target, iterations=10, residual=1e-10):
    """The loop of the released codes, with its break."""
    x, left, direction = np.zeros_like(target), target.copy(), target.copy()
    taken, square = 0, left @ left
    while taken < iterations and (square >= residual or not taken):
        taken += 1
        image = matrix @ direction
        size = square / (direction @ image)
        x, left = x + size * direction, left - size * image
        fresh = left @ left
        direction, square = left + fresh / square * direction, fresh
    return x, taken


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 5), (1e-5, 1), (1e-3, 4), (1e-7, 1)])
def test_small_gradients_stop_early_because_the_limit_is_absolute(scale, expected):
    matrix, target = positive_definite()
    matrix = matrix * 3.0
    reference, taken = by_the_book(matrix, scale * target)
    assert taken == expected
    np.testing.assert_allclose(solved(matrix, scale * target), reference, rtol=1e-12)


def test_nothing_is_solved_by_nothing():
    np.testing.assert_array_equal(solved(np.eye(3), np.zeros(3)), 0.0)


# One action, Gaussian with mean m and log-deviation l, reward -(a - c)^2, standardised: everything in closed form.
MEAN, LOG_STD, CENTRE = 0.3, -0.4, 1.0


def expected_gain(params):
    """E ratio * advantage, exact: the expected reward of the new policy, standardised by the old one's."""
    variance = np.exp(2 * LOG_STD)
    spread = np.sqrt(4 * variance * (MEAN - CENTRE) ** 2 + 2 * variance**2)
    level = -((MEAN - CENTRE) ** 2) - variance
    return (-jnp.square(params["mean"] - CENTRE) - jnp.exp(2.0 * params["log_std"]) - level) / spread


def divergence(params):
    old = jnp.asarray([MEAN], params["mean"].dtype), jnp.asarray([LOG_STD], params["mean"].dtype)
    return gaussian_kl(*old, params["mean"][None], params["log_std"][None])


def start():
    return {"mean": jnp.asarray(MEAN), "log_std": jnp.asarray(LOG_STD)}


@pytest.fixture(scope="module")
def step():
    """The step of the closed-form problem, in 64-bit mode."""
    with jax.enable_x64(True):
        ascend = jax.jit(lambda p: trust_region.ascend(CONFIG, p, expected_gain, divergence))
        return jax.tree.map(np.asarray, ascend(start()))


def test_the_step_is_the_natural_gradient_in_closed_form(step):
    variance = np.exp(2 * LOG_STD)
    gradient = np.array([-2 * (MEAN - CENTRE), -2 * variance])
    gradient /= np.sqrt(4 * variance * (MEAN - CENTRE) ** 2 + 2 * variance**2)
    damped = np.diag([1 / variance + 0.1, 2.1])
    direction = np.linalg.solve(damped, gradient)
    full = direction * np.sqrt(0.02 / (direction @ damped @ direction))
    params, info = step
    found = np.array([params["mean"] - MEAN, params["log_std"] - LOG_STD])
    assert info["share"] == 1.0
    np.testing.assert_allclose(found, full, rtol=1e-9)


def test_the_step_stays_in_the_region_and_gains(step):
    params, info = step
    with jax.enable_x64(True):
        kl, gain = (np.asarray(f(jax.tree.map(jnp.asarray, params))) for f in (divergence, expected_gain))
    np.testing.assert_allclose([info["kl"], info["gain"]], [kl, gain], rtol=1e-9)
    moved = np.array([params["mean"] - MEAN, params["log_std"] - LOG_STD])
    second_order = 0.5 * (moved**2 * [np.exp(-2 * LOG_STD), 2.0]).sum()
    assert second_order < CONFIG.max_kl and abs(kl - second_order) < 0.1 * second_order
    assert kl <= 1.5 * CONFIG.max_kl and gain > 0 and info["accepted"] == 1


def ascended(objective, accept=trust_region.within, metric=None, config=CONFIG):
    ascend = partial(trust_region.ascend, config, objective=objective, divergence=quadratic, accept=accept)
    return jax.jit(lambda p: ascend(p, metric=metric))(jnp.zeros(2))


def quadratic(params):
    """A divergence whose Hessian is 1."""
    return 0.5 * jnp.square(params).sum()


def slope(params):
    return params.sum()


def test_no_step_where_the_gradient_is_none():
    params, info = ascended(lambda p: 1e-9 * p.sum())
    np.testing.assert_array_equal(params, 0.0)
    assert info["accepted"] == info["share"] == info["kl"] == 0 and np.isfinite(info["gain"])


@pytest.mark.parametrize(
    "objective",
    [
        lambda p: p.sum() - 1e6 * jnp.abs(p).sum() ** 1.5,  # falls at once, whatever the slope at 0 says
        lambda p: jnp.where(jnp.abs(p).sum() > 0, jnp.nan, p.sum()),
    ],
)
def test_all_shares_failing_leaves_everything_as_it_was(objective):
    params, info = ascended(objective)
    np.testing.assert_array_equal(params, 0.0)
    assert info["accepted"] == 0 and np.isfinite(list(info.values())).all()


def test_the_first_share_that_is_accepted_is_taken():
    """Gains up to a length that the third try keeps."""
    full = np.sqrt(0.02 / 1.1)
    params, info = ascended(lambda p: p.sum() - jnp.where(jnp.linalg.norm(p) > 0.3 * full, 1.0, 0.0))
    assert info["share"] == 0.25
    np.testing.assert_allclose(params, 0.25 * full / np.sqrt(2), rtol=1e-5)


def test_the_divergence_bounds_one_line_search_and_not_the_other():
    """With a Fisher matrix estimated four times too small, the full step is twice too long."""

    def small(params):
        return 0.25 * quadratic(params)

    _, info = ascended(slope, metric=small)
    assert info["kl"] <= 0.015 and info["share"] < 1
    params, info = ascended(slope, trust_region.improves, small)
    assert info["kl"] > 0.015 and info["share"] == 1
    np.testing.assert_allclose(params, np.sqrt(0.02 / 0.35 / 2), rtol=1e-5)


@pytest.mark.parametrize(("bend", "taken"), [(0.85, 1.0), (0.95, 0.5)])
def test_the_other_asks_for_a_tenth_of_what_the_slope_promises(bend, taken):
    """gain = promise - bend * promise * share^2 / ... : the full step keeps 1 - bend of it."""
    promise = float(np.sqrt(2 * 0.02 / 1.1))

    def objective(params):
        return params.sum() - bend * jnp.square(params.sum()) / promise

    assert ascended(objective, trust_region.improves)[1]["share"] == taken


def test_every_fifth_row_estimates_the_fisher_matrix():
    """The step with a metric of a fifth of the rows is near that with all of them."""
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(20_000, 2)), jnp.float32)

    def over(rows):
        return lambda p: 0.5 * jnp.square(rows @ p).mean()

    steps = [ascended(slope, metric=over(rows[::stride]))[0] for stride in (1, 5)]
    np.testing.assert_allclose(*steps, rtol=0.05)
    assert not np.array_equal(*steps)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"tries": 0}, "tries must be at least 1"), ({"damping": -0.1}, "damping must not be negative, got -0.1")],
)
def test_impossible_settings_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        trust_region.Config(**changes)
