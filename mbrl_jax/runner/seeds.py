"""Any function of a key over many seeds, on all devices: for artefacts that are not training runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mbrl_jax.checks import whole_seeds
from mbrl_jax.runner.checkpoint import to_host
from mbrl_jax.runner.precision import STANDARD, at_precision
from mbrl_jax.runner.program import default_batching
from mbrl_jax.runner.setup import check_jit
from mbrl_jax.types import PyTree

__all__ = ["OverSeeds", "over_seeds"]


class OverSeeds(NamedTuple):
    """Results on the host with a leading seed axis, and the seconds that compiling and running took."""

    value: PyTree
    compile_seconds: float
    run_seconds: float


def over_seeds(fn: Callable[..., PyTree], seeds: Sequence[int], *inputs: PyTree) -> OverSeeds:
    """`fn(key, *inputs)` for every seed, in one program spread over all local devices.

    Args:
      fn: a pure function of one seed's key and inputs.
      seeds: the seeds.
      inputs: arrays with a leading axis of the seeds.

    Raises:
      ValueError: the seeds are not distinct whole numbers; or JAX is told not to compile.
    """
    check_jit()
    seeds = whole_seeds(seeds)
    devices = jax.local_devices()[: len(seeds)]
    total = -(-len(seeds) // len(devices)) * len(devices)
    fill = np.minimum(np.arange(total), len(seeds) - 1)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32)[fill])
    padded = jax.tree.map(lambda x: jnp.asarray(x)[fill], inputs)
    mesh = Mesh(devices, ("seed",))
    alone = default_batching(devices) == "map"
    exact = at_precision(STANDARD, fn)
    many = (lambda *xs: lax.map(lambda x: exact(*x), xs)) if alone else jax.vmap(exact)
    spread = jax.shard_map(many, mesh=mesh, in_specs=P("seed"), out_specs=P("seed"), check_vma=False)
    placed = jax.device_put((keys, *padded), jax.NamedSharding(mesh, P("seed")))
    began = time.monotonic()
    compiled = jax.jit(spread).lower(*placed).compile()
    between = time.monotonic()
    value = to_host(compiled(*placed))
    ran = time.monotonic() - between
    return OverSeeds(jax.tree.map(lambda x: x[: len(seeds)], value), between - began, ran)
