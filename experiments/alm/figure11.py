"""Figures 11 and 20 of ALM: coefficients of the classifier's term, all in one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.alm import common
from experiments.training import Chosen
from mbrl_jax.jobs import Job
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure
from mbrl_jax.report.claims import Claim, Samples
from mbrl_jax.runner.run import Run

NAME = "alm/figure11"
SOURCE = f"{common.PAPER}, Appendix E and Figure 11"
FIELD = "agent.coefficient"
COEFFICIENTS = {"smoke": (0.1, 1.0), "laptop": (0.01, 0.1, 0.3, 1.0), "paper": (0.01, 0.05, 0.1, 0.3, 1.0)}
TASKS = ("half_cheetah-v4", "walker2d-v4")


def label(coefficient: float) -> str:
    """The label of a coefficient's lanes."""
    return f"ALM[{FIELD}={coefficient:g}]"


def planned(profile: str) -> list[Run]:
    """One run per task: every coefficient with every seed."""
    size = common.scale(profile)
    everything = []
    for env in TASKS if profile == "paper" else common.SHORT:
        (one,) = common.runs(NAME, profile, env, {"ALM": Chosen("alm", common.alm_config(env, size))})
        everything.append(replace(one, sweep=((FIELD, COEFFICIENTS[profile]),)))
    return everything


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return common.jobs(planned(profile))


def _coefficients(frame: pd.DataFrame) -> list[float]:
    found = sorted(c for values in COEFFICIENTS.values() for c in values if common.has(frame, label(c)))
    if not found:
        raise select.MissingDataError("nothing has been trained")
    return list(dict.fromkeys(found))


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves by coefficient (Figure 11), and the return at the end against it (Figure 20)."""
    numbers = _coefficients(frame)
    panels = figures.learning_curves(frame, algorithms=[label(c) for c in numbers])
    tasks = sorted(frame["env"].unique())
    ends = {env: statistics.aggregate(_finals(frame, env, numbers)[:, None, :]) for env in tasks}
    lines = {env: (np.array(numbers), band) for env, band in ends.items()}
    last = figures.lines(lines, title="At the end", xlabel="coefficient c", ylabel="return", logx=True, markers=True)
    seeds = frame["seed"].nunique()
    caption = f"IQM over {seeds} seeds with 95 % intervals. c weighs the classifier's log-ratio; 0.1 is the default."
    return [Figure([*panels, last], caption)]


def _finals(frame: pd.DataFrame, env: str, numbers: Sequence[float]) -> np.ndarray:
    return np.stack([select.final(frame, label(c), env) for c in numbers], axis=1)


def _robust(other: float):
    """Final returns with another coefficient, a tenth added, against those with 0.1; shares of the better."""

    def gap(frame: pd.DataFrame) -> Samples:
        _coefficients(frame)
        (env, *_) = sorted(frame["env"].unique())
        default, changed = select.final(frame, label(0.1), env), select.final(frame, label(other), env)
        unit = common.unit(default, changed)
        return Samples(changed / unit + 0.1, default / unit)

    return gap


ARTEFACT = Artefact(
    on_request=common.ON_REQUEST,
    name=NAME,
    title="Coefficients of the classifier's term",
    paper=f"{common.PAPER}, Figures 11 and 20",
    jobs=jobs,
    blocks=blocks,
    claims=tuple(
        Claim(
            text=f"ALM is robust to c: with {c:g} the return is at most a tenth below that with 0.1",
            source=SOURCE,
            gap=_robust(c),
            unit="share of the better return",
            note="On the first of the tasks by name.",
        )
        for c in (0.01, 0.3, 1.0)
    ),
    note=common.SCALED_DOWN,
)
