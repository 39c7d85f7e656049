"""The report's one palette, its CSS variables, and figures as inline SVG that follow a light or a dark page."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

__all__ = ["RC", "Tone", "as_given", "color", "colors", "css", "in_legend", "legend", "standalone_svg", "to_svg"]


class Tone(NamedTuple):
    """A colour on a light page and on a dark one. Light colours are unique: figures are translated by them."""

    light: str
    dark: str


ROLES = {
    "page": Tone("#fbfaf8", "#12151b"),
    "panel": Tone("#ffffff", "#191d25"),
    "sunken": Tone("#f3f1ec", "#20252f"),
    "line": Tone("#e2dfd8", "#2f3642"),
    "ink": Tone("#1b2130", "#e8eaf0"),
    "muted": Tone("#646b7a", "#9aa3b4"),
    "accent": Tone("#1f56b5", "#8ab4ff"),
    "holds": Tone("#17753f", "#5fd08a"),
    "fails": Tone("#b3261e", "#ff8f86"),
    "open": Tone("#8a6100", "#e3b756"),
}
ALGORITHMS = {
    "mbpo": Tone("#2468d2", "#6ba5ff"),
    "sac": Tone("#737b8c", "#a3acbd"),
    "mnm": Tone("#8a3ec4", "#c792f5"),
    "alm": Tone("#0b8874", "#4ecfb6"),
    "slbo": Tone("#cf6a0a", "#f7a450"),
    "mao": Tone("#b0851a", "#e6c25c"),
    "dam": Tone("#c62d54", "#f6819b"),
    "ppo": Tone("#b8308a", "#f48fce"),
    "pets": Tone("#2f8a35", "#74d07c"),
    "steve": Tone("#7c4a24", "#cf9a70"),
    "truth": Tone("#1b2131", "#e8eaf1"),
}
EXTRA = {
    "x0": Tone("#13899f", "#58cbe0"),
    "x1": Tone("#3b9c3f", "#79d47c"),
    "x2": Tone("#d0459f", "#f58fcf"),
    "x3": Tone("#e0662f", "#ff9d6e"),
    "x4": Tone("#96562c", "#d39b72"),
    "x5": Tone("#5b55c9", "#a39dff"),
}
_NAMED = {**ROLES, **ALGORITHMS, **EXTRA}
_JOINER = "\u2060"
"""A mark without width that no label begins with."""
SANS = "Inter, 'Helvetica Neue', 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"

RC: Any = {
    "font.size": 9.5,
    "font.family": "sans-serif",
    "text.color": ROLES["ink"].light,
    "axes.labelcolor": ROLES["muted"].light,
    "axes.titlecolor": ROLES["ink"].light,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": ROLES["line"].light,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": ROLES["line"].light,
    "grid.linewidth": 0.8,
    "xtick.color": ROLES["line"].light,
    "ytick.color": ROLES["line"].light,
    "xtick.labelcolor": ROLES["muted"].light,
    "ytick.labelcolor": ROLES["muted"].light,
    "ytick.major.size": 0,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "mbrl_jax",
}


def colors(labels: Iterable[str]) -> dict[str, str]:
    """The light colour of every label: an algorithm has its own everywhere, other labels take spare ones in turn.

    A variant such as `mbpo k=200` is another label; it takes a spare colour.
    """
    spare = [tone.light for tone in EXTRA.values()]
    chosen: dict[str, str] = {}
    for label in labels:
        if label not in chosen:
            known = ALGORITHMS.get(label.lower())
            chosen[label] = known.light if known else spare[sum(one in spare for one in chosen.values()) % len(spare)]
    return chosen


def in_legend(label: str) -> str:
    """A label as Matplotlib takes it into a legend: it leaves out those that are empty or begin with `_`."""
    return label if label and not label.startswith("_") else _JOINER + label


def as_given(label: str) -> str:
    """A label as it was before `in_legend`; empty where Matplotlib made it up."""
    return "" if label.startswith("_") else label.removeprefix(_JOINER)


def legend(figure: Figure) -> dict[str, str]:
    """The labels of a figure's lines and bars as they were given, each with its colour as CSS writes it."""
    found: dict[str, str] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            own = getattr(handle, "get_color", None)  # bars have none
            found.setdefault(as_given(label), color("muted") if own is None else to_hex(own()))
    return found


def color(name: str) -> str:
    """The light colour of a role (`ink`, `muted`, `holds`, ...) or an algorithm."""
    return _NAMED[name].light


def variable(light: str) -> str:
    """A colour as CSS: the variable that turns with the page where the palette knows it, else itself."""
    for name, tone in _NAMED.items():
        if tone.light == light:
            return f"var(--{name})"
    return light


def css() -> str:
    """The palette as CSS variables and the report's style sheet."""
    return _variables(":root") + (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def to_svg(figure: Figure | str, prefix: str, alt: str = "") -> str:
    """A figure as inline SVG: page's fonts, palette as CSS variables, ids unique by `prefix`, no fixed size.

    Args:
      figure: a Matplotlib figure or SVG text.
      prefix: before every id in it.
      alt: what a reader hears who does not see it.
    """
    if isinstance(figure, str):
        text = figure
    else:
        buffer = io.StringIO()
        with matplotlib.rc_context(RC):
            _as_it_stands(figure)
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for name, tone in _NAMED.items():
        text = re.sub(tone.light, f"var(--{name})", text, flags=re.IGNORECASE)
    text = re.sub(r"(font: [^;\"]*?\d+px) [^;\"]+", r"\1 var(--sans)", text)
    text = re.sub(r"font-family: [^;\"]+", "font-family: var(--sans)", text)
    for pattern in (r'(\bid=")', r"(url\(#)", r'(href="#)'):
        text = re.sub(pattern, rf"\g<1>{prefix}-", text)
    return _fluid(text, alt)


def standalone_svg(inline: str) -> str:
    """An inline SVG as a file of its own: carries the palette and a panel behind the drawing."""
    head, _, body = inline.partition(">")
    style = f"<style>{_variables('svg')}</style>"
    return f'{head}>{style}<rect width="100%" height="100%" fill="var(--panel)"/>{body}'


def _as_it_stands(figure: Figure) -> None:
    """Keeps Matplotlib from taking `$` in titles and names for mathematics; ticks of logarithmic axes are meant so."""
    for axes in figure.axes:
        ticks = {*axes.xaxis.findobj(Text), *axes.yaxis.findobj(Text)} - {axes.xaxis.label, axes.yaxis.label}
        for text in axes.findobj(Text):
            if isinstance(text, Text) and text not in ticks:
                text.set_parse_math(False)


def _fluid(text: str, alt: str) -> str:
    """Takes width and height from the opening tag and gives the natural width as a limit."""
    head, _, body = text.partition(">")
    width = re.search(r'\bwidth="([\d.]+)(pt|px)?"', head)
    limit = f"{float(width[1]) * (4 / 3 if width[2] == 'pt' else 1):.0f}px" if width else "100%"
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    label = f' aria-label="{html.escape(alt)}"' if alt else ""
    return f'{head} style="width:100%;max-width:{limit};height:auto" role="img"{label}>{body}'


def _variables(selector: str) -> str:
    light = ";".join(f"--{name}:{tone.light}" for name, tone in _NAMED.items())
    dark = ";".join(f"--{name}:{tone.dark}" for name, tone in _NAMED.items())
    return (
        f"{selector}{{--sans:{SANS};{light}}}\n@media screen and (prefers-color-scheme:dark){{{selector}{{{dark}}}}}\n"
    )
