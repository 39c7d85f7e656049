"""The empty gridworld of Fig. 1: walls along the edges, start at the top left, goal at the bottom right."""

from __future__ import annotations

import numpy as np

from mbrl_jax.algorithms.tabular.mao import Grid
from mbrl_jax.tabular import gridworld

__all__ = ["make"]


def make(size: int) -> Grid:
    """The grid of `size x size` cells including its border, which cannot be entered: cells are the free ones only.

    A move pays the decrease of the L2 distance to the goal, 1 for the whole way, and an episode has `4 size^2` steps,
    as in MiniGrid. The paper says of the goal "an additional decaying reward" and gives no scale; ours is MiniGrid's. A
    return above 1 then means that the goal was reached.
    """
    inner = size - 2
    reached = gridworld.successors(np.zeros((inner, inner), dtype=bool))
    row, column = np.divmod(np.arange(inner * inner), inner)
    distance = np.hypot(inner - 1 - row, inner - 1 - column)
    gain = (distance[:, None] - distance) / distance[0]
    return Grid(reached.astype(np.int32), gain.astype(np.float32), inner * inner - 1, 4 * size * size)
