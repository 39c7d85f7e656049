"""Policies made of functions or of other policies, and actions in the units of an environment.

Ours: plumbing, without a paper.
"""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from mbrl_jax.envs.base import to_env
from mbrl_jax.types import Act, Key, M, Policy, PyTree, Spec, checked

__all__ = ["first_action", "for_env", "stateless", "to_env", "uniform"]


@checked
def stateless(act: Act) -> Policy[tuple[()]]:
    """The policy without memory that acts by `act(key, obs[B, O]) -> action[B, A]`."""

    def start(obs: Array) -> tuple[()]:
        del obs
        return ()

    def step(key: Key, memory: tuple[()], obs: Array) -> tuple[tuple[()], Array, tuple[()]]:
        return memory, act(key, obs), ()

    return Policy(start, step)


@checked
def first_action(
    key: Key, policy: Policy[PyTree], obs: Float[Array, "batch obs_dim"]
) -> Float[Array, "batch action_dim"]:
    """The action `[B, A]` of a policy that sees `obs[B, O]` without having seen anything before."""
    return policy.act(key, policy.start(obs), obs)[1]


@checked
def for_env(spec: Spec, policy: Policy[M]) -> Policy[M]:
    """A policy whose actions lie in [-1, 1], in the environment's units."""

    def act(key: Key, memory: M, obs: Array) -> tuple[M, Array, PyTree]:
        memory, action, extras = policy.act(key, memory, obs)
        return memory, to_env(spec, action), extras

    return Policy(policy.start, act)


@checked
def uniform(spec: Spec) -> Policy[tuple[()]]:
    """The uniformly random policy over [-1, 1]."""

    def act(key: Key, obs: Array) -> Array:
        return jax.random.uniform(key, (*obs.shape[:-1], spec.action_dim), minval=-1.0, maxval=1.0)

    return stateless(act)
