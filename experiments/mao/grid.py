"""The empty gridworld of Fig. 1: walls along the edges, start at the top left, goal at the bottom right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mbrl_jax.tabular import gridworld

__all__ = ["Grid", "make"]


class Grid(NamedTuple):
    """Free cells only; the border cannot be entered.

    Attributes:
      reached: `[S, 4]` cell that each action leads to.
      gain: `[S, S]` reward of a move: the decrease of the L2 distance to the goal, 1 for the whole way.
      goal: index of the goal; the start is cell 0.
      max_steps: steps after which an episode ends, `4 N^2` as in MiniGrid.
    """

    reached: np.ndarray
    gain: np.ndarray
    goal: int
    max_steps: int


def make(size: int) -> Grid:
    """The grid of `size x size` cells including its border.

    Reaching the goal after t steps pays `1 - 0.9 t / max_steps` (MiniGrid's rule) on top of `gain`; the paper says
    "an additional decaying reward" and gives no scale. A return above 1 then means that the goal was reached.
    """
    inner = size - 2
    reached = gridworld.successors(np.zeros((inner, inner), dtype=bool))
    row, column = np.divmod(np.arange(inner * inner), inner)
    distance = np.hypot(inner - 1 - row, inner - 1 - column)
    gain = (distance[:, None] - distance) / distance[0]
    return Grid(reached.astype(np.int32), gain.astype(np.float32), inner * inner - 1, 4 * size * size)
