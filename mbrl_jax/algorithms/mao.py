"""MAO (Modhe et al., 2021, Algorithm 2): SLBO whose model minimises its advantage, |V(s') − V(ŝ')|, at frozen values.

The values are fitted anew while the model is. Settings that the paper does not give, and what its smallest weights do,
are in docs/slbo.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mbrl_jax.models.value_losses import advantage_l1
from mbrl_jax.types import Config

WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "mbbl_pendulum": (0.05, 0.05, 1e-5),
    "mbbl_acrobot": (0.05, 0.05, 1e-5),
    "mbbl_cartpole": (0.05, 0.05, 1e-6),
    "mbbl_reacher": (0.05, 0.05, 1e-5),
    "mbbl_ant": (0.5, 0.5, 1e-6),
    "mbbl_swimmer": (0.5, 0.5, 1e-6),
    "mbbl_half_cheetah": (0.05, 0.005, 1e-6),
    "mbbl_hopper": (0.05, 0.05, 1e-5),
}
"""α of L1, and α and λ of L1 + VPS (Modhe et al., App., Table 1)."""


def smooth(base: str, config: Config) -> Config:
    """The task's settings with the smoothness of values added (L1 + VPS)."""
    _, weight, smoothness = WEIGHTS.get(base, (0.05, 0.05, 1e-5))
    return replace(config, model=replace(config.model, horizon=2, weight=weight, smoothness=smoothness))


VARIES = "slbo"
OPTIONS = {"objective": advantage_l1}
ABOUT = "Model-advantage optimisation (Modhe et al. 2021): SLBO with a value-aware model loss"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """SLBO's `Config` of a task with the selected weight; the values are refreshed five times an iteration.

    The loss looks at one step, so that the model takes one.
    """
    weight = WEIGHTS.get(base, (0.05, 0.05, 1e-5))[0]
    model = replace(config.model, horizon=1, weight=weight, smoothness=0.0)
    return replace(config, value_refresh=20, model=model)
