"""Multi-step targets against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax.objectives.returns import expanded_targets, generalised_advantages


def written_out(reward, discount, bonus, last_value):
    """y_t as the docstring's sums, term by term, in float64."""
    steps, batch = reward.shape
    y = np.zeros((steps, batch))
    for t in range(steps):
        factor = np.ones(batch)
        for k in range(t, steps):
            y[t] += factor * (reward[k] + (bonus[k] if k > t else 0.0))
            factor = factor * discount[k]
        y[t] += factor * last_value
    return y


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_targets_are_the_sums(rng, steps):
    reward, bonus = rng.normal(size=(2, steps, 4))
    discount = 0.9 * (rng.random((steps, 4)) > 0.2)
    last = rng.normal(size=4)
    ours = expanded_targets(*(jnp.asarray(x, jnp.float32) for x in (reward, discount, bonus, last)))
    np.testing.assert_allclose(ours, written_out(reward, discount, bonus, last), rtol=1e-5, atol=1e-6)


def test_by_hand():
    reward = jnp.array([[1.0], [2.0], [4.0]])
    bonus = jnp.array([[100.0], [10.0], [20.0]])
    half, last = jnp.full((3, 1), 0.5), jnp.array([8.0])
    # 4 + 4 = 8; 2 + (8 + 20) / 2 = 16; 1 + (16 + 10) / 2 = 14: the first bonus does not enter.
    np.testing.assert_array_equal(expanded_targets(reward, half, bonus, last)[:, 0], [14.0, 16.0, 8.0])


def test_nothing_after_a_termination_matters(rng):
    discount = jnp.array([[0.9], [0.0], [0.9]])
    reward = jnp.array([[1.0], [2.0], [3.0]])
    a = expanded_targets(reward, discount, jnp.zeros((3, 1)), jnp.array([5.0]))
    b = expanded_targets(reward.at[2].set(-77.0), discount, jnp.zeros((3, 1)).at[2].set(9.0), jnp.array([-5.0]))
    np.testing.assert_array_equal(a[:2], b[:2])
    np.testing.assert_allclose(a[:2, 0], [1 + 0.9 * 2, 2.0], rtol=1e-6)


def test_one_step_is_the_bootstrap_and_no_gradient_flows():
    reward, discount, bonus, last = jnp.ones((1, 2)), jnp.full((1, 2), 0.9), jnp.ones((1, 2)), jnp.array([2.0, 3.0])
    np.testing.assert_allclose(expanded_targets(reward, discount, bonus, last)[0], [2.8, 3.7], rtol=1e-6)
    grads = jax.grad(lambda *args: expanded_targets(*args).sum(), (0, 1, 2, 3))(reward, discount, bonus, last)
    assert all((g == 0).all() for g in grads)


@pytest.mark.parametrize("shapes", [((3, 2), (3, 2), (3, 2), (3,)), ((3, 2), (2, 2), (3, 2), (2,)), ((3,),) * 4])
def test_wrong_shapes_raise(shapes):
    with pytest.raises(Exception, match=r"type|shape"):
        expanded_targets(*(jnp.zeros(shape) for shape in shapes))


def advantages(reward, value, trace, discount=0.9, cut=None):
    """Of one environment; `value` has the state after the last step too."""
    cut = np.zeros(len(reward), bool) if cut is None else cut
    discount = np.broadcast_to(discount, len(reward))
    columns = [jnp.asarray(x, jnp.float32)[:, None] for x in (reward, discount, value[:-1], value[1:])]
    return np.asarray(generalised_advantages(*columns, jnp.asarray(cut)[:, None], trace))[:, 0]


def test_advantages_range_from_one_step_errors_to_returns(rng):
    reward, value = rng.normal(size=6), rng.normal(size=7)
    np.testing.assert_allclose(advantages(reward, value, 0.0), reward + 0.9 * value[1:] - value[:-1], rtol=1e-5)
    whole = [sum(0.9 ** (k - t) * reward[k] for k in range(t, 6)) + 0.9 ** (6 - t) * value[6] for t in range(6)]
    np.testing.assert_allclose(advantages(reward, value, 1.0), whole - value[:-1], rtol=1e-5, atol=1e-6)


def test_right_values_leave_no_advantage():
    found = advantages(np.full(5, 2.0), np.full(6, 20.0), 0.95)
    np.testing.assert_allclose(found, 0.0, atol=1e-5)


def test_an_end_takes_the_value_away_and_a_cut_only_what_follows(rng):
    reward, value, steps = rng.normal(size=4), rng.normal(size=5), np.arange(4)
    ended = advantages(reward, value, 0.8, discount=np.where(steps == 1, 0.0, 0.9))
    cut = advantages(reward, value, 0.8, cut=steps == 1)
    np.testing.assert_allclose(ended[1], reward[1] - value[1], rtol=1e-5)
    np.testing.assert_allclose(cut[1], reward[1] + 0.9 * value[2] - value[1], rtol=1e-5)
    np.testing.assert_array_equal(ended[2:], cut[2:])
    np.testing.assert_allclose(cut[0], reward[0] + 0.9 * value[1] - value[0] + 0.72 * cut[1], rtol=1e-5)
