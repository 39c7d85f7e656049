"""Finite Markov decision processes, given as arrays, as environments; and a gridworld made of such arrays.

States are observed one-hot. The action is one score per choice, `[num_actions]` in [-1, 1]; the largest is taken (the
first of equals), so that learners with continuous actions run on them unchanged.

Observation: `[states]`, one-hot, without a unit.

Action: `[choices]`, scores without a unit.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import build, float_dtype
from mbrl_jax.types import Env, Key, Spec

__all__ = ["ENVS", "GOAL", "MAP", "finite_mdp", "grid_arrays", "make"]

MAP = (
    "S....",
    ".##..",
    "..#..",
    "..#.G",
    ".....",
)
"""Start, free cells, walls and goal of `gridworld-v0`; row 0 is the top."""
GOAL = "G"
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Up, right, down, left, as (row, column)."""


def finite_mdp(
    transition: np.ndarray,
    reward: np.ndarray,
    initial: np.ndarray,
    *,
    terminal: np.ndarray | None = None,
    time_limit: int = 100,
    name: str = "finite_mdp-v0",
) -> Env:
    """The environment of a finite Markov decision process.

    Args:
      transition: probabilities `[states, actions, next states]`.
      reward: reward `[states, actions]`.
      initial: probabilities of the first state, `[states]`.
      terminal: which states end the episode when they are entered, bool `[states]`; default, none.
      time_limit: steps until an episode is truncated.
      name: its name in `spec`.

    Raises:
      ValueError: if shapes disagree or probabilities do not sum to 1.
    """
    transition, reward, initial = (np.asarray(values, np.float64) for values in (transition, reward, initial))
    ends = np.zeros(len(initial), bool) if terminal is None else np.asarray(terminal, bool)
    _check(transition, reward, initial, ends)
    states, actions = reward.shape
    spec = Spec(
        name=name,
        engine="jax",
        obs_dim=states,
        action_dim=actions,
        action_low=(-1.0,) * actions,
        action_high=(1.0,) * actions,
        time_limit=time_limit,
        choices=True,
    )
    with np.errstate(divide="ignore"):
        log_transition, log_initial = np.log(transition), np.log(initial)

    def see(state: Array) -> Array:
        return jax.nn.one_hot(state, states, dtype=float_dtype())

    def start(key: Key) -> tuple[Array, Array]:
        state = jax.random.categorical(key, jnp.asarray(log_initial, float_dtype())).astype(jnp.int32)
        return state, see(state)

    def advance(key: Key, state: Array, obs: Array, action: Array) -> tuple[Array, Array, Array, Array]:
        logits = jnp.asarray(log_transition, float_dtype())[state, jnp.argmax(action)]
        following = jax.random.categorical(key, logits).astype(jnp.int32)
        next_obs = see(following)
        return following, next_obs, paid(obs, action, next_obs), jnp.asarray(ends)[following]

    def paid(obs: Array, action: Array, next_obs: Array) -> Array:
        del next_obs
        return jnp.asarray(reward, float_dtype())[jnp.argmax(obs, axis=-1), jnp.argmax(action, axis=-1)]

    return build(spec, start, advance, paid, lambda next_obs: jnp.asarray(ends)[jnp.argmax(next_obs, axis=-1)])


def _check(transition: np.ndarray, reward: np.ndarray, initial: np.ndarray, ends: np.ndarray) -> None:
    states = len(initial)
    if reward.ndim != 2 or reward.shape[0] != states or transition.shape != (*reward.shape, states):
        raise ValueError(
            "transition, reward, initial must have shapes [S, A, S], [S, A], [S],"
            f" got {transition.shape}, {reward.shape}, {initial.shape}"
        )
    if ends.shape != (states,):
        raise ValueError(f"terminal must have shape {(states,)}, got {ends.shape}")
    for what, values in (("transition", transition), ("initial", initial)):
        if (values < 0).any() or np.abs(values.sum(axis=-1) - 1).max() > 1e-6:
            raise ValueError(f"{what} must hold probabilities that sum to 1, got sums {values.sum(axis=-1).tolist()}")


def grid_arrays(
    rows: tuple[str, ...] = MAP, slip: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Transition, reward, initial distribution and terminal states of a map of cells S, G, # and free.

    A move succeeds with probability `1 - slip`, else its direction is uniform among the four; moves into walls stay.
    A step pays the probability that the chosen move enters the goal, slips counted, less 0.01, whether or not it does
    then: the reward is a function of state and action. Entering the goal ends the episode.

    Returns:
      Transition `[S, A, S]`, reward `[S, A]`, initial distribution `[S]`, bool `[S]` of terminal states.
    """
    cells = [(r, c) for r, row in enumerate(rows) for c, mark in enumerate(row) if mark != "#"]
    index = {cell: i for i, cell in enumerate(cells)}
    marks = [rows[r][c] for r, c in cells]
    steps = np.zeros((len(cells), 4, len(cells)))
    for (r, c), i in index.items():
        for a, (dr, dc) in enumerate(_MOVES):
            steps[i, a, index.get((r + dr, c + dc), i)] = 1.0
    transition = (1 - slip) * steps + slip * steps.mean(axis=1, keepdims=True)
    ends = np.array([mark == GOAL for mark in marks])
    initial = np.array([mark == "S" for mark in marks], float)
    reward = transition[:, :, ends].sum(axis=-1) - 0.01
    return transition, reward, initial / initial.sum(), ends


def make(name: str, *, time_limit: int = 100) -> Env:
    """`gridworld-v0`: from S to G around a wall, 21 cells, four moves that slip with probability 0.1."""
    transition, reward, initial, ends = grid_arrays()
    return finite_mdp(transition, reward, initial, terminal=ends, time_limit=time_limit, name=name)


ENVS = {"gridworld-v0": make}
"""What this module offers, by name, see `registry`."""
