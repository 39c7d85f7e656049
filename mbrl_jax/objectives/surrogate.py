"""Objectives of policies that stay near the last one: surrogates, Gaussian divergences, entropies within bounds."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import erf
from jaxtyping import Array, Float

from mbrl_jax.types import Scalar, checked

__all__ = [
    "bounded_entropy",
    "clipped_surrogate",
    "clipped_value_error",
    "gaussian_kl",
    "released_entropy",
    "surrogate",
]

LOG_2PI = float(np.log(2.0 * np.pi))


@checked
def surrogate(
    log_prob: Float[Array, "*batch"], old_log_prob: Float[Array, "*batch"], advantage: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Importance-weighted advantage, whose mean a trust-region step raises: $\pi(a \mid s) / \pi_{old}(a \mid s)\, A$.

    Args:
      log_prob: log π(a | s) in nats; gradients flow through it.
      old_log_prob: log π_old(a | s) of the policy that acted, a constant.
      advantage: A(s, a), a constant.

    Source: Schulman et al., "Trust Region Policy Optimization", 2015, Eq. 14 with q = π_old.
    """
    return jnp.exp(log_prob - lax.stop_gradient(old_log_prob)) * lax.stop_gradient(advantage)


@checked
def clipped_surrogate(
    log_prob: Float[Array, "*batch"],
    old_log_prob: Float[Array, "*batch"],
    advantage: Float[Array, "*batch"],
    clip: Scalar,
) -> Float[Array, "*batch"]:
    r"""The pessimistic surrogate, whose mean PPO raises.

    $$ \min(\rho A, \mathrm{clip}(\rho, 1 - \epsilon, 1 + \epsilon) A), \qquad
       \rho = \pi(a \mid s) / \pi_{old}(a \mid s) $$

    Where a step has already gained what the clip allows (ρ > 1 + ε for A > 0, ρ < 1 − ε
    for A < 0) it is constant; where the step has lost, it is the plain surrogate.

    Args:
      log_prob: log π(a | s) in nats; gradients flow through it.
      old_log_prob: log π_old(a | s) of the policy that acted, a constant.
      advantage: A(s, a), a constant.
      clip: ε.

    Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017, Eq. 7.
    """
    ratio = jnp.exp(log_prob - lax.stop_gradient(old_log_prob))
    fixed = lax.stop_gradient(advantage)
    return jnp.minimum(ratio * fixed, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * fixed)


@checked
def clipped_value_error(
    value: Float[Array, "*batch"], old_value: Float[Array, "*batch"], target: Float[Array, "*batch"], clip: Scalar
) -> Float[Array, "*batch"]:
    r"""Squared error of a value that may not leave the old one by more than c: the larger of both.

    $$ \max\bigl( (V - y)^2,\; (V_{old} + \mathrm{clip}(V - V_{old}, -c, c) - y)^2 \bigr) $$

    Args:
      value: V(s), in return units; gradients flow through it.
      old_value: V_old(s) before the update, a constant.
      target: y, a constant.
      clip: c, in return units.

    Source: OpenAI baselines' released code (`ppo2/model.py`); Schulman et al., 2017, have no such clip.
    """
    old, fixed = lax.stop_gradient(old_value), lax.stop_gradient(target)
    near = old + jnp.clip(value - old, -clip, clip)
    return jnp.maximum(jnp.square(value - fixed), jnp.square(near - fixed))


@checked
def gaussian_kl(
    old_mean: Float[Array, "*batch dim"],
    old_log_std: Float[Array, "*batch dim"],
    mean: Float[Array, "*batch dim"],
    log_std: Float[Array, "*batch dim"],
) -> Float[Array, "*batch"]:
    r"""KL divergence in nats of diagonal Gaussians, old from new, summed over entries.

    $$ \sum_d \log \frac{\sigma_d}{\sigma^{old}_d}
       + \frac{(\sigma^{old}_d)^2 + (\mu^{old}_d - \mu_d)^2}{2 \sigma_d^2} - \frac12 $$

    Source: Schulman et al., 2015, Sec. 6 (their D_KL(θ_old, θ)); the order of SLBO's released code.
    """
    change = log_std - old_log_std
    shift = jnp.square((old_mean - mean) * jnp.exp(-log_std))
    return (change + 0.5 * (jnp.exp(-2.0 * change) + shift) - 0.5).sum(axis=-1)


def _edges(mean: Array, log_std: Array, limit: Scalar) -> tuple[Array, Array]:
    """±limit as l and h, in units of √2 standard deviations from the mean."""
    scale = jnp.exp(-log_std) / float(np.sqrt(2.0))
    return (-limit - mean) * scale, (limit - mean) * scale


@checked
def bounded_entropy(
    mean: Float[Array, "*batch dim"], log_std: Float[Array, "*batch dim"], limit: Scalar = 2.0
) -> Float[Array, "*batch"]:
    r"""What the actions within ±c add to the entropy of a diagonal Gaussian, in nats, summed over entries.

    $$ -\sum_d \int_{-c}^{c} p_d \log p_d = \sum_d \tfrac12 \bigl(\log \sigma_d + \tfrac12 \log 2\pi + \tfrac12 \bigr)
       (\operatorname{erf} h_d - \operatorname{erf} l_d)
       - \frac{h_d e^{-h_d^2} - l_d e^{-l_d^2}}{2 \sqrt\pi}, \qquad l, h = \frac{\mp c - \mu}{\sqrt2 \sigma} $$

    A wide Gaussian has little of its density within the limit, so that the entropy has a largest value (for μ = 0 and
    c = 2 at σ = 1.29): an exploration bonus that does not reward what the bounds cut off.

    Source: the integral that SLBO's released code means (`utils/truncated_normal.py`), see `released_entropy`.
    """
    low, high = _edges(mean, log_std, limit)
    mass = 0.5 * (log_std + 0.5 * LOG_2PI + 0.5) * (erf(high) - erf(low))
    tails = high * jnp.exp(-jnp.square(high)) - low * jnp.exp(-jnp.square(low))
    return (mass - tails / float(2.0 * np.sqrt(np.pi))).sum(axis=-1)


@checked
def released_entropy(
    mean: Float[Array, "*batch dim"], log_std: Float[Array, "*batch dim"], limit: Scalar = 2.0
) -> Float[Array, "*batch"]:
    r"""`bounded_entropy` as SLBO's released code computes it: another sign and factor, and no ½ in the first term.

    $$ \sum_d \tfrac12 \bigl(\log \sigma_d + \tfrac12 \log 2\pi \bigr) (\operatorname{erf} h_d - \operatorname{erf} l_d)
       + \tfrac12 \bigl(h_d e^{-h_d^2} - l_d e^{-l_d^2}\bigr) $$

    For μ = 0 and c = 2 it rises until σ = 1.90, four times as fast at σ = 1. For small σ both forms have one slope.

    Source: SLBO's released code, `utils/truncated_normal.py`.
    """
    low, high = _edges(mean, log_std, limit)
    mass = 0.5 * (log_std + 0.5 * LOG_2PI) * (erf(high) - erf(low))
    tails = high * jnp.exp(-jnp.square(high)) - low * jnp.exp(-jnp.square(low))
    return (mass + 0.5 * tails).sum(axis=-1)
