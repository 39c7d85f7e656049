"""Searching for a good sequence of actions; every search takes the same scoring function.

Source: Haghgoo et al., 2021, Algorithm 3 (random shooting); Rubinstein and Kroese, *The Cross-Entropy Method*, 2004;
Williams et al., 2015 (path integrals). Exhaustive search is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mbrl_jax.planners.proposals import Proposal
from mbrl_jax.planners.value import Scored
from mbrl_jax.types import Key, PyTree, Scalar, checked

__all__ = [
    "Plan",
    "Planner",
    "Score",
    "Search",
    "cold",
    "cross_entropy",
    "exhaustive",
    "mppi",
    "random_shooting",
]

Score = Callable[[Key, Array, Array], Scored]
"""`score(key, obs[O], sequences[K, H, A]) -> Scored`; see `value.estimate`."""


class Plan(NamedTuple):
    """The action to take `[action_dim]`, and of the last batch the best value and the mean effective sample size."""

    action: Float[Array, " action_dim"]
    value: Float[Array, ""]
    ess: Float[Array, ""]


Planner = Callable[[Key, Array], Plan]
"""`planner(key, obs[O]) -> Plan`."""
Search = Callable[[Key, PyTree, Array], tuple[Plan, PyTree]]
"""`search(key, params, obs[O]) -> (Plan, params)`: a search that starts from a proposal and ends with a better one."""


@checked
def cold(search: Search, proposal: Proposal, horizon: int) -> Planner:
    """The planner that starts its search from nothing at every step."""

    def plan(key: Key, obs: Array) -> Plan:
        return search(key, proposal.start(horizon), obs)[0]

    return plan


@checked
def random_shooting(score: Score, proposal: Proposal, sequences: int, horizon: int) -> Planner:
    """RSPLANNER (Haghgoo et al., 2021, Algorithm 3): the first action of the best of `sequences` drawn blindly.

    Raises:
      ValueError: `sequences` or `horizon` is below 1.
    """
    _check(sequences, horizon)

    def plan(key: Key, obs: Array) -> Plan:
        k_draw, k_score = jax.random.split(key)
        candidates = proposal.sample(k_draw, proposal.start(horizon), sequences)
        return _best(candidates, _scored(score, k_score, obs, candidates))

    return plan


@checked
def exhaustive(score: Score, candidates: Float[Array, "sequences horizon action_dim"]) -> Planner:
    """The first action of the best of the given sequences `[sequences, horizon, action_dim]` (see `all_sequences`).

    Raises:
      ValueError: there is no candidate, or it has no step.
    """
    _check(*candidates.shape[:2])
    return lambda key, obs: _best(candidates, _scored(score, key, obs, candidates))


@checked
def cross_entropy(
    score: Score, proposal: Proposal, sequences: int, horizon: int, *, iterations: int = 4, elites: int = 10
) -> Search:
    """Cross-entropy method: the proposal is fitted to the best `elites` sequences, `iterations` times.

    The action is the first of the best sequence drawn in the last iteration. Of the fitted proposal's most likely
    actions the first can be a bad one: where it does not matter when to brake, each single step says "not yet".

    Raises:
      ValueError: `sequences`, `horizon` or `iterations` is below 1; or not 1 <= elites <= sequences.
    """
    _check(sequences, horizon, iterations)
    if not 1 <= elites <= sequences:
        raise ValueError(f"need 1 <= elites <= sequences, got elites={elites}, sequences={sequences}")

    def weigh(value: Array) -> Array:
        _, best = lax.top_k(value, elites)
        return jnp.zeros_like(value).at[best].set(1.0 / elites)

    return _iterated(score, proposal, sequences, iterations, weigh)


@checked
def mppi(
    score: Score,
    proposal: Proposal,
    sequences: int,
    horizon: int,
    *,
    iterations: int = 1,
    temperature: Scalar = 1.0,
) -> Search:
    """Path-integral control (Williams et al., 2015): the proposal is fitted with weights `exp(value / temperature)`.

    The action is the first of the fitted proposal's mode; `temperature` is in units of return.

    Raises:
      ValueError: `sequences`, `horizon` or `iterations` is below 1; or a temperature that is no traced value is not
        positive.
    """
    _check(sequences, horizon, iterations)
    if isinstance(temperature, float | int) and temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")

    def weigh(value: Array) -> Array:
        return jax.nn.softmax(value / temperature)

    fitted = _iterated(score, proposal, sequences, iterations, weigh)

    def search(key: Key, params: PyTree, obs: Array) -> tuple[Plan, PyTree]:
        best, params = fitted(key, params, obs)
        return best._replace(action=proposal.mode(params)[0]), params

    return search


def _iterated(
    score: Score, proposal: Proposal, sequences: int, iterations: int, weigh: Callable[[Array], Array]
) -> Search:
    """Draw, score, fit, `iterations` times: the best of the last iteration, and the fitted proposal."""

    def search(key: Key, params: PyTree, obs: Array) -> tuple[Plan, PyTree]:
        def improve(params: PyTree, k: Key) -> tuple[PyTree, Plan]:
            k_draw, k_score = jax.random.split(k)
            candidates = proposal.sample(k_draw, params, sequences)
            found = _scored(score, k_score, obs, candidates)
            return proposal.fit(params, candidates, weigh(found.value)), _best(candidates, found)

        params, plans = lax.scan(improve, params, jax.random.split(key, iterations))
        return jax.tree.map(lambda leaf: leaf[-1], plans), params

    return search


@checked
def _scored(
    score: Score, key: Key, obs: Float[Array, " obs_dim"], candidates: Float[Array, "sequences horizon action_dim"]
) -> Scored:
    """Scores in which what is infinite or not a number is the worst there can be."""
    found = score(key, obs, candidates)
    worst = jnp.finfo(found.value.dtype).min
    return found._replace(value=jnp.where(jnp.isfinite(found.value), found.value, worst))


def _best(candidates: Array, found: Scored) -> Plan:
    place = jnp.argmax(found.value)
    return Plan(candidates[place, 0], found.value[place], found.ess.mean())


def _check(sequences: int, horizon: int, iterations: int = 1) -> None:
    for name, value in (("sequences", sequences), ("horizon", horizon), ("iterations", iterations)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
