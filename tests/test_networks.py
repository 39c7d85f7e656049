"""Networks: initialisations, stacks, and the squashed Gaussian against TensorFlow Probability."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, stats

from mbrl_jax.networks import MLP, init_stack, kernel_norms, narrow_normal, tanh_gaussian


def test_narrow_normal_is_the_truncated_normal_of_the_released_code():
    fan_in = 25
    sample = np.asarray(narrow_normal(jax.random.key(0), (fan_in, 4000))).ravel()
    scale = 1 / (2 * np.sqrt(fan_in))
    assert np.abs(sample).max() <= 2 * scale
    assert stats.kstest(sample / scale, stats.truncnorm(-2, 2).cdf).pvalue > 1e-3


def test_mlp_is_its_formula_with_glorot_weights_and_zero_biases(rng):
    net = MLP((300,), 200, nn.relu)
    params = net.init(jax.random.key(0), jnp.zeros((1, 100)))
    first, second = params["params"]["Dense_0"], params["params"]["Dense_1"]
    assert all((layer["bias"] == 0).all() for layer in (first, second))
    limit = np.sqrt(6 / (100 + 300))
    assert 0.99 * limit < np.abs(first["kernel"]).max() <= limit
    x = jnp.asarray(rng.normal(size=(3, 100)), jnp.float32)
    hidden = np.maximum(np.asarray(x) @ np.asarray(first["kernel"]), 0)
    np.testing.assert_allclose(net.apply(params, x), hidden @ np.asarray(second["kernel"]), rtol=2e-4, atol=1e-5)


def test_stacked_members_differ_and_equal_single_ones():
    net, key = MLP((5,), 2), jax.random.key(1)
    stack = init_stack(key, net, 3, 4)
    assert jax.tree.leaves(stack)[0].shape[0] == 3
    kernels = stack["params"]["Dense_0"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])
    single = net.init(jax.random.split(key, 3)[2], jnp.zeros((1, 4)))
    np.testing.assert_allclose(kernels[2], single["params"]["Dense_0"]["kernel"], rtol=1e-6)


def test_kernel_norms_are_half_squared_sums_over_members_without_biases():
    stack = init_stack(jax.random.key(1), MLP((5,), 2), 3, 4)
    stack = jax.tree.map(lambda x: x + 1.0, stack)  # biases are not zero now
    exact = [0.5 * np.square(stack["params"][f"Dense_{i}"]["kernel"]).sum() for i in range(2)]
    np.testing.assert_allclose(kernel_norms(stack, 2), exact, rtol=1e-6)


def test_tanh_gaussian_integrates_to_one_and_has_scipys_density():
    policy = tanh_gaussian(jnp.array([0.3, -0.4]))

    def exact(a):
        return stats.norm.pdf(np.arctanh(a), 0.3, np.exp(-0.4)) / (1 - a**2)

    points = np.linspace(-0.95, 0.95, 9)
    ours = [np.exp(policy.log_prob(jnp.array([a]))) for a in points]
    np.testing.assert_allclose(ours, exact(points), rtol=1e-4)
    np.testing.assert_allclose(integrate.quad(exact, -1, 1)[0], 1.0, rtol=1e-6)


def test_tanh_gaussian_sums_over_entries_and_agrees_with_its_samples(rng):
    outputs = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    action, log_prob = tanh_gaussian(outputs).sample_and_log_prob(seed=jax.random.key(0))
    assert action.shape == (6, 2) and log_prob.shape == (6,)
    mean, std = outputs[:, :2], np.exp(outputs[:, 2:])
    raw = np.arctanh(np.asarray(action, np.float64))
    exact = (stats.norm.logpdf(raw, mean, std) - np.log1p(-(np.tanh(raw) ** 2))).sum(axis=1)
    np.testing.assert_allclose(log_prob, exact, rtol=1e-3, atol=1e-3)


def test_log_deviations_are_clipped():
    policy = tanh_gaussian(jnp.array([0.0, 50.0]))
    clipped = tanh_gaussian(jnp.array([0.0, 2.0]))
    at = jnp.array([0.5])
    np.testing.assert_array_equal(policy.log_prob(at), clipped.log_prob(at))
    action, log_prob = tanh_gaussian(jnp.array([0.4, -1e9])).sample_and_log_prob(seed=jax.random.key(0))
    np.testing.assert_allclose(action, np.tanh(0.4), rtol=1e-6)
    assert np.isfinite(log_prob)
