"""Algorithms, one file each: `make(config, env)` gives `init`, `step` and `policy` as pure functions."""

from mbrl_jax.algorithms import alm, mbpo, sac
from mbrl_jax.algorithms.presets import REGISTRY, preset

__all__ = ["REGISTRY", "alm", "mbpo", "preset", "sac"]
