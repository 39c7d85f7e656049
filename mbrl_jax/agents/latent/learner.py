"""ALM's learner: encoder, latent model, reward, classifier, critics and policy (Ghugare et al., 2023).

Four groups of networks, each with a loss and an Adam of its own, updated one after the other in the released code's
order: encoder and model (`world`), reward and classifier (`heads`), critics, actor; then the targets of encoder and
critics. A loss changes its own group only: everything else it sees is constant. Within that, what is detached:

* `aligned` (world, Eq. 7): the target encoder, and the action at the end of the sequence;
* `svg` (actor, Eq. 8): the policy's input at every step, the critics' action, the classifier's next representation.
  So the policy feels the critics through the model only, never directly through the action.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.agents import critics
from mbrl_jax.agents.latent.networks import Config, Encoder, Nets, PolicyHead, gaussian_encoder, networks, noisy_policy
from mbrl_jax.networks import Diagonal, sample
from mbrl_jax.objectives import actor_critic, ratios
from mbrl_jax.objectives import latent as objectives
from mbrl_jax.optimisers import adam
from mbrl_jax.rollouts import stateless, written_out
from mbrl_jax.types import Agent, Info, Key, Policy, PyTree, Spec, Transition

__all__ = [
    "GROUPS",
    "STANDARD",
    "Config",
    "Context",
    "Data",
    "Loss",
    "Parts",
    "State",
    "act",
    "aligned",
    "context",
    "critics_loss",
    "explored",
    "heads_loss",
    "lower_bound",
    "make",
    "mode",
    "nets_of",
    "rollout",
    "svg",
    "unbroken",
]

GROUPS = ("world", "heads", "critics", "actor")
"""The groups of networks in the order of their updates (ALM code)."""


class Data(NamedTuple):
    """What one update sees.

    Attributes:
      sequences: `[batch, K, ...]`, each within one episode; for the world's loss.
      batch: `[batch, ...]`, single transitions; for all other losses.
      noise: standard deviation of the policy's noise, a scalar.
    """

    sequences: Transition
    batch: Transition
    noise: Array


class State(NamedTuple):
    """Parameters and optimiser states by group, and the targets of `encoder` and `critics`."""

    params: dict[str, PyTree]
    target: dict[str, PyTree]
    opt: dict[str, optax.OptState]


class Context(NamedTuple):
    """What a loss sees besides its own parameters, all of it constant.

    Attributes:
      nets: the networks as functions.
      state: all parameters and targets.
      data: the batch.
      now: the target encoder's Gaussian at the transitions' observations, `[batch, dim]`.
      following: the same at their next observations.
    """

    nets: Nets
    state: State
    data: Data
    now: Diagonal
    following: Diagonal


Loss = Callable[[PyTree, Key, Context], tuple[Array, Info]]
"""`loss(params, key, context) -> (scalar, info)` with the parameters of its own group."""


def explored(config: Config, ctx: Context, params: PyTree, key: Key, z: Array) -> tuple[Array, Array]:
    """A loss's action `[..., A]` at `z [..., Z]`, its noise clipped, and the log-probability `[...]`, 0 without one."""
    return ctx.nets.policy.draw(params, key, z, ctx.data.noise, config.noise_limit)


class Terms(NamedTuple):
    """Along a real sequence of K steps, as the model imagines it.

    Attributes:
      reward: r(z_t, a_t), `[K, batch]`.
      divergence: `consistency` of each step, `[K, batch]`.
      std: standard deviations of the predictions, `[K, batch, dim]`.
    """

    reward: Array
    divergence: Array
    std: Array


def rollout(params: PyTree, key: Key, ctx: Context) -> tuple[Terms, Array, Array]:
    """Encodes the first observation of each sequence and imagines the rest with the actions really taken.

    Args:
      params: those of the group `world`.

    Returns:
      The terms of Eq. 7, z_0 … z_{K−1} `[K, batch, dim]`, and z_K `[batch, dim]`.
    """
    nets, state, sequences = ctx.nets, ctx.state, ctx.data.sequences
    k_first, k_model = jax.random.split(key)
    actions, next_obs = (jnp.swapaxes(x, 0, 1) for x in (sequences.action, sequences.next_obs))

    def imagine(z: Array, inputs: tuple[Key, Array]) -> tuple[Array, tuple[Array, Diagonal]]:
        k, action = inputs
        predicted = nets.predict(params["model"], z, action)
        return sample(k, predicted), (z, predicted)

    first = sample(k_first, nets.encode(params["encoder"], sequences.obs[:, 0]))
    keys = jax.random.split(k_model, actions.shape[0])
    last, (z, predicted) = written_out(imagine, first, (keys, actions))
    truth = nets.encode(state.target["encoder"], next_obs)
    divergence = objectives.consistency(predicted.mean, predicted.std, truth.mean, truth.std)
    reward = nets.reward(state.params["heads"]["reward"], z, actions)
    return Terms(reward, divergence, predicted.std), z, last


def aligned(config: Config, objective: Callable[..., Array] = objectives.model_loss) -> Loss:
    """The loss of encoder and latent model along real sequences, Eq. 7.

    Args:
      objective: `objective(reward[K, B], divergence[K, B], value[B]) -> [B]`; a variant is another function.
    """

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        frozen, sequences = ctx.state.params, ctx.data.sequences
        k_model, k_act = jax.random.split(key)
        terms, _, last = rollout(params, k_model, ctx)
        action = lax.stop_gradient(explored(config, ctx, frozen["actor"], k_act, last)[0])
        value = ctx.nets.values(frozen["critics"], last, action).min(axis=0)
        each = objective(terms.reward, terms.divergence, value) * unbroken(sequences)
        info = {"alm/divergence": terms.divergence.mean(), "alm/std": terms.std.mean()}
        return each.mean(), {**info, "alm/world_loss": each.mean()}

    return loss


def unbroken(sequences: Transition) -> Array:
    """1 for every sequence within one episode, `[batch]`; NaN where the replay had none, which freezes the seed."""
    return lax.stop_gradient(sequences.discount[:, :-1].prod(axis=1))


def heads_loss(config: Config) -> Loss:
    """The losses of reward (Eq. 11) and classifier (Eq. 9), both on representations of the target encoder.

    Half of the rows show the classifier what the model predicts. As in the released code, the prediction starts from
    another draw of z than the one that the classifier sees.
    """

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        nets, batch, now = ctx.nets, ctx.data.batch, ctx.now
        k_from, k_model, k_z, k_real = jax.random.split(key, 4)
        half = batch.reward.shape[0] // 2
        start = sample(k_from, Diagonal(now.mean[:half], now.std[:half]))
        imagined = sample(k_model, nets.predict(ctx.state.params["world"]["model"], start, batch.action[:half]))
        z, real = sample(k_z, now), sample(k_real, ctx.following)
        shown = jnp.concatenate([imagined, real[half:]])
        logits = nets.classify(params["classifier"], z, batch.action, shown)
        classifier = ratios.classifier_loss(logits, jnp.arange(len(shown)) >= half).mean()
        reward = objectives.reward_loss(nets.reward(params["reward"], z, batch.action), batch.reward).mean()
        return reward + classifier, {"alm/reward_loss": reward, "alm/classifier_loss": classifier}

    return loss


def critics_loss(config: Config) -> Loss:
    """The temporal-difference loss of the critics on real transitions, Eq. 10, which alone knows of terminations."""

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        nets, batch, state = ctx.nets, ctx.data.batch, ctx.state
        k_z, k_next, k_act = jax.random.split(key, 3)
        z, next_z = sample(k_z, ctx.now), sample(k_next, ctx.following)
        next_action, log_prob = explored(config, ctx, state.params["actor"], k_act, next_z)
        next_value = nets.values(state.target["critics"], next_z, next_action)
        temperature = nets.policy.temperature(state.params["actor"])
        target = actor_critic.soft_target(
            batch.reward, config.gamma * batch.discount, next_value, log_prob, temperature
        )
        value = nets.values(params, z, batch.action)
        each = actor_critic.critic_loss(value, target).mean(axis=-1)
        return each.sum(), {"alm/critic_loss": each.mean(), "alm/value": value.mean()}

    return loss


def svg(config: Config, objective: Callable[..., Array] = objectives.policy_loss) -> Loss:
    """The policy's loss by stochastic value gradients through K imagined steps, Eq. 8.

    A policy with an entropy bonus has −α log π(a_t | z_t) in the reward and in the value of each state (Table 5).

    Args:
      objective: `objective(reward[K, B], ratio[K, B], value[K, B], γ, λ, c) -> [K, B]`.
    """

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        nets, frozen = ctx.nets, ctx.state.params
        (z, following), (action, next_action), log_prob = _imagined(config, params, key, ctx)
        bonus = -lax.stop_gradient(nets.policy.temperature(params)) * log_prob
        reward = nets.reward(frozen["heads"]["reward"], z, action)
        logits = nets.classify(frozen["heads"]["classifier"], z, action, lax.stop_gradient(following))
        ratio = ratios.log_ratio(logits)
        value = nets.values(frozen["critics"], following, lax.stop_gradient(next_action)).min(axis=0)
        numbers = config.gamma, config.trace, config.coefficient
        each = objective(reward + bonus[:-1], ratio, value + bonus[1:], *numbers)
        info = {"alm/actor_loss": each.mean(), "alm/log_ratio": ratio.mean(), "alm/imagined_reward": reward.mean()}
        return each.mean() + nets.policy.loss(params, log_prob), info

    return loss


def _imagined(
    config: Config, params: PyTree, key: Key, ctx: Context
) -> tuple[tuple[Array, Array], tuple[Array, Array], Array]:
    """K steps of policy and model: (z_t, z_{t+1}), (a_t, a_{t+1}), each `[K, B, ...]`, and log π(a_t), `[K + 1, B]`."""
    k_first, k_steps, k_last = jax.random.split(key, 3)
    model = ctx.state.params["world"]["model"]

    def imagine(z: Array, k: Key) -> tuple[Array, tuple[Array, Array, Array]]:
        k_act, k_model = jax.random.split(k)
        action, log_prob = explored(config, ctx, params, k_act, lax.stop_gradient(z))
        return sample(k_model, ctx.nets.predict(model, z, action)), (z, action, log_prob)

    keys = jax.random.split(k_steps, config.horizon)
    last, (z, action, log_prob) = written_out(imagine, sample(k_first, ctx.now), keys)
    last_action, last_log_prob = explored(config, ctx, params, k_last, lax.stop_gradient(last))

    def shifted(x: Array, end: Array) -> Array:
        return jnp.concatenate([x[1:], end[None]])

    pairs = (z, shifted(z, last)), (action, shifted(action, last_action))
    return *pairs, jnp.concatenate([log_prob, last_log_prob[None]])


class Parts(NamedTuple):
    """What a variant of ALM may replace, each a function of the configuration (`agents.latent.variants`).

    Attributes:
      encoder: `encoder(config, spec) -> Encoder`.
      world: `world(config) -> Loss` of encoder and model.
      actor: `actor(config) -> Loss` of the policy.
      policy: `policy(config, spec, dim) -> PolicyHead` over representations of `dim` entries.
    """

    encoder: Callable[[Config, Spec], Encoder] = gaussian_encoder
    world: Callable[[Config], Loss] = aligned
    actor: Callable[[Config], Loss] = svg
    policy: Callable[[Config, Spec, int], PolicyHead] = noisy_policy


STANDARD = Parts()
"""ALM itself."""


def nets_of(config: Config, spec: Spec, parts: Parts = STANDARD) -> Nets:
    """The networks of a variant."""
    encoder = parts.encoder(config, spec)
    return networks(config, spec, encoder, parts.policy(config, spec, encoder.dim))


def context(nets: Nets, state: State, data: Data) -> Context:
    """What the losses see of a state and a batch; no gradient flows into any of it."""
    state = lax.stop_gradient(state)
    encode = partial(nets.encode, state.target["encoder"])
    return Context(nets, state, data, encode(data.batch.obs), encode(data.batch.next_obs))


def act(config: Config, spec: Spec, state: State, noise: Array, parts: Parts = STANDARD) -> Policy[tuple[()]]:
    """The exploring policy: z drawn from the online encoder, the policy's action with noise of this size, a scalar."""
    nets = nets_of(config, spec, parts)

    def explore(key: Key, obs: Array) -> Array:
        k_encode, k_noise = jax.random.split(key)
        z = sample(k_encode, nets.encode(state.params["world"]["encoder"], obs))
        return nets.policy.draw(state.params["actor"], k_noise, z, noise, None)[0]

    return stateless(explore)


def mode(config: Config, spec: Spec, state: State, parts: Parts = STANDARD) -> Policy[tuple[()]]:
    """The policy without noise, for evaluation; z is drawn from the online encoder all the same (ALM code)."""
    nets = nets_of(config, spec, parts)
    encode = partial(nets.encode, state.params["world"]["encoder"])
    return stateless(lambda key, obs: nets.policy.mean(state.params["actor"], sample(key, encode(obs))))


def lower_bound(
    config: Config, spec: Spec, key: Key, state: State, obs: Array, action: Array, parts: Parts = STANDARD
) -> tuple[Array, Array]:
    """The objective L^K of Eq. 8 from given observations and first actions, and the critics' own value, each `[batch]`.

    Later actions are the policy's without noise, z is drawn from the target encoder (ALM code, `get_lower_bound`).
    """
    nets = nets_of(config, spec, parts)
    params = state.params
    k_first, k_steps = jax.random.split(key)

    def imagine(carry: tuple[Array, Array], k: Key) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        z, a = carry
        next_z = sample(k, nets.predict(params["world"]["model"], z, a))
        next_a = nets.policy.mean(params["actor"], next_z)
        return (next_z, next_a), (z, a, next_z, next_a)

    first = sample(k_first, nets.encode(state.target["encoder"], obs))
    _, (z, a, next_z, next_a) = lax.scan(imagine, (first, action), jax.random.split(k_steps, config.horizon))
    reward = nets.reward(params["heads"]["reward"], z, a)
    ratio = ratios.log_ratio(nets.classify(params["heads"]["classifier"], z, a, next_z))
    value = nets.values(params["critics"], next_z, next_a).min(axis=0)
    bound = -objectives.policy_loss(reward, ratio, value, config.gamma, 1.0, config.coefficient)[0]
    return bound, nets.values(params["critics"], first, action).min(axis=0)


def _optimiser(config: Config, group: str) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), adam(getattr(config, f"{group}_lr")))


def make(config: Config, spec: Spec, parts: Parts = STANDARD) -> Agent[State]:
    """ALM's agent on `Data` `[updates, ...]`, actions in [-1, 1]; an update steps every group, then the targets.

    Its `act` is without noise: who schedules the noise adds it (`act` of this module).

    Args:
      parts: what a variant replaces.
    """
    nets = nets_of(config, spec, parts)
    losses = dict(zip(GROUPS, (p(config) for p in (parts.world, heads_loss, critics_loss, parts.actor)), strict=True))
    optimisers = {group: _optimiser(config, group) for group in GROUPS}

    def init(key: Key) -> State:
        params = nets.init(key)
        target = jax.tree.map(jnp.copy, {"encoder": params["world"]["encoder"], "critics": params["critics"]})
        return State(params, target, {group: optimisers[group].init(params[group]) for group in GROUPS})

    def step(key: Key, state: State, data: Data) -> tuple[State, Info]:
        seen, infos = context(nets, state, data), {}
        for group, k in zip(GROUPS, jax.random.split(key, len(GROUPS)), strict=True):
            grads, info = jax.grad(losses[group], has_aux=True)(state.params[group], k, seen)
            updates, opt = optimisers[group].update(grads, state.opt[group])
            params = {**state.params, group: optax.apply_updates(state.params[group], updates)}
            state, infos = state._replace(params=params, opt={**state.opt, group: opt}), infos | info
            seen = seen._replace(state=lax.stop_gradient(state))
        online = {"encoder": state.params["world"]["encoder"], "critics": state.params["critics"]}
        return state._replace(target=optax.incremental_update(online, state.target, config.tau)), infos

    best = partial(mode, config, spec, parts=parts)
    return Agent(init, partial(critics.in_turn, step), best, best)
