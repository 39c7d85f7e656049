"""DAM (Haghgoo et al., 2021, Algorithms 1 to 3): plan in a learned model, correct its errors by a discriminator.

One iteration is one round: fit the model and the discriminator to all episodes so far, then act by planning. The first
round's episodes are random. The two halves of the method are numbers, `correction` and `minimum_variance`, so that the
baseline, either half alone and DAM are lanes of one program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax import planners, rollouts
from mbrl_jax.models import discriminator, mixture
from mbrl_jax.objectives.value_aware import return_weights
from mbrl_jax.types import Act, Algorithm, Env, Key, PyTree, Shared, Spec, Storage, Transition, check_positive

__all__ = ["Config", "Planning", "State", "make", "planner", "uniform"]


@dataclass(frozen=True, kw_only=True)
class Planning:
    """How actions are chosen. The paper has random shooting with one particle and gives no sizes (docs/dam.md)."""

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
        check_positive(self, "horizon", "sequences", "particles", "iterations", "elites")
        if self.search == "exhaustive" and self.actions != "choices":
            raise ValueError(f"search='exhaustive' needs actions='choices', got {self.actions!r}")
        for name in ("logit_clip", "weight_clip"):
            value = getattr(self, name)
            if isinstance(value, float | int) and value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of DAM. The paper gives ten rounds and nothing else; docs/dam.md gives the reasons."""

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
        check_positive(self, "steps", "warmup_episodes", "episodes")


class State(NamedTuple):
    """Episodes `[capacity, time, ...]` with what happened before their ends, how many there are, and both learners."""

    episodes: Storage
    valid: Storage
    count: Shared
    model: mixture.State
    discriminator: discriminator.State


def planner(config: Config, env: Env, model: mixture.State, judge: discriminator.State) -> planners.Planner:
    """The planner in a fitted model of an environment with actions in [-1, 1]."""
    plan, spec = config.planning, env.spec
    model_step = mixture.model_step(config.model, spec, model, env.reward, env.terminal)
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
            return planners.estimate_all(key, model_step, obs, one_hot, plan.horizon, **options)
        return planners.estimate(key, model_step, obs, sequences, **options)

    return _search(plan, spec, score)


def uniform(plan: Planning, spec: Spec) -> Act:
    """Uniformly random actions of the kind that is planned: each choice alike, one-hot, or uniform over the box."""
    if plan.actions == "box":
        return rollouts.uniform(spec)

    def act(key: Key, obs: Array) -> Array:
        picked = jax.random.randint(key, obs.shape[:-1], 0, spec.action_dim)
        return jax.nn.one_hot(picked, spec.action_dim, dtype=obs.dtype)

    return act


def _search(plan: Planning, spec: Spec, score: planners.Score) -> planners.Planner:
    proposals = {"choices": planners.choices, "box": planners.box}
    proposal = proposals[plan.actions](spec.action_dim)
    sizes = (plan.sequences, plan.horizon)
    if plan.search == "exhaustive":
        return planners.exhaustive(score, planners.all_sequences(spec.action_dim, plan.horizon))
    if plan.search == "cross_entropy":
        return planners.cross_entropy(score, proposal, *sizes, iterations=plan.iterations, elites=plan.elites)
    if plan.search == "mppi":
        return planners.mppi(score, proposal, *sizes, iterations=plan.iterations, temperature=plan.temperature)
    return planners.random_shooting(score, proposal, *sizes)


def make(config: Config, env: Env) -> Algorithm:
    """DAM on an environment whose reward is known; one iteration is one round.

    Raises:
      ValueError: the environment's reward is not known, its actions are not of the kind that is planned, or `steps` is
        not a whole number of rounds.
    """
    unit = rollouts.normalised(env)
    spec, per_round = unit.spec, config.episodes * env.spec.time_limit
    if unit.reward is None and unit.path_reward is None:
        raise ValueError(f"planning needs a known reward, {spec.name} has neither `reward` nor `path_reward`")
    if config.planning.actions == "choices" and not spec.choices:
        raise ValueError(
            f"planning.actions='choices' needs actions that are scores of choices, {spec.name}'s are vectors: use 'box'"
        )
    rollouts.check_steps(config.steps, per_round, config.warmup_episodes)
    capacity = config.warmup_episodes + config.steps // per_round * config.episodes
    model, judge = mixture.make(config.model, spec), discriminator.make(config.discriminator, spec)

    def init(key: Key) -> State:
        k_episodes, k_model, k_judge = jax.random.split(key, 3)
        blind = uniform(config.planning, spec)
        found, valid, _ = rollouts.episodes(k_episodes, unit, lambda k, o: (blind(k, o), ()), config.warmup_episodes)
        room = lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype).at[: x.shape[0]].set(x)  # noqa: E731
        count = Shared(jnp.full((), config.warmup_episodes, jnp.int32))
        return State(
            Storage(jax.tree.map(room, found)), Storage(room(valid)), count, model.init(k_model), judge.init(k_judge)
        )

    def step(key: Key, state: State) -> tuple[State, dict[str, Array]]:
        k_fit, k_act = jax.random.split(key)
        fitted, judging, info = fit(k_fit, state)
        found, valid, plans = rollouts.episodes(
            k_act, unit, _batched(planner(config, unit, fitted, judging)), config.episodes
        )
        at = state.count.value
        write = lambda into, rows: lax.dynamic_update_slice_in_dim(into, rows, at, axis=0)  # noqa: E731
        reward = jnp.where(valid, found.reward, 0.0)
        early = reward[:, : config.planning.horizon].sum(axis=1)
        info |= {
            "train/return": reward.sum(axis=1).mean(),
            "planner/promise_gap": (plans.value[0] - early).mean(),
            "planner/ess": plans.ess.mean(),
        }
        episodes = Storage(jax.tree.map(write, state.episodes.value, found))
        stored = Storage(write(state.valid.value, valid))
        return State(episodes, stored, Shared(at + config.episodes), fitted, judging), info

    def fit(key: Key, state: State) -> tuple[mixture.State, discriminator.State, dict[str, Array]]:
        """Model, then discriminator (Algorithm 2), on all episodes so far."""
        k_model, k_judge = jax.random.split(key)
        data = _data(config, state)
        fitted, info = model.update(k_model, state.model, data)
        fakes = lambda k, obs, action: mixture.sample(config.model, spec, fitted, k, obs, action)  # noqa: E731
        wanted = jnp.asarray(config.correction) != 0
        learner = discriminator.make(config.discriminator, spec, fakes)
        judging, judge_info = learner.update(k_judge, state.discriminator, discriminator.Data(data, wanted))
        return fitted, judging, {**info, **judge_info}

    def policy(state: State) -> Act:
        act = _batched(planner(config, unit, state.model, state.discriminator))
        return lambda key, obs: rollouts.to_env(env.spec, act(key, obs)[0])

    return Algorithm(init, step, policy, per_round, config.warmup_episodes * env.spec.time_limit)


def _batched(plan: planners.Planner) -> Callable[[Key, Array], tuple[Array, planners.Plan]]:
    """The planner for many observations `[..., obs_dim]`: actions, and all else it says."""

    def act(key: Key, obs: Array) -> tuple[Array, planners.Plan]:
        rows = obs.reshape(-1, obs.shape[-1])
        plans = jax.vmap(plan)(jax.random.split(key, len(rows)), rows)
        plans = jax.tree.map(lambda x: x.reshape(*obs.shape[:-1], *x.shape[1:]), plans)
        return plans.action, plans

    return act


def _data(config: Config, state: State) -> mixture.Data:
    """All transitions as rows, each weighted with its episode's return or 1 (Algorithm 2)."""
    episodes: Transition = state.episodes.value
    there = jnp.arange(episodes.reward.shape[0]) < state.count.value
    valid = state.valid.value & there[:, None]
    returns = jnp.where(valid, episodes.reward, 0.0).sum(axis=1)
    by_return = return_weights(returns, there)
    weights = config.minimum_variance * by_return + (1.0 - config.minimum_variance)
    rows: PyTree = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), episodes)
    return mixture.Data(rows, jnp.repeat(weights, valid.shape[1]), valid.reshape(-1))
