"""A Gaussian ensemble, a classifier that tells its transitions from real ones, and a network of rewards: MnM's model.

Each takes one gradient step per batch, together with whoever acts in it; there is no fit to convergence. What the
ensemble minimises, and what rewards the critics see in it, is an `Objective` that is passed in.
"""

from mbrl_jax.models.adversarial import objective
from mbrl_jax.models.adversarial.learner import Adversarial, Parts, Weight, losses, make
from mbrl_jax.models.adversarial.network import Config, Scalers, State, dynamics, logit, predict, rewards
from mbrl_jax.models.adversarial.objective import (
    Critics,
    Judged,
    ModelLoss,
    Objective,
    bellman,
    likelihood,
    optimism,
    twisted,
    value_error,
    weighted,
)

__all__ = [
    "Adversarial",
    "Config",
    "Critics",
    "Judged",
    "ModelLoss",
    "Objective",
    "Parts",
    "Scalers",
    "State",
    "Weight",
    "bellman",
    "dynamics",
    "likelihood",
    "logit",
    "losses",
    "make",
    "objective",
    "optimism",
    "predict",
    "rewards",
    "twisted",
    "value_error",
    "weighted",
]
