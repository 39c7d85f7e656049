"""The report as one self-contained HTML page: inline styles, SVG, GIFs and CSV, no script, nothing fetched."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from mbrl_jax.report import data, page, scoreboard, theme
from mbrl_jax.report.artefact import Animation, Table, Text
from mbrl_jax.report.claims import Claim, Judgement, Verdict
from mbrl_jax.report.gather import PROFILES, Drawn, Section
from mbrl_jax.report.papers import Paper
from mbrl_jax.report.scoreboard import by_paper, waits
from mbrl_jax.results import file_name
from mbrl_jax.types import Facts

__all__ = ["drawn", "render", "table", "whole"]

LONG_PART = 40
"""A place in a paper of more characters is a sentence, which the navigation leaves out."""
TITLE = "mbrl_jax results"
LEAD = (
    "Every figure and table of the papers that has been re-run here, beside the printed numbers, and what our evidence "
    "says about the papers' claims. A claim is a gap that is positive where the paper is right: it HOLDS when the 95 % "
    "bootstrap interval over seeds lies above zero, FAILS when it lies below, and is OPEN otherwise. Exact results are "
    "judged without an interval."
)


def render(sections: Sequence[Section], refresh: float | None = None) -> str:
    """The whole page.

    Args:
      sections: as `gather` gives them.
      refresh: seconds after which a browser reads the page again; never if None.
    """
    parts = [_header(sections), scoreboard.claims(sections), scoreboard.matrix(sections), *_papers(sections)]
    return whole(TITLE, _navigation(sections), "".join([*parts, _footer(sections)]), refresh)


def whole(title: str, navigation: str, main: str, refresh: float | None = None) -> str:
    """A self-contained page around its navigation and what stands beside it."""
    again = f'<meta http-equiv="refresh" content="{refresh:g}">' if refresh else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark">{again}'
        f"<title>{html.escape(title)}</title><style>{theme.css()}</style></head><body>"
        '<a class="skip" href="#summary">Skip to the results</a>'
        f'<div class="layout">{navigation}<main>{main}</main></div></body></html>\n'
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
    items += ['<li><a href="#claims">Claims</a></li>'] * any(section.judged for section in sections)
    for paper, group in by_paper(sections).items():
        links = "".join(f'<li><a href="#{file_name(s.artefact.name)}">{_entry(s)}</a></li>' for s in group)
        title = f"<small>{html.escape(paper.title)}</small>" if paper.title else ""
        start = f'<a class="method" href="#paper-{_slug(paper)}">{html.escape(paper.method)}</a>'
        items.append(f"<li>{start}{title}<ul>{links}</ul></li>")
    return f'<nav aria-label="Contents"><strong>mbrl_jax</strong><ul>{"".join(items)}</ul></nav>'


def _entry(section: Section) -> str:
    """An artefact in the navigation: where it is in the paper, and what it shows."""
    part = section.artefact.paper.partition(",")[2].strip()
    where = f"<b>{html.escape(part)}</b> " if part and len(part) < LONG_PART else ""
    return where + html.escape(section.artefact.title)


def _slug(paper: Paper) -> str:
    return file_name(paper.cited)


def _header(sections: Sequence[Section]) -> str:
    everything = [judged for section in sections for _, judged in section.judged]
    verdicts = Counter(judged.verdict for judged in everything if not waits(judged))
    waiting = sum(waits(judged) for judged in everything)
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


def _papers(sections: Sequence[Section]) -> list[str]:
    parts = []
    for paper, group in by_paper(sections).items():
        inside = "".join(_artefact(section) for section in group)
        under = " · ".join(filter(None, (paper.title, paper.cited if paper.title else "")))
        title = f'<p class="subtitle">{html.escape(under)}</p>' if under else ""
        head = f"<h2>{html.escape(paper.method)}</h2>{title}"
        parts.append(f'<section class="paper" id="paper-{_slug(paper)}">{head}{inside}</section>')
    return parts


def _artefact(section: Section) -> str:
    artefact, name = section.artefact, file_name(section.artefact.name)
    head = (
        f'<p class="eyebrow">{html.escape(artefact.paper)} <code>{html.escape(artefact.name)}</code></p>'
        f"<h3>{html.escape(artefact.title)}</h3>"
    )
    if section.runs:
        seeds = page.seeds_text(section.runs)
        head += f'<p class="chips">{_chip(section)}<span class="chip">{seeds} seeds finished</span></p>'
    else:
        head += f'<p class="empty">No results yet. <code>mbrl bench {html.escape(artefact.name)}</code> makes them.</p>'
    code = data.place(artefact.blocks)
    body = "".join(_block(block, f"{name}-{place}", code) for place, block in enumerate(section.blocks))
    remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in section.remarks)
    body += f'<ul class="remarks">{remarks}</ul>' if remarks else ""
    body += "".join(_claim(claim, judged) for claim, judged in section.judged)
    if artefact.note:
        body += f"<aside><h4>What deviates</h4>{page.rich(artefact.note)}</aside>"
    if section.runs:
        cost = scoreboard.region(table(page.cost_table(section.runs)), "cost and provenance")
        body += f"<details><summary>Cost and provenance</summary>{cost}</details>"
    return f'<article id="{name}">{head}{body}</article>'


def _claim(claim: Claim, judged: Judgement) -> str:
    source = f"{html.escape(claim.source)} · judged by <code>{html.escape(data.place(claim.gap))}</code>"
    return (
        f'<div class="card {judged.verdict.lower()}"><div>{page.badge(judged.verdict)}</div>'
        f'<div class="claim">{page.rich(claim.text)}<p class="source">{source}</p>'
        f"{page.note(claim)}</div>"
        f'<div class="evidence">{scoreboard.evidence(claim, judged)}</div></div>'
    )


def _block(block: Drawn | Table | Animation | Text, name: str, code: str) -> str:
    """A block of an artefact.

    Args:
      block: what is shown.
      name: the name of its data as a file.
      code: where the code is that makes it.
    """
    if isinstance(block, Text):
        return f'<div class="text">{page.rich(block.text)}</div>'
    caption = page.inline(block.caption) if block.caption else ""
    if isinstance(block, Animation):
        pixels, said = base64.b64encode(block.gif).decode(), html.escape(block.caption or f"the film of {name}")
        image = f'<img src="data:image/gif;base64,{pixels}" alt="{said}">'
        return f'<figure class="animation">{image}{_caption(caption, "", code)}</figure>'
    if isinstance(block, Table):
        rows = scoreboard.region(table(block.frame, block.paper), block.caption or "table")
        return f"<figure>{rows}{_caption(caption, page.csv_link(block.frame, name), code)}</figure>"
    return drawn(block, name, code)


def drawn(block: Drawn, name: str, code: str) -> str:
    """A figure with its legend, its caption, its data and where its code is; arguments as those of `_block`."""
    keys = "".join(
        f'<li><i style="background:{theme.variable(tint)}"></i>{html.escape(label)}</li>'
        for label, tint in block.legend.items()
    )
    keys = f'<ul class="legend">{keys}</ul>' if keys else ""
    link = page.csv_link(block.numbers, name) if len(block.numbers) else ""
    under = _caption(page.inline(block.caption) if block.caption else "", link, code)
    return f'<figure>{keys}<div class="panels">{"".join(block.panels)}</div>{under}</figure>'


def _caption(text: str, link: str, code: str) -> str:
    origin = " · ".join(filter(None, (link, f"<code>{html.escape(code)}</code>" if code else "")))
    return f'<figcaption>{text}<span class="origin">{origin}</span></figcaption>'


def table(frame: pd.DataFrame, paper: Mapping[str, str] = MappingProxyType({})) -> str:
    """A data frame; columns of a paper's numbers, mapped to where they are printed, are set apart."""
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


def _chip(section: Section) -> str:
    text = PROFILES.get(section.profile, section.profile)
    return f'<span class="chip {html.escape(section.profile)}">{html.escape(text)}</span>'


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
