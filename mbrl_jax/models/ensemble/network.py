"""The members of an ensemble as one stacked network: configuration, parameters, predictions.

Source: Chua et al., 2018, Sec. 4 and App. A.1; the released code of MBPO (Janner et al., 2019), `bnn.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP, apply, narrow_normal
from mbrl_jax.objectives.likelihood import bounded_log_var
from mbrl_jax.types import PyTree, Spec, Transition, along

__all__ = ["Config", "State", "network", "outputs", "predict", "targets_of"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the ensemble; defaults follow MBPO's released code (`bnn.py`, `constructor.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; not 1 <= elites <= members; a width, `batch`, `max_holdout`
        or `max_epochs` is below 1; `weight_decay` has not one coefficient per layer, output included;
        `holdout_fraction` is outside (0, 1); `patience` is negative.
    """

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
    deterministic: bool = field(default=False, metadata={"static": True})
    """Roll-outs take the members' means; for objectives that leave the log-variances alone."""
    scale_targets: bool = False
    """Standardise the targets over the training data too; the released code does not."""

    def __post_init__(self) -> None:
        check_fields(self)
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
    """What the ensemble has learned.

    Attributes:
      params: of the members, `[members, ...]`.
      opt: their optimiser.
      inputs: scaler of (obs, action).
      targets: scaler of what is fitted.
      elites: indices of the elites, int32 `[elites]`.
      holdout: the members' held-out errors, `[members]`.
    """

    params: PyTree
    opt: optax.OptState
    inputs: normalise.Scaler
    targets: normalise.Scaler
    elites: Array
    holdout: Array


def network(config: Config, spec: Spec) -> MLP:
    """One member: from (observation, action) to means and log-variances."""
    return MLP(config.hidden, 2 * (1 + spec.obs_dim), nn.silu, narrow_normal)


def outputs(config: Config, spec: Spec, params: PyTree, x: Array) -> tuple[Array, Array]:
    """Means and bounded log-variances, each `[members, batch, 1 + obs_dim]`, for x `[members, batch, in]`."""
    raw: PyTree = jax.vmap(partial(apply, network(config, spec)))(params["net"], x)
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
    mean, log_var = outputs(config, spec, {**state.params, "net": chosen}, x)
    mean = state.targets.backward(mean)
    if config.residual:
        mean = mean + jnp.concatenate([jnp.zeros_like(obs[..., :1]), obs], axis=-1)
    return mean, log_var + along(2.0 * jnp.log(state.targets.std), log_var)
