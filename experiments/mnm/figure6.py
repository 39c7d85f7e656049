"""Figure 6: what the model may minimise instead, on D'Claw's screw at a fixed speed."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.mnm import continuous, gaps, panels
from experiments.mnm.continuous import FARAHMAND, MBPO, MNM, PAPER, SCREW_FIXED, VAML, WEIGHTED
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim

__all__ = ["ARTEFACT"]

NAME = "mnm/figure6"
RIVALS = (MBPO, VAML, WEIGHTED)
LABELS = (MNM, *RIVALS, FARAHMAND)
WANTED = [(label, SCREW_FIXED) for label in LABELS]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return continuous.jobs(profile, WANTED)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves and final returns."""
    return [panels.returns(frame, LABELS, (SCREW_FIXED,)), panels.scores(frame, LABELS, (SCREW_FIXED,))]


CLAIMS = (
    Claim(
        text="C7: MnM-approx is better than MBPO, VAML and value-weighted likelihood on the fixed screw",
        source="Sec. 5.2, Figure 6, App. C",
        gap=gaps.best(MNM, RIVALS, SCREW_FIXED),
        unit="return",
    ),
    *(
        Claim(
            text=f"C7: MnM-approx is better than {rival} on the fixed screw",
            source="Sec. 5.2, Figure 6" if rival in RIVALS else "ours, beside Figure 6",
            gap=gaps.better(MNM, rival, SCREW_FIXED),
            unit="return",
        )
        for rival in (*RIVALS, FARAHMAND)
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Other losses of the model",
    paper=f"{PAPER}, Figure 6",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=continuous.SCALED_DOWN + "The figure's VAML is a likelihood with a Bellman error; Farahmand's loss, which is "
    "another, stands beside it. The softmax's temperature is the values' standard deviation: at the paper's 1 one row "
    "of a batch would get all the weight.",
    also=continuous.also(NAME, WANTED),
    on_request=("smoke", "laptop"),
)
