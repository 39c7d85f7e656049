"""VMBPO's objective and the risk-seeking quantities that Eysenbach et al. (2022, Appendix B.1) compare MnM with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.tabular import divergence, evaluate
from mbrl_jax.tabular.mdp import MDP, with_model
from mbrl_jax.types import Scalar, Values, along, checked

__all__ = ["entropic_return", "mean_plus_variance", "objective", "optimal_objective"]


@checked
def objective(
    mdp: MDP,
    model: Float[Values, "states actions states"],
    policy: Float[Values, "states actions"],
    temperature: Scalar = 1.0,
) -> Float[Array, ""]:
    """VMBPO's objective for a given model: `E_q[sum_t gamma^t (r + (1 / eta) log(p / q))]`, in reward units.

    MnM's Eq. 2 without the log of the reward. It is below the expected return for a bad model; its maximum over models
    is above it (`optimal_objective`). Minus infinity if the model leaves the true support.
    """
    reward = mdp.reward - divergence.kl_divergence(model, mdp.transition) / temperature
    visits = evaluate.state_action_occupancy(with_model(mdp, model), policy)
    return divergence.product_or_zero(visits, reward).sum() / (1 - mdp.discount)


@checked
def optimal_objective(
    mdp: MDP,
    policy: Float[Values, "states actions"],
    temperature: Scalar = 1.0,
    tolerance: float = 1e-12,
    max_sweeps: int = 100_000,
) -> Float[Array, ""]:
    """Maximum of `objective` over Markov models, by iterating its optimality equation.

    $$ V(s) = E_a[r + \\tfrac1\\eta \\log E_{s'} e^{\\eta \\gamma V(s')}] $$

    At least the expected return; for a deterministic policy and a fixed first state also at least the entropic return
    (Appendix B.1). The model cannot change the initial distribution, which the entropic return averages over as well.
    """
    log_step = jnp.log(mdp.transition)

    def backup(value: Array) -> Array:
        weight = temperature * mdp.discount * value
        tilted = jax.nn.logsumexp(log_step + along(weight, log_step), axis=-1) / temperature
        return jnp.sum(policy * (mdp.reward + tilted), axis=-1)

    return mdp.initial @ evaluate.iterate(backup, evaluate.state_value(mdp, policy), tolerance, max_sweeps)[0]


@checked
def entropic_return(
    mdp: MDP, policy: Float[Values, "states actions"], temperature: Scalar, length: int
) -> Float[Array, ""]:
    """`(1 / eta) log E[exp(eta sum_{t < length} gamma^t r_t)]` in reward units, exactly (Appendix B.1).

    Backward recursion over time, because the exponent's scale shrinks with `gamma^t`; actions are averaged inside the
    exponential, as the expectation over the policy demands.
    """
    log_step, log_policy = jnp.log(mdp.transition), jnp.log(policy)

    def back(value: Array, scale: Array) -> tuple[Array, None]:
        after = jax.nn.logsumexp(log_step + along(value, log_step), axis=-1)
        return jax.nn.logsumexp(log_policy + scale * mdp.reward + after, axis=-1), None

    scales = temperature * mdp.discount ** jnp.arange(length, dtype=mdp.reward.dtype)
    value = lax.scan(back, jnp.zeros_like(mdp.initial), scales, reverse=True)[0]
    return jax.nn.logsumexp(jnp.log(mdp.initial) + value) / temperature


@checked
def mean_plus_variance(mdp: MDP, policy: Float[Values, "states actions"], temperature: Scalar) -> Float[Array, ""]:
    """First-order expansion of the entropic return (Appendix B.1): mean plus `eta / 2` times the variance."""
    return evaluate.expected_return(mdp, policy) + temperature / 2 * evaluate.return_variance(mdp, policy)
