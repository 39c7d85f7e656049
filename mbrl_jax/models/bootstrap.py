"""PETS's ensemble (Chua et al., 2018): bootstrapped Gaussian networks, fitted for some epochs to everything.

Unlike `models.ensemble` nothing is held out and nothing stops early, rewards are known and not predicted, and networks
may see and predict functions of the observation (`Form`). Particles are spread over the members exactly evenly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.models.ensemble.fit import random_order
from mbrl_jax.networks import MLP, apply, init_stack, kernel_norms, narrow_normal
from mbrl_jax.objectives.likelihood import bounded_log_var, gaussian_nll
from mbrl_jax.optimisers import adam_tf
from mbrl_jax.types import Info, Key, Model, PyTree, Spec, Transition

__all__ = ["PLAIN", "Config", "Data", "Form", "State", "bootstrap_rows", "dims", "fit", "make", "outputs"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the ensemble; defaults are PETS's released code's for its cartpole (`config/cartpole.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width, `members`, `batch` or `epochs` is below 1;
        `learning_rate` or `bound_penalty` is negative; `weight_decay` has not one coefficient per layer, output
        included.
    """

    members: int = 5
    """Networks (PETS code)."""
    hidden: tuple[int, ...] = (500, 500, 500)
    """Widths of the hidden layers, with swish (PETS code)."""
    weight_decay: tuple[float, ...] = (1e-4, 2.5e-4, 2.5e-4, 5e-4)
    """Coefficient of ½‖W‖² per layer, in the loss (PETS code)."""
    learning_rate: float = 1e-3
    """Adam learning rate; Adam's state is kept from fit to fit (PETS code)."""
    bound_penalty: float = 0.01
    """Weight of Σ(max − min) of the learned log-variance bounds (PETS code)."""
    batch: int = 32
    """Rows per member and gradient step (PETS code)."""
    epochs: int = 5
    """Passes over a bootstrap sample per fit (PETS code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "members", "batch", "epochs")
        check_widths(self, "hidden", empty=True)
        check_not_negative(self, "learning_rate", "bound_penalty")
        if len(self.weight_decay) != len(self.hidden) + 1:
            raise ValueError(
                "weight_decay needs one coefficient per layer, output included: "
                f"{len(self.hidden) + 1} for hidden={self.hidden}, got {len(self.weight_decay)}"
            )


def _identity(obs: Array) -> Array:
    return obs


def _change(obs: Array, next_obs: Array) -> Array:
    return next_obs - obs


def _moved(obs: Array, change: Array) -> Array:
    return obs + change


class Form(NamedTuple):
    """What the networks see of an observation and predict of the next one.

    Attributes:
      encode: `encode(obs[..., obs_dim]) -> [..., inputs]`.
      target: `target(obs, next_obs) -> [..., targets]`.
      decode: `decode(obs, predicted[..., targets]) -> next_obs`, which undoes `target`.
    """

    encode: Callable[[Array], Array] = _identity
    target: Callable[[Array, Array], Array] = _change
    decode: Callable[[Array, Array], Array] = _moved


PLAIN = Form()
"""The observation, and its change."""


class Data(NamedTuple):
    """Transitions `[capacity, ...]`, which of them there are (bool `[capacity]`), and a bootstrap sample's size."""

    transitions: Transition
    valid: Array
    size: Array


class State(NamedTuple):
    """Parameters of the members `[members, ...]`, their optimiser, and the scaler of the inputs."""

    params: dict[str, PyTree]
    opt: optax.OptState
    inputs: normalise.Scaler


class _Batch(NamedTuple):
    """Standardised inputs and targets, and weights that are 0 for rows that only fill up: `[members, batch, ...]`."""

    x: Array
    y: Array
    weight: Array


def dims(spec: Spec, form: Form) -> tuple[int, int]:
    """Widths of the networks' inputs, the action's included, and of their targets."""
    obs = jax.ShapeDtypeStruct((spec.obs_dim,), jnp.float32)
    seen, wanted = jax.eval_shape(form.encode, obs), jax.eval_shape(form.target, obs, obs)
    return seen.shape[0] + spec.action_dim, wanted.shape[0]


def outputs(config: Config, params: PyTree, x: Array) -> tuple[Array, Array]:
    """Means and bounded log-variances, each `[members, batch, targets]`, for x `[members, batch, inputs]`."""
    network = MLP(config.hidden, 2 * params["max_log_var"].shape[0], nn.silu, narrow_normal)
    raw: PyTree = jax.vmap(partial(apply, network))(params["net"], x)
    mean, log_var = jnp.split(raw, 2, axis=-1)
    return mean, bounded_log_var(log_var, params["min_log_var"], params["max_log_var"])


def _loss(config: Config, params: PyTree, batch: _Batch) -> tuple[Array, Array]:
    """Sum over members of the mean loss, decay and the bounds' penalty; and the first divided by the members."""
    each = gaussian_nll(*outputs(config, params, batch.x), batch.y).mean(axis=-1)
    fitted = ((each * batch.weight).sum(axis=-1) * (1.0 / batch.weight.sum(axis=-1))).sum()
    decay = jnp.asarray(config.weight_decay) @ kernel_norms(params["net"], len(config.weight_decay))
    bounds = params["max_log_var"].sum() - params["min_log_var"].sum()
    return fitted + decay + config.bound_penalty * bounds, fitted / config.members


def _descend(config: Config, params: PyTree, opt: PyTree, batch: _Batch) -> tuple[PyTree, PyTree, Array]:
    grads, fitted = jax.grad(partial(_loss, config), has_aux=True)(params, batch)
    updates, opt = adam_tf(config.learning_rate).update(grads, opt, params)
    return optax.apply_updates(params, updates), opt, fitted


def bootstrap_rows(key: Key, members: int, valid: Array) -> Array:
    """Rows drawn with replacement from `valid [capacity]` ones for each member, int32 `[members, capacity]`."""
    capacity = valid.shape[0]
    rows = jnp.flatnonzero(valid, size=capacity, fill_value=0).astype(jnp.int32)
    return rows[jax.random.randint(key, (members, capacity), 0, valid.sum())]


def fit(config: Config, form: Form, key: Key, state: State, data: Data) -> tuple[State, Info]:
    """`epochs` passes over new bootstrap samples, from the last fit's parameters."""
    k_boot, k_epochs = jax.random.split(key)
    steps, size = data.transitions, data.size
    x = jnp.concatenate([form.encode(steps.obs), steps.action], axis=-1)
    y, scaler = form.target(steps.obs, steps.next_obs), normalise.fit(x, data.valid)
    x, rows = scaler.forward(x), bootstrap_rows(k_boot, config.members, data.valid)

    def epoch(carry: tuple[PyTree, PyTree], k: Key) -> tuple[tuple[PyTree, PyTree], Array]:
        order = jnp.take_along_axis(rows, random_order(k, rows.shape, size), axis=1)
        order = jnp.pad(order, ((0, 0), (0, config.batch)), mode="wrap")

        def minibatch(i: Array, carry: tuple[PyTree, PyTree, Array]) -> tuple[PyTree, PyTree, Array]:
            at = i * config.batch
            index = lax.dynamic_slice(order, (jnp.zeros_like(at), at), (config.members, config.batch))
            weight = (at + jnp.arange(config.batch) < size).astype(x.dtype)
            batch = _Batch(x[index], y[index], jnp.broadcast_to(weight, index.shape))
            params, opt, fitted = _descend(config, carry[0], carry[1], batch)
            return params, opt, carry[2] + fitted

        count = (size + config.batch - 1) // config.batch
        params, opt, total = lax.fori_loop(0, count, minibatch, (*carry, jnp.zeros((), x.dtype)))
        return (params, opt), total / count.astype(x.dtype)

    carry = (state.params, state.opt)
    (params, opt), losses = lax.scan(epoch, carry, jax.random.split(k_epochs, config.epochs))
    return State(params, opt, scaler), {"model/loss": losses[-1], "model/train_size": data.valid.sum()}


def make(config: Config, spec: Spec, form: Form, dynamics: Callable[[State], PyTree]) -> Model[State, Data]:
    """The ensemble; `update` takes batches `[updates, batch, ...]` of transitions that all members see alike.

    Args:
      dynamics: `dynamics(state) -> Dynamics`, see `models.particles`.
    """
    inputs, targets = dims(spec, form)

    def init(key: Key) -> State:
        network = MLP(config.hidden, 2 * targets, nn.silu, narrow_normal)
        params = {
            "net": init_stack(key, network, config.members, inputs),
            "max_log_var": jnp.full(targets, 0.5, jnp.float32),
            "min_log_var": jnp.full(targets, -10.0, jnp.float32),
        }
        return State(params, adam_tf(config.learning_rate).init(params), normalise.identity(inputs))

    def update(key: Key, state: State, batches: Transition) -> tuple[State, Info]:
        del key

        def step(state: State, rows: Transition) -> tuple[State, Info]:
            x = state.inputs.forward(jnp.concatenate([form.encode(rows.obs), rows.action], axis=-1))
            one = _Batch(x, form.target(rows.obs, rows.next_obs), jnp.ones_like(rows.reward))
            every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (config.members, *leaf.shape)), one)
            params, opt, fitted = _descend(config, state.params, state.opt, every)
            return state._replace(params=params, opt=opt), {"model/loss": fitted}

        return lax.scan(step, state, batches)

    return Model(init, partial(fit, config, form), update, dynamics)
