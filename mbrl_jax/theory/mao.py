"""Model-advantage and what it bounds: Modhe et al., "Model-Advantage Optimization for Model-Based RL" (2021), exactly.

Returns are plain discounted sums (Eq. 1), never scaled by `1 - gamma`. `M` and `M'` are two MDPs that share states,
actions, initial distribution and discount. Policies are `[S, A]`. Equation numbers are the paper's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.tabular import divergence, evaluate
from mbrl_jax.tabular.mdp import MDP
from mbrl_jax.types import Values, along, checked

__all__ = [
    "advantage_l1",
    "advantage_l1_upper",
    "advantage_l2",
    "bellman_operator",
    "classical_bound",
    "deviation_error",
    "expected_model_advantage",
    "log_derivative_gradient",
    "model_advantage",
    "model_return_gradient",
    "reward_difference",
    "vaml_l2",
    "vaml_l2_bound",
]


@checked
def model_advantage(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, "states states"]:
    """`A_M(s, s') = gamma (V_M(s') - E_{s'' ~ P_M(s, pi)} V_M(s''))` for all pairs, `[S, S]` (Eq. 2)."""
    value = evaluate.state_value(mdp, policy)
    expected = evaluate.policy_transition(mdp.transition, policy) @ value
    return mdp.discount * (value[None] - expected[:, None])


@checked
def expected_model_advantage(mdp: MDP, other: MDP, policy: Float[Values, "states actions"]) -> Float[Array, ""]:
    """The middle term of Lemma 1 (Eq. 3): `1 / (1 - gamma) E_{s ~ d_M, s' ~ P_M(s, pi)} A_{M'}(s, s')`."""
    visits = evaluate.occupancy(mdp, policy)
    step = evaluate.policy_transition(mdp.transition, policy)
    return jnp.sum(visits[:, None] * step * model_advantage(other, policy)) / (1 - mdp.discount)


@checked
def reward_difference(mdp: MDP, other: MDP, policy: Float[Values, "states actions"]) -> Float[Array, ""]:
    """The last term of Lemma 1, `1 / (1 - gamma) E_{d_M}[R_M - R_{M'}]`.

    The paper's body prints it without `1 / (1 - gamma)`, its proof scales values by `1 - gamma`; with the body's
    values (Eq. 1) the factor belongs here. Then `J_M = J_{M'} + expected_model_advantage + reward_difference`.
    """
    visits = evaluate.state_action_occupancy(mdp, policy)
    return jnp.sum(visits * (mdp.reward - other.reward)) / (1 - mdp.discount)


@checked
def bellman_operator(
    mdp: MDP, policy: Float[Values, "states actions"], value: Float[Values, " states"]
) -> Float[Array, " states"]:
    """`T_M V [S]` of Eq. 4."""
    return jnp.sum(policy * evaluate.action_value(mdp, value), axis=-1)


@checked
def deviation_error(mdp: MDP, other: MDP, policy: Float[Values, "states actions"]) -> Float[Array, ""]:
    """Corrected Corollary 2 (Eq. 5): `1 / (1 - gamma) E_{d_M}[T_M V_{M'} - T_{M'} V_{M'}]`, equal to `J_M - J_{M'}`.

    The statement prints `V_M` where its own proof (Eq. 13 ff.) has `V_{M'}`; with `V_M` it is false
    (docs/theory.md has the smallest counterexample found).
    """
    value = evaluate.state_value(other, policy)
    gap = bellman_operator(mdp, policy, value) - bellman_operator(other, policy, value)
    return evaluate.occupancy(mdp, policy) @ gap / (1 - mdp.discount)


def _visits(mdp: MDP, policy: Values) -> Array:
    """`sum_t gamma^t P(s_t = s, s_{t+1} = s')`, `[S, S]`."""
    step = evaluate.policy_transition(mdp.transition, policy)
    return evaluate.occupancy(mdp, policy)[:, None] * step / (1 - mdp.discount)


def _advantage(mdp: MDP, model: Values, policy: Values) -> Array:
    return model_advantage(mdp._replace(transition=model), policy)


@checked
def advantage_l1(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """L1 of Eq. 6 to 8 in expectation: the absolute expected model-advantage, equal to `|J_q - J_p|`.

    Eq. 6 draws `s_{t+1}` from the model, which would make it zero; Eq. 7 on use real next states, as here.
    """
    return jnp.abs(jnp.sum(_visits(mdp, policy) * _advantage(mdp, model, policy)))


@checked
def advantage_l1_upper(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """L1^U of Eq. 9, what Eq. 10 estimates: `sum_t gamma^t E |A_q(s_t, s_{t+1})|`; at least `advantage_l1`."""
    return jnp.sum(_visits(mdp, policy) * jnp.abs(_advantage(mdp, model, policy)))


@checked
def advantage_l2(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """L2: the squared expected model-advantage, equal to `(J_q - J_p)^2` (Sec. 3.2)."""
    return jnp.square(advantage_l1(mdp, model, policy))


@checked
def vaml_l2(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """L2^VAML (Sec. 3.2): `sum_t gamma^t E[A^2]`. It does *not* bound `advantage_l2`; see `vaml_l2_bound`."""
    return jnp.sum(_visits(mdp, policy) * jnp.square(_advantage(mdp, model, policy)))


@checked
def vaml_l2_bound(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """`vaml_l2 / (1 - gamma)`, which does bound `advantage_l2`, by the Cauchy-Schwarz inequality. Ours."""
    return vaml_l2(mdp, model, policy) / (1 - mdp.discount)


@checked
def classical_bound(
    mdp: MDP, other: MDP, policy: Float[Values, "states actions"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Eq. 15 and Eq. 16: two upper bounds on `|V_M(s) - V_{M'}(s)|` for every state, the first the tighter.

    Returns:
      `[eps_R + gamma |V_{M'}|_inf eps_P] / (1 - gamma)` and the same with `R_max / (1 - gamma)` for the value's norm;
      `eps_P` is the largest L1 distance of next-state distributions, `R_max` the largest absolute reward of M'.
    """
    reward = jnp.max(jnp.abs(mdp.reward - other.reward))
    dynamics = 2 * jnp.max(divergence.total_variation(mdp.transition, other.transition))
    value = jnp.max(jnp.abs(evaluate.state_value(other, policy)))
    largest = jnp.max(jnp.abs(other.reward)) / (1 - mdp.discount)
    tight = (reward + mdp.discount * value * dynamics) / (1 - mdp.discount)
    return tight, (reward + mdp.discount * largest * dynamics) / (1 - mdp.discount)


@checked
def log_derivative_gradient(
    weight: Float[Values, "states actions"],
    logits: Float[Values, "states actions states"],
    value: Float[Values, " states"],
) -> Float[Array, "states actions states"]:
    """Gradient of `sum weight * E_{s' ~ softmax(logits)} V(s')` in the logits by the log-derivative trick.

    `E_q[V(s') grad log q(s')]`, summed exactly; for a softmax table that is `weight q (V - E_q V)`. The paper refers to
    its Appendix A for this gradient, which does not contain it; the identity is the score-function one.

    Args:
      weight: `[S, A]` weights of state-action pairs, for example signed occupancies.
      logits: `[S, A, S]` logits of the model.
      value: `[S]`, held fixed.
    """
    model = jax.nn.softmax(logits, axis=-1)
    baseline = model @ value
    return jnp.asarray(weight)[..., None] * model * (along(jnp.asarray(value), model) - baseline[..., None])


@checked
def model_return_gradient(
    mdp: MDP, logits: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, "states actions states"]:
    """Exact gradient `[S, A, S]` of the return in a softmax model, through the value's dependence on the model.

    `1 / (1 - gamma) E_{d_q}[gamma grad E_q V_q]`: the frozen-value gradient of Eq. 8, but weighted by the occupancy of
    the *model*. Eq. 8 weights by the true occupancy, so its gradient is exact only where the two occupancies agree.
    """
    model = mdp._replace(transition=jax.nn.softmax(logits, axis=-1))
    weight = mdp.discount * evaluate.state_action_occupancy(model, policy) / (1 - mdp.discount)
    return log_derivative_gradient(weight, logits, evaluate.state_value(model, policy))
