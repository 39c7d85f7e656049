"""ESTIMATEVALUE (Haghgoo et al., 2021, Algorithm 1): the return of action sequences in a model, corrected for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax import rollouts
from mbrl_jax.objectives import ratios
from mbrl_jax.types import Dynamics, Key, Policy, PyTree, Scalar, Transition, checked

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
    strength: Scalar = 1.0
    form: Scalar = 0.0
    logit_clip: Scalar = 5.0
    weight_clip: Scalar = 10.0
    self_normalised: Scalar = 0.0
    blurred: Callable[[Key, Array], Array] | None = None


class Scored(NamedTuple):
    """Values `[sequences]`, and each one's effective sample size in the last step, between 0 and the particles."""

    value: Float[Array, " sequences"]
    ess: Float[Array, " sequences"]


@checked
def estimate(
    key: Key,
    dynamics: Dynamics[PyTree],
    obs: Float[Array, " obs_dim"],
    sequences: Float[Array, "sequences horizon action_dim"],
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
      dynamics: the model, with its reward and termination.
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
    policy = rollouts.follow(jnp.repeat(sequences, particles, axis=0))
    keys = jax.random.split(key, horizon)
    start = rollouts.begin(
        jax.random.fold_in(key, horizon), dynamics, policy, jnp.broadcast_to(obs, (rows, *obs.shape))
    )
    last, before = rollouts.unroll(keys[:-1], dynamics, policy, start)
    # Without a final value only the reward of the last step is used: what it does not depend on is compiled away.
    _, final = rollouts.advance(keys[-1], dynamics, policy, last)
    steps = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), before, final)
    return _scored(steps, particles, correction, path_reward, final_value)


@checked
def estimate_all(
    key: Key,
    dynamics: Dynamics[PyTree],
    obs: Float[Array, " obs_dim"],
    choices: Float[Array, "choices action_dim"],
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

    The others are those of `estimate`, `path_reward(obs [time, rows, obs_dim], action) -> [time, rows]` among them, and
    `final_value(obs [horizon + 1, rows, obs_dim]) -> [rows]`.
    """
    number = choices.shape[0]

    def spread(x: Array) -> Array:
        """Every row once for each choice; the particles of a sequence stay neighbours."""
        return jnp.repeat(x.reshape(-1, particles, *x.shape[1:]), number, axis=0).reshape(-1, *x.shape[1:])

    def choosing(t: int) -> Policy[tuple[()]]:
        """All choices in turn, for each of the sequences so far; its extras are the keys it does not need."""
        every = jnp.tile(jnp.repeat(choices, particles, axis=0), (number**t, 1))
        return Policy(lambda obs: (), lambda key, memory, obs: (memory, every, key))

    at = jnp.broadcast_to(obs, (particles, *obs.shape))
    now = rollouts.begin(jax.random.fold_in(key, horizon), dynamics, choosing(0), at)
    steps: list[Transition] = []
    for t, k in enumerate(jax.random.split(key, horizon)):
        now = jax.tree.map(spread, now)
        now, taken = rollouts.advance(k, dynamics, choosing(t), now)
        steps = [jax.tree.map(spread, step._replace(extras=()))._replace(extras=step.extras) for step in steps] + [
            taken
        ]
    return _scored(jax.tree.map(lambda *x: jnp.stack(x), *steps), particles, correction, path_reward, final_value)


def _scored(
    steps: Transition,
    particles: int,
    correction: Correction | None,
    path_reward: Callable[[Array, Array], Array] | None,
    final_value: Callable[[Array], Array] | None,
) -> Scored:
    """Values of sequences whose particles are neighbours; a final value is the reward of one more step.

    The steps are `[time, rows, ...]`, their extras the keys `[time]` of what the correction draws. There are
    log-weights of all steps but the last one, whose reward may be the final value.
    """
    reward = steps.reward if path_reward is None else path_reward(steps.obs, steps.action)
    going = jnp.cumprod(steps.discount, axis=0)
    alive = jnp.concatenate([jnp.ones_like(going[:1]), going])
    counted = steps
    if final_value is None:
        counted, alive = jax.tree.map(lambda x: x[:-1], steps), alive[:-1]
    else:
        path = jnp.concatenate([steps.obs, steps.next_obs[-1:]])
        reward = jnp.concatenate([reward, final_value(path)[None]])

    def of_particles(x: Array) -> Array:
        """`[time, rows]` as `[sequences, particles, time]`."""
        return x.T.reshape(x.shape[1] // particles, particles, x.shape[0])

    # A path that has ended keeps its weight, which the others are measured against.
    log_weights = jnp.where(alive[:-1] > 0, _log_weights(correction, counted), 0.0)
    limit, share = (jnp.inf, 0.0) if correction is None else (correction.weight_clip, correction.self_normalised)
    products = ratios.log_products(of_particles(log_weights), limit)
    weights = jnp.exp(ratios.self_normalised(products, share, axis=1)) * of_particles(alive)
    # Behind its end a path may be anything, infinite too.
    earned = jnp.where(of_particles(alive) > 0, weights * of_particles(reward), 0.0)
    value = earned.sum(axis=-1).mean(axis=-1)
    return Scored(value, ratios.effective_sample_size(weights[..., -1]))


def _log_weights(correction: Correction | None, steps: Transition) -> Array:
    """Logarithms of the weights of these steps, `[time, rows]`."""
    if correction is None or not len(steps.reward):
        return jnp.zeros_like(steps.reward)
    return lax.map(lambda step: _log_weight(correction, step), steps)


def _log_weight(correction: Correction, step: Transition) -> Array:
    """Logarithms of the weights of one step's rows, `[rows]`."""
    clip, form = correction.logit_clip, correction.form

    def weigh() -> Array:
        shown = step.next_obs if correction.blurred is None else correction.blurred(step.extras, step.next_obs)
        logit = jnp.clip(correction.logit(step.obs, step.action, shown), -clip, clip)
        return correction.strength * ratios.log_weight(logit, form)

    # Lanes without correction skip the discriminator where lanes run one after the other; under `vmap` it is computed.
    return lax.cond(correction.strength != 0, weigh, lambda: jnp.zeros_like(step.obs[..., 0]))
