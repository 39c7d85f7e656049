"""The two earlier lower bounds that MnM's Table 1 compares with, on finite MDPs and in units of return.

Kearns and Singh's simulation lemma with worst-case model errors, and Luo et al.'s with a discrepancy measured on
transitions of a reference policy. Both say `J_p(pi) >= J_q(pi) - penalty`; what they lack is in the docstrings.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.tabular import evaluate
from mbrl_jax.tabular.mdp import MDP, with_model
from mbrl_jax.theory import mao
from mbrl_jax.types import Values, checked

__all__ = ["reference_policy_bound", "simulation_bound"]


@checked
def simulation_bound(
    mdp: MDP, model: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, ""]:
    """`J_q(pi) - gamma R_max eps_P / (1 - gamma)^2` with the worst-case error `eps_P = max |p - q|_1`.

    Holds for every model and policy, and is tight for `q = p`. It needs the model's error at *every* state and action,
    visited or not, so it cannot be estimated from samples. Source: Kearns and Singh 2002, in the form of Eq. 16 of
    Modhe et al. 2021.
    """
    changed = with_model(mdp, model)
    return evaluate.expected_return(changed, policy) - mao.classical_bound(mdp, changed, policy)[1]


@checked
def reference_policy_bound(
    mdp: MDP,
    model: Float[Values, "states actions states"],
    policy: Float[Values, "states actions"],
    reference: Float[Values, "states actions"],
) -> Float[Array, ""]:
    """`J_q(pi) - gamma / (1 - gamma) E_{(s, a) ~ d_ref, s' ~ p} |V_q(s') - E_q V_q|`.

    The scheme of Luo et al. 2019: a model return minus a discrepancy on transitions that a reference policy collected.
    A bound only near the reference policy (always where `policy` is `reference`); at `q = p` the discrepancy is the
    spread of V over real next states, which is not zero in stochastic environments. We write their discrepancy in
    units of value, with the true next state in place of their deterministic prediction's error.
    """
    value = evaluate.state_value(with_model(mdp, model), policy)
    error = jnp.abs(value[None, None] - (model @ value)[..., None])
    visits = evaluate.state_action_occupancy(mdp, reference)
    discrepancy = jnp.sum(visits * jnp.sum(mdp.transition * error, axis=-1))
    return mdp.initial @ value - mdp.discount / (1 - mdp.discount) * discrepancy
