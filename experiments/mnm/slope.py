"""How steep values are over the width of the model's draw, and what they move: c = 1, c = 0, c over their range."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from experiments.mnm import continuous, gaps, panels
from experiments.mnm.continuous import FREE, HOPPER, INVERTED, MBPO, MNM, NO_VALUE, PAPER, POSE
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Figure, Samples, Table, select, statistics
from mbrl_jax.theory import mnm_smoothing

__all__ = ["ARTEFACT"]

NAME = "mnm/slope"
LABELS = (MNM, NO_VALUE, FREE)
SHOWN = (INVERTED, POSE, HOPPER)
STD = "mnm/std"


def bound() -> float:
    """The largest slope at which a model that is fitted by Eq. 9 comes to rest, with the paper's smoothing, in nats."""
    return float(mnm_smoothing.largest_slope(0.1))


def wanted(profile: str) -> continuous.Wanted:
    """MnM-approx with and without values, and over their range; on a laptop the first two, the claw with them alone."""
    if profile == "paper":
        return [(label, HOPPER) for label in LABELS]
    return [(MNM, INVERTED), (NO_VALUE, INVERTED), (MNM, POSE)]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return continuous.jobs(profile, wanted(profile))


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Slopes over the run, the model's width, and learning curves with and without values."""
    steep = panels.curves(frame, (MNM, FREE), SHOWN, gaps.SLOPE, "value slope, nats", log=True)
    wide = panels.curves(frame, (MNM, MBPO), SHOWN, STD, "predicted deviation", log=True)
    rows = []
    for env in panels.there(frame, SHOWN):
        for label in panels.on(frame, LABELS, env):
            found = select.curves(frame, label, env, gaps.SLOPE, worst=np.inf)
            slope = found.value.max(axis=1)
            beyond = int((slope > bound()).sum())
            rows.append(
                {
                    "task": continuous.title(env),
                    "method": label,
                    "largest slope of a run, median": float(np.median(slope)),
                    "largest of all": float(slope.max()),
                    "runs beyond the bound": f"{beyond} of {len(slope)}",
                    "of these diverged": int(found.diverged.sum()),
                }
            )
    caption = (
        f"Mean norm of c σ ∇V at the model's draws. In one dimension a model runs away above {bound():.2f} nats with "
        "the paper's smoothing; what is measured has several, over the model's own width, so that the bound is a "
        "warning and a small slope no assurance. IQM over seeds with 95 % intervals."
    )
    compared = [env for env in panels.there(frame, SHOWN) if NO_VALUE in panels.on(frame, LABELS, env)]
    return [
        Figure(steep, caption),
        Table(pd.DataFrame(rows), "Slopes in nats, at c as it is; a diverged seed is beyond."),
        Figure(
            wide,
            "Mean standard deviation that the model predicts, in those of the changes, beside its twin's. IQM, 95 %.",
        ),
        *([panels.returns(frame, LABELS, compared), panels.scores(frame, LABELS, compared)] if compared else []),
    ]


def _below(env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    def gap(frame: pd.DataFrame) -> np.ndarray:
        return bound() - select.curves(frame, MNM, env, gaps.SLOPE, worst=np.inf).value.max(axis=1)

    return gap


def _no_difference(env: str) -> Callable[[pd.DataFrame], Samples]:
    return gaps.close(MNM, NO_VALUE, env)


def _narrower(env: str) -> Callable[[pd.DataFrame], Samples]:
    def gap(frame: pd.DataFrame) -> Samples:
        widths = [np.log(gaps.late(frame, label, env, STD)) for label in (MBPO, MNM)]
        return Samples(widths[0], widths[1], statistics.difference())

    return gap


CLAIMS = (
    *(
        Claim(
            text=f"{continuous.title(env)}: values stay less steep than smoothing can hold, over the whole run",
            source="ours, from theory.mnm_smoothing",
            gap=_below(env),
            unit="nats to spare",
        )
        for env in SHOWN
    ),
    *(
        Claim(
            text=f"{continuous.title(env)}: without values in the model's loss (c = 0) the return is the same",
            source="ours",
            gap=_no_difference(env),
            unit="return to spare",
            note="Judged as: the middles differ by less than a tenth of the rise at c = 0. If it holds, the model is a "
            "GAN and nothing else.",
        )
        for env in (INVERTED, HOPPER)
    ),
    *(
        Claim(
            text=f"{continuous.title(env)}: the classifier leaves the model narrower than likelihood does",
            source="ours",
            gap=_narrower(env),
            unit="log ratio of predicted deviations",
        )
        for env in SHOWN
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="The scale of values against the logit",
    paper=f"{PAPER}, Eq. 9 and App. D.1; ours",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=continuous.SCALED_DOWN + "Not in the paper, which gives no coefficient of the values.",
    also=continuous.also(NAME, [*wanted("laptop"), *wanted("paper"), (MBPO, INVERTED), (MBPO, POSE)]),
    on_request=("smoke", "laptop"),
)
