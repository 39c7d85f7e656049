"""VAML as Farahmand (2018) has it, in MnM's loop: the model minimises (V(ŝ') − V(s'))² once values count.

Beside `mnm_vaml`, which is what Figure 6 of "Mismatched no more" calls VAML.
"""

from __future__ import annotations

from mbrl_jax.models.adversarial import objective
from mbrl_jax.types import Config

VARIES = "mnm"
OPTIONS = {"objective": objective.VALUE_AWARE}
ABOUT = "MnM's loop with Farahmand's value-aware loss"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """As MnM's."""
    del base
    return config
