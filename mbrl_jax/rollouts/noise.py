"""Exploration noise that goes on from step to step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.types import Key, Policy, Scalar

__all__ = ["ornstein_uhlenbeck"]


def ornstein_uhlenbeck(policy: Policy[tuple[()]], action_dim: int, kept: Scalar, std: Scalar) -> Policy[Array]:
    """The policy with noise x added to its actions, its memory `[B, action_dim]`: x ← kept · x + std · N(0, 1), from 0.

    Its standard deviation in the long run is std / √(1 − kept²); neighbouring steps are correlated by `kept`.

    Args:
      policy: a policy without memory.
      kept: share of the noise that stays, 1 − θ.
      std: standard deviation of what is added in a step, σ.

    Source: SLBO's released code (`slbo/utils/OU_noise.py`), after Lillicrap et al., 2016.
    """

    def start(obs: Array) -> Array:
        return jnp.zeros((*obs.shape[:-1], action_dim), obs.dtype)

    def act(key: Key, noise: Array, obs: Array) -> tuple[Array, Array, tuple[()]]:
        k_act, k_noise = jax.random.split(key)
        action = policy.act(k_act, (), obs)[1]
        noise = kept * noise + std * jax.random.normal(k_noise, noise.shape, noise.dtype)
        return noise, action + noise, ()

    return Policy(start, act)
