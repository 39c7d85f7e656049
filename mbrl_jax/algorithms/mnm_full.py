"""MnM with the classifier in the reward (Eysenbach et al., 2022, Appendix D.3): critics are paid (1 − γ) log r + logit.

The paper's theory asks for it, its continuous experiments leave it out: it penalises exploration (Sec. 4.3, Figure 10).
"""

from __future__ import annotations

from mbrl_jax.models.adversarial import objective
from mbrl_jax.types import Config

VARIES = "mnm"
OPTIONS = {"objective": objective.FULL}
ABOUT = "MnM in full: the classifier's log-odds are part of the reward (Eysenbach et al. 2022, App. D.3)"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """As MnM's; the critics' units are nats, so that `reward_scale` is without effect."""
    del base
    return config
