"""What agents, models, policies and dynamics must keep (`types.Agent`, `Model`, `Policy`, `Dynamics`)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax.testing.rules import (
    check_finite,
    check_leading,
    check_near,
    check_same,
    check_strong,
    check_structure,
    counted,
    saved,
    shapes,
)
from mbrl_jax.types import Agent, Dynamics, Key, Model, Policy, PyTree, Spec

__all__ = ["check_agent", "check_dynamics", "check_model", "check_policy"]

ROWS = 7
"""Observations that policies and dynamics are tried on; a number that no other axis is likely to have."""


def observations(key: Key, spec: Spec, rows: int = ROWS) -> jax.Array:
    """Random observations `[rows, obs_dim]`."""
    return jax.random.normal(key, (rows, spec.obs_dim))


def check_policy(policy: Policy[Any], spec: Spec, low: float | None = None, high: float | None = None) -> None:
    """A policy acts on `[B, obs_dim]` with a memory whose leaves are `[B, ...]` and keep their shapes and dtypes.

    Args:
      low: least entry of an action; the spec's bounds if None. Agents act in [-1, 1] whatever the spec says.
      high: largest entry, likewise.

    Raises:
      AssertionError: says which rule is broken and what was found.
    """
    key = jax.random.key(0)
    obs = observations(key, spec)
    memory = policy.start(obs)
    check_leading(memory, ROWS, "a policy's memory")
    check_strong(memory, "a policy's memory")
    act = jax.jit(policy.act)
    for t in range(2):
        after, action, extras = act(jax.random.fold_in(key, t), memory, obs)
        check_structure(shapes(memory), shapes(after), "`Policy.act`'s memory")
        check_leading(extras, ROWS, "a policy's extras")
        wanted = (ROWS, spec.action_dim)
        assert action.shape == wanted, f"an action must have shape {wanted} for {ROWS} rows, got {action.shape}"
        check_finite(action, "an action")
        bounds = (spec.action_low, spec.action_high) if low is None else (low, high)
        # Rounding may carry the image of 1 beyond a bound.
        slack = 1e-6 * np.maximum(1.0, np.abs(np.asarray(bounds)))
        taken = np.asarray(action)
        outside = (taken < np.asarray(bounds[0]) - slack[0]) | (taken > np.asarray(bounds[1]) + slack[1])
        assert not outside.any(), f"actions must lie between {bounds[0]} and {bounds[1]}, got {taken[outside]}"
        memory = after


def check_dynamics(dynamics: Dynamics[Any], spec: Spec) -> None:
    """A model steps `[B, ...]` with a memory whose leaves are `[B, ...]`, finitely, and can be differentiated.

    Raises:
      AssertionError: says which rule is broken and what was found.
    """
    key = jax.random.key(1)
    obs, action = observations(key, spec), jnp.zeros((ROWS, spec.action_dim))
    memory = dynamics.start(key, obs)
    check_leading(memory, ROWS, "a model's memory")
    after, step = dynamics.step(key, memory, obs, action)
    check_structure(shapes(memory), shapes(after), "`Dynamics.step`'s memory")
    wanted = {"next_obs": (ROWS, spec.obs_dim), "reward": (ROWS,), "discount": (ROWS,)}
    for name, shape in wanted.items():
        found = getattr(step, name).shape
        assert found == shape, f"a model's {name} must have shape {shape} for {ROWS} rows, got {found}"
    check_finite(step, "a model's step")
    outside = (step.discount < 0) | (step.discount > 1)
    assert not outside.any(), f"a model's discount must lie in [0, 1], got {step.discount[outside]}"

    def total(action: jax.Array) -> jax.Array:
        return dynamics.step(key, memory, obs, action)[1].next_obs.sum()

    check_finite(jax.grad(total)(action), "the gradient of a model's step by the action")


def _check_updates(update: Any, init: Any, data: PyTree, what: str, tolerance: float) -> PyTree:
    """One structure, one compilation, the same bits again, finite metrics, seeds together as alone; the new state."""
    keys = jax.random.split(jax.random.key(2), 2)
    before = jax.eval_shape(init, keys[0])
    after, info = jax.eval_shape(update, keys[0], before, data)
    check_strong(before, f"{what}'s state")
    check_structure(before, after, f"{what}'s state")
    assert isinstance(info, dict), f"{what} must give a dict of metrics, got {type(info).__name__}"
    step, traces = counted(update)
    start = jax.jit(init)
    states = [step(key, start(key), data)[0] for key in keys]
    again, info = step(keys[0], saved(start(keys[0])), data)
    assert len(traces) == 1, f"{what} must be traced once for one structure, was traced {len(traces)} times"
    check_same(again, states[0], f"{what} must give the same bits for the same key and state")
    check_finite(states, f"the state after {what}")
    check_finite(info, f"{what}'s metrics")
    together = jax.jit(jax.vmap(lambda key: update(key, init(key), data)[0]))(keys)
    for place, state in enumerate(states):
        check_near(
            jax.tree.map(lambda x: x[place], together),  # noqa: B023
            state,
            tolerance,
            f"{what} of seeds together must equal seeds alone",
            but=_is_optimiser,
        )
    return states[0]


def _is_optimiser(path: str) -> bool:
    """Adam's first moments are gradients that cancel; what they make of the parameters is compared."""
    return ".opt" in path


def check_agent(
    agent: Agent[Any], spec: Spec, batches: PyTree, *, bounded: bool = True, tolerance: float = 1e-5
) -> None:
    """An agent keeps its structure over updates, learns alike alone and among others, and acts in [-1, 1].

    Args:
      batches: what `update` takes, leaves `[updates, batch, ...]`.
      bounded: whether its actions lie in [-1, 1]; false for one that leaves the clipping to the environment, because
        it learns from the density of what it drew.
      tolerance: relative error of each array of the state between seeds together and alone.

    Raises:
      AssertionError: says which rule is broken and what was found.
    """
    state = _check_updates(agent.update, agent.init, batches, "`Agent.update`", tolerance)
    for made in (agent.act(state), agent.mode(state)):
        check_policy(made, spec, *((-1.0, 1.0) if bounded else (-np.inf, np.inf)))


def check_model(
    model: Model[Any, Any], spec: Spec, data: PyTree, batches: PyTree | None = None, *, tolerance: float = 1e-4
) -> None:
    """A model keeps its structure over a fit and over updates, and yields dynamics.

    Args:
      data: what `fit` takes.
      batches: what `update` takes, leaves `[updates, ...]`; None does not try it.
      tolerance: relative error of each array of the state between seeds together and alone.

    Raises:
      AssertionError: says which rule is broken and what was found.
    """
    state = _check_updates(model.fit, model.init, data, "`Model.fit`", tolerance)
    if batches is not None:
        _check_updates(model.update, model.init, batches, "`Model.update`", tolerance)
    check_dynamics(model.dynamics(state), spec)
