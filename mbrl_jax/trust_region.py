"""Steps within a trust region: natural gradients by conjugate gradients, then a line search (Schulman et al., 2015)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from mbrl_jax.checks import check_fields, check_not_negative, check_positive
from mbrl_jax.types import Info, PyTree, Scalar, checked

__all__ = ["Accept", "Config", "Trial", "ascend", "conjugate_gradients", "improves", "within"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of a trust-region step; defaults are those of all three released codes (see `agents.trpo`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `iterations` or `tries` is below 1; `max_kl`, `damping` or
        `residual` is negative.
    """

    max_kl: float = 0.01
    """δ, what half the squared length of the full step is in the metric; roughly its mean KL divergence in nats."""
    damping: float = 0.1
    """Added to the diagonal of the Fisher matrix."""
    iterations: int = 10
    """Conjugate-gradient iterations at most."""
    residual: float = 1e-10
    """Squared length of the residual below which they stop; absolute, so that small gradients stop early."""
    tries: int = 10
    """Steps that are tried, each half as long as the one before."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "iterations", "tries")
        check_not_negative(self, "max_kl", "damping", "residual")


class Trial(NamedTuple):
    """What a step that is tried would bring, all scalars.

    Attributes:
      gain: the objective there minus the old one.
      expected: what the old gradient promises of it.
      kl: mean KL divergence from the old policy, in nats.
      max_kl: δ.
    """

    gain: Array
    expected: Array
    kl: Array
    max_kl: Scalar


Accept = Callable[[Trial], Array]
"""`accept(trial) -> bool []`: whether the line search takes this step; one that is not finite it must refuse."""


def within(trial: Trial, slack: Scalar = 1.5) -> Array:
    """Bool `[]`: the objective does not fall, and the divergence stays below `slack` times δ.

    Source: SLBO's released code; OpenAI baselines.
    """
    return jnp.isfinite(trial.gain) & (trial.kl <= slack * trial.max_kl) & (trial.gain >= 0.0)


def improves(trial: Trial, share: Scalar = 0.1) -> Array:
    """Bool `[]`: the objective gains more than a share of what the gradient promises; the divergence is not looked at.

    Source: Wang et al., 2019, their code (`mbbl`), after Schulman's `modular_rl`.
    """
    return jnp.isfinite(trial.gain) & (trial.gain > 0.0) & (trial.gain > share * trial.expected)


@checked
def conjugate_gradients(
    product: Callable[[Float[Array, " dim"]], Float[Array, " dim"]],
    target: Float[Array, " dim"],
    iterations: int = 10,
    residual: Scalar = 1e-10,
) -> Float[Array, " dim"]:
    """x with `product(x) = target`, for a product with a symmetric positive definite matrix, starting at 0.

    Whoever is done computes along without moving: no branch or loop depends on the data.

    Args:
      product: the matrix times a vector.
      target: the right-hand side.
      iterations: at most so many products.
      residual: no more steps once the squared length of `target - product(x)` is below it.
    """

    def body(i: Array, now: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        del i
        x, left, direction, square, going = now
        image = product(direction)
        size = jnp.where(going, square / jnp.where(going, direction @ image, 1.0), 0.0)
        x, left = x + size * direction, left - size * image
        fresh = left @ left
        share = jnp.where(going, fresh / jnp.where(going, square, 1.0), 0.0)
        direction = left + share * direction
        return x, left, direction, fresh, going & (fresh >= residual)

    square = target @ target
    # The first step is taken however small the target is, as in the released codes.
    start = (jnp.zeros_like(target), target, target, square, square > 0.0)
    return lax.fori_loop(0, iterations, body, start)[0]


class _Search(NamedTuple):
    """The line search: the share of the full step tried last, how many were, whether it is taken, gain and KL there."""

    share: Array
    tried: Array
    taken: Array
    gain: Array
    kl: Array


def _search(at: Callable[[Array], Trial], accept: Accept, moving: Array, tries: int, dtype: jnp.dtype) -> _Search:
    """Tries shares 1, 1/2, 1/4, … of the step until one is accepted; none if not `moving`."""

    def look(now: _Search) -> _Search:
        share = jnp.exp2(-now.tried.astype(dtype))
        trial = at(share)
        return _Search(share, now.tried + 1, accept(trial), trial.gain.astype(dtype), trial.kl.astype(dtype))

    def looking(now: _Search) -> Array:
        return moving & ~now.taken & (now.tried < tries)

    zero = jnp.zeros((), dtype)
    return lax.while_loop(looking, look, _Search(zero, jnp.zeros((), jnp.int32), jnp.zeros((), bool), zero, zero))


def ascend(
    config: Config,
    params: PyTree,
    objective: Callable[[PyTree], Array],
    divergence: Callable[[PyTree], Array],
    accept: Accept = within,
    metric: Callable[[PyTree], Array] | None = None,
) -> tuple[PyTree, Info]:
    r"""One step up `objective` along the natural gradient.

    The direction x solves (F + d·1) x = g by conjugate gradients, F the Hessian of the divergence at `params`; the full
    step is √(2δ / xᵀ(F + d·1)x) · x. Where no share of it is accepted, or the gradient is 0 to 1e-8 in each entry,
    nothing changes.

    Args:
      objective: what is raised, a scalar.
      divergence: mean KL divergence of the policy with `params` from the one with its argument, a scalar.
      accept: when the line search ends.
      metric: `metric(params) -> []`, the divergence that F is of, maybe of fewer rows; `divergence` if None.

    Returns:
      The parameters, and `kl` and `gain` of the step taken, `accepted` (0 or 1) and `share` of the full step.

    Source: Schulman et al., "Trust Region Policy Optimization", 2015, App. C; released codes of SLBO and OpenAI
    baselines.
    """
    flat, restore = ravel_pytree(params)
    old, slope = jax.value_and_grad(lambda x: objective(restore(x)))(flat)
    measure = divergence if metric is None else metric
    _, fisher = jax.linearize(jax.grad(lambda x: measure(restore(x))), flat)

    def product(x: Array) -> Array:
        return fisher(x) + config.damping * x

    direction = conjugate_gradients(product, slope, config.iterations, config.residual)
    step = direction * jnp.sqrt(2.0 * config.max_kl / (direction @ product(direction)))

    def at(share: Array) -> Trial:
        there = restore(flat + share * step)
        return Trial(objective(there) - old, share * (slope @ step), divergence(there), config.max_kl)

    found = _search(at, accept, (jnp.abs(slope) > 1e-8).any(), config.tries, flat.dtype)
    flat = jnp.where(found.taken, flat + found.share * step, flat)
    taken = found.taken.astype(flat.dtype)
    return restore(flat), {
        "kl": jnp.where(found.taken, found.kl, 0.0),
        "gain": jnp.where(found.taken, found.gain, 0.0),
        "accepted": taken,
        "share": taken * found.share,
    }
