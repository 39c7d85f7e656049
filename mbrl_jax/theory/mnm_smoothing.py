r"""What label smoothing does to MnM's model objective, exactly, in one dimension.

The world is p = N(0, 1), the model q = N(m, ρ²), the value is linear with slope b (c ∂V/∂s' σ_p, nats per standard
deviation of the world). The classifier is the best one for the current model, `mismatch.smoothed_logit`, and held
constant while m climbs Eq. 9 of Eysenbach et al., "Mismatched No More" (2022), by its reparameterised gradient

$$ b + E_{x \sim q}[\ell'(x)], \qquad \ell = \log \frac{p / q + \alpha}{1 - \alpha}. $$

Without smoothing and with ρ = 1 it comes to rest at m = b, the exponentially tilted world. With smoothing the penalty
ℓ is bounded below, so is its pull, and beyond the largest pull nothing holds the model. Not in the paper.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mbrl_jax.types import Scalar, Values, along, checked

__all__ = ["largest_slope", "pull", "resting_shift"]

FARTHEST = 12.0
"""Shifts that are looked at, in standard deviations; the largest pull is at 1.9 for α = 0.1 and at 3.7 for 10⁻⁵."""
SHIFTS, NODES = 6001, 481


@checked
def pull(shift: Float[Values, "*batch"], smoothing: Scalar, ratio: Scalar = 1.0) -> Float[Array, "*batch"]:
    r"""−E_q[ℓ'(x)]: how strongly the classifier holds a model that is m off, in nats per standard deviation.

    $$ E_z\Bigl[ \frac{p / q}{p / q + \alpha} \Bigl( x - \frac{z}{\rho} \Bigr) \Bigr], \qquad x = m + \rho z $$

    Ours, for Eq. 9. By the trapezoidal rule over ±12 standard deviations, exact to rounding.

    Args:
      shift: m, in standard deviations of the world.
      smoothing: α in [0, 1).
      ratio: ρ, the model's standard deviation over the world's.
    """
    m = jnp.asarray(shift)[..., None]
    nodes = jnp.linspace(-12.0, 12.0, NODES, dtype=m.dtype)
    weight = along(jax.nn.softmax(-0.5 * jnp.square(nodes)), m)
    z = along(nodes, m)
    x = m + ratio * z
    log_ratio = 0.5 * (jnp.square(z) - jnp.square(x)) + jnp.log(jnp.asarray(ratio, m.dtype))
    share = jax.nn.sigmoid(log_ratio - jnp.log(jnp.asarray(smoothing, m.dtype)))
    return (weight * share * (x - z / ratio)).sum(axis=-1)


def _pulls(smoothing: Scalar, ratio: Scalar) -> tuple[Array, Array]:
    """Shifts from 0 on, and the pull at each."""
    shifts = jnp.linspace(0.0, FARTHEST, SHIFTS)
    return shifts, pull(shifts, smoothing, ratio)


@checked
def largest_slope(smoothing: Scalar, ratio: Scalar = 1.0) -> Float[Array, ""]:
    """The largest pull of any shift, in nats: with a steeper value the model runs away. Infinite without smoothing.

    Source: ours, the largest `pull`.
    """
    return jnp.where(jnp.asarray(smoothing) > 0, _pulls(smoothing, ratio)[1].max(), jnp.inf)


@checked
def resting_shift(slope: Float[Values, "*batch"], smoothing: Scalar, ratio: Scalar = 1.0) -> Float[Array, "*batch"]:
    """Where a model that starts at the truth comes to rest, in standard deviations; infinite if it runs away.

    Source: ours, where `pull` equals the slope.

    Args:
      slope: b ≥ 0, in nats; below 12 without smoothing.
      smoothing: α in [0, 1).
      ratio: ρ.
    """
    shifts, pulls = _pulls(smoothing, ratio)
    # Up to its largest value the pull grows with the shift, so that it can be inverted there.
    rising = jax.lax.cummax(pulls)
    at = jnp.interp(jnp.asarray(slope), rising, shifts)
    return jnp.where(jnp.asarray(slope) > pulls.max(), jnp.inf, at)
