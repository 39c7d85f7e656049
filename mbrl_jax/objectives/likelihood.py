"""Likelihood objectives of transition models."""

from __future__ import annotations

import jax.numpy as jnp
from jax.nn import log_softmax, softplus
from jaxtyping import Array, Float, Int

from mbrl_jax.types import along, checked

__all__ = ["bounded_log_var", "bounded_variance", "categorical_nll", "gaussian_log_prob", "gaussian_nll"]


@checked
def gaussian_nll(
    mean: Float[Array, "*batch dim"], log_var: Float[Array, "*batch dim"], target: Float[Array, "*batch dim"]
) -> Float[Array, "*batch dim"]:
    r"""(μ − y)² e^{−log σ²} + log σ² per entry: twice the negative log-likelihood without its constant log 2π.

    Source: Chua et al., 2018 (PETS), Eq. 1, as used by Janner et al., 2019 (MBPO), Sec. 4.2 and their code.
    """
    return jnp.square(mean - target) * jnp.exp(-log_var) + log_var


@checked
def gaussian_log_prob(
    mean: Float[Array, "*batch dim"], log_std: Float[Array, "*batch dim"], value: Float[Array, "*batch dim"]
) -> Float[Array, "*batch"]:
    r"""Log-density of a diagonal Gaussian, in nats: −Σ_d ½ (x_d − μ_d)² / σ_d² + log σ_d + ½ log 2π.

    Source: the Gaussian's density (Bishop, *Pattern Recognition and Machine Learning*, 2006).
    """
    scaled = (value - mean) * jnp.exp(-log_std)
    return (-0.5 * jnp.square(scaled) - log_std - 0.5 * jnp.log(2.0 * jnp.pi)).sum(axis=-1)


@checked
def categorical_nll(logits: Float[Array, "*batch classes"], index: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""−log softmax(logits)[index], in nats: the negative log-likelihood of an entry of a table.

    Source: the softmax's cross-entropy (Bishop, *Pattern Recognition and Machine Learning*, 2006).
    """
    return -jnp.take_along_axis(log_softmax(logits, axis=-1), index[..., None], axis=-1)[..., 0]


@checked
def bounded_log_var(
    raw: Float[Array, "*batch dim"], low: Float[Array, " dim"], high: Float[Array, " dim"]
) -> Float[Array, "*batch dim"]:
    r"""Soft clipping of log-variances into (low, high): high − softplus(high − raw), then low + softplus(· − low).

    Differentiable in the bounds, which are learned. Source: Chua et al., 2018 (PETS), App. A.1.
    """
    low, high = along(low, raw), along(high, raw)
    log_var = high - softplus(high - raw)
    return low + softplus(log_var - low)


@checked
def bounded_variance(
    raw: Float[Array, "*batch dim"], low: Float[Array, " dim"], high: Float[Array, " dim"]
) -> Float[Array, "*batch dim"]:
    r"""The variance of which `bounded_log_var` is the logarithm: e^low + 1 / (e^−high + e^−raw).

    The same number with one exponential of `raw` in the place of two softplus and one exponential, which on a CPU take
    ten times as long. Below −60, where nothing but e^low is left, `raw` counts as −60 (no overflow, gradient 0).

    Source: ours, `bounded_log_var` (Chua et al., 2018, App. A.1) exponentiated.
    """
    low, high = along(low, raw), along(high, raw)
    return jnp.exp(low) + 1.0 / (jnp.exp(-high) + jnp.exp(-jnp.maximum(raw, -60.0)))
