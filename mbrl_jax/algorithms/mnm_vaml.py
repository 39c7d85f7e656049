"""VAML as Figure 6 of "Mismatched no more" has it (Eysenbach et al., 2022, Appendix C): likelihood and a Bellman error.

The model minimises its negative log-likelihood plus (Q'(s, a) − r − γ V(s'))² at its own draw. That is not Farahmand's
loss, which is `mnm_iter_vaml`.
"""

from __future__ import annotations

from mbrl_jax.models.adversarial import objective
from mbrl_jax.types import Config

VARIES = "mnm"
OPTIONS = {"objective": objective.TEMPORAL_DIFFERENCE}
ABOUT = "MnM's loop with VAML as its Figure 6 describes it: likelihood and a Bellman error"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """As MnM's; the weight of the Bellman error is 1, which the paper does not give."""
    del base
    return config
