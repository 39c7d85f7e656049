"""Optimisers as optax transformations: Adam as optax has it, which promotes, and as TensorFlow has it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from mbrl_jax.promotions import promoting
from mbrl_jax.types import PyTree, Scalar

__all__ = ["adam", "adam_tf", "scale_by_adam"]


def adam(learning_rate: Scalar, epsilon: Scalar = 1e-8) -> optax.GradientTransformation:
    """`optax.adam`, whatever promotions the caller has forbidden: it raises a float to an integer count."""
    return _promoting(optax.adam(learning_rate, eps=epsilon))


def scale_by_adam() -> optax.GradientTransformation:
    """`optax.scale_by_adam`, likewise."""
    return _promoting(optax.scale_by_adam())


def _promoting(optimiser: optax.GradientTransformation) -> optax.GradientTransformation:
    @promoting()
    def update(grads: PyTree, state: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        return optimiser.update(grads, state, params)

    return optax.GradientTransformation(optimiser.init, update)  # pyright: ignore[reportArgumentType]


def adam_tf(
    learning_rate: Scalar, b1: Scalar = 0.9, b2: Scalar = 0.999, epsilon: Scalar = 1e-8
) -> optax.GradientTransformation:
    r"""Adam as TensorFlow 1 has it: ε joins the root of the second moment before that is freed of its bias.

    $$ \theta \leftarrow \theta - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m_t}{\sqrt{v_t} + \epsilon} $$

    It equals `optax.adam` with an ε of ε / √(1 − β₂ᵗ), which is 32 ε at first: gradients that are as small as ε, as
    those of a network of tiny weights, move it less.

    Source: Kingma and Ba, "Adam", 2015, end of Sec. 2; `tf.train.AdamOptimizer`, OpenAI baselines' `MpiAdam`.
    """

    def init(params: PyTree) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        grads: PyTree, state: optax.ScaleByAdamState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        del params
        count = jnp.asarray(state.count) + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1.0 - b1) * g, state.mu, grads)
        square = jax.tree.map(lambda v, g: b2 * v + (1.0 - b2) * jnp.square(g), state.nu, grads)

        def step(m: jax.Array, v: jax.Array) -> jax.Array:
            t = count.astype(m.dtype)
            rate = learning_rate * jnp.sqrt(1.0 - b2**t) / (1.0 - b1**t)
            return -rate * m / (jnp.sqrt(v) + epsilon)

        return jax.tree.map(step, mean, square), optax.ScaleByAdamState(count, mean, square)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]
