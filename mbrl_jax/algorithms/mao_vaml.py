"""MA-VAML (Modhe et al., 2021): MAO with the square of its loss, (V(s') − V(ŝ'))².

With the selected weights nothing is learned: the decay of the model's weights outweighs the loss, all hidden units die,
and the mean change is predicted for good (docs/slbo.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mbrl_jax.models.value_losses import vaml
from mbrl_jax.types import Config

WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "mbbl_pendulum": (5e-9, 1e-9, 1e-6),
    "mbbl_acrobot": (5e-9, 1e-9, 0.1),
    "mbbl_cartpole": (5e-9, 1e-11, 0.1),
    "mbbl_reacher": (1e-10, 1e-10, 1e-5),
    "mbbl_ant": (1e-10, 1e-10, 1e-6),
    "mbbl_swimmer": (1e-10, 1e-12, 0.1),
    "mbbl_half_cheetah": (1e-10, 1e-10, 1e-6),
    "mbbl_hopper": (1e-11, 1e-10, 1e-5),
}
"""α of VAML, and α and λ of VAML + VPS (Modhe et al., App., Table 1)."""


def smooth(base: str, config: Config) -> Config:
    """The task's settings with the smoothness of values added (VAML + VPS)."""
    _, weight, smoothness = WEIGHTS.get(base, (5e-9, 1e-9, 1e-6))
    return replace(config, model=replace(config.model, horizon=2, weight=weight, smoothness=smoothness))


VARIES = "slbo"
OPTIONS = {"objective": vaml}
ABOUT = "Model-advantage optimisation with VAML's squared loss (Modhe et al. 2021)"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """SLBO's `Config` of a task with the selected weight; otherwise as MAO's."""
    weight = WEIGHTS.get(base, (5e-9, 1e-9, 1e-6))[0]
    model = replace(config.model, horizon=1, weight=weight, smoothness=0.0)
    return replace(config, value_refresh=20, model=model)
