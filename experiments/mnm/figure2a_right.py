"""Figure 2a, right: the dynamics that MnM learns turn the transition noise towards the goal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments import exact
from experiments.mnm import maze, worlds
from mbrl_jax.algorithms.tabular.alternation import alternate, converged
from mbrl_jax.jobs import Job
from mbrl_jax.objectives.ratios import Terms
from mbrl_jax.report import Artefact, Block, Claim, Figure, Table

__all__ = ["ARTEFACT"]

NAME = "mnm/figure2a_right"
VARIANTS = {
    "noise 0.5, reward 1e-5 / 1e9, γ 0.9": partial(worlds.navigation, reward=1e-5, goal_reward=1e9),
    "noise 0.9, shaped reward, γ 0.5": worlds.shaped_navigation,
}
"""The released notebook's world (cell 2) and the one that Appendix D.2 describes."""
DISTANCES = dict(zip(VARIANTS, (maze.path_distance, maze.manhattan_distance), strict=True))
"""What "towards the goal" means: moves around the wall; for the shaped reward, the Manhattan distance it pays for."""


def program() -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The converged model of each variant and after how many iterations it stood still."""

    def everything() -> list[tuple[jax.Array, jax.Array]]:
        solved = []
        for make in VARIANTS.values():
            records = alternate(make().mdp, Terms(1.0, 1.0, 1.0), 100)
            last = converged(records.change)
            solved.append((records.model[last], last))
        return solved

    return everything, ()


def _tables(name: str, world: worlds.World, model: np.ndarray, last: np.ndarray) -> Iterable[pd.DataFrame]:
    true = np.asarray(world.mdp.transition)
    states, actions = world.reached.shape
    place = np.arange(states * actions)
    distance = DISTANCES[name](world)
    known = np.where(np.isfinite(distance), distance, 0)
    free = np.flatnonzero(np.isfinite(distance))
    closer = ((true - model) @ known).mean(axis=1)[free]
    chosen = [step[np.arange(states)[:, None], np.arange(actions), world.reached] for step in (model, true)]
    yield exact.table("MnM", "dynamics", chosen[0].reshape(1, -1), place, name)
    yield exact.table("truth", "dynamics", chosen[1].reshape(1, -1), place, name)
    yield exact.table("MnM", "pull towards the goal", closer[None], free, name)
    yield exact.table("MnM", "iterations", np.array([[last]]), [0], name)


def jobs(profile: str) -> list[Job]:
    """Solves both variants; there is no chance and no smaller version."""
    exact.by_profile(profile, None, None)
    return [exact.job(exact.Task(NAME, profile, {"variants": list(VARIANTS)}, 1, program, _tabulate))]


def _tabulate(out: list[tuple[np.ndarray, np.ndarray]]) -> Iterable[pd.DataFrame]:
    for (name, make), (model, last) in zip(VARIANTS.items(), out, strict=True):
        yield from _tables(name, make(), model, last)


def _values(frame: pd.DataFrame, metric: str, variant: str, algorithm: str = "MnM") -> np.ndarray:
    return exact.pick(frame, NAME, metric, algorithm, variant).to_numpy()[0]


def blocks(frame: pd.DataFrame) -> list[Block]:
    """Arrows of the true and the learned dynamics, and how far the noise was turned."""
    found, rows = [], []
    for name, make in VARIANTS.items():
        world, panels = make(), []
        for algorithm, title in (("truth", "True dynamics"), ("MnM", "Dynamics learned by MnM")):
            figure, axes = maze.canvas(world, title)
            maze.arrows(axes, world, _values(frame, "dynamics", name, algorithm).reshape(world.reached.shape))
            panels.append(figure)
        found.append(Figure(panels, f"{name}. An arrow per action, as long and dark as its move is probable."))
        pull = _values(frame, "pull towards the goal", name)
        rows.append(
            {
                "world": name,
                "iterations": _values(frame, "iterations", name)[0],
                "mean pull": pull.mean(),
                "smallest pull": pull.min(),
                "largest pull": pull.max(),
            }
        )
    caption = "Pull: how many moves closer to the goal the learned dynamics lead than the true ones, per step, uniform "
    return [*found, Table(pd.DataFrame(rows), caption + "over actions; over all free cells.")]


CLAIMS = tuple(
    Claim(
        text=f"MnM's dynamics turn the noise towards the goal in every free cell ({name})",
        source="Sec. 5.1, Fig. 2a (right)",
        gap=lambda frame, name=name: _values(frame, "pull towards the goal", name),
        unit="moves per step",
        tolerance=0.0,
    )
    for name in VARIANTS
)

ARTEFACT = Artefact(
    name=NAME,
    title="Optimistic dynamics",
    paper="Eysenbach et al. 2022, Figure 2a (right)",
    jobs=jobs,
    headline=True,
    blocks=blocks,
    claims=CLAIMS,
    note="The appendix describes another gridworld for this figure (90 % noise, rewards by Manhattan distance, γ 0.5) "
    "than the released notebook draws (rewards 1e-5 and 1e9 on the world of the learning curves); both are shown.",
)
