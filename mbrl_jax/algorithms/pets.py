"""PETS (Chua et al., 2018, Algorithm 1): plan by the cross-entropy method in an ensemble, fit it after every episode.

One iteration is an episode, which the paper calls a trial: the ensemble is fitted to all of them so far, the first of
which is random, and a new plan is made at every step, from the last one. The settings are those of the released code
(`handful-of-trials`). Rewards are the task's own function, and so is what networks see and predict, where the released
code has another form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax import planners, rollouts
from mbrl_jax.checks import check_arguments, check_fields, check_not_negative, check_positive, check_share
from mbrl_jax.loops import episodic
from mbrl_jax.loops.episodic import Episodes, State
from mbrl_jax.models import bootstrap, particles
from mbrl_jax.planners.truncated import acting_by_the_mode, truncated_box
from mbrl_jax.types import Algorithm, Dynamics, Env, Info, Key, Method, Policy, PyTree, Spec, Transition

__all__ = ["FORMS", "Config", "Planning", "State", "make", "planning", "scaled"]


@dataclass(frozen=True, kw_only=True)
class Planning:
    """How actions are chosen; defaults are PETS's released code's for its cartpole.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a number of steps, sequences, elites, iterations or particles
        is below 1, or `elites` above `sequences`; `kept` is outside [0, 1]; `least_variance` is negative.
    """

    horizon: int = 25
    """Actions in a plan (PETS code)."""
    sequences: int = 400
    """Sequences per iteration of the search (PETS code)."""
    elites: int = 40
    """Sequences that the next iteration's are fitted to (PETS code)."""
    iterations: int = 5
    """Most iterations of the search (PETS code)."""
    particles: int = 20
    """Draws of the model per sequence, a multiple of the members (PETS code)."""
    kept: float = 0.1
    """Share of mean and variance that an iteration keeps (PETS code: α)."""
    least_variance: float = 1e-3
    """The search ends when no variance exceeds this, in units of the task's widest action (PETS code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "horizon", "sequences", "elites", "iterations", "particles")
        check_share(self, "kept")
        check_not_negative(self, "least_variance")
        if self.elites > self.sequences:
            raise ValueError(f"elites must be at most sequences, got {self.elites} and {self.sequences}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of PETS; defaults are the released code's for its cartpole.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` or `warmup_episodes` is below 1; `planning.particles`
        is no multiple of `model.members`.
    """

    steps: int = 10_000
    """Environment steps of planned episodes, the random one not counted (PETS code: 50 episodes of 200 steps)."""
    warmup_episodes: int = 1
    """Random episodes before the first fit (PETS code)."""
    model: bootstrap.Config = field(default_factory=bootstrap.Config)
    """The ensemble's hyper-parameters."""
    planning: Planning = field(default_factory=Planning)
    """How actions are chosen."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "steps", "warmup_episodes")
        if self.planning.particles % self.model.members:
            raise ValueError(
                "planning.particles must be a multiple of model.members, "
                f"got {self.planning.particles} and {self.model.members}"
            )


def _seen_cartpole(obs: Array) -> Array:
    """Place, angle and their speeds as sine and cosine of the angle, place, speeds."""
    angle = obs[..., 1:2]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle), obs[..., :1], obs[..., 2:]], axis=-1)


FORMS: Mapping[str, bootstrap.Form] = {"pets_cartpole-v0": bootstrap.Form(encode=_seen_cartpole)}
"""What networks see and predict of a task, where it is not the observation and its change (PETS code, `config/`)."""


def planning(config: Planning, spec: Spec, model: Dynamics[PyTree]) -> Policy[PyTree]:
    """The policy, with actions in [-1, 1], that plans at every step in a model, from its last plan.

    Args:
      spec: of the environment in its own units.
    """
    half = max((high - low) / 2.0 for low, high in zip(spec.action_low, spec.action_high, strict=True))

    def score(key: Key, obs: Array, sequences: Array) -> planners.Scored:
        return planners.estimate(key, model, obs, sequences, particles=config.particles)

    proposal = truncated_box(spec.action_dim, config.kept, config.least_variance / half**2)
    sizes, options = (config.sequences, config.horizon), {"iterations": config.iterations, "elites": config.elites}
    search = planners.cross_entropy(score, proposal, *sizes, **options)
    return planners.warm_started(acting_by_the_mode(search, proposal), proposal, config.horizon)


def _data(episodes: Episodes) -> bootstrap.Data:
    """All transitions as rows; a bootstrap sample is as large as all steps of all episodes together."""
    steps: Transition = episodes.steps.value
    capacity, limit = steps.reward.shape
    count = episodes.collected.value
    valid = episodes.valid.value & (jnp.arange(capacity) < count)[:, None]
    rows: PyTree = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    return bootstrap.Data(rows, valid.reshape(-1), count * limit)


def _returns(episodes: Episodes) -> Array:
    """Returns of all episodes, `[capacity]`."""
    steps: Transition = episodes.steps.value
    return jnp.where(episodes.valid.value, steps.reward, 0.0).sum(axis=1)


@check_arguments
def make(
    config: Config, env: Env, sampling: particles.Sampling = particles.whole_rollout, form: bootstrap.Form | None = None
) -> Algorithm[State[bootstrap.State]]:
    """PETS on an environment whose reward is a function of (obs, action, next_obs); one iteration is one episode.

    Args:
      sampling: whether a particle keeps its member (`particles.whole_rollout`, TS∞) or not (`every_step`, TS1).
      form: what networks see and predict; that of `FORMS` if None.

    Raises:
      ValueError: the environment's reward is not such a function, or `steps` is not a whole number of episodes.
    """
    unit = rollouts.normalised(env)
    if unit.reward is None:
        raise ValueError(
            "PETS plans with rewards that it knows: the environment's reward must be a function of "
            f"(obs, action, next_obs), that of {unit.spec.name} is not"
        )
    rollouts.check_steps(config.steps, env.spec.time_limit, config.warmup_episodes)
    chosen = FORMS.get(env.spec.name, bootstrap.PLAIN) if form is None else form
    given = (config.model, unit.spec, chosen, config.planning.particles, unit.reward, unit.terminal)
    model = bootstrap.make(config.model, unit.spec, chosen, partial(sampling, *given))

    def prepare(key: Key, now: bootstrap.State, episodes: Episodes) -> tuple[bootstrap.State, Info]:
        return model.fit(key, now, _data(episodes))

    def plan(now: bootstrap.State) -> Policy[PyTree]:
        return planning(config.planning, env.spec, model.dynamics(now))

    def improve(key: Key, now: bootstrap.State, episodes: Episodes) -> tuple[bootstrap.State, Info]:
        """Nothing but the best return of a planned episode so far, which the published curves show, and their steps."""
        del key
        place = jnp.arange(episodes.valid.value.shape[0])
        planned = (place >= config.warmup_episodes) & (place < episodes.collected.value)
        taken = jnp.where(planned, episodes.valid.value.sum(axis=1), 0).sum()
        best = jnp.where(planned, _returns(episodes), -jnp.inf).max()
        return now, {"pets/best_return": best, "pets/steps": taken.astype(best.dtype)}

    return episodic.make(
        env,
        Method(model.init, plan, plan, improve, prepare),
        rollouts.uniform(unit.spec),
        warmup_episodes=config.warmup_episodes,
        episodes=1,
        rounds=config.steps // env.spec.time_limit,
        describe=lambda steps, valid: {"planner/value": jnp.mean(steps.extras.value, where=valid)},
        collect=rollouts.until_ended,
    )


ABOUT = "Probabilistic ensembles with trajectory sampling (Chua et al. 2018), planned by the cross-entropy method"
VERSION = 1

PRESETS: Mapping[str, Config] = {
    "pets_cartpole": Config(),
    "mbbl_half_cheetah": Config(
        steps=300_000,
        model=bootstrap.Config(hidden=(200,) * 4, weight_decay=(2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)),
        planning=Planning(horizon=30, sequences=500, elites=50),
    ),
}
"""The released code's settings of its tasks, by ours: its half-cheetah's for that of Wang et al., which is another."""


def preset(base: str) -> Config:
    """The settings of a task, those of the cartpole where there are none."""
    return PRESETS.get(base, Config())


def scaled(base: str) -> Config:
    """`preset` for 15 episodes of 200 steps with a four-hundredth of the work: some minutes of a core, ours.

    Plans are as long as the released code's: with 15 actions the cartpole hangs on, even in a perfect model.
    """
    model = bootstrap.Config(hidden=(64,) * 3, epochs=20)
    sizes = Planning(sequences=200, elites=20, particles=5)
    return replace(preset(base), steps=3000, model=model, planning=sizes)
