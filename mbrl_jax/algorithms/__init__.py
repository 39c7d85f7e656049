"""Algorithms, one file each: `make(config, env)` gives `init`, `step` and `policy` as pure functions."""

from mbrl_jax.algorithms import alm, dam, mbpo, redq, sac, sac_svg, td3
from mbrl_jax.algorithms.presets import REGISTRY, preset

__all__ = ["REGISTRY", "alm", "dam", "mbpo", "preset", "redq", "sac", "sac_svg", "td3"]
