"""TD3 as a learner: a deterministic actor, twin critics, smoothed targets, delayed policies (Fujimoto et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mbrl_jax.agents import critics
from mbrl_jax.checks import check_fields, check_positive
from mbrl_jax.networks import MLP, apply, init_stack
from mbrl_jax.objectives.actor_critic import critic_loss, minimum_target, smoothed_action
from mbrl_jax.rollouts import stateless
from mbrl_jax.types import Agent, Info, Key, Policy, PyTree, Spec, Transition

__all__ = ["Config", "State", "act", "make", "mode"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of TD3; defaults are those of the authors' released code (`sfujim/TD3`: `TD3.py`, `main.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width of `hidden`, `critics` or `policy_delay` is below 1;
        `gamma` is outside [0, 1]; `tau` is outside (0, 1].
    """

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of actor and critics (TD3 code; 400 and 300 in its first release)."""
    critics: int = 2
    """Number of critics; their minimum is the target, the first one teaches the actor (TD3 code)."""
    actor_lr: float = 3e-4
    """Adam learning rate of the actor (TD3 code)."""
    critic_lr: float = 3e-4
    """Adam learning rate of the critics (TD3 code)."""
    gamma: float = 0.99
    """Discount factor γ per environment step (TD3 code)."""
    tau: float = 5e-3
    """Targets of actor and critics move this fraction of the way at every update of the policy (TD3 code)."""
    policy_noise: float = 0.2
    """Standard deviation of the noise on the target's actions, which lie in [-1, 1] (TD3 code)."""
    noise_clip: float = 0.5
    """Largest such noise per entry of the action (TD3 code)."""
    exploration_noise: float = 0.1
    """Standard deviation of the Gaussian noise on the actions taken, which are clipped to [-1, 1] (TD3 code)."""
    policy_delay: int = 2
    """Updates of the critics per update of the actor and of all targets (TD3 code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        critics.check(self)
        check_positive(self, "policy_delay")


class State(NamedTuple):
    """Parameters of `actor` and `critic` as one dict, their targets, and the two optimisers' states likewise."""

    params: PyTree
    target: PyTree
    opt: dict[str, optax.OptState]


def _networks(config: Config, spec: Spec) -> tuple[MLP, MLP]:
    return MLP(config.hidden, spec.action_dim), MLP(config.hidden, 1)


def _action(config: Config, spec: Spec, params: PyTree, obs: Array) -> Array:
    actor, _ = _networks(config, spec)
    return jnp.tanh(apply(actor, params, obs))


def mode(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The policy itself: actions in [-1, 1]."""
    return stateless(lambda key, obs: _action(config, spec, state.params["actor"], obs))


def act(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The exploring policy: the policy's action with Gaussian noise, clipped to [-1, 1]."""

    def explore(key: Key, obs: Array) -> Array:
        action = _action(config, spec, state.params["actor"], obs)
        return jnp.clip(action + config.exploration_noise * jax.random.normal(key, action.shape), -1.0, 1.0)

    return stateless(explore)


def targets(config: Config, spec: Spec, key: Key, target: PyTree, batch: Transition) -> Array:
    """What the critics are fitted to, `[batch]`: the smallest target critic at the target policy's smoothed action."""
    _, critic = _networks(config, spec)
    noise = config.policy_noise * jax.random.normal(key, batch.action.shape)
    action = smoothed_action(_action(config, spec, target["actor"], batch.next_obs), noise, config.noise_clip)
    value = critics.values(critic, target["critic"], batch.next_obs, action)
    return minimum_target(batch.reward, config.gamma * batch.discount, value)


def make(config: Config, spec: Spec) -> Agent[State]:
    """TD3 on transitions whose actions lie in [-1, 1].

    `update` takes a multiple of `policy_delay` batches: one update of the critics on each, and after every
    `policy_delay`-th one of the actor and of all targets on it.
    """
    actor, critic = _networks(config, spec)
    optimisers = {name: critics.adam({name: rate}) for name, rate in _rates(config).items()}

    def init(key: Key) -> State:
        k_actor, k_critic = jax.random.split(key)
        params = {
            "actor": actor.init(k_actor, jnp.zeros((1, spec.obs_dim))),
            "critic": init_stack(k_critic, critic, config.critics, spec.obs_dim + spec.action_dim),
        }
        opt = {name: optimiser.init({name: params[name]}) for name, optimiser in optimisers.items()}
        return State(params, jax.tree.map(jnp.copy, params), opt)

    def descend(name: str, loss, state: State) -> tuple[State, Info]:
        part, opt, info = critics.descend(loss, optimisers[name], {name: state.params[name]}, state.opt[name])
        return state._replace(params={**state.params, **part}, opt={**state.opt, name: opt}), info

    def critic_step(key: Key, state: State, batch: Transition) -> tuple[State, Info]:
        target = targets(config, spec, key, state.target, batch)

        def loss(params: PyTree) -> tuple[Array, Info]:
            value = critics.values(critic, params["critic"], batch.obs, batch.action)
            each = critic_loss(value, target).mean(axis=-1)
            return each.sum(), {"td3/critic_loss": each.mean(), "td3/value": value.mean()}

        return descend("critic", loss, state)

    def policy_step(key: Key, state: State, batch: Transition) -> tuple[State, Info]:
        del key
        first = jax.tree.map(lambda leaf: leaf[:1], state.params["critic"])

        def loss(params: PyTree) -> tuple[Array, Info]:
            action = _action(config, spec, params["actor"], batch.obs)
            value = critics.values(critic, first, batch.obs, action).mean()
            return -value, {"td3/actor_loss": -value}

        state, info = descend("actor", loss, state)
        return state._replace(target=optax.incremental_update(state.params, state.target, config.tau)), info

    update = critics.delayed(critic_step, policy_step, config.policy_delay)
    return Agent(init, update, partial(act, config, spec), partial(mode, config, spec))


def _rates(config: Config) -> dict[str, float]:
    return {"actor": config.actor_lr, "critic": config.critic_lr}
