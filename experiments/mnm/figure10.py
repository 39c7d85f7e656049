"""Figure 10: the classifier's log-odds in the reward, and without."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.mnm import continuous, gaps, panels
from experiments.mnm.continuous import DRAWER, FULL, INVERTED, MNM, PAPER
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Figure

__all__ = ["ARTEFACT"]

NAME = "mnm/figure10"
LABELS = (MNM, FULL)
TASKS = (DRAWER, INVERTED)
LOGITS = {"real": "mnm/logit_real", "imagined": "mnm/logit_model"}


def wanted(profile: str) -> continuous.Wanted:
    """Both rewards."""
    return [(label, DRAWER if profile == "paper" else INVERTED) for label in LABELS]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return continuous.jobs(profile, wanted(profile))


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves, final returns, the classifier's logits on real and imagined transitions."""
    drawn = []
    for name, metric in LOGITS.items():
        drawn += panels.curves(frame, LABELS, TASKS, metric, f"logit, {name} transitions")
    caption = "Mean logits of the classifier while it learns; 0.2 is what smoothing gives a perfect model. IQM, 95 %."
    return [panels.returns(frame, LABELS, TASKS), panels.scores(frame, LABELS, TASKS), Figure(drawn, caption)]


CLAIMS = tuple(
    Claim(
        text=f"C12, {continuous.title(env)}: with the classifier's log-odds in the reward the return is lower",
        source="Sec. 4.3; App. C, Figure 10" if env == DRAWER else "Figure 10, on a task that it does not show",
        gap=gaps.better(MNM, FULL, env),
        unit="return",
        note="MnM in full: (1 − γ) log r + logit. The figure's was 'a preliminary version of MnM'.",
    )
    for env in TASKS
)

ARTEFACT = Artefact(
    name=NAME,
    title="Log-odds in the reward",
    paper=f"{PAPER}, Figure 10",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=continuous.SCALED_DOWN,
    also=continuous.also(NAME, [*wanted("laptop"), *wanted("paper")]),
    on_request=("smoke", "laptop"),
)
