"""A program's functions lowered for its devices, which may be devices that are not here."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from mbrl_jax.runner.program import Lanes, Program, batched, shapes_of

__all__ = ["FUNCTIONS", "lower"]

Which = Literal["init", "advance", "evaluate"]
FUNCTIONS: tuple[Which, ...] = ("init", "advance", "evaluate")


def lower(program: Program, which: Which, lanes: Lanes) -> jax.stages.Lowered:
    """One of the functions, its carry donated where it is advanced; nothing is put on the devices.

    Args:
      lanes: `program.lanes` of them; only their shapes are used.
    """

    def placed(x: jax.ShapeDtypeStruct, lane: bool) -> jax.ShapeDtypeStruct:
        place = jax.NamedSharding(program.mesh, jax.P("seed") if lane else jax.P())
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

    wide, shapes = jax.tree.map(lambda x: placed(x, True), lanes), shapes_of(program.one, program.lanes)
    carry, at = jax.tree.map(placed, shapes, batched(shapes)), jax.ShapeDtypeStruct((), jnp.int32)
    if which == "init":
        return jax.jit(program.init).lower(wide)
    if which == "advance":
        return jax.jit(program.advance, donate_argnums=1).lower(wide, carry, at, at)
    return jax.jit(program.evaluate).lower(wide, carry, at)
