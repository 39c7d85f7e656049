"""Multi-step targets built from imagined steps."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mbrl_jax.types import Scalar, checked

__all__ = ["expanded_targets", "generalised_advantages", "lambda_returns"]


@checked
def expanded_targets(
    reward: Float[Array, "time batch"],
    discount: Float[Array, "time batch"],
    bonus: Float[Array, "time batch"],
    last_value: Float[Array, " batch"],
) -> Float[Array, "time batch"]:
    r"""Values of every step of a roll-out, closed with the value of the state it ends in.

    $$ y_t = r_t + d_t\, W_{t+1}, \qquad W_t = y_t + b_t, \qquad W_T = V(s_T) $$

    Without bonuses this is $y_t = \sum_{k=t}^{T-1} (\prod_{j=t}^{k-1} d_j)\, r_k + (\prod_{j=t}^{T-1} d_j)\, V(s_T)$.

    Args:
      reward: r_t, in reward units.
      discount: d_t = γ times the step's own discount (0 after a termination), so later terms vanish by themselves.
      bonus: b_t, what a state's value holds beyond the value of the action taken there: −α log π(a_t | s_t) for soft
        values. The first one does not enter.
      last_value: V(s_T), in return units.

    Returns:
      y_t for every step; no gradient flows through it.

    Source: Feinberg et al., "Model-Based Value Expansion for Efficient Model-Free RL", 2018; Janner et al., 2019,
    Sec. 6.2 (whose print has γ^H for the last value at every t, where a return has γ^{T−t}).
    """

    def back(later: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        r, d, b = step
        y = r + d * later
        return y + b, y

    return lax.stop_gradient(lax.scan(back, last_value, (reward, discount, bonus), reverse=True)[1])


@checked
def lambda_returns(
    reward: Float[Array, "time batch"],
    value: Float[Array, "time batch"],
    discount: Scalar | Float[Array, "time batch"],
    trace: Scalar,
) -> Float[Array, "time batch"]:
    r"""λ-weighted returns of every step of a roll-out; differentiable in everything.

    $$ R_t = r_t + d_t \bigl( (1 - \lambda) V_{t+1} + \lambda R_{t+1} \bigr), \qquad R_T = V_T $$

    Args:
      reward: r_0 … r_{T−1}, in reward units.
      value: V_1 … V_T, values of the states the steps lead to, in return units.
      discount: d_t: γ for all steps, or per step γ times the step's own discount, 0 after a termination.
      trace: λ in [0, 1]: 0 is the one-step return, 1 the T-step return.

    Returns:
      R_0 … R_{T−1}, in return units.

    Source: Sutton and Barto, "Reinforcement Learning", 2018, Sec. 12.1; Hafner et al., "Dream to Control", 2020, Eq. 6.
    """
    gamma, weight = jnp.asarray(discount, reward.dtype), jnp.asarray(trace, reward.dtype)

    def back(later: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        r, v, d = step
        mixed = r + d * ((1.0 - weight) * v + weight * later)
        return mixed, mixed

    steps = reward, value, jnp.broadcast_to(gamma, reward.shape)
    return lax.scan(back, value[-1], steps, reverse=True, unroll=True)[1]


@checked
def generalised_advantages(
    reward: Float[Array, "time batch"],
    discount: Float[Array, "time batch"],
    value: Float[Array, "time batch"],
    next_value: Float[Array, "time batch"],
    cut: Bool[Array, "time batch"],
    trace: Scalar,
) -> Float[Array, "time batch"]:
    r"""Generalised advantage estimates along fragments in which episodes end and others begin.

    $$ A_t = \delta_t + d_t \lambda (1 - c_t) A_{t+1}, \qquad \delta_t = r_t + d_t V(s'_t) - V(s_t) $$

    Args:
      reward: r_t, in reward units.
      discount: d_t = γ times the step's own discount, 0 after a termination.
      value: V(s_t), in return units.
      next_value: V of the step's true successor s'_t, so that a time limit bootstraps.
      cut: c_t, whether the next row is no continuation of this one: the time limit has cut the episode here.
      trace: λ in [0, 1]: 0 gives the one-step errors δ, 1 the return to the end of the fragment minus V(s_t).

    Returns:
      A_t, in return units; no gradient flows through it. `A_t + value` are the λ-returns.

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016, Eq. 16.
    """
    error = reward + discount * next_value - value
    carried = discount * jnp.asarray(trace, reward.dtype) * (1.0 - cut.astype(reward.dtype))

    def back(later: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, share = step
        found = delta + share * later
        return found, found

    return lax.stop_gradient(lax.scan(back, jnp.zeros_like(error[0]), (error, carried), reverse=True)[1])
