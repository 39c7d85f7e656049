"""STEVE (Buckman et al., 2018): DDPG whose targets are roll-outs of several lengths, weighed by how sure they are.

The settings are those of the released code (`tensorflow/models`, `research/steve`), whose learners of model and policy
run side by side; here they take turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.agents import steve
from mbrl_jax.algorithms.tasks import PENDULUMS, task
from mbrl_jax.checks import check_arguments, check_fields, check_not_negative, check_positive
from mbrl_jax.data import replay
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.models import deterministic
from mbrl_jax.objectives.interpolation import Weigh, inverse_variance
from mbrl_jax.types import Algorithm, Env, Info, Key, Method, PyTree

__all__ = ["Config", "Learning", "State", "make", "quick"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of STEVE; defaults are the released code's.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` is no positive multiple of `steps_per_iteration`;
        `warmup_steps`, `updates_per_step`, `batch`, `horizon` or `replay_capacity` is below 1; `pretraining` is
        negative; `batch` is no multiple of `model.members` and of `agent.critics`; `agent.copy_every` is no multiple of
        `updates_per_step`.
    """

    steps: int = 500_000
    """Environment steps of the run, the random warm-up not counted; ours."""
    warmup_steps: int = 10_000
    """Uniformly random steps before learning (STEVE code)."""
    pretraining: int = 10_000
    """Updates of the model before the policy's first (STEVE code)."""
    steps_per_iteration: int = 250
    """Environment steps per call of `step`; what happens between calls (evaluation) is a multiple of it."""
    updates_per_step: int = 4
    """Updates of the model and of the policy per environment step (STEVE code: .25 frames per update)."""
    batch: int = 512
    """Transitions per update of either (STEVE code)."""
    horizon: int = 3
    """Steps of the longest roll-out, H (STEVE code)."""
    replay_capacity: int = 1_000_000
    """Transitions kept; never more than the run can collect (STEVE code)."""
    model: deterministic.Config = field(default_factory=deterministic.Config)
    """The model's hyper-parameters."""
    agent: steve.Config = field(default_factory=steve.Config)
    """The agent's hyper-parameters; `explore_chance` 0 is the released code as it runs."""

    def __post_init__(self) -> None:
        check_fields(self)
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "updates_per_step", "batch", "horizon", "replay_capacity")
        check_not_negative(self, "pretraining")
        for name, count in (("model.members", self.model.members), ("agent.critics", self.agent.critics)):
            if self.batch % count:
                raise ValueError(f"batch must be a multiple of {name}, got {self.batch} and {count}")
        if self.agent.copy_every % self.updates_per_step:
            raise ValueError(
                "agent.copy_every must be a multiple of updates_per_step, "
                f"got {self.agent.copy_every} and {self.updates_per_step}"
            )


class Learning(NamedTuple):
    """The model, the parameters of it that targets are made with, and the agent."""

    model: deterministic.State
    used: PyTree
    policy: steve.State


@check_arguments
def make(config: Config, env: Env, weigh: Weigh = inverse_variance) -> Algorithm[State[Learning]]:
    """STEVE on `env`; an iteration is `steps_per_iteration` times (act, update the model, then the policy).

    The model that targets are made with is renewed when the target critics are. The first iteration begins with
    `pretraining` updates of the model.

    Args:
      weigh: how targets of different lengths are weighed (`objectives.interpolation`); STEVE's by default.
    """
    spec = rollouts.normalised(env).spec
    memory = replay.of_run(config, spec)
    model, agent = deterministic.make(config.model, spec), steve.make(config.agent, spec)

    def init(key: Key) -> Learning:
        k_model, k_agent = jax.random.split(key)
        state = model.init(k_model)
        return Learning(state, jax.tree.map(jnp.copy, state.params), agent.init(k_agent))

    def prepare(key: Key, now: Learning, stored: replay.ReplayState) -> tuple[Learning, Info]:
        """The model's updates before the policy's first."""

        def pretrain(i: Array, state: deterministic.State) -> deterministic.State:
            batches = memory.sample(jax.random.fold_in(key, i), stored, (1, config.batch))
            return model.update(key, state, batches)[0]

        count = jnp.where(now.policy.updates.value == 0, config.pretraining, 0)
        return now._replace(model=lax.fori_loop(0, count, pretrain, now.model)), {}

    def improve(key: Key, now: Learning, stored: replay.ReplayState) -> tuple[Learning, Info]:
        k_model, k_policy, k_update = jax.random.split(key, 3)
        shape = (config.updates_per_step, config.batch)
        used = optax.periodic_update(now.model.params, now.used, now.policy.updates.value, config.agent.copy_every)
        targets = steve.expansion(config.agent, spec, config.model, used, config.horizon, weigh)
        learner = steve.make(config.agent, spec, targets)
        state, info = learner.update(k_update, now.policy, memory.sample(k_policy, stored, shape))
        fitted, more = model.update(k_model, now.model, memory.sample(k_model, stored, shape))
        return Learning(fitted, used, state), {**info, **more}

    return off_policy.make(
        env,
        memory,
        Method(init, lambda now: agent.act(now.policy), lambda now: agent.mode(now.policy), improve, prepare),
        warmup_steps=config.warmup_steps,
        steps_per_iteration=config.steps_per_iteration,
    )


ABOUT = "Stochastic ensemble value expansion (Buckman et al. 2018)"
VERSION = 1


def preset(base: str) -> Config:
    """The released settings for as many steps as MBPO; on the pendulums with MBPO's short warm-up (ours)."""
    like = task(base)
    config = Config(steps=like.steps)
    return replace(config, warmup_steps=like.warmup, pretraining=2000) if base in PENDULUMS else config


def quick(base: str) -> Config:
    """`preset` with a small model, small batches and an update per step: some milliseconds of a core each, ours."""
    model = deterministic.Config(hidden=(128,) * 3, head_hidden=(64, 64))
    config = replace(preset(base), updates_per_step=1, batch=128, model=model)
    return replace(config, agent=replace(config.agent, hidden=(64, 64), copy_every=250))
