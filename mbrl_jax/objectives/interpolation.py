"""Targets for values from roll-outs of several lengths, and how they are weighed (Buckman et al., 2018)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.types import Scalar, checked

__all__ = [
    "Weigh",
    "candidate_targets",
    "equal",
    "geometric",
    "interpolated",
    "inverse_covariance",
    "inverse_variance",
    "longest",
]

Weigh = Callable[[Array], Array]
"""`weigh(samples[lengths, samples, batch]) -> weights[lengths, batch]`, which sum to 1 over the lengths."""


@checked
def candidate_targets(
    reward: Float[Array, " batch"],
    discount: Float[Array, " batch"],
    imagined: Float[Array, "horizon models rewards batch"],
    going: Float[Array, "horizon models batch"],
    value: Float[Array, "lengths models critics batch"],
    gamma: Scalar,
) -> Float[Array, "lengths samples batch"]:
    r"""Targets by roll-outs of 0 to H steps from the successor of a real step, one for each model, reward and critic.

    $$ T_h^{ijk} = r + \sum_{m=1}^{h} \gamma^m C^i_{m-1} \hat r_m^{ij} + \gamma^{h+1} C^i_h Q^k(s_h^i, \pi(s_h^i)),
       \qquad C_0 = 1 - d,\; C_h = C_{h-1} (1 - \hat d_h) $$

    Args:
      reward: r of the real step, in reward units.
      discount: 1 − d of the real step: 0 after a true termination.
      imagined: r̂ of the steps 1 … H, in reward units.
      going: 1 − d̂_h, the probability that the h-th imagined step does not end the task.
      value: Q at the states s_0 (the real successor) … s_H, in return units.
      gamma: γ.

    Returns:
      T_h of all combinations, `lengths` = H + 1, `samples` = models · rewards · critics; no gradient flows through it.

    Raises:
      ValueError: when traced, if there are not H + 1 values.

    Source: Buckman et al., "Sample-Efficient Reinforcement Learning with Stochastic Ensemble Value Expansion", 2018,
    Sec. 3, in the form of their released code (`valuerl.py`).
    """
    horizon = imagined.shape[0]
    if value.shape[0] != horizon + 1:
        raise ValueError(f"a horizon of {horizon} needs {horizon + 1} values, got {value.shape[0]}")
    start = jnp.broadcast_to(discount, going.shape[1:])
    alive = jnp.concatenate([start[None], start[None] * jnp.cumprod(going, axis=0)])
    factor = (gamma ** jnp.arange(horizon + 2, dtype=value.dtype)).reshape(-1, 1, 1, 1)
    later = jnp.cumsum(factor[1:-1] * alive[:-1, :, None] * imagined, axis=0)
    earned = reward[None, None, None] + jnp.concatenate([jnp.zeros((1, *imagined.shape[1:]), later.dtype), later])
    closing = factor[1:] * alive[:, :, None] * value
    found = earned[:, :, :, None] + closing[:, :, None]
    return lax.stop_gradient(found.reshape(horizon + 1, -1, found.shape[-1]))


@checked
def interpolated(
    samples: Float[Array, "lengths samples batch"], weights: Float[Array, "lengths batch"]
) -> Float[Array, " batch"]:
    r"""The target $\sum_h w_h \mu_h$, μ_h being the mean of the samples; no gradient flows through it.

    Source: Buckman et al., 2018, Sec. 3; released code, `valuerl.py`.
    """
    return lax.stop_gradient((weights * samples.mean(axis=1)).sum(axis=0))


@checked
def inverse_variance(samples: Float[Array, "lengths samples batch"]) -> Float[Array, "lengths batch"]:
    r"""STEVE: $w_h \propto 1 / (\sigma_h^2 + 10^{-8})$, the (population) variance of the samples of each length.

    Source: Buckman et al., 2018, Sec. 3; the constant is the released code's.
    """
    certainty = 1.0 / (samples.var(axis=1) + 1e-8)
    return certainty / certainty.sum(axis=0)[None]


@checked
def inverse_covariance(samples: Float[Array, "lengths samples batch"]) -> Float[Array, "lengths batch"]:
    r"""STEVE with covariances between lengths: $w \propto (X X^\top + 10^{-3} I)^{-1} 1$, X the centred samples.

    X is not divided by the number of samples, and a weight may be negative.

    Source: STEVE's released code (`covariances`).
    """
    centred = samples - samples.mean(axis=1, keepdims=True)
    matrix = jnp.einsum("hsb,gsb->bhg", centred, centred)
    damped = matrix + 1e-3 * jnp.eye(matrix.shape[-1], dtype=matrix.dtype)[None]
    found = jnp.linalg.solve(damped, jnp.ones((*matrix.shape[:2], 1), matrix.dtype))[..., 0].T
    return found / found.sum(axis=0)[None]


@checked
def equal(samples: Float[Array, "lengths samples batch"]) -> Float[Array, "lengths batch"]:
    """All lengths alike (STEVE's released code: `mean_k_return`)."""
    return jnp.full_like(samples[:, 0], 1.0 / samples.shape[0])


@checked
def longest(samples: Float[Array, "lengths samples batch"]) -> Float[Array, "lengths batch"]:
    """The longest roll-out alone: model value expansion (Feinberg et al., 2018) at the real step."""
    return jnp.zeros_like(samples[:, 0]).at[-1].set(1.0)


@checked
def geometric(trace: Scalar) -> Weigh:
    """TD(λ): (1 − λ) λʰ, and what is left, λᴴ, for the longest (STEVE's released code: `lambda_return`, λ .25)."""

    def weigh(samples: Array) -> Array:
        power = trace ** jnp.arange(samples.shape[0], dtype=samples.dtype)
        weights = jnp.concatenate([(1.0 - trace) * power[:-1], power[-1:]])
        return jnp.broadcast_to(weights[:, None], samples[:, 0].shape)

    return weigh
