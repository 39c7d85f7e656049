"""A classifier of real against model next observations at the same real (obs, action): Haghgoo et al., 2021, Sec. 3.1.

Its logit estimates `log p(s' | s, a) / q(s' | s, a)` (Eq. 7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.models import fitting, mixture
from mbrl_jax.networks import MLP, apply, glorot
from mbrl_jax.objectives.ratios import discriminator_loss
from mbrl_jax.types import Info, Key, Learner, PyTree, Spec, along

__all__ = ["Config", "Data", "State", "blurred", "logit", "make"]

Sample = Callable[[Key, Array, Array], Array]
"""`sample(key, obs[B, O], action[B, A]) -> next_obs[B, O]`, the model whose samples are the fakes."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the discriminator; Haghgoo et al. give none of them.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width is below 1; `holdout_fraction` is outside (0, 1).
    """

    hidden: tuple[int, ...] = (200, 200)
    """Widths of the hidden layers."""
    holdout_fraction: float = field(default=0.1, metadata={"static": True})
    """Share of the transitions held out for early stopping, drawn anew at every fit."""
    warm_start: bool = False
    """Start a fit from the last one's parameters; Algorithm 2 starts from random ones."""
    noise: float = 0.0
    """Gaussian noise on next observations, real and model's alike, in standard deviations of their changes: what is
    deterministic in reality then does not give every sample of a model away; not in the paper."""
    fit: fitting.Config = field(default_factory=fitting.Config)
    """How long and how fast."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_widths(self, "hidden", empty=True)
        mixture.check_fraction(self.holdout_fraction)


class State(NamedTuple):
    """Parameters and the scalers of `(obs, action)` and of the change of the observation."""

    params: PyTree
    inputs: normalise.Scaler
    targets: normalise.Scaler


class Data(NamedTuple):
    """What it is fitted to: the model's data, and whether it is wanted (bool `[]`; if not, it stays as it starts)."""

    real: mixture.Data
    wanted: Array


def _network(config: Config) -> MLP:
    return MLP(config.hidden, 1, nn.relu)


def logit(config: Config, state: State, obs: Array, action: Array, next_obs: Array) -> Array:
    """The logit `[...]` of the transition being real: an estimate of `log(p / q)`.

    Args:
      obs: `[..., obs_dim]`; `next_obs` likewise.
      action: `[..., action_dim]`.
    """
    before = state.inputs.forward(jnp.concatenate([obs, action], axis=-1))
    change = state.targets.forward(next_obs - obs)
    return apply(_network(config), state.params, jnp.concatenate([before, change], axis=-1))[..., 0]


def blurred(config: Config, state: State, key: Key, next_obs: Array) -> Array:
    """`next_obs [..., obs_dim]`, as `[..., obs_dim]`, with the noise of the fit.

    It is used with the noise, too, to stay unbiased.
    """

    def add() -> Array:
        return next_obs + along(config.noise * state.targets.std, next_obs) * jax.random.normal(
            key, next_obs.shape, next_obs.dtype
        )

    # Lanes without noise draw none where lanes run one after the other.
    return lax.cond(jnp.asarray(config.noise) != 0, add, lambda: next_obs)


def make(config: Config, spec: Spec, sample: Sample | None = None) -> Learner[State, Data]:
    """The discriminator as something that is fitted; only the fit needs `sample`.

    Raises:
      ValueError: while the fit is traced, if there is no `sample`.
    """
    width = 2 * spec.obs_dim + spec.action_dim

    def fresh(key: Key) -> PyTree:
        return glorot(key, _network(config), width)

    def init(key: Key) -> State:
        inputs = normalise.identity(spec.obs_dim + spec.action_dim)
        return State(fresh(key), inputs, normalise.identity(spec.obs_dim))

    def fit(key: Key, state: State, data: Data) -> tuple[State, Info]:
        fake = sample
        if fake is None:
            raise ValueError("a discriminator is fitted against a model: make(..., sample=...) needs one, got None")
        k_init, k_split, k_fit, k_held = jax.random.split(key, 4)
        real = data.real.transitions
        parts = fitting.split(k_split, data.real.valid, config.holdout_fraction)
        inputs, targets = mixture.scalers(data.real, parts.training())
        most = max(int(config.holdout_fraction * real.obs.shape[0]), 1)
        held, counts = parts.holdout(most)

        def losses(params: PyTree, rows: Array, k: Key) -> Array:
            obs, action = real.obs[rows], real.action[rows]
            judge = State(params, inputs, targets)
            k_fake, k_noise = jax.random.split(k)
            pair = jnp.stack([real.next_obs[rows], fake(k_fake, obs, action)])
            pair = blurred(config, judge, k_noise, pair)
            both = jax.vmap(lambda following: logit(config, judge, obs, action, following))(pair)
            return discriminator_loss(both[0], both[1])

        def loss(params: PyTree, k: Key) -> Array:
            k_rows, k_fake = jax.random.split(k)
            return losses(params, parts.draw(k_rows, config.fit.batch), k_fake).mean()

        def score(params: PyTree) -> Array:
            return losses(params, held, k_held).mean(where=counts)

        start = state.params if config.warm_start else fresh(k_init)
        found = fitting.fit(k_fit, config.fit, start, loss, score, data.wanted)
        info = {"disc/holdout_loss": found.score, "disc/steps": found.steps.astype(jnp.float32)}
        return State(found.params, inputs, targets), info

    return Learner(init, fit)
