"""ALM's objectives: values by hand, the exact bounds they estimate, and what no gradient may reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from mbrl_jax.objectives.latent import consistency, diagonal_kl, model_loss, policy_loss, reward_loss
from mbrl_jax.objectives.ratios import classifier_loss, log_ratio
from mbrl_jax.objectives.returns import expanded_targets, lambda_returns
from mbrl_jax.tabular import evaluate, sample
from mbrl_jax.theory import alm

REWARD = jnp.array([[1.0, -1.0], [2.0, 0.5]])
DIVERGENCE = jnp.array([[0.5, 0.25], [1.0, 2.0]])
VALUE = jnp.array([4.0, -3.0])


def test_kl_is_the_integral():
    p, q = stats.norm(0.3, 0.8), stats.norm(-0.5, 1.7)
    exact = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -12, 12)[0]

    def one(x):
        return jnp.array([x], jnp.float32)

    np.testing.assert_allclose(diagonal_kl(one(0.3), one(0.8), one(-0.5), one(1.7)), exact, rtol=1e-5)


def test_kl_sums_over_entries_and_vanishes_between_equals(rng):
    mean, other = jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)
    std, wide = jnp.asarray(rng.uniform(0.2, 2.0, size=(2, 4, 3)), jnp.float32)
    whole = diagonal_kl(mean, std, other, wide)
    parts = [diagonal_kl(*(x[:, i : i + 1] for x in (mean, std, other, wide))) for i in range(3)]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-5)
    assert (whole > 0).all()
    np.testing.assert_allclose(diagonal_kl(mean, std, mean, std), 0.0, atol=1e-6)


def test_consistency_moves_the_prediction_and_not_the_target():
    args = [jnp.array([[x]]) for x in (1.0, 0.5, 0.2, 2.0)]
    grads = jax.grad(lambda *a: consistency(*a).sum(), argnums=(0, 1, 2, 3))(*args)
    # d/dμ = (μ − μ') / σ'²,  d/dσ = −1/σ + σ/σ'².
    np.testing.assert_allclose([g[0, 0] for g in grads], [0.8 / 4.0, -2.0 + 0.125, 0.0, 0.0], rtol=1e-6)


def test_model_loss_by_hand():
    # First column, γ = ½: (1 − ½) + ½ (2 − 1) + ¼ · 4 = 2; without γ: ½ + 1 + 4 = 5.5.
    np.testing.assert_allclose(model_loss(REWARD, DIVERGENCE, VALUE, 0.5), [-2.0, 1.25 + 0.75 + 0.75], rtol=1e-6)
    np.testing.assert_allclose(model_loss(REWARD, DIVERGENCE, VALUE), [-5.5, 1.25 + 1.5 + 3.0], rtol=1e-6)


def test_policy_loss_by_hand():
    ratio, value = jnp.array([[2.0], [-2.0]]), jnp.array([[10.0], [20.0]])
    each = policy_loss(jnp.array([[1.0], [3.0]]), ratio, value, 0.5, 0.25, 0.5)
    # r̃ = 2, 2.  R_1 = 2 + ½ · 20 = 12,  R_0 = 2 + ½ (¾ · 10 + ¼ · 12) = 7.25; weights 1 and ½.
    np.testing.assert_allclose(each[:, 0], [-7.25, -6.0], rtol=1e-6)


def bounds_by_length(reward, value, gamma):
    """L^1 … L^K of Eq. 8 as sums, in float64."""
    steps = len(reward)
    powers = gamma ** np.arange(steps + 1)
    return [powers[:k] @ reward[:k] + powers[k] * value[k - 1] for k in range(1, steps + 1)]


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
def test_the_first_row_is_the_weighted_average_of_eq_8_over_lengths(rng, steps, trace):
    reward, ratio, value = rng.normal(size=(3, steps))
    each = policy_loss(*(jnp.asarray(x[:, None], jnp.float32) for x in (reward, ratio, value)), 0.9, trace, 0.1)
    lengths = bounds_by_length(reward + 0.1 * ratio, value, 0.9)
    exact = alm.lambda_weighted(jnp.asarray(lengths), trace)
    np.testing.assert_allclose(-each[0, 0], exact, rtol=1e-5, atol=1e-6)
    if trace == 1.0:
        np.testing.assert_allclose(-each[0, 0], lengths[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trace", [0.0, 0.5, 1.0])
def test_with_exact_rewards_and_values_every_return_is_the_value(trace):
    """On a finite MDP the expected return of every start time is the value there, whatever K and λ."""
    key = jax.random.key(3)
    mdp = sample.random_mdp(key, 4, 3)
    policy = sample.random_policy(key, mdp)
    states = evaluate.state_marginals(mdp.transition, policy, mdp.initial, 5)
    reward = states @ (policy * mdp.reward).sum(axis=-1)
    value = states @ evaluate.state_value(mdp, policy)
    returns = lambda_returns(reward[:-1, None], value[1:, None], mdp.discount, trace)
    np.testing.assert_allclose(returns[:, 0], value[:-1], rtol=2e-5)


def test_one_and_all_steps_of_lambda_returns(rng):
    reward, value = jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)
    np.testing.assert_allclose(lambda_returns(reward, value, 0.9, 0.0), reward + 0.9 * value, rtol=1e-6)
    full = expanded_targets(reward, jnp.full((4, 3), 0.9), jnp.zeros((4, 3)), value[-1])
    np.testing.assert_allclose(lambda_returns(reward, value, 0.9, 1.0), full, rtol=1e-5)


def test_gradients_flow_through_returns_into_rewards_ratios_and_values():
    ratio, value = jnp.zeros((2, 1)), jnp.ones((2, 1))

    def total(*a):
        return policy_loss(*a, 0.5, 0.25, 0.1).sum()

    reward, ratio, value = jax.grad(total, argnums=(0, 1, 2))(ratio, ratio, value)
    # −(R_0 + ½ R_1) with R_0 = r̃_0 + ⅜ Q_1 + ⅛ R_1 and R_1 = r̃_1 + ½ Q_2.
    np.testing.assert_allclose(reward[:, 0], [-1.0, -0.625], rtol=1e-6)
    np.testing.assert_allclose(ratio[:, 0], [-0.1, -0.0625], rtol=1e-6)
    np.testing.assert_allclose(value[:, 0], [-0.375, -0.3125], rtol=1e-6)


def test_the_best_classifier_is_the_log_ratio_of_encoder_to_model(rng):
    """Over five outcomes shown equally often from both: the gradient vanishes there, and the loss is log 2 − JS."""
    real, model = (jnp.asarray(p, jnp.float32) for p in rng.dirichlet(np.ones(5), size=2))
    labels = jnp.repeat(jnp.array([True, False]), 5)

    def expected(logits):
        each = classifier_loss(jnp.concatenate([logits, logits]), labels)
        return 0.5 * (jnp.concatenate([real, model]) * each).sum()

    best = jnp.stack([jnp.log(model), jnp.log(real)], axis=-1)
    np.testing.assert_allclose(log_ratio(best), jnp.log(real / model), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(expected)(best), 0.0, atol=1e-6)
    middle = 0.5 * (real + model)
    divergence = 0.5 * (real * jnp.log(real / middle) + model * jnp.log(model / middle)).sum()
    np.testing.assert_allclose(expected(best), np.log(2.0) - divergence, rtol=1e-5)
    for bump in jnp.eye(10).reshape(10, 5, 2):
        assert expected(best + 0.3 * bump) > expected(best)


def test_classifier_loss_by_hand():
    logits = jnp.array([[0.0, np.log(3.0)], [0.0, np.log(3.0)]], jnp.float32)
    np.testing.assert_allclose(classifier_loss(logits, jnp.array([True, False])), -np.log([0.75, 0.25]), rtol=1e-6)


def test_reward_loss_fits_the_prediction():
    predicted, reward = jnp.array([2.0]), jnp.array([-1.0])
    assert reward_loss(predicted, reward)[0] == 9.0
    grads = jax.grad(lambda *a: reward_loss(*a).sum(), argnums=(0, 1))(predicted, reward)
    assert (float(grads[0][0]), float(grads[1][0])) == (6.0, 0.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: model_loss(REWARD, DIVERGENCE[:1], VALUE),
        lambda: model_loss(REWARD, DIVERGENCE, VALUE[:1]),
        lambda: policy_loss(REWARD, DIVERGENCE, VALUE, 0.9, 0.9, 0.1),
        lambda: consistency(REWARD, REWARD, REWARD, REWARD[:, :1]),
        lambda: classifier_loss(jnp.zeros((2, 3)), jnp.ones(2, bool)),
        lambda: classifier_loss(REWARD, jnp.ones(2)),
        lambda: log_ratio(jnp.zeros((4, 1))),
        lambda: reward_loss(VALUE, VALUE[:1]),
        lambda: lambda_returns(REWARD, VALUE, 0.9, 0.9),
    ],
)
def test_wrong_shapes_and_types_raise(call):
    with pytest.raises(Exception, match=r"type|shape"):
        call()
