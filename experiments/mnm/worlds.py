"""The tabular tasks of the paper, as the authors' released notebook sets them (its cell is named at each task)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mbrl_jax import tabular
from mbrl_jax.tabular import gridworld

__all__ = ["World", "aliasing", "navigation", "shaped_navigation", "three_states"]


class World(NamedTuple):
    """A gridworld task.

    Attributes:
      mdp: the task; start and goal are in it.
      walls: `[rows, columns]`, true where a wall is.
      goal: (row, column) of the goal.
      moves: (row, column) change of each move; actions are the moves.
      reached: `[S, A]`, the state that each move leads to.
      choice: `[S, A, D]`, probability that an action makes each move.
    """

    mdp: tabular.MDP
    walls: np.ndarray
    goal: tuple[int, int]
    moves: tuple[tuple[int, int], ...]
    reached: np.ndarray
    choice: np.ndarray


def navigation(
    goal: tuple[int, int] = (0, 9),
    *,
    reward: float = 0.001,
    goal_reward: float = 10.0,
    noise: float = 0.5,
    discount: float = 0.9,
) -> World:
    """The 10x10 world of Fig. 2a, 3b, 11 and 13 (cells 1, 2 and 5): a wall between the start and the goal."""
    walls = np.zeros((10, 10), dtype=bool)
    walls[:6, 4:6] = True
    rewards = np.full((100, 4), reward)
    rewards[goal[0] * 10 + goal[1]] = goal_reward
    return _world(walls, goal, gridworld.CARDINAL, rewards, noise, discount)


def shaped_navigation() -> World:
    """The appendix's other gridworld "for Fig. 2a" (D.2): 90 % noise, discount 0.5, reward for the Manhattan distance.

    The paper's reward depends on the next state, its theory wants `r(s, a)`: this is the expectation over `p`.
    """
    plain = navigation(noise=0.9, discount=0.5)
    row, column = np.divmod(np.arange(100), 10)
    distance = np.abs(row - plain.goal[0]) + np.abs(column - plain.goal[1])
    closer = np.sign(distance[:, None] - distance[plain.reached])
    rewards = np.einsum("sad,sd->sa", plain.choice, 1.001 + closer)
    return _world(plain.walls, plain.goal, plain.moves, rewards, 0.9, 0.5)


def aliasing() -> World:
    """The 15x15 world of Fig. 2b (cell 3): deterministic, five actions, a wall that 3x3 blocks cannot resolve."""
    walls = np.zeros((15, 15), dtype=bool)
    walls[:8, 7] = True
    rewards = np.ones((225, 5))
    rewards[2 * 15 + 12] = 100.0
    return _world(walls, (2, 12), gridworld.CARDINAL_AND_STAY, rewards, 0.0, 0.9)


def three_states() -> tabular.MDP:
    """The three-state MDP of Fig. 3a (cell 4): rewards 50, 1, 51; in the right cell the wind pushes left half the time.

    Actions are the four moves; up and down stay. The start is the middle cell.
    """
    left, right = np.array([0, 0, 1]), np.array([1, 2, 2])
    stay = np.arange(3)
    choice = np.broadcast_to(np.eye(4), (3, 4, 4)).copy()
    choice[2] = 0.5 * choice[2]
    choice[2, :, 3] += 0.5
    step = gridworld.dynamics(np.stack([stay, right, stay, left], axis=1), choice)
    rewards = np.repeat([[50.0], [1.0], [51.0]], 4, axis=1)
    return tabular.make(step, rewards, [0.0, 1.0, 0.0], 0.9, positive_reward=True)


def _world(
    walls: np.ndarray, goal: tuple[int, int], moves: tuple, rewards: np.ndarray, noise: float, discount: float
) -> World:
    reached = gridworld.successors(walls, moves)
    choice = gridworld.noisy_choice(walls.size, len(moves), noise)
    initial = np.eye(walls.size)[0]
    mdp = tabular.make(gridworld.dynamics(reached, choice), rewards, initial, discount, positive_reward=True)
    return World(mdp, walls, goal, moves, reached, choice)
