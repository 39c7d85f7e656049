"""All claims on one sheet: by paper with the decided ones first, a filter by verdict, and claims against profiles.

The filter is a row of radio buttons that the style sheet listens to, so the page needs no script.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mbrl_jax.report import page
from mbrl_jax.report.claims import Claim, Judgement, Verdict
from mbrl_jax.report.gather import PROFILES, Section
from mbrl_jax.report.papers import Paper, paper_of
from mbrl_jax.results import file_name

__all__ = ["Row", "by_paper", "claims", "evidence", "filters", "matrix", "radio", "region", "rows_of", "waits"]

ORDER = (Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN)


class Row(NamedTuple):
    """A claim with its judgement, and where it stands."""

    section: Section
    claim: Claim
    judged: Judgement
    place: int

    @property
    def kind(self) -> str:
        """What the filter knows it by: its verdict, or `waiting` where there is nothing to judge."""
        return "waiting" if waits(self.judged) else self.judged.verdict.lower()


def waits(judged: Judgement) -> bool:
    """Whether there is nothing yet that a verdict could rest on."""
    return judged.n_seeds == 0 and not judged.exact


def by_paper(sections: Sequence[Section]) -> dict[Paper, list[Section]]:
    """The sections of each paper, papers in the order in which they first come."""
    found: dict[Paper, list[Section]] = {}
    for section in sections:
        found.setdefault(paper_of(section.artefact.paper), []).append(section)
    return found


def rows_of(sections: Sequence[Section]) -> list[Row]:
    """The claims of some sections: those that hold, those that fail, the open ones, then those without results."""
    rows = [
        Row(section, claim, judged, place)
        for section in sections
        for place, (claim, judged) in enumerate(section.judged)
    ]
    return sorted(rows, key=lambda row: (waits(row.judged), ORDER.index(row.judged.verdict)))


def claims(sections: Sequence[Section]) -> str:
    """The section with every paper's claims and the filter; nothing if there are no claims."""
    everything = rows_of(sections)
    if not everything:
        return ""
    groups = "".join(_group(paper, rows) for paper, own in by_paper(sections).items() if (rows := rows_of(own)))
    return f'<section id="claims" class="filtered"><h2>Claims</h2>{filters(everything)}{groups}</section>'


def filters(rows: Sequence[Row]) -> str:
    """Radio buttons: those with results (at first), one verdict, those without results, all."""
    counts = Counter(row.kind for row in rows)
    there = len(rows) - counts["waiting"]
    options = [("results", f"with results {there}")]
    options += [(v.lower(), f"{page.MARKS[v]} {v} {counts[v.lower()]}") for v in ORDER]
    options += [("waiting", f"without results {counts['waiting']}"), ("all", f"all {len(rows)}")]
    return radio("Show claims", options, "results" if there else "all")


def radio(legend: str, options: Sequence[tuple[str, str]], chosen: str) -> str:
    """Radio buttons that the style sheet knows: `(kind, text)` each, one of them chosen."""
    buttons = "".join(
        f'<input type="radio" name="verdict" id="show-{kind}"{" checked" * (kind == chosen)}>'
        f'<label for="show-{kind}" class="{kind}">{text}</label>'
        for kind, text in options
    )
    return f'<fieldset class="filter"><legend>{legend}</legend>{buttons}</fieldset>'


def matrix(sections: Sequence[Section]) -> str:
    """Every claim that has results against the profiles it was judged in."""
    there = {profile for section in sections for profile in section.across if profile}
    profiles = [*PROFILES, *sorted(there - set(PROFILES))]
    groups = [
        _matrix_rows(paper, rows, profiles)
        for paper, own in by_paper(sections).items()
        if (rows := [row for row in rows_of(own) if any(not waits(one) for one in _across(row).values())])
    ]
    if not groups:
        return ""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in profiles)
    table = f'<table class="matrix"><thead><tr><th scope="col">claim</th>{head}</tr></thead>{"".join(groups)}</table>'
    said = "A verdict is about the scale of its profile; a dash says that there are no results of it."
    inside = f'<p class="source">{said}</p>{region(table, "claims by profile")}'
    return f'<details id="profiles"><summary>Claims by profile</summary>{inside}</details>'


def region(table: str, label: str) -> str:
    """A table that scrolls within its own box, with the keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(label)}">{table}</div>'


def evidence(claim: Claim, judged: Judgement) -> str:
    """The interval as a bar and in numbers, and what it rests on."""
    text = page.estimate_text(judged, claim.unit)
    remarks = [f"{judged.n_seeds} seeds"] if judged.n_seeds else []
    remarks += [f"{judged.n_diverged} of the results' seeds diverged"] if judged.n_diverged else []
    remarks += [judged.note] if judged.note else []
    numbers = f"<p>{html.escape(text)}</p>" if text != "–" else ""
    return f'{page.bar(judged)}{numbers}<p class="source">{html.escape("; ".join(remarks))}</p>'


def _group(paper: Paper, rows: Sequence[Row]) -> str:
    counts = Counter(row.kind for row in rows)
    tally = " ".join(f"<span>{page.badge(v)} {counts[v.lower()]}</span>" for v in ORDER if counts[v.lower()])
    title = f" <small>{html.escape(paper.title)}</small>" if paper.title else ""
    head = '<thead><tr><th scope="col">verdict</th><th scope="col">claim</th>'
    head += '<th scope="col">gap, 95 % interval or exact</th></tr></thead>'
    body = "".join(map(_row, rows))
    kinds = " ".join(f"has-{kind}" for kind in sorted(counts))
    name = f'<span class="method">{html.escape(paper.method)}</span>{title}<span class="counts">{tally}</span>'
    table = f'<table class="claims">{head}<tbody>{body}</tbody></table>'
    return f'<details open class="group {kinds}"><summary>{name}</summary>{table}</details>'


def _row(row: Row) -> str:
    artefact = row.section.artefact
    link = f'<a href="#{file_name(artefact.name)}">{html.escape(artefact.name)}</a>'
    chip = f'<span class="chip {html.escape(row.section.profile)}">{html.escape(row.section.profile)}</span>'
    return (
        f'<tr class="row {row.kind}"><td>{page.badge(row.judged.verdict)}</td>'
        f'<td class="claim">{page.rich(row.claim.text)}{page.note(row.claim)}'
        f'<p class="source">{link}{chip if row.section.profile else ""}</p></td>'
        f'<td class="evidence">{evidence(row.claim, row.judged)}</td></tr>'
    )


def _across(row: Row) -> dict[str, Judgement]:
    return {profile: judged[row.place] for profile, judged in row.section.across.items()}


def _matrix_rows(paper: Paper, rows: Sequence[Row], profiles: Sequence[str]) -> str:
    span = len(profiles) + 1
    head = f'<tr class="of-paper"><th scope="rowgroup" colspan="{span}">{html.escape(paper.method)}</th></tr>'
    return f"<tbody>{head}{''.join(_matrix_row(row, profiles) for row in rows)}</tbody>"


def _matrix_row(row: Row, profiles: Sequence[str]) -> str:
    across = _across(row)
    cells = "".join(f"<td>{_cell(across.get(name), row.claim.unit)}</td>" for name in profiles)
    link = f'<a href="#{file_name(row.section.artefact.name)}">{page.inline(row.claim.text)}</a>'
    return f'<tr><th scope="row">{link}</th>{cells}</tr>'


def _cell(judged: Judgement | None, unit: str) -> str:
    if judged is None or waits(judged):
        return "–"
    numbers = html.escape(page.estimate_text(judged, unit))
    return f'<span title="{numbers}">{page.badge(judged.verdict)}</span>'
