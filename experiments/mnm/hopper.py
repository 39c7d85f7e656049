"""Hopper at the laptop profile's size, which Figure 4a has in the paper profile only: by name."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.mnm import continuous, gaps, panels
from experiments.mnm.continuous import FULL, HOPPER, MBPO, MNM, PAPER, VMBPO
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Figure

__all__ = ["ARTEFACT"]

NAME = "mnm/hopper"
LABELS = (MNM, MBPO, VMBPO, FULL)
WANTED = [(label, HOPPER) for label in LABELS]


def jobs(profile: str) -> list[Job]:
    """MnM-approx, its twin, VMBPO, and MnM with the log-odds in the reward."""
    return continuous.jobs(profile, WANTED)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves, values, model errors, and how steep values are."""
    steep = panels.curves(frame, (MNM,), (HOPPER,), gaps.SLOPE, "value slope, nats", log=True)
    return [
        panels.returns(frame, LABELS, (HOPPER,)),
        panels.scores(frame, LABELS, (HOPPER,)),
        *panels.worth(frame, (MNM, MBPO), (HOPPER,)),
        *panels.errors(frame, (HOPPER,)),
        Figure(steep, "How much c V changes over a standard deviation of the model's draw; above 1.1 it may run away."),
    ]


CLAIMS = (
    Claim(
        text="Hopper: MnM-approx's model error falls",
        source="ours, after Figure 7b",
        gap=gaps.falls(MNM, HOPPER),
        unit="log of first over last error",
    ),
    Claim(
        text="Hopper: the log-odds in the reward lower the return",
        source="ours, after Figure 10",
        gap=gaps.better(MNM, FULL, HOPPER),
        unit="return",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Hopper at small size",
    paper=f"{PAPER}, Figure 4a",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=continuous.SCALED_DOWN + "Here 2,000 random steps, 10,000 batches before the policy learns, values after "
    "20,000, 15,000 steps. Shows a trend and no more: the paper has 125,000 steps or so.",
    also=continuous.also(NAME, WANTED),
    on_request=("smoke", "laptop"),
)
