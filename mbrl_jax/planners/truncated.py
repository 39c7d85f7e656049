"""PETS's search (Chua et al., 2018): Gaussians that stay inside the bounds, refitted slowly, of which the mean acts."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.planners.proposals import Proposal
from mbrl_jax.planners.search import Plan, Search
from mbrl_jax.types import Key, PyTree, Scalar, checked

__all__ = ["acting_by_the_mode", "truncated_box"]

Moments = tuple[Float[Array, "horizon action_dim"], Float[Array, "horizon action_dim"]]
"""Mean and variance of each step's action."""
VARIANCE = 0.25
"""Before anything is known: a sixteenth of the squared width of [-1, 1]."""


@checked
def _sample(key: Key, params: Moments, number: int) -> Float[Array, "sequences horizon action_dim"]:
    mean, variance = params
    room = jnp.square(0.5 * jnp.minimum(mean + 1.0, 1.0 - mean))
    noise = jax.random.truncated_normal(key, -2.0, 2.0, (number, *mean.shape), mean.dtype)
    return mean[None] + jnp.sqrt(jnp.minimum(room, variance))[None] * noise


@checked
def _fit(
    kept: Scalar,
    least_variance: Scalar,
    params: Moments,
    sequences: Float[Array, "sequences horizon action_dim"],
    weights: Float[Array, " sequences"],
) -> Moments:
    mean = jnp.einsum("k,kha->ha", weights, sequences)
    spread = jnp.einsum("k,kha->ha", weights, jnp.square(sequences - mean[None]))
    done = params[1].max() <= least_variance

    def mixed(old: Array, new: Array) -> Array:
        return jnp.where(done, old, kept * old + (1.0 - kept) * new).astype(old.dtype)

    return mixed(params[0], mean), mixed(params[1], spread)


@checked
def truncated_box(action_dim: int, kept: Scalar = 0.1, least_variance: Scalar = 1e-3) -> Proposal:
    """A Gaussian per step and entry, cut off at two deviations, which reach no further than the bounds of [-1, 1].

    Parameters are means and variances `[horizon, action_dim]`: 0 and 1/4 at first.

    Args:
      action_dim: width of the action.
      kept: share of the old mean and of the old variance that a fit keeps.
      least_variance: once no variance exceeds this, a fit changes nothing: the search has ended.

    Source: PETS's released code (`misc/optimizers/cem.py`, `controllers/MPC.py`).
    """

    def start(horizon: int) -> Moments:
        shape = (horizon, action_dim)
        return jnp.zeros(shape, jnp.float32), jnp.full(shape, VARIANCE, jnp.float32)

    def mode(params: Moments) -> Array:
        return params[0]

    @checked
    def shift(params: Moments) -> Moments:
        """The means move on, 0 for the new last step; the variances are as at the start."""
        mean, variance = start(params[0].shape[0])
        return mean.at[:-1].set(params[0][1:]), variance

    return Proposal(start, _sample, partial(_fit, kept, least_variance), mode, shift)


@checked
def acting_by_the_mode(search: Search, proposal: Proposal) -> Search:
    """The search whose action is the first of its proposal's mode in the end, not of the best sequence drawn.

    Of many values that are noisy the best is mostly luck; the mean of the best forty is not.
    """

    def by_mode(key: Key, params: PyTree, obs: Array) -> tuple[Plan, PyTree]:
        best, params = search(key, params, obs)
        return best._replace(action=proposal.mode(params)[0]), params

    return by_mode
