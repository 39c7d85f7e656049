"""Standardisation of inputs and targets over the part of a fixed-size array that holds data.

What all entries are divided by alike is a factor here, not a divisor: whether XLA makes a product of a quotient by what
is spread over an array hangs on the order of its passes, which is another one for several devices than for one, and the
two round differently.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mbrl_jax.types import along, checked

__all__ = ["Running", "Scaler", "fit", "identity", "observed", "running"]


class Scaler(NamedTuple):
    """Mean and standard deviation per entry, each `[dim]`."""

    mean: Array
    std: Array

    def forward(self, x: Array) -> Array:
        """(x − mean) / std, `[..., dim]`, for `x[..., dim]`."""
        return (x - along(self.mean, x)) * along(1.0 / self.std, x)

    def backward(self, z: Array) -> Array:
        """z · std + mean, `[..., dim]`, for `z[..., dim]`."""
        return z * along(self.std, z) + along(self.mean, z)


def identity(dim: int) -> Scaler:
    """The scaler that changes nothing."""
    return Scaler(jnp.zeros(dim), jnp.ones(dim))


@checked
def fit(rows: Float[Array, "rows dim"], valid: Bool[Array, " rows"]) -> Scaler:
    """Mean and (population) standard deviation of the valid rows; entries that never vary get a deviation of 1.

    Two passes, because the one-pass formula loses all digits in float32 where the mean is large. An entry that never
    varies is told by its values: its mean is rounded, so that its deviation need not be 0, and what a model draws for
    it would be blown up by a million.
    """
    share = 1.0 / jnp.maximum(valid.sum(), 1).astype(rows.dtype)
    mean = jnp.where(valid[:, None], rows, 0.0).sum(axis=0) * share
    std = jnp.sqrt(jnp.where(valid[:, None], jnp.square(rows - mean[None]), 0.0).sum(axis=0) * share)
    inside = valid[:, None]
    varies = jnp.where(inside, rows, -jnp.inf).max(axis=0) > jnp.where(inside, rows, jnp.inf).min(axis=0)
    return Scaler(mean, jnp.where(varies & (std >= 1e-12), std, 1.0))


class Running(NamedTuple):
    """Statistics of all rows so far: `mean [dim]`, (population) standard deviation `std [dim]`, number of `rows []`."""

    mean: Array
    std: Array
    rows: Array

    @property
    def scaler(self) -> Scaler:
        """What standardises by them; an entry that has not varied yet is not scaled."""
        return Scaler(self.mean, jnp.where(self.std > 1e-6, self.std, 1.0))


def running(dim: int) -> Running:
    """No rows seen yet: mean 0 and deviation 1, as the scaler that changes nothing."""
    return Running(*identity(dim), jnp.zeros(()))


@checked
def observed(seen: Running, rows: Float[Array, "rows dim"]) -> Running:
    r"""The statistics with more rows: those of all rows together, exactly.

    $$ n' = n + m, \quad \mu' = \mu + \delta m / n', \quad
       \sigma'^2 = (\sigma^2 n + \mathrm{var}(x) m + \delta^2 n m / n') / n', \quad \delta = \bar x - \mu $$

    Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983; SLBO's released code.
    """
    mean, std, more = seen.mean, seen.std, rows.shape[0]
    count = seen.rows.astype(mean.dtype)
    share, shift = 1.0 / (count + more), rows.mean(axis=0) - mean
    between = jnp.square(shift) * (count * more * share)
    variance = (jnp.square(std) * count + rows.var(axis=0) * more + between) * share
    return Running(mean + shift * (more * share), jnp.sqrt(variance), seen.rows + more)
