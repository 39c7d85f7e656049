"""MnM's bound with a learned discount (Appendix A and B.4 of Eysenbach et al., 2022) and when it is tight.

Two forms. For a discount that depends on time alone, `learned_discount_bound` is exact from marginals for any horizon.
For a discount that may depend on the trajectory, the bound is a sum over enumerated trajectories, and it is tight at
Eq. 15 and 16. Lemma A.1 claims tightness for the first form too; that needs the second (docs/theory.md).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.tabular import divergence, evaluate
from mbrl_jax.tabular.mdp import MDP
from mbrl_jax.types import Scalar, Values, checked

__all__ = [
    "discount_scores",
    "finite_return",
    "learned_discount_bound",
    "optimal_discount",
    "optimal_discount_bound",
    "optimal_horizon",
    "optimal_trajectories",
    "trajectory_bound",
]


@checked
def discount_scores(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"], length: int
) -> Float[Array, " {length}"]:
    """`[length]`, what a horizon H contributes to Eq. 10 before its entropy: `E_q[log r_H] + H log gamma - KL_{<H}`.

    `KL_{<H}` is the expected log-ratio of the transitions before `s_H`. Eq. 10 as printed also charges the transition
    after `s_H`, which `r(s_H, a_H)` does not depend on; leaving it out is still a bound, a tighter one, and is what
    the authors' Fig. 3b shows.
    """
    marginals = evaluate.state_marginals(model, policy, mdp.initial, length)
    visits = marginals[:, :, None] * policy
    rewards = divergence.product_or_zero(visits, jnp.log(mdp.reward)).sum(axis=(1, 2))
    gap = divergence.kl_divergence(model, mdp.transition)
    spent = divergence.product_or_zero(visits, gap).sum(axis=(1, 2))
    before = jnp.concatenate([jnp.zeros_like(spent[:1]), jnp.cumsum(spent)[:-1]])
    time = jnp.arange(length, dtype=rewards.dtype)
    return rewards + jnp.where(time > 0, time * jnp.log(mdp.discount), 0) - before


@checked
def learned_discount_bound(
    mdp: MDP,
    model: Float[Values, "states actions states"],
    policy: Float[Values, "states actions"],
    horizon: Float[Values, " length"],
) -> Float[Array, ""]:
    """The objective of Eq. 10 for a learned discount `horizon [length]` (a distribution over time steps).

    A lower bound on `mnm.log_return` (first half of Lemma A.1) for any model, policy and `horizon`; times beyond
    `length` have probability 0 under `horizon`, which is allowed, so the MDP's own horizon stays infinite.
    """
    scores = discount_scores(mdp, model, policy, horizon.shape[0])
    return divergence.product_or_zero(horizon, scores - jnp.log(horizon)).sum()


@checked
def optimal_discount(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"], length: int
) -> Float[Array, " {length}"]:
    """The learned discount `[length]` that maximises `learned_discount_bound`: a softmax of the scores."""
    return jax.nn.softmax(discount_scores(mdp, model, policy, length))


@checked
def optimal_discount_bound(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"], length: int
) -> Float[Array, ""]:
    """Value of `learned_discount_bound` at `optimal_discount`: a log-sum-exp of the scores."""
    return jax.nn.logsumexp(discount_scores(mdp, model, policy, length))


@checked
def finite_return(rewards: Float[Values, "paths length"], discount: Scalar) -> Float[Array, " paths"]:
    """`[N]` discounted return of each enumerated trajectory; `rewards [N, length]`."""
    return jnp.asarray(rewards) @ discount ** jnp.arange(rewards.shape[-1], dtype=rewards.dtype)


@checked
def optimal_horizon(rewards: Float[Values, "paths length"], discount: Scalar) -> Float[Array, "paths length"]:
    """Eq. 15: the optimal discount `[N, length]` of each trajectory, `gamma*(H | tau) = p(H) r_H / sum p r`."""
    weighted = jnp.asarray(rewards) * discount ** jnp.arange(rewards.shape[-1], dtype=rewards.dtype)
    return weighted / weighted.sum(axis=-1, keepdims=True)


@checked
def optimal_trajectories(
    log_probability: Float[Values, " paths"], returns: Float[Values, " paths"]
) -> Float[Array, " paths"]:
    """Eq. 16: log of the optimal trajectory distribution `[N]`, `q*(tau) = p(tau) R(tau) / E_p[R]`."""
    return jax.nn.log_softmax(log_probability + jnp.log(returns))


@checked
def trajectory_bound(
    log_true: Float[Values, " paths"],
    log_model: Float[Values, " paths"],
    horizon: Float[Values, "paths length"],
    rewards: Float[Values, "paths length"],
    discount: Scalar,
) -> Float[Array, ""]:
    """Eq. 14: the bound with a trajectory-dependent discount, summed over all trajectories of a length.

    Args:
      log_true: `[N]` log-probability of each trajectory under the true dynamics and the policy.
      log_model: `[N]` the same for any distribution over trajectories; it need not be Markovian.
      horizon: `[N, length]` learned discount `gamma(H | tau)`, rows sum to 1.
      rewards: `[N, length]` positive rewards.
      discount: the task's discount; the return is `sum_{t < length} discount^t r_t`.

    Returns:
      A scalar in nats, at most `log E_p[return]`, with equality at `optimal_horizon` and `optimal_trajectories`.
    """
    time = jnp.arange(rewards.shape[-1], dtype=rewards.dtype)
    powers = discount**time
    inner = divergence.product_or_zero(horizon, jnp.log(powers * rewards) - jnp.log(horizon)).sum(axis=-1)
    return divergence.product_or_zero(jnp.exp(log_model), log_true - log_model + inner).sum()
