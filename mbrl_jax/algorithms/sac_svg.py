"""SAC-SVG (Amos et al., 2021): soft actor-critic whose actor follows value gradients through a learned model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import jax
import jax.numpy as jnp

from mbrl_jax import rollouts
from mbrl_jax.agents import sac_svg
from mbrl_jax.algorithms.tasks import PENDULUMS, task
from mbrl_jax.checks import check_arguments, check_fields, check_positive
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.objectives import svg
from mbrl_jax.types import Algorithm, Env, Info, Key, Method

__all__ = ["Config", "State", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of SAC-SVG as run by the released code (`facebookresearch/svg`: `config/train.yaml`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` is no positive multiple of `steps_per_iteration`;
        `warmup_steps`, `model_updates`, `model_batch`, `batch` or `replay_capacity` is below 1.
    """

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
        check_fields(self)
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "model_updates", "model_batch", "batch", "replay_capacity")


@check_arguments
def make(config: Config, env: Env, survival: sac_svg.Survival = svg.survival) -> Algorithm[State[sac_svg.State]]:
    """SAC-SVG on `env`; one iteration is `steps_per_iteration` times (act, store, update once).

    Args:
      survival: weights of an imagined return; `objectives.svg.released_survival` are the released code's.
    """
    spec = rollouts.normalised(env).spec
    memory = replay.of_run(config, spec)
    agent = sac_svg.make(config.agent, spec, config.steps, survival)
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


ABOUT = "Stochastic value gradients with SAC (Amos et al. 2021)"
VERSION = 2
"""2: one imagined roll-out for all, which changed the random streams."""


def _config(steps: int, first: float, last: float, power: float) -> Config:
    agent = sac_svg.Config(initial_entropy=first, entropy_power=power)
    return Config(steps=steps, agent=replace(agent, agent=replace(agent.agent, target_entropy=last)))


def _pendulum(base: str) -> Config:
    """Ours: MBPO's steps, warm-up and target entropy; the model is used after as many steps again as the warm-up."""
    like = task(base)
    agent = sac_svg.Config(model_free_updates=like.warmup)
    agent = replace(agent, agent=replace(agent.agent, target_entropy=like.entropy))
    return Config(steps=like.steps, warmup_steps=like.warmup, agent=agent)


PRESETS: Mapping[str, Config] = {
    **{base: _pendulum(base) for base in PENDULUMS},
    "hopper": _config(1_000_000, 0.0, -2.0, 1 / 32),
    "walker2d": _config(2_000_000, -2.0, -8.0, 1 / 16),
    "half_cheetah": _config(2_000_000, -2.0, -3.0, 1.0),
    "ant_truncated": _config(2_000_000, 0.0, -2.0, 4.0),
    "humanoid_truncated": _config(5_000_000, -2.0, -2.0, 1.0),
    "mbbl_hopper": _config(200_000, 1.0, 0.0, 32.0),
    "mbbl_walker2d": _config(200_000, -2.0, -16.0, 1 / 64),
    "mbbl_half_cheetah": _config(200_000, -1.0, -4.0, 1.0),
    "mbbl_ant": _config(200_000, 1.0, -3.0, 0.5),
}
"""SAC-SVG's settings by environment, versions left out: its released `config/env/{mbpo,poplin}_*.yaml`."""


def preset(base: str) -> Config:
    """The released settings of a task, the defaults where there are none."""
    return PRESETS.get(base, Config())
