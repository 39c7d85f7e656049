"""Figure 7: MBPO's values beside MnM-approx's, and the error of MnM-approx's model."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.mnm import continuous, gaps, panels
from experiments.mnm.continuous import DRAWER, INVERTED, MBPO, MNM, PAPER, POSE, SCREW_RANDOM
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim

__all__ = ["ARTEFACT"]

NAME = "mnm/figure7"
LABELS = (MNM, MBPO)
VALUED = (DRAWER, INVERTED, POSE)
MEASURED = (SCREW_RANDOM, INVERTED, POSE)


def wanted(profile: str) -> continuous.Wanted:
    """Both methods: the drawer for its values and a screw for its errors, or the laptop's two tasks."""
    tasks = (DRAWER, SCREW_RANDOM) if profile == "paper" else (INVERTED, POSE)
    return [(label, env) for env in tasks for label in LABELS]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return continuous.jobs(profile, wanted(profile))


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Left: values beside what was earned. Right: errors, a line per seed."""
    return [*panels.worth(frame, LABELS, VALUED), *panels.errors(frame, MEASURED)]


def _where(env: str, place: str, *of_paper: str) -> str:
    return place if env in of_paper else f"{place}, on a task that it does not show"


def _valued(env: str) -> tuple[Claim, ...]:
    name, source = continuous.title(env), _where(env, "Sec. 5.2, Figure 7a", DRAWER)
    return (
        Claim(
            text=f"C8, {name}: MBPO's values are very large: above any discounted return",
            source=source,
            gap=gaps.excess(MBPO, env),
            unit="discounted return",
        ),
        Claim(
            text=f"C8, {name}: MnM-approx's values are nearer to what its policy earns than MBPO's",
            source=source,
            gap=gaps.nearer(MNM, MBPO, env),
            unit="discounted return",
            note="Values that are too low count as those that are too high.",
        ),
        Claim(
            text=f"C8, {name}: MnM-approx's values move less between iterations than MBPO's",
            source=source,
            gap=gaps.rougher(MNM, MBPO, env),
            unit="discounted return per iteration",
        ),
    )


def _stable(env: str) -> tuple[Claim, ...]:
    name, source = continuous.title(env), _where(env, "Sec. 5.2, Figure 7b", SCREW_RANDOM)
    return (
        Claim(
            text=f"C9, {name}: the error of MnM-approx's model falls",
            source=source,
            gap=gaps.falls(MNM, env),
            unit="log of first over last error",
            note="Errors are of steps not yet learned from, so that a policy that goes to new places raises them.",
        ),
        Claim(
            text=f"C9, {name}: the error of MnM-approx's model never blows up",
            source=source,
            gap=gaps.calm(MNM, env),
            unit="log of ten times the first error over the largest",
        ),
    )


CLAIMS = (
    *(claim for env in VALUED for claim in _valued(env)),
    *(claim for env in MEASURED for claim in _stable(env)),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Values and model errors",
    paper=f"{PAPER}, Figure 7",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=continuous.SCALED_DOWN + "Values are those of the critics on their own batches, divided by the reward scale. "
    "On a laptop the inverted pendulum and D'Claw's pose stand in for the drawer and the screw.",
    also=continuous.also(NAME, [*wanted("laptop"), *wanted("paper")]),
    on_request=("smoke", "laptop"),
)
