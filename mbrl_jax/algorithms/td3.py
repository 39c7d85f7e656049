"""TD3 (Fujimoto et al., 2018): the model-free baseline with a deterministic policy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from mbrl_jax import rollouts
from mbrl_jax.agents import td3
from mbrl_jax.algorithms.tasks import PENDULUMS, task
from mbrl_jax.checks import check_arguments, check_fields, check_positive
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.types import Algorithm, Env

__all__ = ["Config", "State", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of TD3 as run by the authors' released code (`sfujim/TD3`: `main.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` is no positive multiple of `steps_per_iteration`;
        `warmup_steps`, `batch` or `replay_capacity` is below 1; `steps_per_iteration` is no multiple of
        `agent.policy_delay`.
    """

    steps: int = 1_000_000
    """Environment steps of the run, the random warm-up not counted (TD3 code counts it)."""
    warmup_steps: int = 25_000
    """Uniformly random steps before learning (TD3 code)."""
    steps_per_iteration: int = 250
    """Environment steps per call of `step`; what happens between calls (evaluation) is a multiple of it."""
    batch: int = 256
    """Transitions per update (TD3 code; 100 in its first release)."""
    replay_capacity: int = 1_000_000
    """Transitions kept; never more than the run can collect (TD3 code)."""
    agent: td3.Config = field(default_factory=td3.Config)
    """The learner's hyper-parameters."""
    updates_per_step: ClassVar[int] = 1
    """Updates of the critics per environment step (TD3 code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "batch", "replay_capacity")
        if self.steps_per_iteration % self.agent.policy_delay:
            raise ValueError(
                "steps_per_iteration must be a multiple of agent.policy_delay, "
                f"got {self.steps_per_iteration} and {self.agent.policy_delay}"
            )


@check_arguments
def make(config: Config, env: Env) -> Algorithm[State[td3.State]]:
    """TD3 on `env`: one update of the critics per environment step, one of the policy per `agent.policy_delay`.

    The updates of `policy_delay` steps are made together after the last of them: the policy that acts is the same, and
    an update may see up to `policy_delay` − 1 transitions more than if it had followed its own step at once.
    """
    agent = td3.make(config.agent, rollouts.normalised(env).spec)
    every = config.agent.policy_delay
    return off_policy.model_free(config, env, agent, every, every)


ABOUT = "Twin delayed DDPG (Fujimoto et al. 2018), model-free"
VERSION = 1


def preset(base: str) -> Config:
    """TD3 for as many steps as MBPO; on the pendulums, whose runs are short, with MBPO's warm-up (ours)."""
    like = task(base)
    config = Config(steps=like.steps)
    return replace(config, warmup_steps=like.warmup) if base in PENDULUMS else config
