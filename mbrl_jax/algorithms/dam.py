"""DAM (Haghgoo et al., 2021, Algorithms 1 to 3): plan in a learned model, correct its errors by a discriminator.

One iteration is one round: fit the model and the discriminator to all episodes so far, then act by planning. The first
round's episodes are random. The two halves of the method are numbers, `correction` and `minimum_variance`, so that the
baseline, either half alone and DAM are lanes of one program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax import planners, rollouts
from mbrl_jax.checks import check_arguments, check_fields, check_positive, check_share
from mbrl_jax.loops import episodic
from mbrl_jax.loops.episodic import Episodes, State
from mbrl_jax.models import discriminator, mixture
from mbrl_jax.objectives.value_aware import return_weights
from mbrl_jax.types import Algorithm, Env, Info, Key, Method, Policy, PyTree, Spec, Transition

__all__ = ["Config", "Learning", "Planning", "State", "make", "planner", "planning", "uniform"]


@dataclass(frozen=True, kw_only=True)
class Planning:
    """How actions are chosen. The paper has random shooting with one particle and gives no sizes (docs/dam.md).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a number of steps, sequences, particles, iterations or elites
        is below 1; `sigmoid` or `self_normalised` is outside [0, 1]; an exhaustive search of anything but choices.
    """

    search: Literal["random_shooting", "exhaustive", "cross_entropy", "mppi"] = "random_shooting"
    """How sequences are searched; `exhaustive`: all, with shared beginnings (Algorithm 3: random shooting)."""
    actions: Literal["choices", "box"] = "choices"
    """Whether an action is a choice, given as one-hot scores, or a vector in the environment's bounds."""
    horizon: int = 5
    """Actions in a sequence, H; not given in the paper."""
    sequences: int = 500
    """Sequences per search (per iteration, where it iterates), K; not given in the paper."""
    particles: int = 20
    """Draws of the model per sequence; Algorithm 1 has 1."""
    iterations: int = 4
    """Iterations of `cross_entropy` and `mppi`."""
    elites: int = 10
    """Sequences that `cross_entropy` fits to."""
    temperature: float = 1.0
    """Temperature of `mppi`, in units of return."""
    sigmoid: float = 0.0
    """0: weights `exp(logit)` (Eq. 8); 1: `sigma(logit)` (as Algorithm 1 prints)."""
    logit_clip: float = 5.0
    """Logits are clipped to plus and minus this; not in the paper."""
    weight_clip: float = 10.0
    """Largest logarithm of a product of weights; not in the paper."""
    self_normalised: float = 0.0
    """1: weights of a step divided by their mean over a sequence's particles; 0: not (Algorithm 1)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "horizon", "sequences", "particles", "iterations", "elites")
        if self.search == "exhaustive" and self.actions != "choices":
            raise ValueError(f"search='exhaustive' needs actions='choices', got {self.actions!r}")
        check_share(self, "sigmoid", "self_normalised")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of DAM. The paper gives ten rounds and nothing else; docs/dam.md gives the reasons.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps`, `warmup_episodes` or `episodes` is below 1;
        `minimum_variance` or `correction` is outside [0, 1].
    """

    steps: int = 500
    """Environment steps of planned episodes: rounds x episodes x steps of an episode (paper: 10 rounds)."""
    warmup_episodes: int = 20
    """Random episodes before the first fit; Algorithm 3 has none, but cannot plan before it has data."""
    episodes: int = 10
    """Planned episodes per round; Algorithm 3 has one."""
    minimum_variance: float = 1.0
    """1: transitions weighted by their episode's return (Eq. 10); 0: maximum likelihood; between them, a mixture."""
    correction: float = 1.0
    """1: values corrected by the discriminator (Eq. 4, 8); 0: not, and it is not fitted."""
    model: mixture.Config = field(default_factory=mixture.Config)
    """The model's hyper-parameters."""
    discriminator: discriminator.Config = field(default_factory=discriminator.Config)
    """The discriminator's hyper-parameters."""
    planning: Planning = field(default_factory=Planning)
    """How actions are chosen."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "steps", "warmup_episodes", "episodes")
        check_share(self, "minimum_variance", "correction")


class Learning(NamedTuple):
    """What learns: the model and the discriminator."""

    model: mixture.State
    discriminator: discriminator.State


def planner(config: Config, env: Env, model: mixture.State, judge: discriminator.State) -> planners.Planner:
    """The planner in a fitted model of an environment with actions in [-1, 1]."""
    plan, spec = config.planning, env.spec
    dynamics = mixture.dynamics(config.model, spec, model, env.reward, env.terminal)
    correction = planners.Correction(
        lambda obs, action, next_obs: discriminator.logit(config.discriminator, judge, obs, action, next_obs),
        config.correction,
        plan.sigmoid,
        plan.logit_clip,
        plan.weight_clip,
        plan.self_normalised,
        lambda key, next_obs: discriminator.blurred(config.discriminator, judge, key, next_obs),
    )

    options: dict[str, Any] = {
        "particles": plan.particles,
        "correction": correction,
        "path_reward": env.path_reward,
    }

    def score(key: Key, obs: Array, sequences: Array) -> planners.Scored:
        if plan.search == "exhaustive":
            one_hot = jnp.eye(spec.action_dim, dtype=obs.dtype)
            return planners.estimate_all(key, dynamics, obs, one_hot, plan.horizon, **options)
        return planners.estimate(key, dynamics, obs, sequences, **options)

    return _search(plan, spec, score)


def planning(config: Config, env: Env, learning: Learning) -> Policy[tuple[()]]:
    """The policy that plans at every step in what has been learnt, for an environment with actions in [-1, 1]."""
    return planners.afresh(planner(config, env, learning.model, learning.discriminator))


def uniform(plan: Planning, spec: Spec) -> Policy[tuple[()]]:
    """Uniformly random actions of the kind that is planned: each choice alike, one-hot, or uniform over the box."""
    if plan.actions == "box":
        return rollouts.uniform(spec)

    def act(key: Key, obs: Array) -> Array:
        picked = jax.random.randint(key, obs.shape[:-1], 0, spec.action_dim)
        return jax.nn.one_hot(picked, spec.action_dim, dtype=obs.dtype)

    return rollouts.stateless(act)


def _search(plan: Planning, spec: Spec, score: planners.Score) -> planners.Planner:
    proposals = {"choices": planners.choices, "box": planners.box}
    proposal, sizes = proposals[plan.actions](spec.action_dim), (plan.sequences, plan.horizon)
    if plan.search == "exhaustive":
        return planners.exhaustive(score, planners.all_sequences(spec.action_dim, plan.horizon))
    if plan.search == "cross_entropy":
        fitted = planners.cross_entropy(score, proposal, *sizes, iterations=plan.iterations, elites=plan.elites)
        return planners.cold(fitted, proposal, plan.horizon)
    if plan.search == "mppi":
        fitted = planners.mppi(score, proposal, *sizes, iterations=plan.iterations, temperature=plan.temperature)
        return planners.cold(fitted, proposal, plan.horizon)
    return planners.random_shooting(score, proposal, *sizes)


@check_arguments
def make(config: Config, env: Env) -> Algorithm[State[Learning]]:
    """DAM on an environment whose reward is known; one iteration is one round.

    Raises:
      ValueError: the environment's reward is not known, its actions are not of the kind that is planned, or `steps` is
        not a whole number of rounds.
    """
    unit, per_round = rollouts.normalised(env), config.episodes * env.spec.time_limit
    spec = unit.spec
    _check(config, unit)
    rollouts.check_steps(config.steps, per_round, config.warmup_episodes)
    model = mixture.make(config.model, spec)

    def init(key: Key) -> Learning:
        k_model, k_discriminator = jax.random.split(key)
        classifier = discriminator.make(config.discriminator, spec)
        return Learning(model.init(k_model), classifier.init(k_discriminator))

    def prepare(key: Key, now: Learning, episodes: Episodes) -> tuple[Learning, Info]:
        """Fits the model, then the discriminator (Algorithm 2), to all episodes so far."""
        k_model, k_discriminator = jax.random.split(key)
        data = _data(config, episodes)
        fitted, info = model.fit(k_model, now.model, data)

        def fakes(key: Key, obs: Array, action: Array) -> Array:
            return mixture.sample(config.model, spec, fitted, key, obs, action)

        classifier = discriminator.make(config.discriminator, spec, fakes)
        wanted = discriminator.Data(data, jnp.asarray(config.correction) != 0)
        telling, more = classifier.fit(k_discriminator, now.discriminator, wanted)
        return Learning(fitted, telling), {**info, **more}

    def plan(now: Learning) -> Policy[tuple[()]]:
        return planning(config, unit, now)

    def describe(steps: Transition, valid: Array) -> Info:
        """What the plans promised beyond what their horizon brought, and their effective sample size."""
        early = jnp.where(valid, steps.reward, 0.0)[:, : config.planning.horizon].sum(axis=1)
        plans: planners.Plan = steps.extras
        return {"planner/promise_gap": (plans.value[:, 0] - early).mean(), "planner/ess": plans.ess.mean()}

    return episodic.make(
        env,
        Method(init, plan, plan, episodic.fixed, prepare),
        uniform(config.planning, spec),
        warmup_episodes=config.warmup_episodes,
        episodes=config.episodes,
        rounds=config.steps // per_round,
        describe=describe,
    )


def _check(config: Config, unit: Env) -> None:
    """Refuses environments in which cannot be planned."""
    if unit.reward is None and unit.path_reward is None:
        raise ValueError(f"planning needs a known reward, {unit.spec.name} has neither `reward` nor `path_reward`")
    if config.planning.actions == "choices" and not unit.spec.choices:
        raise ValueError(
            "planning.actions='choices' needs actions that are scores of choices, "
            f"{unit.spec.name}'s are vectors: use 'box'"
        )


def _data(config: Config, episodes: Episodes) -> mixture.Data:
    """All transitions as rows, each weighted with its episode's return or 1 (Algorithm 2)."""
    steps: Transition = episodes.steps.value
    exists = jnp.arange(steps.reward.shape[0]) < episodes.collected.value
    valid = episodes.valid.value & exists[:, None]
    returns = jnp.where(valid, steps.reward, 0.0).sum(axis=1)
    by_return = return_weights(returns, exists)
    weights = config.minimum_variance * by_return + (1.0 - config.minimum_variance)
    rows: PyTree = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    return mixture.Data(rows, jnp.repeat(weights, valid.shape[1]), valid.reshape(-1))


ABOUT = "Discriminator-augmented planning (Haghgoo et al. 2021)"
VERSION = 1

PRESETS: Mapping[str, Config] = {
    "icy_road": Config(),
    "intersection": Config(steps=2500, planning=Planning(horizon=15), warmup_episodes=20, episodes=10),
    "pendulum": Config(
        steps=2000,
        warmup_episodes=2,
        episodes=1,
        minimum_variance=0.0,
        planning=Planning(search="cross_entropy", actions="box", horizon=20, sequences=200, particles=1),
    ),
}
"""Settings by environment, all ours: the paper gives no sizes (docs/dam.md). `pendulum` shows continuous actions."""


def preset(base: str) -> Config:
    """Our settings of a task, the defaults where there are none."""
    return PRESETS.get(base, Config())
