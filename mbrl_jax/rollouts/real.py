"""Roll-outs: steps of the real environment with automatic resets, and branched roll-outs of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.data import replay
from mbrl_jax.envs.base import checked_action, restart, to_env
from mbrl_jax.types import Act, Env, Key, Spec, Transition

__all__ = [
    "Actor",
    "Episodes",
    "check_steps",
    "collect",
    "episode_info",
    "episodes",
    "evaluate",
    "interact",
    "normalised",
    "start",
    "step",
    "to_env",
    "uniform",
]


def normalised(env: Env) -> Env:
    """The same environment with actions in [-1, 1], in which policies and models work; transitions record those.

    An action that is not finite ends the episode as a termination, and zeros are recorded in its place. The
    environment's own `reward` and `path_reward` take normalised actions too.
    """
    spec = env.spec
    unit = replace(spec, action_low=(-1.0,) * spec.action_dim, action_high=(1.0,) * spec.action_dim)
    task_reward = env.reward

    def env_step(key: Key, state: Any, action: Array) -> tuple[Any, Transition]:
        action = checked_action(spec, action)
        state, transition = env.step(key, state, to_env(spec, action))
        recorded = jnp.where(jnp.isfinite(action).all(), action, jnp.zeros_like(action))
        return state, transition._replace(action=recorded)

    reward = None
    if task_reward is not None:
        reward = lambda obs, action, next_obs: task_reward(obs, to_env(spec, action), next_obs)  # noqa: E731
    path_reward, along = None, env.path_reward
    if along is not None:
        path_reward = lambda obs, action: along(obs, to_env(spec, action))  # noqa: E731
    return Env(env.reset, env_step, unit, reward, env.terminal, path_reward, env.restart)


def check_steps(steps: int, per_iteration: int, warmup: int) -> None:
    """Refuses step counts that the outer loop cannot realise."""
    if per_iteration < 1 or steps < 1 or steps % per_iteration:
        raise ValueError(
            f"steps must be a positive multiple of the environment steps per iteration, got {steps} and {per_iteration}"
        )
    if warmup < 1:
        raise ValueError(f"warmup_steps must be at least 1, so that there is data to learn from, got {warmup}")


def uniform(spec: Spec) -> Act:
    """The uniformly random policy over [-1, 1]."""
    return lambda key, obs: jax.random.uniform(key, (*obs.shape[:-1], spec.action_dim), minval=-1.0, maxval=1.0)


class Actor(NamedTuple):
    """An environment being acted in: its state and the running return and length of the episode."""

    env: Any
    episode_return: Array
    episode_length: Array


class Episodes(NamedTuple):
    """Totals over the episodes that ended in one step: how many (0 or 1), their return and their length.

    `failures` are those of them that the guard against non-finite numbers ended (see `envs.build`).
    """

    count: Array
    total_return: Array
    total_length: Array
    failures: Array


def start(key: Key, env: Env) -> Actor:
    """A fresh episode."""
    return Actor(env.reset(key), jnp.zeros(()), jnp.zeros((), jnp.int32))


def step(key: Key, env: Env, actor: Actor, action: Array) -> tuple[Actor, Transition, Episodes]:
    """One environment step; where the episode ended, the returned actor stands in a freshly reset one.

    The transition keeps the true `next_obs` and `discount` of the step. An environment whose states have no field
    `failures` counts none.
    """
    k_step, k_reset = jax.random.split(key)
    env_state, transition = env.step(k_step, actor.env, action)
    running = Actor(env_state, actor.episode_return + transition.reward, actor.episode_length + 1)
    ended = (transition.discount == 0) | transition.truncated
    zero = jnp.zeros_like(running.episode_length)
    actor = Actor(
        restart(k_reset, env, ended, env_state),
        jnp.where(ended, 0.0, running.episode_return),
        jnp.where(ended, zero, running.episode_length),
    )
    episodes = Episodes(
        count=ended.astype(jnp.int32),
        total_return=jnp.where(ended, running.episode_return, 0.0),
        total_length=jnp.where(ended, running.episode_length, zero),
        failures=jnp.where(ended, getattr(env_state, "failures", zero), zero),
    )
    return actor, transition, episodes


def episode_info(episodes: Episodes) -> dict[str, Array]:
    """How many episodes ended, and how many of them by a failure; their mean return and length, NaN where none did.

    The leaves of `episodes` are `[...]`.
    """
    count = episodes.count.sum()
    some = jnp.where(count > 0, count, jnp.nan)
    return {
        "train/episodes": count,
        "train/return": episodes.total_return.sum() / some,
        "train/length": episodes.total_length.sum() / some,
        "train/failures": episodes.failures.sum(),
    }


def collect(key: Key, env: Env, memory: replay.Replay, act: Act, steps: int) -> tuple[Actor, replay.ReplayState]:
    """An actor and a replay after `steps` steps of `act` from a fresh episode (MBPO's random warm-up)."""
    k_start, k_run = jax.random.split(key)
    policy, idle = (lambda _: act), (lambda _key, agent, _memory: (agent, {}))
    actor, state, _, _ = interact(k_run, env, memory, policy, idle, (start(k_start, env), memory.init(), ()), steps)
    return actor, state


def interact(
    key: Key,
    env: Env,
    memory: replay.Replay,
    policy: Callable[[Any], Act],
    improve: Callable[[Key, Any, replay.ReplayState], tuple[Any, dict[str, Array]]],
    carry: tuple[Actor, replay.ReplayState, Any],
    steps: int,
    every: int = 1,
) -> tuple[Actor, replay.ReplayState, Any, dict[str, Array]]:
    """The loop of every off-policy method: act, store, improve, `steps` times.

    A transition is in the replay as soon as it has happened (MBPO's released code adds whole episodes at their end).

    Args:
      policy: `policy(agent) -> Act`, the exploring policy.
      improve: `improve(key, agent, replay) -> (agent, info)`, called after every `every`-th environment step.
      carry: the actor, the replay and the agent's state.
      every: must divide `steps`.

    Returns:
      The same three afterwards, and the means of `info` with the statistics of the episodes that ended.
    """

    def body(carry, keys):
        actor, stored, agent = carry
        act = policy(agent)

        def play(carry, k):
            (actor, stored), (k_act, k_step, _) = carry, k
            actor, transition, episodes = step(k_step, env, actor, act(k_act, actor.env.obs[None])[0])
            return (actor, memory.add(stored, transition)), episodes

        (actor, stored), episodes = lax.scan(play, (actor, stored), keys, unroll=every == 1)
        agent, info = improve(keys[-1, 2], agent, stored)
        return (actor, stored, agent), (episodes, info)

    keys = jax.vmap(partial(jax.random.split, num=3))(jax.random.split(key, steps))
    (actor, stored, agent), (episodes, info) = lax.scan(body, carry, keys.reshape(steps // every, every, 3))
    return actor, stored, agent, {**episode_info(episodes), **jax.tree.map(jnp.mean, info)}


def episodes(
    key: Key, env: Env, act: Callable[[Key, Array], tuple[Array, Any]], count: int
) -> tuple[Transition, Array, Any]:
    """`count` whole episodes side by side, `time_limit` steps each.

    Args:
      key: random key.
      env: the environment.
      act: `act(key, obs[count, obs_dim]) -> (action[count, action_dim], extra)`.
      count: number of episodes.

    Returns:
      Transitions `[count, time_limit, ...]`, which of them happened before the task ended (bool
      `[count, time_limit]`), and what `act` gave besides, `[time_limit, ...]`.
    """
    k_reset, k_run = jax.random.split(key)

    def body(states: Any, k: Key) -> tuple[Any, tuple[Transition, Any]]:
        k_act, k_step = jax.random.split(k)
        action, extra = act(k_act, states.obs)
        states, transition = jax.vmap(env.step)(jax.random.split(k_step, count), states, action)
        return states, (transition, extra)

    states = jax.vmap(env.reset)(jax.random.split(k_reset, count))
    _, (steps, extras) = lax.scan(body, states, jax.random.split(k_run, env.spec.time_limit))
    steps = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), steps)
    going = jnp.cumprod(steps.discount, axis=1) > 0
    valid = jnp.concatenate([jnp.ones_like(going[:, :1]), going[:, :-1]], axis=1)
    return steps, valid, extras


def evaluate(key: Key, env: Env, act: Act, episodes: int) -> tuple[Array, Array]:
    """Undiscounted returns and lengths of whole episodes, each `[episodes]`; stops as soon as all have ended."""
    k_reset, k_run = jax.random.split(key)
    states = jax.vmap(env.reset)(jax.random.split(k_reset, episodes))
    carry = (jnp.zeros((), jnp.int32), states, jnp.ones(episodes, bool), jnp.zeros(episodes), jnp.zeros(episodes))

    def body(carry):
        time, states, alive, total, length = carry
        k_act, k_step = jax.random.split(jax.random.fold_in(k_run, time))
        action = act(k_act, states.obs)
        states, transition = jax.vmap(env.step)(jax.random.split(k_step, episodes), states, action)
        total = total + jnp.where(alive, transition.reward, 0.0)
        ended = (transition.discount == 0) | transition.truncated
        return time + 1, states, alive & ~ended, total, length + alive

    def running(carry):
        return (carry[0] < env.spec.time_limit) & carry[2].any()

    *_, total, length = lax.while_loop(running, body, carry)
    return total, length
