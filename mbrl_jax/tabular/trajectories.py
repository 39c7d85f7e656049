"""Every trajectory of a small finite MDP, with its exact probability.

Trajectories are tensors of indices, not Python loops: an expectation over trajectories is a weighted sum of arrays.
The number of trajectories is `(S A)^length`, so this is for small horizons.

Source: a path's probability is that of Sutton and Barto, *Reinforcement Learning*, 2018, Sec. 5.5; ratios of them are
Eq. 2 of Haghgoo et al., 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mbrl_jax.tabular.mdp import MDP
from mbrl_jax.types import Scalar, Values, checked

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

    states: Int[Array, "paths length"]
    actions: Int[Array, "paths length"]


@checked
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


@checked
def step_log_probability(
    transition: Float[Values, "states actions states"], paths: Paths
) -> Float[Array, "paths steps"]:
    """`[N, length - 1]` log-probability of each transition of each trajectory."""
    before, action, after = paths.states[:, :-1], paths.actions[:, :-1], paths.states[:, 1:]
    return jnp.log(transition)[before, action, after]


@checked
def step_ratio(
    true: Float[Values, "states actions states"], model: Float[Values, "states actions states"], paths: Paths
) -> Float[Array, "paths steps"]:
    """`[N, length - 1]` density ratio `true / model` of each transition; 0 where both are 0."""
    ratio = jnp.where(true > 0, true / jnp.where(model > 0, model, 1), 0)
    before, action, after = paths.states[:, :-1], paths.actions[:, :-1], paths.states[:, 1:]
    return jnp.where(model > 0, ratio, jnp.where(true > 0, jnp.inf, 0))[before, action, after]


@checked
def log_probability(mdp: MDP, policy: Float[Values, "states actions"], paths: Paths) -> Float[Array, " paths"]:
    """`[N]` log-probability of each trajectory under the MDP's dynamics and a policy `[S, A]`."""
    first = jnp.log(mdp.initial)[paths.states[:, 0]]
    actions = jnp.log(policy)[paths.states, paths.actions].sum(axis=-1)
    return first + actions + step_log_probability(mdp.transition, paths).sum(axis=-1)


@checked
def path_rewards(mdp: MDP, paths: Paths) -> Float[Array, "paths length"]:
    """`[N, length]` reward collected at each step of each trajectory."""
    return mdp.reward[paths.states, paths.actions]


@checked
def truncated_geometric(discount: Scalar, length: int) -> Float[Array, " {length}"]:
    """`[length]` distribution of a horizon H with `P(H) proportional to discount^H`, `H < length`.

    It turns a discounted sum over `length` steps into an expected terminal reward: `sum_t discount^t r_t` equals
    `E[r_H]` times `(1 - discount^length) / (1 - discount)`.
    """
    discount = jnp.asarray(discount)
    powers = discount ** jnp.arange(length, dtype=discount.dtype)
    return powers / powers.sum()
