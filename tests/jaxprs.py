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


def touching(eqns, names, shapes):
    """Names of the primitives among `names` with an output of one of these shapes."""
    return {
        e.primitive.name
        for e in eqns
        if e.primitive.name in names and any(getattr(v.aval, "shape", None) in shapes for v in e.outvars)
    }


def has_batched_end(eqn):
    """Whether a `while` ends at different times for different lanes, so that it must select its whole carry."""
    return eqn.params["cond_jaxpr"].out_avals[0].shape != ()
