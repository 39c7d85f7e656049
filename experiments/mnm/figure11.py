"""Figure 11: MnM without the logarithm and without the classifier, on the gridworld of Fig. 2a."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.mnm import figure2a_left as base
from mbrl_jax.report import Artefact, Block, Claim, Samples, statistics

__all__ = ["ARTEFACT"]

NAMES = ("MnM", "MnM, no classifier", "VMBPO")


def _last(frame: pd.DataFrame, name: str) -> np.ndarray:
    return base.curve(frame, name).to_numpy()[:, -1]


def _optimum(frame: pd.DataFrame) -> float:
    return float(base.curve(frame, "optimum").iloc[0, 0])


def blocks(frame: pd.DataFrame) -> list[Block]:
    """The ablation's curves and final returns."""
    return [base.draw(frame, NAMES, "Ablation of the augmented reward"), base.summary(frame, NAMES)]


CLAIMS = (
    Claim(
        text="The logarithm is crucial: without it (= VMBPO) the final return is lower",
        source="Appendix C, Fig. 11",
        gap=lambda frame: _last(frame, "MnM") - _last(frame, "VMBPO"),
        unit="return",
    ),
    Claim(
        text="Removing the classifier term has a small effect: the final return changes by less than 5 %",
        source="Appendix C, Fig. 11",
        gap=lambda frame: Samples(
            _last(frame, "MnM"), _last(frame, "MnM, no classifier"), statistics.closeness(0.05 * _optimum(frame))
        ),
        unit="return to spare",
    ),
    Claim(
        text="Removing the classifier term may even help a little: half the optimum is reached earlier",
        source="Appendix C, Fig. 11",
        gap=lambda frame: base.half_way(frame, "MnM") - base.half_way(frame, "MnM, no classifier"),
        unit="iterations",
    ),
)

ARTEFACT = Artefact(
    name="mnm/figure11",
    title="Stochastic gridworld: ablation",
    paper="Eysenbach et al. 2022, Figure 11",
    jobs=base.jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="Same run as Figure 2a (left). On this task MnM without the logarithm is VMBPO with temperature 1.",
    also=(base.NAME,),
)
