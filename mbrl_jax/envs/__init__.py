"""Environments as pure functions: `make(name)` gives `reset` and `step` that jit, vmap, scan and shard.

`names()` lists them. The contract is `mbrl_jax.types.Env`: one environment per call (vmap for many), no automatic
reset inside a step, `discount` 0 only on a true termination, time limits in `truncated`.
"""

from mbrl_jax.envs.base import EnvState, build, restart
from mbrl_jax.envs.gridworld import finite_mdp
from mbrl_jax.envs.pictures import render, save
from mbrl_jax.envs.registry import engines, make, names, resolve, unwrapped

__all__ = [
    "EnvState",
    "build",
    "engines",
    "finite_mdp",
    "make",
    "names",
    "render",
    "resolve",
    "restart",
    "save",
    "unwrapped",
]
