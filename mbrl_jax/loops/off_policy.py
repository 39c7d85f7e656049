"""The loop of off-policy methods as an `Algorithm`: prepare, then act, store, improve; random steps first.

Ours: the outer loop that SAC (Haarnoja et al., 2018) and MBPO (Janner et al., 2019) have in common.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import jax

from mbrl_jax import rollouts
from mbrl_jax.data import replay
from mbrl_jax.types import Agent, Algorithm, Config, Env, Info, Key, Method, Policy, PyTree, S

__all__ = ["State", "make", "model_free", "unprepared"]


class State(NamedTuple, Generic[S]):
    """Environment, replay and what the method learns."""

    actor: rollouts.Actor
    memory: replay.ReplayState
    agent: S


def unprepared(key: Key, state: S, memory: replay.ReplayState) -> tuple[S, Info]:
    """The `prepare` of a method that does nothing at the start of an iteration."""
    del key, memory
    return state, {}


def make(
    env: Env,
    memory: replay.Replay,
    method: Method[S, replay.ReplayState],
    *,
    warmup_steps: int,
    steps_per_iteration: int,
    every: int = 1,
) -> Algorithm[State[S]]:
    """A method on `env`.

    Args:
      env: the environment, in its own units.
      memory: the replay, for `rollouts.normalised(env)`.
      method: `prepare` is called at the start of every iteration, `improve` after every `every`-th step.
      warmup_steps: uniformly random steps that `init` takes.
      steps_per_iteration: environment steps of one call of `step`.
      every: environment steps between two calls of `improve`; must divide `steps_per_iteration`.

    Raises:
      ValueError: `every` does not divide `steps_per_iteration`.
    """
    if steps_per_iteration % every:
        raise ValueError(
            "steps_per_iteration must be a multiple of the steps between two updates, "
            f"got {steps_per_iteration} and {every}"
        )
    unit = rollouts.normalised(env)

    def init(key: Key) -> State[S]:
        k_warm, k_agent = jax.random.split(key)
        actor, stored = rollouts.collect(k_warm, unit, memory, rollouts.uniform(unit.spec), warmup_steps)
        agent = method.init(k_agent)
        return State(rollouts.remember(actor, method.explore(agent)), stored, agent)

    def step(key: Key, state: State[S]) -> tuple[State[S], Info]:
        # The loop's keys are those of its steps, 0 to steps_per_iteration − 1 of the same sequence.
        k_prepare = jax.random.fold_in(key, steps_per_iteration)
        with jax.named_scope("mbrl.preparing"):
            agent, prepared = method.prepare(k_prepare, state.agent, state.memory)
        carry = (state.actor, state.memory, agent)
        actor, stored, agent, info = rollouts.interact(
            key, unit, memory, method.explore, method.improve, carry, steps_per_iteration, every
        )
        return State(actor, stored, agent), {**prepared, **info}

    def policy(state: State[S]) -> Policy[PyTree]:
        return rollouts.for_env(env.spec, method.mode(state.agent))

    return Algorithm(init, step, policy, steps_per_iteration, warmup_steps)


def model_free(config: Config, env: Env, agent: Agent[S], updates: int, every: int = 1) -> Algorithm[State[S]]:
    """An agent that learns from the replay alone: `updates` batches of it after every `every`-th environment step.

    Args:
      config: has `steps`, `warmup_steps`, `steps_per_iteration`, `batch` and `replay_capacity`.
    """
    memory = replay.of_run(config, rollouts.normalised(env).spec)

    def improve(key: Key, state: S, stored: replay.ReplayState) -> tuple[S, Info]:
        k_sample, k_update = jax.random.split(key)
        return agent.update(k_update, state, memory.sample(k_sample, stored, (updates, config.batch)))

    return make(
        env,
        memory,
        Method(agent.init, agent.act, agent.mode, improve, unprepared),
        warmup_steps=config.warmup_steps,
        steps_per_iteration=config.steps_per_iteration,
        every=every,
    )
