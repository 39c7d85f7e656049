"""Figure 12: MnM-approx with longer roll-outs of its model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.mnm import continuous, panels
from experiments.mnm.continuous import DRAWER, INVERTED, MNM, PAPER, longer
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Figure, figures, select, statistics

__all__ = ["ARTEFACT"]

NAME = "mnm/figure12"
LENGTHS = {DRAWER: (1, 2, 4, 8), INVERTED: (1, 4)}
"""Steps of a roll-out; the paper's are not said."""


def label(length: int) -> str:
    """The label of a length."""
    return MNM if length == 1 else longer(length)


def wanted(profile: str) -> continuous.Wanted:
    """A run per length."""
    env = DRAWER if profile == "paper" else INVERTED
    return [(label(length), env) for length in LENGTHS[env]]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return continuous.jobs(profile, wanted(profile))


def _final(frame: pd.DataFrame, env: str) -> np.ndarray:
    """Final returns `[lengths, seeds]`, of the seeds that all have."""
    each = [select.final(frame, label(length), env) for length in LENGTHS[env]]
    return np.stack([one[: min(map(len, each))] for one in each])


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves, and returns at the end against the length."""
    tasks = panels.there(frame, tuple(LENGTHS))
    labels = [label(length) for length in LENGTHS[tasks[0]]]
    middles = {
        continuous.title(env): (np.array(LENGTHS[env]), statistics.aggregate(_final(frame, env).T[:, None]))
        for env in tasks
    }
    last = figures.lines(
        middles, title="Return at the end", xlabel="steps of a roll-out", ylabel="return", logx=True, markers=True
    )
    curves = panels.returns(frame, labels, tasks)
    return [Figure([*curves.panels, last], curves.caption), panels.scores(frame, labels, tasks)]


def _slope(env: str):
    """Seed by seed the return that is lost per doubling of the length."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        final, at = _final(frame, env), np.log2(LENGTHS[env])
        centred = at - at.mean()
        return -(centred[:, None] * (final - final.mean(axis=0))).sum(axis=0) / (centred**2).sum()

    return gap


CLAIMS = tuple(
    Claim(
        text=f"C13, {continuous.title(env)}: the longer the roll-outs, the lower the return",
        source="Sec. 5.2 ('linearly'); App. C, Figure 12 ('uniformly')"
        if env == DRAWER
        else "Figure 12, on a task that it does not show",
        gap=_slope(env),
        unit="return lost per doubling",
        note="Judged by the slope of a line through all lengths, seed by seed.",
    )
    for env in LENGTHS
)

ARTEFACT = Artefact(
    name=NAME,
    title="Length of the model's roll-outs",
    paper=f"{PAPER}, Figure 12",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=continuous.SCALED_DOWN
    + "On a laptop the inverted pendulum. All steps of a roll-out enter the pool, which keeps its size; rows that end "
    "stop.",
    also=continuous.also(NAME, [*wanted("laptop"), *wanted("paper")]),
    on_request=("smoke", "laptop"),
)
