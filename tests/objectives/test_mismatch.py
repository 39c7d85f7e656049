"""MnM's losses by hand and at their optima; their gradients on a chain and a Gaussian; what label smoothing does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import tabular
from mbrl_jax.objectives import mismatch, ratios
from mbrl_jax.theory import mnm, mnm_smoothing, vmbpo

ALPHA = 0.1


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def test_optimism_is_the_smaller_critic_and_the_logit_and_ends_with_the_task():
    value = jnp.array([[3.0, 1.0, 5.0], [2.0, 4.0, 7.0]])
    discount, logit = jnp.array([1.0, 1.0, 0.0]), jnp.array([0.5, -1.0, 0.25])
    loss = mismatch.optimism_loss(value, discount, logit, 0.5)
    np.testing.assert_allclose(loss, [-(0.5 * 2 + 0.5), -(0.5 * 1 - 1), -0.25])
    of_value, of_discount, of_logit = jax.grad(lambda *x: mismatch.optimism_loss(*x, 0.5).sum(), (0, 1, 2))(
        value, discount, logit
    )
    np.testing.assert_allclose(of_value, [[0, -0.5, 0], [-0.5, 0, 0]])
    np.testing.assert_array_equal(of_discount, 0)
    np.testing.assert_array_equal(of_logit, -1)


def test_the_smoothed_loss_is_eq_4_with_the_fakes_label_raised():
    real, fake = np.array([0.3, -2.0]), np.array([[1.0, 0.0], [-0.5, 2.5]])
    of_fake = ALPHA * np.log(sigmoid(fake)) + (1 - ALPHA) * np.log(1 - sigmoid(fake))
    expected = -np.log(sigmoid(real)) - of_fake.mean(axis=0)
    found = mismatch.smoothed_loss(jnp.asarray(real), jnp.asarray(fake), ALPHA)
    np.testing.assert_allclose(found, expected)
    plain = mismatch.smoothed_loss(jnp.asarray(real), jnp.asarray(fake[:1]), 0.0)
    np.testing.assert_allclose(plain, ratios.discriminator_loss(jnp.asarray(real), jnp.asarray(fake[0])))


@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.1, 0.7])
def test_the_smoothed_logit_is_where_the_expected_loss_is_least(rng, alpha):
    """Two discrete distributions: the loss's slope is zero there, and it grows to both sides."""
    p, q = rng.dirichlet(np.ones(6), size=2)
    at = mismatch.smoothed_logit(jnp.log(jnp.asarray(p / q)), alpha)

    def expected(logit):
        """Over all pairs of a real and an imagined outcome."""
        real, fake = (jnp.broadcast_to(x, (6, 6)) for x in (logit[:, None], logit[None]))
        return jnp.asarray(p) @ mismatch.smoothed_loss(real, fake[None], alpha) @ jnp.asarray(q)

    np.testing.assert_allclose(jax.grad(expected)(at), 0, atol=1e-12)
    assert all(expected(at + shift) > expected(at) for shift in (0.1, -0.1))


def test_smoothing_bounds_the_penalty_and_shifts_the_logit_of_a_perfect_model():
    ratio = jnp.array([-1e3, 0.0, 5.0])
    smoothed = mismatch.smoothed_logit(ratio, ALPHA)
    np.testing.assert_allclose(smoothed, np.log([0.1 / 0.9, 1.1 / 0.9, (np.exp(5) + 0.1) / 0.9]))
    np.testing.assert_allclose(mismatch.smoothed_logit(ratio, 0.0), ratio)
    slope = jax.vmap(jax.grad(lambda x: mismatch.smoothed_logit(x, ALPHA)))(ratio)
    np.testing.assert_allclose(slope, [0, 1 / 1.1, np.exp(5) / (np.exp(5) + 0.1)], atol=1e-12)


def test_a_perfect_model_gains_nothing_from_the_classifier(rng):
    """At q = p the optimal logit is the same everywhere, 0 without smoothing: no advantage, and no slope."""
    states = jnp.asarray(rng.normal(size=(50, 2)))

    def log_p(x):
        return -0.5 * jnp.square(x).sum(axis=-1)

    for alpha, constant in ((0.0, 0.0), (ALPHA, np.log(1.1 / 0.9))):

        def logit(x, alpha=alpha):
            return mismatch.smoothed_logit(log_p(x) - log_p(x), alpha)

        np.testing.assert_allclose(logit(states), constant, atol=1e-15)
        none = jnp.zeros((2, 50))

        def loss(x, logit=logit, none=none):
            return mismatch.optimism_loss(none, jnp.ones(50), logit(x), 1.0).sum()

        np.testing.assert_array_equal(jax.grad(loss)(states), 0)


def chain():
    """Three states in a row under one action; its exact values."""
    transition = np.array([[[0.5, 0.5, 0.0]], [[0.25, 0.25, 0.5]], [[0.1, 0.4, 0.5]]])
    mdp = tabular.make(transition, [[0.2], [0.55], [1.0]], [1.0, 0.0, 0.0], 0.9)
    return mdp, tabular.state_value(mdp, tabular.make_policy([[1.0]] * 3, mdp))


def test_on_the_chain_its_gradient_is_that_of_the_exact_objective():
    """Expected over a table, with exact value and frozen exact logit; it is zero at the tilted model."""
    mdp, value = chain()
    supported = mdp.transition > 0
    logits = jnp.where(supported, jax.random.normal(jax.random.key(0), mdp.transition.shape, jnp.float64), -jnp.inf)

    def deep(logits, coefficient=1.0):
        model = jax.nn.softmax(logits, axis=-1)
        logit = jax.lax.stop_gradient(mnm.classifier_logit(mdp.transition, model))
        logit = jnp.where(supported, logit, 0.0)
        values = jnp.broadcast_to(value[None, None], mdp.transition.shape)
        both = jnp.stack([values, values + 1.0])
        loss = mismatch.optimism_loss(both, jnp.ones_like(logit), logit, coefficient)
        return -(model * loss).sum()

    def exact(logits):
        model = jax.nn.softmax(logits, axis=-1)
        return mnm.model_objective(mdp.transition, model, value).sum()

    found, expected = (jnp.where(supported, jax.grad(f)(logits), 0.0) for f in (deep, exact))
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-12)
    at_truth = jax.grad(deep)(jnp.log(mdp.transition))
    assert float(jnp.abs(jnp.where(supported, at_truth, 0.0)).max()) > 0.01
    for coefficient, tilt in ((1.0, value), (0.9, 0.9 * value)):
        best = jnp.log(mnm.tilted_model(mdp.transition, tilt))
        slope = jax.grad(lambda x, c=coefficient: deep(x, c))(best)
        np.testing.assert_allclose(jnp.where(supported, slope, 0.0), 0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_the_gradient_through_a_draw_is_that_of_values_less_divergence(alpha):
    """World N(0, 1), model N(m, s²), value 0.4 x − 0.1 x²: by hand without smoothing; it differs from that with it."""
    z = jnp.linspace(-10, 10, 2001)
    weight = jax.nn.softmax(-0.5 * z**2)

    def log_normal(x, m, s):
        return -0.5 * jnp.square((x - m) / s) - jnp.log(s)

    def deep(params):
        m, s = params
        x = m + s * z
        fixed_m, fixed_s = map(jax.lax.stop_gradient, params)
        logit = mismatch.smoothed_logit(log_normal(x, 0.0, 1.0) - log_normal(x, fixed_m, fixed_s), alpha)
        value = 0.4 * x - 0.1 * x**2
        return -(weight * mismatch.optimism_loss(jnp.stack([value, value]), jnp.ones_like(x), logit, 1.0)).sum()

    m, s = 0.3, 0.8
    found = jax.grad(deep)((jnp.float64(m), jnp.float64(s)))
    exact = (0.4 - 0.2 * m - m, -0.2 * s - s + 1 / s)
    if alpha == 0:
        np.testing.assert_allclose(found, exact, rtol=1e-6)
    else:
        assert all(abs(a - b) > 0.02 for a, b in zip(found, exact, strict=True))


def test_full_mnms_reward_is_eq_3_without_its_constant():
    reward, logit, gamma = jnp.array([2.0, 0.5]), jnp.array([-0.3, 0.1]), 0.9
    found = mismatch.augmented_reward(reward, logit, gamma)
    np.testing.assert_allclose(found, [0.1 * np.log(2) - 0.3, 0.1 * np.log(0.5) + 0.1])
    constant = -(1 - gamma) * np.log(1 - gamma)
    np.testing.assert_allclose(ratios.classifier_reward(reward, logit, gamma) - found, constant)
    # What is not positive counts as the floor.
    found = mismatch.augmented_reward(jnp.array([-1.0, 0.0]), jnp.zeros(2), gamma, 0.01)
    np.testing.assert_allclose(found, 0.1 * np.log(0.01))
    mdp, _ = chain()
    model = mnm.tilted_model(mdp.transition, jnp.array([0.0, 0.5, 1.0]))
    exact = mnm.augmented_reward(mdp, model)
    logits = mnm.classifier_logit(mdp.transition, model)
    rewards = jnp.broadcast_to(mdp.reward[..., None], logits.shape)
    found = mismatch.augmented_reward(rewards, logits, mdp.discount) - 0.1 * np.log(0.1)
    np.testing.assert_allclose(found[mdp.transition > 0], exact[mdp.transition > 0])


def test_vmbpos_reward_has_its_objective_as_expected_return():
    """Summed over the model's own transitions it is VMBPO's objective, in nats: η times the one in reward units."""
    mdp, value = chain()
    eta = 0.3
    model = mnm.tilted_model(mdp.transition, eta * value)
    logits = jnp.where(model > 0, mnm.classifier_logit(mdp.transition, model), 0.0)
    reward = mismatch.twisted_reward(jnp.broadcast_to(mdp.reward[..., None], logits.shape), logits, eta)
    in_model = tabular.with_model(mdp, model, tabular.expected_reward(model, reward))
    policy = tabular.make_policy([[1.0]] * 3, mdp)
    found = tabular.expected_return(in_model, policy)
    np.testing.assert_allclose(found, eta * vmbpo.objective(mdp, model, policy, eta), rtol=1e-10)
    better = vmbpo.optimal_objective(mdp, policy, eta)
    assert found / eta <= better and better > tabular.expected_return(mdp, policy)


def test_the_bellman_error_sees_the_draw_alone():
    value, reward = jnp.array([2.0, -1.0]), jnp.array([0.5, 1.0])
    following, gamma = jnp.array([[1.0, 3.0], [4.0, 2.0]]), jnp.array([0.9, 0.0])
    loss = mismatch.bellman_error(value, reward, following, gamma)
    np.testing.assert_allclose(loss, [(2 - 0.5 - 0.9) ** 2, (-1 - 1) ** 2])
    slopes = jax.grad(lambda *x: mismatch.bellman_error(*x).sum(), (0, 1, 2, 3))(value, reward, following, gamma)
    np.testing.assert_array_equal(slopes[0], 0)
    np.testing.assert_array_equal(slopes[1], 0)
    np.testing.assert_array_equal(slopes[3], 0)
    np.testing.assert_allclose(slopes[2], [[2 * 0.9 * -(2 - 0.5 - 0.9), 0], [0, 0]])


def test_weights_are_a_softmax_of_mean_one():
    value = np.array([1.0, 2.0, 4.0])
    found = mismatch.value_weights(jnp.asarray(value), 1.0)
    np.testing.assert_allclose(found, 3 * np.exp(value) / np.exp(value).sum())
    spread = mismatch.value_weights(jnp.asarray(value))
    scaled = np.exp(value / value.std())
    np.testing.assert_allclose(spread, 3 * scaled / scaled.sum(), rtol=1e-5)
    np.testing.assert_allclose(spread, mismatch.value_weights(jnp.asarray(1000 * value)), rtol=1e-4)
    np.testing.assert_allclose(mismatch.value_weights(jnp.ones(4)), 1)
    assert (jax.jacobian(mismatch.value_weights)(jnp.asarray(value)) == 0).all()


def test_the_slope_is_the_length_of_what_a_deviation_is_worth():
    found = mismatch.value_slope(jnp.array([[3.0, -4.0], [0.0, 0.0]]), jnp.array([[1.0, 2.0], [5.0, 5.0]]), 0.5)
    np.testing.assert_allclose(found, [0.5 * np.hypot(3, 8), 0])


MEASURED = {0.1: (1.2, {0.5: 0.57, 1.0: 1.35}), 0.05: (1.3, {1.2: 1.5}), 0.01: (2.0, {1.7: 2.1})}
"""By smoothing: a slope at which the model was seen to run away, and shifts that it came to rest at by slope."""


@pytest.mark.parametrize("alpha", MEASURED)
def test_the_model_runs_away_beyond_a_slope_that_smoothing_sets(alpha):
    too_steep, rests = MEASURED[alpha]
    slopes = np.array([*rests, too_steep])
    found = mnm_smoothing.resting_shift(slopes, alpha)
    # Seen by gradient ascent, and rounded: near the largest pull the shift is steep in the slope.
    np.testing.assert_allclose(found[:-1], list(rests.values()), atol=0.06)
    assert np.isinf(found[-1])
    threshold = mnm_smoothing.largest_slope(alpha)
    assert max(rests) < threshold < too_steep
    assert np.isfinite(mnm_smoothing.resting_shift(threshold - 1e-6, alpha))
    assert np.isinf(mnm_smoothing.resting_shift(threshold + 1e-6, alpha))


def test_without_smoothing_it_never_runs_away():
    slopes = np.array([0.5, 1.2, 3.0, 8.0])
    np.testing.assert_allclose(mnm_smoothing.resting_shift(slopes, 0.0), slopes, rtol=1e-9)
    assert mnm_smoothing.largest_slope(0.0) == np.inf


def test_a_narrower_model_has_nearly_the_same_threshold():
    assert mnm_smoothing.largest_slope(0.1, 0.5) == pytest.approx(float(mnm_smoothing.largest_slope(0.1)), rel=0.15)


def ascent(slope, alpha, steps=3000, rate=0.05):
    """Gradient ascent of Eq. 9 in the mean of N(m, 1), whose classifier is the best one at every step."""
    z = jnp.linspace(-8, 8, 321)
    weight = jax.nn.softmax(-0.5 * z**2)

    def objective(m, frozen):
        x = m + z
        logit = mismatch.smoothed_logit(0.5 * (jnp.square(x - frozen) - jnp.square(x)), alpha)
        value = jnp.stack([slope * x, slope * x])
        return -(weight * mismatch.optimism_loss(value, jnp.ones_like(x), logit, 1.0)).sum()

    def step(i, m):
        return m + rate * jax.grad(objective)(m, m)

    return jax.lax.fori_loop(0, steps, step, jnp.zeros(()))


def test_gradient_ascent_does_what_the_analysis_says():
    for alpha, slope in ((0.1, 0.5), (0.1, 1.0), (0.05, 1.2), (0.0, 1.2)):
        at = mnm_smoothing.resting_shift(np.array([slope]), alpha)
        np.testing.assert_allclose(ascent(slope, alpha), at[0], atol=1e-4)
    for alpha, slope in ((0.1, 1.25), (0.05, 1.45)):
        assert ascent(slope, alpha) > 20 and np.isinf(mnm_smoothing.resting_shift(np.array([slope]), alpha)).all()
