"""Distributions over action sequences that planners draw candidates from and fit to the good ones.

Source: Rubinstein and Kroese, *The Cross-Entropy Method*, 2004; smoothing and least deviations are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mbrl_jax.types import Key, PyTree, checked

__all__ = ["Proposal", "all_sequences", "box", "choices"]

Gaussian = tuple[Float[Array, "horizon action_dim"], Float[Array, "horizon action_dim"]]
"""Mean and standard deviation of each step's action."""


class Proposal(NamedTuple):
    """A distribution over sequences of actions, independent between steps.

    Attributes:
      start: `start(horizon) -> params`, before anything is known.
      sample: `sample(key, params, count) -> sequences [count, horizon, action_dim]`.
      fit: `fit(params, sequences, weights [count]) -> params`; the weights sum to 1.
      mode: `mode(params) -> sequence [horizon, action_dim]`.
      shift: `shift(params) -> params` one step later: what is known of the steps that are left, nothing of the last.
    """

    start: Callable[[int], PyTree]
    sample: Callable[[Key, PyTree, int], Array]
    fit: Callable[[PyTree, Array, Array], PyTree]
    mode: Callable[[PyTree], Array]
    shift: Callable[[PyTree], PyTree]


@checked
def choices(count: int, smoothing: float = 0.05) -> Proposal:
    """One of `count` choices per step, one-hot, uniform at first; parameters are log-probabilities `[horizon, count]`.

    Args:
      count: number of choices, which is the action's width.
      smoothing: share of the uniform distribution that a fit keeps, so that no choice dies out.

    Raises:
      ValueError: `count` is below 2.
    """
    if count < 2:
        raise ValueError(f"a choice needs at least two actions, got {count}")

    def start(horizon: int) -> Array:
        return jnp.full((horizon, count), -jnp.log(float(count)), jnp.float32)

    @checked
    def sample(key: Key, params: Float[Array, "horizon count"], number: int) -> Float[Array, "sequences horizon count"]:
        picked = jax.random.categorical(key, params, shape=(number, params.shape[0]))
        return jax.nn.one_hot(picked, count, dtype=params.dtype)

    @checked
    def fit(
        params: Float[Array, "horizon count"],
        sequences: Float[Array, "sequences horizon count"],
        weights: Float[Array, " sequences"],
    ) -> Float[Array, "horizon count"]:
        share = jnp.einsum("k,kha->ha", weights, sequences)
        return jnp.log((1.0 - smoothing) * share + smoothing / count).astype(params.dtype)

    @checked
    def mode(params: Float[Array, "horizon count"]) -> Float[Array, "horizon count"]:
        return jax.nn.one_hot(jnp.argmax(params, axis=-1), count, dtype=params.dtype)

    @checked
    def shift(params: Float[Array, "horizon count"]) -> Float[Array, "horizon count"]:
        return jnp.concatenate([params[1:], start(1)])

    return Proposal(start, sample, fit, mode, shift)


@checked
def box(action_dim: int, std: float = 0.5, least_std: float = 0.05) -> Proposal:
    """A Gaussian per step and entry, clipped to [-1, 1]; parameters are means and deviations `[horizon, action_dim]`.

    Args:
      action_dim: width of the action.
      std: standard deviation at first; the mean is 0.
      least_std: the smallest that a fit may give.
    """

    def start(horizon: int) -> Gaussian:
        shape = (horizon, action_dim)
        return jnp.zeros(shape, jnp.float32), jnp.full(shape, std, jnp.float32)

    @checked
    def sample(key: Key, params: Gaussian, number: int) -> Float[Array, "sequences horizon action_dim"]:
        mean, deviation = params
        noise = jax.random.normal(key, (number, *mean.shape), mean.dtype)
        return jnp.clip(mean[None] + deviation[None] * noise, -1.0, 1.0)

    @checked
    def fit(
        params: Gaussian, sequences: Float[Array, "sequences horizon action_dim"], weights: Float[Array, " sequences"]
    ) -> Gaussian:
        del params
        mean = jnp.einsum("k,kha->ha", weights, sequences)
        spread = jnp.einsum("k,kha->ha", weights, jnp.square(sequences - mean[None]))
        return mean, jnp.maximum(jnp.sqrt(spread), least_std)

    @checked
    def mode(params: Gaussian) -> Float[Array, "horizon action_dim"]:
        return params[0]

    @checked
    def shift(params: Gaussian) -> Gaussian:
        """The means move on; the deviations are as at the start, so that the new plan can leave the old one (PETS)."""
        mean, deviation = start(params[0].shape[0])
        return mean.at[:-1].set(params[0][1:]), deviation

    return Proposal(start, sample, fit, mode, shift)


@checked
def all_sequences(count: int, horizon: int) -> Float[Array, "sequences {horizon} {count}"]:
    """All `count ** horizon` sequences of choices, one-hot `[count ** horizon, horizon, count]`.

    Raises:
      ValueError: there are more than 100,000.
    """
    if count**horizon > 100_000:
        raise ValueError(f"at most 100,000 sequences can be listed, {count} choices over {horizon} steps are more")
    picked = np.indices((count,) * horizon).reshape(horizon, -1).T
    return jnp.asarray(np.eye(count, dtype=np.float32)[picked])
