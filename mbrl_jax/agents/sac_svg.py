"""SAC-SVG as a learner: SAC's critics, and an actor that follows value gradients through a learned model.

A deterministic recurrent model, a reward and a termination network are fitted beside the critics. The actor climbs the
entropy-regularised return of H of its own actions in the model, the last one valued by the critics (Amos et al., 2021).
Everything sees observations standardised over the replay. Defaults are the released code's (`facebookresearch/svg`,
`config/train.yaml`); docs/baselines.md lists where this learner differs from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.agents import critics, sac
from mbrl_jax.checks import check_fields, check_not_negative, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.models import recurrent
from mbrl_jax.networks import MLP, apply
from mbrl_jax.objectives import actor_critic
from mbrl_jax.objectives.svg import expanded_return, survival, termination_loss
from mbrl_jax.rollouts import begin, unroll
from mbrl_jax.types import Agent, Dynamics, Info, Key, Policy, PyTree, Shared, Spec, Transition

__all__ = ["Batch", "Config", "State", "Survival", "act", "imagine", "make", "mode", "standardise", "target_entropy"]

Survival = Callable[[Array], Array]
"""`survival(ended[horizon, batch]) -> alive[horizon, batch]`, see `objectives.svg`."""

STD_RANGE = (0.1, 10.0)  # of the observations' standard deviations (SVG code: `get_obs_stats`)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of SAC-SVG; defaults are those of the released code (`config/train.yaml`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `horizon` is below 2 (with 1 this is SAC); a width is
        below 1; `model_free_updates` or `entropy_power` is negative.
    """

    horizon: int = 3
    """H, actions of the policy in the actor's objective: H − 1 of the model's steps, then the critics (SVG code)."""
    model_free_updates: int = 9_000
    """First updates, in which the actor follows the critics alone while the model learns (SVG code: 10,000 environment
    steps, of which 1,000 are random)."""
    initial_entropy: float | None = None
    """Target entropy before training, in nats; None: the same as at the end, which `agent.target_entropy` gives."""
    entropy_power: float = 1.0
    """The target entropy moves from the initial to the last one as (1 − t)^power, t being the share of the run."""
    head_hidden: tuple[int, ...] = (512, 512)
    """Widths of the hidden layers of the reward and of the termination network (SVG code)."""
    head_lr: float = 1e-3
    """Adam learning rate of the reward and of the termination network (SVG code)."""
    model: recurrent.Config = field(default_factory=recurrent.Config)
    """The model of the next observation."""
    agent: sac.Config = field(
        default_factory=partial(
            sac.Config,
            hidden=(512,) * 4,
            actor_lr=1e-4,
            critic_lr=1e-4,
            temperature_lr=1e-4,
            initial_temperature=0.1,
        )
    )
    """Actor, critics and temperature (SVG code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2 (with 1 this is SAC), got {self.horizon}")
        check_widths(self, "head_hidden")
        check_not_negative(self, "model_free_updates", "entropy_power")


class State(NamedTuple):
    """The learner's state.

    Attributes:
      policy: parameters of actor, critics, log α, `reward` and `termination` as one dict, target critics, optimiser.
      model: the model of the next observation.
      inputs: mean and standard deviation by which observations are standardised.
      updates: number of updates so far.
    """

    policy: sac.State
    model: recurrent.State
    inputs: normalise.Scaler
    updates: Shared


class Batch(NamedTuple):
    """Data of one update, in the environment's units.

    Attributes:
      transitions: `[batch, ...]`, for everything but the model.
      windows: `[model_updates, model_batch, horizon - 1, ...]`, one batch of windows for each step of the model.
    """

    transitions: Transition
    windows: Transition


class Progress(NamedTuple):
    """Where a run is: `modelled []`, whether the actor uses the model already, and `entropy []`, the target in nats."""

    modelled: Array
    entropy: Array


class Imagined(NamedTuple):
    """What a policy does in a model: observations, actions and log-probabilities, each `[horizon, batch, ...]`."""

    obs: Array
    action: Array
    log_prob: Array


def imagine(key: Key, policy: Policy[PyTree], dynamics: Dynamics[PyTree], obs: Array, horizon: int) -> Imagined:
    """`horizon` actions of a policy, the model stepping between them.

    Args:
      policy: differentiable, with log-probabilities `[batch]` as its extras.
      obs: `[batch, obs_dim]`, where the first action is taken.
    """
    k_start, k_last, k_steps = jax.random.split(key, 3)
    start = begin(k_start, dynamics, policy, obs)
    end, steps = unroll(jax.random.split(k_steps, horizon - 1), dynamics, policy, start, in_line=True)
    _, action, log_prob = policy.act(k_last, end.policy, end.obs)
    last = Imagined(end.obs, action, log_prob)
    before = Imagined(steps.obs, steps.action, steps.extras)
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), before, last)


def _head(config: Config) -> MLP:
    return MLP(config.head_hidden, 1, nn.relu, nn.initializers.orthogonal())


def _head_output(config: Config, params: PyTree, obs: Array, action: Array) -> Array:
    """Output `[...]` of the reward or of the termination network."""
    return apply(_head(config), params, jnp.concatenate([obs, action], axis=-1))[..., 0]


def _standardising(inputs: normalise.Scaler, policy: Policy[PyTree]) -> Policy[PyTree]:
    """A policy of standardised observations as one of observations in the environment's units."""
    return Policy(
        lambda obs: policy.start(inputs.forward(obs)),
        lambda key, memory, obs: policy.act(key, memory, inputs.forward(obs)),
    )


def act(config: Config, spec: Spec, state: State) -> Policy[PyTree]:
    """The stochastic policy of observations in the environment's units: actions in [-1, 1]."""
    return _standardising(state.inputs, sac.act(config.agent, spec, state.policy))


def mode(config: Config, spec: Spec, state: State) -> Policy[PyTree]:
    """The deterministic policy, used for evaluation."""
    return _standardising(state.inputs, sac.mode(config.agent, spec, state.policy))


def standardise(state: State, obs: Array, valid: Array) -> State:
    """The state with observations standardised over `obs[rows, obs_dim]` where `valid[rows]`."""
    fitted = normalise.fit(obs, valid)
    return state._replace(inputs=normalise.Scaler(fitted.mean, jnp.clip(fitted.std, *STD_RANGE)))


def target_entropy(config: Config, spec: Spec, progress: Array) -> Array:
    """The target entropy `[]` in nats after `progress []`, in [0, 1], of the run.

    Source: released code, `svg/temp.py`.
    """
    last = jnp.asarray(sac.target_entropy(config.agent, spec), progress.dtype)
    first = last if config.initial_entropy is None else config.initial_entropy
    return last + (first - last) * (1.0 - progress) ** config.entropy_power


def policy_loss(
    params: PyTree,
    config: Config,
    spec: Spec,
    key: Key,
    obs: Array,
    dynamics: Dynamics[PyTree],
    progress: Progress,
    survives: Survival = survival,
) -> tuple[Array, Info]:
    """Loss of actor and temperature; reaches `params["actor"]` and `params["log_temperature"]` only.

    While the model is too young, the critics are asked at the first action instead of the last, as in SAC.
    """
    _, critic = sac.architecture(config.agent, spec)
    frozen = lax.stop_gradient(params)
    temperature = jnp.exp(frozen["log_temperature"])
    steps = imagine(key, sac.drawing(config.agent, spec, params["actor"]), dynamics, obs, config.horizon)
    reward = _head_output(config, frozen["reward"], steps.obs[:-1], steps.action[:-1])
    ended = nn.sigmoid(_head_output(config, frozen["termination"], steps.obs, steps.action))
    valued = jax.tree.map(lambda x: jnp.where(progress.modelled, x[-1], x[0]), steps)
    value = critics.values(critic, frozen["critic"], valued.obs, valued.action)
    gain = expanded_return(reward, survives(ended), value.min(axis=0), steps.log_prob, temperature, config.agent.gamma)
    direct = actor_critic.actor_loss(steps.log_prob[0], value, temperature)
    loss = jnp.where(progress.modelled, -gain / config.horizon, direct).mean()
    entropy = actor_critic.temperature_loss(params["log_temperature"], steps.log_prob[0], progress.entropy).mean()
    info = {"sac/actor_loss": loss, "sac/temperature": temperature, "sac/entropy": -steps.log_prob[0].mean()}
    return loss + entropy, info


def head_losses(params: PyTree, config: Config, batch: Transition) -> tuple[Array, Info]:
    """The sum of the losses of reward and termination network, a scalar; each reaches its own parameters only."""
    reward = jnp.square(_head_output(config, params["reward"], batch.obs, batch.action) - batch.reward).mean()
    logit = _head_output(config, params["termination"], batch.obs, batch.action)
    ended = termination_loss(logit, 1.0 - batch.discount)
    return reward + ended, {"model/reward_loss": reward, "model/termination_loss": ended}


def _losses(
    params: PyTree,
    config: Config,
    spec: Spec,
    key: Key,
    batch: Transition,
    fit: sac.Regression,
    dynamics: Dynamics[PyTree],
    progress: Progress,
    survives: Survival,
) -> tuple[Array, Info]:
    """The sum of all losses but the model's. Each reaches its own parameters only, so one gradient serves all."""
    of_critics, critic_info = sac.critic_loss(params, config.agent, spec, fit)
    of_policy, policy_info = policy_loss(params, config, spec, key, batch.obs, dynamics, progress, survives)
    of_heads, head_info = head_losses(params, config, batch)
    return of_critics + of_policy + of_heads, {**critic_info, **policy_info, **head_info}


def make(config: Config, spec: Spec, updates: int, survives: Survival = survival) -> Agent[State]:
    """SAC-SVG on `Batch`es `[updates, ...]` whose actions lie in [-1, 1].

    An update takes one step of the model per batch of windows, then one of everything else at once, from the same
    parameters, then the target critics.

    Args:
      updates: updates of the whole run, over which the target entropy moves.
      survives: weights of rewards and value from the terminations that are predicted.
    """
    learned = recurrent.make(config.model, spec)
    optimiser = critics.adam({**sac.rates(config.agent), "reward": config.head_lr, "termination": config.head_lr})
    targets = sac.bootstrap(config.agent, spec)

    def init(key: Key) -> State:
        k_agent, k_model, k_reward, k_termination = jax.random.split(key, 4)
        params, target = sac.fresh(config.agent, spec, k_agent)
        inputs = jnp.zeros((1, spec.obs_dim + spec.action_dim))
        heads = {"reward": k_reward, "termination": k_termination}
        params |= {name: _head(config).init(k, inputs) for name, k in heads.items()}
        policy = sac.State(params, target, optimiser.init(params))
        return State(policy, learned.init(k_model), normalise.identity(spec.obs_dim), Shared(jnp.zeros((), jnp.int32)))

    def step(key: Key, state: State, batch: Batch) -> tuple[State, Info]:
        k_model, k_target, k_actor = jax.random.split(key, 3)
        real, windows = (_standardised(state.inputs, part) for part in batch)
        model, model_info = learned.update(k_model, state.model, windows)
        done, old = state.updates.value, state.policy
        loss = partial(
            _losses,
            config=config,
            spec=spec,
            key=k_actor,
            batch=real,
            fit=targets(k_target, old, real),
            dynamics=learned.dynamics(model),
            progress=_progress(config, spec, done, updates),
            survives=survives,
        )
        params, opt, info = critics.descend(loss, optimiser, old.params, old.opt)
        target = optax.incremental_update(params["critic"], old.target, config.agent.tau)
        info |= {name: value.mean() for name, value in model_info.items()}
        return State(sac.State(params, target, opt), model, state.inputs, Shared(done + 1)), info

    return Agent(init, partial(critics.in_turn, step), partial(act, config, spec), partial(mode, config, spec))


def _progress(config: Config, spec: Spec, done: Array, updates: int) -> Progress:
    share = jnp.minimum(done.astype(jnp.float32) / updates, 1.0)
    return Progress(done >= config.model_free_updates, target_entropy(config, spec, share))


def _standardised(inputs: normalise.Scaler, batch: Transition) -> Transition:
    return batch._replace(obs=inputs.forward(batch.obs), next_obs=inputs.forward(batch.next_obs))
