"""Trust-region objectives: divergences and entropies against integrals, the surrogate against the policy gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import erf

from mbrl_jax.objectives.likelihood import gaussian_log_prob
from mbrl_jax.objectives.surrogate import (
    bounded_entropy,
    clipped_surrogate,
    clipped_value_error,
    gaussian_kl,
    released_entropy,
    surrogate,
)

MEAN, STD = np.array([[0.3, -1.2], [0.0, 2.5]]), np.array([[0.7, 1.6], [1.0, 0.05]])


def arrays(*values):
    return tuple(jnp.asarray(value) for value in values)


def test_the_log_density_is_scipys(rng):
    action = rng.normal(size=(2, 2))
    with jax.enable_x64(True):
        found = gaussian_log_prob(*arrays(MEAN, np.log(STD), action))
    np.testing.assert_allclose(found, stats.norm(MEAN, STD).logpdf(action).sum(axis=-1), rtol=1e-12)


def test_the_divergence_is_the_integral(rng):
    new_mean, new_std = MEAN + rng.normal(size=MEAN.shape), STD * rng.uniform(0.5, 2.0, STD.shape)
    with jax.enable_x64(True):
        found = gaussian_kl(*arrays(MEAN, np.log(STD), new_mean, np.log(new_std)))

    def of_one(old, new):
        def integrand(z):
            x = old.mean() + old.std() * z
            return stats.norm.pdf(z) * (old.logpdf(x) - new.logpdf(x))

        return integrate.quad(integrand, -12, 12, epsabs=1e-12)[0]

    pairs = zip(MEAN.ravel(), STD.ravel(), new_mean.ravel(), new_std.ravel(), strict=True)
    exact = [of_one(stats.norm(a, b), stats.norm(c, d)) for a, b, c, d in pairs]
    np.testing.assert_allclose(found, np.reshape(exact, (2, 2)).sum(axis=-1), rtol=1e-8)


def test_the_divergence_from_itself_is_nothing_to_first_order():
    old = arrays(*(x.astype(np.float32) for x in (MEAN, np.log(STD))))

    def total(mean, log_std):
        return gaussian_kl(*old, mean, log_std).sum()

    np.testing.assert_allclose(total(*old), 0.0, atol=1e-6)
    for slope in jax.grad(total, argnums=(0, 1))(*old):
        np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_the_entropy_within_bounds_is_the_integral():
    def of_one(mean, std):
        density = stats.norm(mean, std)
        return integrate.quad(lambda x: -density.pdf(x) * density.logpdf(x), -2, 2, points=[mean], epsabs=1e-12)[0]

    with jax.enable_x64(True):
        found = bounded_entropy(*arrays(MEAN[:, :1], np.log(STD[:, :1])))
        narrow = bounded_entropy(*arrays(np.zeros((1, 1)), np.log(np.full((1, 1), 0.05))))
    np.testing.assert_allclose(found, [of_one(0.3, 0.7), of_one(0.0, 1.0)], rtol=1e-9)
    np.testing.assert_allclose(narrow, stats.norm(0.0, 0.05).entropy(), rtol=1e-9)


def test_the_entropy_within_bounds_is_the_mean_over_draws_that_lie_there(rng):
    mean, std = np.array([0.5]), np.array([1.3])
    density = stats.norm(mean[0], std[0])
    draws = density.rvs(400_000, random_state=0)
    terms = -density.logpdf(draws) * (np.abs(draws) <= 2)
    found = bounded_entropy(*arrays(mean.astype(np.float32), np.log(std).astype(np.float32)))
    assert abs(float(found) - terms.mean()) < 4 * terms.std() / np.sqrt(len(draws))


# (form, value at sigma = 1, slope in log sigma there, where it is largest): slbo_trpo.md, by quadrature.
FORMS = [(bounded_entropy, 1.246, 0.32, 1.29), (released_entropy, 1.069, 1.33, 1.90)]


@pytest.mark.parametrize(("form", "level", "slope", "peak"), FORMS)
def test_both_forms_have_their_values_slopes_and_peaks(form, level, slope, peak):
    def at(log_std):
        return form(jnp.zeros(1), log_std[None])

    np.testing.assert_allclose(at(jnp.float32(0.0)), level, atol=5e-4)
    np.testing.assert_allclose(jax.grad(at)(jnp.float32(0.0)), slope, atol=5e-3)
    stds = np.linspace(0.5, 4.0, 3501, dtype=np.float32)
    values = jax.vmap(at)(jnp.log(jnp.asarray(stds)))
    np.testing.assert_allclose(stds[np.argmax(values)], peak, atol=6e-3)


def test_the_released_form_is_its_code():
    """utils/truncated_normal.py, with the bounds -2 and 2."""
    with jax.enable_x64(True):
        found = released_entropy(*arrays(MEAN, np.log(STD)))
    low, high = (-2 - MEAN) / (STD * np.sqrt(2)), (2 - MEAN) / (STD * np.sqrt(2))
    half = 0.5 * (np.log(STD) + 0.5 * np.log(2 * np.pi)) * (erf(high) - erf(low))
    tails = 0.5 * (np.exp(-high * high) * high - np.exp(-low * low) * low)
    np.testing.assert_allclose(found, (half + tails).sum(axis=-1), rtol=1e-12)


def test_the_surrogates_gradient_at_the_old_policy_is_the_policy_gradient(rng):
    log_prob, advantage = arrays(*rng.normal(size=(2, 6)).astype(np.float32))
    found = jax.grad(lambda x: surrogate(x, log_prob, advantage).sum())(log_prob)
    np.testing.assert_allclose(found, advantage, rtol=1e-6)
    np.testing.assert_allclose(surrogate(log_prob + jnp.log(2.0), log_prob, advantage), 2 * advantage, rtol=1e-5)
    others = jax.grad(lambda *x: surrogate(log_prob, *x).sum(), argnums=(0, 1))(log_prob, advantage)
    assert all((slope == 0).all() for slope in others)


# Ratio, advantage, and with a clip of 0.2 the objective and its slope in log pi: ratio times advantage, or nothing.
CLIPPED = [
    (1.0, 2.0, 2.0, 2.0),
    (1.1, 2.0, 2.2, 2.2),
    (1.5, 2.0, 2.4, 0.0),
    (0.5, 2.0, 1.0, 1.0),
    (1.5, -2.0, -3.0, -3.0),
    (0.5, -2.0, -1.6, 0.0),
]


def test_the_clipped_surrogate_is_flat_where_a_step_has_gained_enough_and_nowhere_else():
    ratio, advantage, wanted, slope = jnp.asarray(CLIPPED).T
    log_prob, old = jnp.log(ratio) - 1.5, jnp.full(len(CLIPPED), -1.5)
    np.testing.assert_allclose(clipped_surrogate(log_prob, old, advantage, 0.2), wanted, rtol=1e-6)

    def total(*given):
        return clipped_surrogate(*given, 0.2).sum()

    found = jax.grad(total, argnums=(0, 1, 2))(log_prob, old, advantage)
    np.testing.assert_allclose(found[0], slope, rtol=1e-6)
    assert all((each == 0).all() for each in found[1:])


def test_without_a_limit_the_clipped_surrogate_is_the_surrogate(rng):
    given = arrays(*rng.normal(size=(3, 50)).astype(np.float32))
    np.testing.assert_array_equal(clipped_surrogate(*given, 1e9), surrogate(*given))


def test_a_clipped_value_error_is_the_larger_one():
    """Old value 1, target 3, clip 0.5: within the clip the error itself; beyond it that of 1.5, unless it is larger."""
    value = jnp.array([1.2, 1.5, 2.5, 5.0, 0.0])
    ones, target = jnp.ones(5), jnp.full(5, 3.0)
    np.testing.assert_allclose(clipped_value_error(value, ones, target, 0.5), [3.24, 2.25, 2.25, 4.0, 9.0], rtol=1e-6)
    slope = jax.grad(lambda v: clipped_value_error(v, ones, target, 0.5).sum())(value)
    np.testing.assert_allclose(slope[jnp.array([0, 2, 3, 4])], [-3.6, 0.0, 4.0, -6.0], rtol=1e-6)
