"""Proximal policy optimisation as an agent: many small steps on the clipped surrogate of each fragment.

Schulman et al., "Proximal Policy Optimization Algorithms" (2017). What implementations differ in is settings (`Config`)
and functions (`Form`); `algorithms.ppo` and `algorithms.ppo1` state two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.agents import critics, fragments
from mbrl_jax.agents.ppo_form import BASELINES, TODAY, Form
from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_share, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP
from mbrl_jax.objectives.likelihood import gaussian_log_prob
from mbrl_jax.objectives.surrogate import clipped_surrogate, clipped_value_error
from mbrl_jax.types import Agent, Info, Key, Policy, PyTree, Scalar, Shared, Spec, Transition

__all__ = ["BASELINES", "TODAY", "Config", "Form", "State", "act", "advantages", "gaussian", "make", "mode", "values"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of proximal policy optimisation; defaults are CleanRL's, but see `value_clip`, `limits_end`.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width, `epochs` or `batch` is below 1; `gamma` or `trace`
        is outside [0, 1]; `entropy`, `lr`, `epsilon`, `value_weight` or `least_std` is negative.
    """

    policy_hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers, with tanh (all implementations)."""
    value_hidden: tuple[int, ...] = (64, 64)
    """Widths of the value function's hidden layers, with tanh (all implementations)."""
    initial_log_std: float = 0.0
    """Logarithm of the policy's standard deviation before training, the same for all states (all)."""
    gamma: float = 0.99
    """Discount factor γ per environment step (Schulman et al. 2017, Table 3)."""
    trace: float = 0.95
    """λ of the generalised advantages (Schulman et al. 2017, Table 3)."""
    entropy: float = 0.0
    """Weight of the entropy in the objective, in standard deviations of the advantage per nat (all: 0)."""
    clip: float = 0.2
    """ε, by which the ratio of the policies may gain (Schulman et al. 2017, Table 1)."""
    lr: float = 3e-4
    """Adam learning rate of policy and value function (Schulman et al. 2017, Table 3)."""
    epsilon: float = 1e-5
    """Adam's ε (OpenAI baselines, CleanRL)."""
    max_grad_norm: float | None = 0.5
    """Largest norm of the gradient of both networks together; None: any (.5 in CleanRL and `ppo2`, none in `ppo1`)."""
    value_weight: float = 0.5
    """Weight of the values' squared error (Stable-Baselines3; 1 in `ppo1`, .25 in `ppo2` and CleanRL)."""
    value_clip: float | None = None
    """How far a value may move in an update, in return units; None: anywhere (.2 in `ppo2` and CleanRL)."""
    epochs: int = 10
    """Passes over a fragment (Schulman et al. 2017, Table 3)."""
    batch: int = 64
    """Rows per gradient step; what is left over of a pass is not used (Schulman et al. 2017, Table 3)."""
    anneal_lr: bool = field(default=True, metadata={"static": True})
    """Whether the learning rate falls linearly to 0 over the run (OpenAI baselines, CleanRL)."""
    anneal_clip: bool = field(default=False, metadata={"static": True})
    """Whether the clip does too (`ppo1` until February 2019)."""
    whole_advantages: bool = field(default=False, metadata={"static": True})
    """Whether advantages are standardised over a fragment (`ppo1`) or anew over every batch (the others)."""
    least_std: float = 0.0
    """Least standard deviation that observations are divided by (.1 in `ppo1`)."""
    obs_clip: float | None = 10.0
    """Standardised observations are clipped to ± this; None leaves them as they are (5 in `ppo1`)."""
    limits_end: bool = field(default=False, metadata={"static": True})
    """Whether a time limit counts as the task's end (OpenAI baselines, CleanRL); Stable-Baselines3 bootstraps."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_widths(self, "policy_hidden", "value_hidden")
        check_share(self, "gamma", "trace")
        check_not_negative(self, "entropy", "lr", "epsilon", "value_weight", "least_std")
        check_positive(self, "epochs", "batch")


class State(NamedTuple):
    """Parameters of `actor` and `critic`, their optimiser, the observations' statistics, and how many updates."""

    params: dict[str, PyTree]
    opt: optax.OptState
    seen: normalise.Running
    updates: Shared


class _Rows(NamedTuple):
    """A fragment as rows `[rows, ...]`; `value` and `log_prob` are those before the update."""

    inputs: Array
    action: Array
    log_prob: Array
    advantage: Array
    value: Array
    target: Array


def _networks(config: Config, spec: Spec, form: Form = TODAY) -> tuple[MLP, MLP]:
    policy = MLP(config.policy_hidden, spec.action_dim, nn.tanh, form.hidden, form.last(0.01))
    return policy, MLP(config.value_hidden, 1, nn.tanh, form.hidden, form.last(1.0))


def _inputs(config: Config, state: State, obs: Array) -> Array:
    """Standardised observations `[..., obs_dim]`."""
    return fragments.inputs(state.seen, obs, config.least_std, config.obs_clip)


def _value(config: Config, spec: Spec, params: PyTree, inputs: Array) -> Array:
    return cast(Array, _networks(config, spec)[1].apply(params, inputs))[..., 0]


def _gaussian(config: Config, spec: Spec, params: PyTree, inputs: Array) -> tuple[Array, Array]:
    mean = cast(Array, _networks(config, spec)[0].apply(params["mean"], inputs))
    return mean, jnp.broadcast_to(params["log_std"], mean.shape)


def values(config: Config, spec: Spec, state: State, obs: Array) -> Array:
    """Values `[...]` of observations `[..., obs_dim]`."""
    return _value(config, spec, state.params["critic"], _inputs(config, state, obs))


def gaussian(config: Config, spec: Spec, state: State, obs: Array) -> tuple[Array, Array]:
    """Mean and log standard deviation of the action, each `[..., action_dim]`, at `obs[..., obs_dim]`."""
    return _gaussian(config, spec, state.params["actor"], _inputs(config, state, obs))


def act(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The stochastic policy; the environment clips its actions to [-1, 1], their density is that of what was drawn."""
    return fragments.drawn(partial(gaussian, config, spec, state))


def mode(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The policy's mean, used for evaluation."""
    return fragments.mean(partial(gaussian, config, spec, state))


def advantages(config: Config, spec: Spec, state: State, batch: Transition) -> tuple[Array, Array]:
    """Generalised advantages and values of the old value function, each `[time, environments]`; their sum is fitted."""
    rule = {"gamma": config.gamma, "trace": config.trace, "limits_end": config.limits_end}
    return fragments.advantages(partial(values, config, spec, state), batch, **rule)


def _rows(config: Config, spec: Spec, state: State, batch: Transition) -> _Rows:
    """The rows of a fragment, with all that an update holds constant."""
    advantage, value = advantages(config, spec, state, batch)
    target = advantage + value
    scaled = fragments.standardised(advantage) if config.whole_advantages else advantage
    inputs = _inputs(config, state, batch.obs)
    log_prob = gaussian_log_prob(*_gaussian(config, spec, state.params["actor"], inputs), batch.action)
    found = _Rows(inputs, batch.action, log_prob, scaled, value, target)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)


def _loss(config: Config, spec: Spec, clip: Scalar, params: PyTree, rows: _Rows) -> tuple[Array, Info]:
    """Of one batch: the clipped surrogate with the entropy, and the values' error; each reaches its own parameters."""
    log_prob = gaussian_log_prob(*_gaussian(config, spec, params["actor"], rows.inputs), rows.action)
    advantage = rows.advantage if config.whole_advantages else fragments.standardised(rows.advantage)
    gain = clipped_surrogate(log_prob, rows.log_prob, advantage, clip).mean()
    nats = (params["actor"]["log_std"] + 0.5 * jnp.log(2.0 * jnp.pi * jnp.e)).sum()
    value = _value(config, spec, params["critic"], rows.inputs)
    if config.value_clip is None:
        error = jnp.square(value - rows.target).mean()
    else:
        error = clipped_value_error(value, rows.value, rows.target, config.value_clip).mean()
    change = log_prob - rows.log_prob
    info = {
        "ppo/gain": gain,
        "ppo/entropy": nats,
        "ppo/critic_loss": error,
        "ppo/kl": (jnp.exp(change) - 1.0 - change).mean(),
        "ppo/clipped": (jnp.abs(jnp.exp(change) - 1.0) > clip).astype(gain.dtype).mean(),
    }
    return -gain - config.entropy * nats + config.value_weight * error, info


def _optimiser(config: Config, form: Form, rate: Scalar) -> optax.GradientTransformation:
    adam = form.adam(rate, config.epsilon)
    limit = config.max_grad_norm
    return optax.chain(optax.identity() if limit is None else optax.clip_by_global_norm(limit), adam)


def make(config: Config, spec: Spec, updates: int, form: Form = TODAY) -> Agent[State]:
    """Proximal policy optimisation; `update` takes fragments `[updates, time, environments, ...]`, in turn.

    On each, the old policy's densities, the values and the advantages are computed once, with the statistics that the
    state holds; then `epochs` passes over its rows in random order, a gradient step on every batch.

    Args:
      updates: fragments of the whole run, over which what is annealed falls to 0.
      form: the optimiser and the initial weights.

    Raises:
      ValueError: while `update` is traced, if a fragment has fewer rows than `config.batch`.
    """

    def init(key: Key) -> State:
        log_std = jnp.full(spec.action_dim, config.initial_log_std, jnp.float32)
        params = fragments.parameters(key, *_networks(config, spec, form), spec.obs_dim, log_std)
        opt = _optimiser(config, form, config.lr).init(params)
        return State(params, opt, normalise.running(spec.obs_dim), Shared(jnp.zeros((), jnp.int32)))

    def step(key: Key, state: State, batch: Transition) -> tuple[State, Info]:
        left = jnp.maximum(1.0 - state.updates.value.astype(jnp.float32) / updates, 0.0)
        clip = config.clip * (left if config.anneal_clip else jnp.ones_like(left))
        rate = config.lr * (left if config.anneal_lr else jnp.ones_like(left))
        loss, optimiser = partial(_loss, config, spec, clip), _optimiser(config, form, rate)
        rows = _rows(config, spec, state, batch)
        params, opt, info = _passes(config, key, loss, optimiser, (state.params, state.opt), rows)
        info = {**info, "ppo/clip": clip, "ppo/value": rows.target.mean()}
        return state._replace(params=params, opt=opt, updates=Shared(state.updates.value + 1)), info

    return Agent(init, partial(critics.in_turn, step), partial(act, config, spec), partial(mode, config, spec))


def _passes(
    config: Config,
    key: Key,
    loss: Callable[[PyTree, _Rows], tuple[Array, Info]],
    optimiser: optax.GradientTransformation,
    start: tuple[PyTree, optax.OptState],
    rows: _Rows,
) -> tuple[PyTree, optax.OptState, Info]:
    """Parameters and optimiser after `epochs` passes over the rows, and the means of the last one's metrics.

    Raises:
      ValueError: when traced, if there are fewer rows than a batch has.
    """
    count, size = rows.advantage.shape[0], config.batch
    if size > count:
        raise ValueError(f"batch must be at most the rows of a fragment, got {size} and {count}")

    def step(carry: tuple[PyTree, optax.OptState], index: Array) -> tuple[tuple[PyTree, optax.OptState], Info]:
        batch = jax.tree.map(lambda x: x[index], rows)
        params, opt, info = critics.descend(lambda params: loss(params, batch), optimiser, *carry)
        return (params, opt), info

    def epoch(carry: tuple[PyTree, optax.OptState], k: Key) -> tuple[tuple[PyTree, optax.OptState], Info]:
        order = jax.random.permutation(k, count)[: count // size * size].reshape(-1, size)
        return lax.scan(step, carry, order)

    (params, opt), info = lax.scan(epoch, start, jax.random.split(key, config.epochs))
    return params, opt, jax.tree.map(lambda x: x[-1].mean(), info)
