"""A finite Markov decision process as a pytree, and the checks that guard its construction.

Source: Puterman, *Markov Decision Processes*, 1994, Sec. 2.1; discounted, with a distribution of the first state.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from mbrl_jax.types import Values, checked

__all__ = ["MDP", "make", "make_dynamics", "make_policy", "with_model"]


class MDP(NamedTuple):
    """A finite MDP; any leading batch axes are allowed once it is inside `vmap`.

    Attributes:
      transition: `[S, A, S]`, probability of the next state given state and action.
      reward: `[S, A]`, reward of an action in the state being left.
      initial: `[S]`, distribution of the first state.
      discount: scalar in `[0, 1)`, per step.
    """

    transition: Float[Array, "states actions states"]
    reward: Float[Array, "states actions"]
    initial: Float[Array, " states"]
    discount: Float[Array, ""]


def make(
    transition: ArrayLike, reward: ArrayLike, initial: ArrayLike, discount: ArrayLike, *, positive_reward: bool = False
) -> MDP:
    """An MDP whose every entry has been checked.

    Args:
      transition: `[S, A, S]`, rows sum to 1.
      reward: `[S, A]`, finite.
      initial: `[S]`, sums to 1.
      discount: scalar with `0 <= discount < 1`.
      positive_reward: also require `reward > 0`, which every objective that takes the log of the reward needs.

    Returns:
      The MDP with arrays of JAX's default float dtype (float64 inside `jax.enable_x64(True)`).

    Raises:
      ValueError: the rule that is broken, then the index of the first offending entry and its value.
    """
    rewards = np.asarray(reward, dtype=np.float64)
    if rewards.ndim != 2 or rewards.size == 0:
        raise ValueError(f"reward must have the shape [states, actions], got {rewards.shape}")
    states, actions = rewards.shape
    _require(rewards, np.isfinite(rewards), "reward must be finite")
    if positive_reward:
        _require(rewards, rewards > 0, "reward must be positive where its log is taken")
    start = _distribution(initial, (states,), "initial")
    dynamics = _distribution(transition, (states, actions, states), "transition")
    gamma = np.asarray(discount, dtype=np.float64)
    if gamma.shape != () or not 0 <= gamma < 1:
        raise ValueError(f"discount must be a scalar with 0 <= discount < 1, got {discount}")
    dtype = jnp.zeros(()).dtype
    return MDP(*(jnp.asarray(entry, dtype) for entry in (dynamics, rewards, start, gamma)))


def make_policy(policy: ArrayLike, mdp: MDP) -> Float[Array, "states actions"]:
    """A checked policy `[S, A]` of the MDP's dtype.

    Raises:
      ValueError: as of `make`.
    """
    return jnp.asarray(_distribution(policy, mdp.reward.shape, "policy"), mdp.reward.dtype)


def make_dynamics(transition: ArrayLike, mdp: MDP) -> Float[Array, "states actions states"]:
    """Checked dynamics of `transition [S, A, S]` for the MDP's states and actions.

    Raises:
      ValueError: as of `make`.
    """
    return jnp.asarray(_distribution(transition, mdp.transition.shape, "transition"), mdp.transition.dtype)


@checked
def with_model(
    mdp: MDP, model: Float[Values, "states actions states"], reward: Float[Values, "states actions"] | None = None
) -> MDP:
    """The same task under other dynamics `[S, A, S]` and, if given, another reward `[S, A]`. Traceable; no checks."""
    return mdp._replace(transition=model, reward=mdp.reward if reward is None else reward)


def _distribution(given: ArrayLike, shape: tuple[int, ...], name: str) -> np.ndarray:
    """`given` as float64 after checking shape, non-negativity and that the last axis sums to 1."""
    array = np.asarray(given)
    tolerance = 1e-5 if array.dtype.itemsize < 8 else 1e-9
    array = array.astype(np.float64)
    if array.shape != shape:
        raise ValueError(
            f"{name} must have the shape {shape} (from the reward's states and actions), got {array.shape}"
        )
    _require(array, np.isfinite(array), f"{name} must be finite")
    _require(array, array >= 0, f"{name} must be non-negative")
    total = array.sum(axis=-1)
    _require(total, np.abs(total - 1) <= tolerance, f"{name} must sum to 1 over its last axis")
    return array


def _require(array: np.ndarray, good: np.ndarray, rule: str) -> None:
    """Raises ValueError naming the first entry of `array` at which `good` is false."""
    if not np.all(good):
        index = tuple(int(i) for i in np.argwhere(~np.asarray(good))[0]) if np.ndim(good) else ()
        raise ValueError(f"{rule}, got {float(array[index])} at index {list(index)}")
