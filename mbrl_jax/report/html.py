"""The report as one self-contained HTML page: inline styles, SVG and GIFs, no script, nothing fetched."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

import pandas as pd

from mbrl_jax.report import page, theme
from mbrl_jax.report.artefact import Animation, Table, Text
from mbrl_jax.report.claims import Claim, Judgement, Verdict
from mbrl_jax.report.gather import PROFILES, Drawn, Section
from mbrl_jax.results import file_name
from mbrl_jax.types import Facts

__all__ = ["render"]

TITLE = "mbrl_jax results"
LEAD = (
    "Every figure and table of the papers that has been re-run here, beside the printed numbers, and what our evidence "
    "says about the papers' claims. A claim is a gap that is positive where the paper is right: it HOLDS when the 95 % "
    "bootstrap interval over seeds lies above zero, FAILS when it lies below, and is OPEN otherwise. Exact results are "
    "judged without an interval."
)


def render(sections: Sequence[Section]) -> str:
    """The whole page."""
    body = "".join([_header(sections), _scoreboard(sections), *_papers(sections)])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{TITLE}</title><style>{theme.css()}</style></head><body>"
        f'<div class="layout">{_navigation(sections)}<main>{body}{_footer(sections)}</main></div></body></html>\n'
    )


def chance(sections: Sequence[Section]) -> str:
    """What to expect of chance where so many claims are judged."""
    judged = [one for section in sections for _, one in section.judged]
    uncertain = sum(not one.exact and one.n_seeds > 0 for one in judged)
    return (
        f"{uncertain} of the claims have an interval, each at 95 % and without correction for their number: where "
        "there is no effect at all, about one in twenty gets a verdict all the same. A verdict is about the profile it "
        "stands beside; FAILS on a laptop does not refute the paper's scale."
    )


def _navigation(sections: Sequence[Section]) -> str:
    items = ['<li><a href="#summary">Summary</a></li>']
    for paper, group in groupby(sections, key=_paper):
        links = "".join(f'<li><a href="#{file_name(s.artefact.name)}">{_part(s)}</a></li>' for s in group)
        items.append(f"<li><span>{html.escape(paper)}</span><ul>{links}</ul></li>")
    return f'<nav aria-label="Contents"><strong>mbrl_jax</strong><ul>{"".join(items)}</ul></nav>'


def _header(sections: Sequence[Section]) -> str:
    everything = [judged for section in sections for _, judged in section.judged]
    verdicts = Counter(judged.verdict for judged in everything if not _waits(judged))
    waiting = sum(_waits(judged) for judged in everything)
    runs = _all_runs(sections)
    share = "".join(
        f'<i class="{verdict.lower()}" style="flex:{verdicts[verdict]}"></i>'
        for verdict in Verdict
        if verdicts[verdict]
    )
    counts = " ".join(f"<span>{page.badge(verdict)} {verdicts[verdict]}</span>" for verdict in Verdict)
    counts += f" <span>{waiting} without results</span>" if waiting else ""
    there = sum(bool(section.runs) for section in sections)
    tiles = [
        ("claims decided", f"{verdicts[Verdict.HOLDS] + verdicts[Verdict.FAILS]}<small> of {len(everything)}</small>"),
        ("seeds finished", "<small> of </small>".join(page.seeds_text(runs).split("/"))),
        ("artefacts with results", f"{there}<small> of {len(sections)}</small>"),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    return (
        f'<header id="summary"><p class="eyebrow">Decision-aware model-based RL</p><h1>Results</h1>'
        f'<p class="lead">{LEAD}</p><dl class="tiles">{cells}</dl>'
        f'<div class="share" aria-hidden="true">{share}</div><p class="counts">{counts}</p>'
        f'<p class="source chance">{chance(sections)}</p></header>'
    )


def _waits(judged: Judgement) -> bool:
    """Whether there is nothing yet that a verdict could rest on."""
    return judged.n_seeds == 0 and not judged.exact


def _scoreboard(sections: Sequence[Section]) -> str:
    """All claims: first those that there are results of, in the page's order, then the others, folded away."""
    rows: dict[bool, list[str]] = {False: [], True: []}
    for section in sections:
        for claim, judged in section.judged:
            rows[_waits(judged)].append(_row(section, claim, judged))
    if not any(rows.values()):
        return ""
    shown = _claims_table(rows[False]) if rows[False] else ""
    if rows[True]:
        count = len(rows[True])
        summary = f"{count} claim{'s' * (count > 1)} without results"
        shown += f"<details><summary>{summary}</summary>{_claims_table(rows[True])}</details>"
    return f"<section><h2>Claims</h2>{shown}</section>"


def _claims_table(rows: Sequence[str]) -> str:
    head = "<thead><tr><th>verdict</th><th>claim</th><th>gap, 95 % interval or exact</th></tr></thead>"
    return f'<table class="claims">{head}<tbody>{"".join(rows)}</tbody></table>'


def _row(section: Section, claim: Claim, judged: Judgement) -> str:
    link = f'<a href="#{file_name(section.artefact.name)}">{html.escape(section.artefact.name)}</a>'
    return (
        f"<tr><td>{page.badge(judged.verdict)}</td>"
        f'<td class="claim">{page.rich(claim.text)}{_note(claim)}'
        f'<p class="source">{link}{_chip(section)}</p></td>'
        f'<td class="evidence">{_evidence(claim, judged)}</td></tr>'
    )


def _papers(sections: Sequence[Section]) -> list[str]:
    parts = []
    for paper, group in groupby(sections, key=_paper):
        inside = "".join(_artefact(section) for section in group)
        parts.append(f'<section class="paper"><h2>{html.escape(paper)}</h2>{inside}</section>')
    return parts


def _artefact(section: Section) -> str:
    artefact, name = section.artefact, file_name(section.artefact.name)
    head = (
        f'<p class="eyebrow">{html.escape(artefact.paper)} <code>{html.escape(artefact.name)}</code></p>'
        f"<h3>{html.escape(artefact.title)}</h3>"
    )
    if section.runs:
        seeds = page.seeds_text(section.runs)
        head += f'<p class="chips">{_chip(section, full=True)}<span class="chip">{seeds} seeds finished</span></p>'
    else:
        head += f'<p class="empty">No results yet. <code>mbrl bench {html.escape(artefact.name)}</code> makes them.</p>'
    body = "".join(_block(block) for block in section.blocks)
    remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in section.remarks)
    body += f'<ul class="remarks">{remarks}</ul>' if remarks else ""
    body += "".join(_claim(claim, judged) for claim, judged in section.judged)
    if artefact.note:
        body += f"<aside><h4>What deviates</h4>{page.rich(artefact.note)}</aside>"
    if section.runs:
        cost = _table(page.cost_table(section.runs), {})
        body += f'<details open><summary>Cost and provenance</summary><div class="scroll">{cost}</div></details>'
    return f'<article id="{name}">{head}{body}</article>'


def _claim(claim: Claim, judged: Judgement) -> str:
    return (
        f'<div class="card {judged.verdict.lower()}"><div>{page.badge(judged.verdict)}</div>'
        f'<div class="claim">{page.rich(claim.text)}<p class="source">{html.escape(claim.source)}</p>'
        f"{_note(claim)}</div>"
        f'<div class="evidence">{_evidence(claim, judged)}</div></div>'
    )


def _note(claim: Claim) -> str:
    return f'<p class="source">{page.inline(claim.note)}</p>' if claim.note else ""


def _evidence(claim: Claim, judged: Judgement) -> str:
    text = page.estimate_text(judged, claim.unit)
    remarks = [f"{judged.n_seeds} seeds"] if judged.n_seeds else []
    remarks += [f"{judged.n_diverged} of the results' seeds diverged"] if judged.n_diverged else []
    remarks += [judged.note] if judged.note else []
    numbers = f"<p>{html.escape(text)}</p>" if text != "–" else ""
    return f'{page.bar(judged)}{numbers}<p class="source">{html.escape("; ".join(remarks))}</p>'


def _block(block: Drawn | Table | Animation | Text) -> str:
    if isinstance(block, Text):
        return f'<div class="text">{page.rich(block.text)}</div>'
    caption = f"<figcaption>{page.inline(block.caption)}</figcaption>" if block.caption else ""
    if isinstance(block, Table):
        return f'<figure><div class="scroll">{_table(block.frame, block.paper)}</div>{caption}</figure>'
    if isinstance(block, Animation):
        data = base64.b64encode(block.gif).decode()
        return f'<figure class="animation"><img src="data:image/gif;base64,{data}" alt="animation">{caption}</figure>'
    keys = "".join(
        f'<li><i style="background:{theme.variable(tint)}"></i>{html.escape(label)}</li>'
        for label, tint in block.legend.items()
    )
    keys = f'<ul class="legend">{keys}</ul>' if keys else ""
    return f'<figure>{keys}<div class="panels">{"".join(block.panels)}</div>{caption}</figure>'


def _table(frame: pd.DataFrame, paper: dict[str, str]) -> str:
    numeric = {name: pd.api.types.is_numeric_dtype(frame[name]) for name in frame}
    kind = {name: " ".join(["number"] * numeric[name] + ["printed"] * (name in paper)) for name in frame}
    head = "".join(
        f'<th class="{kind[name]}">{html.escape(str(name))}'
        + (f"<small>{html.escape(paper[name])}</small>" if name in paper else "")
        + "</th>"
        for name in frame
    )
    rows = "".join(
        "<tr>" + "".join(f'<td class="{kind[name]}">{_cell(row[i])}</td>' for i, name in enumerate(frame)) + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: object) -> str:
    return html.escape(page.number(value))


def _chip(section: Section, full: bool = False) -> str:
    if not section.profile:
        return ""
    text = PROFILES.get(section.profile, section.profile) if full else section.profile
    return f'<span class="chip {html.escape(section.profile)}">{html.escape(text)}</span>'


def _paper(section: Section) -> str:
    return section.artefact.paper.split(",")[0].strip()


def _part(section: Section) -> str:
    return html.escape(section.artefact.paper.partition(",")[2].strip() or section.artefact.title)


def _all_runs(sections: Sequence[Section]) -> list[Facts]:
    return list({facts["run"]: facts for section in sections for facts in section.runs}.values())


def _footer(sections: Sequence[Section]) -> str:
    runs = _all_runs(sections)
    latest = max((str(facts.get("written", "")) for facts in runs), default="")
    devices = ", ".join(sorted({str(facts.get("device", "unknown")) for facts in runs}))
    where = f" Latest run written {html.escape(latest)}; devices: {html.escape(devices)}." if runs else ""
    return (
        "<footer><p>Lines are interquartile means over seeds, bands pointwise 95 % stratified bootstrap intervals, "
        "expanded for small numbers of seeds. A diverged seed stays in as the worst outcome. Columns set apart hold "
        "numbers of others, with their source above."
        f"{where} Made by <code>make report</code>.</p></footer>"
    )
