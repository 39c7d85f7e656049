"""Figure 3a: on a three-state MDP MnM finds the reward-maximising policy, VMBPO a riskier one with a lower return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.mnm import worlds
from mbrl_jax import tabular
from mbrl_jax.algorithms.tabular.alternation import alternate, converged, mixed_return
from mbrl_jax.jobs import Job
from mbrl_jax.objectives.ratios import Terms
from mbrl_jax.report import Artefact, Block, Claim, Figure, Table, figures, theme

__all__ = ["ARTEFACT"]

NAME = "mnm/figure3a"
ENV = "three states"
METHODS = {"Q-learning": (0.0, 0.0, 0.0), "MnM": (1.0, 1.0, 1.0), "VMBPO": (0.0, 1.0, 1.0)}
REFERENCE = {"Q-learning": 451.0, "MnM": 451.0, "VMBPO": 320.36}
"""What the authors' released notebook (cell 4) computes; the paper shows bars without numbers."""


def program() -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return, variance of the return and iterations of each method; methods are lanes."""
    mdp = worlds.three_states()

    def solve(method: Terms) -> dict[str, jax.Array]:
        records = alternate(mdp, method, 100)
        last = converged(records.change)
        record = jax.tree.map(lambda stack: stack[last], records)
        spread = tabular.return_variance(mdp, record.greedy)
        return {"return": mixed_return(mdp, record), "variance": spread, "iterations": last}

    def everything(methods: Terms) -> dict[str, jax.Array]:
        optimum = mdp.initial @ tabular.value_iteration(mdp).value
        return {**jax.vmap(solve)(methods), "optimum": jnp.broadcast_to(optimum, (len(METHODS),))}

    return everything, (Terms(*jnp.asarray(list(METHODS.values())).T),)


def jobs(profile: str) -> list[Job]:
    """Solves all three methods exactly; there is no chance and no smaller version."""
    exact.by_profile(profile, None, None)
    return [exact.job(exact.Task(NAME, profile, {"methods": METHODS}, 1, program, _tabulate))]


def _tabulate(out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    for row, name in enumerate(METHODS):
        for metric, values in out.items():
            yield exact.table(name, metric, values[row], [0], ENV)


def _value(frame: pd.DataFrame, name: str, metric: str = "return") -> float:
    return float(exact.pick(frame, NAME, metric, name).iloc[0, 0])


def blocks(frame: pd.DataFrame) -> list[Block]:
    """The bars and their numbers."""
    figure, axes = figures.panel("Three-state MDP", "", "return", size=(4.0, 2.2))
    tint = theme.colors(METHODS)
    for place, name in enumerate(METHODS):
        value = _value(frame, name)
        axes.bar(place, value, width=0.6, color=tint[name], label=name)
        axes.annotate(f"{value:.1f}", (place, value), ha="center", va="bottom", fontsize=8.5)
    axes.set_xticks(range(len(METHODS)), list(METHODS))
    axes.set_ylim(0, 500)
    rows = pd.DataFrame(
        {
            "method": list(METHODS),
            "return": [_value(frame, name) for name in METHODS],
            "authors' notebook": list(REFERENCE.values()),
            "variance of the return": [_value(frame, name, "variance") for name in METHODS],
            "iterations": [_value(frame, name, "iterations") for name in METHODS],
        }
    )
    caption = "Exact returns from the middle state under the true dynamics. No chance is involved."
    return [
        Figure(figure, caption),
        Table(rows, caption, paper={"authors' notebook": "released notebook, cell 4, run again"}),
    ]


CLAIMS = (
    Claim(
        text="MnM learns the reward-maximising policy of the three-state MDP",
        source="Sec. 5.1, Fig. 3a",
        gap=lambda frame: np.array([0.5 - abs(_value(frame, "MnM") - _value(frame, "MnM", "optimum"))]),
        unit="return to spare within ±0.5",
        tolerance=0.0,
    ),
    Claim(
        text="VMBPO learns a strategy with a lower return than MnM",
        source="Sec. 5.1, Fig. 3a",
        gap=lambda frame: np.array([_value(frame, "MnM") - _value(frame, "VMBPO")]),
        unit="return",
        tolerance=0.5,
    ),
    Claim(
        text="VMBPO's strategy has a higher variance of the return than MnM's",
        source="Fig. 3a, caption; Appendix B.1",
        gap=lambda frame: np.array([_value(frame, "VMBPO", "variance") - _value(frame, "MnM", "variance")]),
        unit="squared return",
        tolerance=1e-6,
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Three-state MDP: MnM against VMBPO",
    paper="Eysenbach et al. 2022, Figure 3a",
    jobs=jobs,
    headline=True,
    blocks=blocks,
    claims=CLAIMS,
    note="As in the released notebook, the value is that of the greedy policy at the first step and of the averaged "
    "policy afterwards. Policy evaluation is a linear solve instead of sweeps to 1e-6.",
)
