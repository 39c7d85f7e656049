"""Advantage actor-critic as an agent: Gaussian policy, value function, a step on each fragment (Mnih et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mbrl_jax.agents import critics, fragments
from mbrl_jax.checks import check_fields, check_not_negative, check_share, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP, apply
from mbrl_jax.objectives.actor_critic import policy_gradient_loss
from mbrl_jax.objectives.likelihood import gaussian_log_prob
from mbrl_jax.optimisers import adam
from mbrl_jax.types import Agent, Info, Key, Policy, PyTree, Spec, Transition

__all__ = ["Config", "State", "act", "log_prob", "make", "mode", "values"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of advantage actor-critic; defaults are ours, small enough for the probes.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width is below 1; `gamma` or `trace` is outside [0, 1];
        `entropy` is negative.
    """

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of policy and value function, with tanh."""
    actor_lr: float = 3e-4
    """Adam learning rate of the policy."""
    critic_lr: float = 1e-3
    """Adam learning rate of the value function."""
    gamma: float = 0.99
    """Discount factor γ per environment step."""
    trace: float = 0.95
    """λ of the generalised advantages (Schulman et al., 2016: .92 to .98)."""
    entropy: float = 0.0
    """Weight of the entropy in the policy's objective, in standard deviations of the advantage per nat."""
    initial_log_std: float = 0.0
    """Logarithm of the policy's standard deviation before training, the same for all states; actions in [-1, 1]."""
    clip: float = 0.5
    """Largest global norm of each network's gradient."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_widths(self, "hidden")
        check_share(self, "gamma", "trace")
        check_not_negative(self, "entropy")


class State(NamedTuple):
    """Parameters of `actor` and `critic`, their optimisers likewise, and the statistics of the observations."""

    params: dict[str, PyTree]
    opt: dict[str, optax.OptState]
    seen: normalise.Running


def _networks(config: Config, spec: Spec) -> tuple[MLP, MLP]:
    return MLP(config.hidden, spec.action_dim, nn.tanh), MLP(config.hidden, 1, nn.tanh)


def values(config: Config, spec: Spec, state: State, params: PyTree, obs: Array) -> Array:
    """Values `[...]` of observations `[..., obs_dim]`."""
    return apply(_networks(config, spec)[1], params, state.seen.scaler.forward(obs))[..., 0]


def _gaussian(config: Config, spec: Spec, state: State, params: PyTree, obs: Array) -> tuple[Array, Array]:
    """Mean and log standard deviation of the action, each `[..., action_dim]`."""
    mean = apply(_networks(config, spec)[0], params["mean"], state.seen.scaler.forward(obs))
    return mean, jnp.broadcast_to(params["log_std"], mean.shape)


def log_prob(config: Config, spec: Spec, state: State, params: PyTree, obs: Array, action: Array) -> Array:
    """log π in nats, `[...]`, of `action [..., action_dim]`, not yet clipped to [-1, 1], at `obs [..., obs_dim]`."""
    return gaussian_log_prob(*_gaussian(config, spec, state, params, obs), action)


def act(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The stochastic policy; the environment clips its actions to [-1, 1]."""
    return fragments.drawn(partial(_gaussian, config, spec, state, state.params["actor"]))


def mode(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The policy's mean, used for evaluation."""
    return fragments.mean(partial(_gaussian, config, spec, state, state.params["actor"]))


def _advantages(config: Config, spec: Spec, state: State, batch: Transition) -> tuple[Array, Array]:
    """Generalised advantages and λ-returns, each `[time, environments]`."""
    known = partial(values, config, spec, state, state.params["critic"])
    found, value = fragments.advantages(known, batch, config.gamma, config.trace)
    return found, found + value


def _optimisers(config: Config) -> dict[str, optax.GradientTransformation]:
    rates = {"actor": config.actor_lr, "critic": config.critic_lr}
    return {name: optax.chain(optax.clip_by_global_norm(config.clip), adam(rate)) for name, rate in rates.items()}


def make(config: Config, spec: Spec) -> Agent[State]:
    """Advantage actor-critic; `update` takes fragments `[updates, time, environments, ...]`, one step on each.

    Advantages are standardised over a fragment.
    """
    optimisers = _optimisers(config)

    def init(key: Key) -> State:
        log_std = jnp.full(spec.action_dim, config.initial_log_std, jnp.float32)
        params = fragments.parameters(key, *_networks(config, spec), spec.obs_dim, log_std)
        opt = {name: optimisers[name].init(params[name]) for name in params}
        return State(params, opt, normalise.running(spec.obs_dim))

    def step(key: Key, state: State, batch: Transition) -> tuple[State, Info]:
        del key
        advantage, target = _advantages(config, spec, state, batch)
        scaled = fragments.standardised(advantage).reshape(-1)

        def policy_loss(params: PyTree) -> tuple[Array, Info]:
            found = log_prob(config, spec, state, params, batch.obs, batch.action).reshape(-1)
            nats = (params["log_std"] + 0.5 * jnp.log(2.0 * jnp.pi * jnp.e)).sum()
            loss = policy_gradient_loss(found, scaled, jnp.broadcast_to(nats, found.shape), config.entropy).mean()
            return loss, {"a2c/actor_loss": loss, "a2c/entropy": nats}

        def value_loss(params: PyTree) -> tuple[Array, Info]:
            loss = 0.5 * jnp.square(values(config, spec, state, params, batch.obs) - target).mean()
            return loss, {"a2c/critic_loss": loss, "a2c/value": target.mean()}

        info: Info = {}
        for name, loss in {"actor": policy_loss, "critic": value_loss}.items():
            found, opt, more = critics.descend(loss, optimisers[name], state.params[name], state.opt[name])
            params = {**state.params, name: found}
            state, info = state._replace(params=params, opt={**state.opt, name: opt}), info | more
        return state, info

    return Agent(init, partial(critics.in_turn, step), partial(act, config, spec), partial(mode, config, spec))
