"""What stands behind a drawing: its numbers as a table, its description in words, and the line of code it is from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mbrl_jax.report import theme

__all__ = ["Recorded", "description", "numbers", "place"]

SHOWN = 6
"""Labels that a description names; the table has them all."""


class Recorded(Line2D):
    """A line that carries the numbers it stands for, of which it shows a part: a band is an area of its own."""

    def __init__(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, rows: pd.DataFrame, **style):
        super().__init__(x, y, **style)
        self.rows = rows


def numbers(panels: Sequence[Figure | str]) -> pd.DataFrame:
    """The numbers of a figure's panels: `panel`, `series`, `x`, `y`, and `low`, `high`, `value` where there are any.

    Lines, points, bars and images are read from the drawing, those of `figures` with their intervals. Of SVG text
    nothing is known. An image's `x` and `y` are column and row.
    """
    parts = [
        rows.assign(panel=_title(panel, place))
        for place, panel in enumerate(panels)
        if isinstance(panel, Figure)
        for axes in panel.axes
        for rows in _of_axes(axes)
    ]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    wanted = ("panel", "series", "x", "y", "low", "high", "value")
    return pd.DataFrame(table[[name for name in wanted if name in table]])


def description(panel: Figure | str) -> str:
    """A panel in words, for those who do not see it: title, axes, and what is drawn."""
    if isinstance(panel, str):
        return "a drawing; the caption says what it shows"
    parts = []
    for axes in panel.axes:
        names = list(dict.fromkeys(str(name) for rows in _of_axes(axes) for name in rows["series"] if name))
        across = " against ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        drawn = ": ".join(filter(None, (across, ", ".join(names[:SHOWN]) + more)))
        parts.append(". ".join(filter(None, (axes.get_title(loc="left") or axes.get_title(), drawn))))
    return "; ".join(filter(None, parts)) or "a drawing; the caption says what it shows"


def place(function: Callable) -> str:
    """Where a function is written: file and line, from the top folder of its package."""
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:
        return function.__class__.__module__.replace(".", "/") + ".py"
    return f"{function.__module__.replace('.', '/')}.py:{code.co_firstlineno}"


def _title(figure: Figure, place: int) -> str:
    return next((title for axes in figure.axes if (title := axes.get_title(loc="left"))), str(place + 1))


def _of_axes(axes: Axes) -> list[pd.DataFrame]:
    parts = [line.rows if isinstance(line, Recorded) else _line(line) for line in axes.lines if _is_data(line, axes)]
    for container in axes.containers:
        if isinstance(container, BarContainer):
            parts.append(_bars(container))
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            at = np.ma.filled(np.ma.asarray(collection.get_offsets(), dtype=float), np.nan)
            parts.append(
                pd.DataFrame({"series": theme.as_given(str(collection.get_label())), "x": at[:, 0], "y": at[:, 1]})
            )
        elif isinstance(collection, QuadMesh):
            parts += _image(collection.get_array())
    for image in axes.images:
        parts += _image(image.get_array())
    return [part for part in parts if len(part)]


def _is_data(line: Line2D, axes: Axes) -> bool:
    """Whether a line lies in the data's coordinates; those across the whole panel are named beside it."""
    return isinstance(line, Recorded) or line.get_transform() == axes.transData


def _line(line: Line2D) -> pd.DataFrame:
    x, y = (np.asarray(part) for part in line.get_data())
    return pd.DataFrame({"series": theme.as_given(str(line.get_label())), "x": x, "y": y})


def _bars(container: BarContainer) -> pd.DataFrame:
    upright = container.orientation != "horizontal"
    ends = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in container]
    if not upright:
        ends = [(bar.get_y() + bar.get_height() / 2, bar.get_x() + bar.get_width()) for bar in container]
    return pd.DataFrame(ends, columns=["x", "y"]).assign(series=theme.as_given(str(container.get_label())))


def _image(values: np.ndarray | None) -> list[pd.DataFrame]:
    """The cells of an image with one number each; a picture of colours holds no data."""
    if values is None or values.ndim != 2:
        return []
    row, column = np.indices(values.shape)
    cells = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    return [pd.DataFrame({"series": "", "x": column.ravel(), "y": row.ravel(), "value": cells.ravel()})]
