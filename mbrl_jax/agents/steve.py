"""STEVE's agent (Buckman et al., 2018): a deterministic policy, and critics whose targets are copied now and then.

What the critics are fitted to is passed in: `bootstrap` without a model (DDPG), `expansion` with one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.agents import critics
from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_share, check_widths
from mbrl_jax.models import deterministic
from mbrl_jax.networks import MLP, apply, init_stack
from mbrl_jax.objectives import interpolation
from mbrl_jax.objectives.actor_critic import critic_loss
from mbrl_jax.rollouts import begin, stateless, unroll
from mbrl_jax.types import Agent, Info, Key, Policy, PyTree, Shared, Spec, Transition

__all__ = ["Config", "State", "Targets", "act", "bootstrap", "candidates", "expansion", "make", "mode"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the agent; defaults are STEVE's released code's.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width, `critics` or `copy_every` is below 1; `gamma` or
        `explore_chance` is outside [0, 1]; `actor_lr`, `critic_lr` or `saturation` is negative.
    """

    hidden: tuple[int, ...] = (128, 128, 128)
    """Widths of the hidden layers of policy and critics, with rectifiers (STEVE code: 4 linear layers)."""
    critics: int = 4
    """Critics, each fitted to its share of a batch (STEVE code)."""
    actor_lr: float = 3e-4
    """Adam learning rate of the policy (STEVE code)."""
    critic_lr: float = 3e-4
    """Adam learning rate of the critics (STEVE code)."""
    gamma: float = 0.99
    """Discount factor γ per environment step (STEVE code)."""
    saturation: float = 1e-3
    """Weight of the mean square of actions before their tanh in the policy's loss (STEVE code)."""
    explore_chance: float = 0.05
    """Share of an action's entries that get noise, N(0, 1) before the tanh (STEVE code, `core/basic.json`; by a
    misspelt name its agents read 0)."""
    copy_every: int = 500
    """Updates between two copies of the critics to their targets (STEVE code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_widths(self, "hidden")
        check_positive(self, "critics", "copy_every")
        check_share(self, "gamma", "explore_chance")
        check_not_negative(self, "actor_lr", "critic_lr", "saturation")


class State(NamedTuple):
    """Parameters of `actor` and `critic`, target critics, the optimiser's state, and how many updates."""

    params: dict[str, PyTree]
    target: PyTree
    opt: optax.OptState
    updates: Shared


Targets = Callable[[Key, State, Transition], tuple[Array, Info]]
"""`targets(key, state, batch) -> (target[batch], info)`: what the critics are fitted to."""


def _networks(config: Config, spec: Spec) -> tuple[MLP, MLP]:
    return MLP(config.hidden, spec.action_dim), MLP(config.hidden, 1)


def _unsquashed(config: Config, spec: Spec, params: PyTree, obs: Array) -> Array:
    """Actions before their tanh, `[..., action_dim]`."""
    return apply(_networks(config, spec)[0], params["actor"], obs)


def mode(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The policy itself: actions in [-1, 1]."""
    return stateless(lambda key, obs: jnp.tanh(_unsquashed(config, spec, state.params, obs)))


def act(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The exploring policy: some entries of an action have noise before their tanh."""

    def explore(key: Key, obs: Array) -> Array:
        k_noise, k_some = jax.random.split(key)
        raw = _unsquashed(config, spec, state.params, obs)
        some = jax.random.uniform(k_some, raw.shape, raw.dtype) < config.explore_chance
        return jnp.tanh(raw + jnp.where(some, jax.random.normal(k_noise, raw.shape, raw.dtype), 0.0))

    return stateless(explore)


def _target_values(config: Config, spec: Spec, state: State, obs: Array) -> Array:
    """Target critics at the policy's actions, `[critics, rows]`, of `obs[rows, obs_dim]`."""
    action = jnp.tanh(_unsquashed(config, spec, state.params, obs))
    return critics.values(_networks(config, spec)[1], state.target, obs, action)


def bootstrap(config: Config, spec: Spec) -> Targets:
    """One-step targets with the mean of the target critics, without a model (the released code's DDPG)."""

    def targets(key: Key, state: State, batch: Transition) -> tuple[Array, Info]:
        del key
        value = _target_values(config, spec, state, batch.next_obs).mean(axis=0)
        return lax.stop_gradient(batch.reward + config.gamma * batch.discount * value), {}

    return targets


def candidates(
    config: Config,
    spec: Spec,
    model: deterministic.Config,
    params: PyTree,
    horizon: int,
    key: Key,
    state: State,
    batch: Transition,
) -> Array:
    """Targets `[horizon + 1, samples, batch]` of all lengths by every member, reward network and target critic.

    Args:
      model: of the model, whose parameters are `params`.
      horizon: steps of the longest roll-out, H.
    """
    policy, keys = mode(config, spec, state), jax.random.split(key, horizon)

    def follow(params: PyTree) -> Transition:
        dynamics = deterministic.member(model, spec, params)
        return unroll(keys, dynamics, policy, begin(key, dynamics, policy, batch.next_obs))[1]

    steps = jax.vmap(follow)(params)
    imagined = deterministic.rewards(model, spec, params, steps.obs, steps.action, steps.next_obs)
    first = jnp.broadcast_to(batch.next_obs, (model.members, 1, *batch.next_obs.shape))
    path = jnp.concatenate([first, steps.next_obs], axis=1)
    value = _target_values(config, spec, state, path.reshape(-1, spec.obs_dim))
    value = value.reshape(config.critics, *path.shape[:-1])
    return interpolation.candidate_targets(
        batch.reward,
        batch.discount,
        jnp.einsum("jihb->hijb", imagined),
        jnp.einsum("ihb->hib", steps.discount),
        jnp.einsum("kihb->hikb", value),
        config.gamma,
    )


def expansion(
    config: Config,
    spec: Spec,
    model: deterministic.Config,
    params: PyTree,
    horizon: int,
    weigh: interpolation.Weigh = interpolation.inverse_variance,
) -> Targets:
    """Stochastic ensemble value expansion: targets of all lengths up to `horizon`, weighed.

    Args:
      model: of the model, whose parameters are `params`.
      weigh: STEVE's inverse variances; `equal`, `longest` and `geometric(λ)` are its baselines.
    """

    def targets(key: Key, state: State, batch: Transition) -> tuple[Array, Info]:
        samples = candidates(config, spec, model, params, horizon, key, state, batch)
        weights = weigh(samples)
        return interpolation.interpolated(samples, weights), {"steve/model_use": 1.0 - weights[0].mean()}

    return targets


def _loss(config: Config, spec: Spec, params: PyTree, batch: Transition, target: Array) -> tuple[Array, Info]:
    """Critics' and policy's losses; each reaches its own parameters only."""
    critic = _networks(config, spec)[1]
    rows = deterministic.dealt((batch.obs, batch.action, target), config.critics)

    def error(params: PyTree, obs: Array, action: Array, target: Array) -> Array:
        value = apply(critic, params, jnp.concatenate([obs, action], axis=-1))[..., 0]
        return critic_loss(value[None], target)[0]

    of_critics = jax.vmap(error)(params["critic"], *rows).mean()
    raw = _unsquashed(config, spec, params, batch.obs)
    value = critics.values(critic, lax.stop_gradient(params["critic"]), batch.obs, jnp.tanh(raw)).mean()
    of_policy = config.saturation * jnp.square(raw).mean() - value
    info = {"steve/critic_loss": of_critics, "steve/value": value, "steve/target": target.mean()}
    return of_critics + of_policy, info


def make(config: Config, spec: Spec, targets: Targets | None = None) -> Agent[State]:
    """The agent on batches of independent transitions whose actions lie in [-1, 1]; the critics divide their number.

    Policy and critics step together from the same parameters. Before every `copy_every`-th update, the first included,
    the targets become the critics.

    Args:
      targets: what the critics are fitted to; one-step targets without a model if None.
    """
    optimiser = critics.adam({"actor": config.actor_lr, "critic": config.critic_lr})
    fitted_to = bootstrap(config, spec) if targets is None else targets

    def init(key: Key) -> State:
        k_actor, k_critic = jax.random.split(key)
        actor, critic = _networks(config, spec)
        params = {
            "actor": actor.init(k_actor, jnp.zeros((1, spec.obs_dim))),
            "critic": init_stack(k_critic, critic, config.critics, spec.obs_dim + spec.action_dim),
        }
        target = jax.tree.map(jnp.copy, params["critic"])
        return State(params, target, optimiser.init(params), Shared(jnp.zeros((), jnp.int32)))

    def step(key: Key, state: State, batch: Transition) -> tuple[State, Info]:
        count = state.updates.value
        target = optax.periodic_update(state.params["critic"], state.target, count, config.copy_every)
        state = state._replace(target=target)
        wanted, more = fitted_to(key, state, batch)
        loss = partial(_loss, config, spec, batch=batch, target=wanted)
        params, opt, info = critics.descend(loss, optimiser, state.params, state.opt)
        return State(params, target, opt, Shared(count + 1)), {**info, **more}

    return Agent(init, partial(critics.in_turn, step), partial(act, config, spec), partial(mode, config, spec))
