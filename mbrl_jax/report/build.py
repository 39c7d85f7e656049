"""`build` writes the report: one HTML page, the same as Markdown with its figures as files, and one CSV per table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mbrl_jax import results
from mbrl_jax.checks import resolved
from mbrl_jax.report import data, html, page, theme
from mbrl_jax.report.artefact import Animation, Artefact, Table, Text
from mbrl_jax.report.claims import Claim, Judgement
from mbrl_jax.report.gather import PROFILES, Drawn, Section, gather

__all__ = ["build"]


def build(
    artefacts: Sequence[Artefact],
    results_root: str | Path = "results",
    out: str | Path | None = None,
    *,
    refresh: float | None = None,
) -> Path:
    """Writes the report on what lies in the results folder; runs nothing.

    Args:
      artefacts: in the order of the page; those of one paper together.
      results_root: the results folder.
      out: where to write; `results_root/report` by default.
      refresh: seconds after which a browser reads the page again; never if None.

    Returns:
      The path of `index.html`; beside it `report.md`, `figures/` and `tables/`.

    Raises:
      OSError: the files cannot be written.
    """
    folder = resolved(results_root) / "report" if out is None else resolved(out)
    sections = gather(artefacts, results_root)
    for name in ("figures", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    text = _markdown(sections, folder)
    results.write_whole(folder / "report.md", text.encode())
    index = folder / "index.html"
    results.write_whole(index, html.render(sections, refresh).encode())
    return index


def _markdown(sections: Sequence[Section], folder: Path) -> str:
    parts = ["# Results", html.LEAD, html.chance(sections), "## Claims"]
    rows = [
        {
            "verdict": judged.verdict.value,
            "claim": claim.text,
            "artefact": section.artefact.name,
            "profile": section.profile,
            "gap [95 % interval]": page.estimate_text(judged, claim.unit),
            "seeds": "exact" if judged.exact else judged.n_seeds,
            "diverged": judged.n_diverged,
            "note": _notes(claim, judged),
        }
        for section in sections
        for claim, judged in section.judged
    ]
    claims = pd.DataFrame(rows)
    parts.append(_rows(claims) if rows else "None yet.")
    results.write_whole(folder / "tables" / "claims.csv", claims.to_csv(index=False).encode())
    for section in sections:
        parts += _section(section, folder)
    return "\n\n".join(parts) + "\n"


def _section(section: Section, folder: Path) -> list[str]:
    artefact, name = section.artefact, results.file_name(section.artefact.name)
    parts = [f"## {artefact.title}", f"{artefact.paper} · `{artefact.name}`"]
    if section.runs:
        label = PROFILES.get(section.profile, section.profile)
        parts.append(f"*{label}; {page.seeds_text(section.runs)} seeds finished.*")
    else:
        parts.append(f"No results yet. `mbrl bench {artefact.name}` makes them.")
    for index, block in enumerate(section.blocks):
        parts += _block(block, f"{name}-{index}", folder)
    parts += [f"Drawn by `{data.place(artefact.blocks)}`."] if section.blocks else []
    parts += [f"- {remark}" for remark in section.remarks]
    parts += [_claim(claim, judged) for claim, judged in section.judged]
    parts += [f"**What deviates.** {artefact.note}"] if artefact.note else []
    if section.runs:
        cost = page.cost_table(section.runs)
        results.write_whole(folder / "tables" / f"{name}-cost.csv", cost.to_csv(index=False).encode())
        parts += ["Cost and provenance:", _rows(cost)]
    return parts


def _claim(claim: Claim, judged: Judgement) -> str:
    numbers = page.estimate_text(judged, claim.unit)
    return f"- **{judged.verdict}** {claim.text} ({claim.source}). Gap {numbers}. {_notes(claim, judged)}".rstrip()


def _notes(claim: Claim, judged: Judgement) -> str:
    return " ".join(part for part in (claim.note, judged.note) if part)


def _block(block: Drawn | Table | Animation | Text, name: str, folder: Path) -> list[str]:
    if isinstance(block, Text):
        return [block.text]
    if isinstance(block, Table):
        results.write_whole(folder / "tables" / f"{name}.csv", page.csv_text(block.frame).encode())
        renamed = {column: f"{column} ({where})" for column, where in block.paper.items()}
        return [_rows(block.frame.rename(columns=renamed)), block.caption]
    if isinstance(block, Animation):
        results.write_whole(folder / "figures" / f"{name}.gif", block.gif)
        return [f"![{name}](figures/{name}.gif)", block.caption]
    return [
        _figure(block, name, folder),
        ", ".join(f"{_inline(label)} `{tint}`" for label, tint in block.legend.items()),
        block.caption,
    ]


def _figure(block: Drawn, name: str, folder: Path) -> str:
    links = []
    if len(block.numbers):
        results.write_whole(folder / "figures" / f"{name}.csv", page.csv_text(block.numbers).encode())
    for index, svg in enumerate(block.panels):
        file = f"{name}-{index}.svg"
        results.write_whole(folder / "figures" / file, theme.standalone_svg(svg).encode())
        links.append(f"![{file}](figures/{file})")
    links += [f"[Data](figures/{name}.csv)"] if len(block.numbers) else []
    return "\n".join(links)


def _rows(frame: pd.DataFrame) -> str:
    head = [str(name) for name in frame]
    body = [[page.number(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    table = [[_inline(cell) for cell in row] for row in (head, ["---"] * len(head), *body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _inline(text: str) -> str:
    """Text that stays in its cell and on its line."""
    return " ".join(text.replace("|", "\\|").splitlines())
