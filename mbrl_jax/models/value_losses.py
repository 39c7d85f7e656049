"""Objectives of the multi-step model that measure its errors in values (Modhe et al., 2021), with a frozen V.

Each is α times the loss named plus λ times the smoothness of consecutive values (`multi_step.Config.weight`,
`smoothness`), as App. C has it; both look at the first step, smoothness at those that follow it.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.models.multi_step import Config, Predicted, Value
from mbrl_jax.objectives import value_aware
from mbrl_jax.types import Transition

__all__ = ["advantage_direct_l1", "advantage_direct_l2", "advantage_l1", "smoothness", "vaml"]


def smoothness(predicted: Predicted, windows: Transition, value: Value) -> Array:
    """Mean `[]` of `value_predictive_smoothness` over the batch and the steps after the first one.

    A step's two values are those of where it starts and where it leads, so that one after an episode's end starts at
    the truth.
    """
    ends = (predicted.before[1:], predicted.after[1:]), (windows.obs[1:], windows.next_obs[1:])
    imagined, real = (jnp.stack([value(obs).reshape(-1) for obs in pair]) for pair in ends)
    return value_aware.value_predictive_smoothness(imagined, real).mean()


def _total(config: Config, main: Array, predicted: Predicted, windows: Transition, value: Value) -> Array:
    """αL + λ VPS; one step has no smoothness."""
    if config.horizon < 2:
        return config.weight * main
    return config.weight * main + config.smoothness * smoothness(predicted, windows, value)


def _first(predicted: Predicted, windows: Transition, value: Value) -> tuple[Array, Array]:
    """Values `[batch]` of the first step's predicted and true next observations."""
    return value(predicted.after[0]), value(windows.next_obs[0])


def advantage_l1(config: Config, predicted: Predicted, windows: Transition, value: Value) -> Array:
    """MA-L1: |V(s') − V(ŝ')|, a scalar: mean over the batch (Modhe et al., Eq. 10)."""
    main = value_aware.model_advantage_l1(*_first(predicted, windows, value)).mean()
    return _total(config, main, predicted, windows, value)


def vaml(config: Config, predicted: Predicted, windows: Transition, value: Value) -> Array:
    """VAML: (V(s') − V(ŝ'))², a scalar: mean over the batch (Modhe et al., Sec. 3.2)."""
    main = value_aware.vaml(*_first(predicted, windows, value)).mean()
    return _total(config, main, predicted, windows, value)


def advantage_direct_l1(config: Config, predicted: Predicted, windows: Transition, value: Value) -> Array:
    """|mean over the batch of V(s') − V(ŝ')|, a scalar (Modhe et al., Eq. 8).

    Without the factors γᵗ: a replay's rows are drawn uniformly over the steps of all episodes, and every row counts as
    a trajectory.
    """
    imagined, real = _first(predicted, windows, value)
    main = value_aware.model_advantage_direct_l1(imagined, real, jnp.ones_like(real), real.size)
    return _total(config, main, predicted, windows, value)


def advantage_direct_l2(config: Config, predicted: Predicted, windows: Transition, value: Value) -> Array:
    """The square of what `advantage_direct_l1` takes the size of, a scalar (Modhe et al., Sec. 3.2)."""
    imagined, real = _first(predicted, windows, value)
    main = value_aware.model_advantage_direct_l2(imagined, real, jnp.ones_like(real), real.size)
    return _total(config, main, predicted, windows, value)
