"""What implementations of PPO differ in beyond their numbers: the optimiser and the initial weights.

Source: the released code of OpenAI baselines (`ppo1`, `ppo2`) and of CleanRL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import numpy as np
import optax

from mbrl_jax.networks import Initialiser, normc
from mbrl_jax.optimisers import adam, adam_tf
from mbrl_jax.types import Scalar

__all__ = ["BASELINES", "TODAY", "Form"]


class Form(NamedTuple):
    """An optimiser and initial weights.

    Attributes:
      adam: `adam(rate, epsilon)`, the optimiser.
      hidden: initialiser of the hidden layers' weights.
      last: `last(scale)`, initialiser of an output's; the policy's scale is .01, the value function's 1.
    """

    adam: Callable[[Scalar, Scalar], optax.GradientTransformation]
    hidden: Initialiser
    last: Callable[[float], Initialiser]


def _adam(rate: Scalar, epsilon: Scalar) -> optax.GradientTransformation:
    return adam(rate, epsilon)


def _adam_tf(rate: Scalar, epsilon: Scalar) -> optax.GradientTransformation:
    return adam_tf(rate, epsilon=epsilon)


TODAY = Form(_adam, nn.initializers.orthogonal(float(np.sqrt(2.0))), nn.initializers.orthogonal)
"""Orthogonal weights (CleanRL, Stable-Baselines3, `ppo2`)."""
BASELINES = Form(_adam_tf, normc(1.0), normc)
"""Columns of a length, and TensorFlow's Adam (OpenAI baselines' `ppo1`)."""
