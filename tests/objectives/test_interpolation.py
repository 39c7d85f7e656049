"""Targets of roll-outs of several lengths: against sums written out, and their weights in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax.objectives import interpolation
from mbrl_jax.objectives.interpolation import candidate_targets, interpolated

GAMMA = 0.9


def random_inputs(rng, horizon=3, models=2, rewards=3, critics=4, batch=5):
    """Inputs of `candidate_targets`; some real steps have ended."""
    discount = (np.arange(batch) % 3 > 0).astype(np.float64)
    sizes = ((horizon, models, rewards, batch), (horizon, models, batch), (horizon + 1, models, critics, batch))
    imagined, going, value = (rng.uniform(size=size) for size in sizes)
    return rng.normal(size=batch), discount, imagined - 0.5, going, 5.0 * value


def arrays(given):
    return tuple(jnp.asarray(x, jnp.float32) for x in given)


@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_candidates_are_the_sums_written_out(rng, horizon):
    given = random_inputs(rng, horizon)
    reward, discount, imagined, going, value = given
    found = candidate_targets(*arrays(given), GAMMA)
    wanted = np.zeros((horizon + 1, 2, 3, 4, 5))
    for h, i, j, k, b in np.ndindex(wanted.shape):
        total, alive = reward[b], discount[b]
        for m in range(1, h + 1):
            total += GAMMA**m * alive * imagined[m - 1, i, j, b]
            alive *= going[m - 1, i, b]
        wanted[h, i, j, k, b] = total + GAMMA ** (h + 1) * alive * value[h, i, k, b]
    np.testing.assert_allclose(found, wanted.reshape(horizon + 1, 24, 5), rtol=1e-5, atol=1e-6)


def test_without_a_roll_out_they_are_one_step_targets_for_every_critic(rng):
    reward, discount, imagined, going, value = random_inputs(rng, 0, models=1, rewards=1)
    found = candidate_targets(*arrays((reward, discount, imagined, going, value)), GAMMA)
    np.testing.assert_allclose(found[0], reward + GAMMA * discount * value[0, 0], rtol=1e-5)
    weights = interpolation.inverse_variance(found)
    np.testing.assert_allclose(interpolated(found, weights), found[0].mean(axis=0), rtol=1e-6)


def test_a_right_model_with_right_values_gives_one_target_for_all_lengths(rng):
    """Values that are the reward and what follows, where the task may end at every step."""
    reward, discount, imagined, going, value = random_inputs(rng, models=1, rewards=1, critics=1)
    for h in reversed(range(3)):
        value[h, 0, 0] = imagined[h, 0, 0] + GAMMA * going[h, 0] * value[h + 1, 0, 0]
    found = candidate_targets(*arrays((reward, discount, imagined, going, value)), GAMMA)
    exact = reward + GAMMA * discount * value[0, 0, 0]
    np.testing.assert_allclose(found[:, 0], np.broadcast_to(exact, (4, 5)), rtol=1e-5, atol=1e-6)
    for weigh in (interpolation.equal, interpolation.inverse_variance, interpolation.geometric(0.3)):
        np.testing.assert_allclose(interpolated(found, weigh(found)), exact, rtol=1e-5, atol=1e-6)


def test_a_task_that_has_ended_is_worth_its_reward_alone(rng):
    reward, _, *rest = random_inputs(rng)
    found = candidate_targets(*arrays((reward, np.zeros(5), *rest)), GAMMA)
    np.testing.assert_array_equal(found, np.broadcast_to(np.float32(reward), found.shape))


def test_no_gradient_flows_through_targets(rng):
    given = arrays(random_inputs(rng))

    def total(*given):
        samples = candidate_targets(*given, GAMMA)
        return interpolated(samples, interpolation.inverse_variance(samples)).sum()

    assert all((slope == 0).all() for slope in jax.grad(total, argnums=tuple(range(5)))(*given))


def test_a_value_too_few_is_refused(rng):
    reward, discount, imagined, going, value = arrays(random_inputs(rng))
    with pytest.raises(ValueError, match="a horizon of 3 needs 4 values, got 3"):
        candidate_targets(reward, discount, imagined, going, value[:3], GAMMA)


def with_variances(*variances, mean=0.0):
    """Samples of one row, two for each length, with these variances around the means."""
    spread = jnp.sqrt(jnp.asarray(variances, jnp.float32))
    return mean + jnp.stack([-spread, spread], axis=1)[..., None]


@pytest.mark.parametrize(
    ("variances", "wanted"),
    [
        ((0, 0, 0, 0), np.full(4, 0.25)),
        ((1, 0, 1, 1), (1e-8, 1, 1e-8, 1e-8)),
        ((1, 2, 4, 8), np.array([8, 4, 2, 1]) / 15),
    ],
)
def test_steves_weights_are_inverse_variances(variances, wanted):
    found = interpolation.inverse_variance(with_variances(*variances))[:, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-9)


def test_steves_target_lies_between_the_means(rng):
    samples = jnp.asarray(rng.normal(size=(4, 7, 50)) * rng.uniform(0.1, 3.0, (4, 1, 50)), jnp.float32)
    weights = interpolation.inverse_variance(samples)
    found, means = interpolated(samples, weights), samples.mean(axis=1)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-5)
    assert ((found >= means.min(axis=0) - 1e-5) & (found <= means.max(axis=0) + 1e-5)).all()


def test_the_others_weights_are_their_definitions():
    samples = with_variances(1, 2, 3, 4, mean=jnp.arange(4.0)[:, None, None])
    np.testing.assert_allclose(interpolated(samples, interpolation.equal(samples)), [1.5], rtol=1e-6)
    np.testing.assert_array_equal(interpolation.longest(samples)[:, 0], [0, 0, 0, 1])
    geometric = interpolation.geometric(0.25)(samples)[:, 0]
    np.testing.assert_allclose(geometric, [0.75, 0.1875, 0.046875, 0.015625], rtol=1e-6)
    np.testing.assert_allclose(interpolation.geometric(0.0)(samples)[:, 0], [1, 0, 0, 0])


def test_weights_by_covariances_solve_their_equation(rng):
    samples = rng.normal(size=(3, 8, 2))
    found = interpolation.inverse_covariance(jnp.asarray(samples, jnp.float32))
    for b in range(2):
        centred = samples[:, :, b] - samples[:, :, b].mean(axis=1, keepdims=True)
        raw = np.linalg.solve(centred @ centred.T + 1e-3 * np.eye(3), np.ones(3))
        np.testing.assert_allclose(found[:, b], raw / raw.sum(), rtol=1e-4)


def test_without_correlation_they_are_nearly_the_inverse_variances():
    """Rows of a Hadamard matrix are orthogonal and centred."""
    rows = np.array([[1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) * np.sqrt([[1.0], [2.0], [4.0]])
    samples = jnp.asarray(rows, jnp.float32)[..., None]
    pair = interpolation.inverse_covariance(samples), interpolation.inverse_variance(samples)
    np.testing.assert_allclose(*pair, rtol=1e-3)
    np.testing.assert_allclose(pair[1][:, 0], np.array([4, 2, 1]) / 7, rtol=1e-5)
