"""Probe environments: each isolates one ability a learner must have, and its optimal values are known exactly.

The idea is that of the probe environments of rejax (constant, observation-dependent, delayed, action-dependent
reward); the pair that tells a time limit from a termination, and the exact values as functions, are ours. A learner
that fails one of them has a bug that is easy to name.

Observation: `[1]`, a number without a unit; in the termination probe, the fraction of its steps.

Action: `[1]`, a number without a unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec

__all__ = ["ENVS", "PROBES", "Probe", "make"]

LENGTH = 5
"""Steps until the termination probe ends and the truncation probe is cut."""
TARGET = 0.5
"""The best action of the action probe."""


class Probe(NamedTuple):
    """One probe. All functions are batched: observations `[..., 1]`, actions `[..., 1]`.

    Attributes:
      start: `start(key) -> obs [1]`.
      advance: `advance(obs) -> next_obs`.
      reward: `reward(obs, action) -> [...]`.
      terminal: `terminal(next_obs) -> bool [...]`.
      value: `value(obs, gamma) -> [...]`, optimal value.
      action_value: `action_value(obs, action, gamma) -> [...]`, value of the action and optimal play after it.
      time_limit: steps until an episode is truncated.
    """

    start: Callable[[Key], Array]
    advance: Callable[[Array], Array]
    reward: Callable[[Array, Array], Array]
    terminal: Callable[[Array], Array]
    value: Callable[[Array, float], Array]
    action_value: Callable[[Array, Array, float], Array]
    time_limit: int = 100


def _zero(key: Key) -> Array:
    del key
    return jnp.zeros(1, float_dtype())


def _sign(key: Key) -> Array:
    return jax.random.rademacher(key, (1,), float_dtype())


def _always(obs: Array) -> Array:
    return jnp.ones(obs.shape[:-1], bool)


def _never(obs: Array) -> Array:
    return jnp.zeros(obs.shape[:-1], bool)


def _ones(obs: Array, *_: object) -> Array:
    return jnp.ones_like(obs[..., 0])


def _distance(obs: Array, action: Array) -> Array:
    return -((action[..., 0] - TARGET * jnp.ones_like(obs[..., 0])) ** 2)


def _match(obs: Array, action: Array) -> Array:
    return -((action[..., 0] - TARGET * obs[..., 0]) ** 2)


def _countdown_value(obs: Array, gamma: float) -> Array:
    """`(1 - gamma^n) / (1 - gamma)` with n steps left; the observation is the fraction that has passed."""
    left = LENGTH * (1 - obs[..., 0])
    return (1 - gamma**left) / (1 - gamma)


PROBES: dict[str, Probe] = {
    # One step, reward 1: does the value learn a constant?
    "probe-constant-v0": Probe(
        _zero, lambda obs: obs, _ones, _always, value=_ones, action_value=lambda obs, action, gamma: _ones(obs)
    ),
    # One step, reward is the observation, ±1: does the value see its input?
    "probe-observation-v0": Probe(
        _sign,
        lambda obs: obs,
        lambda obs, action: obs[..., 0],
        _always,
        value=lambda obs, gamma: obs[..., 0],
        action_value=lambda obs, action, gamma: obs[..., 0],
    ),
    # Two steps, reward 1 at the second: is the value discounted and bootstrapped?
    "probe-delayed-v0": Probe(
        _zero,
        lambda obs: obs + 1,
        lambda obs, action: obs[..., 0],
        lambda next_obs: next_obs[..., 0] > 1.5,
        value=lambda obs, gamma: jnp.where(obs[..., 0] > 0.5, 1.0, gamma),
        action_value=lambda obs, action, gamma: jnp.where(obs[..., 0] > 0.5, 1.0, gamma),
    ),
    # One step, the reward depends on the action alone: does the policy follow the value?
    "probe-action-v0": Probe(
        _zero,
        lambda obs: obs,
        _distance,
        _always,
        value=lambda obs, gamma: jnp.zeros_like(obs[..., 0]),
        action_value=lambda obs, action, gamma: _distance(obs, action),
    ),
    # One step, the best action depends on the observation: does the policy see its input?
    "probe-match-v0": Probe(
        _sign,
        lambda obs: obs,
        _match,
        _always,
        value=lambda obs, gamma: jnp.zeros_like(obs[..., 0]),
        action_value=lambda obs, action, gamma: _match(obs, action),
    ),
    # Reward 1 for ever, cut by the time limit: the value must be 1 / (1 - gamma), as if nothing had been cut.
    "probe-truncation-v0": Probe(
        _zero,
        lambda obs: obs,
        _ones,
        _never,
        value=lambda obs, gamma: _ones(obs) / (1 - gamma),
        action_value=lambda obs, action, gamma: _ones(obs) / (1 - gamma),
        time_limit=LENGTH,
    ),
    # Reward 1 until a true end after as many steps: here the value must fall towards the end.
    "probe-termination-v0": Probe(
        _zero,
        lambda obs: obs + 1 / LENGTH,
        _ones,
        lambda next_obs: next_obs[..., 0] > 1 - 0.5 / LENGTH,
        value=_countdown_value,
        action_value=lambda obs, action, gamma: _countdown_value(obs, gamma),
    ),
}


def make(name: str, *, time_limit: int | None = None) -> Env:
    """The probe of that name; its exact values are `PROBES[name].value` and `.action_value`. Actions in ±1."""
    probe = PROBES[name]
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=1,
        action_dim=1,
        action_low=(-1.0,),
        action_high=(1.0,),
        time_limit=probe.time_limit if time_limit is None else time_limit,
    )

    def start(key: Key) -> tuple[tuple[()], Array]:
        return (), probe.start(key)

    def advance(key: Key, physics: tuple[()], obs: Array, action: Array) -> tuple[tuple[()], Array, Array, Array]:
        del key
        next_obs = probe.advance(obs)
        return physics, next_obs, probe.reward(obs, action), probe.terminal(next_obs)

    def reward(obs: Array, action: Array, next_obs: Array) -> Array:
        del next_obs
        return probe.reward(obs, action)

    return build(spec, start, advance, reward, probe.terminal)


ENVS = dict.fromkeys(PROBES, make)
"""What this module offers, by name, see `registry`."""
