"""Objectives of TD3 and SAC-SVG: values by hand, gradient paths, and value gradients of a linear-quadratic problem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit

from mbrl_jax.agents.sac_svg import imagine
from mbrl_jax.envs import lqr
from mbrl_jax.objectives.actor_critic import minimum_target, smoothed_action, soft_target
from mbrl_jax.objectives.svg import expanded_return, released_survival, survival, termination_loss
from mbrl_jax.rollouts import memoryless
from mbrl_jax.types import Policy


def test_smoothing_clips_the_noise_and_then_the_action():
    action = jnp.array([[0.0, 0.0, 0.0, 0.9, -0.9, 0.3]])
    noise = jnp.array([[0.2, 0.7, -3.0, 0.4, -0.2, -0.5]])
    expected = [[0.2, 0.5, -0.5, 1.0, -1.0, -0.2]]
    np.testing.assert_allclose(smoothed_action(action, noise, 0.5), expected, rtol=1e-6)
    np.testing.assert_array_equal(smoothed_action(action, noise, 0.0), action)


def test_minimum_target_by_hand_and_without_gradient():
    args = (jnp.array([1.0, -2.0, 0.5]), jnp.array([0.9, 0.0, 0.9]), jnp.array([[3.0, 5.0, 2.0], [4.0, -7.0, 1.0]]))
    np.testing.assert_allclose(minimum_target(*args), [1.0 + 0.9 * 3.0, -2.0, 0.5 + 0.9], rtol=1e-6)
    grads = jax.grad(lambda *x: minimum_target(*x).sum(), argnums=(0, 1, 2))(*args)
    assert all((g == 0).all() for g in grads)


def test_minimum_target_is_the_soft_target_without_entropy(rng):
    reward, discount, log_prob = (jnp.asarray(rng.normal(size=5), jnp.float32) for _ in range(3))
    value = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)
    soft = soft_target(reward, discount, value, log_prob, jnp.float32(0.0))
    np.testing.assert_allclose(minimum_target(reward, discount, value), soft, rtol=1e-6)


REWARD = jnp.array([[1.0], [2.0]])
ALIVE = jnp.array([[1.0], [0.5], [0.25]])
LOG_PROB = jnp.array([[-1.0], [0.5], [2.0]])


def test_expanded_return_by_hand():
    # 1 - 0.1 * -1  +  0.9 (0.5 * 2 - 0.1 * 0.5)  +  0.81 (0.25 * 8 - 0.1 * 2)
    value = expanded_return(REWARD, ALIVE, jnp.array([8.0]), LOG_PROB, jnp.float32(0.1), 0.9)
    np.testing.assert_allclose(value, [1.1 + 0.9 * 0.95 + 0.81 * 1.8], rtol=1e-6)


def test_one_action_is_soft_actor_critics_value():
    value = expanded_return(
        jnp.zeros((0, 2)), jnp.ones((1, 2)), jnp.array([3.0, -1.0]), jnp.array([[0.5, 2.0]]), jnp.float32(0.2), 0.9
    )
    np.testing.assert_allclose(value, [3.0 - 0.1, -1.0 - 0.4], rtol=1e-6)


def test_gradients_of_the_expanded_return_are_its_weights():
    def total(*args):
        return expanded_return(*args, jnp.float32(0.1), 0.9).sum()

    grads = jax.grad(total, argnums=(0, 1, 2, 3))(REWARD, ALIVE, jnp.array([8.0]), LOG_PROB)
    expected = (
        [[1.0], [0.9 * 0.5]],
        [[1.0], [0.9 * 2.0], [0.81 * 8.0]],
        [0.81 * 0.25],
        [[-0.1], [-0.09], [-0.081]],
    )
    for got, wanted in zip(grads, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "expected"), [(survival, [0.9, 0.72, 0.504]), (released_survival, [0.9, 0.81, 0.648])]
)
def test_survival_is_the_product_and_the_released_code_s_is_not(weights, expected):
    found = weights(jnp.array([[0.1], [0.2], [0.3]]))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(weights(jnp.array([[0.5]])), [[0.5]])


def test_the_number_of_rewards_must_fit():
    with pytest.raises(ValueError, match="one reward less than actions, got 3 and 3"):
        expanded_return(jnp.ones((3, 1)), ALIVE, jnp.ones(1), LOG_PROB, jnp.float32(0.1), 0.9)


@pytest.mark.parametrize("ended", [(0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 1), (1, 1, 1, 1)])
def test_termination_loss_weighs_both_classes_alike(ended):
    logit, y = np.array([0.3, -1.2, 2.0, 0.0]), np.array(ended, float)
    weight = (4 - y.sum()) / y.sum() if y.sum() else 1.0
    exact = -np.mean(weight * y * log_expit(logit) + (1 - y) * log_expit(-logit))
    found = termination_loss(jnp.asarray(logit, jnp.float32), jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("share", [1, 3])
def test_a_constant_model_of_terminations_is_best_at_even_odds(share):
    """With balanced classes the best constant log-odds are 0, however rare the endings are."""
    ended = jnp.concatenate([jnp.ones(share), jnp.zeros(8 - share)])
    slope = jax.grad(lambda logit: termination_loss(jnp.full(8, logit), ended))
    assert abs(float(slope(jnp.float32(0.0)))) < 1e-6
    assert slope(jnp.float32(-1.0)) < 0 < slope(jnp.float32(1.0))


GAMMA = 0.9
STATES = np.array([[0.4, -0.3], [-0.2, 0.5], [0.1, 0.1]])


def critic_matrix(value):
    """M of Q(x, u) = −[x; u]' M [x; u] where the next state's value is −x' `value` x."""
    both = np.concatenate([lqr.DYNAMICS, lqr.INPUT], axis=1)
    cost = np.block([[lqr.STATE_COST, np.zeros((2, 1))], [np.zeros((1, 2)), lqr.TORQUE_COST]])
    return cost + GAMMA * both.T @ value @ both


def value_matrix(feedback, critic):
    """N of the value −x' N x of acting u = −K x where Q is given by `critic`."""
    closed = np.concatenate([np.eye(2), -feedback], axis=0)
    return closed.T @ critic @ closed


def policy_value_matrix(feedback):
    """The value matrix of following u = −K x for ever: the fixed point of the two functions above."""
    value = np.zeros((2, 2))
    for _ in range(2000):
        value = value_matrix(feedback, critic_matrix(value))
    return value


def exact_gradient(feedback, critic, horizon):
    """d/dK of the H-step return by the policy gradient theorem: Σ_t γ^t ∂W_t/∂u(x_t, −K x_t) (−x_t)'."""
    stages = [critic]
    for _ in range(horizon - 1):
        stages.insert(0, critic_matrix(value_matrix(feedback, stages[0])))
    closed, gradient = lqr.DYNAMICS - lqr.INPUT @ feedback, np.zeros_like(feedback)
    for x in STATES:
        for t, stage in enumerate(stages):
            by_action = -2 * (stage[2:, :2] @ x + stage[2:, 2:] @ (-feedback @ x))
            gradient += GAMMA**t * by_action[:, None] @ -x[None] / len(STATES)
            x = closed @ x
    return gradient


def autodiff_gradient(feedback, critic, horizon):
    """The same by differentiating the roll-out that the learner uses, through model, reward and critic."""

    def linear(key, x, u):
        del key
        return x @ lqr.DYNAMICS.T + u @ lqr.INPUT.T, jnp.zeros(len(x)), jnp.ones(len(x))

    def mean_return(gain):
        policy = Policy(lambda x: (), lambda key, memory, x: (memory, -x @ gain.T, jnp.zeros(len(x))))
        steps = imagine(jax.random.key(0), policy, memoryless(linear), jnp.asarray(STATES), horizon)
        reward = -(steps.obs**2 @ np.diag(lqr.STATE_COST) + steps.action[..., 0] ** 2 * lqr.TORQUE_COST[0, 0])
        both = jnp.concatenate([steps.obs[-1], steps.action[-1]], axis=-1)
        value = -jnp.einsum("bi,ij,bj->b", both, critic, both)
        alive = jnp.ones_like(steps.log_prob)
        return expanded_return(reward[:-1], alive, value, steps.log_prob, jnp.zeros(()), GAMMA).mean()

    return jax.grad(mean_return)(jnp.asarray(feedback))


@pytest.mark.parametrize("horizon", [1, 2, 3, 5])
def test_value_gradients_of_a_linear_quadratic_problem_are_exact(horizon):
    """The policy differs from the one that the critic belongs to, so every step contributes."""
    feedback, other = np.array([[1.5, 0.7]]), np.array([[0.8, 1.1]])
    critic = critic_matrix(policy_value_matrix(other))
    with jax.enable_x64(True):
        found = autodiff_gradient(feedback, critic, horizon)
    np.testing.assert_allclose(found, exact_gradient(feedback, critic, horizon), rtol=1e-10)


@pytest.mark.parametrize("horizon", [1, 3])
def test_value_gradients_vanish_at_the_optimal_policy_with_its_own_critic(horizon):
    best = lqr.gain(GAMMA)
    critic = critic_matrix(policy_value_matrix(best))
    with jax.enable_x64(True):
        at_best, beside = (autodiff_gradient(k, critic, horizon) for k in (best, best + 0.1))
    assert np.abs(at_best).max() < 1e-9 < 1e-4 < np.abs(beside).max()


@pytest.mark.parametrize(
    "call",
    [
        lambda: smoothed_action(jnp.ones((2, 1)), jnp.ones((1, 1)), 0.5),
        lambda: minimum_target(jnp.ones(2), jnp.ones(3), jnp.ones((2, 2))),
        lambda: minimum_target(jnp.ones(2), jnp.ones(2), jnp.ones(2)),
        lambda: expanded_return(REWARD, ALIVE[:2], jnp.ones(1), LOG_PROB, jnp.float32(0.1), 0.9),
        lambda: termination_loss(jnp.ones(3), jnp.ones(3, int)),
    ],
)
def test_wrong_shapes_and_types_raise(call):
    with pytest.raises(Exception, match=r"type|shape"):
        call()
