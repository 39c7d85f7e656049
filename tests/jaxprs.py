"""Looking into traced programs."""

import jax
from jax.extend import core


def equations(jaxpr):
    """All equations of a jaxpr, those of inner programs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in core.jaxprs_in_params(eqn.params):
            yield from equations(inner)


def trace(fn, *args):
    """All equations of `fn` traced at `args`."""
    return list(equations(jax.make_jaxpr(fn)(*args).jaxpr))


def touching(eqns, names, least):
    """Names of the primitives among `names` with an output of at least that many entries."""
    return {
        e.primitive.name
        for e in eqns
        if e.primitive.name in names and any(getattr(v.aval, "size", 0) >= least for v in e.outvars)
    }
