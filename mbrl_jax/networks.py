"""Networks: flax modules with the papers' initialisations, and stacks of them that share one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.promotions import promoting
from mbrl_jax.types import Key, PyTree

__all__ = [
    "MLP",
    "Diagonal",
    "NormedMLP",
    "apply",
    "bounded_diagonal",
    "draw",
    "elu",
    "gaussian",
    "glorot",
    "init_stack",
    "kernel_norms",
    "narrow_normal",
    "normc",
    "perturbed",
    "sample",
    "tanh_gaussian",
]

Initialiser = Callable[..., Array]
BLOCK = 1024
"""Rows of a block: its hidden layers fit the cache of a core, those of dozens of lanes an accelerator's memory."""


def narrow_normal(key: Key, shape: Sequence[int], dtype=jnp.float32) -> Array:
    """Truncated normal with standard deviation 1/(2 sqrt(fan_in)), cut at two of them; shape `[in, out]`.

    Source: the authors' code of PETS and MBPO (`fc.py`); neither paper states it.
    """
    scale = 1.0 / (2.0 * shape[-2] ** 0.5)
    return scale * jax.random.truncated_normal(key, -2.0, 2.0, tuple(shape), dtype)


def normc(norm: float) -> Initialiser:
    """Standard normal weights `[in, out]` whose columns are scaled to a length: each unit's inputs have that norm.

    Source: OpenAI baselines (`normc_initializer`), whose policies SLBO's and Wang et al.'s code have.
    """

    def draw_columns(key: Key, shape: Sequence[int], dtype=jnp.float32) -> Array:
        weights = jax.random.normal(key, tuple(shape), dtype)
        return norm * weights / jnp.linalg.norm(weights, axis=0, keepdims=True)

    return draw_columns


@jax.custom_jvp
def elu(x: Array) -> Array:
    """x where positive, exp(x) − 1 elsewhere: `[...]` of `x[...]`.

    As `flax.linen.elu`, but its derivative is taken from the result, which the next layer keeps anyway: nothing else is
    stored for the backward pass, and no exponential is computed twice.
    """
    return nn.elu(x)


@elu.defjvp
def _elu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = elu(*primals)
    return y, tangents[0] * jnp.where(y > 0, 1.0, y + 1.0)


class MLP(nn.Module):
    """Fully connected network: `activation` after every hidden layer, a linear output.

    Attributes:
      hidden: widths of the hidden layers.
      out_dim: width of the output.
      activation: elementwise function, `[...]` to `[...]`.
      kernel_init: initialiser of the weights; biases start at zero. The default is Glorot-uniform, as in Keras.
      last_init: initialiser of the output's weights; None: as the others'.
    """

    hidden: tuple[int, ...]
    out_dim: int
    activation: Callable[[Array], Array] = nn.relu
    kernel_init: Initialiser = nn.initializers.glorot_uniform()
    last_init: Initialiser | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `x[..., in_dim]` to `[..., out_dim]`."""
        for width in self.hidden:
            x = self.activation(nn.Dense(width, kernel_init=self.kernel_init)(x))
        return nn.Dense(self.out_dim, kernel_init=self.last_init or self.kernel_init)(x)


class NormedMLP(nn.Module):
    """An `MLP` whose first hidden layer is normalised over its units and goes through tanh.

    Source: values, reward and classifier of ALM's released code (`models.py`), after Yarats et al., 2021.

    Attributes:
      hidden: widths of the hidden layers; none makes it linear.
      out_dim: width of the output.
      activation: elementwise function, `[...]` to `[...]`, of the later hidden layers.
      kernel_init: initialiser of the weights; biases start at zero.
    """

    hidden: tuple[int, ...]
    out_dim: int
    activation: Callable[[Array], Array] = elu
    kernel_init: Initialiser = nn.initializers.orthogonal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `x[..., in_dim]` to `[..., out_dim]`."""
        for i, width in enumerate(self.hidden):
            x = nn.Dense(width, kernel_init=self.kernel_init)(x)
            x = nn.tanh(nn.LayerNorm(epsilon=1e-5)(x)) if i == 0 else self.activation(x)
        return nn.Dense(self.out_dim, kernel_init=self.kernel_init)(x)


def apply(module: nn.Module, params: PyTree, x: Array) -> Array:
    """The module's output `[..., out_dim]` for `x[..., in_dim]`.

    Many rows go through in blocks. The hidden layers of 100,000 rows do not fit a CPU's cache: the same numbers in half
    the time (docs/speed.md). Those of 20 lanes take gigabytes of an accelerator's memory, where lanes side by side fill
    the device with a block each.
    """
    forward = partial(module.apply, params)
    if x.ndim == 2 and x.shape[0] > 2 * BLOCK:
        return _in_blocks(forward, x)
    return cast(Array, forward(x))


def _in_blocks(forward: Callable[..., PyTree], x: Array) -> Array:
    """`forward(x)` for `x[rows, in_dim]`, about `BLOCK` rows at a time, in blocks of equal size."""
    rows = x.shape[0]
    count = -(-rows // BLOCK)
    size = -(-rows // count)
    blocks = jnp.pad(x, ((0, count * size - rows), (0, 0))).reshape(count, size, -1)
    return lax.map(forward, blocks).reshape(count * size, -1)[:rows]


def init_stack(key: Key, module: nn.Module, members: int, in_dim: int) -> PyTree:
    """Independent parameters of `members` copies of `module`, each leaf stacked on a leading axis `[members, ...]`."""
    return jax.vmap(lambda k: module.init(k, jnp.zeros((1, in_dim))))(jax.random.split(key, members))


def glorot(key: Key, module: nn.Module, in_dim: int) -> PyTree:
    """Parameters as `MLP`'s default initialisers draw them: kernels uniform in ±sqrt(6 / (in + out)), biases 0.

    One random draw for all of them: a draw per kernel, as flax makes it, compiles for seconds inside a larger program.
    """
    shapes = jax.eval_shape(lambda k: module.init(k, jnp.zeros((1, in_dim))), key)
    leaves, structure = jax.tree.flatten(shapes)
    draws = jax.random.uniform(key, (sum(leaf.size for leaf in leaves),), minval=-1.0, maxval=1.0)
    found, at = [], 0
    for leaf in leaves:
        scale = (6.0 / sum(leaf.shape)) ** 0.5 if len(leaf.shape) == 2 else 0.0
        found.append(scale * draws[at : at + leaf.size].reshape(leaf.shape))
        at += leaf.size
    return structure.unflatten(found)


def kernel_norms(params: PyTree, layers: int) -> Array:
    """½‖W‖² of each layer's weights, biases left out, summed over any stacked members; shape `[layers]`."""
    dense = params["params"]
    return jnp.stack([0.5 * jnp.square(dense[f"Dense_{i}"]["kernel"]).sum() for i in range(layers)])


def tanh_gaussian(outputs: Array, log_std_min: float = -20.0, log_std_max: float = 2.0) -> distrax.Transformed:
    """Diagonal Gaussian squashed by tanh into (-1, 1).

    Args:
      outputs: `[..., 2 * action_dim]`, means first, then log standard deviations, which are clipped.
      log_std_min: lower clip of the log standard deviation.
      log_std_max: upper clip.

    Returns:
      A distribution over `[..., action_dim]`. Its deterministic action is `tanh(mean)`: `outputs[..., :A]` squashed.
    """
    mean, log_std = jnp.split(outputs, 2, axis=-1)
    normal = distrax.MultivariateNormalDiag(mean, jnp.exp(jnp.clip(log_std, log_std_min, log_std_max)))
    return distrax.Transformed(normal, distrax.Block(distrax.Tanh(), 1))


def draw(key: Key, outputs: Array) -> tuple[Array, Array]:
    """An action of `tanh_gaussian(outputs)`, `[..., action_dim]`, and its log-probability in nats, `[...]`."""
    with promoting():  # distrax puts an axis of draws before the parameters'
        return cast(tuple[Array, Array], tanh_gaussian(outputs).sample_and_log_prob(seed=key))


def gaussian(outputs: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of `tanh_gaussian(outputs)` before its tanh, each `[..., action_dim]`."""
    normal = cast(distrax.MultivariateNormalDiag, tanh_gaussian(outputs).distribution)
    return cast(Array, normal.loc), cast(Array, normal.scale_diag)


class Diagonal(NamedTuple):
    """Mean and standard deviation of a diagonal Gaussian, each `[..., dim]`."""

    mean: Array
    std: Array


def bounded_diagonal(outputs: Array, mean_limit: float = 30.0, low: float = 0.1, high: float = 10.0) -> Diagonal:
    """A diagonal Gaussian whose mean and standard deviation cannot run away.

    Args:
      outputs: `[..., 2 * dim]`, what becomes the means first.
      mean_limit: the means are squashed into ± this by its tanh.
      low: smallest standard deviation; softplus on both sides keeps it within the bounds.
      high: largest standard deviation.

    Source: ALM's released code (`models.py`).
    """
    mean, std = jnp.split(outputs, 2, axis=-1)
    std = high - nn.softplus(high - std)
    return Diagonal(mean_limit * jnp.tanh(mean / mean_limit), low + nn.softplus(std - low))


def sample(key: Key, gaussian: Diagonal) -> Array:
    """A reparameterised draw, `[..., dim]`."""
    return gaussian.mean + gaussian.std * jax.random.normal(key, gaussian.mean.shape, gaussian.mean.dtype)


ACTION_BOUND = 1.0 - 1e-6


def perturbed(key: Key, mean: Array, std: Array | float, limit: Array | float | None = None) -> Array:
    """An action in (-1, 1): the mean with Gaussian noise of scheduled size, cut off; the gradient is the mean's.

    Args:
      mean: the policy's action, `[..., action_dim]`.
      std: standard deviation of the noise, a scalar.
      limit: a scalar; the noise is clipped to ± this; None leaves it as it is.

    Returns:
      `[..., action_dim]`.

    Source: Yarats et al., "Mastering Visual Continuous Control", 2021 (their truncated normal), as in ALM's code.
    """
    noise = std * jax.random.normal(key, mean.shape, mean.dtype)
    action = mean + (noise if limit is None else jnp.clip(noise, -limit, limit))
    return action + lax.stop_gradient(jnp.clip(action, -ACTION_BOUND, ACTION_BOUND) - action)
