"""How MnM's artefacts on continuous control are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from experiments.mnm import continuous, gaps
from experiments.mnm.continuous import MBPO, MNM
from mbrl_jax.report import Block, Figure, Table, figures, select, statistics, theme

__all__ = ["curves", "errors", "on", "returns", "scores", "seeds", "steps_text", "there", "worth"]


EARNED = ": earned"


def there(frame: pd.DataFrame, tasks: Sequence[str]) -> list[str]:
    """Those of the tasks that there are results of."""
    known = set(frame["env"])
    found = [env for env in tasks if env in known]
    if not found:
        raise select.MissingDataError(f"no results on {', '.join(tasks)}")
    return found


def on(frame: pd.DataFrame, labels: Sequence[str], env: str) -> list[str]:
    """Those of the labels that there are results of on a task."""
    known = set(frame.loc[frame["env"] == env, "algorithm"])
    return [label for label in labels if label in known]


def _of(frame: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    found = pd.DataFrame(frame[frame["algorithm"].isin(labels)])
    found.attrs.update(frame.attrs)
    return found


def seeds(frame: pd.DataFrame, labels: Sequence[str], tasks: Sequence[str]) -> int:
    """The largest number of seeds that a label has on a task."""
    chosen = frame.loc[frame["algorithm"].isin(labels) & frame["env"].isin(tasks)]
    return int(chosen["seed"].nunique())


def returns(
    frame: pd.DataFrame,
    labels: Sequence[str],
    tasks: Sequence[str],
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """Learning curves, a panel per task."""
    known = there(frame, tasks)
    panels = figures.learning_curves(_of(frame, labels), algorithms=labels, envs=known, references=references)
    for panel, env in zip(panels, known, strict=True):
        figures.retitle(panel, continuous.title(env))
    many = seeds(frame, labels, known)
    caption = (
        "Evaluation return of the policy's mean against environment steps, the random ones not counted: IQM over "
        f"{many} seeds with pointwise 95 % bootstrap intervals."
    )
    return Figure(panels, caption)


def scores(
    frame: pd.DataFrame, labels: Sequence[str], tasks: Sequence[str], published: Mapping[str, str] | None = None
) -> Table:
    """Final returns, differences to MnM-approx with their intervals, and p-values beside the paper's.

    Args:
      published: by label, what the paper says of the test that MnM-approx is better.
    """
    printed, rows = published or {}, []
    for env in there(frame, tasks):
        ours = select.final(frame, MNM, env)
        for label in on(frame, labels, env):
            score = select.final(frame, label, env)
            middle = statistics.aggregate(score)
            row = {"task": continuous.title(env), "method": label, "return at the end": _interval(middle, ",.1f")}
            row |= {"MnM-approx minus it": "–", "p": "–"}
            if label != MNM:
                gap = statistics.bootstrap(statistics.difference(), ours, score)
                p = gaps.one_sided(ours, score)
                row |= {"MnM-approx minus it": _interval(gap, ",.1f"), "p": f"{p:.3f}" if np.isfinite(p) else "–"}
            row["p, published"] = printed.get(label, "–")
            rows.append(row)
    caption = (
        f"IQM [95 % interval] over {seeds(frame, labels, tasks)} seeds of the mean of the evaluations in the last "
        "tenth of the run; p: Welch's one-sided test that MnM-approx has the higher mean."
    )
    return Table(pd.DataFrame(rows), caption, {"p, published": f"{continuous.PAPER}, Sec. 5.2"})


def _interval(found: statistics.Interval, form: str) -> str:
    return f"{found.estimate:{form}} [{found.low:{form}}, {found.high:{form}}]"


def worth(frame: pd.DataFrame, labels: Sequence[str], tasks: Sequence[str]) -> list[Block]:
    """What critics believe beside what was earned: a panel per task, and the numbers at the end."""
    panels, rows = [], []
    known = there(frame, tasks)
    for env in known:
        series = {}
        for label in on(frame, labels, env):
            found = gaps.values(frame, label, env)
            series[label] = (found.env_step, statistics.aggregate(found.value[:, None]))
            series[label + EARNED] = (found.env_step, statistics.aggregate(found.earned[:, None]))
            late = found.env_step >= found.env_step[-1] / 2
            off = np.abs(found.value - found.earned)[:, late].mean(axis=1)
            rows.append(
                {
                    "task": continuous.title(env),
                    "method": label,
                    "value at the end": _interval(statistics.aggregate(found.value[:, -1]), ",.1f"),
                    "earned at the end": _interval(statistics.aggregate(found.earned[:, -1]), ",.1f"),
                    "|value − earned|, last half": _interval(statistics.aggregate(off), ",.1f"),
                    "largest possible": f"{_best(env):,.0f}" if env in continuous.BEST else "–",
                }
            )
        lines = {"largest possible": _best(env)} if env in continuous.BEST else None
        panel = figures.lines(
            series,
            title=continuous.title(env),
            xlabel="environment steps",
            ylabel="value, task's units",
            references=lines,
        )
        for line in panel.axes[0].lines:
            if str(line.get_label()).endswith(EARNED):
                line.set_linestyle((0, (3, 1.5)))
        panels.append(panel)
    caption = (
        "The critics' mean on the imagined transitions that they learn from, divided by the reward scale, with the "
        "entropy's share; and what evaluation episodes earn, as the mean over their steps of the discounted rest if "
        f"every step pays the same, dashed. IQM over {seeds(frame, labels, known)} seeds with 95 % intervals."
    )
    return [Figure(panels, caption), Table(pd.DataFrame(rows), "IQM [95 % interval] over seeds.")]


def _best(env: str) -> float:
    return continuous.BEST[env] / (1 - gaps.GAMMA)


def _seed_by_seed(frame: pd.DataFrame, env: str, label: str, twin: str) -> Drawing:
    """A panel with a line per seed of a model's error, and the smallest of its twin's."""
    found = select.curves(frame, label, env, gaps.MSE, worst=np.inf)
    figure, axes = figures.panel(continuous.title(env), "environment steps", "squared error, in changes' own")
    tints = theme.colors([f"seed {seed}" for seed in found.seeds])
    for seed, row in zip(found.seeds, found.value, strict=True):
        axes.plot(found.env_step, row, color=tints[f"seed {seed}"], linewidth=1.2, label=f"seed {seed}")
    axes.set_yscale("log")
    axes.tick_params(which="minor", length=0)
    floor = gaps.least(frame, twin, env)
    axes.axhline(floor, color=theme.color("ink"), linewidth=1, linestyle=(0, (4, 3)))
    place = {"xycoords": ("axes fraction", "data"), "xytext": (-2, 3), "textcoords": "offset points", "ha": "right"}
    axes.annotate(f"smallest of {twin}", (1, floor), fontsize=8, **place)
    return figure


def errors(frame: pd.DataFrame, tasks: Sequence[str], label: str = MNM, twin: str = MBPO) -> list[Block]:
    """A model's error on steps not yet learned from, a line per seed, and the smallest of its twin's."""
    known, rows = there(frame, tasks), []
    for env in known:
        for name in on(frame, (label, twin), env):
            value = select.curves(frame, name, env, gaps.MSE, worst=np.inf).value
            numbers = {"first": value[:, 0], "smallest": value.min(axis=1), "largest": value.max(axis=1)}
            row = {"task": continuous.title(env), "model of": name}
            for column, each in {**numbers, "at the end": gaps.at_end(value)}.items():
                row[column] = _interval(statistics.aggregate(each), ".2g")
            rows.append(row)
    caption = (
        f"Squared error of the mean prediction of {label} on each step before it is learned from, in squared standard "
        "deviations of the changes, mean over an iteration; a line per seed. Dashed: the smallest of the twin fitted "
        "by likelihood, mean over seeds."
    )
    panels = [_seed_by_seed(frame, env, label, twin) for env in known]
    return [Figure(panels, caption), Table(pd.DataFrame(rows), "IQM [95 % interval] over seeds.")]


def curves(
    frame: pd.DataFrame, labels: Sequence[str], tasks: Sequence[str], metric: str, ylabel: str, log: bool = False
) -> list[Drawing]:
    """A metric over the run, a panel per task, of those labels that have it."""
    known, chosen = there(frame, tasks), _of(frame, labels)
    found = figures.learning_curves(chosen, metric, algorithms=labels, envs=known, ylabel=ylabel, log=log)
    for panel, env in zip(found, known, strict=True):
        figures.retitle(panel, continuous.title(env))
    return found


def steps_text(until: np.ndarray) -> str:
    """The median of steps to solve over seeds, and how many seeds did."""
    half = np.median(until)
    solved = f"{np.isfinite(until).sum()}/{len(until)} seeds"
    return f"{half:,.0f} ({solved})" if np.isfinite(half) else f"not within the run ({solved})"
