"""MBPO's return bounds on finite MDPs: Janner et al., "When to Trust Your Model" (2019), Sec. 4 and Appendices A, B.

Divergences are total variation in `[0, 1]`, returns plain discounted sums, `r_max` the largest absolute reward.
The lemmas' hypotheses are printed with KL divergences and Theorem 4.3's with the states of the data-collecting policy;
both readings are false (docs/theory.md). Here the errors are total variations under the states that the proofs use.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.tabular import divergence, evaluate
from mbrl_jax.tabular.mdp import MDP
from mbrl_jax.types import Values, checked

__all__ = [
    "best_branch_length",
    "branch_model_error",
    "branched_process",
    "branched_return",
    "joint_divergence_bound",
    "lemma_b3",
    "lemma_b4",
    "model_error",
    "policy_divergence",
    "theorem_41",
    "theorem_42",
    "theorem_43",
]

Grid = float | Float[Values, "*#grid"]
"""A number, or one for each place of a grid that the arguments span by broadcasting."""
OnGrid = float | Float[Values, "*grid"]
"""What is found: a number, or one for each place of the grid."""


@checked
def policy_divergence(
    policy: Float[Values, "states actions"], other: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """`eps_pi`: the largest total variation of two policies over states (Theorem 4.1)."""
    return jnp.max(divergence.total_variation(policy, other))


@checked
def model_error(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"], length: int
) -> Float[Array, ""]:
    """`eps_m`: the largest expected total variation of the dynamics over times `0 .. length - 1` under a policy.

    That of Theorem 4.1. Exact for the infinite maximum once the state distribution has stopped moving by time `length`.
    """
    marginals = evaluate.state_marginals(mdp.transition, policy, mdp.initial, length)
    error = jnp.sum(policy * divergence.total_variation(mdp.transition, model), axis=-1)
    return jnp.max(marginals @ error)


@checked
def branch_model_error(
    mdp: MDP,
    model: Float[Values, "states actions states"],
    policy: Float[Values, "states actions"],
    behaviour: Float[Values, "states actions"],
    length: int,
    steps: int,
) -> Float[Array, ""]:
    """`eps_m'` of Theorem 4.3: as `model_error`, under the states of true-dynamics branches.

    The maximum runs over branch points `0 .. length - 1` of the data-collecting policy and `0 .. steps - 1` following
    steps of the new policy. Measured under either policy alone, Theorem 4.3 fails.
    """
    starts = evaluate.state_marginals(mdp.transition, behaviour, mdp.initial, length)
    error = jnp.sum(policy * divergence.total_variation(mdp.transition, model), axis=-1)
    step = evaluate.policy_transition(mdp.transition, policy)

    def advance(states: Array, _: None) -> tuple[Array, Array]:
        return states @ step, jnp.max(states @ error)

    return jnp.max(lax.scan(advance, starts, None, length=steps)[1])


@checked
def branched_return(
    mdp: MDP,
    model: Float[Values, "states actions states"],
    policy: Float[Values, "states actions"],
    behaviour: Float[Values, "states actions"],
    steps: int,
    length: int,
) -> Float[Array, ""]:
    """`eta^branch`: the reward at time t is that of `max(t - k, 0)` real steps of the data-collecting policy, then
    `min(t, k)` steps of the policy in the model (`k = steps`), summed with `gamma^t` (Appendix A and proof of B.4).

    The action at time t is the policy's, or the data-collecting policy's if `k = 0`; `length` terms are summed.
    """
    return branched_process(mdp, (mdp.transition, behaviour), (model, policy), steps, length)


@checked
def branched_process(
    mdp: MDP,
    before: tuple[Float[Values, "states actions states"], Float[Values, "states actions"]],
    after: tuple[Float[Values, "states actions states"], Float[Values, "states actions"]],
    steps: int,
    length: int,
) -> Float[Array, ""]:
    """`branched_return` for any (dynamics, policy) before and after the branch; Lemma B.4 compares two of these."""
    early, late = evaluate.policy_transition(*before), evaluate.policy_transition(*after)
    acting = after[1] if steps > 0 else before[1]
    gain = jnp.sum(acting * mdp.reward, axis=-1)

    def advance(state: Array, _: None) -> tuple[Array, Array]:
        return state @ late, state

    ramp = lax.scan(advance, mdp.initial, None, length=steps)[1]

    def follow(state: Array, _: None) -> tuple[Array, Array]:
        return state @ early, state

    starts = lax.scan(follow, mdp.initial, None, length=length - steps)[1]
    branch = jnp.linalg.matrix_power(late, steps)
    rewards = jnp.concatenate([ramp @ gain, starts @ branch @ gain])
    return rewards @ mdp.discount ** jnp.arange(length, dtype=rewards.dtype)


@checked
def joint_divergence_bound(
    first: Float[Values, " first"],
    other: Float[Values, " first"],
    step: Float[Values, "first second"],
    other_step: Float[Values, "first second"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Lemma B.1: the two bounds on the total variation of joints `p(x) p(y | x)`, the expected one the tighter.

    Args:
      first: `[X]` marginal of the first joint, under which the expectation is taken.
      other: `[X]` marginal of the other.
      step: `[X, Y]` conditionals of the first.
      other_step: `[X, Y]` conditionals of the other.
    """
    marginal = divergence.total_variation(first, other)
    conditional = divergence.total_variation(step, other_step)
    return marginal + first @ conditional, marginal + jnp.max(conditional)


@checked
def lemma_b3(r_max: Grid, discount: Grid, error: Grid, divergence_: Grid) -> OnGrid:
    """Lemma B.3: bound on the difference of returns of two (dynamics, policy) pairs, total-variation errors.

    `error` is the expected divergence of the dynamics under the first pair's states and actions.
    """
    return 2 * r_max * (discount * (error + divergence_) / (1 - discount) ** 2 + divergence_ / (1 - discount))


@checked
def lemma_b4(
    r_max: Grid, discount: Grid, steps: int, model_errors: tuple[Grid, Grid], policy_errors: tuple[Grid, Grid]
) -> OnGrid:
    """Lemma B.4: bound on the difference of two branched returns; errors are given (before, after) the branch."""
    model_pre, model_post = model_errors
    policy_pre, policy_post = policy_errors
    drift = discount ** (steps + 1) / (1 - discount) ** 2 * (model_pre + policy_pre)
    branch = steps / (1 - discount) * (model_post + policy_post)
    acting = (discount**steps * policy_pre + policy_post) / (1 - discount)
    return 2 * r_max * (drift + branch + acting)


@checked
def theorem_41(r_max: Grid, discount: Grid, error: Grid, divergence_: Grid) -> OnGrid:
    """The gap C of Theorem 4.1 (Eq. 1, A.1): `eta[pi] >= eta_model[pi] - C`; `error` under the old policy."""
    compounding = 2 * discount * r_max * (error + 2 * divergence_) / (1 - discount) ** 2
    return compounding + 4 * r_max * divergence_ / (1 - discount)


@checked
def theorem_42(r_max: Grid, discount: Grid, steps: int, error: Grid, divergence_: Grid) -> OnGrid:
    """The gap of Theorem 4.2 (Eq. 2, A.3): `eta[pi] >= eta_branch - gap`; `error` under the old policy."""
    drift = discount ** (steps + 1) / (1 - discount) ** 2 * divergence_
    acting = (discount**steps + 2) / (1 - discount) * divergence_
    return 2 * r_max * (drift + acting + steps / (1 - discount) * (error + 2 * divergence_))


@checked
def theorem_43(r_max: Grid, discount: Grid, steps: int, error: Grid, divergence_: Grid) -> OnGrid:
    """The gap of Theorem 4.3 (Eq. 3, A.2), for `error` from `branch_model_error`."""
    drift = discount ** (steps + 1) / (1 - discount) ** 2 * divergence_
    acting = discount**steps / (1 - discount) * divergence_
    return 2 * r_max * (drift + acting + steps / (1 - discount) * error)


@checked
def best_branch_length(discount: Grid, error: Grid, divergence_: Grid) -> Float[Array, "*grid"]:
    """`k*` (below Theorem 4.3): the smallest branch length that minimises `theorem_43`; infinite for `error = 0`.

    One more step changes the gap by `2 r_max (error - gamma^k eps_pi) / (1 - gamma)`, so `k*` is the first k with
    `gamma^k eps_pi <= error`: positive exactly if the model's error is below the policy's divergence.
    """
    ratio = jnp.log(error / divergence_) / jnp.log(discount)
    length = jnp.ceil(jnp.maximum(ratio, 0))
    length = jnp.where(discount > 0, length, 1)
    return jnp.where(error >= divergence_, 0, jnp.where((error > 0) | (discount <= 0), length, jnp.inf))
