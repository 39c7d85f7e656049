"""Figure 4a: MnM-approx beside MBPO and VMBPO on the gym's tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.mnm import continuous, gaps, panels
from experiments.mnm.continuous import GYM, HOPPER, INVERTED, MBPO, MNM, PAPER, VMBPO
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Table, select, statistics

__all__ = ["ARTEFACT"]

NAME = "mnm/figure4a"
LABELS = (MNM, MBPO, VMBPO)
SOLVED = 950.0
"""95 % of the inverted pendulum's largest return."""
PUBLISHED = {VMBPO: ".04, .00, .03 (which is which is not said)", MBPO: "none given"}


def wanted(profile: str) -> continuous.Wanted:
    """All three methods on each task; on a laptop two, for the third's work is better spent elsewhere."""
    if profile == "paper":
        return [(label, env) for env in GYM for label in LABELS]
    return [(label, INVERTED) for label in (MNM, MBPO)]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return continuous.jobs(profile, wanted(profile))


TASKS = (INVERTED, *GYM)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves, final returns with p-values, steps until the pendulum is solved."""
    shown: list[Block] = [
        panels.returns(frame, LABELS, TASKS, {INVERTED: {"solved": SOLVED}}),
        panels.scores(frame, LABELS, TASKS, PUBLISHED),
    ]
    if INVERTED in set(frame["env"]):
        rows = []
        for label in panels.on(frame, LABELS, INVERTED):
            (until,) = select.steps_until(frame, SOLVED, label, env=INVERTED)
            highest = select.curves(frame, label, INVERTED).value.max(axis=1)
            rows.append(
                {
                    "method": label,
                    "median steps to solve": panels.steps_text(until),
                    "best evaluation, median": f"{statistics.median(highest):,.0f}",
                }
            )
        shown.append(Table(pd.DataFrame(rows), f"Inverted pendulum: steps until an evaluation reaches {SOLVED:g}."))
    return shown


def _solves(frame: pd.DataFrame) -> np.ndarray:
    return select.curves(frame, MNM, INVERTED).value.max(axis=1) - SOLVED


def _not_later(frame: pd.DataFrame) -> select.Times:
    return select.times(frame, SOLVED, MBPO, MNM, env=INVERTED)


def _of(env: str) -> tuple[Claim, ...]:
    name = continuous.title(env)
    source = "Sec. 5.2, Figure 4a" if env in GYM else "Sec. 5.2, on a task that the paper does not have"
    return (
        Claim(
            text=f"C1, {name}: MnM-approx is on par with MBPO",
            source=source,
            gap=gaps.close(MNM, MBPO, env),
            unit="return to spare",
            note="Judged as: the middles differ by less than a tenth of MBPO's rise over the run. The paper gives no "
            "test.",
        ),
        Claim(
            text=f"C2, {name}: MnM-approx's final return exceeds VMBPO's",
            source=source,
            gap=gaps.better(MNM, VMBPO, env),
            unit="return",
            note="The paper's one-sided p are .04, .00 and .03; its VMBPO is copied from Chow et al., ours is MnM's "
            "loop with another reward (docs/mnm.md).",
        ),
    )


CLAIMS = (
    *(claim for env in TASKS for claim in _of(env)),
    Claim(
        text="The best evaluation of MnM-approx on the inverted pendulum is above 950 of 1,000",
        source="ours",
        gap=_solves,
        unit="return to spare",
        center=statistics.median,
    ),
    Claim(
        text="MnM-approx solves the inverted pendulum in fewer steps than MBPO",
        source="ours",
        gap=_not_later,
        unit="log ratio of median steps",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="MnM-approx beside MBPO and VMBPO",
    paper=f"{PAPER}, Figure 4a",
    jobs=jobs,
    headline=True,
    blocks=blocks,
    claims=CLAIMS,
    note=continuous.SCALED_DOWN + "On a laptop the inverted pendulum stands in for the paper's three tasks; "
    f"`mnm/hopper` runs {continuous.title(HOPPER)} there, VMBPO too, by name only. The paper's curves have no numbers.",
    on_request=("smoke", "laptop"),
)
