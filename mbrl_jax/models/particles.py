"""PETS's particles: an ensemble as a model to roll out, whose members are spread evenly over groups of rows.

Rows come in groups of `particles` neighbours, those of one sequence of actions. TS∞ keeps a particle's member, TS1
deals the members anew within each group at every step; either way every member has its exact share of every group.

Source: Chua et al., 2018, Sec. 5; released code, `MPC.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.models.bootstrap import Config, Form, State, outputs
from mbrl_jax.rollouts import memoryless
from mbrl_jax.types import Dynamics, Imagined, Key, PyTree, Spec

__all__ = ["Reward", "Sampling", "every_step", "places", "whole_rollout"]

Reward = Callable[[Array, Array, Array], Array]
"""`reward(obs, action, next_obs) -> [...]`, of batches."""
Terminal = Callable[[Array], Array] | None
"""`terminal(next_obs) -> bool [...]`, or None if the task never ends."""
Sampling = Callable[[Config, Spec, Form, int, Reward, Terminal, State], Dynamics[PyTree]]
"""`sampling(config, spec, form, particles, reward, terminal, state) -> Dynamics`."""


def places(rank: Array, members: int) -> Array:
    """Where each row stands when rows are sorted by member, `[groups * particles]`.

    Args:
      rank: `[groups, particles]`, a permutation of 0 … particles − 1 in each group; the lowest ranks are the first
        member's.
    """
    groups, particles = rank.shape
    share = particles // members
    first = jnp.arange(groups, dtype=rank.dtype)[:, None] * share
    return (rank // share * (groups * share) + first + rank % share).reshape(-1)


def _ranks(rows: int, members: int, particles: int) -> Array:
    """0 … particles − 1 in each group, `[groups, particles]`.

    Raises:
      ValueError: when traced, if rows are no whole groups, or members no whole shares of one.
    """
    if rows % particles or particles % members:
        raise ValueError(
            "rows must be a multiple of the particles, and these of the members, "
            f"got {rows} rows, {particles} particles and {members} members"
        )
    return jnp.broadcast_to(jnp.arange(particles, dtype=jnp.int32), (rows // particles, particles))


def _step(
    config: Config,
    form: Form,
    reward: Reward,
    terminal: Terminal,
    state: State,
    key: Key,
    place: Array,
    obs: Array,
    action: Array,
) -> Imagined:
    """A draw from the Gaussian of each row's member, who computes its own rows only."""
    x = state.inputs.forward(jnp.concatenate([form.encode(obs), action], axis=-1))
    dealt = jnp.zeros_like(x).at[place].set(x, unique_indices=True)
    mean, log_var = outputs(config, state.params, dealt.reshape(config.members, -1, x.shape[-1]))
    drawn = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape, mean.dtype)
    after = form.decode(obs, drawn.reshape(obs.shape[0], -1)[place])
    going = jnp.ones_like(after[:, 0])
    ended = jnp.zeros_like(going, bool) if terminal is None else terminal(after)
    return Imagined(after, reward(obs, action, after), jnp.where(ended, 0.0, going))


def whole_rollout(
    config: Config, spec: Spec, form: Form, particles: int, reward: Reward, terminal: Terminal, state: State
) -> Dynamics[Array]:
    """TS∞: a particle keeps its member for the whole roll-out; its memory is its place among its member's rows.

    Raises:
      ValueError: while it is traced, if the rows are no multiple of the particles, or these of the members.
    """
    del spec

    def start(key: Key, obs: Array) -> Array:
        del key
        return places(_ranks(obs.shape[0], config.members, particles), config.members)

    def step(key: Key, place: Array, obs: Array, action: Array) -> tuple[Array, Imagined]:
        return place, _step(config, form, reward, terminal, state, key, place, obs, action)

    return Dynamics(start, step)


def every_step(
    config: Config, spec: Spec, form: Form, particles: int, reward: Reward, terminal: Terminal, state: State
) -> Dynamics[tuple[()]]:
    """TS1: the members are dealt anew within each group at every step.

    Raises:
      ValueError: while it is traced, if the rows are no multiple of the particles, or these of the members.
    """
    del spec

    def step(key: Key, obs: Array, action: Array) -> Imagined:
        k_deal, k_noise = jax.random.split(key)
        ranks = _ranks(obs.shape[0], config.members, particles)
        place = places(jax.random.permutation(k_deal, ranks, axis=1, independent=True), config.members)
        return _step(config, form, reward, terminal, state, k_noise, place, obs, action)

    return memoryless(step)
