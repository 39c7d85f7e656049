"""PETS whose particles change their member at every step (TS1), beside TS∞, which the released code runs."""

from __future__ import annotations

from mbrl_jax.models import particles
from mbrl_jax.types import Config

VARIES = "pets"
OPTIONS = {"sampling": particles.every_step}
ABOUT = "PETS with members dealt anew at every imagined step (TS1; Chua et al. 2018, Sec. 5)"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """As PETS's."""
    del base
    return config
