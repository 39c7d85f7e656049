"""ALM's bounds on finite MDPs: Ghugare et al., "Simplifying Model-based RL: Learning Representations, Latent-space
Models, and Policies with One Objective" (2023), with a stochastic finite encoder.

Everything is in nats of the log of the *normalised* return `(1 - gamma) E[sum_t gamma^t r_t]`. Rewards are positive.
Equation and appendix numbers are the paper's.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.tabular import divergence, evaluate
from mbrl_jax.tabular.mdp import MDP
from mbrl_jax.types import Scalar, Values, checked

__all__ = [
    "Latent",
    "horizon_elbo",
    "horizon_prior",
    "lambda_weighted",
    "log_normalised_return",
    "lower_bounds",
    "normalised_q",
    "offline_lower_bounds",
    "optimal_horizon",
    "optimal_horizon_bound",
    "terminal_rewards",
]


class Latent(NamedTuple):
    """A finite latent model: encoder `e [S, Z]`, latent dynamics `m [Z, A, Z]`, policy `[Z, A]` (Eq. 4)."""

    encoder: Float[Array, "states latents"]
    dynamics: Float[Array, "latents actions latents"]
    policy: Float[Array, "latents actions"]


class _Terms(NamedTuple):
    """Expectations under `q^K` at each time: log-reward, log-ratio, behaviour log-ratio of the action, log Q."""

    reward: Array
    ratio: Array
    action: Array
    value: Array


@checked
def log_normalised_return(mdp: MDP, latent: Latent) -> Float[Array, ""]:
    """Left-hand side of Theorem 3.1: `log((1 - gamma) E_p[return])`; under p the latent is encoded anew each step."""
    return jnp.log((1 - mdp.discount) * evaluate.expected_return(mdp, latent.encoder @ latent.policy))


@checked
def normalised_q(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, "states actions"]:
    """`Q [S, A]` of Lemma A.2: `(1 - gamma)` times the expected return after an action, for a policy `[S, A]`."""
    return (1 - mdp.discount) * evaluate.action_value(mdp, evaluate.state_value(mdp, policy))


def _terms(mdp: MDP, latent: Latent, behaviour: Values, steps: int) -> _Terms:
    """Runs the joint distribution of (state, latent) under `q^K` (Eq. 4) for `steps` steps, `[steps + 1]` each."""
    log_q = jnp.log(normalised_q(mdp, behaviour))
    log_encoder = jnp.log(latent.encoder)[None, None]
    logs = divergence.product_or_zero(mdp.transition[..., None], log_encoder).sum(axis=2)
    entropy = divergence.product_or_zero(latent.dynamics, jnp.log(latent.dynamics)).sum(axis=-1)
    action_ratio = divergence.log_ratio(behaviour[:, None, :], latent.policy[None])

    def step(joint: Array, _: None) -> tuple[Array, _Terms]:
        acting = joint[:, :, None] * latent.policy[None]
        by_state = acting.sum(axis=1)
        cross = jnp.einsum("sza,zay->say", acting, latent.dynamics)
        terms = _Terms(
            divergence.product_or_zero(by_state, jnp.log(mdp.reward)).sum(),
            divergence.product_or_zero(cross, logs).sum() - jnp.sum(acting.sum(axis=0) * entropy),
            divergence.product_or_zero(acting, action_ratio).sum(),
            divergence.product_or_zero(by_state, log_q).sum(),
        )
        return jnp.einsum("sza,san,zay->ny", acting, mdp.transition, latent.dynamics), terms

    return lax.scan(step, mdp.initial[:, None] * latent.encoder, None, length=steps + 1)[1]


def _assemble(discount: Array, terms: _Terms, gains: Array) -> Array:
    """`[K + 1]` bounds: discounted `gains` of the first K steps plus `gamma^K E log Q`."""
    powers = discount ** jnp.arange(gains.shape[0], dtype=gains.dtype)
    earned = jnp.cumsum(powers * gains)
    before = jnp.concatenate([jnp.zeros_like(earned[:1]), earned[:-1]])
    return before + divergence.product_or_zero(powers, terms.value)


@checked
def lower_bounds(mdp: MDP, latent: Latent, steps: int) -> Float[Array, " {steps}+1"]:
    """The objectives `L^0 ... L^steps` of Eq. 5, exactly, `[steps + 1]`.

    Theorem 3.1: each is at most `log_normalised_return`. Appendix A.6: they do not increase with K.
    """
    terms = _terms(mdp, latent, latent.encoder @ latent.policy, steps)
    return _assemble(mdp.discount, terms, (1 - mdp.discount) * terms.reward + terms.ratio)


@checked
def offline_lower_bounds(
    mdp: MDP, latent: Latent, behaviour: Float[Values, "states actions"], steps: int
) -> Float[Array, " {steps}+1"]:
    """Corrected bounds of Appendix A.7 for K = 0 ... steps, `[steps + 1]`, on the *behaviour* policy's return.

    `behaviour [S, A]` collected the data; the bounded quantity is `log((1 - gamma) J(behaviour))`, as in the paper's
    first line. The printed sum of behaviour-cloning terms starts at the second action; without the first action's
    term, added here, the statement is false (docs/theory.md).
    """
    terms = _terms(mdp, latent, behaviour, steps)
    following = jnp.concatenate([terms.action[1:], jnp.zeros_like(terms.action[:1])])
    gains = (1 - mdp.discount) * terms.reward + terms.ratio + following
    return terms.action[0] + _assemble(mdp.discount, terms, gains)


@checked
def lambda_weighted(bounds: Float[Values, "*batch steps"], weight: Scalar) -> Float[Array, "*batch"]:
    """Lemma A.4: `(1 - lambda) sum_k lambda^{k - 1} L^k` over `bounds = [L^1, ..., L^n]`, last axis.

    The mass of longer roll-outs goes to the last bound, so the weights sum to 1 for every n.
    """
    count = bounds.shape[-1]
    powers = jnp.asarray(weight, bounds.dtype) ** jnp.arange(count, dtype=bounds.dtype)
    return jnp.matmul(bounds, powers * jnp.where(jnp.arange(count) < count - 1, 1 - weight, 1))


@checked
def horizon_prior(discount: Scalar, steps: int) -> Float[Array, " {steps}+1"]:
    """The truncated geometric distribution `P_K(H)`, `[steps + 1]`, of Lemma A.1."""
    discount = jnp.asarray(discount)
    time = jnp.arange(steps + 1, dtype=discount.dtype)
    return discount**time * jnp.where(time < steps, 1 - discount, 1)


@checked
def terminal_rewards(mdp: MDP, policy: Float[Values, "states actions"], steps: int) -> Float[Array, " {steps}+1"]:
    """`E_p[psi_H]` of Lemma A.2, `[steps + 1]`: expected reward at step H, and at H = K expected normalised Q.

    Weighted by `horizon_prior` they sum to the normalised return.
    """
    marginals = evaluate.state_marginals(mdp.transition, policy, mdp.initial, steps + 1)
    rewards = marginals @ jnp.sum(policy * mdp.reward, axis=-1)
    last = marginals[-1] @ jnp.sum(policy * normalised_q(mdp, policy), axis=-1)
    return rewards.at[-1].set(last)


@checked
def horizon_elbo(
    log_true: Float[Values, " paths"], log_model: Float[Values, " paths"], payoff: Float[Values, " paths"]
) -> Float[Array, ""]:
    """Inner integral of Appendix A.4 (c) for one horizon: `E_q[log p(tau | H) + log psi - log q(tau | H)]`.

    `[N]` arrays over enumerated trajectories of that horizon. Largest, and equal to `log E_p[psi]`, at
    `q* proportional to p psi`.
    """
    return divergence.product_or_zero(jnp.exp(log_model), log_true + jnp.log(payoff) - log_model).sum()


@checked
def optimal_horizon(prior: Float[Values, " times"], payoffs: Float[Values, " times"]) -> Float[Array, " times"]:
    """The optimal discount distribution of Appendix A.4 (g), `[steps + 1]`: `P_K(H) E_p[psi_H]`, normalised."""
    weighted = jnp.multiply(prior, payoffs)
    return weighted / weighted.sum()


@checked
def optimal_horizon_bound(
    weights: Float[Values, " times"], prior: Float[Values, " times"], log_payoffs: Float[Values, " times"]
) -> Float[Array, ""]:
    """Appendix A.4 (c) and (f): `sum_H w_H (log P_K(H) - log w_H + elbo_H)` for a learned discount `weights`.

    With `log_payoffs = log E_p[psi_H]` (the best elbo of each horizon) and `optimal_horizon` it equals the log of the
    normalised return: the bound is tight (Appendix A.5).
    """
    ratio = divergence.log_ratio(prior, weights)
    return divergence.product_or_zero(weights, ratio + log_payoffs).sum()
