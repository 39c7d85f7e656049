"""The loop of on-policy methods as an `Algorithm`: fragments of N environments side by side, then an improvement.

Ours: the outer loop that TRPO and PPO (Schulman et al., 2015, 2017) have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.types import Agent, Algorithm, Config, Env, Info, Key, Method, Policy, PyTree, S, Transition

__all__ = ["State", "make", "model_free", "unprepared"]


class State(NamedTuple, Generic[S]):
    """N environments being acted in, each leaf `[N, ...]`, and what the method learns."""

    actors: rollouts.Actor
    agent: S


def unprepared(key: Key, state: S, fragment: Transition) -> tuple[S, Info]:
    """The `prepare` of a method that does nothing before it improves."""
    del key, fragment
    return state, {}


def make(
    env: Env,
    method: Method[S, Transition],
    *,
    environments: int,
    steps: int,
    fragments: int = 1,
    forget: bool = True,
) -> Algorithm[State[S]]:
    """A method on `env`; one iteration is `fragments` times (act, prepare, improve).

    Args:
      env: the environment, in its own units.
      method: `prepare` and then `improve` see the fragment `[steps, environments, ...]` that `explore` has just made,
        with the policy's extras; a normaliser is renewed in `prepare`.
      environments: N, environments side by side; their episodes go on from fragment to fragment.
      steps: T, steps of each in a fragment.
      fragments: fragments of one call of `step`.
      forget: whether the memory of `explore` starts afresh where an episode ends; false for noise that goes on.
    """
    unit = rollouts.normalised(env)

    def init(key: Key) -> State[S]:
        k_envs, k_agent = jax.random.split(key)
        agent = method.init(k_agent)
        policy = method.explore(agent)

        def begin(k: Key) -> rollouts.Actor:
            return rollouts.remember(rollouts.start(k, unit), policy)

        return State(jax.vmap(begin)(jax.random.split(k_envs, environments)), agent)

    def one(state: State[S], key: Key) -> tuple[State[S], tuple[rollouts.Episodes, Info]]:
        k_act, k_prepare, k_improve = jax.random.split(key, 3)
        policy = method.explore(state.agent)
        actors, fragment, episodes = rollouts.fragment(k_act, unit, policy, state.actors, steps, forget)
        with jax.named_scope("mbrl.preparing"):
            agent, prepared = method.prepare(k_prepare, state.agent, fragment)
        with jax.named_scope("mbrl.updates"):
            agent, info = method.improve(k_improve, agent, fragment)
        return State(actors, agent), (episodes, {**prepared, **info})

    def step(key: Key, state: State[S]) -> tuple[State[S], Info]:
        state, (episodes, info) = lax.scan(one, state, jax.random.split(key, fragments))
        return state, {**rollouts.episode_info(episodes), **jax.tree.map(jnp.mean, info)}

    def policy(state: State[S]) -> Policy[PyTree]:
        return rollouts.for_env(env.spec, method.mode(state.agent))

    return Algorithm(init, step, policy, environments * steps * fragments)


def model_free(config: Config, env: Env, agent: Agent[S], renewed: Callable[[S, Array], S]) -> Algorithm[State[S]]:
    """An agent that learns from each fragment once, after its observations' statistics have been renewed.

    Args:
      config: has `environments`, `fragment` (steps of each) and `fragments` (of one call of `step`).
      renewed: `renewed(state, obs[steps, environments, obs_dim]) -> state`.
    """

    def prepare(key: Key, state: S, fragment: Transition) -> tuple[S, Info]:
        del key
        return renewed(state, fragment.obs), {}

    def improve(key: Key, state: S, fragment: Transition) -> tuple[S, Info]:
        return agent.update(key, state, jax.tree.map(lambda x: x[None], fragment))

    return make(
        env,
        Method(agent.init, agent.act, agent.mode, improve, prepare),
        environments=config.environments,
        steps=config.fragment,
        fragments=config.fragments,
    )
