"""The loop of methods that learn from whole episodes as an `Algorithm`: fit, act, store; random episodes first.

Ours: the outer loop that Algorithm 1 of Chua et al. (2018) and DAM's rounds (Haghgoo et al., 2021) have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.types import Algorithm, Env, Info, Key, Method, Policy, PyTree, S, Shared, Storage, Transition

__all__ = ["Episodes", "State", "fixed", "make"]


class Episodes(NamedTuple):
    """All episodes so far.

    Attributes:
      steps: `Transition [capacity, time_limit, ...]` without extras.
      valid: which of them happened before their episode's end, bool `[capacity, time_limit]`.
      collected: how many episodes there are.
    """

    steps: Storage
    valid: Storage
    collected: Shared


class State(NamedTuple, Generic[S]):
    """The episodes and what the method learns."""

    memory: Episodes
    agent: S


def fixed(key: Key, state: S, memory: Episodes) -> tuple[S, Info]:
    """The `improve` of a method that learns at the start of an iteration only."""
    del key, memory
    return state, {}


def _unremarkable(steps: Transition, valid: Array) -> Info:
    del steps, valid
    return {}


def make(
    env: Env,
    method: Method[S, Episodes],
    blind: Policy[PyTree],
    *,
    warmup_episodes: int,
    episodes: int,
    rounds: int,
    describe: Callable[[Transition, Array], Info] = _unremarkable,
    collect: Callable[[Key, Env, Policy[PyTree], int], tuple[Transition, Array]] = rollouts.episodes,
) -> Algorithm[State[S]]:
    """A method on `env`; one iteration is one round of `episodes` whole episodes.

    Args:
      env: the environment, in its own units.
      method: `prepare` is called before a round's episodes, `improve` after them.
      blind: the policy of the episodes that `init` collects; actions in [-1, 1].
      warmup_episodes: how many those are.
      episodes: episodes of a round, side by side.
      rounds: how many rounds there is room for.
      describe: `describe(steps [episodes, time_limit, ...], valid) -> info` of a round, the steps with their extras.
      collect: `collect(key, env, policy, episodes) -> (steps [episodes, time_limit, ...], valid [episodes,
        time_limit])`, how a round's are acted out; `rollouts.until_ended` where a policy is dear.
    """
    unit = rollouts.normalised(env)
    capacity = warmup_episodes + rounds * episodes

    def init(key: Key) -> State[S]:
        k_episodes, k_agent = jax.random.split(key)
        found, valid = rollouts.episodes(k_episodes, unit, blind, warmup_episodes)

        def room(x: Array) -> Array:
            return jnp.zeros((capacity, *x.shape[1:]), x.dtype).at[: x.shape[0]].set(x)

        steps = Storage(jax.tree.map(room, found._replace(extras=())))
        count = Shared(jnp.full((), warmup_episodes, jnp.int32))
        return State(Episodes(steps, Storage(room(valid)), count), method.init(k_agent))

    def step(key: Key, state: State[S]) -> tuple[State[S], Info]:
        k_prepare, k_act, k_improve = jax.random.split(key, 3)
        with jax.named_scope("mbrl.preparing"):
            agent, prepared = method.prepare(k_prepare, state.agent, state.memory)
        found, valid = collect(k_act, unit, method.explore(agent), episodes)
        memory = _stored(state.memory, found._replace(extras=()), valid)
        with jax.named_scope("mbrl.updates"):
            agent, improved = method.improve(k_improve, agent, memory)
        info = {"train/return": jnp.where(valid, found.reward, 0.0).sum(axis=1).mean(), **describe(found, valid)}
        return State(memory, agent), {**prepared, **improved, **info}

    def policy(state: State[S]) -> Policy[PyTree]:
        return rollouts.for_env(env.spec, method.mode(state.agent))

    return Algorithm(init, step, policy, episodes * env.spec.time_limit, warmup_episodes * env.spec.time_limit)


def _stored(memory: Episodes, found: Transition, valid: Array) -> Episodes:
    """The episodes with a round's behind them."""
    at = memory.collected.value

    def write(into: Array, rows: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(into, rows, at, axis=0)

    steps: PyTree = jax.tree.map(write, memory.steps.value, found)
    return Episodes(Storage(steps), Storage(write(memory.valid.value, valid)), Shared(at + valid.shape[0]))
