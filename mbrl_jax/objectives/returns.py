"""Multi-step targets built from imagined steps."""

from __future__ import annotations

from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.types import checked

__all__ = ["expanded_targets"]


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
