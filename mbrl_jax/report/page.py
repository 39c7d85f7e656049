"""Small pieces of the page: formatted numbers, badges, interval bars, the cost table, rich text."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mbrl_jax.report.claims import Claim, Judgement, Verdict
from mbrl_jax.types import Facts

__all__ = [
    "badge",
    "bar",
    "cost_table",
    "csv_link",
    "csv_text",
    "estimate_text",
    "inline",
    "note",
    "number",
    "rich",
    "run_hours",
    "seeds_text",
]

MARKS = {Verdict.HOLDS: "✓", Verdict.FAILS: "✕", Verdict.OPEN: "○"}
_PATTERNS = (
    (r"`([^`]+)`", r"<code>\1</code>"),
    (r"\*\*([^*]+)\*\*", r"<strong>\1</strong>"),
    (r"\*([^*]+)\*", r"<em>\1</em>"),
    (r"\[([^\]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>'),
)


def number(value: object, digits: int = 4) -> str:
    """A number for reading: significant digits, thousands separated, a true minus; text as it is."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if not isinstance(value, int | float | np.number):
        return "–" if value is None or value is pd.NA else str(value)
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int | np.integer) or abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def estimate_text(judged: Judgement, unit: str) -> str:
    """Estimate, interval and unit on one line; of an exact claim its only value, or the range over its cases."""
    if np.isnan(judged.low) or np.isnan(judged.high):
        return "–"
    low, high = number(judged.low, 3), number(judged.high, 3)
    numbers = f"{number(judged.estimate, 3)} [{low}, {high}]"
    if judged.exact:
        numbers = low if low == high else f"{low} to {high}"
    return f"{numbers} {unit}".strip()


def seeds_text(runs: Sequence[Facts]) -> str:
    """How many seeds finished healthy out of how many: `15/16`."""
    healthy = sum(_healthy(facts) for facts in runs)
    return f"{healthy}/{sum(_lanes(facts) for facts in runs)}"


def run_hours(runs: Sequence[Facts]) -> float:
    """Hours that runs took, as far as they say."""
    return float(np.nansum([_float(facts.get("run_seconds")) for facts in runs])) / 3600


def badge(verdict: Verdict) -> str:
    """The coloured verdict, told apart by a mark as well."""
    return f'<span class="badge {verdict.lower()}"><span aria-hidden="true">{MARKS[verdict]}</span>{verdict}</span>'


def bar(judged: Judgement, width: int = 150, height: int = 18) -> str:
    """The interval as a bar around zero, scaled to itself; an open end runs off the edge."""
    ends = np.array([judged.low, judged.high, judged.estimate])
    if np.isnan(ends[:2]).any():
        return ""
    finite = np.abs(ends[np.isfinite(ends)])
    scale = float(finite.max()) * 1.15 if finite.size and finite.max() > 0 else 1.0
    middle, half = width / 2, width / 2 - 2
    at = np.clip(np.nan_to_num(ends / scale, nan=0.0, posinf=9.0, neginf=-9.0), -1, 1) * half + middle
    low, high = float(at[0]), max(float(at[1]), float(at[0]) + 2)
    dot = f'<circle cx="{at[2]:.1f}" cy="{height / 2}" r="3.5"/>' if np.isfinite(judged.estimate) else ""
    label = html.escape(estimate_text(judged, ""))
    return (
        f'<svg class="bar {judged.verdict.lower()}" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="interval {label}">'
        f'<line class="axis" x1="2" x2="{width - 2}" y1="{height / 2}" y2="{height / 2}"/>'
        f'<rect x="{low:.1f}" y="{height / 2 - 3}" width="{high - low:.1f}" height="6" rx="3"/>{dot}'
        f'<line class="zero" x1="{middle}" x2="{middle}" y1="1" y2="{height - 1}"/></svg>'
    )


def cost_table(runs: Sequence[Facts]) -> pd.DataFrame:
    """What every run cost and where it ran."""
    rows = []
    for facts in runs:
        count, seconds = _lanes(facts), _float(facts.get("run_seconds"))
        versions = facts.get("versions") if isinstance(facts.get("versions"), dict) else {}
        commit, _, dirty = str(facts.get("commit", "unknown")).partition("+")
        rows.append(
            {
                "algorithm": facts["algorithm"],
                "environment": facts["env"],
                "seeds finished": f"{_healthy(facts)}/{count}",
                "compile s": _float(facts.get("compile_seconds")),
                "run s": seconds,
                "s per seed": seconds / count,
                # Where a fit stops by itself, or nothing is fitted, there is no number to divide.
                "updates/s": _float(facts.get("updates") or None) * count / seconds if seconds else np.nan,
                "device": facts.get("device", "unknown"),
                "precision": facts.get("precision", "unknown"),
                "jax": (versions or {}).get("jax", "unknown"),
                "commit": commit[:8] + ("+" + dirty if dirty else ""),
            }
        )
    return pd.DataFrame(sorted(rows, key=lambda row: (row["environment"], row["algorithm"])))


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV; numbers with nine significant digits, which tell all numbers of single precision apart."""
    return frame.to_csv(index=False, float_format="%.9g")


def csv_link(frame: pd.DataFrame, name: str) -> str:
    """A link that saves a table as `name.csv`; the data are in the page."""
    data = base64.b64encode(csv_text(frame).encode()).decode()
    return f'<a download="{html.escape(name)}.csv" href="data:text/csv;base64,{data}">data as CSV</a>'


def note(claim: Claim) -> str:
    """What a reader must know about how a claim is tested."""
    return f'<p class="source">{inline(claim.note)}</p>' if claim.note else ""


def rich(text: str) -> str:
    """Paragraphs, lists and inline marks as HTML; everything else is escaped."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [inline(line.strip()) for line in paragraph.splitlines()]
        if all(line.startswith("- ") for line in lines):
            parts.append("<ul>" + "".join(f"<li>{line[2:]}</li>" for line in lines) + "</ul>")
        else:
            parts.append(f"<p>{' '.join(lines)}</p>")
    return "".join(parts)


def inline(text: str) -> str:
    """One line with inline marks as HTML; everything else is escaped."""
    text = html.escape(text)
    for pattern, replacement in _PATTERNS:
        text = re.sub(pattern, replacement, text)
    return text


def _healthy(facts: Facts) -> int:
    if facts["status"] != "finished":
        return 0
    diverged = facts.get("diverged")
    return _lanes(facts) - (len(diverged) if isinstance(diverged, dict) else 0)


def _lanes(facts: Facts) -> int:
    """Seeds of a run, or seeds times labels where a sweep put several on the seed axis."""
    lanes = facts.get("lanes")
    return len(facts["seeds"]) if lanes is None or np.isnan(lanes) else int(lanes)


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan
