"""Every trajectory of a small finite MDP, with its exact probability.

Trajectories are tensors of indices, not Python loops: an expectation over trajectories is a weighted sum of arrays.
The number of trajectories is `(S A)^length`, so this is for small horizons.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.tabular.mdp import MDP

__all__ = [
    "Paths",
    "enumerate_paths",
    "log_probability",
    "path_rewards",
    "step_log_probability",
    "step_ratio",
    "truncated_geometric",
]


class Paths(NamedTuple):
    """All trajectories of a length: `states [N, length]` and `actions [N, length]`, as integer indices."""

    states: Array
    actions: Array


def enumerate_paths(states: int, actions: int, length: int) -> Paths:
    """Every sequence `s_0, a_0, ..., s_{length-1}, a_{length-1}` of a finite MDP.

    Raises:
      ValueError: if there would be more than ten million of them.
    """
    count = (states * actions) ** length
    if count > 10_000_000:
        raise ValueError(f"at most 10,000,000 trajectories can be enumerated, got ({states} * {actions})^{length}")
    digits = np.indices((states, actions) * length, dtype=np.int32).reshape(2 * length, count)
    return Paths(jnp.asarray(digits[0::2].T), jnp.asarray(digits[1::2].T))


def step_log_probability(transition: Array, paths: Paths) -> Array:
    """`[N, length - 1]` log-probability of each transition of each trajectory."""
    before, action, after = paths.states[:, :-1], paths.actions[:, :-1], paths.states[:, 1:]
    return jnp.log(transition)[before, action, after]


def step_ratio(true: Array, model: Array, paths: Paths) -> Array:
    """`[N, length - 1]` density ratio `true / model` of each transition; 0 where both are 0."""
    ratio = jnp.where(true > 0, true / jnp.where(model > 0, model, 1), 0)
    before, action, after = paths.states[:, :-1], paths.actions[:, :-1], paths.states[:, 1:]
    return jnp.where(model > 0, ratio, jnp.where(true > 0, jnp.inf, 0))[before, action, after]


def log_probability(mdp: MDP, policy: Array, paths: Paths) -> Array:
    """`[N]` log-probability of each trajectory under the MDP's dynamics and a policy `[S, A]`."""
    first = jnp.log(mdp.initial)[paths.states[:, 0]]
    actions = jnp.log(policy)[paths.states, paths.actions].sum(axis=-1)
    return first + actions + step_log_probability(mdp.transition, paths).sum(axis=-1)


def path_rewards(mdp: MDP, paths: Paths) -> Array:
    """`[N, length]` reward collected at each step of each trajectory."""
    return mdp.reward[paths.states, paths.actions]


def truncated_geometric(discount: Array, length: int) -> Array:
    """`[length]` distribution of a horizon H with `P(H) proportional to discount^H`, `H < length`.

    It turns a discounted sum over `length` steps into an expected terminal reward: `sum_t discount^t r_t` equals
    `E[r_H]` times `(1 - discount^length) / (1 - discount)`.
    """
    powers = discount ** jnp.arange(length, dtype=discount.dtype)
    return powers / powers.sum()
