"""Optimisers against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mbrl_jax.optimisers import adam_tf

GRADS = np.random.default_rng(0).normal(size=(20, 3)) * [1.0, 1e-8, 1e-3]


def run(optimiser, grads):
    """The sums of all updates after each step, `[steps, 3]`."""

    def step(carry, grad):
        params, opt = carry
        updates, opt = optimiser.update(grad, opt, params)
        params = optax.apply_updates(params, updates)
        return (params, opt), params

    zero = jnp.zeros(grads.shape[1])
    return jax.jit(lambda g: jax.lax.scan(step, (zero, optimiser.init(zero)), g)[1])(jnp.asarray(grads))


def test_adam_is_tensorflows():
    """tf.train.AdamOptimizer: lr_t = lr sqrt(1 - b2^t) / (1 - b1^t); theta -= lr_t m / (sqrt(v) + epsilon)."""
    with jax.enable_x64(True):
        found = run(adam_tf(1e-2, 0.8, 0.95, 1e-8), GRADS)
    theta, mean, square = np.zeros(3), np.zeros(3), np.zeros(3)
    for t, grad in enumerate(GRADS, 1):
        mean, square = 0.8 * mean + 0.2 * grad, 0.95 * square + 0.05 * grad**2
        theta -= 1e-2 * np.sqrt(1 - 0.95**t) / (1 - 0.8**t) * mean / (np.sqrt(square) + 1e-8)
        np.testing.assert_allclose(found[t - 1], theta, rtol=1e-10)


def test_it_is_the_usual_adam_where_gradients_are_large_and_slower_where_they_are_tiny():
    with jax.enable_x64(True):
        ours, usual = run(adam_tf(1e-2), GRADS), run(optax.adam(1e-2), GRADS)
    np.testing.assert_allclose(ours[0, 0], usual[0, 0], rtol=1e-5)
    # At first epsilon counts 1 / sqrt(1 - 0.999) times.
    grad = abs(GRADS[0, 1])
    np.testing.assert_allclose(ours[0, 1] / usual[0, 1], (grad + 1e-8) / (grad + 1e-8 / np.sqrt(0.001)), rtol=1e-6)
