"""The MBPO of "Mismatched no more" (Eysenbach et al., 2022, App. D.1): MnM's loop, a model fitted by likelihood.

One gradient step of the model per update, one-step roll-outs, all members on the same rows: not Janner et al.'s
algorithm, which is `mbpo`, but the twin that MnM is compared with.
"""

from __future__ import annotations

from dataclasses import replace

from mbrl_jax.algorithms.tasks import MISMATCH
from mbrl_jax.models.adversarial import objective
from mbrl_jax.types import Config

VARIES = "mnm"
OPTIONS = {"objective": objective.LIKELIHOOD}
ABOUT = "MnM's twin by likelihood, with one-step roll-outs: the MBPO of Eysenbach et al. 2022"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """As MnM's, with MBPO's updates per step (Table 2: 40 on the gym's tasks, where MnM has 20)."""
    return replace(config, updates_per_step=MISMATCH[base].mbpo) if base in MISMATCH else config
