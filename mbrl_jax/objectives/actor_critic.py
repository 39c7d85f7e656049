"""Objectives of actor-critic learning: soft actor-critic (Haarnoja et al., 2018) and TD3 (Fujimoto et al., 2018)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.types import Scalar, checked

__all__ = [
    "actor_loss",
    "critic_loss",
    "minimum_target",
    "policy_gradient_loss",
    "smoothed_action",
    "soft_target",
    "temperature_loss",
]


@checked
def soft_target(
    reward: Float[Array, " batch"],
    discount: Float[Array, " batch"],
    next_value: Float[Array, "members batch"],
    next_log_prob: Float[Array, " batch"],
    temperature: Float[Array, ""],
) -> Float[Array, " batch"]:
    r"""One-step soft Bellman target with the minimum over critics.

    $$ y = r + \gamma_t \bigl( \min_i Q_i'(s', a') - \alpha \log \pi(a' \mid s') \bigr) $$

    Args:
      reward: r, in reward units.
      discount: γ times the transition's own discount: 0 after a true termination.
      next_value: target critics at (s', a') with a' drawn from the policy, in return units.
      next_log_prob: log π(a' | s'), in nats.
      temperature: α, in reward units per nat.

    Returns:
      Targets in return units; no gradient flows through them.

    Source: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018, Eq. 3 inside Eq. 5–6.
    """
    value = next_value.min(axis=0) - temperature * next_log_prob
    return lax.stop_gradient(reward + discount * value)


@checked
def critic_loss(value: Float[Array, "members batch"], target: Float[Array, " batch"]) -> Float[Array, "members batch"]:
    r"""Soft Bellman residual ½ (Q_i(s, a) − y)² per critic and transition; no gradient flows into `target`.

    Source: Haarnoja et al., 2018 (Algorithms and Applications), Eq. 5.
    """
    return 0.5 * (value - lax.stop_gradient(target)[None]) ** 2


@checked
def actor_loss(
    log_prob: Float[Array, " batch"], value: Float[Array, "members batch"], temperature: Float[Array, ""]
) -> Float[Array, " batch"]:
    r"""Reparameterised policy loss α log π(a | s) − min_i Q_i(s, a) with a drawn from π; α is held constant.

    Args:
      log_prob: log π(a | s) of the drawn action, in nats; differentiable in the policy.
      value: critics at (s, a), differentiable in a. The caller holds the critics' parameters constant.
      temperature: α; no gradient flows into it.

    Source: Haarnoja et al., 2018 (Algorithms and Applications), Eq. 7–9.
    """
    return lax.stop_gradient(temperature) * log_prob - value.min(axis=0)


@checked
def temperature_loss(
    log_temperature: Float[Array, ""], log_prob: Float[Array, " batch"], target_entropy: Scalar
) -> Float[Array, " batch"]:
    r"""−log α · (log π(a | s) + H̄): raises α while the entropy is below the target H̄ (in nats).

    The paper's Eq. 18 has α where the authors' released code, which MBPO builds on, has log α; both have the same
    sign and the same root. This is the code's form. No gradient flows into `log_prob`.

    Source: Haarnoja et al., 2018 (Algorithms and Applications), Eq. 18; released code of MBPO.
    """
    return -log_temperature * lax.stop_gradient(log_prob + target_entropy)


@checked
def smoothed_action(
    action: Float[Array, "*batch dim"], noise: Float[Array, "*batch dim"], limit: Scalar
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


@checked
def policy_gradient_loss(
    log_prob: Float[Array, " batch"], advantage: Float[Array, " batch"], entropy: Float[Array, " batch"], weight: Scalar
) -> Float[Array, " batch"]:
    r"""Policy gradient with an entropy bonus: $-\log \pi(a \mid s)\, A(s, a) - w H(\pi(\cdot \mid s))$.

    Args:
      log_prob: log π(a | s) in nats; gradients flow through it and through the entropy.
      advantage: A(s, a), a constant.
      entropy: H in nats.
      weight: w, in advantage units per nat.

    Source: Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning", 2016, Sec. 4 (A3C).
    """
    return -log_prob * lax.stop_gradient(advantage) - weight * entropy
