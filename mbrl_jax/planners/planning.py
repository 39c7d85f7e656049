"""Planning as a policy: a new plan at every step, from nothing or from what is left of the last one.

Source: model-predictive control as in Chua et al., 2018, Algorithm 1; the warm start is that of their released code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.planners.proposals import Proposal
from mbrl_jax.planners.search import Plan, Planner, Search
from mbrl_jax.types import Key, Policy, PyTree, checked

__all__ = ["afresh", "warm_started"]


@checked
def afresh(planner: Planner) -> Policy[tuple[()]]:
    """The policy that plans from nothing at every step; its extras are the plans `[B, ...]`."""

    def start(obs: Array) -> tuple[()]:
        del obs
        return ()

    def act(key: Key, memory: tuple[()], obs: Array) -> tuple[tuple[()], Array, Plan]:
        plans = jax.vmap(planner)(jax.random.split(key, len(obs)), obs)
        return memory, plans.action, plans

    return Policy(start, act)


@checked
def warm_started(search: Search, proposal: Proposal, horizon: int) -> Policy[PyTree]:
    """The policy whose search starts from its last proposal, one step later (`Proposal.shift`).

    Its memory is that proposal, each leaf `[B, ...]`, its extras are the plans `[B, ...]`.
    """

    def start(obs: Array) -> PyTree:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (len(obs), *x.shape)), proposal.start(horizon))

    def act(key: Key, memory: PyTree, obs: Array) -> tuple[PyTree, Array, Plan]:
        plans, found = jax.vmap(search)(jax.random.split(key, len(obs)), memory, obs)
        return jax.vmap(proposal.shift)(found), plans.action, plans

    return Policy(start, act)
