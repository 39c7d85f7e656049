"""Looking into traced programs: their equations, what these give, and which loops seeds end at different times."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jax
from jax.extend import core

from mbrl_jax.runner.memory import equations

__all__ = ["count", "equations", "has_batched_end", "touching", "trace"]

Shapes = Collection[tuple[int, ...]]


def trace(fn: Callable[..., Any], *args: Any) -> list[core.JaxprEqn]:
    """All equations of `fn` traced at `args`, which may be shapes."""
    return list(equations(jax.make_jaxpr(fn)(*args).jaxpr))


def touching(eqns: Collection[core.JaxprEqn], names: Collection[str], shapes: Shapes) -> set[str]:
    """Names of the primitives among `names` with an output of one of these shapes."""
    return {
        e.primitive.name
        for e in eqns
        if e.primitive.name in names and any(getattr(v.aval, "shape", None) in shapes for v in e.outvars)
    }


def count(eqns: Collection[core.JaxprEqn], name: str) -> int:
    """How many equations are of this primitive; a choice by platform is no branch of the compiled program."""
    return sum(e.primitive.name == name and not e.params.get("branches_platforms") for e in eqns)


def has_batched_end(eqn: core.JaxprEqn) -> bool:
    """Whether a `while` ends at different times for different lanes, so that it must select its whole carry."""
    return eqn.params["cond_jaxpr"].out_avals[0].shape != ()
