"""SLBO (Luo et al., 2019, Algorithm 2): collect, then fit the model and improve the policy in it, many times in turn.

The settings are those of the released code (`facebookresearch/slbo`), with the tasks and horizons of its fork
(`WilsonWangTHU/mbbl-slbo`) on which Wang et al. (2019) and Modhe et al. (2021) report. Two differences: rewards of
imagined steps are of actions in the environment's units, as those of real steps are (the fork's are not), and no steps
are taken whose data nobody looks at (20,000 per stage).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.agents import fragments, trpo
from mbrl_jax.checks import check_arguments, check_fields, check_not_negative, check_positive, check_share
from mbrl_jax.data import replay
from mbrl_jax.loops import on_policy
from mbrl_jax.loops.on_policy import State
from mbrl_jax.models import multi_step
from mbrl_jax.types import Algorithm, Env, Info, Key, Method, Model, Policy, Shared, Transition

__all__ = ["Config", "Learning", "State", "bonus", "make", "quick", "scaled"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of SLBO; defaults are the released code's, with 200,000 steps (`slbo_bm_200k`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` is no positive multiple of `stage_steps`; a number of
        iterations, updates or steps, a batch or `replay_capacity` is below 1; `noise_std`, `entropy_stages` or
        `value_refresh` is negative; `noise_kept` is outside [0, 1]; `policy_batch`, or where it is used
        `refresh_batch`, is no multiple of `rollout_horizon` or below `agent.value_batch`; `value_refresh` does not
        divide `model_updates`.
    """

    steps: int = 200_000
    """Environment steps of the run."""
    stage_steps: int = 10_000
    """Environment steps of a stage, from which everything of the stage learns (SLBO code)."""
    iterations: int = 20
    """Times per stage that the model and then the policy are updated (SLBO code: n_iters)."""
    model_updates: int = 100
    """Gradient steps of the model per iteration (SLBO code)."""
    policy_updates: int = 40
    """Trust-region steps of the policy per iteration, each on imagined steps of its own (SLBO code)."""
    model_batch: int = 128
    """Windows per gradient step of the model (SLBO code)."""
    policy_batch: int = 4000
    """Imagined steps per trust-region step (SLBO code)."""
    rollout_horizon: int = 1000
    """Imagined steps from a real reset; 200 for the classic tasks, 50 for Reacher (mbbl-slbo); 500 (SLBO code)."""
    noise_kept: float = 0.85
    """Share of the exploration noise that stays from step to step (SLBO code: 1 − θ)."""
    noise_std: float = 0.3
    """Standard deviation of what is added to it in each step, actions in [-1, 1] (SLBO code: σ)."""
    entropy_stages: int = 50
    """Stages with an entropy bonus (SLBO code)."""
    value_refresh: int = 0
    """The values are fitted to new imagined steps after every so manyth gradient step of the model; 0 is never (SLBO).
    Modhe et al. 2021, Algorithm 2, lines 7 and 8, do not say how often."""
    refresh_batch: int = 4000
    """Imagined steps of such a fit; not said either."""
    replay_capacity: int = 200_000
    """Real transitions kept; never more than the run can collect (SLBO code)."""
    stochastic_evaluation: bool = True
    """Whether the policy is evaluated with its randomness (SLBO code) or by its mean."""
    model: multi_step.Config = field(default_factory=multi_step.Config)
    """The model's hyper-parameters."""
    agent: trpo.Config = field(default_factory=trpo.Config)
    """The policy learner's hyper-parameters."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "stage_steps", "iterations", "model_updates", "policy_updates", "model_batch")
        check_positive(self, "policy_batch", "rollout_horizon", "refresh_batch", "replay_capacity")
        check_not_negative(self, "noise_std", "entropy_stages", "value_refresh")
        check_share(self, "noise_kept")
        rollouts.check_steps(self.steps, self.stage_steps, 1)
        for name in ("policy_batch", *(["refresh_batch"] if self.value_refresh else [])):
            size = getattr(self, name)
            if size % self.rollout_horizon:
                raise ValueError(f"{name} must be a multiple of rollout_horizon, got {size} and {self.rollout_horizon}")
            if self.agent.value_batch is not None and size < self.agent.value_batch:
                raise ValueError(f"{name} must be at least agent.value_batch, got {size} and {self.agent.value_batch}")
        if self.value_refresh and self.model_updates % self.value_refresh:
            raise ValueError(
                f"model_updates must be a multiple of value_refresh, got {self.model_updates} and {self.value_refresh}"
            )


class Learning(NamedTuple):
    """Real transitions, the model, the policy with its values, and the number of stages so far."""

    stored: replay.ReplayState
    model: multi_step.State
    agent: trpo.State
    stage: Shared


class _World(NamedTuple):
    """What updates are made of: configuration, the environment in [-1, 1], the replay, the model's objective."""

    config: Config
    unit: Env
    memory: replay.Replay
    objective: multi_step.Objective
    reward: multi_step.Reward

    def model(self, agent: trpo.State) -> Model[multi_step.State, Transition]:
        """The model, fitted to the objective at these values."""
        value = partial(trpo.values, self.config.agent, self.unit.spec, lax.stop_gradient(agent))
        return multi_step.make(
            self.config.model, self.unit.spec, self.reward, self.unit.terminal, self.objective, value
        )


def _imagine(world: _World, key: Key, model: multi_step.State, agent: trpo.State, starts: Array) -> Transition:
    """Imagined steps `[rollout_horizon, B, ...]` of the policy from real resets `[B, obs_dim]`."""
    config, spec = world.config, world.unit.spec
    dynamics, policy = world.model(agent).dynamics(model), trpo.act(config.agent, spec, agent)
    return rollouts.restarting(key, dynamics, policy, starts, config.rollout_horizon)


def _resets(world: _World, key: Key, batches: int, steps: int) -> Array:
    """Observations of real resets, `[batches, B, obs_dim]`, B roll-outs having so many steps together."""
    count = steps // world.config.rollout_horizon
    found = jax.vmap(world.unit.reset)(jax.random.split(key, batches * count)).obs
    return found.reshape(batches, count, -1)


def _fit_model(world: _World, key: Key, now: Learning) -> tuple[Learning, Info]:
    """`model_updates` gradient steps of the model, between which the values are refreshed if they are to be."""
    config, spec = world.config, world.unit.spec
    groups = config.model_updates // config.value_refresh if config.value_refresh else 1
    shape = (config.model_updates // groups, config.model_batch)
    k_resets, k_groups = jax.random.split(key)

    def fit(key: Key, model: multi_step.State, agent: trpo.State) -> tuple[multi_step.State, Info]:
        windows = replay.sample_consecutive(key, now.stored, spec, shape, config.model.horizon)
        return world.model(agent).update(key, model, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), windows))

    def refresh(key: Key, model: multi_step.State, agent: trpo.State, starts: Array) -> trpo.State:
        """The agent with values fitted to imagined steps, its policy as it was."""
        k_imagine, k_fit = jax.random.split(key)
        steps = _imagine(world, k_imagine, model, agent, starts)
        target = trpo.advantages(config.agent, spec, agent, steps)[1]
        return trpo.fit_value(config.agent, spec, k_fit, agent, steps.obs, target)[0]

    def group(
        carry: tuple[multi_step.State, trpo.State], xs: tuple[Key, Array]
    ) -> tuple[tuple[multi_step.State, trpo.State], Info]:
        (model, agent), (k, starts) = carry, xs
        k_model, k_refresh = jax.random.split(k)
        model, info = fit(k_model, model, agent)
        return (model, refresh(k_refresh, model, agent, starts) if config.value_refresh else agent), info

    starts = jnp.zeros((groups, 0, spec.obs_dim))
    if config.value_refresh:
        starts = _resets(world, k_resets, groups, config.refresh_batch)
    carry, info = lax.scan(group, (now.model, now.agent), (jax.random.split(k_groups, groups), starts))
    return now._replace(model=carry[0], agent=carry[1]), jax.tree.map(jnp.mean, info)


def bonus(config: Config, stage: Array) -> Array:
    """Weight of the entropy `[]` in `stage []`, the first of which is 1."""
    return jnp.where(stage <= config.entropy_stages, config.agent.entropy, 0.0)


def _improve_policy(world: _World, key: Key, now: Learning) -> tuple[Learning, Info]:
    """`policy_updates` trust-region steps, each on imagined steps from real resets."""
    config = world.config
    agent = trpo.make(replace(config.agent, entropy=bonus(config, now.stage.value)), world.unit.spec)
    k_resets, k_updates = jax.random.split(key)

    def one(state: trpo.State, xs: tuple[Key, Array]) -> tuple[trpo.State, Info]:
        k_imagine, k_update = jax.random.split(xs[0])
        steps = _imagine(world, k_imagine, now.model, state, xs[1])
        state, info = agent.update(k_update, state, jax.tree.map(lambda x: x[None], steps))
        return state, {**info, "slbo/imagined_return": steps.reward.sum(axis=0).mean()}

    starts = _resets(world, k_resets, config.policy_updates, config.policy_batch)
    state, info = lax.scan(one, now.agent, (jax.random.split(k_updates, config.policy_updates), starts))
    return now._replace(agent=state), jax.tree.map(jnp.mean, info)


def _iteration(world: _World, now: Learning, key: Key) -> tuple[Learning, Info]:
    """The model's updates, then the policy's."""
    k_model, k_policy = jax.random.split(key)
    now, fitted = _fit_model(world, k_model, now)
    now, info = _improve_policy(world, k_policy, now)
    return now, {**fitted, **info, "model/alive": multi_step.alive(now.model.params)}


def _prepare(world: _World, key: Key, now: Learning, fragment: Transition) -> tuple[Learning, Info]:
    """Stores the stage's steps, the last one as cut off, and renews the statistics."""
    del key
    steps = jax.tree.map(lambda x: x[:, 0], fragment)
    stored = replay.extend(world.memory, now.stored, steps._replace(truncated=steps.truncated.at[-1].set(True)))
    model, agent = multi_step.renewed(now.model, steps), fragments.renewed(now.agent, steps.obs)
    return Learning(stored, model, agent, Shared(now.stage.value + 1)), {}


@check_arguments
def make(
    config: Config, env: Env, objective: multi_step.Objective = multi_step.change_norm
) -> Algorithm[State[Learning]]:
    """SLBO on `env`; one iteration is a stage: act, renew statistics, then update model and policy in turn.

    Args:
      objective: what the model is fitted to, given the agent's values; see `models.value_losses`.

    Raises:
      ValueError: the environment's reward is not a function of (obs, action, next_obs).
    """
    unit = rollouts.normalised(env)
    spec = unit.spec
    if unit.reward is None:
        raise ValueError(
            "SLBO imagines steps whose rewards it knows: the environment's reward must be a function of "
            f"(obs, action, next_obs), that of {spec.name} is not"
        )
    memory = replay.make(spec, min(config.replay_capacity, config.steps))
    world, agent = _World(config, unit, memory, objective, unit.reward), trpo.make(config.agent, spec)

    def init(key: Key) -> Learning:
        k_model, k_agent = jax.random.split(key)
        state = agent.init(k_agent)
        return Learning(memory.init(), world.model(state).init(k_model), state, Shared(jnp.zeros((), jnp.int32)))

    def improve(key: Key, now: Learning, fragment: Transition) -> tuple[Learning, Info]:
        del fragment
        now, info = lax.scan(partial(_iteration, world), now, jax.random.split(key, config.iterations))
        return now, {**jax.tree.map(jnp.mean, info), "model/alive": info["model/alive"][-1]}

    def explore(now: Learning) -> Policy[Array]:
        policy = trpo.act(config.agent, spec, now.agent)
        return rollouts.ornstein_uhlenbeck(policy, spec.action_dim, config.noise_kept, config.noise_std)

    def mode(now: Learning) -> Policy[tuple[()]]:
        return (agent.act if config.stochastic_evaluation else agent.mode)(now.agent)

    method = Method(init, explore, mode, improve, partial(_prepare, world))
    return on_policy.make(env, method, environments=1, steps=config.stage_steps, forget=False)


ABOUT = "Stochastic lower bound optimisation (Luo et al. 2019): multi-step model, TRPO in it"
VERSION = 1

HORIZONS: Mapping[str, int] = {
    "mbbl_pendulum": 200,
    "mbbl_acrobot": 200,
    "mbbl_cartpole": 200,
    "mbbl_reacher": 50,
    "pendulum": 200,
}
"""Lengths of imagined roll-outs, those of the tasks' episodes (mbbl-slbo, `env_tingwu`); 1000 for the others."""


def preset(base: str) -> Config:
    """The released settings with the length of the task's episodes."""
    return Config(rollout_horizon=HORIZONS.get(base, 1000))


def scaled(base: str) -> Config:
    """A tenth of the steps and a fortieth of the work of `preset`: two minutes of a core, ours."""
    return replace(
        preset(base),
        steps=20_000,
        stage_steps=2000,
        iterations=10,
        policy_updates=20,
        policy_batch=2000,
        refresh_batch=2000,
    )


def quick(base: str) -> Config:
    """`scaled` to what still learns the classic tasks within 8,000 steps: a quarter of a minute of a core, ours."""
    return replace(scaled(base), steps=8000, iterations=4, policy_updates=15)
