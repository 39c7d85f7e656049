"""Ensemble, classifier and reward network: configuration, parameters, what each says of a transition.

Source: Eysenbach et al., "Mismatched No More", 2022, Appendix D.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_positive, check_share, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP, Diagonal, apply, sample
from mbrl_jax.rollouts import memoryless
from mbrl_jax.types import Dynamics, Key, PyTree, Spec, Transition

__all__ = [
    "Config",
    "Scalers",
    "State",
    "dealt",
    "discounts",
    "dynamics",
    "features",
    "logit",
    "moved",
    "networks",
    "predict",
    "rewards",
    "scalers_of",
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of MnM's model and classifier; defaults are the paper's for all tasks (Appendix D.1).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width or `members` is below 1; `tau` is outside (0, 1];
        `smoothing` or `least_std` is outside [0, 1).
    """

    members: int = 5
    """Networks of the ensemble; all learn from the same rows."""
    hidden: tuple[int, ...] = (256, 256, 256, 256)
    """Widths of the ensemble's hidden layers; ReLU, ours: the paper does not say."""
    classifier_hidden: tuple[int, ...] = (1024, 1024)
    """Widths of the classifier's hidden layers; a large capacity "was important for stable learning"."""
    reward_hidden: tuple[int, ...] = (256, 256)
    """Widths of the reward network's hidden layers; ours: not said."""
    learning_rate: float = 3e-4
    """Adam learning rate of all three."""
    tau: float = 1e-3
    """The ensemble whose transitions the critics see moves this fraction of the way at every update."""
    noise: float = 0.1
    """Standard deviation of Gaussian noise on the classifier's standardised inputs, while it is trained only."""
    smoothing: float = 0.1
    """Label of imagined transitions in the classifier's loss; that of real ones is 1."""
    least_std: float = 1e-5
    """Lower bound of predicted standard deviations, in those of the changes, and of the deviations of the latter."""
    largest_log_std: float = 1.0
    """Upper bound of predicted log standard deviations; ours."""
    residual: bool = False
    """The classifier sees the change of the observation; False: the next observation, as the paper writes it. The noise
    has the size of the entries' spread, which on slow entries is as large as their change (docs/mnm.md)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "members")
        check_widths(self, "hidden", "classifier_hidden", "reward_hidden", empty=True)
        check_share(self, "tau", zero=False)
        check_share(self, "smoothing")
        for name in ("smoothing", "least_std"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not (0 <= value < 1):
                raise ValueError(f"{name} must lie in [0, 1), got {value}")


class Scalers(NamedTuple):
    """Statistics of (obs, action), of the change of the observation, and of the next observation."""

    inputs: normalise.Scaler
    changes: normalise.Scaler
    following: normalise.Scaler


class State(NamedTuple):
    """Parameters by network (`model` `[members, ...]`, `classifier`, `reward`), the averaged model's, and the rest."""

    params: dict[str, PyTree]
    target: PyTree
    opt: optax.OptState
    scalers: Scalers


def networks(config: Config, spec: Spec) -> dict[str, MLP]:
    """One member, from (observation, action) to means and log standard deviations; classifier; reward."""
    return {
        "model": MLP(config.hidden, 2 * spec.obs_dim),
        "classifier": MLP(config.classifier_hidden, 1),
        "reward": MLP(config.reward_hidden, 1),
    }


def scalers_of(config: Config, batch: Transition, valid: Array) -> Scalers:
    """Statistics of the rows `[rows, ...]` of which `valid` `[rows]` is true."""

    def fit(rows: Array) -> normalise.Scaler:
        scaler = normalise.fit(rows, valid)
        return scaler._replace(std=jnp.maximum(scaler.std, config.least_std))

    inputs = jnp.concatenate([batch.obs, batch.action], axis=-1)
    return Scalers(fit(inputs), fit(batch.next_obs - batch.obs), fit(batch.next_obs))


def predict(
    config: Config, spec: Spec, scalers: Scalers, params: PyTree, obs: Array, action: Array
) -> tuple[Array, Array]:
    """Mean and log standard deviation `[members, rows, obs_dim]` of the standardised change of the observation.

    Args:
      params: of the ensemble, `[members, ...]`.
      obs: `[members, rows, obs_dim]`, each member's own. `action` likewise, in [-1, 1].
    """
    x = scalers.inputs.forward(jnp.concatenate([obs, action], axis=-1))
    raw: Array = jax.vmap(partial(apply, networks(config, spec)["model"]))(params, x)
    mean, log_std = jnp.split(raw, 2, axis=-1)
    return mean, jnp.clip(log_std, jnp.log(config.least_std), config.largest_log_std)


def moved(scalers: Scalers, obs: Array, change: Array) -> Array:
    """The next observation `[..., obs_dim]` after `obs [..., obs_dim]` for a standardised `change [..., obs_dim]`."""
    return obs + scalers.changes.backward(change)


def discounts(terminal: Callable[[Array], Array] | None, next_obs: Array) -> Array:
    """0 where the task ends at `next_obs[..., obs_dim]`, else 1, `[...]`.

    Args:
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's termination; None if it never terminates.
    """
    ended = jnp.zeros(next_obs.shape[:-1], bool) if terminal is None else terminal(next_obs)
    return 1.0 - ended.astype(next_obs.dtype)


def dealt(
    config: Config, spec: Spec, scalers: Scalers, params: PyTree, key: Key, obs: Array, action: Array
) -> tuple[Array, Array]:
    """A draw of the next observation `[rows, obs_dim]`, and of each row's uniformly random member `[rows]`.

    Rows are dealt to the members at random, in shares that differ by one row at most, so that each computes its own.

    Args:
      obs: `[rows, obs_dim]`.
      action: `[rows, action_dim]`, in [-1, 1].
    """
    k_deal, k_draw = jax.random.split(key)
    rows, members = obs.shape[0], config.members
    share = -(-rows // members)
    place = jax.random.permutation(k_deal, members * share)[:rows]
    # Places left over are filled with the first row, and not read.
    row = jnp.zeros(members * share, place.dtype).at[place].set(jnp.arange(rows, dtype=place.dtype))
    mine = row.reshape(members, share)
    mean, log_std = predict(config, spec, scalers, params, obs[mine], action[mine])
    drawn = sample(k_draw, Diagonal(mean, jnp.exp(log_std))).reshape(members * share, -1)[place]
    return moved(scalers, obs, drawn), place // share


def features(config: Config, scalers: Scalers, obs: Array, action: Array, next_obs: Array) -> Array:
    """The classifier's standardised inputs `[..., 2 obs_dim + action_dim]`.

    Args:
      obs: `[..., obs_dim]`; `next_obs` likewise.
      action: `[..., action_dim]`, in [-1, 1].
    """
    before = scalers.inputs.forward(jnp.concatenate([obs, action], axis=-1))
    after = scalers.changes.forward(next_obs - obs) if config.residual else scalers.following.forward(next_obs)
    return jnp.concatenate([before, after], axis=-1)


def logit(
    config: Config, spec: Spec, scalers: Scalers, params: PyTree, obs: Array, action: Array, next_obs: Array
) -> Array:
    """Log-odds `[...]` that a transition is real, without noise, by the classifier's `params`.

    Args:
      obs: `[..., obs_dim]`; `next_obs` likewise.
      action: `[..., action_dim]`, in [-1, 1].
    """
    x = features(config, scalers, obs, action, next_obs)
    return apply(networks(config, spec)["classifier"], params, x)[..., 0]


def rewards(config: Config, spec: Spec, scalers: Scalers, params: PyTree, obs: Array, action: Array) -> Array:
    """Predicted rewards `[...]` of (s, a), in the task's units, by the reward network's `params`.

    Args:
      obs: `[..., obs_dim]`.
      action: `[..., action_dim]`, in [-1, 1].
    """
    x = scalers.inputs.forward(jnp.concatenate([obs, action], axis=-1))
    return apply(networks(config, spec)["reward"], params, x)[..., 0]


def dynamics(
    config: Config, spec: Spec, state: State, terminal: Callable[[Array], Array] | None = None
) -> Dynamics[tuple[()]]:
    """The averaged model to roll out, with the task's own rewards as the reward network predicts them.

    At every step each row is drawn from a random member.

    Args:
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's termination; None if it never terminates.
    """

    def step(key: Key, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        next_obs, _ = dealt(config, spec, state.scalers, state.target, key, obs, action)
        reward = rewards(config, spec, state.scalers, state.params["reward"], obs, action)
        return next_obs, reward, discounts(terminal, next_obs)

    return memoryless(step)
