"""MBPO at the paper's sizes: Hopper beside the authors' own curve, and the inverted pendulum for its 15 epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments import training
from experiments.mbpo import common
from experiments.training import Chosen
from mbrl_jax.checks import nearest
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Figure, Table, figures, published, select, statistics
from mbrl_jax.report.claims import Samples
from mbrl_jax.runner.run import Run

__all__ = ["ARTEFACT"]

NAME = "mbpo/hopper"
HOPPER, INVERTED = "hopper-v4", "inverted_pendulum-v4"
MBPO, SAC, ENTROPY = "MBPO", "SAC", "SAC with MBPO's target entropy"
STEPS = {HOPPER: 75_000, INVERTED: 15 * 250}
"""Environment steps after the warm-up: as far as the authors' curve climbs, and the paper's 15 epochs."""
AUTHORS = published.CURVES[HOPPER, "mbpo"]
POINTS = AUTHORS.env_step[AUTHORS.env_step <= 70_000]
BAND = 300.0
"""Half the width of the shaded band around the authors' curve, as digitised."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of a profile.

    Attributes:
      env: its id.
      seeds: seeds per method.
      eval_every: environment steps between evaluations.
      size: how the methods are scaled.
      eval_episodes: episodes per evaluation.
    """

    env: str
    seeds: int
    eval_every: int
    size: common.Scale
    eval_episodes: int = 10


_PENDULUM = Task(env=INVERTED, seeds=6, eval_every=250, size=replace(common.SCALES["paper"], steps=STEPS[INVERTED]))
_HOPPER = Task(env=HOPPER, seeds=2, eval_every=2500, size=replace(common.SCALES["paper"], steps=STEPS[HOPPER]))
TASKS = {
    "smoke": (Task(env=INVERTED, seeds=2, eval_every=250, eval_episodes=2, size=common.SCALES["smoke"]),),
    "laptop": (_PENDULUM,),
    "paper": (_PENDULUM, _HOPPER),
}


def planned(profile: str) -> list[Run]:
    """MBPO, SAC as its authors have it, and SAC with MBPO's target entropy, on every task of a profile."""
    if profile not in TASKS:
        raise ValueError(nearest(profile, TASKS, "profile"))
    return [
        each
        for task in TASKS[profile]
        for run in training.runs(
            NAME,
            profile,
            task.env,
            task,
            {
                MBPO: Chosen("mbpo", common.mbpo_config(task.env, task.size)),
                SAC: Chosen("sac", common.sac_config(task.env, task.size)),
                ENTROPY: Chosen("sac", common.without_model(task.env, task.size)),
            },
        )
        for each in (_apart(run) if task.env == HOPPER else [run])
    ]


def _apart(run: Run) -> list[Run]:
    """A run for each seed: one of MBPO on Hopper takes hours, and is stored by itself."""
    return [replace(run, seeds=(seed,)) for seed in run.seeds]


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return training.jobs(planned(profile))


def _at(frame: pd.DataFrame, env: str, name: str, steps: np.ndarray) -> np.ndarray:
    """Evaluation returns `[seeds, steps]` at the given steps; raises MissingDataError where a run ends before."""
    found = select.curves(frame, name, env)
    if not np.isin(steps, found.env_step).all():
        raise select.MissingDataError(f"{name} has no evaluation of {env} at every one of {steps.astype(int).tolist()}")
    return found.value[:, np.searchsorted(found.env_step, steps)]


def _rows(frame: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for env in sorted(frame["env"].unique()):
        steps = POINTS if env == HOPPER else np.asarray([1250, 2500, 3750])
        for name in (MBPO, SAC, ENTROPY):
            found = select.curves(frame, name, env)
            there = steps[np.isin(steps, found.env_step)]
            for step, value in zip(there, _at(frame, env, name, there).T, strict=True):
                middle = statistics.aggregate(value)
                row = {
                    "task": env,
                    "algorithm": name,
                    "environment steps": int(step),
                    "seeds": len(value),
                    "return": f"{middle.estimate:,.0f} [{middle.low:,.0f}, {middle.high:,.0f}]",
                    "the authors' run": "–",
                }
                if (env, name) == (HOPPER, MBPO):
                    row["the authors' run"] = f"{np.interp(step, AUTHORS.env_step, AUTHORS.value):,.0f}"
                rows.append(row)
    return pd.DataFrame(rows)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves, on Hopper over the authors' own, and returns at the steps where theirs is known."""
    envs = sorted(frame["env"].unique())
    solved = {env: {"solved": common.SOLVED[env]} for env in envs if env in common.SOLVED}
    panels = figures.learning_curves(frame, algorithms=(MBPO, SAC, ENTROPY), references=solved)
    seeds = ", ".join(f"{env} {frame.loc[frame['env'] == env, 'seed'].nunique()}" for env in envs)
    caption = (
        "Evaluation return of the policy's mean against environment steps after the random warm-up: IQM over seeds "
        f"({seeds}) with pointwise 95 % bootstrap intervals."
    )
    return [Figure(panels, caption), Table(_rows(frame), "IQM [95 % interval] over seeds.")]


def _near_authors(frame: pd.DataFrame) -> np.ndarray:
    """The band less a seed's mean distance from the authors' curve at 10,000 … 70,000 steps."""
    values = _at(frame, HOPPER, MBPO, POINTS)
    return BAND - np.abs(values - np.interp(POINTS, AUTHORS.env_step, AUTHORS.value)).mean(axis=1)


def _solved_by(frame: pd.DataFrame) -> np.ndarray:
    """Steps of the 15 epochs that are left when a seed of MBPO first returns 950."""
    (until,) = select.steps_until(frame, common.SOLVED[INVERTED], MBPO, env=INVERTED)
    return STEPS[INVERTED] - until


def _sooner(frame: pd.DataFrame) -> select.Times:
    return select.times(frame, common.SOLVED[INVERTED], SAC, MBPO, env=INVERTED)


def _same_end(frame: pd.DataFrame) -> Samples:
    """Both ways of SAC at the end of the pendulum's run, a tenth of the largest return as the margin."""
    a, b = (select.final(frame, name, INVERTED) for name in (SAC, ENTROPY))
    return Samples(a, b, statistics.closeness(100.0))


ARTEFACT = Artefact(
    name=NAME,
    title="MBPO at the paper's sizes: Hopper beside the authors' curve, and the inverted pendulum",
    paper=f"{common.PAPER}, Figure 2 and Table 1",
    jobs=jobs,
    blocks=blocks,
    claims=(
        Claim(
            text="MBPO on Hopper is as good as the authors' run: within 300 of their curve on average from 10,000 to "
            "70,000 steps",
            source=f"{common.PAPER}, Figure 2, the authors' own curve as digitised",
            gap=_near_authors,
            unit="return, of the band of ±300",
            note="Two seeds; a verdict needs five. The authors' step axis seems to hold the 5,000 random steps that "
            "ours leaves out.",
            profiles=("paper",),
        ),
        Claim(
            text="MBPO at the paper's sizes solves the inverted pendulum within its 15 epochs (3,750 steps)",
            source=f"{common.PAPER}, Table 1 has 15 epochs of 250 steps",
            gap=_solved_by,
            unit="steps to spare",
            center=statistics.median,
        ),
        Claim(
            text="At the paper's sizes MBPO needs fewer environment steps than SAC to solve the inverted pendulum",
            source=f"{common.PAPER}, Sec. 6.1 and Figure 2",
            gap=_sooner,
            unit="log ratio of median steps",
        ),
        Claim(
            text="SAC ends the inverted pendulum's 15 epochs alike with target entropy −1 per action entry and with "
            "MBPO's −0.05 (within 100)",
            source="ours; the released code has the first for SAC and the second for MBPO",
            gap=_same_end,
            unit="return, of a margin of 100",
        ),
    ),
    note="Networks, batches, roll-outs and updates of the released code. Steps do not count the random warm-up. The "
    "laptop profile has the inverted pendulum alone, Hopper is the paper profile's.",
    on_request=("smoke", "laptop", "paper"),
)
