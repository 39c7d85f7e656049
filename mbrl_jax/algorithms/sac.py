"""SAC (Haarnoja et al., 2018): the model-free baseline, at any number of updates per environment step.

With MBPO's update ratio and target entropy it is the "no model" ablation of Janner et al., 2019, Figure 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mbrl_jax import rollouts
from mbrl_jax.agents import sac
from mbrl_jax.algorithms.tasks import task
from mbrl_jax.checks import check_arguments, check_fields, check_positive
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.types import Algorithm, Env

__all__ = ["Config", "State", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of SAC as MBPO's released code has it (`examples/development/variants.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` is no positive multiple of `steps_per_iteration`;
        `warmup_steps`, `updates_per_step`, `batch` or `replay_capacity` is below 1.
    """

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
        check_fields(self)
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "updates_per_step", "batch", "replay_capacity")


@check_arguments
def make(config: Config, env: Env) -> Algorithm[State[sac.State]]:
    """SAC on `env`; one iteration is `steps_per_iteration` times (act, store, update `updates_per_step` times)."""
    agent = sac.make(config.agent, rollouts.normalised(env).spec)
    return off_policy.model_free(config, env, agent, config.updates_per_step)


ABOUT = "Soft actor-critic (Haarnoja et al. 2018), model-free"
VERSION = 1


def preset(base: str) -> Config:
    """The baseline of MBPO's authors: target entropy −action_dim, one update per step; steps and warm-up as MBPO's.

    The only entry of SAC in their repository has that target (`"auto"`); the tasks' own are those of MBPO.
    """
    like = task(base)
    return Config(steps=like.steps, warmup_steps=like.warmup)
