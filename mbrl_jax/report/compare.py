"""Two stores of results side by side: the same claims on other machines, commits or profiles, and what changed."""

from __future__ import annotations

import html as escaping
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mbrl_jax import results
from mbrl_jax.checks import resolved
from mbrl_jax.report import figures, gather, html, page, scoreboard, select
from mbrl_jax.report.artefact import Artefact, Figure
from mbrl_jax.report.claims import Claim, Judgement
from mbrl_jax.report.gather import Drawn, Section
from mbrl_jax.report.papers import Paper, paper_of
from mbrl_jax.types import Facts

__all__ = ["Pair", "Source", "changed", "compare", "pairs_of"]

SHOWN = 6
"""Labels in one panel of learning curves."""
SAME = 1e-6
"""Share of their size by which gaps may be apart that are called the same: what rounding makes of exact results."""


class Source(NamedTuple):
    """One of the two sides.

    Attributes:
      root: the results folder.
      profile: the profile that is taken; of each artefact the largest with finished runs if None.
    """

    root: Path
    profile: str | None = None

    @property
    def name(self) -> str:
        """What it is called on the page: the folder as it was given, and the profile if one was."""
        return f"{self.root}" + (f" ({self.profile})" if self.profile else "")


class Pair(NamedTuple):
    """A claim with the judgements of both sides."""

    artefact: Artefact
    claim: Claim
    first: Judgement
    second: Judgement

    @property
    def both(self) -> bool:
        """Whether both sides have results."""
        return not (scoreboard.waits(self.first) or scoreboard.waits(self.second))


def changed(pair: Pair) -> str:
    """What is different, in words: another verdict, or intervals apart; empty where neither, or a side has nothing."""
    one, other = pair.first, pair.second
    if not pair.both:
        return ""
    if one.verdict != other.verdict:
        return f"{one.verdict} → {other.verdict}"
    ends = np.array([one.low, one.high, other.low, other.high])
    slack = SAME * max(np.abs(ends[np.isfinite(ends)]), default=0.0)
    if one.high + slack < other.low or other.high + slack < one.low:
        return "the gaps' intervals do not meet" if not (one.exact or other.exact) else "the gaps are apart"
    return ""


def pairs_of(first: Sequence[Section], second: Sequence[Section]) -> list[Pair]:
    """Every claim of the artefacts that both hold, in the order of the first."""
    there = {section.artefact.name: section for section in second}
    return [
        Pair(section.artefact, claim, one, other)
        for section in first
        if section.artefact.name in there
        for (claim, one), (_, other) in zip(section.judged, there[section.artefact.name].judged, strict=True)
    ]


def compare(artefacts: Sequence[Artefact], first: Source, second: Source, out: str | Path) -> tuple[Path, list[Pair]]:
    """Writes the page that compares two stores; runs nothing.

    Args:
      artefacts: what is compared.
      first: one side.
      second: the other side.
      out: the folder to write to.

    Returns:
      The path of `index.html`, beside which lies `claims.csv`, and all claims with both judgements.

    Raises:
      FileNotFoundError: a results folder does not exist.
      OSError: the files cannot be written.
    """
    for source in (first, second):
        if not resolved(source.root).is_dir():
            raise FileNotFoundError(f"a results folder must exist, {source.root} does not")
    sides = [gather.gather(artefacts, source.root, source.profile, draw=False) for source in (first, second)]
    pairs, names = pairs_of(*sides), (first.name, second.name)
    folder = resolved(out)
    folder.mkdir(parents=True, exist_ok=True)
    results.write_whole(folder / "claims.csv", page.csv_text(_table(pairs, names)).encode())
    index = folder / "index.html"
    results.write_whole(index, _page(pairs, sides, names).encode())
    return index, pairs


def _table(pairs: Sequence[Pair], names: tuple[str, str]) -> pd.DataFrame:
    rows = [
        {"artefact": pair.artefact.name, "claim": pair.claim.text, "changed": changed(pair)}
        | {
            f"{what} of {side}": value
            for side, name, judged in zip("ab", names, (pair.first, pair.second), strict=True)
            for what, value in (
                ("source", name),
                ("verdict", "" if scoreboard.waits(judged) else judged.verdict.value),
                ("gap", judged.estimate),
                ("low", judged.low),
                ("high", judged.high),
                ("seeds", judged.n_seeds),
            )
        }
        for pair in pairs
    ]
    return pd.DataFrame(rows)


def _page(pairs: Sequence[Pair], sides: Sequence[Sequence[Section]], names: tuple[str, str]) -> str:
    facts = pd.DataFrame([_facts(name, sections) for name, sections in zip(names, sides, strict=True)]).T.reset_index()
    facts.columns = ["", *names]
    counts = f"{sum(pair.both for pair in pairs)} claims have results on both sides; "
    counts += f"{sum(bool(changed(pair)) for pair in pairs)} changed."
    head = (
        '<header id="summary" class="sides"><p class="eyebrow">Decision-aware model-based RL</p><h1>Side by side</h1>'
        f'<p class="lead">{counts}</p>{scoreboard.region(html.table(facts), "the two sides")}</header>'
    )
    return html.whole("mbrl_jax: side by side", _navigation(), head + _claims(pairs, names) + _curves(sides, names))


def _navigation() -> str:
    links = "".join(f'<li><a href="#{name.lower()}">{name}</a></li>' for name in ("Summary", "Claims", "Curves"))
    return f'<nav aria-label="Contents"><strong>mbrl_jax</strong><ul>{links}</ul></nav>'


def _facts(name: str, sections: Sequence[Section]) -> dict[str, str]:
    """What a side is made of."""
    runs: list[Facts] = list({facts["run"]: facts for section in sections for facts in section.runs}.values())

    def all_of(values: Sequence[object]) -> str:
        return ", ".join(sorted({value for value in values if isinstance(value, str)})) or "–"

    versions = [facts.get("versions") for facts in runs]
    return {
        "profiles": all_of([section.profile for section in sections if section.profile]),
        "devices": all_of([facts.get("device") for facts in runs]),
        "precision": all_of([facts.get("precision") for facts in runs]),
        "jax": all_of([each.get("jax") for each in versions if isinstance(each, dict)]),
        "commits": all_of([str(facts.get("commit", "unknown"))[:8] for facts in runs]),
        "seeds finished": page.seeds_text(runs),
        "hours of running": page.number(page.run_hours(runs), 3),
    }


def _claims(pairs: Sequence[Pair], names: tuple[str, str]) -> str:
    shown = [pair for pair in pairs if not (scoreboard.waits(pair.first) and scoreboard.waits(pair.second))]
    counts = Counter(_kind(pair) for pair in shown)
    options = (
        ("all", f"all {len(shown)}"),
        ("both", f"on both sides {counts['changed'] + counts['same']}"),
        ("changed", f"changed {counts['changed']}"),
    )
    groups: dict[Paper, list[Pair]] = {}
    for pair in sorted(shown, key=lambda one: ("changed", "same", "single").index(_kind(one))):
        groups.setdefault(paper_of(pair.artefact.paper), []).append(pair)
    body = "".join(_group(paper, own, names) for paper, own in groups.items())
    buttons = scoreboard.radio("Show claims", options, "all")
    return f'<section id="claims" class="filtered"><h2>Claims</h2>{buttons}{body or "None on either side."}</section>'


def _kind(pair: Pair) -> str:
    return "changed" if changed(pair) else "same" if pair.both else "single"


def _group(paper: Paper, pairs: Sequence[Pair], names: tuple[str, str]) -> str:
    columns = "".join(f'<th scope="col">{escaping.escape(name)}</th>' for name in ("claim", *names))
    kinds = {_kind(pair) for pair in pairs}
    marks = "has-both " * bool(kinds & {"changed", "same"}) + "has-changed" * ("changed" in kinds)
    title = f" <small>{escaping.escape(paper.title)}</small>" if paper.title else ""
    name = f'<span class="method">{escaping.escape(paper.method)}</span>{title}'
    rows = f"<thead><tr>{columns}</tr></thead><tbody>{''.join(_row(pair, names) for pair in pairs)}</tbody>"
    table = f'<table class="claims compared">{rows}</table>'
    return f'<details open class="group {marks}"><summary>{name}</summary>{table}</details>'


def _row(pair: Pair, names: tuple[str, str]) -> str:
    what = changed(pair)
    note = f'<p class="what">{escaping.escape(what)}</p>' if what else ""
    sides = zip(names, (pair.first, pair.second), strict=True)
    cells = "".join(f'<td class="evidence">{_cell(pair.claim, judged, name)}</td>' for name, judged in sides)
    source = f'<p class="source">{escaping.escape(pair.artefact.name)}</p>'
    return (
        f'<tr class="row {_kind(pair)}"><td class="claim">{page.rich(pair.claim.text)}{note}{source}</td>{cells}</tr>'
    )


def _cell(claim: Claim, judged: Judgement, name: str) -> str:
    """One side's evidence; its name is shown where there is no column for it."""
    head = f'<span class="side">{escaping.escape(name)}</span>'
    there = "–" if scoreboard.waits(judged) else page.badge(judged.verdict) + scoreboard.evidence(claim, judged)
    return head + there


def _curves(sides: Sequence[Sequence[Section]], names: tuple[str, str]) -> str:
    """Learning curves of all experiments that both have, each task's two panels on the same axes."""
    second = {section.artefact.name: section for section in sides[1]}
    parts = []
    for section in sides[0]:
        other = second.get(section.artefact.name)
        if other is None or section.frame.empty or other.frame.empty:
            continue
        ours = [_own(section), _own(other)]
        for env in sorted(set(ours[0]["env"]) & set(ours[1]["env"])):
            if block := _panels(ours, str(env), names):
                prefix = f"{results.file_name(section.artefact.name)}-{results.file_name(str(env))}"
                shown = gather.drawn(block, prefix)
                assert isinstance(shown, Drawn)
                title = f"<h3>{escaping.escape(section.artefact.title)}: {escaping.escape(str(env))}</h3>"
                parts.append(f"<article>{title}{html.drawn(shown, prefix, '')}</article>")
    body = "".join(parts) or "<p>No experiment has learning curves on both sides.</p>"
    return f'<section id="curves"><h2>Curves</h2>{body}</section>'


def _own(section: Section) -> pd.DataFrame:
    frame = section.frame
    return pd.DataFrame(frame[(frame["experiment"] == section.artefact.name) & (frame["metric"] == select.RETURN)])


def _panels(frames: Sequence[pd.DataFrame], env: str, names: tuple[str, str]) -> Figure | None:
    labels = [set(frame.loc[frame["env"] == env, "algorithm"]) for frame in frames]
    common = sorted(labels[0] & labels[1])[:SHOWN]
    if not common:
        return None
    panels = [figures.learning_curves(frame, algorithms=common, envs=[env])[0] for frame in frames]
    axes = [panel.axes[0] for panel in panels]
    across, up = ([getattr(one, f"get_{way}lim")() for one in axes] for way in "xy")
    for one, panel, name in zip(axes, panels, names, strict=True):
        figures.retitle(panel, name)
        one.set_xlim(min(low for low, _ in across), max(high for _, high in across))
        one.set_ylim(min(low for low, _ in up), max(high for _, high in up))
    rest = len(labels[0] & labels[1]) - len(common)
    more = f" {rest} more labels are on both sides." if rest else ""
    return Figure(panels, f"IQM over seeds with pointwise 95 % intervals, on the same axes.{more}")
