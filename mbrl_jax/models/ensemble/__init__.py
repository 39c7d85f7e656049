"""Bootstrap ensembles of probabilistic transition models, fitted with holdout early stopping inside one program.

As in MBPO (Janner et al., 2019, Sec. 4.2) and its released code: members predict a diagonal Gaussian over the reward
and the change of the observation; each is fitted to its own bootstrap sample; a member's best parameters by holdout
error are restored at the end; the members with the lowest holdout error are the elites.
"""

from mbrl_jax.models.ensemble.dynamics import fixed_members, random_elites
from mbrl_jax.models.ensemble.fit import Data
from mbrl_jax.models.ensemble.model import make
from mbrl_jax.models.ensemble.network import Config, State, predict
from mbrl_jax.models.ensemble.objective import STANDARD, Loss, Objective, Predicted, likelihood, squared_error

__all__ = [
    "STANDARD",
    "Config",
    "Data",
    "Loss",
    "Objective",
    "Predicted",
    "State",
    "fixed_members",
    "likelihood",
    "make",
    "predict",
    "random_elites",
    "squared_error",
]
