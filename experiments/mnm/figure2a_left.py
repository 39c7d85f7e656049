"""Figure 2a, left: MnM learns the stochastic gridworld faster than VMBPO and Q-learning with the correct model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.mnm import worlds
from mbrl_jax import tabular
from mbrl_jax.algorithms.tabular.exploration import Config, Lane, learn
from mbrl_jax.jobs import Job
from mbrl_jax.objectives.ratios import Terms
from mbrl_jax.report import Artefact, Block, Claim, Figure, Table, figures, select, statistics, theme

__all__ = ["ARTEFACT", "METHODS", "curve", "jobs"]

NAME = "mnm/figure2a_left"
ENV = "navigation 10x10, noise 0.5"
METHODS = {
    "Q-learning": (0.0, 0.0, 0.0),
    "MnM": (1.0, 1.0, 1.0),
    "VMBPO": (0.0, 1.0, 1.0),
    "MnM, no classifier": (1.0, 0.0, 1.0),
}
"""Switches (log of the reward, classifier term, optimistic model). VMBPO is MnM without the log, as in Fig. 11."""
SEEDS = 20


def program(config: Config, seeds: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """All methods and seeds as lanes of one program, and the optimum of the task."""
    world = worlds.navigation()
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    choice, reward = jnp.asarray(world.choice), world.mdp.reward

    def everything(keys: jax.Array, switches: jax.Array) -> dict[str, jax.Array]:
        def one(key: jax.Array, row: jax.Array) -> jax.Array:
            return learn(config, world, Lane(key, Terms(*row), choice, reward))

        over_seeds = jax.vmap(one, (0, None))
        optimum = world.mdp.initial @ tabular.value_iteration(world.mdp).value
        return {"return": jax.vmap(over_seeds, (None, 0))(keys, switches), "optimum": optimum}

    return everything, (keys, jnp.asarray(list(METHODS.values())))


def jobs(profile: str) -> list[Job]:
    """Learns with every method on every seed; Figure 11 uses the same run."""
    config = exact.by_profile(profile, Config(iterations=60), Config())
    seeds, identity = exact.by_profile(profile, 2, SEEDS), {**asdict(config), "methods": METHODS}
    task = exact.Task(NAME, profile, identity, seeds, partial(program, config, seeds), partial(_tabulate, config))
    return [exact.job(task)]


def _tabulate(config: Config, out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    steps = np.arange(config.iterations // config.eval_every + 1) * config.eval_every
    for row, name in enumerate(METHODS):
        yield exact.table(name, select.RETURN, out["return"][row], steps, ENV)
    yield exact.table("optimum", select.RETURN, np.full((1, 1), out["optimum"]), [0], ENV)


def curve(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """`[seeds x iterations]` return of the greedy policy."""
    return exact.pick(frame, NAME, select.RETURN, name)


def draw(frame: pd.DataFrame, names: Iterable[str], title: str) -> Figure:
    """Every seed as a thin line and the median as a thick one."""
    size = (5.4, 3.3)
    found = {name: curve(frame, name) for name in names}
    medians = {name: (rows.columns.to_numpy(), np.median(rows.to_numpy(), axis=0)) for name, rows in found.items()}
    figure = figures.lines(medians, title=title, xlabel="iterations", ylabel="return", size=size)
    axes = figure.axes[0]
    for name, line in zip(found, list(axes.get_lines()), strict=True):
        steps = found[name].columns.to_numpy()
        axes.plot(steps, found[name].to_numpy().T, color=line.get_color(), alpha=0.22, linewidth=0.7, zorder=1)
    best = float(curve(frame, "optimum").iloc[0, 0])
    axes.axhline(best, color=theme.color("muted"), linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(f"optimum {best:.4f}", (0.01, best), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    axes.set_ylim(-0.05, 1.08 * best)
    seeds = len(next(iter(found.values())))
    return Figure(figure, f"Exact return of the greedy policy; median (thick) and each of {seeds} seeds (thin).")


def half_way(frame: pd.DataFrame, name: str) -> np.ndarray:
    """`[seeds]` iterations until half of the optimum is reached; one evaluation past the end if it never is."""
    rows = curve(frame, name)
    best = float(curve(frame, "optimum").iloc[0, 0])
    reached = rows.to_numpy() >= best / 2
    steps = rows.columns.to_numpy()
    never = steps[-1] + (steps[-1] - steps[-2])
    return np.where(reached.any(axis=1), steps[np.argmax(reached, axis=1)], never).astype(float)


def summary(frame: pd.DataFrame, names: Iterable[str]) -> Table:
    """Final returns and speed per method."""
    rows = []
    for name in names:
        last = curve(frame, name).to_numpy()[:, -1]
        low, middle, high = np.percentile(last, [25, 50, 75])
        speed = float(np.median(half_way(frame, name)))
        rows.append(
            {"method": name, "median": middle, "25 %": low, "75 %": high, "iterations to half the optimum": speed}
        )
    note = "Return at the last iteration over seeds, and the median iteration at which half the optimum is reached "
    return Table(pd.DataFrame(rows), note + "(one evaluation past the end where it never is).")


def blocks(frame: pd.DataFrame) -> list[Block]:
    """Curves of the paper's three methods."""
    names = ("Q-learning", "MnM", "VMBPO")
    return [draw(frame, names, "Stochastic gridworld"), summary(frame, names)]


CLAIMS = (
    Claim(
        text="MnM reaches half of the optimal return before Q-learning with the correct model does",
        source="Sec. 5.1, Fig. 2a",
        gap=lambda frame: half_way(frame, "Q-learning") - half_way(frame, "MnM"),
        unit="iterations",
        note="A seed that never gets there counts as one evaluation past the end.",
    ),
    Claim(
        text="MnM's final return exceeds that of Q-learning with the correct model",
        source="Sec. 5.1, Fig. 2a",
        gap=lambda frame: (curve(frame, "MnM") - curve(frame, "Q-learning")).to_numpy()[:, -1],
        unit="return",
    ),
    Claim(
        text="MnM's final return exceeds VMBPO's",
        source="Sec. 5.1, Fig. 2a",
        gap=lambda frame: (curve(frame, "MnM") - curve(frame, "VMBPO")).to_numpy()[:, -1],
        unit="return",
    ),
    Claim(
        text="MnM solves the task: its median return at the last iteration is at least 1.3 of 1.3875",
        source="Fig. 2a, read off the authors' notebook",
        gap=lambda frame: curve(frame, "MnM").to_numpy()[:, -1] - 1.3,
        unit="return",
        center=statistics.median,
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Stochastic gridworld: learning curves",
    paper="Eysenbach et al. 2022, Figure 2a (left)",
    jobs=jobs,
    headline=True,
    blocks=blocks,
    claims=CLAIMS,
    note="Settings of the released notebook (cell 1): noise 0.5, reward 0.001 and 10 at the goal, 1,501 episodes of "
    "200 steps, one update from all stored transitions after each.",
)
