"""Figures that all artefacts share. Each panel is a figure of its own, so that the page can arrange them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from mbrl_jax.report import data, select, statistics, theme
from mbrl_jax.report.published import published
from mbrl_jax.report.statistics import Interval

__all__ = ["PANEL", "gif", "intervals", "learning_curves", "lines", "panel", "performance_profile", "retitle"]

PANEL = (4.6, 3.1)
"""Width and height of a panel in inches; two stand side by side on a wide page."""
_INTERPOLATED = "Seeds of {}, recorded at different steps, are interpolated linearly."
LABEL = 1 / 6
"""Share of a panel's width that the name of a horizontal line may take."""


def panel(
    title: str = "", xlabel: str = "", ylabel: str = "", size: tuple[float, float] = PANEL, pad: float | None = None
) -> tuple[Figure, Axes]:
    """An empty panel in the report's style, for drawings of an artefact's own; colours from `theme.colors`.

    `pad` points are between the title and what it is above.
    """
    with matplotlib.rc_context(theme.RC):
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
        axes.set_title(title, pad=pad)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
    return figure, axes


def learning_curves(
    frame: pd.DataFrame,
    metric: str = select.RETURN,
    *,
    algorithms: Sequence[str] | None = None,
    envs: Sequence[str] | None = None,
    references: Mapping[str, Mapping[str, float]] | None = None,
    ylabel: str = "evaluation return",
    log: bool = False,
) -> list[Figure]:
    """IQM over seeds with its pointwise 95 % band against environment steps; one panel per environment.

    A point is drawn where all seeds of an algorithm have a value; seeds that were recorded at different steps are
    interpolated linearly onto an even grid, as `select.on_common_steps` does it. The figure's label (`get_label()`)
    says so, and the report adds it to the caption. A diverged seed counts as the worst outcome, so a curve breaks off
    where more than a quarter of its seeds have diverged. Behind the evaluation return of a method on a task of which
    its authors' curve is known (`published`), that curve is dashed, and the label says where it is from.

    Args:
      frame: as `results.load` gives it.
      metric: what is drawn.
      algorithms: lines in this order; all by default.
      envs: panels in this order; all by default.
      references: per environment, named horizontal lines such as the paper's final return.
      ylabel: label of the value axis.
      log: logarithmic value axis.
    """
    rows = frame.loc[frame["metric"] == metric]
    names = list(algorithms or rows["algorithm"].unique())
    tint = theme.colors(names)
    figures = []
    for env in envs or sorted(rows["env"].unique()):
        figure, axes = panel(env, "environment steps", ylabel)
        lost, notes = [], []
        for name in names:
            if ((rows["env"] == env) & (rows["algorithm"] == name)).any():
                found, interpolated = select.on_common_steps(select.curves(rows, name, env, metric))
                if found.env_step.size:
                    _line(axes, found.env_step, statistics.aggregate(found.value[:, None]), tint[name], name)
                    notes += [_INTERPOLATED.format(name)] * interpolated
                    if metric == select.RETURN:
                        notes += _published(axes, env, name, found.env_step[-1], tint[name])
                else:
                    notes.append(f"Seeds of {name} have no steps in common and are not drawn.")
                if found.diverged.any():
                    lost.append(f"{name}: {found.diverged.sum()} of {len(found.seeds)} diverged")
        figure.set_label(" ".join(notes))
        _finish(axes, log)
        _references(axes, (references or {}).get(env, {}))
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        red = theme.color("fails")
        axes.text(0.99, 0.03, "\n".join(lost), ha="right", va="bottom", color=red, fontsize=8, transform=axes.transAxes)
        figures.append(figure)
    return figures


def retitle(figure: Figure, title: str) -> None:
    """Replaces the title of a panel, in the report's style."""
    with matplotlib.rc_context(theme.RC):
        figure.axes[0].set_title(title)


def lines(
    series: Mapping[str, tuple[np.ndarray, np.ndarray | Interval]],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    logx: bool = False,
    logy: bool = False,
    markers: bool = False,
    references: Mapping[str, float] | None = None,
    size: tuple[float, float] = PANEL,
) -> Figure:
    """Named lines `x -> y`, with a band where `y` is an `Interval`.

    Args:
      series: label to (x `[points]`, y `[points]` or an interval of such).
      title: above the panel.
      xlabel: label below.
      ylabel: label beside.
      logx: logarithmic x axis.
      logy: logarithmic y axis.
      markers: draw the points too.
      references: named horizontal lines.
      size: inches.
    """
    figure, axes = panel(title, xlabel, ylabel, size)
    tint = theme.colors(series)
    for label, (x, y) in series.items():
        band = y if isinstance(y, Interval) else Interval(np.asarray(y), np.asarray(y), np.asarray(y))
        _line(axes, np.asarray(x), band, tint[label], label, "o" if markers else "")
    _finish(axes, logy)
    if logx:
        axes.set_xscale("log")
        axes.tick_params(which="minor", length=0)
    elif max((np.max(x) for x, _ in series.values()), default=0) >= 10_000:
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    elif all(np.issubdtype(np.asarray(x).dtype, np.integer) for x, _ in series.values()):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _references(axes, references or {})
    return figure


def performance_profile(
    scores: Mapping[str, np.ndarray], thresholds: np.ndarray, xlabel: str = "normalised score τ", title: str = ""
) -> Figure:
    """Fraction of runs above each threshold, with 95 % bands.

    Args:
      scores: label to `[runs, tasks]`, normalised.
      thresholds: `[points]`.
      xlabel: label below.
      title: above the panel.
    """
    profiles = {name: (thresholds, statistics.performance_profile(one, thresholds)) for name, one in scores.items()}
    figure = lines(profiles, title=title, xlabel=xlabel, ylabel="fraction of runs with score > τ")
    figure.axes[0].set_ylim(-0.02, 1.02)
    return figure


def intervals(
    estimates: Mapping[str, Interval], xlabel: str = "", title: str = "", references: Mapping[str, float] | None = None
) -> Figure:
    """One row per label: the point estimate on the bar of its interval.

    Args:
      estimates: label to a scalar interval.
      xlabel: label below.
      title: above the panel.
      references: named vertical lines.
    """
    figure, axes = panel(title, xlabel, size=(PANEL[0], 0.85 + 0.36 * len(estimates)), pad=16 if references else None)
    tint = theme.colors(estimates)
    for row, (label, (estimate, low, high)) in enumerate(estimates.items()):
        if np.isfinite([low, high]).all():
            axes.barh(row, high - low, left=low, height=0.5, color=tint[label], alpha=0.3, linewidth=0)
        if np.isfinite(estimate):
            ends = {"series": label, "x": [float(estimate)], "y": row, "low": float(low), "high": float(high)}
            style = {"color": tint[label], "linewidth": 2.4}
            axes.add_line(data.Recorded([float(estimate)] * 2, [row - 0.25, row + 0.25], pd.DataFrame(ends), **style))
    for label, value in (references or {}).items():
        axes.axvline(value, color=theme.color("muted"), linewidth=1, linestyle=(0, (4, 3)))
        style = {"xytext": (0, 2), "textcoords": "offset points", "fontsize": 8, "color": theme.color("muted")}
        axes.annotate(label, (value, 1), xycoords=("data", "axes fraction"), **style)
    axes.set_yticks(range(len(estimates)), list(estimates))
    for tick in axes.get_yticklabels():
        tick.set_color(theme.color("ink"))
        tick.set_parse_math(False)
    axes.autoscale_view()
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.use_sticky_edges = False
    axes.margins(x=0.06)
    return figure


def gif(frames: np.ndarray, fps: float = 25.0) -> bytes:
    """Frames `uint8 [time, height, width, 3]` as an endless GIF.

    Args:
      fps: frames per second.

    Raises:
      ValueError: the frames have another shape or dtype.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be uint8 [time, height, width, 3], got {frames.dtype} {frames.shape}")
    images = [Image.fromarray(frame).quantize(64, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=1000 / fps, loop=0, optimize=True)
    return buffer.getvalue()


def _line(axes: Axes, x: np.ndarray, band: Interval, tint: str, label: str, marker: str = "") -> None:
    estimate, low, high = (np.asarray(part, dtype=float) for part in band)
    estimate = np.where(np.isfinite(estimate), estimate, np.nan)
    if not np.array_equal(low, high):
        known = np.isfinite(estimate)
        floor, ceiling = _ends((low, high, estimate))
        low, high = np.clip(low, floor, ceiling), np.clip(high, floor, ceiling)
        axes.fill_between(x, low, high, where=known, color=tint, alpha=0.16, linewidth=0)
    rows = pd.DataFrame({"series": label, "x": x, "y": estimate, "low": band.low, "high": band.high})
    style = {"color": tint, "label": theme.in_legend(label), "marker": marker or "None", "markersize": 4}
    axes.add_line(data.Recorded(x, estimate, rows, **style))
    axes.autoscale_view()


def _published(axes: Axes, env: str, label: str, until: float, tint: str) -> list[str]:
    """Draws the authors' curve as far as ours goes, if there is one; says where it is from."""
    curve = published(env, label, until)
    if curve is None:
        return []
    rows = pd.DataFrame({"series": f"{label}, published", "x": curve.env_step, "y": curve.value})
    style = {"color": tint, "linewidth": 1.3, "linestyle": (0, (5, 2)), "zorder": 1.5, "alpha": 0.85}
    axes.add_line(data.Recorded(curve.env_step, curve.value, rows, **style))
    axes.autoscale_view()
    return [f"Dashed: {curve.method} as published ({curve.source})."]


def _ends(parts: Iterable[np.ndarray]) -> tuple[float, float]:
    values = np.concatenate([np.ravel(part) for part in parts])
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def _finish(axes: Axes, log: bool) -> None:
    if log:
        axes.set_yscale("log")
        axes.tick_params(which="minor", length=0)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "−")))
    axes.margins(x=0.01)


def _references(axes: Axes, values: Mapping[str, float]) -> None:
    """Named horizontal lines; each name stands at the end of its line that is farther from the curves."""
    curves = list(axes.lines)
    for label, value in values.items():
        axes.axhline(value, color=theme.color("muted"), linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        left = _room(axes, curves, value, 0) > _room(axes, curves, value, 1)
        where, aside, align = (0, 2, "left") if left else (1, -2, "right")
        place = {"xycoords": ("axes fraction", "data"), "xytext": (aside, 3), "textcoords": "offset points"}
        axes.annotate(label, (where, value), ha=align, fontsize=8, color=theme.color("muted"), **place)


def _room(axes: Axes, curves: Sequence[Line2D], value: float, end: int) -> float:
    """The smallest distance of any curve from a height, on the scale of the axis, in the sixth of the panel at an end.

    0 where a curve crosses it; infinite where there is none.
    """
    low, high = axes.get_xlim()
    across, up = axes.xaxis.get_transform().transform, axes.yaxis.get_transform().transform
    start, stop = across(np.array([low, high]))
    room = np.inf
    for curve in curves:
        x, y = (np.asarray(part, dtype=float) for part in curve.get_data())
        share = (across(x) - start) / (stop - start)
        near = np.isfinite(y) & (share <= LABEL if end == 0 else share >= 1 - LABEL)
        if near.any():
            gaps = up(y[near]) - up(np.array([value]))
            room = min(room, 0.0 if gaps.min() < 0 < gaps.max() else float(np.abs(gaps).min()))
    return room


def _thousands(value: float, _: int | None = None) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:g}M"
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
