"""Gridworlds as finite MDPs: cells in rows, moves that stop at edges and walls, and noise that replaces the action.

Ours, for the gridworlds of MnM (Eysenbach et al., 2022) and MAO (Modhe et al., 2021).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped

from mbrl_jax.types import checked

__all__ = ["CARDINAL", "CARDINAL_AND_STAY", "dynamics", "noisy_choice", "successors"]

CARDINAL = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Up, right, down, left as (row, column) changes, in the order in which the authors of MnM number them."""
CARDINAL_AND_STAY = (*CARDINAL, (0, 0))


@checked
def successors(
    walls: Shaped[np.ndarray, "rows columns"], moves: tuple[tuple[int, int], ...] = CARDINAL
) -> Int[np.ndarray, "cells moves"]:
    """The cell `[S, moves]` that each move leads to; a move off the grid or into a wall stays.

    Args:
      walls: `[rows, columns]`, true where a wall is. Cell `(i, j)` has the index `i * columns + j`.
      moves: (row, column) change of each move.
    """
    rows, columns = walls.shape
    row, column = np.divmod(np.arange(rows * columns), columns)
    delta = np.asarray(moves)
    to_row = np.clip(row[:, None] + delta[:, 0], 0, rows - 1)
    to_column = np.clip(column[:, None] + delta[:, 1], 0, columns - 1)
    target = to_row * columns + to_column
    return np.where(walls[to_row, to_column].astype(bool), np.arange(rows * columns)[:, None], target)


@checked
def dynamics(
    reached: Int[np.ndarray, "states moves"], choice: Float[np.ndarray, "states actions moves"]
) -> Float[np.ndarray, "states actions states"]:
    """Transition `[S, A, S]` from where each move leads (`[S, D]`) and which move an action makes (`[S, A, D]`)."""
    states = reached.shape[0]
    return np.einsum("sad,sdn->san", choice, np.eye(states)[reached])


@checked
def noisy_choice(states: int, actions: int, noise: float) -> Float[np.ndarray, "states actions actions"]:
    """`[S, A, D]`, the chosen move with probability `1 - noise`, else one of all moves uniformly."""
    choice = (1 - noise) * np.eye(actions) + noise / actions
    return np.broadcast_to(choice, (states, actions, actions)).copy()
