"""PETS's search: draws inside the bounds, fits in closed form, quadratics, and what the policy remembers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import planners
from mbrl_jax.planners import Scored
from mbrl_jax.planners.truncated import acting_by_the_mode, truncated_box

KEY = jax.random.key(0)


def test_draws_stay_inside_the_bounds_and_within_two_deviations():
    """Room for two deviations to the nearer bound: a quarter of the squared distance is the largest variance."""
    mean = jnp.array([[0.0, 0.9, -0.5], [0.3, -1.0, 1.0]])
    box = truncated_box(3)
    found = box.sample(KEY, (mean, jnp.full((2, 3), 4.0)), 20_000)
    assert jnp.abs(found).max() <= 1.0
    room = 1.0 - np.abs(mean)
    assert (np.abs(found - mean[None]).max(axis=0) <= room + 1e-6).all()
    # A normal cut off at two deviations has 0.774 of its variance.
    np.testing.assert_allclose(found.var(axis=0), 0.774 * (0.5 * room) ** 2, rtol=0.03)
    narrow = box.sample(KEY, (mean[:1, :1], jnp.full((1, 1), 0.01)), 20_000)
    np.testing.assert_allclose(narrow.std(), 0.1 * np.sqrt(0.774), rtol=0.02)


def test_a_fit_keeps_a_tenth_of_the_old_moments(rng):
    sequences = jnp.asarray(rng.uniform(-1, 1, (6, 2, 1)), jnp.float32)
    weights = jnp.asarray([0.5, 0, 0.5, 0, 0, 0])
    old = (jnp.full((2, 1), 0.4), jnp.full((2, 1), 0.2))
    mean, variance = truncated_box(1, kept=0.1).fit(old, sequences, weights)
    pair = np.asarray(sequences)[[0, 2]]
    np.testing.assert_allclose(mean, 0.04 + 0.9 * pair.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.02 + 0.9 * pair.var(axis=0), rtol=1e-5)


def test_a_fit_changes_nothing_once_all_variances_are_small(rng):
    sequences, weights = jnp.asarray(rng.uniform(-1, 1, (6, 2, 1)), jnp.float32), jnp.full(6, 1 / 6)
    for largest, moves in ((1e-3, False), (2e-3, True)):
        old = (jnp.full((2, 1), 0.4), jnp.array([[1e-4], [largest]]))
        found = truncated_box(1).fit(old, sequences, weights)
        assert np.array_equal(found[0], old[0]) is not moves and np.array_equal(found[1], old[1]) is not moves


def test_without_preferences_the_variance_shrinks_as_it_must():
    """.1 + .9 · .774 of it, and of that 39 fortieths, because the elites' own mean is subtracted."""

    def indifferent(key, obs, sequences):
        return Scored(jnp.zeros(len(sequences)), jnp.ones(len(sequences)))

    box = truncated_box(2000)
    search = planners.cross_entropy(indifferent, box, 400, 1, iterations=1, elites=40)
    _, (_, variance) = search(KEY, box.start(1), jnp.zeros(1))
    np.testing.assert_allclose(variance.mean() / 0.25, 0.1 + 0.9 * 0.774 * 39 / 40, rtol=0.01)


def searched(dim, iterations):
    """The end of a search for a point in [-.8, .8]^dim by the squared distance to it, and that distance at first."""
    wanted = jax.random.uniform(jax.random.key(1), (1, dim), minval=-0.8, maxval=0.8)

    def score(key, obs, sequences):
        value = -jnp.square(sequences - wanted[None]).sum(axis=(1, 2))
        return Scored(value, jnp.ones_like(value))

    box = truncated_box(dim)
    search = acting_by_the_mode(planners.cross_entropy(score, box, 400, 1, iterations=iterations, elites=40), box)
    plan, (mean, _) = jax.jit(search)(KEY, box.start(1), jnp.zeros(1))
    np.testing.assert_array_equal(plan.action, mean[0])
    return np.asarray(mean - wanted)[0], np.asarray(wanted)[0]


@pytest.mark.parametrize(("dim", "iterations", "most"), [(1, 5, 5e-3), (5, 5, 0.06)])
def test_it_finds_the_least_of_a_quadratic_in_few_dimensions(dim, iterations, most):
    error, _ = searched(dim, iterations)
    assert np.abs(error).max() < most


@pytest.mark.parametrize(("dim", "least", "most"), [(25, 8, 200), (150, 1.5, 6)])
def test_in_many_it_gets_nearer_the_slower_the_more_there_are(dim, least, most):
    error, wanted = searched(dim, 5)
    assert least < np.square(wanted).sum() / np.square(error).sum() < most


def test_the_policys_plan_moves_on_and_begins_anew_with_an_episode():
    box = truncated_box(1)

    def search(key, params, obs):
        mean = params[0] + obs[0]
        return planners.Plan(mean[0], jnp.zeros(()), jnp.zeros(())), (mean, 0.1 * params[1])

    policy = planners.warm_started(acting_by_the_mode(search, box), box, 3)
    obs = jnp.ones((2, 1))
    memory = policy.start(obs)
    np.testing.assert_array_equal(memory[0], jnp.zeros((2, 3, 1)))
    for action, mean in ((1.0, [1, 1, 0]), (2.0, [2, 1, 0])):
        memory, taken, _ = policy.act(KEY, memory, obs)
        np.testing.assert_array_equal(taken, jnp.full((2, 1), action))
        np.testing.assert_array_equal(memory[0][0, :, 0], mean)
        np.testing.assert_array_equal(memory[1], jnp.full((2, 3, 1), 0.25))


@functools.cache
def noisy_best():
    """The spread of the action by the mean and by the best draw, where values are noise about a flat optimum."""

    def score(key, obs, sequences):
        value = -jnp.square(sequences).sum(axis=(1, 2)) + 5.0 * jax.random.normal(key, (len(sequences),))
        return Scored(value, jnp.ones_like(value))

    box = truncated_box(1)
    best = planners.cross_entropy(score, box, 100, 1, iterations=1, elites=20)
    keys = jax.random.split(KEY, 200)
    return [
        jax.vmap(lambda k, s=search: s(k, box.start(1), jnp.zeros(1))[0].action)(keys).std()
        for search in (acting_by_the_mode(best, box), best)
    ]


def test_the_mean_of_the_best_is_less_a_matter_of_luck_than_the_best():
    by_mean, by_best = noisy_best()
    assert by_mean < 0.5 * by_best
