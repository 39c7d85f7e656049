"""Exact policy evaluation and control of finite MDPs.

Every function is a composition of array operations with static shapes: `jit` and `vmap` over MDPs, policies and
models work without adapters. "Exact" means a linear solve, so the error is that of the dtype.

Source: Puterman, *Markov Decision Processes*, 1994, Chapter 6; the variance of returns is that of Sobel, 1982.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mbrl_jax.tabular.mdp import MDP
from mbrl_jax.types import Values, checked

__all__ = [
    "Control",
    "action_value",
    "expected_return",
    "expected_reward",
    "greedy",
    "occupancy",
    "policy_transition",
    "return_variance",
    "solve_dominant",
    "state_action_occupancy",
    "state_marginals",
    "state_value",
    "value_iteration",
]


class Control(NamedTuple):
    """Result of a control iteration: `value [S]`, greedy `policy [S, A]`, sweeps made, last change of the value."""

    value: Float[Array, " states"]
    policy: Float[Array, "states actions"]
    sweeps: Int[Array, ""]
    change: Float[Array, ""]


@checked
def policy_transition(
    transition: Float[Values, "states actions states"], policy: Float[Values, "states actions"]
) -> Float[Array, "states states"]:
    """State-to-state dynamics `[S, S]` of a policy `[S, A]` under `transition [S, A, S]`."""
    return jnp.einsum("sa,san->sn", policy, transition)


@checked
def expected_reward(
    transition: Float[Values, "states actions states"], reward: Float[Values, "states actions states"]
) -> Float[Array, "states actions"]:
    """`[S, A]` expectation of a reward `[S, A, S]` of the next state too; impossible entries are ignored."""
    return jnp.where(transition > 0, transition * reward, 0).sum(axis=-1)


@checked
def solve_dominant(matrix: Float[Values, "size size"], target: Float[Values, " size"]) -> Float[Array, " size"]:
    """Solution `[n]` of `matrix [n, n] @ x = target [n]` for a diagonally dominant matrix, like `I - discount P`.

    Gauss-Jordan elimination, which needs no pivoting for such a matrix. Unlike a LAPACK call it stays inside the
    compiled program: a batch of small systems is vectorised over the batch.
    """
    size = matrix.shape[0]
    rows = jnp.arange(size)

    def eliminate(pivot: Array, table: Array) -> Array:
        row = table[pivot] / table[pivot, pivot]
        factor = jnp.where(rows == pivot, 0, table[:, pivot])
        return jnp.where((rows == pivot)[:, None], row[None], table - factor[:, None] * row[None])

    table = jnp.concatenate([matrix, target[:, None]], axis=1)
    return lax.fori_loop(0, size, eliminate, table)[:, -1]


@checked
def state_value(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, " states"]:
    """`V [S]`, the expected discounted return from each state: the solution of `(I - discount P) V = r`."""
    step = policy_transition(mdp.transition, policy)
    reward = jnp.sum(policy * mdp.reward, axis=-1)
    return solve_dominant(jnp.eye(step.shape[0], dtype=step.dtype) - mdp.discount * step, reward)


@checked
def action_value(mdp: MDP, value: Float[Values, " states"]) -> Float[Array, "states actions"]:
    """`Q [S, A]`: one backup of a state value `[S]`."""
    return mdp.reward + mdp.discount * mdp.transition @ value


@checked
def expected_return(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, ""]:
    """Expected discounted return from the initial distribution, in reward units (not normalised)."""
    return mdp.initial @ state_value(mdp, policy)


@checked
def occupancy(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, " states"]:
    """Discounted state occupancy `[S]`, `(1 - discount) sum_t discount^t P(s_t = s)`; sums to 1."""
    step = policy_transition(mdp.transition, policy)
    system = jnp.eye(step.shape[0], dtype=step.dtype) - mdp.discount * step
    visits = solve_dominant(system.T, mdp.initial)
    return jnp.maximum((1 - mdp.discount) * visits, 0)


@checked
def state_action_occupancy(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, "states actions"]:
    """Discounted occupancy `[S, A]` of state-action pairs; sums to 1."""
    return occupancy(mdp, policy)[:, None] * policy


@checked
def state_marginals(
    transition: Float[Values, "states actions states"],
    policy: Float[Values, "states actions"],
    initial: Float[Values, " states"],
    steps: int,
) -> Float[Array, "{steps} states"]:
    """`[steps, S]` distribution of the state at times `0 .. steps - 1`."""
    step = policy_transition(transition, policy)

    def advance(marginal: Array, _: None) -> tuple[Array, Array]:
        return marginal @ step, marginal

    return lax.scan(advance, jnp.asarray(initial), None, length=steps)[1]


@checked
def return_variance(mdp: MDP, policy: Float[Values, "states actions"]) -> Float[Array, ""]:
    """Variance of the discounted return (squared reward units) from the initial distribution.

    The second moment M solves `M = E[r^2 + 2 discount r V' + discount^2 M']`, a linear system like the value's.
    """
    value = state_value(mdp, policy)
    cross = 2 * mdp.discount * mdp.reward * (mdp.transition @ value)
    square = mdp._replace(reward=jnp.square(mdp.reward) + cross, discount=jnp.square(mdp.discount))
    return jnp.maximum(mdp.initial @ state_value(square, policy) - jnp.square(mdp.initial @ value), 0)


@checked
def greedy(values: Float[Values, "states actions"]) -> Float[Array, "states actions"]:
    """Deterministic policy `[S, A]` that takes the first best action of `values [S, A]`."""
    return jax.nn.one_hot(jnp.argmax(values, axis=-1), values.shape[-1], dtype=values.dtype)


@checked
def value_iteration(mdp: MDP, tolerance: float = 1e-10, max_sweeps: int = 100_000) -> Control:
    """Optimal control by value iteration, finished by an exact evaluation of the greedy policy.

    Stops once a sweep changes no value by more than `tolerance` (reward units) or after `max_sweeps`.
    """

    def backup(value: Array) -> Array:
        return jnp.max(action_value(mdp, value), axis=-1)

    value, sweeps, change = iterate(backup, jnp.zeros_like(mdp.initial), tolerance, max_sweeps)
    policy = greedy(action_value(mdp, value))
    return Control(state_value(mdp, policy), policy, sweeps, change)


@checked
def iterate(
    backup: Callable[[Array], Array], value: Float[Array, " states"], tolerance: float, max_sweeps: int
) -> tuple[Float[Array, " states"], Int[Array, ""], Float[Array, ""]]:
    """Applies `backup` until no entry moves by more than `tolerance` relative to the largest (or to 1).

    The tolerance is never below four rounding errors of the dtype, so that the loop ends.

    Args:
      backup: `backup(value [S]) -> [S]`, one sweep.

    Returns:
      The value, the number of sweeps and the last change.
    """
    relative = max(tolerance, 4 * float(jnp.finfo(value.dtype).eps))

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        value, sweeps, change = carry
        return (change > relative * jnp.maximum(1, jnp.max(jnp.abs(value)))) & (sweeps < max_sweeps)

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        value, sweeps, _ = carry
        updated = backup(value)
        return updated, sweeps + 1, jnp.max(jnp.abs(updated - value))

    infinite = jnp.full((), jnp.inf, value.dtype)
    return lax.while_loop(unfinished, sweep, (value, jnp.zeros((), jnp.int32), infinite))
