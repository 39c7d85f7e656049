"""What MnM's ensemble minimises, and what its critics are paid: the methods of the paper as functions passed in.

All are named functions or partials of them, so that an `Objective` can be an option of a run.

Source: Eysenbach et al., "Mismatched No More", 2022, Eq. 3, 4 and 9, Appendices C and D; equations are in
`objectives.mismatch`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.objectives import mismatch
from mbrl_jax.objectives.likelihood import gaussian_log_prob
from mbrl_jax.objectives.value_aware import vaml
from mbrl_jax.types import Key, Scalar, Transition

__all__ = [
    "APPROXIMATE",
    "FULL",
    "LIKELIHOOD",
    "TEMPORAL_DIFFERENCE",
    "VALUE_AWARE",
    "VALUE_WEIGHTED",
    "Critics",
    "Judged",
    "ModelLoss",
    "Objective",
    "augmented",
    "bellman",
    "likelihood",
    "optimism",
    "task_reward",
    "twisted",
    "value_error",
    "weighted",
]


class Critics(NamedTuple):
    """An agent's target critics and policy, held constant, as functions; values are in the critics' units.

    Attributes:
      value: `value(obs[rows, O], action[rows, A]) -> [critics, rows]`.
      drawn: `drawn(key, obs[rows, O]) -> [critics, rows]` at an action drawn from the policy; differentiable in `obs`,
        also through the action.
      best: `best(obs[rows, O]) -> [critics, rows]` at the policy's mean action; differentiable likewise.
      gamma: the agent's discount factor.
      reward_scale: critics' units per unit of the task's reward.
    """

    value: Callable[[Array, Array], Array]
    drawn: Callable[[Key, Array], Array]
    best: Callable[[Array], Array]
    gamma: Scalar
    reward_scale: Scalar = 1.0


class Judged(NamedTuple):
    """Predictions for a batch of real transitions, a draw from each, and who judges it.

    Attributes:
      mean: of the standardised change of the observation, `[members, batch, obs_dim]`.
      log_std: likewise.
      target: the true one, `[members, batch, obs_dim]`.
      next_obs: a reparameterised draw of the next observation, `[members, batch, obs_dim]`.
      discount: 0 where the task ends at the draw, else 1, `[members, batch]`; a constant.
      logit: `logit(next_obs) -> [members, batch]`, the classifier's log-odds; its parameters are held constant.
      critics: of the agent.
      coefficient: c `[]`, nats per unit of the critics; 0 as long as the values do not count.
      counts: `[]`, 1 where the values count, 0 in the first batches, in which they are poor.
    """

    mean: Array
    log_std: Array
    target: Array
    next_obs: Array
    discount: Array
    logit: Callable[[Array], Array]
    critics: Critics
    coefficient: Array
    counts: Array

    def next_value(self, key: Key) -> Array:
        """Target critics at the draw and an action of the policy, `[critics, members, batch]`."""
        rows = self.next_obs.reshape(-1, self.next_obs.shape[-1])
        return self.critics.drawn(key, rows).reshape(-1, *self.discount.shape)


ModelLoss = Callable[[Key, Judged, Transition], Array]
"""`loss(key, judged, batch[batch, ...]) -> [members, batch]`, minimised in its mean."""
CriticReward = Callable[[Array, Array, Critics], Array]
"""`reward(reward[rows], logit[rows], critics) -> [rows]`: what the critics learn from a transition of the model, of
its predicted reward and the classifier's logit."""


def likelihood(key: Key, judged: Judged, batch: Transition) -> Array:
    """Negative log-likelihood of the true change `[members, batch]`, in nats: MBPO's model."""
    del key, batch
    return -gaussian_log_prob(judged.mean, judged.log_std, judged.target)


def _optimism(adversarial: float, anchor: float, key: Key, judged: Judged, batch: Transition) -> Array:
    odds = adversarial * judged.logit(judged.next_obs) if adversarial else jnp.zeros_like(judged.discount)
    each = mismatch.optimism_loss(judged.next_value(key), judged.discount, odds, judged.coefficient)
    return each + anchor * likelihood(key, judged, batch) if anchor else each


def optimism(adversarial: float = 1.0, anchor: float = 0.0) -> ModelLoss:
    """MnM's loss (Eq. 9): values and logits at the model's own draw.

    Args:
      adversarial: factor of the logit; 0 leaves the classifier out.
      anchor: factor of an additional negative log-likelihood; 0 in the paper.
    """
    return partial(_optimism, adversarial, anchor)


def _bellman(factor: float, key: Key, judged: Judged, batch: Transition) -> Array:
    shape, critics = judged.discount.shape, judged.critics
    value = jnp.broadcast_to(critics.value(batch.obs, batch.action).min(axis=0)[None], shape)
    reward = jnp.broadcast_to(critics.reward_scale * batch.reward[None], shape)
    error = mismatch.bellman_error(value, reward, judged.next_value(key), critics.gamma * judged.discount)
    return likelihood(key, judged, batch) + factor * judged.counts * error


def bellman(weight: float = 1.0) -> ModelLoss:
    """Figure 6's VAML: negative log-likelihood plus λ squared Bellman errors at the draw; λ is not given."""
    return partial(_bellman, weight)


def value_error(key: Key, judged: Judged, batch: Transition) -> Array:
    """Farahmand's (V(ŝ') − V(s'))², at the policy's mean action; likelihood as long as the values do not count.

    `[members, batch]`, in squared units of the critics.
    """

    def value(obs: Array) -> Array:
        return judged.critics.best(obs.reshape(-1, obs.shape[-1])).min(axis=0).reshape(obs.shape[:-1])

    true = jnp.broadcast_to((batch.discount * value(batch.next_obs))[None], judged.discount.shape)
    error = vaml(judged.discount * value(judged.next_obs), true)
    return (1.0 - judged.counts) * likelihood(key, judged, batch) + judged.counts * error


def _weighted(temperature: float | None, key: Key, judged: Judged, batch: Transition) -> Array:
    weight = mismatch.value_weights(judged.critics.value(batch.obs, batch.action).min(axis=0), temperature)
    weight = 1.0 + judged.counts * (weight - 1.0)
    return weight[None] * likelihood(key, judged, batch)


def weighted(temperature: float | None = None) -> ModelLoss:
    """Likelihoods weighted by a softmax of the values of the batch; equal weights as long as these do not count.

    Args:
      temperature: see `mismatch.value_weights`; 1 is the paper's text.
    """
    return partial(_weighted, temperature)


def task_reward(reward: Array, logit: Array, critics: Critics) -> Array:
    """The predicted `reward [...]` in the critics' units, `[...]`: MnM-approx, and all with a likelihood model.

    Args:
      logit: `[...]`, not used.
    """
    del logit
    return critics.reward_scale * reward


def augmented(reward: Array, logit: Array, critics: Critics) -> Array:
    """Full MnM's (1 − γ) log `reward [...]` + `logit [...]`, in nats, `[...]`, whatever the critics' units."""
    return mismatch.augmented_reward(reward, logit, critics.gamma)


class Objective(NamedTuple):
    """A method: what the model minimises, what the critics are paid, and whether a classifier is needed for either."""

    model: ModelLoss
    reward: CriticReward = task_reward
    classifier: bool = True


def _twisted(temperature: float, reward: Array, logit: Array, critics: Critics) -> Array:
    del critics
    return mismatch.twisted_reward(reward, logit, temperature)


def twisted(temperature: float = 1.0) -> Objective:
    """VMBPO in MnM's form: η r + logit without a logarithm; a model that tilts the world by exp(V).

    Args:
      temperature: η, in nats per unit of the task's reward. It scales V, which decides whether the model runs away.
    """
    return Objective(optimism(), partial(_twisted, temperature))


APPROXIMATE = Objective(optimism())
"""MnM-approx, what the paper's continuous experiments run."""
FULL = Objective(optimism(), augmented)
"""MnM with the classifier in the reward."""
LIKELIHOOD = Objective(likelihood, classifier=False)
"""MBPO in the paper's one-step form."""
TEMPORAL_DIFFERENCE = Objective(bellman(), classifier=False)
"""VAML as the paper's Figure 6 describes it."""
VALUE_AWARE = Objective(value_error, classifier=False)
"""VAML as Farahmand defines it."""
VALUE_WEIGHTED = Objective(weighted(), classifier=False)
"""Value-weighted likelihood."""
