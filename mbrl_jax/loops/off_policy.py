"""The loop of off-policy methods as an `Algorithm`: act, store, improve; random steps first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.data import replay
from mbrl_jax.types import Act, Algorithm, Env, Key

__all__ = ["Agent", "State", "make"]


class State(NamedTuple):
    """Environment, replay and the agent's own state."""

    actor: rollouts.Actor
    memory: replay.ReplayState
    agent: Any


def _unchanged(state: Any, memory: replay.ReplayState) -> Any:
    del memory
    return state


class Agent(NamedTuple):
    """What a method brings to the loop, as pure functions of its own state; its actions lie in [-1, 1].

    Attributes:
      init: `init(key) -> state`.
      explore: `explore(state) -> Act`, the policy that collects data.
      mode: `mode(state) -> Act`, the deterministic policy that is evaluated.
      improve: `improve(key, state, memory) -> (state, info)`, the updates that follow the environment's steps.
      refresh: `refresh(state, memory) -> state` at the start of every iteration.
    """

    init: Callable[[Key], Any]
    explore: Callable[[Any], Act]
    mode: Callable[[Any], Act]
    improve: Callable[[Key, Any, replay.ReplayState], tuple[Any, dict[str, Array]]]
    refresh: Callable[[Any, replay.ReplayState], Any] = _unchanged


def make(
    env: Env, memory: replay.Replay, agent: Agent, *, warmup_steps: int, steps_per_iteration: int, every: int = 1
) -> Algorithm:
    """An agent on `env`.

    Args:
      env: the environment, in its own units.
      memory: the replay, for `rollouts.normalised(env)`.
      warmup_steps: uniformly random steps that `init` takes.
      steps_per_iteration: environment steps of one call of `step`.
      every: environment steps between two calls of `improve`; must divide `steps_per_iteration`.
    """
    if steps_per_iteration % every:
        raise ValueError(
            "steps_per_iteration must be a multiple of the steps between two updates, "
            f"got {steps_per_iteration} and {every}"
        )
    unit = rollouts.normalised(env)

    def init(key: Key) -> State:
        k_warm, k_agent = jax.random.split(key)
        actor, stored = rollouts.collect(k_warm, unit, memory, rollouts.uniform(unit.spec), warmup_steps)
        return State(actor, stored, agent.init(k_agent))

    def step(key: Key, state: State) -> tuple[State, dict[str, Array]]:
        carry = (state.actor, state.memory, agent.refresh(state.agent, state.memory))
        actor, stored, own, info = rollouts.interact(
            key, unit, memory, agent.explore, agent.improve, carry, steps_per_iteration, every
        )
        return State(actor, stored, own), info

    def policy(state: State) -> Act:
        mode = agent.mode(state.agent)
        return lambda key, obs: rollouts.to_env(env.spec, mode(key, obs))

    return Algorithm(init, step, policy, steps_per_iteration, warmup_steps)
