"""Value-weighted likelihood as Figure 6 of "Mismatched no more" has it (Eysenbach et al., 2022, Appendix C).

Rows are weighted by a softmax over the batch of Q'(s, a), after an idea of Lambert et al. (2020).
"""

from __future__ import annotations

from mbrl_jax.models.adversarial import objective
from mbrl_jax.types import Config

VARIES = "mnm"
OPTIONS = {"objective": objective.VALUE_WEIGHTED}
ABOUT = "MnM's loop with likelihoods weighted by a softmax of the values (after Lambert et al. 2020)"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """As MnM's; the softmax's temperature is the values' standard deviation, ours."""
    del base
    return config
