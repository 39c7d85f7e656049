"""Whole episodes of the real environment, side by side: with all their steps, or for what they return.

Ours: plumbing, without a paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mbrl_jax.types import Env, Key, Policy, PyTree, Transition, checked

__all__ = ["Graded", "episodes", "evaluate", "graded", "until_ended", "watch"]


@checked
def episodes(
    key: Key, env: Env, policy: Policy[PyTree], count: int
) -> tuple[Transition, Bool[Array, "{count} time_limit"]]:
    """`count` whole episodes side by side, `time_limit` steps each.

    Returns:
      Transitions `[count, time_limit, ...]` with what the policy gave besides as their extras, and which of them
      happened before the task ended (bool `[count, time_limit]`).
    """
    begin, body, keys = _side_by_side(key, env, policy, count)
    return _with_valid(lax.scan(body, begin, keys)[1])


@checked
def until_ended(
    key: Key, env: Env, policy: Policy[PyTree], count: int
) -> tuple[Transition, Bool[Array, "{count} time_limit"]]:
    """`episodes` that takes no step once all have ended: for policies that are dear, on tasks that end early.

    Returns:
      What `episodes` does, and the same where it happened; rows of steps that were not taken are 0.
    """
    begin, body, keys = _side_by_side(key, env, policy, count)
    shapes = jax.eval_shape(lambda: lax.scan(body, begin, keys)[1])
    empty: Transition = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def running(now: tuple[Array, Array, PyTree, Transition]) -> Array:
        time, going, *_ = now
        return (time < env.spec.time_limit) & going.any()

    def once(now: tuple[Array, Array, PyTree, Transition]) -> tuple[Array, Array, PyTree, Transition]:
        time, going, carry, rows = now
        carry, step = body(carry, keys[time])
        rows = jax.tree.map(lambda into, row: lax.dynamic_update_index_in_dim(into, row, time, 0), rows, step)
        return time + 1, going & (step.discount > 0), carry, rows

    first = (jnp.zeros((), jnp.int32), jnp.ones(count, bool), begin, empty)
    return _with_valid(lax.while_loop(running, once, first)[-1])


Carry = tuple[PyTree, PyTree]
"""States of environments side by side, and the policy's memory."""


def _side_by_side(
    key: Key, env: Env, policy: Policy[PyTree], count: int
) -> tuple[Carry, Callable[[Carry, Key], tuple[Carry, Transition]], Key]:
    """The beginning of `count` episodes, a step of all of them, and the steps' keys `[time_limit]`."""
    k_reset, k_run = jax.random.split(key)

    def body(carry: Carry, k: Key) -> tuple[Carry, Transition]:
        states, memory = carry
        k_act, k_step = jax.random.split(k)
        with jax.named_scope("mbrl.acting"):
            memory, action, extras = policy.act(k_act, memory, states.obs)
        with jax.named_scope("mbrl.environment"):
            states, transition = jax.vmap(env.step)(jax.random.split(k_step, count), states, action)
        return (states, memory), transition._replace(extras=extras)

    states = jax.vmap(env.reset)(jax.random.split(k_reset, count))
    return (states, policy.start(states.obs)), body, jax.random.split(k_run, env.spec.time_limit)


def _with_valid(steps: Transition) -> tuple[Transition, Array]:
    """Steps `[time, count, ...]` with episodes first, and which happened before their episode's end."""
    rows: Transition = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), steps)
    going = jnp.cumprod(rows.discount, axis=1) > 0
    return rows, jnp.concatenate([jnp.ones_like(going[:, :1]), going[:, :-1]], axis=1)


class _Running(NamedTuple):
    """Evaluation: the time, environments and memories, which episodes go on, their returns, lengths and scores."""

    time: Array
    states: PyTree
    memory: PyTree
    alive: Array
    total: Array
    length: Array
    scores: dict[str, Array]


class Graded(NamedTuple):
    """Of episodes, each `[episodes]`: undiscounted returns, lengths, means of the task's own `scores` over steps."""

    total: Array
    length: Array
    scores: dict[str, Array]


@checked
def evaluate(
    key: Key, env: Env, policy: Policy[PyTree], episodes: int
) -> tuple[Float[Array, " {episodes}"], Float[Array, " {episodes}"]]:
    """Undiscounted returns and lengths of whole episodes, each `[episodes]`; stops as soon as all have ended."""
    return graded(key, env, policy, episodes)[:2]


@checked
def graded(key: Key, env: Env, policy: Policy[PyTree], episodes: int) -> Graded:
    """What `evaluate` gives, and the scores of a task that has any (`Env.scores`)."""
    k_reset, k_run = jax.random.split(key)
    states = jax.vmap(env.reset)(jax.random.split(k_reset, episodes))
    zero = jnp.zeros(episodes)
    alive, scores = jnp.ones(episodes, bool), dict.fromkeys(env.scores(states.obs) if env.scores else (), zero)
    begin = _Running(jnp.zeros((), jnp.int32), states, policy.start(states.obs), alive, zero, zero, scores)

    def body(now: _Running) -> _Running:
        k_act, k_step = jax.random.split(jax.random.fold_in(k_run, now.time))
        memory, action, _ = policy.act(k_act, now.memory, now.states.obs)
        states, transition = jax.vmap(env.step)(jax.random.split(k_step, episodes), now.states, action)
        total = now.total + jnp.where(now.alive, transition.reward, 0.0)
        length = now.length + now.alive.astype(now.length.dtype)
        ended = (transition.discount == 0) | transition.truncated
        scores = env.scores(transition.next_obs) if env.scores else {}
        scores = {k: one + jnp.where(now.alive, scores[k].astype(one.dtype), 0.0) for k, one in now.scores.items()}
        return _Running(now.time + 1, states, memory, now.alive & ~ended, total, length, scores)

    def running(now: _Running) -> Array:
        return (now.time < env.spec.time_limit) & now.alive.any()

    end = lax.while_loop(running, body, begin)
    return Graded(end.total, end.length, {name: one / end.length for name, one in end.scores.items()})


@checked
def watch(key: Key, env: Env, policy: Policy[PyTree], steps: int | None = None) -> PyTree:
    """The states, each leaf `[steps, ...]`, of one environment under a policy: what `envs.render` draws.

        >>> env = mb.make_env("pendulum")
        >>> policy = mb.rollouts.stateless(lambda key, obs: 0.0 * obs[:, :1])  # no torque
        >>> mb.render(env, mb.watch(jax.random.key(0), env, policy, steps=2)).shape
        (2, 240, 320, 3)

    The first is that of the reset. Nothing is reset afterwards, so that a state after a termination is seen too.

    Args:
      steps: how many states; those of a whole episode, `time_limit`, if None.
    """
    k_reset, k_run = jax.random.split(key)
    first = env.reset(k_reset)

    def body(carry: tuple[PyTree, PyTree], k: Key) -> tuple[tuple[PyTree, PyTree], PyTree]:
        state, memory = carry
        k_act, k_step = jax.random.split(k)
        memory, action, _ = policy.act(k_act, memory, state.obs[None])
        return (env.step(k_step, state, action[0])[0], memory), state

    keys = jax.random.split(k_run, env.spec.time_limit if steps is None else steps)
    return lax.scan(body, (first, policy.start(first.obs[None])), keys)[1]
