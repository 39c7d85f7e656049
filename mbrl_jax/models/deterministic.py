"""Ensembles of deterministic networks that predict the next state, the reward and whether the task ends (STEVE).

Buckman et al., 2018, in the form of their released code (`worldmodel.py`): nothing is standardised, and every row of a
batch is one member's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_widths
from mbrl_jax.networks import MLP, apply, init_stack
from mbrl_jax.optimisers import adam_tf
from mbrl_jax.rollouts import memoryless
from mbrl_jax.types import Dynamics, Imagined, Info, Key, Model, PyTree, Spec, Transition

__all__ = ["Config", "State", "dealt", "make", "member", "rewards"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the three ensembles; defaults are STEVE's released code's.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width or `members` is below 1; `learning_rate` or `decay`
        is negative.
    """

    members: int = 4
    """Networks of each kind (STEVE code)."""
    hidden: tuple[int, ...] = (512,) * 7
    """Widths of the hidden layers that predict the next observation, with rectifiers (STEVE code: 8 linear layers)."""
    head_hidden: tuple[int, ...] = (128,) * 3
    """The same of reward and termination (STEVE code: 4 linear layers)."""
    learning_rate: float = 3e-4
    """Adam learning rate (STEVE code)."""
    decay: float = 1e-4
    """Coefficient of ½‖θ‖² of all weights and biases, in the loss (STEVE code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "members")
        check_widths(self, "hidden", "head_hidden")
        check_not_negative(self, "learning_rate", "decay")


class State(NamedTuple):
    """Parameters of the networks `change`, `reward` and `end`, each `[members, ...]`, and the optimiser's state."""

    params: PyTree
    opt: optax.OptState


def _networks(config: Config, spec: Spec) -> dict[str, MLP]:
    head = MLP(config.head_hidden, 1)
    return {"change": MLP(config.hidden, spec.obs_dim), "reward": head, "end": head}


def _changed(config: Config, spec: Spec, params: PyTree, obs: Array, action: Array) -> Array:
    """The next observation `[..., obs_dim]` that one member predicts."""
    return obs + apply(_networks(config, spec)["change"], params["change"], jnp.concatenate([obs, action], axis=-1))


def _head(config: Config, spec: Spec, name: str, params: PyTree, obs: Array, action: Array, next_obs: Array) -> Array:
    """Of one member, `[...]`: the reward, or the logit of the task's end."""
    inputs = jnp.concatenate([next_obs, obs, action], axis=-1)
    return apply(_networks(config, spec)[name], params[name], inputs)[..., 0]


def rewards(config: Config, spec: Spec, params: PyTree, obs: Array, action: Array, next_obs: Array) -> Array:
    """Rewards `[members, ...]` of steps by every reward network.

    Args:
      params: of all members.
      obs: `[..., obs_dim]`; `next_obs` likewise.
      action: `[..., action_dim]`, in [-1, 1].
    """
    return jax.vmap(lambda each: _head(config, spec, "reward", {"reward": each}, obs, action, next_obs))(
        params["reward"]
    )


def member(config: Config, spec: Spec, params: PyTree) -> Dynamics[tuple[()]]:
    """One member, by its parameters without a leading axis: its discount is the probability that the task goes on."""

    def step(key: Key, obs: Array, action: Array) -> tuple[Array, Array, Array]:
        del key
        after = _changed(config, spec, params, obs, action)
        logit = _head(config, spec, "end", params, obs, action, after)
        return after, _head(config, spec, "reward", params, obs, action, after), jax.nn.sigmoid(-logit)

    return memoryless(step)


def fixed_members(config: Config, spec: Spec, state: State) -> Dynamics[Array]:
    """Every row keeps the member that it draws at the start, its memory."""

    def start(key: Key, obs: Array) -> Array:
        return jax.random.randint(key, obs.shape[:1], 0, config.members)

    def step(key: Key, chosen: Array, obs: Array, action: Array) -> tuple[Array, Imagined]:
        every = jax.vmap(lambda params: member(config, spec, params).step(key, (), obs, action)[1])(state.params)
        return chosen, jax.tree.map(lambda x: x[chosen, jnp.arange(obs.shape[0])], every)

    return Dynamics(start, step)


def dealt(batch: PyTree, members: int) -> PyTree:
    """A batch `[batch, ...]` of independent rows dealt to the members, `[members, batch / members, ...]`.

    Raises:
      ValueError: when traced, if the members do not divide the rows.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    if rows % members:
        raise ValueError(f"a batch must be a multiple of the members, got {rows} and {members}")
    return jax.tree.map(lambda x: x.reshape(members, rows // members, *x.shape[1:]), batch)


def _loss(config: Config, spec: Spec, params: PyTree, batch: Transition) -> tuple[Array, Info]:
    """Mean over the rows, each for one member of each kind, and the decay."""

    def of_member(params: PyTree, rows: Transition) -> tuple[Array, Array, Array]:
        step = (rows.obs, rows.action, rows.next_obs)
        change = _changed(config, spec, params, rows.obs, rows.action) - rows.next_obs
        reward = _head(config, spec, "reward", params, *step) - rows.reward
        logit = _head(config, spec, "end", params, *step)
        ended = optax.sigmoid_binary_cross_entropy(logit, 1.0 - rows.discount)
        return 0.5 * jnp.square(change).sum(axis=-1).mean(), 0.5 * jnp.square(reward).mean(), ended.mean()

    change, reward, ended = (each.mean() for each in jax.vmap(of_member)(params, dealt(batch, config.members)))
    square = jnp.stack([jnp.square(leaf).sum() for leaf in jax.tree.leaves(params)]).sum()
    info = {"model/loss": change, "model/reward_loss": reward, "model/end_loss": ended}
    return change + reward + ended + 0.5 * config.decay * square, info


def make(config: Config, spec: Spec) -> Model[State, Transition]:
    """The ensembles on batches `[updates, batch, ...]`: `fit` and `update` are the same gradient steps in turn.

    Rows must be independent draws; the members divide their number. The dynamics keep a member for each row.
    """
    optimiser = adam_tf(config.learning_rate)

    def init(key: Key) -> State:
        inputs = {"change": spec.obs_dim + spec.action_dim}
        wide = 2 * spec.obs_dim + spec.action_dim
        networks = _networks(config, spec).items()
        keys = jax.random.split(key, 3)
        params = {
            name: init_stack(k, network, config.members, inputs.get(name, wide))
            for k, (name, network) in zip(keys, networks, strict=True)
        }
        return State(params, optimiser.init(params))

    def step(state: State, batch: Transition) -> tuple[State, Info]:
        grads, info = jax.grad(partial(_loss, config, spec), has_aux=True)(state.params, batch)
        updates, opt = optimiser.update(grads, state.opt, state.params)
        return State(optax.apply_updates(state.params, updates), opt), info

    def update(key: Key, state: State, batches: Transition) -> tuple[State, Info]:
        del key
        return lax.scan(step, state, batches)

    return Model(init, update, update, partial(fixed_members, config, spec))
