"""An ablation of ALM as data: labelled variants in panels of learning curves, trained beside Table 1's runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.alm import common, table1
from experiments.mbpo.common import SOLVED, steps_text
from mbrl_jax.jobs import Job
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure, Table
from mbrl_jax.report.claims import Claim, Samples
from mbrl_jax.runner.run import Run

__all__ = ["Ablation", "artefact", "better", "claim", "no_worse", "planned"]


class Ablation(NamedTuple):
    """What distinguishes one ablation from another.

    Attributes:
      name: `alm/<artefact>`.
      title: what it shows.
      figure: where the paper has it, for example `Figure 5`.
      variants: label to variant.
      panels: title to the labels in a panel; Table 1's labels may be among them.
      tasks: environments of the paper profile, some of Table 1's; the other profiles have the inverted pendulum.
      claims: what the paper says of it.
      note: what deviates from the paper.
      printed: what the paper prints of it, shown below our numbers.
      laptop: the variants that the laptop profile trains, where all would take too long; all by default.
    """

    name: str
    title: str
    figure: str
    variants: Mapping[str, common.Variant]
    panels: Mapping[str, Sequence[str]]
    tasks: Sequence[str]
    claims: tuple[Claim, ...] = ()
    note: str = ""
    printed: tuple[Block, ...] = ()
    laptop: Sequence[str] = ()


def _tasks(one: Ablation, profile: str) -> Sequence[str]:
    return one.tasks if profile == "paper" else common.SHORT


def planned(one: Ablation, profile: str) -> list[Run]:
    """The runs of the variants; ALM itself and the baselines are Table 1's."""
    size, everything = common.scale(profile), []
    labels = one.laptop if profile == "laptop" and one.laptop else one.variants
    for env in _tasks(one, profile):
        algorithms = {label: common.variant(one.variants[label], env, size) for label in labels}
        everything += common.runs(one.name, profile, env, algorithms)
    return everything


def artefact(one: Ablation) -> Artefact:
    """The ablation as an artefact of the report."""

    def jobs(profile: str) -> list[Job]:
        shared = [each for each in table1.planned(profile) if each.env in _tasks(one, profile)]
        shown = {label for labels in one.panels.values() for label in labels}
        return common.jobs([*(each for each in shared if each.algorithm in shown), *planned(one, profile)])

    return Artefact(
        name=one.name,
        title=one.title,
        paper=f"{common.PAPER}, {one.figure}",
        jobs=jobs,
        blocks=lambda frame: blocks(one, frame),
        claims=one.claims,
        note=f"{common.SCALED_DOWN} {one.note}".strip(),
        also=(table1.NAME,),
        on_request=common.ON_REQUEST,
    )


def _own(one: Ablation, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of this ablation's tasks and labels."""
    tasks = list(frame.loc[frame["experiment"] == one.name, "env"].unique())
    if not tasks:
        raise select.MissingDataError("no variant has been trained")
    kept = pd.DataFrame(frame[frame["env"].isin(tasks)])
    kept.attrs.update(frame.attrs)
    return kept


def blocks(one: Ablation, frame: pd.DataFrame) -> Sequence[Block]:
    """A panel of learning curves per group of variants and task, and a table of all."""
    own = _own(one, frame)
    there = set(own["algorithm"])
    tasks, drawn = sorted(own["env"].unique()), []
    for title, labels in one.panels.items():
        names = [label for label in labels if label in there]
        for env, panel in zip(tasks, figures.learning_curves(own, algorithms=names, envs=tasks), strict=True):
            figures.retitle(panel, title if len(tasks) == 1 else f"{title}: {env}")
            drawn.append(panel)
    seeds = own["seed"].nunique()
    caption = (
        f"{', '.join(tasks)}: evaluation return against environment steps, IQM over {seeds} seeds with pointwise 95 % "
        f"bootstrap intervals. {common.ALM} and the baselines are Table 1's runs."
    )
    table = Table(_scores(one, own, tasks), "Return at the end; IQM [95 % interval].")
    return [Figure(drawn, caption), table, *one.printed]


def _scores(one: Ablation, own: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    labels = list(dict.fromkeys(label for group in one.panels.values() for label in group))
    rows: list[dict[str, Any]] = []
    for env in tasks:
        for label in labels:
            if not common.has(own, label, env):
                continue
            middle = statistics.aggregate(select.final(own, label, env))
            row = {"task": env, "variant": label}
            row["return"] = f"{middle.estimate:,.0f} [{middle.low:,.0f}, {middle.high:,.0f}]"
            if env in SOLVED:
                (until,) = select.steps_until(own, SOLVED[env], label, env=env)
                row["median steps to solve"] = steps_text(until)
            rows.append(row)
    return pd.DataFrame(rows)


Gap = Callable[[pd.DataFrame], Samples]


def better(name: str, first: str, second: str) -> Gap:
    """How much more `first` returns than `second` at the end, over the ablation's tasks, each in units of its best.

    The unit of a task is the IQM of the better of the two, so that tasks can be pooled.
    """

    def gap(frame: pd.DataFrame) -> Samples:
        tasks = sorted(frame.loc[frame["experiment"] == name, "env"].unique())
        if not tasks:
            raise select.MissingDataError("no variant has been trained")
        scores = {label: [select.final(frame, label, env) for env in tasks] for label in (first, second)}
        units = [common.unit(*(scores[label][i] for label in scores)) for i in range(len(tasks))]
        stacked = {label: _columns([s / u for s, u in zip(scores[label], units, strict=True)]) for label in scores}
        return Samples(stacked[first], stacked[second])

    return gap


def _columns(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Scores per task as `[runs, tasks]`."""
    counts = [len(one) for one in scores]
    if len(set(counts)) > 1:
        raise select.MissingDataError(f"tasks must have equally many seeds, there are {counts}")
    return np.stack(scores, axis=1)


def no_worse(name: str, first: str, second: str, margin: float = 0.1) -> Gap:
    """As `better`, with `margin` (a share of the better return) added in favour of `first`."""

    def gap(frame: pd.DataFrame) -> Samples:
        found = better(name, first, second)(frame)
        return Samples(found.a + margin, found.b)

    return gap


def claim(text: str, figure: str, gap: Gap, note: str = "", profiles: tuple[str, ...] = ()) -> Claim:
    """A claim about final returns."""
    source, unit = f"{common.PAPER}, {figure}", "share of the better return"
    return Claim(text=text, source=source, gap=gap, unit=unit, note=note, profiles=profiles)
