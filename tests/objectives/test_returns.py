"""Multi-step targets against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax.objectives.returns import expanded_targets


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
