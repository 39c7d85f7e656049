"""The value-iteration version of MnM and, by its terms, of VMBPO: alternate policy, model and their moving averages.

Eysenbach et al., "Mismatched No More" (2022), Appendix D.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mbrl_jax import tabular
from mbrl_jax.objectives.ratios import Terms, switched_reward
from mbrl_jax.theory import mnm
from mbrl_jax.types import Values, checked

__all__ = ["Iterate", "alternate", "converged", "mixed_return"]


class Iterate(NamedTuple):
    """One iteration, before averaging.

    Attributes:
      model: `[S, A, S]` averaged model q that the values were computed with.
      policy: `[S, A]` averaged policy.
      greedy: `[S, A]` greedy policy of this iteration.
      change: largest change of the model's entries.
    """

    model: Float[Array, "states actions states"]
    policy: Float[Array, "states actions"]
    greedy: Float[Array, "states actions"]
    change: Float[Array, ""]


@checked
def alternate(
    mdp: tabular.MDP,
    terms: Terms,
    iterations: int,
    *,
    polyak: float = 0.5,
    tolerance: float = 1e-6,
    gap_limit: float = jnp.inf,
    coarsen: Callable[[Array], Array] | None = None,
) -> Iterate:
    """Runs the alternation and returns every iteration, stacked; after convergence the last one repeats.

    Args:
      mdp: the task; the classifier is the exact one.
      terms: what the objective contains.
      iterations: at most so many.
      polyak: weight of the old policy and model in their moving averages.
      tolerance: stop once no entry of the model changes by more.
      gap_limit: upper limit of the classifier's penalty, in nats (label smoothing in Fig. 2b).
      coarsen: `coarsen(dynamics [S, A, S]) -> [S, A, S]`, the linear map of dynamics that the model class can represent
        (Fig. 2b), or none.
    """
    base = mdp.transition if coarsen is None else coarsen(mdp.transition)

    def step(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], Iterate]:
        model, policy, done = carry
        greedy, value = _improve(mdp, terms, model, policy, gap_limit)
        target = mnm.tilted_model(base, value)
        change = jnp.max(jnp.abs(model - target))
        done = done | (change < tolerance)
        averaged = (1 - polyak) * target + polyak * model
        averaged = averaged if coarsen is None else coarsen(averaged)
        mixed = (1 - polyak) * greedy + polyak * policy
        record = Iterate(model, policy, greedy, change)
        return (jnp.where(done, model, averaged), jnp.where(done, policy, mixed), done), record

    uniform = jnp.full_like(mdp.reward, 1 / mdp.reward.shape[1])
    start = (mdp.transition, uniform, jnp.zeros((), bool))
    return lax.scan(step, start, None, length=iterations)[1]


def _improve(mdp: tabular.MDP, terms: Terms, model: Array, policy: Array, gap_limit: float) -> tuple[Array, Array]:
    """Greedy policy `[S, A]` and its value `[S]` in the model, under the reward of these terms; exact, not swept."""
    gap = jnp.clip(tabular.kl_divergence(model, mdp.transition), 0, gap_limit)
    reward = switched_reward(mdp.reward, gap, mdp.discount, terms)
    dynamics = jnp.where(terms.model > 0, model, mdp.transition)
    task = tabular.with_model(mdp, dynamics, reward)
    values = tabular.action_value(task, tabular.state_value(task, policy))
    greedy = tabular.greedy(values)
    return greedy, jnp.sum(greedy * values, axis=-1)


@checked
def converged(change: Float[Values, " iterations"], tolerance: float = 1e-6) -> Int[Array, ""]:
    """Index of the first iteration at which the model stood still, or of the last iteration."""
    still = change < tolerance
    return jnp.where(still.any(), jnp.argmax(still), change.shape[0] - 1)


@checked
def mixed_return(mdp: tabular.MDP, record: Iterate) -> Float[Array, ""]:
    """Return of "greedy once, then the averaged policy" from the initial distribution, as the authors evaluate."""
    values = tabular.action_value(mdp, tabular.state_value(mdp, record.policy))
    return mdp.initial @ jnp.sum(record.greedy * values, axis=-1)
