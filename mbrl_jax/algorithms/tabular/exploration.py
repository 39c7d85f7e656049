"""Tabular learning from episodes: Q-learning with the terms of MnM's objective switched on or off.

Eysenbach et al., "Mismatched No More" (2022), Fig. 2a left, 11 and 13, after the authors' released notebook.

The authors update every table entry from *all* stored transitions after each episode. That sum needs only how often
each (state, action, move) occurred and the sum of the rewards stored with them, so the memory is a table of counts and
a whole sweep of seeds and methods is one compiled program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from mbrl_jax.checks import check_fields
from mbrl_jax.objectives.ratios import Terms, switched_reward
from mbrl_jax.tabular import MDP, divergence
from mbrl_jax.types import Key, checked

__all__ = ["Config", "Lane", "Memory", "Moves", "learn"]


@runtime_checkable
class Moves(Protocol):
    """A task in which an action makes one of D moves by chance, and a move leads to one state."""

    @property
    def mdp(self) -> MDP:
        """The task; it starts in one state."""
        ...

    @property
    def reached(self) -> Int[np.ndarray, "states moves"]:
        """The state that each move leads to."""
        ...

    @property
    def choice(self) -> Float[np.ndarray, "states actions moves"]:
        """Probability that an action makes each move."""
        ...


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the authors' released notebook, cell 1.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `eval_every` does not divide `iterations`.
    """

    iterations: int = 1500
    """Episodes, each with an update of the whole table after it."""
    eval_every: int = 20
    """Iterations between evaluations."""
    episode_steps: int = 200
    """Environment steps of an episode."""
    learning_rate: float = 1e-2
    """Of the table, for the sum over an episode; `episode_steps` share it."""
    epsilon: float = 0.5
    """Share of uniformly random actions."""
    eval_sweeps: int = 300
    """Backups of an evaluation: 0.9^300 = 2e-14, so that it is exact to rounding."""

    def __post_init__(self):
        check_fields(self)
        if self.iterations % self.eval_every:
            raise ValueError(f"eval_every must divide iterations, got {self.eval_every=}, {self.iterations=}")


class Lane(NamedTuple):
    """What may differ between the runs of one program.

    Attributes:
      key: random key.
      terms: which terms of MnM's objective are on.
      choice: `[S, A, D]` dynamics that experience is drawn from, before any optimism.
      reward: `[S, A]` positive task reward; also what the policy is judged by, under the true dynamics.
    """

    key: Key
    terms: Terms
    choice: Float[Array, "states actions moves"]
    reward: Float[Array, "states actions"]


class Memory(NamedTuple):
    """All the update needs to know of the past: counts `[S, A, D]`, sums `[S, A]` of stored rewards, Q `[S, A]`."""

    counts: Float[Array, "states actions moves"]
    rewards: Float[Array, "states actions"]
    values: Float[Array, "states actions"]


@checked
def learn(config: Config, world: Moves, lane: Lane) -> Float[Array, " evaluations"]:
    """Learns from `iterations + 1` episodes of one lane; `vmap` it over lanes.

    Returns:
      `[iterations / eval_every + 1]` return from the start of the greedy policy, under the true dynamics and reward,
      after episodes 1, `eval_every + 1`, ....
    """
    reached, discount = jnp.asarray(world.reached), world.mdp.discount

    def episode(memory: Memory, index: Array) -> tuple[Memory, None]:
        step, reward = _experience(world, lane, memory.values)
        policy = _explore(config, memory.values, index)
        table = jnp.cumsum((policy[:, :, None] * step).reshape(reached.shape[0], -1), axis=-1)
        uniform = jax.random.uniform(jax.random.fold_in(lane.key, index), (config.episode_steps,), table.dtype)
        codes = _walk(table, reached, jnp.argmax(world.mdp.initial), uniform)
        seen = jnp.zeros(memory.counts.size, table.dtype).at[codes].add(1).reshape(memory.counts.shape)
        counts = memory.counts + seen
        rewards = memory.rewards + seen.sum(axis=-1) * reward
        best = jnp.max(memory.values, axis=-1)
        error = rewards + discount * jnp.sum(counts * best[reached][:, None], -1) - counts.sum(-1) * memory.values
        return Memory(counts, rewards, memory.values + config.learning_rate / config.episode_steps * error), None

    def stage(memory: Memory, first: Array) -> tuple[Memory, Array]:
        memory, _ = lax.scan(episode, memory, first + jnp.arange(config.eval_every))
        return memory, _greedy_return(config, world, lane.reward, memory.values)

    empty = Memory(jnp.zeros_like(lane.choice), jnp.zeros_like(lane.reward), jnp.zeros_like(lane.reward))
    memory, _ = episode(empty, jnp.zeros((), int))
    starts = 1 + config.eval_every * jnp.arange(config.iterations // config.eval_every)
    _, returns = lax.scan(stage, memory, starts)
    return jnp.concatenate([_greedy_return(config, world, lane.reward, memory.values)[None], returns])


def _experience(world: Moves, lane: Lane, values: Array) -> tuple[Array, Array]:
    """Dynamics `[S, A, D]` that the episode is drawn from and the reward `[S, A]` stored with it."""
    best = jnp.max(values, axis=-1)[jnp.asarray(world.reached)]
    tilted = jax.nn.softmax(jnp.log(lane.choice) + best[:, None], axis=-1)
    gap = divergence.kl_divergence(tilted, lane.choice)
    step = jnp.where(lane.terms.model > 0, tilted, lane.choice)
    return step, switched_reward(lane.reward, gap, world.mdp.discount, lane.terms)


def _explore(config: Config, values: Array, index: Array) -> Array:
    """Epsilon-greedy policy `[S, A]`; uniform in the first episode, when all values are equal."""
    actions = values.shape[1]
    greedy = jax.nn.one_hot(jnp.argmax(values, axis=-1), actions, dtype=values.dtype)
    mixed = (1 - config.epsilon) * greedy + config.epsilon / actions
    return jnp.where(index == 0, jnp.full_like(mixed, 1 / actions), mixed)


def _walk(table: Array, reached: Array, start: Array, uniform: Array) -> Array:
    """Codes `[T]` of (state, action, move) along an episode; `table [S, A D]` holds cumulative probabilities."""
    width = table.shape[1]

    def move(state: Array, draw: Array) -> tuple[Array, Array]:
        row = table[state]
        pick = jnp.minimum(jnp.sum(draw * row[-1] >= row), width - 1)
        return reached[state, pick % reached.shape[1]], state * width + pick

    return lax.scan(move, start, uniform)[1]


def _greedy_return(config: Config, world: Moves, reward: Array, values: Array) -> Array:
    """Return from the start of the greedy policy under the true dynamics, by sweeps over the moves."""
    reached, choice = jnp.asarray(world.reached), jnp.asarray(world.choice)
    action = jnp.argmax(values, axis=-1)[:, None]
    step = jnp.take_along_axis(choice, action[..., None], axis=1)[:, 0]
    gain = jnp.take_along_axis(reward, action, axis=1)[:, 0]

    def sweep(_: Array, value: Array) -> Array:
        return gain + world.mdp.discount * jnp.sum(step * value[reached], axis=-1)

    return world.mdp.initial @ lax.fori_loop(0, config.eval_sweeps, sweep, jnp.zeros_like(gain))
