"""Objectives of SAC-SVG (Amos, Stanton, Yarats and Wilson, 2021): the entropy-regularised return of a roll-out."""

from __future__ import annotations

import jax.numpy as jnp
from jax.nn import log_sigmoid
from jaxtyping import Array, Float

from mbrl_jax.types import Scalar, checked

__all__ = ["expanded_return", "released_survival", "survival", "termination_loss"]


@checked
def survival(ended: Float[Array, "time batch"]) -> Float[Array, "time batch"]:
    """n_t = Π_{i≤t} (1 − d_i): the probability that none of the actions up to and including the t-th ends the episode.

    Args:
      ended: d_t, the probability that the t-th action does.

    Source: ours, the product that `released_survival` was meant to be.
    """
    return jnp.cumprod(1.0 - ended, axis=0)


@checked
def released_survival(ended: Float[Array, "time batch"]) -> Float[Array, "time batch"]:
    """n_t as the released code computes it: (1 − d_0) Π_{i<t} (1 − d_i), the first factor twice and the t-th never.

    Args:
      ended: d_t, the probability that the t-th action ends the episode.

    Source: released code of Amos et al., 2021, `svg/utils.py`, `accum_prod`.
    """
    going = 1.0 - ended
    return jnp.cumprod(jnp.concatenate([going[:1], going[:-1]]), axis=0)


@checked
def expanded_return(
    reward: Float[Array, "steps batch"],
    alive: Float[Array, "time batch"],
    last_value: Float[Array, " batch"],
    log_prob: Float[Array, "time batch"],
    temperature: Float[Array, ""],
    gamma: Scalar,
) -> Float[Array, " batch"]:
    r"""Discounted soft return of H actions of the policy, the last one valued by the critic.

    $$ \sum_{t=0}^{H-2} \gamma^t (n_t r_t - \alpha \log \pi_t) + \gamma^{H-1} (n_{H-1} Q - \alpha \log \pi_{H-1}) $$

    With H = 1 it is soft actor-critic's Q − α log π. Its gradient with respect to the policy flows through every
    argument that was made of the policy's actions: this is the stochastic value gradient.

    Args:
      reward: r_t of the first H − 1 actions, in reward units.
      alive: n_t, the weight of the t-th reward, and of the critic at the end: the probability that the episode has not
        ended (`survival`, `released_survival`).
      last_value: Q(s, a) of the last action, in return units.
      log_prob: log π of every action, in nats.
      temperature: α; the caller holds it constant where the policy's gradient is taken.
      gamma: γ per step.

    Returns:
      One return per row; the released code's loss is minus its mean, divided by H.

    Raises:
      ValueError: the number of rewards is not one less than the number of actions.

    Source: Amos et al., "On the model-based stochastic value gradient for continuous reinforcement learning", 2021;
    released code, `svg/agent.py`, `expand_Q`.
    """
    horizon = log_prob.shape[0]
    if reward.shape[0] != horizon - 1:
        raise ValueError(f"need one reward less than actions, got {reward.shape[0]} and {horizon}")
    gain = alive * jnp.concatenate([reward, last_value[None]]) - temperature * log_prob
    discounts = jnp.cumprod(jnp.concatenate([jnp.ones_like(gain[:1]), jnp.full_like(gain[1:], gamma)]), axis=0)
    return (discounts * gain).sum(axis=0)


@checked
def termination_loss(logit: Float[Array, " batch"], ended: Float[Array, " batch"]) -> Float[Array, ""]:
    r"""Balanced cross-entropy of a termination model: −mean(w y log σ(l) + (1 − y) log(1 − σ(l))).

    The weight w of the n endings in a batch of B is (B − n) / n, so that both classes count alike; 1 where n = 0.

    Args:
      logit: l, the model's log-odds that the transition ends the episode.
      ended: y, 1 where it did.

    Source: released code of Amos et al., 2021, `svg/agent.py`, `update_done_step`.
    """
    count = ended.sum()
    weight = jnp.where(count > 0, (ended.shape[0] - count) / jnp.maximum(count, 1.0), 1.0)
    return -(weight * ended * log_sigmoid(logit) + (1.0 - ended) * log_sigmoid(-logit)).mean()
