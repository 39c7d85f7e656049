"""What agents that learn from fragments share: the observations' statistics, a Gaussian policy, advantages.

Ours: plumbing of A2C, TRPO and PPO. Advantages are those of Schulman et al. (2016), `objectives.returns`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP
from mbrl_jax.objectives.returns import generalised_advantages
from mbrl_jax.rollouts import stateless
from mbrl_jax.types import Key, Policy, PyTree, Scalar, Transition

__all__ = ["advantages", "drawn", "inputs", "mean", "parameters", "renewed", "standardised"]


class _Seeing(Protocol):
    """An agent's state, a named tuple that holds the statistics of the observations."""

    @property
    def seen(self) -> normalise.Running:
        """The statistics."""
        ...

    def _replace(self, **changes: Any) -> Any:
        """The state with other fields."""
        ...


S = TypeVar("S", bound=_Seeing)
Gaussian = Callable[[Array], tuple[Array, Array]]
"""`gaussian(obs[..., obs_dim])`: mean and log standard deviation of the action, each `[..., action_dim]`."""


def renewed(state: S, obs: Array) -> S:
    """The state with the statistics of more observations `[..., obs_dim]`."""
    return state._replace(seen=normalise.observed(state.seen, obs.reshape(-1, obs.shape[-1])))


def inputs(seen: normalise.Running, obs: Array, least_std: Scalar = 0.0, clip: Scalar | None = None) -> Array:
    """Standardised observations `[..., obs_dim]`, with deviations no less than `least_std`, within ± `clip`.

    Args:
      obs: `[..., obs_dim]`.
    """
    mean, std = seen.scaler
    scaled = normalise.Scaler(mean, jnp.maximum(std, least_std)).forward(obs)
    return scaled if clip is None else jnp.clip(scaled, -clip, clip)


def parameters(key: Key, policy: MLP, critic: MLP, obs_dim: int, log_std: Array) -> dict[str, PyTree]:
    """Parameters of an `actor`, its `mean` and its `log_std[action_dim]`, and of a `critic`."""
    k_actor, k_critic = jax.random.split(key)
    none = jnp.zeros((1, obs_dim))
    actor = {"mean": policy.init(k_actor, none), "log_std": log_std}
    return {"actor": actor, "critic": critic.init(k_critic, none)}


def drawn(gaussian: Gaussian) -> Policy[tuple[()]]:
    """Draws actions, which the environment clips to [-1, 1]."""

    def explore(key: Key, obs: Array) -> Array:
        mean, log_std = gaussian(obs)
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)

    return stateless(explore)


def mean(gaussian: Gaussian) -> Policy[tuple[()]]:
    """Takes the mean action."""
    return stateless(lambda key, obs: gaussian(obs)[0])


def advantages(
    values: Callable[[Array], Array], batch: Transition, gamma: Scalar, trace: Scalar, *, limits_end: bool = False
) -> tuple[Array, Array]:
    """Generalised advantages of a fragment and its values, each `[time, environments]`; their sum is the λ-return.

    Args:
      values: `values(obs[..., obs_dim]) -> [...]`.
      batch: the fragment, `[time, environments, ...]`.
      gamma: the discount factor.
      trace: λ.
      limits_end: whether a time limit counts as the task's end.
    """
    value, following = values(batch.obs), values(batch.next_obs)
    discount = gamma * batch.discount
    if limits_end:
        discount = jnp.where(batch.truncated, 0.0, discount)
    return generalised_advantages(batch.reward, discount, value, following, batch.truncated, trace), value


def standardised(advantage: Array) -> Array:
    """Advantages `[...]` of mean 0 and deviation 1 over all axes, `[...]`."""
    return (advantage - advantage.mean()) * (1.0 / jnp.maximum(advantage.std(), 1e-8))
