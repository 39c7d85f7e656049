"""IterVAML's loss on an exact chain, with its biases; its values against NumPy; its objective and gradient paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agent import CONFIG, SPEC, agent_state, dense, mean_action, predicted, stacked, transitions

from mbrl_jax import tabular
from mbrl_jax.algorithms import iter_vaml
from mbrl_jax.objectives.value_aware import vaml

VALUE = np.array([1.0, 2.0, 3.0])
"""Values of the chain's states, reached by the choice of its rewards."""
WORLD = np.array([0.5, 0.0, 0.5])
"""Where the first state leads: to either end, never to the middle."""


def chain(first_row):
    """The three-state chain of these values whose first state leads to `first_row` in the world."""
    transition = np.stack([first_row, [0.2, 0.6, 0.2], [0.0, 0.5, 0.5]])
    reward = VALUE - 0.9 * transition @ VALUE
    return tabular.make(transition[:, None], reward[:, None], [1.0, 0.0, 0.0], 0.9)


def exact_value(mdp):
    return np.asarray(tabular.state_value(mdp, tabular.make_policy([[1.0]] * 3, mdp)))


def expected_loss(model, world, value):
    """`E[(V(ŝ') − V(s'))²]` over independent draws of model and world, by enumeration."""
    pairs = itertools.product(range(3), range(3))
    return sum(model[i] * world[j] * float(vaml(jnp.asarray(value[i]), jnp.asarray(value[j]))) for i, j in pairs)


def mean_and_variance(row, value):
    mean = row @ value
    return mean, row @ value**2 - mean**2


def test_the_expected_loss_is_the_value_error_plus_both_variances(rng):
    value = exact_value(chain(WORLD))
    np.testing.assert_allclose(value, VALUE, rtol=1e-5)
    for model in rng.dirichlet(np.ones(3), size=20):
        (m, var_m), (w, var_w) = mean_and_variance(model, value), mean_and_variance(WORLD, value)
        np.testing.assert_allclose(expected_loss(model, WORLD, value), (m - w) ** 2 + var_m + var_w, rtol=1e-5)


def test_a_deterministic_model_of_the_right_value_is_preferred_to_the_truth():
    """The middle state, which the world never reaches from there, costs Var_p V = 1; the truth costs twice that."""
    value = exact_value(chain(WORLD))
    middle = np.array([0.0, 1.0, 0.0])
    assert expected_loss(WORLD, WORLD, value) == pytest.approx(2.0, rel=1e-5)
    assert expected_loss(middle, WORLD, value) == pytest.approx(1.0, rel=1e-5)
    # It is harmless for the value: the model's own value of the first state is the world's.
    world = chain(WORLD)
    model = tabular.with_model(world, world.transition.at[0, 0].set(jnp.asarray(middle, jnp.float32)))
    np.testing.assert_allclose(exact_value(model), value, rtol=1e-5)


def test_among_deterministic_models_the_best_has_the_expected_value():
    """V continued linearly between the states: the minimiser over ŝ' is where V(ŝ') = E_p V, for any world."""
    value = exact_value(chain(WORLD))
    for world in (WORLD, np.array([0.7, 0.2, 0.1]), np.array([0.0, 0.25, 0.75])):

        def loss(place, world=world):
            there = jnp.interp(place, jnp.arange(3.0), jnp.asarray(value))
            return (jnp.asarray(world) * vaml(jnp.full(3, there), jnp.asarray(value))).sum()

        grid = np.linspace(0, 2, 2001)
        best = grid[np.argmin(jax.vmap(loss)(grid))]
        assert np.interp(best, np.arange(3), value) == pytest.approx(world @ value, abs=2e-3)


def test_among_stochastic_models_the_best_is_not_the_truth():
    """Models (x, 1 − 2x, x) all have the true expected value: only the variance decides, and the truth is the worst."""
    value = exact_value(chain(WORLD))
    losses = [expected_loss(np.array([x, 1 - 2 * x, x]), WORLD, value) for x in np.linspace(0, 0.5, 11)]
    assert (np.diff(losses) > 0).all()
    np.testing.assert_allclose(losses, 1 + 2 * np.linspace(0, 0.5, 11), rtol=1e-5)


def test_states_of_the_same_value_are_confused():
    """The loss is zero wherever the value is the true one, however far away."""
    assert vaml(jnp.asarray(2.0), jnp.asarray(2.0)) == 0
    mdp = tabular.make(np.eye(3)[:, None], [[0.1], [0.2], [0.1]], [1.0, 0.0, 0.0], 0.9)
    value = exact_value(mdp)
    assert expected_loss(np.eye(3)[2], np.eye(3)[0], value) == pytest.approx(0, abs=1e-9)


def values_by_hand(state, obs, judge):
    """`[batch]` of the target critics at the mean action."""
    obs = np.asarray(obs, np.float64)
    inputs = np.concatenate([obs, mean_action(state, obs)], -1)
    return judge([dense(params, inputs)[:, 0] for params in stacked(state)[CONFIG.critics :]], axis=0)


@pytest.mark.parametrize(("judge", "by_hand"), [(jnp.min, np.min), (jnp.mean, np.mean)])
def test_values_are_the_target_critics_at_the_mean_action(rng, judge, by_hand):
    state, obs = agent_state(), rng.normal(size=(2, 3, SPEC.obs_dim))
    found = iter_vaml.state_value(CONFIG, SPEC, state, jnp.asarray(obs, jnp.float32), judge)
    expected = values_by_hand(state, obs.reshape(6, -1), by_hand).reshape(2, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("judge", "by_hand"), [(jnp.min, np.min), (jnp.mean, np.mean)])
def test_the_objective_is_the_value_error_plus_the_rewards(rng, judge, by_hand):
    state, scale = agent_state(), np.array([2.0, 1.0, 0.5, 3.0])
    made = iter_vaml.objective(CONFIG, SPEC, state, judge)
    stored = transitions(rng, 12)
    rows = np.array([[0, 3, 4, 4, 7], [1, 2, 3, 11, 8]])
    batch = jax.tree.map(lambda leaf: leaf[rows], stored._replace(extras=made.annotate(stored)))
    given = predicted(rng, scale=scale)
    error = (np.asarray(given.mean, np.float64) - np.asarray(given.target)) * scale
    reached = np.asarray(batch.next_obs) + error[..., 1:]
    there = values_by_hand(state, reached.reshape(-1, SPEC.obs_dim), by_hand).reshape(2, 5)
    true = values_by_hand(state, batch.next_obs.reshape(-1, SPEC.obs_dim), by_hand).reshape(2, 5)
    expected = (there - true) ** 2 + error[..., 0] ** 2
    np.testing.assert_allclose(made.loss(given, batch), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(made.score(given, batch), made.loss(given, batch))


def test_the_loss_is_zero_at_the_truth_and_flat_there(rng):
    made = iter_vaml.objective(CONFIG, SPEC, agent_state())
    stored = transitions(rng, 10)
    batch = jax.tree.map(
        lambda leaf: leaf.reshape(2, 5, *leaf.shape[1:]), stored._replace(extras=made.annotate(stored))
    )
    given = predicted(rng)
    given = given._replace(mean=given.target)
    np.testing.assert_allclose(made.loss(given, batch), 0.0, atol=1e-10)
    slope = jax.grad(lambda mean: made.loss(given._replace(mean=mean), batch).sum())(given.mean)
    np.testing.assert_allclose(slope, 0.0, atol=1e-4)


def test_only_the_predicted_means_are_moved_through_the_value(rng):
    stored, given = transitions(rng, 2, 5), predicted(rng)

    def total(given, state):
        made = iter_vaml.objective(CONFIG, SPEC, state)
        flat = made.annotate(stored._replace(next_obs=stored.next_obs.reshape(-1, SPEC.obs_dim)))
        return made.loss(given, stored._replace(extras=flat.reshape(2, 5))).sum()

    of_given, of_state = jax.grad(total, argnums=(0, 1), allow_int=True)(given, agent_state())
    assert (of_given.log_var == 0).all() and (of_given.mean[..., 0] != 0).all() and (of_given.mean[..., 1:] != 0).any()
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((of_state.params, of_state.target)))


def test_the_slope_is_twice_the_error_times_the_values_gradient(rng):
    """d/dŝ (V(ŝ) − V(s))², by central differences of the values in NumPy, the policy's part included."""
    state = agent_state()
    made = iter_vaml.objective(CONFIG, SPEC, state)
    stored, given = transitions(rng, 1, 1), predicted(rng, members=1, batch=1)
    batch = stored._replace(extras=made.annotate(stored._replace(next_obs=stored.next_obs[0]))[None])
    slope = jax.grad(lambda mean: made.loss(given._replace(mean=mean), batch).sum())(given.mean)[0, 0, 1:]
    reached = np.asarray(stored.next_obs + (given.mean - given.target)[..., 1:], np.float64)[0]
    steps = 1e-6 * np.eye(SPEC.obs_dim)
    values = [values_by_hand(state, reached + sign * step, np.min)[0] for step in steps for sign in (1, -1)]
    gradient = (np.array(values[::2]) - np.array(values[1::2])) / 2e-6
    gap = values_by_hand(state, reached, np.min)[0] - values_by_hand(state, stored.next_obs[0], np.min)[0]
    np.testing.assert_allclose(slope, 2 * gap * gradient, rtol=1e-3, atol=1e-5)
