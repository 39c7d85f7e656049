"""MnM's objective on finite MDPs: the lower bound of Eysenbach et al., "Mismatched No More" (2022), exactly.

All quantities are in nats of log return. `transition`, `model` are `[S, A, S]`; `reward` is `[S, A]` and positive.
Equation and lemma numbers are the paper's.

The bound with a learned discount (Appendix A and B.4) has two forms. For a discount that depends on time alone,
`learned_discount_bound` is exact from marginals for any horizon. For a discount that may depend on the trajectory, the
bound is a sum over enumerated trajectories, `trajectory_bound`, and it is tight at Eq. 15 and 16. Lemma A.1 claims
tightness for the first form too; that needs the second (docs/theory.md).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mbrl_jax.objectives.ratios import classifier_logit, classifier_reward
from mbrl_jax.tabular import divergence, evaluate
from mbrl_jax.tabular.mdp import MDP, with_model
from mbrl_jax.types import Scalar, Values, along, checked

__all__ = [
    "JointOptimum",
    "augmented_reward",
    "best_model",
    "discount_scores",
    "expected_partial_sum",
    "expected_terminal_reward",
    "finite_return",
    "goal_log_density",
    "goal_lower_bound",
    "learned_discount_bound",
    "log_return",
    "lower_bound",
    "lower_bound_values",
    "model_objective",
    "optimal_discount",
    "optimal_discount_bound",
    "optimal_horizon",
    "optimal_trajectories",
    "optimise",
    "tilted_model",
    "trajectory_bound",
]


class JointOptimum(NamedTuple):
    """Policy and Markov model that maximise Eq. 2 together, and the bound's value `[S]` from each state."""

    value: Float[Array, " states"]
    policy: Float[Array, "states actions"]
    model: Float[Array, "states actions states"]
    sweeps: Int[Array, ""]


@checked
def augmented_reward(mdp: MDP, model: Float[Values, "states actions states"]) -> Float[Array, "states actions states"]:
    """The augmented reward `[S, A, S]` of Eq. 3, in nats; minus infinity where only the model has mass."""
    return classifier_reward(mdp.reward[..., None], classifier_logit(mdp.transition, model), mdp.discount)


@checked
def log_return(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, ""]:
    """Left-hand side of Theorem 3.1: the log of the expected discounted return (Eq. 1)."""
    return jnp.log(evaluate.expected_return(mdp, policy))


@checked
def lower_bound_values(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, " states"]:
    """Eq. 2 from each state `[S]`: value of the policy in the model under the augmented reward."""
    reward = evaluate.expected_reward(model, augmented_reward(mdp, model))
    return evaluate.state_value(with_model(mdp, model, reward), policy)


@checked
def lower_bound(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """The objective L of Eq. 2 (scalar), a lower bound on `log_return` by Theorem 3.1.

    Minus infinity if the policy visits, in the model, a transition that the true dynamics exclude.
    """
    reward = evaluate.expected_reward(model, augmented_reward(mdp, model))
    visits = evaluate.state_action_occupancy(with_model(mdp, model), policy)
    return divergence.product_or_zero(visits, reward).sum() / (1 - mdp.discount)


@checked
def model_objective(
    transition: Float[Values, "states actions states"],
    model: Float[Values, "states actions states"],
    value: Float[Values, " states"],
) -> Float[Array, "states actions"]:
    """The single-transition model objective of Eq. 9, `[S, A]`: `E_q[V(s') + log(p / q)]`.

    Appendix B.6 derives it with `gamma V(s')` in the place of `V(s')`: pass `discount * value` for the form whose
    maximiser also maximises Eq. 2, or `value` for the form that is printed and that the authors ran.
    """
    logit = classifier_logit(transition, model)
    return evaluate.expected_reward(model, along(jnp.asarray(value), logit) + logit)


@checked
def tilted_model(
    transition: Float[Values, "states actions states"], value: Float[Values, " states"]
) -> Float[Array, "states actions states"]:
    """Maximiser `[S, A, S]` of `model_objective` (Eq. 9): `q proportional to p exp(value)`, without overflow."""
    log_step = jnp.log(transition)
    return jax.nn.softmax(log_step + along(jnp.asarray(value), log_step), axis=-1)


def _soft_backup(mdp: MDP, value: Array) -> Array:
    """`[S, A]`, the best a model can do after each action: `r~ + log sum_s' p exp(discount V)`."""
    reward = classifier_reward(mdp.reward, jnp.zeros_like(mdp.reward), mdp.discount)
    tilt = mdp.discount * value
    top = jnp.max(tilt)
    return reward + top + jnp.log(mdp.transition @ jnp.exp(tilt - top))


@checked
def best_model(
    mdp: MDP, policy: Float[Values, "states actions"], tolerance: float = 1e-12, max_sweeps: int = 100_000
) -> JointOptimum:
    """The Markov model that maximises Eq. 2 for a fixed policy, by iterating its optimality equation."""

    def backup(value: Array) -> Array:
        return jnp.sum(policy * _soft_backup(mdp, value), axis=-1)

    value, sweeps, _ = evaluate.iterate(backup, jnp.zeros_like(mdp.initial), tolerance, max_sweeps)
    return JointOptimum(value, jnp.asarray(policy), tilted_model(mdp.transition, mdp.discount * value), sweeps)


@checked
def optimise(mdp: MDP, tolerance: float = 1e-12, max_sweeps: int = 100_000) -> JointOptimum:
    """Exact MnM value iteration: the policy and Markov model that maximise Eq. 2 together."""

    def backup(value: Array) -> Array:
        return jnp.max(_soft_backup(mdp, value), axis=-1)

    value, sweeps, _ = evaluate.iterate(backup, jnp.zeros_like(mdp.initial), tolerance, max_sweeps)
    policy = evaluate.greedy(_soft_backup(mdp, value))
    return JointOptimum(value, policy, tilted_model(mdp.transition, mdp.discount * value), sweeps)


@checked
def expected_partial_sum(terms: Float[Values, " time"], discount: Scalar) -> Float[Array, ""]:
    """Left-hand side of Lemma B.1: `E_H[sum_{t <= H} x_t]` for a geometric horizon; terms `[T]`, zero from T on.

    The lemma says it equals `sum_t discount^t x_t`.
    """
    time = jnp.arange(terms.shape[0], dtype=terms.dtype)
    horizon = (1 - discount) * discount**time
    total = jnp.cumsum(terms)
    return horizon @ total + discount ** terms.shape[0] * total[-1]


@checked
def expected_terminal_reward(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, ""]:
    """`E_H E[r(s_H, a_H)]` for a geometric horizon; by Lemma B.2 the return is this divided by `1 - discount`."""
    return jnp.sum(evaluate.state_action_occupancy(mdp, policy) * mdp.reward)


@checked
def goal_log_density(
    mdp: MDP, policy: Float[Values, "states actions"], goal: Int[Values, ""] | int
) -> Float[Array, ""]:
    """The goal-reaching objective of Eq. 17: log of `(1 - gamma) sum_t gamma^t P(s_{t+1} = goal)`; ignores rewards."""
    return jnp.log(jnp.sum(evaluate.state_action_occupancy(mdp, policy) * mdp.transition[..., goal]))


@checked
def goal_lower_bound(
    mdp: MDP,
    model: Float[Values, "states actions states"],
    policy: Float[Values, "states actions"],
    goal: Int[Values, ""] | int,
) -> Float[Array, ""]:
    """Corrected right-hand side of Lemma B.3 (Eq. 18), a lower bound on `goal_log_density`.

    $$ E_q\\Bigl[\\sum_t \\gamma^t \\bigl((1-\\gamma) \\log p(s_g \\mid s_t, a_t)
       + \\log\\tfrac{p}{q}(s_{t+1} \\mid s_t, a_t)\\bigr)\\Bigr] $$

    The printed reward also subtracts `(1 - gamma) (log q(s_g | s, a) + log(1 - gamma))`; then `q = p` gives
    `-log(1 - gamma) > 0`, above the log of a probability, so the printed statement is false (docs/theory.md).
    """
    reached = jnp.log(mdp.transition[..., goal])
    correction = evaluate.expected_reward(model, classifier_logit(mdp.transition, model))
    visits = evaluate.state_action_occupancy(with_model(mdp, model), policy)
    reward = (1 - mdp.discount) * reached + correction
    return divergence.product_or_zero(visits, reward).sum() / (1 - mdp.discount)


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
    visits = marginals[:, :, None] * policy[None]
    rewards = divergence.product_or_zero(visits, jnp.log(mdp.reward)[None]).sum(axis=(1, 2))
    gap = divergence.kl_divergence(model, mdp.transition)
    spent = divergence.product_or_zero(visits, gap[None]).sum(axis=(1, 2))
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

    A lower bound on `log_return` (first half of Lemma A.1) for any model, policy and `horizon`; times beyond
    `length` have probability 0 under `horizon`, which is allowed, so the MDP's own horizon stays infinite.
    """
    scores = discount_scores(mdp, model, policy, horizon.shape[0])
    return divergence.product_or_zero(horizon, scores - jnp.log(horizon)).sum()


@checked
def optimal_discount(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"], length: int
) -> Float[Array, " {length}"]:
    """The discount `[length]` that maximises `learned_discount_bound`: a softmax of the scores. Ours, for Eq. 10."""
    return jax.nn.softmax(discount_scores(mdp, model, policy, length))


@checked
def optimal_discount_bound(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"], length: int
) -> Float[Array, ""]:
    """Value of `learned_discount_bound` at `optimal_discount`: a log-sum-exp of the scores. Ours, for Eq. 10."""
    return jax.nn.logsumexp(discount_scores(mdp, model, policy, length))


@checked
def finite_return(rewards: Float[Values, "paths length"], discount: Scalar) -> Float[Array, " paths"]:
    """`[N]` discounted return (Eq. 1) of each enumerated trajectory; `rewards [N, length]`."""
    return jnp.asarray(rewards) @ discount ** jnp.arange(rewards.shape[-1], dtype=rewards.dtype)


@checked
def optimal_horizon(rewards: Float[Values, "paths length"], discount: Scalar) -> Float[Array, "paths length"]:
    """Eq. 15: the optimal discount `[N, length]` of each trajectory, `gamma*(H | tau) = p(H) r_H / sum p r`."""
    powers = discount ** jnp.arange(rewards.shape[-1], dtype=rewards.dtype)
    weighted = jnp.asarray(rewards) * powers[None]
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
    inner = divergence.product_or_zero(horizon, jnp.log(powers[None] * rewards) - jnp.log(horizon)).sum(axis=-1)
    return divergence.product_or_zero(jnp.exp(log_model), log_true - log_model + inner).sum()
