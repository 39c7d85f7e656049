"""Bootstrap ensembles of probabilistic transition models, fitted with holdout early stopping inside one program.

As in MBPO (Janner et al., 2019, Sec. 4.2) and its released code: members predict a diagonal Gaussian over the reward
and the change of the observation; each is fitted to its own bootstrap sample; a member's best parameters by holdout
error are restored at the end; the members with the lowest holdout error are the elites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP, apply, init_stack, kernel_norms, narrow_normal
from mbrl_jax.objectives.likelihood import bounded_log_var, gaussian_nll
from mbrl_jax.types import (
    Key,
    Learner,
    ModelStep,
    PyTree,
    Spec,
    Transition,
    check_not_negative,
    check_positive,
    check_widths,
)

__all__ = ["Config", "Data", "State", "make", "model_step", "predict"]

_SHORTEST_SORT = 512
"""Below this many keys a sort costs less than the choice of its length."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the ensemble; defaults follow MBPO's released code (`bnn.py`, `constructor.py`)."""

    members: int = 7
    """Number of networks trained (Janner et al. 2019, Table 1, gives 7; PETS's code base `bnn.py`)."""
    elites: int = 5
    """Number of networks used for roll-outs: those with the lowest holdout error (MBPO code)."""
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    """Widths of the hidden layers; 400 each for Humanoid (Janner et al. 2019, Table 1)."""
    learning_rate: float = 1e-3
    """Adam learning rate (MBPO code, `constructor.py`)."""
    weight_decay: tuple[float, ...] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
    """Coefficient of ½‖W‖² per layer, in the loss, not decoupled (MBPO code, `constructor.py`)."""
    bound_penalty: float = 0.01
    """Weight of Σ(max − min) of the learned log-variance bounds (PETS's code base)."""
    batch: int = 256
    """Transitions per member and gradient step (MBPO code)."""
    holdout_fraction: float = field(default=0.2, metadata={"static": True})
    """Share of the data held out, drawn anew at every fit (MBPO code)."""
    max_holdout: int = 5000
    """Upper limit of the held-out transitions (MBPO code)."""
    patience: int = 5
    """Fitting stops after more than this many epochs in a row in which no member improved (MBPO code)."""
    improvement: float = 0.01
    """Relative decrease of a member's holdout error that counts as an improvement (MBPO code)."""
    max_epochs: int = 1000
    """Safety limit of epochs per fit; the released code has none."""
    residual: bool = True
    """Predict the change of the observation; False predicts the next observation itself (a known switch on
    DMC-like tasks: Barkley & Fridovich-Keil, 2025)."""
    scale_targets: bool = False
    """Standardise the targets over the training data too; the released code does not."""

    def __post_init__(self) -> None:
        if not 1 <= self.elites <= self.members:
            raise ValueError(f"need 1 <= elites <= members, got elites={self.elites}, members={self.members}")
        check_widths(self, "hidden", empty=True)
        if len(self.weight_decay) != len(self.hidden) + 1:
            raise ValueError(
                "weight_decay needs one coefficient per layer, output included: "
                f"{len(self.hidden) + 1} for hidden={self.hidden}, got {len(self.weight_decay)}"
            )
        if not 0 < self.holdout_fraction < 1:
            raise ValueError(f"holdout_fraction must lie strictly between 0 and 1, got {self.holdout_fraction}")
        check_positive(self, "batch", "max_holdout", "max_epochs")
        check_not_negative(self, "patience")


class State(NamedTuple):
    """Parameters of the members `[members, ...]`, their optimiser, the scalers, elite indices and holdout errors."""

    params: PyTree
    opt: optax.OptState
    inputs: normalise.Scaler
    targets: normalise.Scaler
    elites: Array
    holdout: Array


class Data(NamedTuple):
    """What an ensemble is fitted to: transitions `[capacity, ...]` of which the first `size` hold data (shared)."""

    transitions: Transition
    size: Array


class _Split(NamedTuple):
    """Arrays of one fit. `bootstrap[members, capacity]` and `holdout[max_holdout]` index the rows of x and y."""

    x: Array
    y: Array
    bootstrap: Array
    train_size: Array
    holdout: Array
    holdout_valid: Array


def _network(config: Config, spec: Spec) -> MLP:
    return MLP(config.hidden, 2 * (1 + spec.obs_dim), nn.silu, narrow_normal)


def _outputs(config: Config, spec: Spec, params: PyTree, x: Array) -> tuple[Array, Array]:
    """Means and bounded log-variances, each `[members, batch, 1 + obs_dim]`, for x `[members, batch, in]`."""
    raw: Any = jax.vmap(partial(apply, _network(config, spec)))(params["net"], x)
    mean, log_var = jnp.split(raw, 2, axis=-1)
    return mean, bounded_log_var(log_var, params["min_log_var"], params["max_log_var"])


def targets_of(config: Config, batch: Transition) -> Array:
    """Regression targets `[..., 1 + obs_dim]`: reward, then the change of the observation."""
    change = batch.next_obs - batch.obs if config.residual else batch.next_obs
    return jnp.concatenate([batch.reward[..., None], change], axis=-1)


def predict(config: Config, spec: Spec, state: State, obs: Array, action: Array, members: Array) -> tuple[Array, Array]:
    """Gaussian predictions of the given members.

    Args:
      obs: `[len(members), batch, obs_dim]`, each member's own inputs. `action` likewise, in [-1, 1].
      members: indices of members.

    Returns:
      Mean and log-variance of (reward, next_obs), each `[len(members), batch, 1 + obs_dim]`.
    """
    chosen = jax.tree.map(lambda leaf: leaf[members], state.params["net"])
    x = state.inputs.forward(jnp.concatenate([obs, action], axis=-1))
    mean, log_var = _outputs(config, spec, {**state.params, "net": chosen}, x)
    mean = state.targets.backward(mean)
    base = jnp.concatenate([jnp.zeros_like(obs[..., :1]), obs], axis=-1)
    return mean + base * config.residual, log_var + 2.0 * jnp.log(state.targets.std)


def model_step(config: Config, spec: Spec, state: State, terminal: Callable[[Array], Array] | None = None) -> ModelStep:
    """The elites as a model to roll out: every row gets a uniformly random elite and a draw from its Gaussian.

    Randomly permuted rows are dealt in turn to randomly permuted elites. So each row's elite is exactly uniform and
    independent between steps, shares differ by at most one row, and every elite computes only its share (the released
    code draws every row's elite independently and computes all members for every row).

    Args:
      terminal: the task's termination as a function of `next_obs`; None if it never terminates.
    """
    count = config.elites

    def step(key: Key, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        k_deal, k_elites, k_noise = jax.random.split(key, 3)
        batch = obs.shape[0]
        share = -(-batch // count)
        order = jax.random.permutation(k_deal, batch)
        # Places left over are filled with rows that do not exist: read as the last row, dropped when written.
        filled = jnp.concatenate([order, jnp.arange(batch, share * count, dtype=order.dtype)])
        dealt = filled.reshape(share, count).T
        elites = jax.random.permutation(k_elites, state.elites)
        rows = jnp.minimum(dealt, batch - 1)
        mean, log_var = predict(config, spec, state, obs[rows], action[rows], elites)
        draw = mean + jnp.exp(0.5 * log_var) * jax.random.normal(k_noise, mean.shape)
        flat = draw.reshape(share * count, -1)
        out = jnp.zeros_like(flat[:batch]).at[dealt.reshape(-1)].set(flat, mode="drop", unique_indices=True)
        reward, next_obs = out[:, 0], out[:, 1:]
        ended = jnp.zeros(batch, bool) if terminal is None else terminal(next_obs)
        return next_obs, reward, 1.0 - ended.astype(jnp.float32)

    return step


def _loss(params: PyTree, config: Config, spec: Spec, x: Array, y: Array, weight: Array) -> Array:
    """Sum over members of the mean likelihood loss, weight decay and the penalty on the bounds."""
    mean, log_var = _outputs(config, spec, params, x)
    likelihood = (gaussian_nll(mean, log_var, y).mean(axis=-1) * weight).sum(axis=-1) / weight.sum(axis=-1)
    decay = jnp.asarray(config.weight_decay) @ kernel_norms(params["net"], len(config.weight_decay))
    bounds = params["max_log_var"].sum() - params["min_log_var"].sum()
    return likelihood.sum() + decay + config.bound_penalty * bounds


def _split(key: Key, config: Config, data: Data) -> tuple[_Split, normalise.Scaler, normalise.Scaler]:
    """Holdout, bootstrap samples and scalers of one fit; shapes follow the capacity, counts the data held."""
    k_split, k_boot = jax.random.split(key)
    batch, size = data.transitions, data.size
    capacity = batch.reward.shape[0]
    limit = min(max(int(config.holdout_fraction * capacity), 1), config.max_holdout)
    held = jnp.clip((config.holdout_fraction * size).astype(jnp.int32), 1, limit)
    order = _random_order(k_split, (capacity,), size)
    train_size = size - held
    draw = jax.random.randint(k_boot, (config.members, capacity), 0, train_size)
    x = jnp.concatenate([batch.obs, batch.action], axis=-1)
    y = targets_of(config, batch)
    position = jnp.arange(capacity)
    training = jnp.zeros(capacity, bool).at[order].set((position >= held) & (position < size), unique_indices=True)
    inputs = normalise.fit(x, training)
    outputs = normalise.fit(y, training) if config.scale_targets else normalise.identity(y.shape[-1])
    split = _Split(
        inputs.forward(x), outputs.forward(y), order[held + draw], train_size, order[:limit], position[:limit] < held
    )
    return split, inputs, outputs


def _random_order(key: Key, shape: tuple[int, ...], size: Array) -> Array:
    """Random permutations along the last axis in which the first `size` places hold the indices below `size`.

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
    return lax.switch(shorter, [partial(prefix, length) for length in lengths], bits | beyond)


def _epoch(
    key: Key, config: Config, spec: Spec, optimiser: optax.GradientTransformation, split: _Split, carry: tuple
) -> tuple:
    """One pass over each member's bootstrap sample in an order of its own; the last batch may be short."""
    members, capacity = split.bootstrap.shape
    order = _random_order(key, (members, capacity), split.train_size)
    rows = jnp.take_along_axis(split.bootstrap, order, axis=1)
    rows = jnp.pad(rows, ((0, 0), (0, config.batch)))

    def minibatch(i: Array, carry: tuple) -> tuple:
        params, opt = carry
        at = i * config.batch
        index = lax.dynamic_slice(rows, (jnp.zeros_like(at), at), (members, config.batch))
        weight = (at + jnp.arange(config.batch) < split.train_size).astype(jnp.float32)
        weight = jnp.broadcast_to(weight, (members, config.batch))
        grads = jax.grad(_loss)(params, config, spec, split.x[index], split.y[index], weight)
        updates, opt = optimiser.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt

    batches = (split.train_size + config.batch - 1) // config.batch
    return lax.fori_loop(0, batches, minibatch, carry)


def _holdout_error(config: Config, spec: Spec, split: _Split, params: PyTree) -> Array:
    """Mean squared error of the predicted means on the held-out rows, `[members]`."""
    x = jnp.broadcast_to(split.x[split.holdout], (config.members, *split.x[split.holdout].shape))
    mean, _ = _outputs(config, spec, params, x)
    error = jnp.square(mean - split.y[split.holdout]).mean(axis=-1)
    return jnp.where(split.holdout_valid, error, 0.0).sum(axis=-1) / split.holdout_valid.sum()


class _Fit(NamedTuple):
    """Progress of one fit."""

    params: PyTree
    opt: optax.OptState
    best_net: PyTree
    best: Array
    epoch: Array
    stale: Array


def make(config: Config, spec: Spec) -> Learner:
    """An ensemble as a learner: `update(key, state, Data)` is one whole fit, warm-started from the last one."""
    optimiser = optax.adam(config.learning_rate)
    dim = 1 + spec.obs_dim

    def init(key: Key) -> State:
        params = {
            "net": init_stack(key, _network(config, spec), config.members, spec.obs_dim + spec.action_dim),
            "max_log_var": jnp.full(dim, 0.5, jnp.float32),
            "min_log_var": jnp.full(dim, -10.0, jnp.float32),
        }
        scalers = normalise.identity(spec.obs_dim + spec.action_dim), normalise.identity(dim)
        elites = jnp.arange(config.elites, dtype=jnp.int32)
        return State(params, optimiser.init(params), *scalers, elites, jnp.zeros(config.members))

    def update(key: Key, state: State, data: Data) -> tuple[State, dict[str, Array]]:
        k_split, k_epochs = jax.random.split(key)
        split, inputs, outputs = _split(k_split, config, data)

        def epoch(fit: _Fit) -> _Fit:
            k_epoch = jax.random.fold_in(k_epochs, fit.epoch)
            params, opt = _epoch(k_epoch, config, spec, optimiser, split, (fit.params, fit.opt))
            error = _holdout_error(config, spec, split, params)
            improved = (fit.best - error) / fit.best > config.improvement
            keep = lambda new, old: jnp.where(improved.reshape(-1, *[1] * (new.ndim - 1)), new, old)  # noqa: E731
            best_net = jax.tree.map(keep, params["net"], fit.best_net)
            stale = jnp.where(improved.any(), 0, fit.stale + 1)
            return _Fit(params, opt, best_net, jnp.where(improved, error, fit.best), fit.epoch + 1, stale)

        def unfinished(fit: _Fit) -> Array:
            return (fit.stale <= config.patience) & (fit.epoch < config.max_epochs)

        zero, worst = jnp.zeros((), jnp.int32), jnp.full(config.members, 1e10, jnp.float32)
        fit = _Fit(state.params, state.opt, state.params["net"], worst, zero, zero)
        fit = lax.while_loop(unfinished, epoch, fit)
        params = {**fit.params, "net": fit.best_net}
        error = _holdout_error(config, spec, split, params)
        elites = jnp.argsort(error)[: config.elites].astype(jnp.int32)
        info = {
            "model/holdout_mse": error[elites].mean(),
            "model/epochs": fit.epoch,
            "model/train_size": split.train_size,
        }
        return State(params, fit.opt, inputs, outputs, elites, error), info

    return Learner(init, update)
