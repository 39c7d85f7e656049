"""Objectives of TD3 (Fujimoto, van Hoof and Meger, 2018): smoothed target actions and the smaller of two targets.

Its critics' loss is that of `policy.critic_loss`, its actor's loss is minus the first critic's value.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.types import checked

__all__ = ["minimum_target", "smoothed_action"]


@checked
def smoothed_action(
    action: Float[Array, "*batch dim"], noise: Float[Array, "*batch dim"], limit: float | int | Float[Array, ""]
) -> Float[Array, "*batch dim"]:
    r"""The target policy's action, smoothed: clip(a + clip(ε, −c, c), −1, 1).

    Args:
      action: a, the target policy's action in [-1, 1].
      noise: ε, drawn from a Gaussian, in the same units.
      limit: c, the largest change per entry.

    Source: Fujimoto et al., "Addressing Function Approximation Error in Actor-Critic Methods", 2018 (target policy
    smoothing); released code, `TD3.py`.
    """
    return jnp.clip(action + jnp.clip(noise, -limit, limit), -1.0, 1.0)


@checked
def minimum_target(
    reward: Float[Array, " batch"], discount: Float[Array, " batch"], next_value: Float[Array, "members batch"]
) -> Float[Array, " batch"]:
    r"""One-step target with the smallest critic: y = r + γ_t min_i Q_i'(s', a').

    Args:
      reward: r, in reward units.
      discount: γ times the transition's own discount: 0 after a true termination.
      next_value: target critics at (s', a'), in return units.

    Returns:
      Targets in return units; no gradient flows through them.

    Source: Fujimoto et al., 2018 (clipped double Q-learning); released code, `TD3.py`.
    """
    return lax.stop_gradient(reward + discount * next_value.min(axis=0))
