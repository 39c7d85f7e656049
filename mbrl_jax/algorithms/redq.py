"""REDQ (Chen et al., 2021): soft actor-critic with many updates per step on an ensemble of critics, model-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from mbrl_jax import rollouts
from mbrl_jax.agents import redq, sac
from mbrl_jax.algorithms.tasks import task
from mbrl_jax.checks import check_arguments, check_fields, check_positive
from mbrl_jax.loops import off_policy
from mbrl_jax.types import Algorithm, Env, Spec

__all__ = ["Config", "Variation", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of REDQ as run by the authors' released code (`watchernyu/REDQ`: `redq/algos/redq_sac.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` is no positive multiple of `steps_per_iteration`;
        `warmup_steps`, `updates_per_step`, `policy_delay`, `subset`, `batch` or `replay_capacity` is below 1;
        `policy_delay` does not divide `updates_per_step`; `subset` exceeds `agent.critics`.
    """

    steps: int = 125_000
    """Environment steps of the run, the random warm-up not counted (REDQ code: MBPO's epochs)."""
    warmup_steps: int = 5_000
    """Uniformly random steps before learning (REDQ code: start_steps)."""
    steps_per_iteration: int = 250
    """Environment steps per call of `step`; what happens between calls (evaluation) is a multiple of it."""
    updates_per_step: int = 20
    """Updates of the critics per environment step: the UTD ratio G (REDQ code)."""
    policy_delay: int = 20
    """Updates of the critics per update of the policy; must divide `updates_per_step` (REDQ code)."""
    subset: int = 2
    """M, critics drawn for each target, whose minimum it takes (REDQ code: num_min)."""
    batch: int = 256
    """Transitions per update (REDQ code)."""
    replay_capacity: int = 1_000_000
    """Transitions kept; never more than the run can collect (REDQ code: replay_size)."""
    agent: sac.Config = field(default_factory=partial(sac.Config, critics=10, target_entropy=-1.0))
    """Actor, critics and temperature; `critics` is the ensemble's N (REDQ code; target entropy −1 for Hopper)."""

    def __post_init__(self) -> None:
        check_fields(self)
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "updates_per_step", "policy_delay", "subset", "batch", "replay_capacity")
        if self.updates_per_step % self.policy_delay:
            raise ValueError(
                f"policy_delay must divide updates_per_step, got {self.policy_delay} and {self.updates_per_step}"
            )
        if self.subset > self.agent.critics:
            raise ValueError(f"subset must be at most agent.critics, got {self.subset} and {self.agent.critics}")


Variation = Callable[[sac.Config, Spec], sac.Targets]
"""`targets(config, spec) -> Targets`: what the critics are fitted to."""


@check_arguments
def make(config: Config, env: Env, targets: Variation | None = None) -> Algorithm[off_policy.State[sac.State]]:
    """REDQ on `env`; one iteration is `steps_per_iteration` times (act, store, update `updates_per_step` times).

    Args:
      targets: instead of REDQ's own, for example `agents.redq.average_targets`.
    """
    spec = rollouts.normalised(env).spec
    fitted_to = None if targets is None else targets(config.agent, spec)
    agent = redq.make(config.agent, spec, config.subset, config.policy_delay, fitted_to)
    return off_policy.model_free(config, env, agent, config.updates_per_step)


ABOUT = "Randomised ensembled double Q (Chen et al. 2021), model-free"
VERSION = 1


def preset(base: str) -> Config:
    """MBPO's steps and target entropies, as REDQ's authors ran it; on the pendulums MBPO's warm-up too (ours)."""
    like = task(base)
    agent = sac.Config(critics=10, target_entropy=like.entropy)
    return Config(steps=like.steps, warmup_steps=like.warmup, agent=agent)
