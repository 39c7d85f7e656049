"""VMBPO (Chow et al., 2021, arXiv 2006.05443) in MnM's form: critics are paid η r + logit, the model climbs V + logit.

Its best model is the world tilted by exp(V). What of it is unverified is said in docs/mnm.md: the paper of MnM copied
its curves, and no code of it is public.
"""

from __future__ import annotations

from mbrl_jax.models import adversarial
from mbrl_jax.types import Config

VARIES = "mnm"
OPTIONS = {"objective": adversarial.twisted(1.0)}
ABOUT = "VMBPO in MnM's loop: exponential twisting with a classifier (after Chow et al. 2021), η = 1"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """As MnM's. η is 1, as in the paper's tabular experiments; another is `adversarial.twisted(η)` as `objective`."""
    del base
    return config
