"""Drawing gridworlds: walls, goal, arrows of dynamics, paths."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.mnm.worlds import World
from mbrl_jax.report import figures, theme

__all__ = ["arrows", "canvas", "manhattan_distance", "path_distance", "paths"]


def canvas(world: World, title: str, size: float = 4.4, block: int = 0) -> tuple[Figure, Axes]:
    """An empty square panel with walls, goal and grid lines; `block` draws a heavier line every so many cells."""
    figure, axes = figures.panel(title, size=(size, size))
    rows, columns = world.walls.shape
    for row, column in np.argwhere(world.walls):
        axes.fill_between([column, column + 1], row, row + 1, color=theme.color("muted"), alpha=0.55, linewidth=0)
    axes.set_xticks(np.arange(columns + 1), [""] * (columns + 1))
    axes.set_yticks(np.arange(rows + 1), [""] * (rows + 1))
    axes.grid(True, axis="both", linewidth=0.6)
    for line in range(0, rows + 1, block) if block else ():
        axes.axhline(line, color=theme.color("muted"), linewidth=1.1)
        axes.axvline(line, color=theme.color("muted"), linewidth=1.1)
    star = {"marker": "*", "markersize": 190 / rows, "color": theme.color("holds"), "linestyle": "none", "zorder": 5}
    axes.plot([world.goal[1] + 0.5], [world.goal[0] + 0.5], **star)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_aspect("equal")
    return figure, axes


def arrows(axes: Axes, world: World, probability: np.ndarray) -> None:
    """One arrow per state and action `[S, A]`, towards the cell the action leads to, as long as it is probable."""
    tint = matplotlib.colormaps["Blues"]
    columns = world.walls.shape[1]
    for state, action in np.ndindex(*probability.shape):
        row, column = divmod(state, columns)
        if world.walls[row, column] or world.reached[state, action] == state:
            continue
        chance = float(probability[state, action])
        down, right = 0.4 * chance * np.asarray(world.moves[action])
        shade = tint(0.25 + 0.75 * chance)
        axes.arrow(column + 0.5, row + 0.5, right, down, width=0.03, facecolor=shade, edgecolor=shade)


def paths(axes: Axes, world: World, visited: Mapping[str, np.ndarray]) -> None:
    """Named sequences of states as lines; each is shifted a little so that overlapping ones stay visible."""
    tint = theme.colors(visited)
    for place, (label, states) in enumerate(visited.items()):
        row, column = np.divmod(states, world.walls.shape[1])
        shift = 0.5 + 0.09 * (place - (len(visited) - 1) / 2)
        axes.plot(column + shift, row + shift, color=tint[label], marker="os^"[place % 3], markersize=4, label=label)


def path_distance(world: World) -> np.ndarray:
    """`[S]` number of moves to the goal, walls respected; infinite where it cannot be reached (inside walls)."""
    distance = np.full(world.walls.size, np.inf)
    distance[world.goal[0] * world.walls.shape[1] + world.goal[1]] = 0
    for _ in range(world.walls.size):
        distance = np.minimum(distance, 1 + distance[world.reached].min(axis=1))
    return np.where(world.walls.ravel(), np.inf, distance)


def manhattan_distance(world: World) -> np.ndarray:
    """`[S]` Manhattan distance to the goal, walls ignored; infinite inside walls."""
    row, column = np.divmod(np.arange(world.walls.size), world.walls.shape[1])
    distance = np.abs(row - world.goal[0]) + np.abs(column - world.goal[1])
    return np.where(world.walls.ravel(), np.inf, distance.astype(float))
