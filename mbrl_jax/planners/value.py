"""ESTIMATEVALUE (Haghgoo et al., 2021, Algorithm 1): the return of action sequences in a model, corrected for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.objectives import ratios
from mbrl_jax.types import Key, ModelStep

__all__ = ["Correction", "Scored", "estimate", "estimate_all"]


class Correction(NamedTuple):
    """Importance weights for a model's transitions.

    Attributes:
      logit: `logit(obs[B, O], action[B, A], next_obs[B, O]) -> [B]`, an estimate of `log(p / q)`.
      strength: factor of the log-weights: 1 corrects, 0 does not; traced, so that both are lanes of one program.
      form: 0 for `exp(logit)` (Eq. 8), 1 for `sigma(logit)` (as Algorithm 1 prints).
      logit_clip: logits are clipped to plus and minus this.
      weight_clip: a product of weights stays below `exp(weight_clip)`.
      self_normalised: 1 divides the weights of a step by their mean over a sequence's particles, 0 does not.
      blurred: `blurred(key, next_obs[B, O]) -> [B, O]`, what `logit` is shown; None: the next observation itself.
    """

    logit: Callable[[Array, Array, Array], Array]
    strength: float | Array = 1.0
    form: float | Array = 0.0
    logit_clip: float | Array = 5.0
    weight_clip: float | Array = 10.0
    self_normalised: float | Array = 0.0
    blurred: Callable[[Key, Array], Array] | None = None


class Scored(NamedTuple):
    """Values `[sequences]`, and each one's effective sample size in the last step, between 0 and the particles."""

    value: Array
    ess: Array


class _Paths(NamedTuple):
    """What happened to the rows, each `[time, rows, ...]` or one step of it; `alive` is 1 until the task ends."""

    obs: Array
    reward: Array
    alive: Array
    log_weight: Array


def estimate(
    key: Key,
    model_step: ModelStep,
    obs: Array,
    sequences: Array,
    *,
    particles: int = 1,
    correction: Correction | None = None,
    path_reward: Callable[[Array, Array], Array] | None = None,
    final_value: Callable[[Array], Array] | None = None,
) -> Scored:
    """Mean weighted return of each action sequence over `particles` draws of the model; undiscounted, as in the paper.

    The reward at step t is weighted with the transitions before t, as Algorithm 1 has it: the transition after the
    last action carries no weight, and is not computed where nothing depends on it. Steps after a termination
    (`discount` 0) are worth nothing.

    Args:
      key: random key.
      model_step: the model, with its reward and termination.
      obs: where to plan from, `[obs_dim]`.
      sequences: candidate actions `[sequences, horizon, action_dim]`.
      particles: draws per sequence; 1 is the paper's, with which the largest of many values is mostly luck.
      correction: importance weights; None plans with the model as it is.
      path_reward: rewards `[time, rows]` of whole paths `(obs, action)`, where they are not functions of a step.
      final_value: what follows the last action, `[rows]` of whole paths `obs [horizon + 1, rows, obs_dim]`, a critic's
        value of their last observation for example; weighted with all transitions. None, as in the paper: nothing.

    Bias: with exact logits and no clipping, none, if the model has mass wherever the true dynamics have; with
    self-normalised weights it vanishes as the particles grow (one particle is not corrected at all).
    """
    count, horizon = sequences.shape[:2]
    rows = count * particles
    actions = jnp.moveaxis(jnp.repeat(sequences, particles, axis=0), 1, 0)
    keys = jax.random.split(key, horizon)
    start = _Rows(jnp.broadcast_to(obs, (rows, *obs.shape)), jnp.ones(rows, obs.dtype))
    advance = _advance(model_step, correction)
    last, before = lax.scan(advance, start, (keys[:-1], actions[:-1]))
    # Without a final value only the reward of the last step is used: what it does not depend on is compiled away.
    end, final = advance(last, (keys[-1], actions[-1]))
    paths = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), before, final)
    if final_value is None:
        paths = paths._replace(log_weight=before.log_weight)
    return _scored(paths, end, actions, particles, correction, path_reward, final_value)


def estimate_all(
    key: Key,
    model_step: ModelStep,
    obs: Array,
    choices: Array,
    horizon: int,
    *,
    particles: int = 1,
    correction: Correction | None = None,
    path_reward: Callable[[Array, Array], Array] | None = None,
    final_value: Callable[[Array], Array] | None = None,
) -> Scored:
    """`estimate` of every sequence of `horizon` choices, in the order of `all_sequences`, which share their beginnings.

    Sequences that begin alike have the same draws until they part. Each value is distributed as in `estimate`, but
    with n choices the model takes n + n² + … + n^(horizon − 1) steps per particle, not (horizon − 1) n^horizon: with
    three choices and a horizon of five, 120 instead of 972. Values of related sequences are correlated, which helps to
    tell which is better.

    Args:
      choices: the actions there are, `[choices, action_dim]`.
      horizon: actions in a sequence.

    The others are those of `estimate`.
    """
    advance, number = _advance(model_step, correction), choices.shape[0]
    state = _Rows(jnp.broadcast_to(obs, (particles, *obs.shape)), jnp.ones(particles, obs.dtype))
    spread = lambda x: jnp.repeat(x.reshape(-1, particles, *x.shape[1:]), number, axis=0).reshape(-1, *x.shape[1:])  # noqa: E731
    steps: list[tuple[_Paths, Array]] = []
    for t, k in enumerate(jax.random.split(key, horizon)):
        state = jax.tree.map(spread, state)
        action = jnp.tile(jnp.repeat(choices, particles, axis=0), (number**t, 1))
        state, seen = advance(state, (k, action))
        steps = [jax.tree.map(spread, step) for step in steps] + [(seen, action)]
    paths, actions = jax.tree.map(lambda *x: jnp.stack(x), *steps)
    if final_value is None:
        counted = [seen.log_weight for seen, _ in steps[:-1]]
        paths = paths._replace(log_weight=jnp.stack(counted) if counted else jnp.zeros_like(paths.alive[:0]))
    return _scored(paths, state, actions, particles, correction, path_reward, final_value)


class _Rows(NamedTuple):
    """Where the rows are `[rows, obs_dim]`, and 1 for those whose task has not ended."""

    obs: Array
    alive: Array


def _advance(
    model_step: ModelStep, correction: Correction | None
) -> Callable[[_Rows, tuple[Key, Array]], tuple[_Rows, _Paths]]:
    """One step of all rows: `advance(rows, (key, action [rows, action_dim]))`."""

    def advance(rows: _Rows, inputs: tuple[Key, Array]) -> tuple[_Rows, _Paths]:
        k, action = inputs
        k_model, k_shown = jax.random.split(k)
        next_obs, reward, discount = model_step(k_model, rows.obs, action)
        # A path that has ended keeps its weight, which the others are measured against.
        log_weight = _log_weight(correction, k_shown, rows.obs, action, next_obs)
        seen = _Paths(rows.obs, reward, rows.alive, jnp.where(rows.alive > 0, log_weight, 0.0))
        return _Rows(next_obs, rows.alive * discount), seen

    return advance


def _scored(
    paths: _Paths,
    end: _Rows,
    actions: Array,
    particles: int,
    correction: Correction | None,
    path_reward: Callable[[Array, Array], Array] | None,
    final_value: Callable[[Array], Array] | None,
) -> Scored:
    """Values of sequences whose particles are neighbours; a final value is the reward of one more step.

    There are log-weights of all steps but the last one, whose reward may be the final value.
    """
    reward = paths.reward if path_reward is None else path_reward(paths.obs, actions)
    if final_value is not None:
        reward = jnp.concatenate([reward, final_value(jnp.concatenate([paths.obs, end.obs[None]]))[None]])
        paths = paths._replace(alive=jnp.concatenate([paths.alive, end.alive[None]]))
    of_particles = lambda x: x.T.reshape(x.shape[1] // particles, particles, x.shape[0])  # noqa: E731
    limit, share = (jnp.inf, 0.0) if correction is None else (correction.weight_clip, correction.self_normalised)
    log_weights = ratios.log_products(of_particles(paths.log_weight), limit)
    weights = jnp.exp(ratios.self_normalised(log_weights, share, axis=1)) * of_particles(paths.alive)
    # Behind its end a path may be anything, infinite too.
    earned = jnp.where(of_particles(paths.alive) > 0, weights * of_particles(reward), 0.0)
    value = earned.sum(axis=-1).mean(axis=-1)
    return Scored(value, ratios.effective_sample_size(weights[..., -1]))


def _log_weight(correction: Correction | None, key: Key, obs: Array, action: Array, next_obs: Array) -> Array:
    if correction is None:
        return jnp.zeros_like(obs[..., 0])
    clip, form = correction.logit_clip, correction.form

    def weigh() -> Array:
        shown = next_obs if correction.blurred is None else correction.blurred(key, next_obs)
        logit = jnp.clip(correction.logit(obs, action, shown), -clip, clip)
        return correction.strength * ratios.log_weight(logit, form)

    # Lanes without correction skip the discriminator where lanes run one after the other; under `vmap` it is computed.
    return lax.cond(correction.strength != 0, weigh, lambda: jnp.zeros_like(obs[..., 0]))
