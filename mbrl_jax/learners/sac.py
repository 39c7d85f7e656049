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
from mbrl_jax.networks import MLP, apply, draw, init_stack, tanh_gaussian
from mbrl_jax.objectives import policy as objectives
from mbrl_jax.objectives.returns import expanded_targets
from mbrl_jax.types import Act, Key, Learner, ModelStep, PyTree, Spec, Transition

__all__ = ["Config", "Regression", "State", "Targets", "act", "bootstrap", "expansion", "gaussian", "make", "mode"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of soft actor-critic; defaults are those of MBPO's released code (`development/base.py`)."""

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
    """Target entropy in nats; None means −action_dim (Haarnoja et al. 2018). MBPO sets its own per task."""
    initial_temperature: float = 1.0
    """α before training (MBPO code: log α = 0)."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must name at least one positive width, got {self.hidden}")
        if self.critics < 1:
            raise ValueError(f"critics must be at least 1, got {self.critics}")


class State(NamedTuple):
    """Parameters of actor, critics and log α as one dict, target critics, and the optimiser's state."""

    params: PyTree
    target: PyTree
    opt: optax.OptState


class Regression(NamedTuple):
    """What the critics are fitted to: values `target[n]` at `obs[n, obs_dim]`, `action[n, action_dim]`, weighted."""

    obs: Array
    action: Array
    target: Array
    weight: Array


Targets = Callable[[Key, State, Transition], Regression]
"""`targets(key, state, batch) -> Regression`; n may differ from the batch's size."""


def _networks(config: Config, spec: Spec) -> tuple[MLP, MLP]:
    return MLP(config.hidden, 2 * spec.action_dim), MLP(config.hidden, 1)


def _critic_values(critic: MLP, params: PyTree, obs: Array, action: Array) -> Array:
    """Values of stacked critics, `[critics, batch]`."""
    inputs = jnp.concatenate([obs, action], axis=-1)
    return jax.vmap(partial(apply, critic), in_axes=(0, None))(params, inputs)[..., 0]


def _optimiser(config: Config) -> optax.GradientTransformation:
    """One Adam over all parameters: it is elementwise, so this equals one for each, in fewer kernels."""
    rates = {"actor": config.actor_lr, "critic": config.critic_lr, "log_temperature": config.temperature_lr}

    def scale(updates: PyTree, state: optax.OptState, params=None):
        return {name: jax.tree.map(lambda u, r=rates[name]: -r * u, tree) for name, tree in updates.items()}, state

    return optax.chain(optax.scale_by_adam(), optax.GradientTransformation(lambda params: optax.EmptyState(), scale))


def act(config: Config, spec: Spec, state: State) -> Act:
    """The stochastic policy: actions in [-1, 1]."""
    actor, _ = _networks(config, spec)
    return lambda key, obs: tanh_gaussian(apply(actor, state.params["actor"], obs)).sample(seed=key)


def mode(config: Config, spec: Spec, state: State) -> Act:
    """The deterministic policy, tanh of the mean, used for evaluation: actions in [-1, 1]."""
    actor, _ = _networks(config, spec)
    return lambda key, obs: jnp.tanh(apply(actor, state.params["actor"], obs)[..., : spec.action_dim])


def gaussian(config: Config, spec: Spec, state: State, obs: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the policy before its tanh, each `[..., action_dim]`."""
    actor, _ = _networks(config, spec)
    return networks.gaussian(apply(actor, state.params["actor"], obs))


def soft_value(config: Config, spec: Spec, key: Key, state: State, obs: Array) -> tuple[Array, Array]:
    """Target critics at an action of the current policy `[critics, batch]`, and its log-probability `[batch]`."""
    actor, critic = _networks(config, spec)
    action, log_prob = draw(key, apply(actor, state.params["actor"], obs))
    return _critic_values(critic, state.target, obs, action), log_prob


def bootstrap(config: Config, spec: Spec) -> Targets:
    """The usual one-step soft targets at the batch's own states and actions."""

    def targets(key: Key, state: State, batch: Transition) -> Regression:
        value, log_prob = soft_value(config, spec, key, state, batch.next_obs)
        temperature = jnp.exp(state.params["log_temperature"])
        y = objectives.soft_target(batch.reward, config.gamma * batch.discount, value, log_prob, temperature)
        return Regression(batch.obs, batch.action, y, jnp.ones_like(y))

    return targets


def expansion(config: Config, spec: Spec, model_step: ModelStep, horizon: int) -> Targets:
    """Model value expansion: the critics are fitted at the real transition and along `horizon` imagined steps.

    Every step's target is the (soft) return of the rest of the roll-out, closed with the target critics. States
    imagined beyond a termination have weight 0.

    Source: Janner et al., 2019, Sec. 6.2 (value expansion), after Feinberg et al., 2018.
    """

    def targets(key: Key, state: State, batch: Transition) -> Regression:
        actor, _ = _networks(config, spec)
        temperature = jnp.exp(state.params["log_temperature"])

        def imagine(obs: Array, k: Key) -> tuple[Array, tuple[Array, ...]]:
            k_act, k_model = jax.random.split(k)
            action, log_prob = draw(k_act, apply(actor, state.params["actor"], obs))
            next_obs, reward, discount = model_step(k_model, obs, action)
            return next_obs, (obs, action, reward, discount, -temperature * log_prob)

        k_model, k_value = jax.random.split(key)
        last, imagined = lax.scan(imagine, batch.next_obs, jax.random.split(k_model, horizon))
        value, log_prob = soft_value(config, spec, k_value, state, last)
        real = (batch.obs, batch.action, batch.reward, batch.discount, jnp.zeros_like(batch.reward))
        steps = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), real, imagined)
        obs, action, reward, discount, bonus = steps
        closing = value.min(axis=0) - temperature * log_prob
        y = expanded_targets(reward, config.gamma * discount, bonus, closing)
        alive = jnp.concatenate([jnp.ones_like(discount[:1]), jnp.cumprod(discount[:-1], axis=0)])
        flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
        return Regression(flat(obs), flat(action), flat(y), lax.stop_gradient(flat(alive)))

    return targets


def _losses(
    params: PyTree, config: Config, spec: Spec, key: Key, obs: Array, fit: Regression
) -> tuple[Array, dict[str, Array]]:
    """The sum of the three losses. Each reaches its own parameters only, so one gradient serves all three."""
    actor, critic = _networks(config, spec)
    entropy = -float(spec.action_dim) if config.target_entropy is None else config.target_entropy
    temperature = jnp.exp(params["log_temperature"])
    value = _critic_values(critic, params["critic"], fit.obs, fit.action)
    action, log_prob = draw(key, apply(actor, params["actor"], obs))
    action_value = _critic_values(critic, lax.stop_gradient(params["critic"]), obs, action)
    critic_loss = (fit.weight * objectives.critic_loss(value, fit.target)).mean(axis=-1)
    actor_loss = objectives.actor_loss(log_prob, action_value, temperature).mean()
    temperature_loss = objectives.temperature_loss(params["log_temperature"], log_prob, entropy).mean()
    info = {
        "sac/critic_loss": critic_loss.mean(),
        "sac/actor_loss": actor_loss,
        "sac/temperature": temperature,
        "sac/entropy": -log_prob.mean(),
        "sac/value": value.mean(),
    }
    return critic_loss.sum() + actor_loss + temperature_loss, info


def make(config: Config, spec: Spec, targets: Targets | None = None) -> Learner:
    """Soft actor-critic on batches of transitions whose actions lie in [-1, 1].

    Actor, critics and temperature are updated simultaneously from the same parameters, then the target critics, as in
    MBPO's released code.

    Args:
      targets: what the critics are fitted to; the one-step soft targets if None.
    """
    actor, critic = _networks(config, spec)
    optimiser, regression = _optimiser(config), targets or bootstrap(config, spec)

    def init(key: Key) -> State:
        k_actor, k_critic = jax.random.split(key)
        params = {
            "actor": actor.init(k_actor, jnp.zeros((1, spec.obs_dim))),
            "critic": init_stack(k_critic, critic, config.critics, spec.obs_dim + spec.action_dim),
            "log_temperature": jnp.log(jnp.asarray(config.initial_temperature, jnp.float32)),
        }
        return State(params, jax.tree.map(jnp.copy, params["critic"]), optimiser.init(params))

    def update(key: Key, state: State, batch: Transition) -> tuple[State, dict[str, Array]]:
        k_target, k_actor = jax.random.split(key)
        fit = regression(k_target, state, batch)
        loss = partial(_losses, config=config, spec=spec, key=k_actor, obs=batch.obs, fit=fit)
        grads, info = jax.grad(loss, has_aux=True)(state.params)
        updates, opt = optimiser.update(grads, state.opt)
        params: PyTree = optax.apply_updates(state.params, updates)
        target = optax.incremental_update(params["critic"], state.target, config.tau)
        return State(params, target, opt), info

    return Learner(init, update)
