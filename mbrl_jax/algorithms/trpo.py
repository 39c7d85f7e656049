"""Trust-region policy optimisation (Schulman et al., 2015), model-free, with the settings of OpenAI baselines.

Its `trpo_mpi` on MuJoCo's tasks differs from this in two things: a batch has 1024 steps, and a time limit counts as the
task's end (`agent.limits_end`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from mbrl_jax import rollouts, trust_region
from mbrl_jax.agents import fragments, trpo
from mbrl_jax.checks import check_arguments, check_fields, check_positive
from mbrl_jax.loops import on_policy
from mbrl_jax.loops.on_policy import State
from mbrl_jax.objectives.surrogate import released_entropy
from mbrl_jax.trust_region import Accept
from mbrl_jax.types import Algorithm, Env

__all__ = ["Config", "State", "make"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of model-free trust-region policy optimisation; defaults are those of OpenAI baselines.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `environments`, `fragment` or `fragments` is below 1; `steps`
        is no positive multiple of their product; `agent.value_batch` exceeds the rows of a fragment.
    """

    steps: int = 1_000_000
    """Environment steps of the run, over all environments (baselines' benchmark, `benchmarks_mujoco1M`)."""
    environments: int = 1
    """N, environments side by side (baselines)."""
    fragment: int = 1000
    """T, steps of each environment between two updates; 1024 in baselines."""
    fragments: int = 1
    """Updates per call of `step`; what happens between calls (evaluation) is a multiple of their steps."""
    agent: trpo.Config = field(
        default_factory=partial(
            trpo.Config, value_hidden=(32, 32), trace=0.98, entropy=0.0, fisher_stride=5, least_std=0.1, obs_clip=5.0
        )
    )
    """The agent's hyper-parameters (baselines, `trpo_mpi/defaults.py`, `mlp_policy.py`)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "environments", "fragment", "fragments")
        rollouts.check_steps(self.steps, self.environments * self.fragment * self.fragments, 1)
        batch, rows = self.agent.value_batch, self.environments * self.fragment
        if batch is not None and batch > rows:
            raise ValueError(f"agent.value_batch must be at most the rows of a fragment, got {batch} and {rows}")


@check_arguments
def make(
    config: Config, env: Env, accept: Accept = trust_region.within, entropy: trpo.Entropy = released_entropy
) -> Algorithm[State[trpo.State]]:
    """Trust-region policy optimisation on `env`; one iteration is `fragments` times (act, normalise, one update).

    Args:
      accept: when the line search ends (`trust_region.within`, `improves`).
      entropy: what exploration is paid for, where its weight is not 0.
    """
    agent = trpo.make(config.agent, rollouts.normalised(env).spec, accept, entropy)
    return on_policy.model_free(config, env, agent, fragments.renewed)


ABOUT = "Trust-region policy optimisation (Schulman et al. 2015), model-free, on-policy"
VERSION = 1


def preset(base: str) -> Config:
    """The same settings for all tasks."""
    del base
    return Config()
