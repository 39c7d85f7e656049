"""Distracting dimensions under a small model: VaGraM and IterVAML against maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments import training
from experiments.training import Chosen, runs
from mbrl_jax.algorithms import mbpo, preset
from mbrl_jax.checks import nearest
from mbrl_jax.jobs import Job
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure, Table
from mbrl_jax.report.claims import Claim, Samples
from mbrl_jax.runner.run import Run

NAME = "vagram/distractors"
PAPER = "Voelcker et al. 2022"
METHODS = {"maximum likelihood": "mbpo", "VaGraM": "vagram", "IterVAML": "iter_vaml"}
"""Labels, and the algorithm behind each. All are MBPO; only what the model minimises differs."""
MLE, VAGRAM, VAML = METHODS


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of one profile.

    Attributes:
      tasks: the task alone, then with distractors.
      steps: environment steps.
      seeds: seeds per method, all in one program.
      eval_every: environment steps between evaluations.
      eval_episodes: episodes per evaluation.
      hidden: widths of the model's hidden layers.
      small: whether policy, critics, batches and roll-outs are scaled down.
    """

    tasks: tuple[str, str]
    steps: int
    seeds: int
    eval_every: int
    eval_episodes: int
    hidden: tuple[int, ...]
    small: bool = True


PENDULUM = ("pendulum-v1", "pendulum_distractors_10_0-v1")
SCALES = {
    "smoke": Scale(tasks=PENDULUM, steps=250, seeds=2, eval_every=250, eval_episodes=1, hidden=(16, 16)),
    "laptop": Scale(tasks=PENDULUM, steps=3000, seeds=6, eval_every=250, eval_episodes=5, hidden=(16, 16)),
    "paper": Scale(
        tasks=("hopper-v4", "hopper_distractors_10_0-v4"),
        steps=500_000,
        seeds=20,
        eval_every=1000,
        eval_episodes=10,
        hidden=(200,) * 4,
        small=False,
    ),
}


def planned(profile: str) -> list[Run]:
    """Every method on the task alone and with distractors."""
    if profile not in SCALES:
        raise ValueError(nearest(profile, SCALES, "profile"))
    size = SCALES[profile]
    return [
        one
        for task in size.tasks
        for one in runs(
            NAME,
            profile,
            task,
            size,
            {label: Chosen(name, _config(name, task, size)) for label, name in METHODS.items()},
        )
    ]


def _config(name: str, task: str, size: Scale) -> mbpo.Config:
    """A method's preset of the task, scaled to a profile."""
    config = replace(preset(name, task), steps=size.steps)
    decay = config.model.weight_decay
    # The first layers' coefficients and the last one's: the model has fewer layers than the preset's.
    decay = (*decay[: len(size.hidden)], decay[-1])
    model = replace(config.model, hidden=size.hidden, weight_decay=decay)
    if not size.small:
        return replace(config, model=model)
    model = replace(model, members=5, elites=3, max_epochs=50)
    agent = replace(config.agent, hidden=(64, 64))
    return replace(config, updates_per_step=10, batch=128, rollout_batch=2000, model=model, agent=agent)


def jobs(profile: str) -> list[Job]:
    """The runs as jobs."""
    return training.jobs(planned(profile))


def _tasks(frame: pd.DataFrame) -> tuple[str, str]:
    """The task alone and with distractors, of the results at hand."""
    found = set(frame["env"])
    for size in SCALES.values():
        if found >= set(size.tasks):
            return size.tasks
    raise select.MissingDataError(f"results with and without distractors are needed, got {sorted(found)}")


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves of the three losses, without and with distractors, and returns at the end."""
    alone, distracted = _tasks(frame)
    panels = figures.learning_curves(frame, algorithms=tuple(METHODS), envs=(alone, distracted))
    for panel, title in zip(panels, (alone, f"{alone} with 10 distractors"), strict=True):
        figures.retitle(panel, title)
    caption = (
        f"Evaluation return against environment steps: IQM over {frame['seed'].nunique()} seeds with 95 % intervals. "
        "The distractors' law is the same in training and evaluation and for all seeds."
    )
    return [
        Figure(panels, caption),
        Table(_scores(frame, alone, distracted), "Return at the end; IQM [95 % interval]."),
    ]


def _scores(frame: pd.DataFrame, alone: str, distracted: str) -> pd.DataFrame:
    rows = []
    for name in METHODS:
        row = {"the model minimises": name}
        for column, task in (("without distractors", alone), ("with 10 distractors", distracted)):
            middle = statistics.aggregate(select.final(frame, name, task))
            row[column] = f"{middle.estimate:,.0f} [{middle.low:,.0f}, {middle.high:,.0f}]"
        rows.append(row)
    return pd.DataFrame(rows)


def _better(first: tuple[str, int], second: tuple[str, int]) -> Callable[[pd.DataFrame], Samples]:
    """Returns at the end of two methods, each given with 0 for the task alone or 1 for the distracted one."""

    def gap(frame: pd.DataFrame) -> Samples:
        tasks = _tasks(frame)
        better, worse = (select.final(frame, name, tasks[which]) for name, which in (first, second))
        return Samples(better, worse)

    return gap


def _keeps_more(frame: pd.DataFrame) -> np.ndarray:
    """What likelihood loses by the distractors minus what VaGraM loses, of the seeds in pairs."""
    alone, distracted = _tasks(frame)
    likelihood, weighted = (
        select.final(frame, name, alone) - select.final(frame, name, distracted) for name in (MLE, VAGRAM)
    )
    return likelihood - weighted


SOURCE = f"{PAPER}, abstract"
CLAIMS = (
    Claim(
        text="Distracting dimensions cost a model fitted by maximum likelihood return",
        source=SOURCE,
        gap=_better((MLE, 0), (MLE, 1)),
        unit="return",
    ),
    Claim(
        text="With distracting dimensions VaGraM reaches higher returns than maximum likelihood",
        source=SOURCE,
        gap=_better((VAGRAM, 1), (MLE, 1)),
        unit="return",
        note="The abstract says: more robust than maximum likelihood with distracting dimensions and small models.",
    ),
    Claim(
        text="VaGraM keeps its return where maximum likelihood drops: the distractors cost it less",
        source=SOURCE,
        gap=_keeps_more,
        unit="return",
    ),
    Claim(
        text="Value-aware learning without the gradient (IterVAML) is inferior to maximum likelihood in practice",
        source=SOURCE,
        gap=_better((MLE, 0), (VAML, 0)),
        unit="return",
        note="Judged without distractors. The abstract speaks of value-aware approaches in general.",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Distracting dimensions under a small model: likelihood, VaGraM, IterVAML",
    paper=f"{PAPER}, distractor experiment",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="The paper's numbers are curves and not published as such. The laptop profile is Pendulum with a model of two "
    "layers of 16 units (5 members, 3 elites, at most 50 epochs per fit), 2x64 policy and critics, batches of 128 "
    "and 10 updates per step. The paper has Hopper with models of 4x200 and, without distractors, 3x64 and 2x64. "
    "MBPO's settings are the same for all three.",
    on_request=("smoke", "laptop"),
)
