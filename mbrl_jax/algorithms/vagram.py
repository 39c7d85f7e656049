"""VaGraM (Voelcker et al., 2022, arXiv 2204.01464): MBPO whose model minimises errors weighted by the value's gradient.

A model that serves a value function V should err little in V(ŝ') − V(s'). To first order that is g · (ŝ' − s'),
g = ∇V(s'), whose square by Cauchy is at most dim(s) Σ_j (g_j (ŝ'_j − s'_j))²: squared errors, weighted by how much the
value notices each entry. Where its released code (`pairlab/vagram`) and the paper differ, docs/vagram.md says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.agents import sac
from mbrl_jax.models import ensemble
from mbrl_jax.networks import apply
from mbrl_jax.types import Config, Spec, Transition

QUANTILE = 0.95
"""Norms of gradients above this quantile of a batch are scaled to it (`bound_clipping_quantile` of the released
configuration, whose code then clips nothing; docs/vagram.md)."""

Weighing = Callable[[Array, Array], Array]
"""`weighing(gradient[..., critics, obs_dim], error[..., obs_dim]) -> [...]`."""


def bound(gradient: Array, error: Array) -> Array:
    """`mean_k Σ_j (g_kj e_j)²` `[...]`: VaGraM's loss, which bounds `first_order` up to the factor obs_dim.

    Args:
      gradient: g, `[..., critics, obs_dim]`, value per unit of each observation entry; a constant.
      error: e = ŝ' − s', `[..., obs_dim]`.
    """
    return jnp.square(gradient * error[..., None, :]).sum(axis=-1).mean(axis=-1)


def first_order(gradient: Array, error: Array) -> Array:
    """`mean_k (Σ_j g_kj e_j)²` `[...]`: the squared value error to first order; zero wherever e is orthogonal to g.

    The released code's `use_vaml`. Arguments as in `bound`: `[..., critics, obs_dim]` and `[..., obs_dim]`.
    """
    return jnp.square((gradient * error[..., None, :]).sum(axis=-1)).mean(axis=-1)


def clipped(gradient: Array, weight: Array, quantile: float = QUANTILE) -> Array:
    """The gradients of a batch, of which those of a norm above the quantile are scaled to it.

    The quantile is that of the rows that count, of each critic by itself, interpolated linearly between ranks.

    Args:
      gradient: `[..., batch, critics, obs_dim]`.
      weight: `[..., batch]`, 0 for rows that only fill up the batch.
      quantile: in [0, 1]; 1 clips nothing.

    Returns:
      `[..., batch, critics, obs_dim]`.
    """
    norm = jnp.linalg.norm(gradient, axis=-1, keepdims=True)
    counted = jnp.where(weight[..., None, None] > 0, norm, jnp.nan)
    limit = jnp.nanquantile(counted, quantile, axis=-3, keepdims=True)
    return gradient * jnp.where(norm > limit, limit / jnp.where(norm > 0, norm, 1.0), 1.0)


def value_gradients(config: sac.Config, spec: Spec, state: sac.State, obs: Array) -> Array:
    """`∇_s Q_k(s, a)` at the policy's mean action a, which is held constant, of online and target critics.

    Args:
      obs: `[batch, obs_dim]`.

    Returns:
      `[batch, 2 critics, obs_dim]`, each critic's own; the online ones come first.
    """
    _, critic = sac.architecture(config, spec)
    action = jnp.tanh(sac.gaussian(config, spec, state, obs)[0])
    both = jax.tree.map(lambda *pair: jnp.concatenate(pair), state.params["critic"], state.target)

    def total(obs: Array) -> Array:
        """Sum over critics and rows, each of which sees its own copy of the observation."""
        inputs = jnp.concatenate([obs, jnp.broadcast_to(action, (*obs.shape[:-1], spec.action_dim))], axis=-1)
        return jax.vmap(partial(apply, critic))(both, inputs).sum()

    copies = jnp.broadcast_to(obs, (2 * config.critics, *obs.shape))
    return jax.lax.stop_gradient(jnp.moveaxis(jax.grad(total)(copies), 0, 1))


def objective(
    config: sac.Config, spec: Spec, state: sac.State, weighing: Weighing = bound, quantile: float = QUANTILE
) -> ensemble.Objective:
    """The model's objective, given the agent: `weighing` of the error of the next observation, plus (r̂ − r)².

    The gradients are computed once per fit for every stored transition. Held-out rows are scored by the same loss.

    Args:
      weighing: `bound`, or `first_order`.
      quantile: see `clipped`.
    """

    def annotate(stored: Transition) -> Array:
        return value_gradients(config, spec, state, stored.next_obs)

    def loss(predicted: ensemble.Predicted, batch: Transition) -> Array:
        gradient = clipped(batch.extras, predicted.weight, quantile)
        return weighing(gradient, predicted.error[..., 1:]) + jnp.square(predicted.error[..., 0])

    return ensemble.Objective(loss=loss, score=loss, annotate=annotate)


VARIES = "mbpo"
OPTIONS = {"objective": objective}
ABOUT = "MBPO with the value-gradient weighted model loss (Voelcker et al. 2022)"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """MBPO's `Config` of a task, with a deterministic model, whose log-variances nothing fits."""
    del base
    return replace(config, model=replace(config.model, deterministic=True))
