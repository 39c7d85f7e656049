"""Roll-outs of a model: every one, with whatever memory the model and the policy have.

Ours: branched roll-outs are those of Janner et al., 2019, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mbrl_jax.data.rows import pack
from mbrl_jax.types import Dynamics, Imagined, Key, M, Policy, PyTree, Transition, checked

__all__ = ["Standing", "advance", "begin", "branch", "follow", "memoryless", "restarting", "unroll", "written_out"]

Step = Callable[[Key, Array, Array], tuple[Array, Array, Array]]


class Standing(NamedTuple):
    """Where roll-outs stand: the model's memory, the policy's, and `obs[B, O]`; every leaf is `[B, ...]`."""

    model: PyTree
    policy: PyTree
    obs: Float[Array, "batch obs_dim"]


@checked
def begin(key: Key, dynamics: Dynamics[PyTree], policy: Policy[PyTree], obs: Float[Array, "batch obs_dim"]) -> Standing:
    """Roll-outs about to start at `obs[B, O]`."""
    return Standing(dynamics.start(key, obs), policy.start(obs), obs)


@checked
def advance(key: Key, dynamics: Dynamics[PyTree], policy: Policy[PyTree], now: Standing) -> tuple[Standing, Transition]:
    """One step of policy and model; differentiable.

    Returns:
      Where the roll-outs stand then, and the step, `[B, ...]`, with the policy's extras; nothing is truncated.
    """
    k_model, k_act = jax.random.split(key)
    plan, action, extras = policy.act(k_act, now.policy, now.obs)
    memory, (next_obs, reward, discount) = dynamics.step(k_model, now.model, now.obs, action)
    cut = jnp.zeros(now.obs.shape[:1], bool)
    return Standing(memory, plan, next_obs), Transition(now.obs, action, reward, discount, next_obs, cut, extras)


@checked
def unroll(
    keys: Key, dynamics: Dynamics[PyTree], policy: Policy[PyTree], start: Standing, in_line: bool = False
) -> tuple[Standing, Transition]:
    """A step of policy and model for each of `keys[horizon]`; differentiable.

    Rows go on after a discount of 0; who sums their rewards multiplies the discounts.

    Args:
      in_line: written out instead of scanned, for a few steps through which gradients flow (see `written_out`).

    Returns:
      Where the roll-outs stand at the end, and the steps, each leaf `[horizon, B, ...]`.
    """

    def body(now: Standing, k: Key) -> tuple[Standing, Transition]:
        return advance(k, dynamics, policy, now)

    return written_out(body, start, keys) if in_line else lax.scan(body, start, keys)


@checked
def restarting(
    key: Key, dynamics: Dynamics[PyTree], policy: Policy[PyTree], obs: Float[Array, "batch obs_dim"], horizon: int
) -> Transition:
    """Episodes in the model, `[horizon, B, ...]`, as of a real environment that is reset where the task ends.

    A row that ends goes on from the start of a random row, which is as good as a reset if the rows' own starts are.

    Args:
      obs: where the rows start, `[B, O]`.
      horizon: steps of each row; all are truncated at the last one, where the task has not ended there.
    """
    k_begin, k_picks, k_steps = jax.random.split(key, 3)
    fresh = begin(k_begin, dynamics, policy, obs)
    picks = jax.random.randint(k_picks, (horizon, obs.shape[0]), 0, obs.shape[0])

    def body(now: Standing, xs: tuple[Key, Array]) -> tuple[Standing, Transition]:
        k, pick = xs
        now, taken = advance(k, dynamics, policy, now)

        def choose(first: Array, moved: Array) -> Array:
            return jnp.where((taken.discount == 0).reshape(-1, *[1] * (moved.ndim - 1)), first[pick], moved)

        return jax.tree.map(choose, fresh, now), taken

    _, steps = lax.scan(body, fresh, (jax.random.split(k_steps, horizon), picks))
    last = (jnp.arange(horizon) == horizon - 1)[:, None]
    return steps._replace(truncated=last & (steps.discount > 0))


@checked
def written_out(step: Callable[[M, PyTree], tuple[M, PyTree]], carry: M, xs: PyTree) -> tuple[M, PyTree]:
    """`lax.scan(step, carry, xs)` for a few steps, written out.

    An unrolled scan stacks what each step keeps for the backward pass and takes it apart again; this does not.
    """
    count = jax.tree.leaves(xs)[0].shape[0]
    if not count:
        return lax.scan(step, carry, xs)
    outputs = []
    for i in range(count):
        carry, y = step(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023
        outputs.append(y)
    return carry, jax.tree.map(lambda *y: jnp.stack(y), *outputs)


@checked
def memoryless(step: Step) -> Dynamics[tuple[()]]:
    """The model without memory that steps by `step(key, obs, action) -> (next_obs, reward, discount)`."""

    def start(key: Key, obs: Array) -> tuple[()]:
        del key, obs
        return ()

    def forward(key: Key, memory: tuple[()], obs: Array, action: Array) -> tuple[tuple[()], Imagined]:
        return memory, Imagined(*step(key, obs, action))

    return Dynamics(start, forward)


@checked
def follow(actions: Float[Array, "batch horizon action_dim"]) -> Policy[Array]:
    """The policy that takes the actions `[B, horizon, A]` one after the other; what is left of them is its memory.

    Its extras are the keys it was given and does not need, one for all rows.
    """

    def start(obs: Array) -> Array:
        del obs
        return actions

    def act(key: Key, left: Array, obs: Array) -> tuple[Array, Array, Key]:
        del obs
        return jnp.roll(left, -1, axis=1), left[:, 0], key

    return Policy(start, act)


def _front(chosen: Array) -> Array:
    """The order `[rows]` that moves the chosen rows to the front and keeps it otherwise.

    A stable sort by two keys, by counting: a sort of 100,000 rows takes twenty times as long on a CPU.
    """
    before = jnp.cumsum(chosen, dtype=jnp.int32)
    row = jnp.arange(chosen.shape[0], dtype=jnp.int32)
    place = jnp.where(chosen, before - 1, before[-1] + row - before)
    return jnp.zeros_like(row).at[place].set(row, unique_indices=True)


def _guarded(step: Transition) -> tuple[Transition, Array]:
    """The step with numbers that are not finite taken out, and the rows that had some, bool `[B]`.

    As `envs.build` guards a real step: the row stays where it was and ends as a termination with reward 0.
    """
    failed = ~(jnp.isfinite(step.next_obs).all(axis=-1) & jnp.isfinite(step.reward))
    return step._replace(
        next_obs=jnp.where(failed[:, None], step.obs, step.next_obs),
        reward=jnp.where(failed, 0.0, step.reward),
        discount=jnp.where(failed, 0.0, step.discount),
    ), failed


@checked
def branch(
    key: Key,
    dynamics: Dynamics[PyTree],
    policy: Policy[PyTree],
    obs: Float[Array, "batch obs_dim"],
    horizon: Int[Array, ""] | int,
    write: Callable[[PyTree, Array, Array, Array], PyTree],
    into: PyTree,
) -> tuple[PyTree, Int[Array, ""]]:
    """Branched model roll-outs (MBPO, Algorithm 2): from each start state, `horizon` steps of policy and model.

    Rows that terminate stop; the survivors of each step are moved to the front. A row whose successor or reward is not
    finite stops too.

    Args:
      policy: the stochastic policy.
      obs: start states `[batch, obs_dim]`.
      horizon: number of steps, an int32 scalar; may be traced, so that a growing horizon needs one compilation.
      write: `write(into, step, rows[batch, row_width], count) -> into`, storing the first `count` packed rows.
      into: where to write.

    Returns:
      What has been written into, and how many rows were stopped because they were not finite (int32).
    """

    def body(h: Array, carry: tuple[Standing, Array, PyTree, Array]) -> tuple[Standing, Array, PyTree, Array]:
        now, alive, into, failures = carry
        now, taken = advance(jax.random.fold_in(k_steps, h), dynamics, policy, now)
        taken, failed = _guarded(taken)
        into = write(into, h, pack(taken), alive.sum(dtype=jnp.int32))
        failures = failures + (failed & alive).sum(dtype=jnp.int32)
        alive = alive & (taken.discount > 0)
        order = _front(alive)
        moved = jax.tree.map(lambda x: x[order], now._replace(obs=taken.next_obs))
        return moved, alive[order], into, failures

    k_start, k_steps = jax.random.split(key)
    carry = (begin(k_start, dynamics, policy, obs), jnp.ones(obs.shape[0], bool), into, jnp.zeros((), jnp.int32))
    with jax.named_scope("mbrl.rollouts"):
        _, _, into, failures = lax.fori_loop(0, horizon, body, carry)
    return into, failures
