"""MBPO (Janner et al., 2019, Algorithm 2): fit an ensemble, branch short model roll-outs, improve SAC on them.

The defaults follow the authors' released code where it differs from the paper; docs/mbpo.md lists the differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.agents import critics, sac
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.data.slabs import SlabsState, make_slabs
from mbrl_jax.models import ensemble
from mbrl_jax.types import (
    Act,
    Algorithm,
    Env,
    Key,
    ModelStep,
    PyTree,
    Shared,
    Spec,
    Transition,
    check_positive,
    check_share,
)

__all__ = ["Config", "State", "make", "value_expansion"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of MBPO; defaults are the released code's for Hopper (`config/hopper/0.py`)."""

    steps: int = 125_000
    """Environment steps of the run, the random warm-up not counted (Janner et al. 2019, Table 1: epochs x 1000)."""
    warmup_steps: int = 5_000
    """Uniformly random steps before learning; 500 for the pendulums (MBPO code)."""
    epoch_length: int = 1_000
    """Environment steps per epoch, the unit of the roll-out schedule (Janner et al. 2019, Table 1)."""
    model_train_freq: int = 250
    """Environment steps between model fits; each is followed by one branched roll-out (MBPO code)."""
    updates_per_step: int = 20
    """Policy updates G per environment step (Janner et al. 2019, Table 1)."""
    batch: int = 256
    """Transitions per update, real and imagined together (MBPO code)."""
    real_fraction: float = field(default=0.05, metadata={"static": True})
    """Share of real transitions in a batch, rounded down to whole ones (MBPO code; Algorithm 2 has none)."""
    rollout_batch: int = 100_000
    """Start states of a branched roll-out: 400 per environment step (Janner et al. 2019, Table 1: M)."""
    rollout_schedule: tuple[int, int, int, int] = (20, 150, 1, 15)
    """(a, b, x, y): the roll-out length goes linearly from x to y over epochs a to b (Table 1; code for Hopper)."""
    retain_epochs: int = 1
    """Epochs for which imagined transitions are kept (MBPO code)."""
    replay_capacity: int = 1_000_000
    """Real transitions kept; never more than the run can collect (MBPO code)."""
    model: ensemble.Config = field(default_factory=ensemble.Config)
    """The ensemble's hyper-parameters."""
    agent: sac.Config = field(default_factory=partial(sac.Config, target_entropy=-1.0))
    """The policy learner's hyper-parameters (target entropy −1 for Hopper: Janner et al. 2019, Table 1 and code)."""

    def __post_init__(self) -> None:
        rollouts.check_steps(self.steps, self.model_train_freq, self.warmup_steps)
        if self.epoch_length % self.model_train_freq:
            raise ValueError(
                "epoch_length must be a multiple of model_train_freq, "
                f"got {self.epoch_length} and {self.model_train_freq}"
            )
        start, end, low, high = self.rollout_schedule
        if not (0 <= start < end and low >= 1 and high >= 1):
            raise ValueError(f"rollout_schedule needs 0 <= a < b and lengths >= 1, got {self.rollout_schedule}")
        check_share(self, "real_fraction")
        check_positive(self, "updates_per_step", "batch", "rollout_batch", "retain_epochs", "epoch_length")

    @property
    def real_batch(self) -> int:
        """Real transitions in a batch."""
        return int(self.batch * self.real_fraction)

    @property
    def slots(self) -> int:
        """Branched roll-outs whose transitions are kept."""
        return self.retain_epochs * (self.epoch_length // self.model_train_freq)

    @property
    def longest_rollout(self) -> int:
        """The longest roll-out within this run."""
        epochs = (0, (self.steps - 1) // self.epoch_length)
        return max(int(rollout_length(self, epoch)) for epoch in epochs)


def rollout_length(config: Config, epoch: Array | int) -> Array | np.ndarray:
    """Roll-out length k at an epoch, truncated to a whole number (Janner et al., 2019, Table 1, caption; code).

    Whole-number arithmetic: the released code's floats can fall one short where the line meets an integer.
    """
    start, end, low, high = config.rollout_schedule
    clip = np.clip if isinstance(epoch, int) else jnp.clip
    return low + clip(epoch - start, 0, end - start) * (high - low) // (end - start)


class State(NamedTuple):
    """Environment, real and imagined transitions (`SlabsState`, or empty), model, agent and the iteration number."""

    actor: rollouts.Actor
    memory: replay.ReplayState
    imagined: PyTree
    model: ensemble.State
    agent: sac.State
    iteration: Shared


Targets = Callable[[sac.Config, Spec, ModelStep], sac.Targets]


def value_expansion(horizon: int) -> Targets:
    """Targets by model value expansion over `horizon` steps; use with `real_fraction=1` (Figure 3)."""
    return partial(sac.expansion, horizon=horizon)


def make(config: Config, env: Env, targets: Targets | None = None) -> Algorithm:
    """MBPO on `env`; one iteration fits the model, branches roll-outs, then acts `model_train_freq` times.

    Args:
      targets: what the critics are fitted to, given the model; one-step soft targets if None. With `real_fraction=1`
        no roll-outs are branched.
    """
    unit = rollouts.normalised(env)
    spec = unit.spec
    memory = replay.of_run(config, spec)
    slabs = make_slabs(spec, config.slots, config.longest_rollout, config.rollout_batch)
    model, agent = ensemble.make(config.model, spec), sac.make(config.agent, spec)
    dreams = config.real_batch < config.batch

    def explore(state: sac.State) -> Act:
        return sac.act(config.agent, spec, state)

    def init(key: Key) -> State:
        k_warm, k_model, k_agent = jax.random.split(key, 3)
        actor, stored = rollouts.collect(k_warm, unit, memory, rollouts.uniform(spec), config.warmup_steps)
        imagined = slabs.init() if dreams else ()
        return State(
            actor, stored, imagined, model.init(k_model), agent.init(k_agent), Shared(jnp.zeros((), jnp.int32))
        )

    def dream(key: Key, state: State, model_step: ModelStep) -> SlabsState:
        k_start, k_branch = jax.random.split(key)
        iteration = state.iteration.value
        slot = iteration % config.slots
        horizon = jnp.asarray(rollout_length(config, iteration * config.model_train_freq // config.epoch_length))
        starts = memory.sample(k_start, state.memory, (config.rollout_batch,)).obs
        write = lambda into, h, rows, count: slabs.write(into, slot, h, rows, count)  # noqa: E731
        into = slabs.clear(state.imagined, slot)
        return rollouts.branch(k_branch, model_step, explore(state.agent), starts, horizon, write, into)

    def batches(key: Key, stored: replay.ReplayState, imagined: PyTree) -> Transition:
        """All batches of one environment step in one gather per source, `[updates_per_step, batch, ...]`."""
        k_real, k_dream = jax.random.split(key)
        real = memory.sample(k_real, stored, (config.updates_per_step, config.real_batch))
        if not dreams:
            return real
        shape = (config.updates_per_step, config.batch - config.real_batch)
        return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), real, slabs.sample(k_dream, imagined, shape))

    def step(key: Key, state: State) -> tuple[State, dict[str, Array]]:
        k_fit, k_dream, k_act = jax.random.split(key, 3)
        data = ensemble.Data(unpack(state.memory.rows.value, spec), state.memory.size.value)
        fitted, model_info = model.update(k_fit, state.model, data)
        model_step = ensemble.model_step(config.model, spec, fitted, env.terminal)
        imagined = dream(k_dream, state, model_step) if dreams else ()
        learner = agent if targets is None else sac.make(config.agent, spec, targets(config.agent, spec, model_step))

        def improve(key: Key, state: sac.State, stored: replay.ReplayState) -> tuple[sac.State, dict[str, Array]]:
            k_sample, k_update = jax.random.split(key)
            return critics.in_turn(learner.update, k_update, state, batches(k_sample, stored, imagined))

        carry = (state.actor, state.memory, state.agent)
        actor, stored, agent_state, info = rollouts.interact(
            k_act, unit, memory, explore, improve, carry, config.model_train_freq
        )
        iteration = Shared(state.iteration.value + 1)
        return State(actor, stored, imagined, fitted, agent_state, iteration), {**model_info, **info}

    def policy(state: State) -> Act:
        mode = sac.mode(config.agent, spec, state.agent)
        return lambda key, obs: rollouts.to_env(env.spec, mode(key, obs))

    return Algorithm(init, step, policy, config.model_train_freq, config.warmup_steps)
