"""Value-aware losses, and the likelihood and reward they are compared with: by hand, and in exact expectation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import tabular
from mbrl_jax.objectives import likelihood, ratios, value_aware
from mbrl_jax.theory import mao, mnm, vmbpo


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


PREDICTED, NEXT = np.array([1.0, 2.0, 5.0]), np.array([3.0, 2.5, 4.0])


def slopes(loss, *values):
    """The gradient of a loss's sum in each of its arguments."""
    return jax.grad(lambda *x: loss(*x).sum(), tuple(range(len(values))))(*map(jnp.asarray, values))


def test_the_l1_loss_is_the_distance_of_values_and_its_gradient_a_sign():
    np.testing.assert_array_equal(
        value_aware.model_advantage_l1(jnp.asarray(PREDICTED), jnp.asarray(NEXT)), [2, 0.5, 1]
    )
    predicted, following = slopes(value_aware.model_advantage_l1, PREDICTED, NEXT)
    np.testing.assert_array_equal(predicted, [-1, -1, 1])
    np.testing.assert_array_equal(following, 0)


def test_vaml_is_the_squared_distance_and_its_gradient_twice_the_error():
    np.testing.assert_array_equal(value_aware.vaml(jnp.asarray(PREDICTED), jnp.asarray(NEXT)), [4, 0.25, 1])
    predicted, following = slopes(value_aware.vaml, PREDICTED, NEXT)
    np.testing.assert_array_equal(predicted, [-4, -1, 2])
    np.testing.assert_array_equal(following, 0)


def test_direct_losses_sum_a_trajectory_before_they_take_the_absolute_value():
    """Two trajectories: one of two steps with errors 1 and -1, one of a single step with error 1; a place left over."""
    predicted, following = jnp.array([1.0, 2.0, 0.5, 0.0]), jnp.array([2.0, 1.0, 1.5, 7.0])
    weight, trajectories = jnp.array([1.0, 0.5, 1.0, 0.0]), 2
    total = (1 - 0.5 + 1) / 2
    for loss, value, outer in (
        (value_aware.model_advantage_direct_l1, total, 1.0),
        (value_aware.model_advantage_direct_l2, total**2, 2 * total),
    ):
        np.testing.assert_allclose(loss(predicted, following, weight, trajectories), value)
        slope, none = slopes(lambda p, n, loss=loss: loss(p, n, weight, trajectories), predicted, following)
        np.testing.assert_allclose(slope, -outer * weight / trajectories)
        np.testing.assert_array_equal(none, 0)


def test_smoothness_compares_the_steps_of_predicted_values_with_those_of_true_ones():
    """Predicted steps 2 and -1, true ones 1 and 3: errors 1 and 4, and the middle value has part in both."""
    predicted, following = np.array([[1.0], [3.0], [2.0]]), np.array([[0.0], [1.0], [4.0]])
    found = value_aware.value_predictive_smoothness(jnp.asarray(predicted), jnp.asarray(following))
    np.testing.assert_array_equal(found, [[1], [4]])
    slope, none = slopes(value_aware.value_predictive_smoothness, predicted, following)
    np.testing.assert_array_equal(slope, [[-1], [2], [-1]])
    np.testing.assert_array_equal(none, 0)
    shifted = value_aware.value_predictive_smoothness(jnp.asarray(predicted - 5), jnp.asarray(following))
    np.testing.assert_array_equal(shifted, found)  # a bias that all values share is invisible
    assert value_aware.value_predictive_smoothness(jnp.ones((1, 4)), jnp.zeros((1, 4))).shape == (0, 4)


def test_returns_weigh_log_probabilities_and_take_no_gradient():
    steps, returns = np.log([[0.5, 0.25], [0.1, 1.0]]), np.array([2.0, 3.0])
    found = value_aware.minimum_variance_loss(jnp.asarray(steps), jnp.asarray(returns))
    np.testing.assert_allclose(found, [2 * np.log(8), 3 * np.log(10)])
    slope, none = slopes(value_aware.minimum_variance_loss, steps, returns)
    np.testing.assert_array_equal(slope, [[-2, -2], [-3, -3]])
    np.testing.assert_array_equal(none, 0)


@pytest.mark.parametrize("loss", [value_aware.vaml, value_aware.model_advantage_l1])
def test_a_frozen_value_passes_the_gradient_through_its_input_alone(loss):
    """V(s) = a s^2, the model s' = m s: with V frozen, the slope in m is that of the loss times V'(m s) s."""
    state, true, a, m = 3.0, 6.0, 0.5, 1.5

    def value(a, s):
        return a * s**2

    def total(m, a):
        return loss(value(jax.lax.stop_gradient(a), m * state), value(a, true))

    in_model, in_value = jax.grad(total, (0, 1))(m, a)
    error = value(a, m * state) - value(a, true)
    outer = 2 * error if loss is value_aware.vaml else np.sign(error)
    np.testing.assert_allclose(in_model, outer * 2 * a * m * state * state)
    assert in_value == 0
    unfrozen = jax.grad(lambda a: loss(value(a, m * state), value(a, true)))(a)
    np.testing.assert_allclose(unfrozen, outer * (m * state) ** 2)  # still none through the true next state


def test_the_likelihood_of_a_table_is_that_of_its_softmax():
    chance = np.array([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]])
    logits, index = jnp.log(chance) + jnp.array([[4.0], [-9.0]]), jnp.array([1, 0])
    np.testing.assert_allclose(likelihood.categorical_nll(logits, index), -np.log([0.3, 0.7]))
    slope = jax.grad(lambda table: likelihood.categorical_nll(table, index).sum())(logits)
    np.testing.assert_allclose(slope, chance - np.eye(3)[[1, 0]], atol=1e-12)


def test_terms_switch_the_logarithm_and_the_penalty_of_the_reward():
    reward, gap = jnp.array([[1.0, 2.0]]), jnp.array([[0.25, 0.0]])
    for (log, classifier), exact in {
        (1.0, 1.0): [[-0.25, 0.1 * np.log(2)]],
        (1.0, 0.0): [[0.0, 0.1 * np.log(2)]],
        (0.0, 1.0): [[0.75, 2.0]],
        (0.0, 0.0): [[1.0, 2.0]],
    }.items():
        for model in (0.0, 1.0):
            found = ratios.switched_reward(reward, gap, 0.9, ratios.Terms(log, classifier, model))
            np.testing.assert_allclose(found, exact, atol=1e-12)


# A chain of three states and one action: right with 0.8, stay with 0.2; the last one stays. The model slips more often.
STEP = np.array([[0.2, 0.8, 0.0], [0.0, 0.2, 0.8], [0.0, 0.0, 1.0]])
GUESS = np.array([[0.5, 0.5, 0.0], [0.1, 0.6, 0.3], [0.0, 0.2, 0.8]])
REWARD, GAMMA = np.array([0.5, 1.0, 4.0]), 0.9
POLICY = np.ones((3, 1))


def chain():
    mdp = tabular.make(STEP[:, None], REWARD[:, None], [1.0, 0.0, 0.0], GAMMA)
    return mdp, tabular.make_dynamics(GUESS[:, None], mdp)


def exact_data():
    """The model's V `[S]`, its expectation after each state, and the discounted visits of true transitions `[S, S]`."""
    value = np.linalg.solve(np.eye(3) - GAMMA * GUESS, REWARD)
    visits = np.linalg.solve(np.eye(3) - GAMMA * STEP.T, np.eye(3)[0])
    expected = np.broadcast_to((GUESS @ value)[:, None], (3, 3))
    return value, expected, visits[:, None] * STEP


def test_losses_summed_over_all_transitions_are_the_exact_ones():
    mdp, model = chain()
    value, expected, visits = exact_data()
    pairs = jnp.asarray(expected), jnp.broadcast_to(value, (3, 3))
    upper = (visits * value_aware.model_advantage_l1(*pairs)).sum()
    np.testing.assert_allclose(GAMMA * upper, mao.advantage_l1_upper(mdp, model, POLICY))
    squared = (visits * value_aware.vaml(*pairs)).sum()
    np.testing.assert_allclose(GAMMA**2 * squared, mao.vaml_l2(mdp, model, POLICY))


def test_direct_losses_in_expectation_are_the_difference_of_returns():
    value, expected, visits = exact_data()
    true = np.linalg.solve(np.eye(3) - GAMMA * STEP, REWARD)
    gap = abs(true[0] - value[0])
    assert gap > 1
    given = jnp.asarray(expected), jnp.broadcast_to(value, (3, 3)), jnp.asarray(visits), 1
    np.testing.assert_allclose(GAMMA * value_aware.model_advantage_direct_l1(*given), gap)
    np.testing.assert_allclose(GAMMA**2 * value_aware.model_advantage_direct_l2(*given), gap**2)


def test_gradients_of_table_models_are_those_of_the_log_derivative_trick():
    value, _, visits = exact_data()
    logits, count = jnp.log(jnp.asarray(GUESS + 0.1))[:, None], visits.sum(axis=1, keepdims=True)

    def direct(table):
        expected = jnp.broadcast_to(jax.nn.softmax(table, axis=-1) @ value, (3, 3))
        return value_aware.model_advantage_direct_l1(
            expected, jnp.broadcast_to(value, (3, 3)), jnp.asarray(visits), jnp.ones(())
        )

    # The model's values are too low along the way: to predict higher ones reduces the loss.
    exact = -mao.log_derivative_gradient(count, logits, value)
    np.testing.assert_allclose(jax.grad(direct)(logits), exact, atol=1e-12)


def test_vaml_of_the_true_model_is_the_variance_of_the_next_value_and_least_there():
    value, _, _ = exact_data()
    mean = STEP @ value
    variance = STEP @ value**2 - mean**2

    def expected_loss(predicted):
        losses = value_aware.vaml(jnp.broadcast_to(predicted[:, None], (3, 3)), jnp.broadcast_to(value, (3, 3)))
        return (jnp.asarray(STEP) * losses).sum(axis=1)

    np.testing.assert_allclose(expected_loss(jnp.asarray(mean)), variance, atol=1e-12)
    slope = jax.grad(lambda predicted: expected_loss(predicted).sum())(jnp.asarray(GUESS @ value))
    np.testing.assert_allclose(slope, 2 * (GUESS @ value - mean))


def test_smoothness_of_a_roll_out_of_the_chain_by_hand():
    """The true path 0, 1, 2 gains V(2) - V(1) in its second step; a model that stays in 1 gains nothing."""
    value, _, _ = exact_data()
    found = value_aware.value_predictive_smoothness(
        jnp.asarray(value[[1, 1]])[:, None], jnp.asarray(value[[1, 2]])[:, None]
    )
    np.testing.assert_allclose(found, [[value[2] - value[1]]])


def test_expected_likelihoods_exceed_the_entropy_by_the_divergence():
    logits = jnp.log(jnp.asarray(GUESS + 0.05))
    every = likelihood.categorical_nll(jnp.broadcast_to(logits[:, None], (3, 3, 3)), jnp.tile(jnp.arange(3), (3, 1)))
    model = jax.nn.softmax(logits, axis=-1)
    entropy = -tabular.product_or_zero(STEP, jnp.log(STEP)).sum(axis=-1)
    exact = entropy + tabular.kl_divergence(STEP, model)
    np.testing.assert_allclose((STEP * every).sum(axis=1), exact)


def test_switched_rewards_have_the_returns_of_the_objectives_they_stand_for():
    mdp, _ = chain()
    model = tabular.make_dynamics(np.where(STEP > 0, 1 / (STEP > 0).sum(axis=1, keepdims=True), 0)[:, None], mdp)
    gap = tabular.kl_divergence(model, mdp.transition)
    assert float(gap.max()) > 0.2

    def return_of(log):
        reward = ratios.switched_reward(mdp.reward, gap, mdp.discount, ratios.Terms(log, 1.0, 1.0))
        return tabular.expected_return(tabular.with_model(mdp, model, reward), POLICY)

    np.testing.assert_allclose(return_of(0.0), vmbpo.objective(mdp, model, POLICY))
    constant = np.log(1 - GAMMA)  # which the reward leaves out: (1 - gamma) log(1 - gamma) at every step
    np.testing.assert_allclose(return_of(1.0), mnm.lower_bound(mdp, model, POLICY) + constant)
