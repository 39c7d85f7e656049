"""Multi-step targets built from imagined steps."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.types import Scalar, checked

__all__ = ["expanded_targets", "lambda_returns"]


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
    reward: Float[Array, "time batch"], value: Float[Array, "time batch"], discount: Scalar, trace: Scalar
) -> Float[Array, "time batch"]:
    r"""λ-weighted returns of every step of a roll-out; differentiable in everything.

    $$ R_t = r_t + \gamma \bigl( (1 - \lambda) V_{t+1} + \lambda R_{t+1} \bigr), \qquad R_T = V_T $$

    Args:
      reward: r_0 … r_{T−1}, in reward units.
      value: V_1 … V_T, values of the states the steps lead to, in return units.
      discount: γ.
      trace: λ in [0, 1]: 0 is the one-step return, 1 the T-step return.

    Returns:
      R_0 … R_{T−1}, in return units.

    Source: Sutton and Barto, "Reinforcement Learning", 2018, Sec. 12.1; Hafner et al., "Dream to Control", 2020, Eq. 6.
    """
    gamma, weight = jnp.asarray(discount, reward.dtype), jnp.asarray(trace, reward.dtype)

    def back(later: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        r, v = step
        mixed = r + gamma * ((1.0 - weight) * v + weight * later)
        return mixed, mixed

    return lax.scan(back, value[-1], (reward, value), reverse=True, unroll=True)[1]
