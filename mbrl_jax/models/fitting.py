"""Fitting a network to a small data set: random batches, a held-out part, and stopping early at its best.

Ours: Haghgoo et al. (2021), who need it, say nothing of how their networks are fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool

from mbrl_jax.checks import check_fields, check_positive
from mbrl_jax.optimisers import adam
from mbrl_jax.types import Key, PyTree, checked

__all__ = ["Config", "Fit", "Split", "fit", "split"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """How long a network is fitted, and how fast. The papers that use it say nothing of either.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `batch`, `interval`, `patience` or `max_steps` is below 1.
    """

    learning_rate: float = 1e-3
    """Adam's learning rate."""
    batch: int = 256
    """Rows per gradient step, drawn with replacement."""
    interval: int = 25
    """Gradient steps between looks at the held-out rows."""
    patience: int = 20
    """Fitting stops after this many looks in a row, `interval` steps apart, without improvement."""
    max_steps: int = 5000
    """Most gradient steps of a fit, rounded up to whole intervals."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "batch", "interval", "patience", "max_steps")


class Split(NamedTuple):
    """Valid rows in random order: of `order [rows]`, the first `held []` are held out, the rest up to `valid []` train.

    A single row is used for both.
    """

    order: Array
    held: Array
    valid: Array

    def draw(self, key: Key, batch: int) -> Array:
        """Indices `[batch]` of training rows, with replacement."""
        first = jnp.minimum(self.held, self.valid - 1)
        share = jax.random.uniform(key, (batch,))
        place = first + (share * (self.valid - first).astype(share.dtype)).astype(jnp.int32)
        return self.order[jnp.minimum(place, self.valid - 1)]

    def training(self) -> Bool[Array, " rows"]:
        """Which rows are for training."""
        place = jnp.arange(self.order.shape[0])
        chosen = (place >= jnp.minimum(self.held, self.valid - 1)) & (place < self.valid)
        return jnp.zeros_like(chosen).at[self.order].set(chosen, unique_indices=True)

    def holdout(self, most: int) -> tuple[Array, Array]:
        """Indices `[most]` of held-out rows and which of them count."""
        return self.order[:most], jnp.arange(most) < self.held


@checked
def split(key: Key, valid: Bool[Array, " rows"], fraction: float) -> Split:
    """Splits the valid rows, of which there must be one, into held-out ones (a fraction, at least one) and the rest."""
    bits = jax.random.bits(key, valid.shape) >> 1
    order = jnp.argsort(jnp.where(valid, bits, jnp.uint32(1 << 31)))
    count = valid.sum(dtype=jnp.int32)
    held = jnp.clip((fraction * count.astype(jnp.float32)).astype(jnp.int32), 1, jnp.maximum(count - 1, 1))
    return Split(order, held, count)


class Fit(NamedTuple):
    """A fit's outcome: the best parameters by the held-out rows, their `score []` there, and the gradient `steps []`.

    The score is NaN where no step was wanted, so that there was no look at these rows, and infinite where none of them
    found a number.
    """

    params: PyTree
    score: Array
    steps: Array


class _Progress(NamedTuple):
    """Parameters now and at their best, the optimiser, gradient steps, and looks without improvement."""

    params: PyTree
    opt: optax.OptState
    best: Fit
    stale: Array


def fit(
    key: Key,
    config: Config,
    params: PyTree,
    loss: Callable[[PyTree, Key], Array],
    score: Callable[[PyTree], Array],
    wanted: Array | bool = True,
) -> Fit:
    """Minimises `loss(params, key)`, which draws its own batch, until `score(params)` on held-out rows stops falling.

    Args:
      key: random key.
      config: how long and how fast.
      params: where it starts.
      loss: one batch's loss, a scalar.
      score: what the parameters are chosen by, a scalar; NaN is never an improvement.
      wanted: bool `[]`; where false, no step is taken (a traced value, so that runs with and without share a program).
    """
    optimiser = adam(config.learning_rate)

    def improve(carry: tuple[PyTree, optax.OptState], k: Key) -> tuple[tuple[PyTree, optax.OptState], None]:
        params, opt = carry
        updates, opt = optimiser.update(jax.grad(loss)(params, k), opt, params)
        return (optax.apply_updates(params, updates), opt), None

    def look(now: _Progress) -> _Progress:
        keys = jax.random.split(jax.random.fold_in(key, now.best.steps), config.interval)
        (params, opt), _ = lax.scan(improve, (now.params, now.opt), keys)
        found = score(params)
        better = found < now.best.score

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(better, new, old)

        steps = now.best.steps + config.interval
        best = Fit(jax.tree.map(keep, params, now.best.params), keep(found, now.best.score), steps)
        return _Progress(params, opt, best, jnp.where(better, 0, now.stale + 1))

    def unfinished(now: _Progress) -> Array:
        return wanted & (now.stale < config.patience) & (now.best.steps < config.max_steps)

    zero = jnp.zeros((), jnp.int32)
    start = Fit(params, jnp.full((), jnp.inf, jax.eval_shape(score, params).dtype), zero)
    best = lax.while_loop(unfinished, look, _Progress(params, optimiser.init(params), start, zero)).best
    return best._replace(score=jnp.where(best.steps > 0, best.score, jnp.nan))
