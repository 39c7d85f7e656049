"""Roll-outs of the real environment: steps with automatic resets, and fragments of many environments.

Ours: plumbing; an episode that ended is reset in the same step, as in Gymnasium's mode `SAME_STEP`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mbrl_jax.data import replay
from mbrl_jax.envs.base import checked_action, restart, to_env
from mbrl_jax.types import Env, Info, Key, Policy, PyTree, S, Transition, checked

__all__ = [
    "Actor",
    "Episodes",
    "check_steps",
    "collect",
    "episode_info",
    "fragment",
    "interact",
    "normalised",
    "remember",
    "start",
    "step",
]

Reward = Callable[[Array, Array, Array], Array]
PathReward = Callable[[Array, Array], Array]


@checked
def normalised(env: Env) -> Env:
    """The same environment with actions in [-1, 1], in which policies and models work; transitions record those.

    An action that is not finite ends the episode as a termination, and zeros are recorded in its place. The
    environment's own `reward` and `path_reward` take normalised actions too.
    """
    spec = env.spec
    unit = replace(spec, action_low=(-1.0,) * spec.action_dim, action_high=(1.0,) * spec.action_dim)

    def env_step(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Transition]:
        action = checked_action(spec, action)
        state, transition = env.step(key, state, to_env(spec, action))
        recorded = jnp.where(jnp.isfinite(action).all(), action, jnp.zeros_like(action))
        return state, transition._replace(action=recorded)

    def reward(obs: Array, action: Array, next_obs: Array) -> Array:
        return cast(Reward, env.reward)(obs, to_env(spec, action), next_obs)

    def path_reward(obs: Array, action: Array) -> Array:
        return cast(PathReward, env.path_reward)(obs, to_env(spec, action))

    of_step, of_path = None if env.reward is None else reward, None if env.path_reward is None else path_reward
    return Env(env.reset, env_step, unit, of_step, env.terminal, of_path, env.restart)


def check_steps(steps: int, per_iteration: int, warmup: int) -> None:
    """Refuses step counts that the outer loop cannot realise.

    Raises:
      ValueError: `steps` is no positive multiple of `per_iteration`, or `warmup` is below 1.
    """
    if per_iteration < 1 or steps < 1 or steps % per_iteration:
        raise ValueError(
            f"steps must be a positive multiple of the environment steps per iteration, got {steps} and {per_iteration}"
        )
    if warmup < 1:
        raise ValueError(f"warmup_steps must be at least 1, so that there is data to learn from, got {warmup}")


class Actor(NamedTuple):
    """An environment being acted in: its state, the running return and length of the episode, the policy's memory.

    The memory's leaves are `[1, ...]`.
    """

    env: PyTree
    episode_return: Float[Array, "*actors"]
    episode_length: Int[Array, "*actors"]
    memory: PyTree = ()


class Episodes(NamedTuple):
    """Totals over the episodes that ended in one step: how many (0 or 1), their return and their length.

    `failures` are those of them that the guard against non-finite numbers ended (see `envs.build`).
    """

    ended: Int[Array, "..."]
    total_return: Float[Array, "..."]
    total_length: Int[Array, "..."]
    failures: Int[Array, "..."]


@checked
def start(key: Key, env: Env) -> Actor:
    """A fresh episode, without a policy's memory."""
    return Actor(env.reset(key), jnp.zeros(()), jnp.zeros((), jnp.int32))


@checked
def remember(actor: Actor, policy: Policy[PyTree]) -> Actor:
    """The actor with the memory of a policy that sees its environment for the first time."""
    return actor._replace(memory=policy.start(actor.env.obs[None]))


def act_once(keys: tuple[Key, Key], env: Env, policy: Policy, actor: Actor) -> tuple[Actor, Transition, Episodes]:
    """The policy's action, and the environment's step; where the episode ended, both start afresh."""
    k_act, k_step = keys
    with jax.named_scope("mbrl.acting"):
        memory, action, extras = policy.act(k_act, actor.memory, actor.env.obs[None])
    action, extras = action[0], jax.tree.map(lambda x: x[0], extras)
    actor, transition, episodes = step(k_step, env, actor._replace(memory=memory), action)
    fresh = policy.start(actor.env.obs[None])
    memory = jax.tree.map(lambda new, old: jnp.where(episodes.ended > 0, new, old), fresh, actor.memory)
    return actor._replace(memory=memory), transition._replace(extras=extras), episodes


@checked
def step(key: Key, env: Env, actor: Actor, action: Float[Array, " action_dim"]) -> tuple[Actor, Transition, Episodes]:
    """One environment step; where the episode ended, the returned actor stands in a freshly reset one.

    The transition keeps the true `next_obs` and `discount` of the step. An environment whose states have no field
    `failures` counts none.
    """
    k_step, k_reset = jax.random.split(key)
    with jax.named_scope("mbrl.environment"):
        env_state, transition = env.step(k_step, actor.env, action)
    running = Actor(env_state, actor.episode_return + transition.reward, actor.episode_length + 1)
    ended = (transition.discount == 0) | transition.truncated
    zero = jnp.zeros_like(running.episode_length)
    actor = Actor(
        restart(k_reset, env, ended, env_state),
        jnp.where(ended, 0.0, running.episode_return),
        jnp.where(ended, zero, running.episode_length),
        actor.memory,
    )
    episodes = Episodes(
        ended=ended.astype(jnp.int32),
        total_return=jnp.where(ended, running.episode_return, 0.0),
        total_length=jnp.where(ended, running.episode_length, zero),
        failures=jnp.where(ended, getattr(env_state, "failures", zero), zero),
    )
    return actor, transition, episodes


@checked
def episode_info(episodes: Episodes) -> Info:
    """How many episodes ended, and how many of them by a failure; their mean return and length, NaN where none did.

    The leaves of `episodes` are `[...]`.
    """
    count = episodes.ended.sum()
    some = jnp.where(count > 0, count.astype(episodes.total_return.dtype), jnp.nan)
    return {
        "train/episodes": count,
        "train/return": episodes.total_return.sum() / some,
        "train/length": episodes.total_length.sum().astype(some.dtype) / some,
        "train/failures": episodes.failures.sum(),
    }


@checked
def collect(
    key: Key, env: Env, memory: replay.Replay, policy: Policy[PyTree], steps: int
) -> tuple[Actor, replay.ReplayState]:
    """An actor and a replay after `steps` steps of a policy from a fresh episode (MBPO's random warm-up)."""
    k_start, k_run = jax.random.split(key)

    def idle(key: Key, agent: tuple[()], stored: replay.ReplayState) -> tuple[tuple[()], Info]:
        del key, stored
        return agent, {}

    carry = (remember(start(k_start, env), policy), memory.init(), ())
    actor, state, _, _ = interact(k_run, env, memory, lambda _: policy, idle, carry, steps)
    return actor, state


@checked
def interact(
    key: Key,
    env: Env,
    memory: replay.Replay,
    policy: Callable[[S], Policy[PyTree]],
    improve: Callable[[Key, S, replay.ReplayState], tuple[S, Info]],
    carry: tuple[Actor, replay.ReplayState, S],
    steps: int,
    every: int = 1,
) -> tuple[Actor, replay.ReplayState, S, Info]:
    """The loop of every off-policy method: act, store, improve, `steps` times.

    A transition is in the replay as soon as it has happened (MBPO's released code adds whole episodes at their end).

    Args:
      policy: `policy(agent) -> Policy`, which explores; the actor holds its memory.
      improve: `improve(key, agent, replay) -> (agent, info)`, called after every `every`-th environment step.
      carry: the actor, the replay and the agent's state.
      every: must divide `steps`.

    Returns:
      The same three afterwards, and the means of `info` with the statistics of the episodes that ended.
    """

    def body(
        carry: tuple[Actor, replay.ReplayState, S], keys: Key
    ) -> tuple[tuple[Actor, replay.ReplayState, S], tuple[Episodes, Info]]:
        actor, stored, agent = carry
        acting = policy(agent)

        def play(carry: tuple[Actor, replay.ReplayState], k: Key) -> tuple[tuple[Actor, replay.ReplayState], Episodes]:
            actor, stored = carry
            actor, transition, episodes = act_once((k[0], k[1]), env, acting, actor)
            return (actor, memory.add(stored, transition)), episodes

        (actor, stored), episodes = lax.scan(play, (actor, stored), keys, unroll=every == 1)
        with jax.named_scope("mbrl.updates"):
            agent, info = improve(keys[-1, 2], agent, stored)
        return (actor, stored, agent), (episodes, info)

    keys = jax.vmap(partial(jax.random.split, num=3))(jax.random.split(key, steps))
    (actor, stored, agent), (episodes, info) = lax.scan(body, carry, keys.reshape(steps // every, every, 3))
    return actor, stored, agent, {**episode_info(episodes), **jax.tree.map(jnp.mean, info)}


@checked
def fragment(
    key: Key, env: Env, policy: Policy, actors: Actor, steps: int, forget: bool = True
) -> tuple[Actor, Transition, Episodes]:
    """`steps` steps of N environments side by side, which are reset where their episodes end.

    Args:
      actors: N of them, each leaf `[N, ...]`, their memories `[N, 1, ...]`.
      forget: whether memories start afresh there too; false for exploration noise that goes on.

    Returns:
      The actors afterwards, and transitions and episodes `[steps, N, ...]`.
    """
    count = actors.episode_return.shape[0]

    def play(actors: Actor, k: Key) -> tuple[Actor, tuple[Transition, Episodes]]:
        k_act, k_step = jax.random.split(k)
        memory = jax.tree.map(lambda x: x[:, 0], actors.memory)
        with jax.named_scope("mbrl.acting"):
            memory, action, extras = policy.act(k_act, memory, actors.env.obs)
        held = actors._replace(memory=jax.tree.map(lambda x: x[:, None], memory))
        moved = jax.vmap(lambda k, actor, a: step(k, env, actor, a))
        actors, transition, episodes = moved(jax.random.split(k_step, count), held, action)
        actors = _restarted(policy, actors, (episodes.ended > 0) & forget)
        return actors, (transition._replace(extras=extras), episodes)

    actors, (transitions, episodes) = lax.scan(play, actors, jax.random.split(key, steps))
    return actors, transitions, episodes


def _restarted(policy: Policy[PyTree], actors: Actor, ended: Array) -> Actor:
    """The actors `[N, ...]` with fresh memories where their episodes ended."""

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(ended, range(1, old.ndim)), new[:, None], old)

    return actors._replace(memory=jax.tree.map(choose, policy.start(actors.env.obs), actors.memory))
