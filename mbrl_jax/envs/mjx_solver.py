# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
r"""MJX's constraint solver with an exact line search, and without a loop whose end depends on numbers.

The solver minimises over accelerations $a$ the cost

$$ \tfrac12 (a - a_0)^\top M (a - a_0) + \tfrac12 \sum_i D_i \, [x_i < 0] \, x_i^2, \qquad x = J a - a_\mathrm{ref}, $$

where rows of equalities always count ($[\cdot] = 1$). Along Newton's direction it is piecewise quadratic, so its slope
is piecewise linear, continuous and increasing: all of its corners are known beforehand ($-x_i / v_i$ with $v = J s$),
and the minimum lies behind the last corner with a negative slope, one division away. MJX brackets it instead, by up to
50 evaluations one after the other, each of which is a dozen small kernels on an accelerator.

Source: Todorov, "Convex and analytically-invertible dynamics with contacts and constraints", 2014, and MuJoCo's
documentation ("Computation", solver); for the exact search along a piecewise quadratic, Bertsekas, *Nonlinear
Programming*, Sec. 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Bool, Float

from mbrl_jax.envs.quiet_mjx import mjx

__all__ = ["check_model", "exact_step", "solve"]


class Rows(NamedTuple):
    """The constraints of one simulation.

    Attributes:
      jacobian: J, `[n, nv]`.
      reference: the reference accelerations, `[n]`.
      stiffness: D, `[n]`; 0 where a row does not exist now.
      always: rows of equalities, which count on both sides, `[n]`.
    """

    jacobian: Float[Array, "n nv"]
    reference: Float[Array, " n"]
    stiffness: Float[Array, " n"]
    always: Bool[Array, " n"]


def check_model(model: mujoco.MjModel) -> None:
    """Refuses a model whose cost is not piecewise quadratic with one corner per row.

    Raises:
      ValueError: it has elliptic friction cones, or friction losses.
    """
    elliptic = int(model.opt.cone) != int(mujoco.mjtCone.mjCONE_PYRAMIDAL)
    if elliptic or (model.dof_frictionloss > 0).any() or (model.tendon_frictionloss > 0).any():
        raise ValueError(
            "the exact line search needs pyramidal friction cones and no friction losses; "
            f"state ls_iterations for MJX's own search, got {'elliptic cones' if elliptic else 'friction losses'}"
        )


def exact_step(
    inertia: Float[Array, ""], slope: Float[Array, ""], rows: Rows, x: Float[Array, " n"], v: Float[Array, " n"]
) -> Float[Array, ""]:
    """How far along a direction the cost is least, for a direction in which it falls; 0 if it does not.

    Args:
      inertia: sᵀMs of the direction s.
      slope: the derivative of the quadratic part without constraints at 0.
      rows: the constraints.
      x: Ja − a_ref where the direction starts.
      v: Js, how fast that changes.
    """
    corners = jnp.where(v == 0, 0.0, -x / jnp.where(v == 0, 1.0, v))
    starts = jnp.concatenate([jnp.zeros(1, x.dtype), corners])  # where a piece of the slope begins
    # Which rows count just behind each start [starts, rows]: by the corners' order, so that equal ones agree.
    behind = corners[None] <= starts[:, None]
    counts = jnp.where(v[None] < 0, behind, ~behind)
    counts = jnp.where(v[None] == 0, x[None] < 0, counts) | rows.always[None]
    linear, square = (rows.stiffness * v * x)[None], (rows.stiffness * v * v)[None]
    at_start = slope + jnp.where(counts, linear + starts[:, None] * square, 0.0).sum(axis=-1) + starts * inertia
    curvature = inertia + jnp.where(counts, square, 0.0).sum(axis=-1)
    before = (starts >= 0) & (at_start <= 0)  # the minimum lies behind these
    last = before & (starts == jnp.where(before, starts, -1.0).max())
    ends = starts - at_start / jnp.maximum(curvature, jnp.finfo(x.dtype).tiny)
    return jnp.where(last, ends, 0.0).max()


def _start(d: mjx.Data, rows: Rows, warm: bool) -> Array:
    """The acceleration to start from: that without constraints, or the last solution if it costs less."""
    if not warm:
        return d.qacc_smooth
    both = jnp.stack([d.qacc_smooth, d.qacc_warmstart])
    x = both @ rows.jacobian.T - rows.reference
    off = both - d.qacc_smooth
    free = 0.5 * (off * (off @ d._impl.M)).sum(axis=-1)
    cost = free + 0.5 * jnp.where((x < 0) | rows.always, rows.stiffness * x * x, 0.0).sum(axis=-1)
    return jnp.where(cost[1] < cost[0], d.qacc_warmstart, d.qacc_smooth)


def solve(iterations: int, warm: bool) -> Callable[[mjx.Model, mjx.Data], mjx.Data]:
    """`solve(model, data) -> data` with accelerations and forces of constraints, in so many Newton iterations.

    Args:
      iterations: their number; there is no tolerance, and iterations behind the minimum stay there.
      warm: whether the last solution is a start too.
    """

    def solving(m: mjx.Model, d: mjx.Data) -> mjx.Data:
        del m
        always = jnp.arange(d._impl.nefc) < d._impl.ne
        rows = Rows(d._impl.efc_J, d._impl.efc_aref, d._impl.efc_D, always)
        inertia = d._impl.M

        def newton(_: int, qacc: Array) -> Array:
            x = rows.jacobian @ qacc - rows.reference
            weight = jnp.where((x < 0) | always, rows.stiffness, 0.0)
            free = inertia @ qacc - d.qfrc_smooth
            hessian = inertia + (rows.jacobian.T * weight) @ rows.jacobian
            factor = jax.scipy.linalg.cho_factor((hessian + hessian.T) * 0.5)
            search = -jax.scipy.linalg.cho_solve(factor, free + rows.jacobian.T @ (weight * x))
            curvature, slope = search @ (inertia @ search), search @ free
            return qacc + search * exact_step(curvature, slope, rows, x, rows.jacobian @ search)

        qacc = jax.lax.fori_loop(0, iterations, newton, _start(d, rows, warm))
        x = rows.jacobian @ qacc - rows.reference
        force = -jnp.where((x < 0) | always, rows.stiffness * x, 0.0)
        found = {"qfrc_constraint": rows.jacobian.T @ force, "qacc": qacc, "_impl.efc_force": force}
        return cast(mjx.Data, d.tree_replace(found))

    return solving
