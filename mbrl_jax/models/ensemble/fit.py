"""One fit of an ensemble: holdout and bootstrap samples, epochs, early stopping, all inside one program.

Source: the released code of MBPO (Janner et al., 2019), `bnn.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.data import normalise
from mbrl_jax.models.ensemble.network import Config, outputs, targets_of
from mbrl_jax.models.ensemble.objective import Loss, Objective, Predicted
from mbrl_jax.networks import kernel_norms
from mbrl_jax.types import Key, PyTree, Spec, Transition, along

__all__ = [
    "Batch",
    "Data",
    "Descent",
    "Progress",
    "Split",
    "epoch",
    "holdout_score",
    "random_order",
    "split_rows",
    "stopped",
    "total_loss",
]

_SHORTEST_SORT = 512
"""Below this many keys a sort costs less than the choice of its length."""


class Data(NamedTuple):
    """What an ensemble is fitted to: transitions `[capacity, ...]` of which the first `size` hold data (shared).

    `weights [capacity]` are factors of the rows' losses, means being taken over them; None: all count alike.
    """

    transitions: Transition
    size: Array
    weights: Array | None = None


class Split(NamedTuple):
    """Arrays of one fit; indices are those of rows of the data.

    Attributes:
      rows: the transitions with their extras, `[capacity, ...]`.
      weight: their weights `[capacity]`, or None.
      x: standardised inputs `[capacity, obs_dim + action_dim]`.
      y: targets `[capacity, 1 + obs_dim]`, in the units that are fitted.
      scale: `[1 + obs_dim]`; times it, a difference is one in the environment's units.
      bootstrap: each member's training rows, int32 `[members, capacity]`.
      train_size: int32 `[]`, how many rows are for training.
      holdout: held-out rows, int32 `[max_holdout]`.
      holdout_valid: which of them there are, bool `[max_holdout]`.
    """

    rows: Transition
    weight: Array | None
    x: Array
    y: Array
    scale: Array
    bootstrap: Array
    train_size: Array
    holdout: Array
    holdout_valid: Array


class Batch(NamedTuple):
    """Inputs, targets, weights `[members, batch]` and the transitions themselves, each `[members, batch, ...]`."""

    x: Array
    y: Array
    weight: Array
    rows: Transition


def _share(weight: Array) -> Array:
    """What makes means of weighted sums over the last axis; 1 where no row has a weight: such a mean is 0, not NaN.

    A factor, for `data.normalise`'s reason: all members may have the same weights.
    """
    total = weight.sum(axis=-1)
    return 1.0 / jnp.where(total > 0, total, 1.0)


def total_loss(params: PyTree, config: Config, spec: Spec, loss: Loss, scale: Array, batch: Batch) -> Array:
    """Sum over members of the mean loss, weight decay and the penalty on the bounds, a scalar.

    Args:
      scale: `[1 + obs_dim]`, for the loss, see `Split`.
    """
    mean, log_var = outputs(config, spec, params, batch.x)
    each = loss(Predicted(mean, log_var, batch.y, scale, batch.weight), batch.rows)
    fitted = (each * batch.weight).sum(axis=-1) * _share(batch.weight)
    decay = jnp.asarray(config.weight_decay) @ kernel_norms(params["net"], len(config.weight_decay))
    bounds = params["max_log_var"].sum() - params["min_log_var"].sum()
    return fitted.sum() + decay + config.bound_penalty * bounds


def split_rows(
    key: Key, config: Config, objective: Objective, data: Data
) -> tuple[Split, normalise.Scaler, normalise.Scaler]:
    """Holdout, bootstrap samples and scalers of one fit; shapes follow the capacity, counts the data held."""
    k_split, k_boot = jax.random.split(key)
    batch, size = data.transitions, data.size
    capacity = batch.reward.shape[0]
    limit = min(max(int(config.holdout_fraction * capacity), 1), config.max_holdout)
    held = jnp.clip((config.holdout_fraction * size.astype(jnp.float32)).astype(jnp.int32), 1, limit)
    order = random_order(k_split, (capacity,), size)
    train_size = size - held
    draw = jax.random.randint(k_boot, (config.members, capacity), 0, train_size)
    x = jnp.concatenate([batch.obs, batch.action], axis=-1)
    y = targets_of(config, batch)
    position = jnp.arange(capacity)
    training = jnp.zeros(capacity, bool).at[order].set((position >= held) & (position < size), unique_indices=True)
    inputs = normalise.fit(x, training)
    outputs = normalise.fit(y, training) if config.scale_targets else normalise.identity(y.shape[-1])
    rows = batch._replace(extras=objective.annotate(batch))
    x, y = inputs.forward(x), outputs.forward(y)
    holdout, counts = order[:limit], position[:limit] < held
    split = Split(rows, data.weights, x, y, outputs.std, order[held + draw], train_size, holdout, counts)
    return split, inputs, outputs


def random_order(key: Key, shape: tuple[int, ...], size: Array) -> Array:
    """Permutations, int32 `[*shape]`, along the last axis, whose first `size []` places hold the indices below `size`.

    Only a prefix is sorted, of the axis' length halved as often as `size` allows: early in a run the replay is nearly
    empty, and sorting all of its capacity in each epoch would take as long as the training.
    """
    bits = jax.random.bits(key, shape) >> 1
    beyond = jnp.where(jnp.arange(shape[-1]) < size, jnp.uint32(0), jnp.uint32(1 << 31))
    lengths = [shape[-1]]
    while lengths[-1] >= 2 * _SHORTEST_SORT:
        lengths.append((lengths[-1] + 1) // 2)

    def prefix(length: int, keys: Array) -> Array:
        rest = jnp.broadcast_to(jnp.arange(length, shape[-1]), (*shape[:-1], shape[-1] - length))
        return jnp.concatenate([jnp.argsort(keys[..., :length], axis=-1), rest], axis=-1)

    shorter = jnp.sum(size <= jnp.asarray(lengths[1:], jnp.int32), dtype=jnp.int32)
    return lax.switch(shorter, [partial(prefix, length) for length in lengths], bits | along(beyond, bits))


class Descent(NamedTuple):
    """Parameters and their optimiser."""

    params: PyTree
    opt: optax.OptState


def taken(split: Split, index: Array, weight: Array) -> Batch:
    """The rows at `index [...]`, with `weight [...]` times their own."""
    own = jnp.ones((), weight.dtype) if split.weight is None else split.weight[index]
    return Batch(split.x[index], split.y[index], weight * own, jax.tree.map(lambda leaf: leaf[index], split.rows))


def epoch(
    key: Key,
    config: Config,
    descend: Callable[[Descent, Batch, Array], Descent],
    split: Split,
    carry: Descent,
) -> Descent:
    """One pass over each member's bootstrap sample in an order of its own; the last batch may be short.

    Args:
      descend: `descend(carry, batch [members, batch, ...], scale [1 + obs_dim]) -> carry`, a step on one batch.
    """
    members, capacity = split.bootstrap.shape
    order = random_order(key, (members, capacity), split.train_size)
    rows = jnp.take_along_axis(split.bootstrap, order, axis=1)
    rows = jnp.pad(rows, ((0, 0), (0, config.batch)))

    def minibatch(i: Array, carry: Descent) -> Descent:
        at = i * config.batch
        index = lax.dynamic_slice(rows, (jnp.zeros_like(at), at), (members, config.batch))
        weight = (at + jnp.arange(config.batch) < split.train_size).astype(jnp.float32)
        weight = jnp.broadcast_to(weight, (members, config.batch))
        return descend(carry, taken(split, index, weight), split.scale)

    batches = (split.train_size + config.batch - 1) // config.batch
    return lax.fori_loop(0, batches, minibatch, carry)


def holdout_score(config: Config, spec: Spec, score: Loss, split: Split, params: PyTree) -> Array:
    """Mean score of the held-out rows, `[members]`."""
    held = taken(split, split.holdout, split.holdout_valid.astype(split.x.dtype))
    batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (config.members, *leaf.shape)), held)
    each = score(Predicted(*outputs(config, spec, params, batch.x), batch.y, split.scale, batch.weight), batch.rows)
    return jnp.where(batch.weight > 0, each * batch.weight, 0.0).sum(axis=-1) * _share(batch.weight)


class Progress(NamedTuple):
    """Progress of one fit.

    Attributes:
      params: of all members, `[members, ...]`.
      opt: their optimiser.
      best_net: each member's parameters by the held-out rows.
      best: their scores `[members]`.
      epoch: int32 `[]`, passes made.
      stale: int32 `[]`, passes in a row in which no member has improved.
    """

    params: PyTree
    opt: optax.OptState
    best_net: PyTree
    best: Array
    epoch: Array
    stale: Array


def stopped(
    key: Key,
    config: Config,
    score: Callable[[PyTree], Array],
    one_epoch: Callable[..., Descent],
    start: Descent,
) -> Progress:
    """Epochs until no member has improved its score for longer than `patience`; keeps each member's best network.

    Args:
      score: `score(params) -> [members]`, the held-out rows' mean score; less is better.
      one_epoch: `one_epoch(key, carry=...) -> Descent`.
    """

    def epoch(fit: Progress) -> Progress:
        found = one_epoch(jax.random.fold_in(key, fit.epoch), carry=Descent(fit.params, fit.opt))
        error = score(found.params)
        improved = (fit.best - error) / jnp.abs(fit.best) > config.improvement  # a score may be negative

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(improved.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        best_net = jax.tree.map(keep, found.params["net"], fit.best_net)
        stale = jnp.where(improved.any(), 0, fit.stale + 1)
        return Progress(found.params, found.opt, best_net, jnp.where(improved, error, fit.best), fit.epoch + 1, stale)

    def unfinished(fit: Progress) -> Array:
        return (fit.stale <= config.patience) & (fit.epoch < config.max_epochs)

    scored = jax.eval_shape(score, start.params)
    zero, worst = jnp.zeros((), jnp.int32), jnp.full(scored.shape, 1e10, scored.dtype)
    return lax.while_loop(unfinished, epoch, Progress(*start, start.params["net"], worst, zero, zero))
