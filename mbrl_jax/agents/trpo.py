"""Trust-region policy optimisation as an agent: a natural policy step on each fragment, then the value's fit.

Schulman et al., "Trust Region Policy Optimization" (2015), with their generalised advantages (2016), in the form of
SLBO's released code (`slbo/algos/TRPO.py`); `algorithms.trpo` and `algorithms.trpo_mbbl` state what two others do.
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

from mbrl_jax import trust_region
from mbrl_jax.agents import critics, fragments
from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_share, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP, normc
from mbrl_jax.objectives.likelihood import gaussian_log_prob
from mbrl_jax.objectives.surrogate import gaussian_kl, released_entropy, surrogate
from mbrl_jax.optimisers import adam_tf
from mbrl_jax.trust_region import Accept
from mbrl_jax.types import Agent, Info, Key, Policy, PyTree, Spec, Transition

__all__ = ["Config", "Entropy", "State", "act", "advantages", "fit_value", "gaussian", "make", "mode", "values"]

Entropy = Callable[[Array, Array], Array]
"""`entropy(mean[..., action_dim], log_std[..., action_dim]) -> [...]`, in nats: what exploration is paid for."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of trust-region policy optimisation; defaults are those of SLBO's released code.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width, `value_epochs`, `value_batch` or `fisher_stride` is
        below 1; `gamma` or `trace` is outside [0, 1]; `entropy`, `value_lr`, `value_epsilon`, `least_std` or `obs_clip`
        is negative.
    """

    policy_hidden: tuple[int, ...] = (32, 32)
    """Widths of the policy's hidden layers, with tanh (SLBO code)."""
    value_hidden: tuple[int, ...] = (64, 64)
    """Widths of the value function's hidden layers, with tanh (SLBO code)."""
    initial_log_std: float = 0.0
    """Logarithm of the policy's standard deviation before training, the same for all states (SLBO code)."""
    gamma: float = 0.99
    """Discount factor γ per environment step (SLBO code)."""
    trace: float = 0.95
    """λ of the generalised advantages (SLBO code)."""
    entropy: float = 0.005
    """Weight of the entropy in the objective, in standard deviations of the advantage per nat (SLBO code)."""
    value_lr: float = 1e-3
    """Adam learning rate of the value function; Adam's state is kept (SLBO code)."""
    value_betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates (TensorFlow's)."""
    value_epsilon: float = 1e-8
    """Adam's ε, added as TensorFlow does (see `optimisers.adam_tf`)."""
    value_epochs: int = 5
    """Passes over a fragment per fit of the value function (SLBO code)."""
    value_batch: int | None = 64
    """Rows per gradient step; what is left over of a pass is not used (SLBO code). None: all rows in one step."""
    fisher_stride: int = 1
    """The Fisher matrix is that of every so manyth row (1 in SLBO's code, 5 in OpenAI baselines)."""
    least_std: float = 0.0
    """Least standard deviation that observations are divided by (0 in SLBO's code, .1 in the others)."""
    obs_clip: float | None = None
    """Standardised observations are clipped to ± this (OpenAI baselines: 5); None leaves them as they are."""
    limits_end: bool = False
    """Whether a time limit counts as the task's end, as in OpenAI baselines and `mbbl`; SLBO's code bootstraps."""
    region: trust_region.Config = field(default_factory=trust_region.Config)
    """The trust-region step's hyper-parameters."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_widths(self, "policy_hidden", "value_hidden")
        check_share(self, "gamma", "trace")
        check_not_negative(self, "entropy", "value_lr", "value_epsilon", "least_std", "obs_clip")
        check_positive(self, "value_epochs", "fisher_stride")
        if self.value_batch is not None:
            check_positive(self, "value_batch")


class State(NamedTuple):
    """Parameters of `actor` and `critic`, the critic's optimiser, and the statistics of the observations."""

    params: dict[str, PyTree]
    opt: optax.OptState
    seen: normalise.Running


def _networks(config: Config, spec: Spec) -> tuple[MLP, MLP]:
    policy = MLP(config.policy_hidden, spec.action_dim, nn.tanh, normc(1.0), normc(0.01))
    return policy, MLP(config.value_hidden, 1, nn.tanh, normc(1.0))


def _inputs(config: Config, state: State, obs: Array) -> Array:
    """Standardised observations `[..., obs_dim]`."""
    return fragments.inputs(state.seen, obs, config.least_std, config.obs_clip)


def values(config: Config, spec: Spec, state: State, obs: Array) -> Array:
    """Values `[...]` of observations `[..., obs_dim]`; differentiable in them."""
    critic = _networks(config, spec)[1]
    return cast(Array, critic.apply(state.params["critic"], _inputs(config, state, obs)))[..., 0]


def _gaussian(policy: MLP, params: PyTree, inputs: Array) -> tuple[Array, Array]:
    mean = cast(Array, policy.apply(params["mean"], inputs))
    return mean, jnp.broadcast_to(params["log_std"], mean.shape)


def gaussian(config: Config, spec: Spec, state: State, obs: Array) -> tuple[Array, Array]:
    """Mean and log standard deviation of the action, each `[..., action_dim]`, at `obs[..., obs_dim]`."""
    return _gaussian(_networks(config, spec)[0], state.params["actor"], _inputs(config, state, obs))


def act(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The stochastic policy; the environment clips its actions to [-1, 1]."""
    return fragments.drawn(partial(gaussian, config, spec, state))


def mode(config: Config, spec: Spec, state: State) -> Policy[tuple[()]]:
    """The policy's mean."""
    return fragments.mean(partial(gaussian, config, spec, state))


def advantages(config: Config, spec: Spec, state: State, batch: Transition) -> tuple[Array, Array]:
    """Generalised advantages and what the value is fitted to, each `[time, environments]`."""
    known = partial(values, config, spec, state)
    found, value = fragments.advantages(known, batch, config.gamma, config.trace, limits_end=config.limits_end)
    return found, found + value


def _optimiser(config: Config) -> optax.GradientTransformation:
    return adam_tf(config.value_lr, *config.value_betas, config.value_epsilon)


def fit_value(config: Config, spec: Spec, key: Key, state: State, obs: Array, target: Array) -> tuple[State, Info]:
    """The value function after `value_epochs` passes over `obs[..., obs_dim]` with their `target[...]`.

    Raises:
      ValueError: when traced, if there are fewer rows than a batch has.
    """
    critic, optimiser = _networks(config, spec)[1], _optimiser(config)
    rows = target.size
    size = rows if config.value_batch is None else config.value_batch
    if size > rows:
        raise ValueError(f"value_batch must be at most the rows of a fragment, got {size} and {rows}")
    inputs, target = _inputs(config, state, obs).reshape(rows, -1), target.reshape(rows)

    def step(carry: tuple[PyTree, optax.OptState], batch: tuple[Array, Array]) -> tuple[PyTree, Array]:
        x, y = batch

        def loss(params: PyTree) -> tuple[Array, Info]:
            error = jnp.square(cast(Array, critic.apply(params, x))[..., 0] - y).mean()
            return error, {"loss": error}

        params, opt, info = critics.descend(loss, optimiser, *carry)
        return (params, opt), info["loss"]

    def epoch(carry: tuple[PyTree, optax.OptState], k: Key) -> tuple[PyTree, Array]:
        order = jax.random.permutation(k, rows)[: rows // size * size].reshape(-1, size)
        return lax.scan(step, carry, (inputs[order], target[order]))

    carry, losses = lax.scan(epoch, (state.params["critic"], state.opt), jax.random.split(key, config.value_epochs))
    info = {"trpo/critic_loss": losses[-1].mean(), "trpo/value": target.mean()}
    return state._replace(params={**state.params, "critic": carry[0]}, opt=carry[1]), info


def _policy_step(
    config: Config, spec: Spec, accept: Accept, entropy: Entropy, state: State, batch: Transition, advantage: Array
) -> tuple[State, Info]:
    """The policy after a step within the trust region, on `advantage[time, environments]`."""
    policy, actor = _networks(config, spec)[0], state.params["actor"]
    flat = jax.tree.map(lambda x: x.reshape(advantage.size, -1), (batch.obs, batch.action))
    inputs, action = _inputs(config, state, flat[0]), flat[1]
    scaled = fragments.standardised(advantage).reshape(-1)
    old = lax.stop_gradient(_gaussian(policy, actor, inputs))
    old_log_prob = gaussian_log_prob(*old, action)

    def objective(params: PyTree) -> Array:
        found = _gaussian(policy, params, inputs)
        gain = surrogate(gaussian_log_prob(*found, action), old_log_prob, scaled).mean()
        return gain + config.entropy * entropy(*found).mean()

    def divergence(params: PyTree, stride: int = 1) -> Array:
        mean, log_std = _gaussian(policy, params, inputs[::stride])
        return gaussian_kl(old[0][::stride], old[1][::stride], mean, log_std).mean()

    metric = partial(divergence, stride=config.fisher_stride)
    actor, info = trust_region.ascend(config.region, actor, objective, divergence, accept, metric)
    nats = (actor["log_std"] + 0.5 * jnp.log(2.0 * jnp.pi * jnp.e)).sum()
    info = {f"trpo/{name}": value for name, value in info.items()} | {"trpo/entropy": nats}
    return state._replace(params={**state.params, "actor": actor}), info


def make(
    config: Config, spec: Spec, accept: Accept = trust_region.within, entropy: Entropy = released_entropy
) -> Agent[State]:
    """Trust-region policy optimisation; `update` takes fragments `[updates, time, environments, ...]`, a step on each.

    Advantages are standardised over a fragment. The policy steps first, on the old values.

    Args:
      accept: when the line search ends.
      entropy: what is added to the objective with the configuration's weight: SLBO's, or `bounded_entropy`, which is
        what theirs means to be.
    """

    def init(key: Key) -> State:
        log_std = jnp.full(spec.action_dim, config.initial_log_std, jnp.float32)
        params = fragments.parameters(key, *_networks(config, spec), spec.obs_dim, log_std)
        return State(params, _optimiser(config).init(params["critic"]), normalise.running(spec.obs_dim))

    def step(key: Key, state: State, batch: Transition) -> tuple[State, Info]:
        advantage, target = advantages(config, spec, state, batch)
        moved, info = _policy_step(config, spec, accept, entropy, state, batch, advantage)
        moved, more = fit_value(config, spec, key, moved, batch.obs, target)
        return moved, {**info, **more}

    return Agent(init, partial(critics.in_turn, step), partial(act, config, spec), partial(mode, config, spec))
