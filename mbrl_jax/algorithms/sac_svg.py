"""SAC-SVG (Amos et al., 2021): soft actor-critic whose actor follows value gradients through a learned model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from mbrl_jax import rollouts
from mbrl_jax.agents import sac_svg
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.types import Algorithm, Env, Info, Key, Method, check_positive

__all__ = ["Config", "State", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of SAC-SVG as run by the released code (`facebookresearch/svg`: `config/train.yaml`)."""

    steps: int = 1_000_000
    """Environment steps of the run, the random warm-up not counted (SVG code: 1e6 to 5e6 by task)."""
    warmup_steps: int = 1_000
    """Uniformly random steps before learning (SVG code: num_seed_steps)."""
    steps_per_iteration: int = 250
    """Environment steps per call of `step`, at whose start the observations' scaler is renewed."""
    model_updates: int = 4
    """Gradient steps of the model per environment step (SVG code)."""
    model_batch: int = 512
    """Windows per step of the model (SVG code: seq_batch_size)."""
    batch: int = 1024
    """Transitions per update of everything else (SVG code: step_batch_size)."""
    replay_capacity: int = 1_000_000
    """Transitions kept; never more than the run can collect (SVG code)."""
    agent: sac_svg.Config = field(default_factory=sac_svg.Config)
    """The learner's hyper-parameters."""
    updates_per_step: ClassVar[int] = 1
    """Updates of critics and actor per environment step (SVG code)."""

    def __post_init__(self) -> None:
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "model_updates", "model_batch", "batch", "replay_capacity")


def make(config: Config, env: Env) -> Algorithm[State[sac_svg.State]]:
    """SAC-SVG on `env`; one iteration is `steps_per_iteration` times (act, store, update once)."""
    spec = rollouts.normalised(env).spec
    memory = replay.of_run(config, spec)
    agent = sac_svg.make(config.agent, spec, config.steps)
    shape, length = (config.model_updates, config.model_batch), config.agent.horizon - 1

    def improve(key: Key, state: sac_svg.State, stored: replay.ReplayState) -> tuple[sac_svg.State, Info]:
        k_windows, k_sample, k_update = jax.random.split(key, 3)
        # All windows in one call: the rounds of drawing them are one loop.
        windows = memory.sample_sequences(k_windows, stored, shape[0] * shape[1], length)
        windows = jax.tree.map(lambda x: x.reshape(1, *shape, *x.shape[1:]), windows)
        transitions = memory.sample(k_sample, stored, (1, config.batch))
        return agent.update(k_update, state, sac_svg.Batch(transitions, windows))

    def prepare(key: Key, state: sac_svg.State, stored: replay.ReplayState) -> tuple[sac_svg.State, Info]:
        """The observations' scaler is renewed."""
        del key
        held = unpack(stored.rows.value, spec).obs
        return sac_svg.standardise(state, held, jnp.arange(memory.capacity) < stored.size.value), {}

    method = Method(agent.init, agent.act, agent.mode, improve, prepare)
    return off_policy.make(
        env, memory, method, warmup_steps=config.warmup_steps, steps_per_iteration=config.steps_per_iteration
    )
