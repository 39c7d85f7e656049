"""Transition models with a density: one diagonal Gaussian, or a mixture of several (a mixture density network).

Fitted by maximum likelihood, or with a weight per transition: with the returns of the trajectories as weights this is
the minimum-variance objective of Haghgoo et al., 2021 (Eq. 10, Algorithm 2). The reward is not learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_positive, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.models import fitting
from mbrl_jax.networks import MLP, apply, glorot
from mbrl_jax.objectives.likelihood import bounded_variance
from mbrl_jax.objectives.value_aware import minimum_variance_loss
from mbrl_jax.promotions import promoting
from mbrl_jax.rollouts import memoryless
from mbrl_jax.types import Dynamics, Info, Key, Learner, PyTree, Spec, Transition, along

__all__ = ["Config", "Data", "State", "distribution", "dynamics", "log_prob", "make", "sample"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the model; Haghgoo et al. give none of them.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width or `components` is below 1; `holdout_fraction` is
        outside (0, 1); `log_std` does not increase.
    """

    components: int = 5
    """Gaussians in the mixture; 1 is the unimodal model."""
    hidden: tuple[int, ...] = (200, 200)
    """Widths of the hidden layers."""
    log_std: tuple[float, float] = (-5.0, 2.0)
    """Soft bounds of a component's log standard deviation, in standard deviations of the targets."""
    holdout_fraction: float = field(default=0.1, metadata={"static": True})
    """Share of the transitions held out for early stopping, drawn anew at every fit."""
    warm_start: bool = False
    """Start a fit from the last one's parameters; Algorithm 2 starts from random ones."""
    fit: fitting.Config = field(default_factory=fitting.Config)
    """How long and how fast."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "components")
        check_widths(self, "hidden", empty=True)
        check_fraction(self.holdout_fraction)
        if not self.log_std[0] < self.log_std[1]:
            raise ValueError(f"log_std must be a lower and a higher bound, got {self.log_std}")


def check_fraction(fraction: float) -> None:
    """Refuses a held-out share outside (0, 1).

    Raises:
      ValueError: it is outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise ValueError(f"holdout_fraction must lie strictly between 0 and 1, got {fraction}")


class State(NamedTuple):
    """Parameters and the scalers of inputs and targets."""

    params: PyTree
    inputs: normalise.Scaler
    targets: normalise.Scaler


class Data(NamedTuple):
    """What a model is fitted to: transitions `[rows, ...]`, their `weights [rows]`, and bool `valid [rows]`."""

    transitions: Transition
    weights: Array
    valid: Array


def _network(config: Config, spec: Spec) -> MLP:
    return MLP(config.hidden, config.components * (1 + 2 * spec.obs_dim), nn.relu)


def _outputs(config: Config, spec: Spec, params: PyTree, x: Array) -> tuple[Array, Array]:
    """Logits `[..., M]` and what describes each Gaussian `[..., M, 2 obs_dim]`; standardised inputs `x [..., in]`."""
    raw = apply(_network(config, spec), params, x)
    logits, rest = jnp.split(raw, [config.components], axis=-1)
    return logits, rest.reshape(*raw.shape[:-1], config.components, 2 * spec.obs_dim)


def _gaussian(config: Config, described: Array) -> tuple[Array, Array]:
    """Mean and standard deviation, each `[..., obs_dim]`, of what `described [..., 2 obs_dim]` says."""
    mean, log_var = jnp.split(described, 2, axis=-1)
    low, high = (jnp.full(mean.shape[-1], 2.0 * bound, mean.dtype) for bound in config.log_std)
    return mean, jnp.sqrt(bounded_variance(log_var, low, high))


def distribution(config: Config, spec: Spec, params: PyTree, x: Array) -> distrax.Distribution:
    """The distribution of the standardised change of the observation, given standardised inputs `x [..., in]`."""
    logits, described = _outputs(config, spec, params, x)
    mean, std = _gaussian(config, described)
    if config.components == 1:
        return distrax.MultivariateNormalDiag(mean[..., 0, :], std[..., 0, :])
    return distrax.MixtureSameFamily(distrax.Categorical(logits), distrax.MultivariateNormalDiag(mean, std))


def log_prob(config: Config, spec: Spec, state: State, obs: Array, action: Array, next_obs: Array) -> Array:
    """`log q(next_obs | obs, action)` in nats, `[...]`, a density in the observation's own units.

    Args:
      obs: `[..., obs_dim]`; `next_obs` likewise.
      action: `[..., action_dim]`.
    """
    x, y = _standardised(state, obs, action, next_obs)
    density = _log_prob(distribution(config, spec, state.params, x), y)
    return density - jnp.log(state.targets.std).sum()


def _log_prob(density: distrax.Distribution, y: Array) -> Array:
    with promoting():  # distrax broadcasts a value's axes over its parameters' and over the components'
        return cast(Array, density.log_prob(y))


def _standardised(state: State, obs: Array, action: Array, next_obs: Array) -> tuple[Array, Array]:
    return state.inputs.forward(jnp.concatenate([obs, action], axis=-1)), state.targets.forward(next_obs - obs)


def sample(config: Config, spec: Spec, state: State, key: Key, obs: Array, action: Array) -> Array:
    """A draw of the next observation, `[..., obs_dim]`: a component, then its Gaussian, both by inversion.

    distrax's own mixture draws from every component and drops all but one; here `1 + obs_dim` uniform numbers make a
    row, which is also a single random draw to compile.

    Args:
      obs: `[..., obs_dim]`.
      action: `[..., action_dim]`.
    """
    uniform = jax.random.uniform(key, (*obs.shape[:-1], 1 + spec.obs_dim), obs.dtype, 1e-7, 1.0)
    x = state.inputs.forward(jnp.concatenate([obs, action], axis=-1))
    logits, described = _outputs(config, spec, state.params, x)
    if config.components > 1:
        reached = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)[..., :-1]
        chosen = (uniform[..., :1] > reached).sum(axis=-1)
        # A sum over masked rows: a gather takes longer on a CPU.
        described = jnp.where(
            (along(jnp.arange(config.components), logits) == chosen[..., None])[..., None], described, 0.0
        )
    mean, std = _gaussian(config, described.sum(axis=-2))
    normal = math.sqrt(2) * lax.erf_inv(2 * uniform[..., 1:] - 1)
    draw = mean + std * normal
    return obs + state.targets.backward(draw)


def dynamics(
    config: Config,
    spec: Spec,
    state: State,
    reward: Callable[[Array, Array, Array], Array] | None = None,
    terminal: Callable[[Array], Array] | None = None,
) -> Dynamics[tuple[()]]:
    """The model with the task's known reward and termination, to plan with; without a reward it is 0.

    Args:
      reward: `reward(obs [..., obs_dim], action [..., action_dim], next_obs [..., obs_dim]) -> [...]`, the task's.
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's termination; None if it never terminates.
    """

    def step(key: Key, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        next_obs = sample(config, spec, state, key, obs, action)
        gain = jnp.zeros_like(obs[..., 0]) if reward is None else reward(obs, action, next_obs)
        ended = jnp.zeros(obs.shape[:-1], bool) if terminal is None else terminal(next_obs)
        return next_obs, gain, 1.0 - ended.astype(obs.dtype)

    return memoryless(step)


def scalers(data: Data, training: Array) -> tuple[normalise.Scaler, normalise.Scaler]:
    """Scalers of `(obs, action)` and of the change of the observation over the rows of `training`, bool `[rows]`."""
    obs, action, next_obs = data.transitions.obs, data.transitions.action, data.transitions.next_obs
    return normalise.fit(jnp.concatenate([obs, action], axis=-1), training), normalise.fit(next_obs - obs, training)


def make(config: Config, spec: Spec) -> Learner[State, Data]:
    """The model as something that is fitted; `dynamics` makes a model to roll out of its state."""

    def fresh(key: Key) -> PyTree:
        return glorot(key, _network(config, spec), spec.obs_dim + spec.action_dim)

    def init(key: Key) -> State:
        inputs = normalise.identity(spec.obs_dim + spec.action_dim)
        return State(fresh(key), inputs, normalise.identity(spec.obs_dim))

    def fit(key: Key, state: State, data: Data) -> tuple[State, Info]:
        k_init, k_split, k_fit = jax.random.split(key, 3)
        parts = fitting.split(k_split, data.valid, config.holdout_fraction)
        inputs, targets = scalers(data, parts.training())
        x = inputs.forward(jnp.concatenate([data.transitions.obs, data.transitions.action], axis=-1))
        y = targets.forward(data.transitions.next_obs - data.transitions.obs)
        most = max(int(config.holdout_fraction * x.shape[0]), 1)
        held, counts = parts.holdout(most)
        # Held-out rows of weight 0 only say nothing: then all count alike.
        importance = jnp.where(counts, data.weights[held], 0.0)
        importance = jnp.where(importance.sum() > 0, importance, counts.astype(importance.dtype))

        def losses(params: PyTree, rows: Array, weights: Array) -> Array:
            found = _log_prob(distribution(config, spec, params, x[rows]), y[rows])
            return minimum_variance_loss(found[:, None], weights)

        def loss(params: PyTree, k: Key) -> Array:
            rows = parts.draw(k, config.fit.batch)
            return losses(params, rows, data.weights[rows]).mean()

        def score(params: PyTree) -> Array:
            return losses(params, held, importance).sum() / importance.sum()

        start = state.params if config.warm_start else fresh(k_init)
        found = fitting.fit(k_fit, config.fit, start, loss, score)
        info = {"model/holdout_nll": found.score, "model/steps": found.steps.astype(jnp.float32)}
        return State(found.params, inputs, targets), info

    return Learner(init, fit)
