"""Algorithms, one file each: `make(config, env)` gives `init`, `step` and `policy` as pure functions.

`REGISTRY` finds them by listing this package, `find` also by the path of a module of your own.
"""

from mbrl_jax.algorithms.registry import REGISTRY, Entry, check_config, entry_of, find, make, preset

__all__ = ["REGISTRY", "Entry", "check_config", "entry_of", "find", "make", "preset"]
