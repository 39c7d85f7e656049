"""What a traced program will do, counted: products, and operations that are started."""

from __future__ import annotations

import math
from typing import NamedTuple

from jax import lax
from jax.core import ShapedArray
from jax.extend import core

from mbrl_jax.runner.memory import WRITTEN

__all__ = ["Operations", "Work", "count"]


class Operations(NamedTuple):
    """What one pass through a program does.

    Attributes:
      flops: floating-point operations of matrix products, two for each multiplication.
      calls: operations that are started one after the other, those left out that a compiler fuses into others.
    """

    flops: float = 0.0
    calls: float = 0.0

    def times(self, factor: float) -> Operations:
        """As many passes."""
        return Operations(self.flops * factor, self.calls * factor)

    def plus(self, other: Operations) -> Operations:
        """One program, then the other."""
        return Operations(self.flops + other.flops, self.calls + other.calls)


class Work(NamedTuple):
    """Operations of one lane: of its init, of an iteration, of an evaluation."""

    init: Operations
    step: Operations
    evaluation: Operations


def count(jaxpr: core.Jaxpr) -> Operations:
    """The operations of one pass through a program.

    A scan's body counts as often as it is passed; that of a loop whose length is found while it runs once; of branches
    the dearest.
    """
    found = Operations()
    for eqn in jaxpr.eqns:
        inner = [count(each) for each in core.jaxprs_in_params(eqn.params)]
        if eqn.primitive.name == "cond" and inner:
            inner = [max(inner)]
        repeats = eqn.params["length"] if eqn.primitive is lax.scan_p else 1
        for each in inner:
            found = found.plus(each.times(repeats))
        found = found.plus(Operations(_products(eqn), float(eqn.primitive.name in WRITTEN)))
    return found


def _products(eqn: core.JaxprEqn) -> float:
    """Operations of a matrix product: two for each of its multiplications."""
    if eqn.primitive is not lax.dot_general_p:
        return 0.0
    left, out = eqn.invars[0].aval, eqn.outvars[0].aval
    assert isinstance(left, ShapedArray) and isinstance(out, ShapedArray)
    contracted = eqn.params["dimension_numbers"][0][0]
    return 2.0 * math.prod(out.shape) * math.prod(left.shape[axis] for axis in contracted)
