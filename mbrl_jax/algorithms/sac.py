"""SAC (Haarnoja et al., 2018): the model-free baseline, at any number of updates per environment step.

With MBPO's update ratio it is the "no model" ablation of Janner et al., 2019, Figure 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
from jax import lax
from jaxtyping import Array

from mbrl_jax import replay, rollouts
from mbrl_jax.learners import sac
from mbrl_jax.types import Act, Algorithm, Env, Key, check_positive

__all__ = ["Config", "State", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of SAC as run by MBPO's released code (`development/base.py`)."""

    steps: int = 125_000
    """Environment steps of the run, the random warm-up not counted."""
    warmup_steps: int = 5_000
    """Uniformly random steps before learning (MBPO code)."""
    steps_per_iteration: int = 250
    """Environment steps per call of `step`; what happens between calls (evaluation) is a multiple of it."""
    updates_per_step: int = 1
    """Gradient updates per environment step (Haarnoja et al. 2018: 1; MBPO's G: 20 to 40)."""
    batch: int = 256
    """Transitions per update (Haarnoja et al. 2018, Table 1)."""
    replay_capacity: int = 1_000_000
    """Transitions kept; never more than the run can collect (Haarnoja et al. 2018, Table 1)."""
    agent: sac.Config = field(default_factory=sac.Config)
    """The learner's hyper-parameters."""

    def __post_init__(self) -> None:
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "updates_per_step", "batch", "replay_capacity")


class State(NamedTuple):
    """Environment, replay and agent."""

    actor: rollouts.Actor
    memory: replay.ReplayState
    agent: sac.State


def make(config: Config, env: Env) -> Algorithm:
    """SAC on `env`; one iteration is `steps_per_iteration` times (act, store, update `updates_per_step` times)."""
    unit = rollouts.normalised(env)
    spec = unit.spec
    memory = replay.make(spec, min(config.replay_capacity, config.steps + config.warmup_steps))
    agent = sac.make(config.agent, spec)

    def improve(key: Key, state: sac.State, stored: replay.ReplayState) -> tuple[sac.State, dict[str, Array]]:
        k_sample, k_update = jax.random.split(key)
        batches = memory.sample(k_sample, stored, (config.updates_per_step, config.batch))
        keys = jax.random.split(k_update, config.updates_per_step)
        return lax.scan(lambda s, kb: agent.update(kb[0], s, kb[1]), state, (keys, batches))

    def init(key: Key) -> State:
        k_warm, k_agent = jax.random.split(key)
        actor, stored = rollouts.collect(k_warm, unit, memory, rollouts.uniform(spec), config.warmup_steps)
        return State(actor, stored, agent.init(k_agent))

    def step(key: Key, state: State) -> tuple[State, dict[str, Array]]:
        explore: Callable[[sac.State], Act] = lambda s: sac.act(config.agent, spec, s)  # noqa: E731
        carry = (state.actor, state.memory, state.agent)
        actor, stored, learner, info = rollouts.interact(
            key, unit, memory, explore, improve, carry, config.steps_per_iteration
        )
        return State(actor, stored, learner), info

    def policy(state: State) -> Act:
        mode = sac.mode(config.agent, spec, state.agent)
        return lambda key, obs: rollouts.to_env(env.spec, mode(key, obs))

    return Algorithm(init, step, policy, config.steps_per_iteration, config.warmup_steps)
