"""What an ensemble is fitted to: a loss per row of what the members predict.

Source: Chua et al., 2018, Eq. 1; the released code of MBPO (Janner et al., 2019), `bnn.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.objectives.likelihood import gaussian_nll
from mbrl_jax.types import PyTree, Transition, along

__all__ = ["STANDARD", "Loss", "Objective", "Predicted", "likelihood", "squared_error"]


class Predicted(NamedTuple):
    """Predictions of (reward, change of the observation) and what they should have been.

    Attributes:
      mean: `[members, batch, 1 + obs_dim]`, in the units that are fitted.
      log_var: logarithm of the variance, likewise.
      target: the truth, likewise.
      scale: `[1 + obs_dim]`; times it, a difference is one in the environment's units.
      weight: weights of the rows `[members, batch]`, 0 for those that only fill up a batch.
    """

    mean: Array
    log_var: Array
    target: Array
    scale: Array
    weight: Array

    @property
    def error(self) -> Array:
        """Mean minus truth in the environment's units, `[members, batch, 1 + obs_dim]`, reward first."""
        return (self.mean - self.target) * along(self.scale, self.mean)


Loss = Callable[[Predicted, Transition], Array]
"""`loss(predicted, batch[members, batch, ...]) -> [members, batch]`, one value per row."""


def likelihood(predicted: Predicted, batch: Transition) -> Array:
    """Gaussian negative log-likelihood `[members, batch]`, no constants, mean over entries: MBPO's released code."""
    del batch
    return gaussian_nll(predicted.mean, predicted.log_var, predicted.target).mean(axis=-1)


def squared_error(predicted: Predicted, batch: Transition) -> Array:
    """Squared error `[members, batch]` of the mean, mean over entries, in the fit's units: MBPO's holdout criterion."""
    del batch
    return jnp.square(predicted.mean - predicted.target).mean(axis=-1)


def _nothing(transitions: Transition) -> tuple[()]:
    del transitions
    return ()


class Objective(NamedTuple):
    """What the members are fitted to, and what they are chosen by.

    Attributes:
      loss: minimised on the training rows, beside weight decay and the bounds of the log-variances.
      score: mean over the held-out rows decides when a fit stops and which members are the elites.
      annotate: `annotate(transitions [capacity, ...]) -> extras [capacity, ...]`, once per fit: what `loss` and `score`
        find as the extras of their rows, a value's gradient at the true successor for example.
    """

    loss: Loss = likelihood
    score: Loss = squared_error
    annotate: Callable[[Transition], PyTree] = _nothing


STANDARD = Objective()
"""Likelihood, stopped by the squared error of the held-out rows."""
