"""Soft actor-critic's objectives: values by hand, gradient paths, and the fixed point on a finite MDP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax.objectives.actor_critic import actor_loss, critic_loss, soft_target, temperature_loss

REWARD = jnp.array([1.0, -2.0])
DISCOUNT = jnp.array([0.9, 0.0])
VALUE = jnp.array([[3.0, 5.0], [4.0, -7.0]])
LOG_PROB = jnp.array([-1.0, 2.0])
TEMPERATURE = jnp.float32(0.5)


def test_soft_target_by_hand():
    # 1 + 0.9 * (min(3, 4) - 0.5 * -1) = 4.15; a termination leaves the reward alone.
    target = soft_target(REWARD, DISCOUNT, VALUE, LOG_PROB, TEMPERATURE)
    np.testing.assert_allclose(target, [4.15, -2.0], rtol=1e-6)


def test_no_gradient_flows_through_soft_targets():
    def total(*args):
        return soft_target(*args).sum()

    grads = jax.grad(total, argnums=(0, 1, 2, 3, 4))(REWARD, DISCOUNT, VALUE, LOG_PROB, TEMPERATURE)
    assert all((g == 0).all() for g in grads)


def test_critic_loss_by_hand_and_its_gradient():
    target = jnp.array([1.0, 1.0])
    np.testing.assert_allclose(critic_loss(VALUE, target), [[2.0, 8.0], [4.5, 32.0]])
    g_value, g_target = jax.grad(lambda v, y: critic_loss(v, y).sum(), argnums=(0, 1))(VALUE, target)
    np.testing.assert_allclose(g_value, VALUE - 1.0)
    np.testing.assert_array_equal(g_target, 0.0)


def test_actor_loss_by_hand_and_its_gradients():
    np.testing.assert_allclose(actor_loss(LOG_PROB, VALUE, TEMPERATURE), [-3.5, 8.0])

    def total(*args):
        return actor_loss(*args).sum()

    g_log_prob, g_value, g_temperature = jax.grad(total, argnums=(0, 1, 2))(LOG_PROB, VALUE, TEMPERATURE)
    np.testing.assert_allclose(g_log_prob, [0.5, 0.5])
    np.testing.assert_allclose(g_value, [[-1.0, 0.0], [0.0, -1.0]])  # only the smallest critic steers
    assert g_temperature == 0


def test_temperature_loss_by_hand_and_its_gradients():
    log_temperature = jnp.float32(-0.3)
    np.testing.assert_allclose(temperature_loss(log_temperature, LOG_PROB, -1.5), [-0.75, 0.15], rtol=1e-6)

    def total(*args):
        return temperature_loss(*args, -1.5).mean()

    g_temperature, g_log_prob = jax.grad(total, argnums=(0, 1))(log_temperature, LOG_PROB)
    np.testing.assert_allclose(g_temperature, 1.0)
    np.testing.assert_array_equal(g_log_prob, 0.0)


@pytest.mark.parametrize(("entropy", "sign"), [(0.2, -1), (0.8, 1)])
def test_temperature_rises_while_the_entropy_is_below_its_target(entropy, sign):
    slope = jax.grad(lambda t: temperature_loss(t, jnp.full(3, -entropy), 0.5).mean())(jnp.float32(0.1))
    assert np.sign(slope) == sign


def test_whole_numbers_are_target_entropies_too():
    assert temperature_loss(jnp.float32(1.0), LOG_PROB, -1).shape == (2,)


def soft_value_iteration(transition, reward, gamma, alpha):
    """Exact soft Q-values `[S, A]` of a finite MDP, in float64."""
    q = np.zeros_like(reward)
    for _ in range(2000):
        value = alpha * np.log(np.exp(q / alpha).sum(axis=1))
        q = reward + gamma * transition @ value
    return q


def test_the_fixed_point_of_the_soft_target_is_the_exact_soft_q():
    rng = np.random.default_rng(3)
    transition = rng.dirichlet(np.ones(3), size=(3, 2))
    reward = rng.normal(size=(3, 2))
    gamma, alpha = 0.8, 0.7
    exact = soft_value_iteration(transition, reward, gamma, alpha)

    @jax.jit
    def backup(q):
        log_policy = jax.nn.log_softmax(q / alpha, axis=1)
        # Every (s, a, s', a'): the target, averaged with the exact probabilities of s' and a'.
        grid = jnp.meshgrid(*(jnp.arange(n) for n in (3, 2, 3, 2)), indexing="ij")
        s, a, s_next, a_next = (g.reshape(-1) for g in grid)
        values = jnp.stack([q[s_next, a_next], q[s_next, a_next] + 1.0])  # the larger critic must not matter
        discount = jnp.full(s.shape, gamma)
        r = jnp.asarray(reward, jnp.float32)[s, a]
        y = soft_target(r, discount, values, log_policy[s_next, a_next], jnp.float32(alpha))
        weight = jnp.asarray(transition, jnp.float32)[s, a, s_next] * jnp.exp(log_policy[s_next, a_next])
        return jnp.zeros((3, 2)).at[s, a].add(weight * y)

    q = jnp.zeros((3, 2))
    for _ in range(120):
        q = backup(q)
    np.testing.assert_allclose(q, exact, rtol=2e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda: soft_target(REWARD, DISCOUNT, VALUE[0], LOG_PROB, TEMPERATURE),
        lambda: soft_target(REWARD[:1], DISCOUNT, VALUE, LOG_PROB, TEMPERATURE),
        lambda: soft_target(REWARD, DISCOUNT, VALUE, LOG_PROB, TEMPERATURE[None]),
        lambda: soft_target(REWARD.astype(int), DISCOUNT, VALUE, LOG_PROB, TEMPERATURE),
        lambda: critic_loss(VALUE, REWARD[:, None]),
        lambda: actor_loss(LOG_PROB[:1], VALUE, TEMPERATURE),
        lambda: temperature_loss(LOG_PROB, LOG_PROB, -1.0),
    ],
)
def test_wrong_shapes_and_types_raise(call):
    with pytest.raises(Exception, match=r"type|shape"):
        call()
