"""One gradient step of ensemble, classifier and reward network on a batch, and what is measured of them.

Source: Eysenbach et al., "Mismatched No More", 2022, Algorithm 1, Eq. 4 and 9, and Appendix D.1.
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

from mbrl_jax.data import normalise
from mbrl_jax.models.adversarial import network
from mbrl_jax.models.adversarial.network import Config, Scalers, State
from mbrl_jax.models.adversarial.objective import Critics, Judged, Objective
from mbrl_jax.networks import Diagonal, apply, init_stack, sample
from mbrl_jax.objectives import mismatch
from mbrl_jax.optimisers import adam
from mbrl_jax.types import Dynamics, Info, Key, PyTree, Spec, Transition, along

__all__ = ["Adversarial", "Parts", "Weight", "losses", "make"]

Terminal = Callable[[Array], Array] | None


class Weight(NamedTuple):
    """How much values count in the model's loss.

    Attributes:
      coefficient: c, `[]`.
      counts: `[]`, whether they do at all: 1 or 0.
    """

    coefficient: Array
    counts: Array


class Adversarial(NamedTuple):
    """MnM's model as pure functions.

    Attributes:
      init: `init(key) -> state`.
      standardise: `standardise(state, transitions[rows, ...], valid[rows]) -> state` with the statistics of those rows.
      update: `update(key, state, critics, batch[batch, ...], weight) -> (state, info)`: one gradient step of each
        network, all from the same parameters, then the averaged model.
      paid: `paid(state, critics, transition[rows, ...]) -> [rows]`: what the critics learn from imagined transitions,
        with the current networks.
      dynamics: `dynamics(state) -> Dynamics` of the averaged model.
      slope: `slope(key, state, critics, batch[batch, ...], weight) -> []`: `mismatch.value_slope` at the model's draws.
      error: `error(state, batch[batch, ...]) -> []`: squared error of the members' means, in standardised changes.
    """

    init: Callable[[Key], State]
    standardise: Callable[[State, Transition, Array], State]
    update: Callable[[Key, State, Critics, Transition, Weight], tuple[State, Info]]
    paid: Callable[[State, Critics, Transition], Array]
    dynamics: Callable[[State], Dynamics[tuple[()]]]
    slope: Callable[[Key, State, Critics, Transition, Weight], Array]
    error: Callable[[State, Transition], Array]


class Parts(NamedTuple):
    """What everything here is made of: configuration, environment, its termination, and the method."""

    config: Config
    spec: Spec
    terminal: Terminal
    objective: Objective


def _every(parts: Parts, x: Array) -> Array:
    """`x[batch, ...]` for each member, `[members, batch, ...]`."""
    return jnp.broadcast_to(x, (parts.config.members, *x.shape))


def _predicted(parts: Parts, scalers: Scalers, params: PyTree, batch: Transition) -> tuple[Array, Array, Array]:
    """Mean and log standard deviation of the change for every member and row, and what it was, standardised."""
    obs, action = _every(parts, batch.obs), _every(parts, batch.action)
    mean, log_std = network.predict(parts.config, parts.spec, scalers, params, obs, action)
    return mean, log_std, _every(parts, scalers.changes.forward(batch.next_obs - batch.obs))


def _judged(
    key: Key,
    parts: Parts,
    params: dict[str, PyTree],
    scalers: Scalers,
    critics: Critics,
    batch: Transition,
    weight: Weight,
) -> Judged:
    """The members' predictions for a batch and a draw from each; gradients reach `params["model"]` alone."""
    mean, log_std, target = _predicted(parts, scalers, params["model"], batch)
    obs, action = _every(parts, batch.obs), _every(parts, batch.action)
    next_obs = network.moved(scalers, obs, sample(key, Diagonal(mean, jnp.exp(log_std))))
    classifier = lax.stop_gradient(params["classifier"])

    def odds(following: Array) -> Array:
        return network.logit(parts.config, parts.spec, scalers, classifier, obs, action, following)

    discount = lax.stop_gradient(network.discounts(parts.terminal, next_obs))
    return Judged(mean, log_std, target, next_obs, discount, odds, critics, weight.coefficient, weight.counts)


def _classifier_loss(
    key: Key, parts: Parts, state: State, params: PyTree, batch: Transition, next_obs: Array
) -> tuple[Array, Info]:
    """The classifier's mean loss: real against the model's and the averaged model's draws, all with noise.

    Args:
      next_obs: the members' draws `[members, batch, obs_dim]`, of which each row's is that of a random member.
    """
    config, spec = parts.config, parts.spec
    k_member, k_target, k_noise = jax.random.split(key, 3)
    rows = jnp.arange(batch.reward.shape[0])
    member = jax.random.randint(k_member, rows.shape, 0, config.members)
    averaged, _ = network.dealt(config, spec, state.scalers, state.target, k_target, batch.obs, batch.action)
    three = lax.stop_gradient(jnp.stack([batch.next_obs, next_obs[member, rows], averaged]))
    seen = jax.vmap(partial(network.features, config, state.scalers, batch.obs, batch.action))(three)
    seen = seen + config.noise * jax.random.normal(k_noise, seen.shape, seen.dtype)
    logits = apply(network.networks(config, spec)["classifier"], params, seen)[..., 0]
    loss = mismatch.smoothed_loss(logits[0], logits[1:], config.smoothing).mean()
    real, model, target = logits.mean(axis=1)
    return loss, {
        "mnm/classifier_loss": loss,
        "mnm/logit_real": real,
        "mnm/logit_model": model,
        "mnm/logit_target": target,
    }


def losses(
    params: dict[str, PyTree],
    key: Key,
    parts: Parts,
    state: State,
    critics: Critics,
    batch: Transition,
    weight: Weight,
) -> tuple[dict[str, Array], Info]:
    """Each network's mean loss `[]`, which reaches its own parameters only; a classifier that nobody needs has none.

    Args:
      params: where the losses are taken; `state` gives the averaged model and the statistics.
      batch: real transitions `[batch, ...]`.
    """
    k_draw, k_value, k_classifier = jax.random.split(key, 3)
    judged = _judged(k_draw, parts, params, state.scalers, critics, batch, weight)
    model = parts.objective.model(k_value, judged, batch).mean()
    predicted = network.rewards(parts.config, parts.spec, state.scalers, params["reward"], batch.obs, batch.action)
    reward = jnp.square(predicted - batch.reward).mean()
    info = {"mnm/model_loss": model, "mnm/reward_loss": reward, "mnm/std": jnp.exp(judged.log_std).mean()}
    if not parts.objective.classifier:
        return {"model": model, "reward": reward}, info
    classifier, more = _classifier_loss(k_classifier, parts, state, params["classifier"], batch, judged.next_obs)
    return {"model": model, "reward": reward, "classifier": classifier}, {**info, **more}


def _init(parts: Parts, optimiser: optax.GradientTransformation, key: Key) -> State:
    config, spec, nets = parts.config, parts.spec, network.networks(parts.config, parts.spec)
    k_model, k_classifier, k_reward = jax.random.split(key, 3)
    inputs = spec.obs_dim + spec.action_dim
    params = {
        "model": init_stack(k_model, nets["model"], config.members, inputs),
        "classifier": nets["classifier"].init(k_classifier, jnp.zeros((1, inputs + spec.obs_dim))),
        "reward": nets["reward"].init(k_reward, jnp.zeros((1, inputs))),
    }
    scalers = Scalers(*map(normalise.identity, (inputs, spec.obs_dim, spec.obs_dim)))
    return State(params, jax.tree.map(jnp.copy, params["model"]), optimiser.init(params), scalers)


def _standardise(parts: Parts, state: State, transitions: Transition, valid: Array) -> State:
    return state._replace(scalers=network.scalers_of(parts.config, transitions, valid))


def _update(
    parts: Parts,
    optimiser: optax.GradientTransformation,
    key: Key,
    state: State,
    critics: Critics,
    batch: Transition,
    weight: Weight,
) -> tuple[State, Info]:
    def total(params: dict[str, PyTree]) -> tuple[Array, Info]:
        each, info = losses(params, key, parts, state, critics, batch, weight)
        return jnp.stack(list(each.values())).sum(), info

    grads, info = jax.grad(total, has_aux=True)(state.params)
    updates, opt = optimiser.update(grads, state.opt, state.params)
    params: PyTree = optax.apply_updates(state.params, updates)
    target = optax.incremental_update(params["model"], state.target, parts.config.tau)
    return State(params, target, opt, state.scalers), info


def _paid(parts: Parts, state: State, critics: Critics, transition: Transition) -> Array:
    config, spec, scalers = parts.config, parts.spec, state.scalers
    obs, action = transition.obs, transition.action
    reward = network.rewards(config, spec, scalers, state.params["reward"], obs, action)
    odds = jnp.zeros_like(reward)
    if parts.objective.classifier:
        classifier = state.params["classifier"]
        odds = network.logit(config, spec, scalers, classifier, obs, action, transition.next_obs)
    return parts.objective.reward(reward, odds, critics)


def _slope(parts: Parts, key: Key, state: State, critics: Critics, batch: Transition, weight: Weight) -> Array:
    k_draw, k_value = jax.random.split(key)
    judged = _judged(k_draw, parts, state.params, state.scalers, critics, batch, weight)

    def total(next_obs: Array) -> Array:
        value = judged._replace(next_obs=next_obs).next_value(k_value)
        return (judged.discount * value.min(axis=0)).sum()

    std = jnp.exp(judged.log_std) * along(state.scalers.changes.std, judged.log_std)
    return mismatch.value_slope(jax.grad(total)(judged.next_obs), std, weight.coefficient).mean()


def _error(parts: Parts, state: State, batch: Transition) -> Array:
    mean, _, target = _predicted(parts, state.scalers, state.params["model"], batch)
    return jnp.square(mean - target).mean()


def make(config: Config, spec: Spec, objective: Objective, terminal: Terminal = None) -> Adversarial:
    """MnM's model for an environment whose actions lie in [-1, 1].

    Args:
      objective: the method.
      terminal: the task's termination as a function of `next_obs`; None if it never terminates.
    """
    parts, optimiser = Parts(config, spec, terminal, objective), adam(config.learning_rate)
    return Adversarial(
        init=partial(_init, parts, optimiser),
        standardise=partial(_standardise, parts),
        update=partial(_update, parts, optimiser),
        paid=partial(_paid, parts),
        dynamics=partial(network.dynamics, config, spec, terminal=terminal),
        slope=partial(_slope, parts),
        error=partial(_error, parts),
    )
