"""Searching for a good sequence of actions; every search takes the same scoring function."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.planners.proposals import Proposal
from mbrl_jax.planners.value import Scored
from mbrl_jax.types import Key, PyTree

__all__ = ["Plan", "Planner", "Score", "cross_entropy", "exhaustive", "mppi", "random_shooting"]

Score = Callable[[Key, Array, Array], Scored]
"""`score(key, obs[O], sequences[K, H, A]) -> Scored`; see `value.estimate`."""


class Plan(NamedTuple):
    """The action to take `[action_dim]`, the best value seen, and the mean effective sample size of the last batch."""

    action: Array
    value: Array
    ess: Array


Planner = Callable[[Key, Array], Plan]
"""`planner(key, obs[O]) -> Plan`."""


def random_shooting(score: Score, proposal: Proposal, sequences: int, horizon: int) -> Planner:
    """RSPLANNER (Haghgoo et al., 2021, Algorithm 3): the first action of the best of `sequences` drawn blindly."""
    _check(sequences, horizon)

    def plan(key: Key, obs: Array) -> Plan:
        k_draw, k_score = jax.random.split(key)
        candidates = proposal.sample(k_draw, proposal.start(horizon), sequences)
        return _best(candidates, _scored(score, k_score, obs, candidates))

    return plan


def exhaustive(score: Score, candidates: Array) -> Planner:
    """The first action of the best of the given sequences `[sequences, horizon, action_dim]` (see `all_sequences`)."""
    _check(*candidates.shape[:2])
    return lambda key, obs: _best(candidates, _scored(score, key, obs, candidates))


def cross_entropy(
    score: Score, proposal: Proposal, sequences: int, horizon: int, *, iterations: int = 4, elites: int = 10
) -> Planner:
    """Cross-entropy method: the proposal is fitted to the best `elites` sequences, `iterations` times.

    The action is the first of the fitted proposal's mode.
    """
    _check(sequences, horizon, iterations)
    if not 1 <= elites <= sequences:
        raise ValueError(f"need 1 <= elites <= sequences, got elites={elites}, sequences={sequences}")

    def weigh(value: Array) -> Array:
        _, best = lax.top_k(value, elites)
        return jnp.zeros_like(value).at[best].set(1.0 / elites)

    return _iterated(score, proposal, sequences, horizon, iterations, weigh)


def mppi(
    score: Score,
    proposal: Proposal,
    sequences: int,
    horizon: int,
    *,
    iterations: int = 1,
    temperature: float | Array = 1.0,
) -> Planner:
    """Path-integral control (Williams et al., 2015): the proposal is fitted with weights `exp(value / temperature)`.

    The action is the first of the fitted proposal's mode; `temperature` is in units of return.
    """
    _check(sequences, horizon, iterations)
    if isinstance(temperature, float | int) and temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    weigh = lambda value: jax.nn.softmax(value / temperature)  # noqa: E731
    return _iterated(score, proposal, sequences, horizon, iterations, weigh)


def _iterated(
    score: Score,
    proposal: Proposal,
    sequences: int,
    horizon: int,
    iterations: int,
    weigh: Callable[[Array], Array],
) -> Planner:
    """Draw, score, fit, `iterations` times."""

    def plan(key: Key, obs: Array) -> Plan:
        def improve(params: PyTree, k: Key) -> tuple[PyTree, tuple[Array, Array]]:
            k_draw, k_score = jax.random.split(k)
            candidates = proposal.sample(k_draw, params, sequences)
            found = _scored(score, k_score, obs, candidates)
            params = proposal.fit(params, candidates, weigh(found.value))
            return params, (found.value.max(), found.ess.mean())

        params, (value, ess) = lax.scan(improve, proposal.start(horizon), jax.random.split(key, iterations))
        return Plan(proposal.mode(params)[0], value.max(), ess[-1])

    return plan


def _scored(score: Score, key: Key, obs: Array, candidates: Array) -> Scored:
    """Scores in which what is not a number is the worst there can be."""
    found = score(key, obs, candidates)
    worst = jnp.finfo(found.value.dtype).min
    return found._replace(value=jnp.where(jnp.isnan(found.value), worst, found.value))


def _best(candidates: Array, found: Scored) -> Plan:
    place = jnp.argmax(found.value)
    return Plan(candidates[place, 0], found.value[place], found.ess.mean())


def _check(sequences: int, horizon: int, iterations: int = 1) -> None:
    for name, value in (("sequences", sequences), ("horizon", horizon), ("iterations", iterations)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
