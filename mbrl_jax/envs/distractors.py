"""Distractor dimensions: entries of the observation that move by themselves and that nothing depends on.

Source: the distractor experiment of VaGraM (Voelcker et al., 2022), after its released code
(`mbrl/env/distractor_dimensions.py`, with the arguments of `mbrl/util/mujoco.py`): x₀ ~ N(0, 0.1²), and at every
observation, the first included, y = A x, then x = y + 0.1 sin(B y), then every entry beyond ±20 is set to a fixed
value of its own. A and those values are standard normal, the entries of B are squares of N(0, 10²). The released code
draws them anew for every environment object, so that it evaluates on another distractor than it trains on; here they
belong to the environment.

Observation: the base's, then `[dims]` distractors without a unit.

Action: the base's, in its units.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import EnvState, float_dtype, restart
from mbrl_jax.types import Env, Key, Transition

__all__ = ["Recurrence", "advance", "recurrence", "wrap"]

BOUND = 20.0
"""Entries that are larger in magnitude are set back (released code, `switching=True`)."""


class Recurrence(NamedTuple):
    """A distractor's law: `linear [n, n]` (A), `frequency [n, n]` (B) and `beyond [n]`, where entries are set back."""

    linear: np.ndarray
    frequency: np.ndarray
    beyond: np.ndarray


def recurrence(dims: int, seed: int) -> Recurrence:
    """The law of `dims` distractors. A seed gives the same numbers on every machine (NumPy's PCG64)."""
    rng = np.random.default_rng(seed)
    linear, root, beyond = rng.normal(size=(dims, dims)), rng.normal(size=(dims, dims)), rng.normal(size=dims)
    return Recurrence(linear, (10.0 * root) ** 2, beyond)


def advance(law: Recurrence, x: Array) -> Array:
    """One step of the distractors `x [n]`, `[n]`, of which every entry then lies within ±20."""
    linear, frequency, beyond = (jnp.asarray(part, x.dtype) for part in law)
    with jax.default_matmul_precision("highest"):
        moved = linear @ x
        moved += 0.1 * jnp.sin(frequency @ moved)
    return jnp.where(jnp.abs(moved) > BOUND, beyond, moved)


def wrap(base: Env, dims: int = 10, seed: int = 0, *, name: str | None = None) -> Env:
    """`base` with `dims` distractors appended to its observation; everything else, random numbers included, is its own.

    Rewards and terminations, also as functions of observations, are those of the base's part of the observation.

    Args:
      base: any environment.
      dims: number of distractors n; 10 in the paper.
      seed: which A, B and reset values; the seeds of a run do not change them.
      name: name of the new environment; by default that by which `envs.make` finds it, as
        `pendulum_distractors_10_0-v1`.

    Raises:
      ValueError: if `dims` is below 1 or `seed` negative.
    """
    if dims < 1 or seed < 0:
        raise ValueError(f"distractors need dims >= 1 and seed >= 0, got dims={dims}, seed={seed}")
    stem, dash, version = base.spec.name.rpartition("-v")
    name = name or f"{stem}_distractors_{dims}_{seed}{dash}{version}"
    moving = _moving(base, recurrence(dims, seed), dims)
    return moving._replace(spec=replace(base.spec, name=name, obs_dim=base.spec.obs_dim + dims))


def _moving(base: Env, law: Recurrence, dims: int) -> Env:
    """The environment's functions; the specification is still the base's."""

    def started(key: Key) -> Array:
        own = jax.random.fold_in(key, base.spec.obs_dim)  # the base's reset uses the key itself
        return advance(law, 0.1 * jax.random.normal(own, (dims,), float_dtype()))

    def joined(inner: EnvState, x: Array) -> EnvState:
        return EnvState(jnp.concatenate([inner.obs, x]), (inner, x), inner.t, inner.failures)

    def reset(key: Key) -> EnvState:
        return joined(base.reset(key), started(key))

    def step(key: Key, state: EnvState, action: Array) -> tuple[EnvState, Transition]:
        inner, x = state.physics
        inner, transition = base.step(key, inner, action)
        failed = inner.failures > state.failures  # such a step leaves the whole state where it was
        next_x = jnp.where(failed, x, advance(law, x))
        obs, next_obs = jnp.concatenate([transition.obs, x]), jnp.concatenate([transition.next_obs, next_x])
        return joined(inner, next_x), transition._replace(obs=obs, next_obs=next_obs)

    def restarted(key: Key, ended: Array, state: EnvState) -> EnvState:
        inner, x = state.physics
        return joined(restart(key, base, ended, inner), jnp.where(ended, started(key), x))

    restart_some = restarted if base.restart else None
    return _on_base(base)._replace(reset=reset, step=step, restart=restart_some)


def _on_base(base: Env) -> Env:
    """`base` whose functions of observations look at their first entries only."""
    width, (gain, ended, gains) = base.spec.obs_dim, (base.reward, base.terminal, base.path_reward)
    if gain is not None:
        base = base._replace(reward=lambda obs, action, nxt: gain(obs[..., :width], action, nxt[..., :width]))
    if ended is not None:
        base = base._replace(terminal=lambda next_obs: ended(next_obs[..., :width]))
    if gains is not None:
        base = base._replace(path_reward=lambda obs, action: gains(obs[..., :width], action))
    return base
