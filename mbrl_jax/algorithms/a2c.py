"""Advantage actor-critic (Mnih et al., 2016), synchronous: the smallest on-policy method."""

from __future__ import annotations

from dataclasses import dataclass, field

from mbrl_jax import rollouts
from mbrl_jax.agents import a2c, fragments
from mbrl_jax.checks import check_arguments, check_fields, check_positive
from mbrl_jax.loops import on_policy
from mbrl_jax.loops.on_policy import State
from mbrl_jax.types import Algorithm, Env

__all__ = ["Config", "State", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of synchronous advantage actor-critic; all defaults are ours.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `environments`, `fragment` or `fragments` is below 1; `steps`
        is no positive multiple of their product.
    """

    steps: int = 1_000_000
    """Environment steps of the run, over all environments."""
    environments: int = 25
    """N, environments side by side."""
    fragment: int = 10
    """T, steps of each environment between two updates."""
    fragments: int = 1
    """Updates per call of `step`; what happens between calls (evaluation) is a multiple of their steps."""
    agent: a2c.Config = field(default_factory=a2c.Config)
    """The agent's hyper-parameters."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "environments", "fragment", "fragments")
        rollouts.check_steps(self.steps, self.environments * self.fragment * self.fragments, 1)


@check_arguments
def make(config: Config, env: Env) -> Algorithm[State[a2c.State]]:
    """Advantage actor-critic on `env`; one iteration is `fragments` times (act, normalise, one update)."""
    agent = a2c.make(config.agent, rollouts.normalised(env).spec)
    return on_policy.model_free(config, env, agent, fragments.renewed)


ABOUT = "Synchronous advantage actor-critic (Mnih et al. 2016), model-free, on-policy"
VERSION = 1


def preset(base: str) -> Config:
    """The same settings for all tasks."""
    del base
    return Config()
