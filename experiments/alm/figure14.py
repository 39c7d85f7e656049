"""Figure 14 of ALM: asymptotic performance against SAC, a million steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from experiments.alm import common
from experiments.alm.ablation import better
from experiments.training import Chosen
from mbrl_jax.jobs import Job
from mbrl_jax.report import figures, select
from mbrl_jax.report.artefact import Artefact, Block, Figure
from mbrl_jax.report.claims import Claim
from mbrl_jax.runner.run import Run

NAME = "alm/figure14"
SOURCE = f"{common.PAPER}, Appendix E and Figure 14"
STEPS = {"smoke": 500, "laptop": 12_000, "paper": 1_000_000}
TASKS = ("half_cheetah-v4",)


def planned(profile: str) -> list[Run]:
    """ALM and SAC for far longer than Table 1."""
    tasks = TASKS if profile == "paper" else common.SHORT
    size = replace(common.scale(profile), tasks=dict.fromkeys(tasks, STEPS[profile]))

    def methods(env: str) -> dict[str, Chosen]:
        return {common.ALM: common.variant(common.Variant(), env, size)} | common.baseline("SAC", env, size)

    return [each for env in tasks for each in common.runs(NAME, profile, env, methods(env))]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return common.jobs(planned(profile))


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """The long learning curves."""
    if frame.empty:
        raise select.MissingDataError("nothing has been trained")
    seeds = frame["seed"].nunique()
    return [Figure(figures.learning_curves(frame), f"IQM over {seeds} seeds with pointwise 95 % intervals.")]


ARTEFACT = Artefact(
    on_request=common.ON_REQUEST,
    name=NAME,
    title="Asymptotic performance",
    paper=f"{common.PAPER}, Figure 14",
    jobs=jobs,
    blocks=blocks,
    claims=(
        Claim(
            text="Even after a million steps ALM outperforms SAC",
            source=SOURCE,
            gap=better(NAME, common.ALM, "SAC"),
            unit="share of the better return",
            note="The laptop's run is twice as long as its Table 1, on the inverted pendulum.",
            profiles=("paper",),
        ),
    ),
    note=common.SCALED_DOWN + " The paper does not say on which tasks; the paper profile has HalfCheetah.",
)
