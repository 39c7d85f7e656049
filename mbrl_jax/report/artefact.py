"""What an experiment hands to the report: one table or figure of a paper, how it is run, drawn and judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from mbrl_jax.jobs import Job
from mbrl_jax.report.claims import Claim

__all__ = ["Animation", "Artefact", "Block", "Figure", "Table", "Text"]


@dataclass(frozen=True)
class Figure:
    """One or several panels under one caption; the legend is made from the labels of their lines.

    Attributes:
      figure: a Matplotlib figure, SVG text, or a sequence of them.
      caption: what is seen, and how many seeds it rests on.
    """

    figure: Drawing | str | Sequence[Drawing | str]
    caption: str = ""

    @property
    def panels(self) -> list[Drawing | str]:
        """The panels as a list."""
        return [self.figure] if isinstance(self.figure, Drawing | str) else list(self.figure)


@dataclass(frozen=True)
class Table:
    """A data frame; numbers are formatted, text is shown as it is, and it is also written as CSV.

    Attributes:
      frame: the rows; its index is not shown.
      caption: what is shown and in which unit.
      paper: columns that hold a paper's printed numbers, mapped to where they are printed (`"Table 2"`). They are set
        apart, and sources are never merged into one column.

    Raises:
      ValueError: columns are not unique, or lack one of `paper`.
    """

    frame: pd.DataFrame
    caption: str = ""
    paper: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        strangers = [name for name in self.paper if name not in self.frame]
        if strangers or not self.frame.columns.is_unique:
            columns = ", ".join(map(str, self.frame.columns))
            raise ValueError(f"columns must be unique and hold those of the paper {strangers}, got {columns}")


@dataclass(frozen=True)
class Animation:
    """A GIF, see `figures.gif`."""

    gif: bytes
    caption: str = ""


@dataclass(frozen=True)
class Text:
    """Paragraphs with `code`, **bold**, *emphasis*, [links](https://...) and `- ` lists."""

    text: str


Block = Figure | Table | Animation | Text


class Artefact(NamedTuple):
    """One table or figure of a paper.

    Attributes:
      name: `paper/artefact`, for example `mbpo/figure2`; also the `experiment` of its results.
      title: what it shows.
      paper: source, for example `Janner et al. 2019, Figure 2`.
      jobs: `jobs(profile)` is what must be done for it, in order; jobs that others need too are the same ones there.
      blocks: `blocks(frame)` draws the results; raises `select.MissingDataError` where they are lacking.
      claims: what the paper says of it, as predicates.
      note: what deviates from the paper.
      also: other experiments whose results it uses.
      on_request: profiles whose bench of everything leaves it out, because it takes too long there; by name it runs.
      headline: whether it is the paper's headline, which a bench within a budget does first.
    """

    name: str
    title: str
    paper: str
    jobs: Callable[[str], Sequence[Job]]
    blocks: Callable[[pd.DataFrame], Sequence[Block]]
    claims: tuple[Claim, ...] = ()
    note: str = ""
    also: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()
    headline: bool = False
