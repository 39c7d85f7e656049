"""ALM's objectives: one lower bound for representation, latent model and policy, and what it needs to be estimated.

Ghugare et al., "Simplifying Model-Based RL: Learning Representations, Latent-Space Models, and Policies with One
Objective", ICLR 2023. Equation numbers are the paper's. Everything is a loss: smaller is better. The bounds themselves
are in `theory.alm`; the critics' target and loss (Eq. 10) are `actor_critic.soft_target` without entropy and
`actor_critic.critic_loss`. Which networks a loss may change is said in `agents.latent`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.objectives.returns import lambda_returns
from mbrl_jax.types import Scalar, checked

__all__ = ["consistency", "diagonal_kl", "log_reward", "model_loss", "policy_loss", "reward_loss"]


@checked
def diagonal_kl(
    mean: Float[Array, "*batch dim"],
    std: Float[Array, "*batch dim"],
    other_mean: Float[Array, "*batch dim"],
    other_std: Float[Array, "*batch dim"],
) -> Float[Array, "*batch"]:
    r"""KL divergence of a diagonal Gaussian from another, in nats, summed over the entries.

    $$ \sum_i \log \frac{\sigma'_i}{\sigma_i} + \frac{\sigma_i^2 + (\mu_i - \mu'_i)^2}{2 \sigma_i'^2} - \tfrac12 $$

    Source: Gaussians' divergence in closed form; the consistency term of Eq. 7 is made of it.
    """
    ratio = std / other_std
    return (-jnp.log(ratio) + 0.5 * (ratio**2 + ((mean - other_mean) / other_std) ** 2 - 1.0)).sum(axis=-1)


@checked
def consistency(
    mean: Float[Array, "*batch dim"],
    std: Float[Array, "*batch dim"],
    target_mean: Float[Array, "*batch dim"],
    target_std: Float[Array, "*batch dim"],
) -> Float[Array, "*batch"]:
    r"""KL(m(z' | z, a) ‖ e_target(z' | s')), the consistency term of Eq. 7, in nats.

    The gradient reaches the model's prediction (`mean`, `std`) and through it the encoding it started from; none
    reaches the target encoder. Source: Eq. 7.
    """
    return diagonal_kl(mean, std, lax.stop_gradient(target_mean), lax.stop_gradient(target_std))


@checked
def model_loss(
    reward: Float[Array, "time batch"],
    divergence: Float[Array, "time batch"],
    value: Float[Array, " batch"],
    discount: Scalar = 1.0,
) -> Float[Array, " batch"]:
    r"""The objective of encoder and latent model along a sequence of K real actions, negated.

    $$ -\gamma^K Q(z_K, \pi(z_K)) - \sum_{i=0}^{K-1} \gamma^i \bigl( r(z_i, a_i)
       - \mathrm{KL}(m(\cdot \mid z_i, a_i) \,\|\, e(\cdot \mid s_{i+1})) \bigr) $$

    Args:
      reward: r(z_i, a_i) at the imagined representations, in reward units.
      divergence: `consistency` of each step, in nats.
      value: Q(z_K, π(z_K)), in return units.
      discount: γ; the released code omits it (the paper's footnote 2), as the default does.

    Returns:
      One loss per sequence; the caller reduces.

    Source: Eq. 7; the log of reward and value (Eq. 6) is omitted there and here (Appendix A.8).
    """
    steps = reward.shape[0]
    powers = jnp.asarray(discount, reward.dtype) ** jnp.arange(steps + 1, dtype=reward.dtype)
    return -((powers[:-1, None] * (reward - divergence)).sum(axis=0) + powers[-1] * value)


@checked
def policy_loss(
    reward: Float[Array, "time batch"],
    ratio: Float[Array, "time batch"],
    value: Float[Array, "time batch"],
    discount: Scalar,
    trace: Scalar,
    coefficient: Scalar,
) -> Float[Array, "time batch"]:
    r"""The policy's objective along an imagined sequence, λ-weighted over lengths 1 … K, negated.

    $$ -\gamma^t R_t, \qquad R_t = \tilde r_t + \gamma \bigl( (1 - \lambda) Q_{t+1} + \lambda R_{t+1} \bigr), \quad
       R_K = Q_K, \qquad \tilde r_t = r(z_t, a_t) + c \log \frac{C(z_{t+1}, a_t, z_t)}{1 - C(z_{t+1}, a_t, z_t)} $$

    The first row with λ = 1 is Eq. 8 itself; the average over lengths is Appendix A.3, and the mean over start times
    with weights γ^t is the released code's.

    Args:
      reward: r(z_t, a_t), t = 0 … K−1, in reward units.
      ratio: `log_ratio` of the classifier at each step, in nats.
      value: Q at z_1 … z_K, in return units.
      discount: γ.
      trace: λ, weight of longer roll-outs.
      coefficient: c, reward units per nat (1 in theory, 0.1 in the paper's experiments).

    Returns:
      One loss per start time and row; the caller takes the mean.
    """
    returns = lambda_returns(reward + coefficient * ratio, value, discount, trace)
    powers = jnp.asarray(discount, reward.dtype) ** jnp.arange(reward.shape[0], dtype=reward.dtype)
    return -powers[:, None] * returns


@checked
def reward_loss(predicted: Float[Array, " batch"], reward: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """Squared error (r(z, a) − r)² of the predicted reward. Source: Eq. 11."""
    return jnp.square(predicted - lax.stop_gradient(reward))


@checked
def log_reward(reward: Float[Array, "*batch"], shift: Scalar) -> Float[Array, "*batch"]:
    """a (log(r + a) − log a), in reward units: below r by at most r² / (2a) for r ≥ 0. Source: Appendix A.8."""
    return shift * jnp.log1p(reward / shift)
