"""Soft actor-critic as a learner: twin critics, tanh-Gaussian actor, learned temperature (Haarnoja et al., 2018)."""

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

from mbrl_jax import networks
from mbrl_jax.agents import critics
from mbrl_jax.checks import check_fields
from mbrl_jax.networks import MLP, apply, draw, init_stack, tanh_gaussian
from mbrl_jax.objectives import actor_critic
from mbrl_jax.objectives.returns import expanded_targets
from mbrl_jax.promotions import promoting
from mbrl_jax.rollouts import begin, stateless, unroll
from mbrl_jax.types import Agent, Dynamics, Info, Key, Policy, PyTree, Spec, Transition

__all__ = [
    "Config",
    "Regression",
    "State",
    "Targets",
    "act",
    "architecture",
    "bootstrap",
    "critic_loss",
    "drawing",
    "expansion",
    "fresh",
    "gaussian",
    "make",
    "mode",
    "policy_loss",
    "rates",
    "soft_value",
    "target_entropy",
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of soft actor-critic; defaults are those of MBPO's released code (`development/base.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width of `hidden`, or `critics`, is below 1; `gamma` is
        outside [0, 1]; `tau` is outside (0, 1].
    """

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critics (MBPO code; Haarnoja et al. 2018, Table 1)."""
    critics: int = 2
    """Number of critics; their minimum enters targets and the actor's loss."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor (MBPO code)."""
    critic_lr: float = 3e-4
    """Adam learning rate of the critics (MBPO code)."""
    temperature_lr: float = 3e-4
    """Adam learning rate of log α (MBPO code)."""
    gamma: float = 0.99
    """Discount factor γ per environment step (MBPO code; Haarnoja et al. 2018, Table 1)."""
    tau: float = 5e-3
    """Target critics move this fraction of the way at every update (MBPO code)."""
    target_entropy: float | None = None
    """Target entropy in nats; None means −action_dim (Haarnoja et al. 2018; SAC in MBPO's code). MBPO has its own."""
    initial_temperature: float = 1.0
    """α before training (MBPO code: log α = 0)."""

    def __post_init__(self) -> None:
        check_fields(self)
        critics.check(self)


class State(NamedTuple):
    """Parameters of actor, critics and log α as one dict, target critics, and the optimiser's state."""

    params: PyTree
    target: PyTree
    opt: PyTree


class Regression(NamedTuple):
    """What the critics are fitted to: `target[n]` at `obs[n, obs_dim]`, `action[n, action_dim]`, with `weight[n]`."""

    obs: Array
    action: Array
    target: Array
    weight: Array


Targets = Callable[[Key, State, Transition], Regression]
"""`targets(key, state, batch) -> Regression`; n may differ from the batch's size."""


def architecture(config: Config, spec: Spec) -> tuple[MLP, MLP]:
    """The networks of actor and critic; the actor's outputs are those of `networks.tanh_gaussian`."""
    return MLP(config.hidden, 2 * spec.action_dim), MLP(config.hidden, 1)


def target_entropy(config: Config, spec: Spec) -> float | Array:
    """The target entropy in nats, a scalar: the configuration's, or −action_dim."""
    return -float(spec.action_dim) if config.target_entropy is None else config.target_entropy


def act(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The stochastic policy: actions in [-1, 1]."""
    actor, _ = architecture(config, spec)

    def explore(key: Key, obs: Array) -> Array:
        with promoting():  # as `networks.draw` does
            return tanh_gaussian(apply(actor, state.params["actor"], obs)).sample(seed=key)

    return stateless(explore)


def mode(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The deterministic policy, tanh of the mean, used for evaluation: actions in [-1, 1]."""
    actor, _ = architecture(config, spec)

    def best(key: Key, obs: Array) -> Array:
        del key
        return jnp.tanh(apply(actor, state.params["actor"], obs)[..., : spec.action_dim])

    return stateless(best)


def drawing(config: Config, spec: Spec, actor_params: PyTree) -> Policy[tuple[()]]:
    """The stochastic policy, differentiable, whose extras are the log-probabilities `[B]` of its actions."""
    actor, _ = architecture(config, spec)

    def start(obs: Array) -> tuple[()]:
        del obs
        return ()

    def step(key: Key, memory: tuple[()], obs: Array) -> tuple[tuple[()], Array, Array]:
        return memory, *draw(key, apply(actor, actor_params, obs))

    return Policy(start, step)


def gaussian(config: Config, spec: Spec, state: State, obs: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the policy before its tanh, each `[..., action_dim]`."""
    actor, _ = architecture(config, spec)
    return networks.gaussian(apply(actor, state.params["actor"], obs))


def soft_value(config: Config, spec: Spec, key: Key, state: State, obs: Array) -> tuple[Array, Array]:
    """Target critics at an action of the current policy `[critics, batch]`, and its log-probability `[batch]`."""
    actor, critic = architecture(config, spec)
    action, log_prob = draw(key, apply(actor, state.params["actor"], obs))
    return critics.values(critic, state.target, obs, action), log_prob


def bootstrap(config: Config, spec: Spec, judge: Callable[[Array], Array] = lambda value: value) -> Targets:
    """The usual one-step soft targets at the batch's own states and actions.

    Args:
      judge: what of the target critics' values `[critics, batch]` counts; of several rows the smallest.
    """

    def targets(key: Key, state: State, batch: Transition) -> Regression:
        value, log_prob = soft_value(config, spec, key, state, batch.next_obs)
        temperature = jnp.exp(state.params["log_temperature"])
        y = actor_critic.soft_target(batch.reward, config.gamma * batch.discount, judge(value), log_prob, temperature)
        return Regression(batch.obs, batch.action, y, jnp.ones_like(y))

    return targets


def expansion(config: Config, spec: Spec, dynamics: Dynamics[PyTree], horizon: int) -> Targets:
    """Model value expansion: the critics are fitted at the real transition and along `horizon` imagined steps.

    Every step's target is the (soft) return of the rest of the roll-out, closed with the target critics. States
    imagined beyond a termination have weight 0.

    Source: Janner et al., 2019, Sec. 6.2 (value expansion), after Feinberg et al., 2018.
    """

    def targets(key: Key, state: State, batch: Transition) -> Regression:
        policy = drawing(config, spec, state.params["actor"])
        temperature = jnp.exp(state.params["log_temperature"])
        k_start, k_model, k_value = jax.random.split(key, 3)
        start = begin(k_start, dynamics, policy, batch.next_obs)
        end, imagined = unroll(jax.random.split(k_model, horizon), dynamics, policy, start)
        value, log_prob = soft_value(config, spec, k_value, state, end.obs)
        real = batch._replace(extras=jnp.zeros_like(batch.reward))
        steps = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), real, imagined)
        closing = value.min(axis=0) - temperature * log_prob
        y = expanded_targets(steps.reward, config.gamma * steps.discount, -temperature * steps.extras, closing)
        alive = jnp.concatenate([jnp.ones_like(steps.discount[:1]), jnp.cumprod(steps.discount[:-1], axis=0)])
        obs, action, y, alive = (x.reshape(-1, *x.shape[2:]) for x in (steps.obs, steps.action, y, alive))
        return Regression(obs, action, y, lax.stop_gradient(alive))

    return targets


def critic_loss(params: PyTree, config: Config, spec: Spec, fit: Regression) -> tuple[Array, Info]:
    """Sum over critics of the mean loss; reaches `params["critic"]` only."""
    _, critic = architecture(config, spec)
    value = critics.values(critic, params["critic"], fit.obs, fit.action)
    loss = (fit.weight[None] * actor_critic.critic_loss(value, fit.target)).mean(axis=-1)
    return loss.sum(), {"sac/critic_loss": loss.mean(), "sac/value": value.mean()}


def policy_loss(
    params: PyTree,
    config: Config,
    spec: Spec,
    key: Key,
    obs: Array,
    judge: Callable[[Array], Array] = lambda value: value,
) -> tuple[Array, Info]:
    """Loss of actor and temperature; reaches `params["actor"]` and `params["log_temperature"]` only.

    Args:
      judge: what of the critics' values `[critics, batch]` the actor climbs; of several rows the smallest.
    """
    actor, critic = architecture(config, spec)
    temperature = jnp.exp(params["log_temperature"])
    action, log_prob = draw(key, apply(actor, params["actor"], obs))
    value = judge(critics.values(critic, lax.stop_gradient(params["critic"]), obs, action))
    loss = actor_critic.actor_loss(log_prob, value, temperature).mean()
    entropy = target_entropy(config, spec)
    temperature_loss = actor_critic.temperature_loss(params["log_temperature"], log_prob, entropy).mean()
    info = {"sac/actor_loss": loss, "sac/temperature": temperature, "sac/entropy": -log_prob.mean()}
    return loss + temperature_loss, info


def _losses(params: PyTree, config: Config, spec: Spec, key: Key, obs: Array, fit: Regression) -> tuple[Array, Info]:
    """The sum of all losses. Each reaches its own parameters only, so one gradient serves all."""
    of_critics, critic_info = critic_loss(params, config, spec, fit)
    of_policy, policy_info = policy_loss(params, config, spec, key, obs)
    return of_critics + of_policy, {**critic_info, **policy_info}


def fresh(config: Config, spec: Spec, key: Key) -> tuple[PyTree, PyTree]:
    """Untrained parameters (`actor`, `critic`, `log_temperature`), and a copy of the critics' as their targets."""
    actor, critic = architecture(config, spec)
    k_actor, k_critic = jax.random.split(key)
    params = {
        "actor": actor.init(k_actor, jnp.zeros((1, spec.obs_dim))),
        "critic": init_stack(k_critic, critic, config.critics, spec.obs_dim + spec.action_dim),
        "log_temperature": jnp.log(jnp.asarray(config.initial_temperature, jnp.float32)),
    }
    return params, jax.tree.map(jnp.copy, params["critic"])


def rates(config: Config) -> dict[str, float]:
    """Learning rate of each entry of the parameters."""
    return {"actor": config.actor_lr, "critic": config.critic_lr, "log_temperature": config.temperature_lr}


def make(config: Config, spec: Spec, targets: Targets | None = None) -> Agent[State]:
    """Soft actor-critic on batches of transitions whose actions lie in [-1, 1].

    Actor, critics and temperature are updated simultaneously from the same parameters, then the target critics, as in
    MBPO's released code.

    Args:
      targets: what the critics are fitted to; the one-step soft targets if None.
    """
    optimiser, regression = critics.adam(rates(config)), targets or bootstrap(config, spec)

    def init(key: Key) -> State:
        params, target = fresh(config, spec, key)
        return State(params, target, optimiser.init(params))

    def step(key: Key, state: State, batch: Transition) -> tuple[State, Info]:
        k_target, k_actor = jax.random.split(key)
        fit = regression(k_target, state, batch)
        loss = partial(_losses, config=config, spec=spec, key=k_actor, obs=batch.obs, fit=fit)
        params, opt, info = critics.descend(loss, optimiser, state.params, state.opt)
        target = optax.incremental_update(params["critic"], state.target, config.tau)
        return State(params, target, opt), info

    return Agent(init, partial(critics.in_turn, step), partial(act, config, spec), partial(mode, config, spec))
