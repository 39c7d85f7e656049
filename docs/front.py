"""The README's picture and the site's claims, from the reference results: `.venv/bin/python docs/front.py`."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure as Drawing
from PIL import Image

from experiments.mbpo import common, figure2, hopper
from mbrl_jax import results
from mbrl_jax.commands import artefacts
from mbrl_jax.report import build, figures

TOP = Path(__file__).parents[1]
REFERENCE = TOP / "results" / "reference" / "laptop-amd-epyc-2-cores"
DPI = 130


def drawn(figure: Drawing) -> Image.Image:
    """The figure's pixels on white."""
    held = BytesIO()
    figure.savefig(held, dpi=DPI, facecolor="white")
    return Image.open(held).convert("RGB")


def legend(panel: Drawing, width: int) -> Image.Image:
    """A line with the labels of a panel's curves and what they are."""
    header = Drawing(figsize=(width / DPI, 0.34))
    at = 0.02
    for line in panel.axes[0].lines:
        name = str(line.get_label())
        if not name.startswith("_"):
            header.text(at, 0.3, f"— {name}", color=line.get_color(), weight="bold", size=10)
            at += 0.02 + 0.0125 * (len(name) + 2)
    header.text(at, 0.3, "evaluation return, IQM over 6 seeds with 95 % intervals", color="0.4", size=8.5)
    return drawn(header)


def curves(experiment: str, size: str) -> list[Drawing]:
    """The learning curves of MBPO and SAC in an artefact, a panel per task, whose title says at what size."""
    frame = results.load(REFERENCE, experiment=experiment)
    solved = {task: {"solved": common.SOLVED[task]} for task in frame["env"].unique() if task in common.SOLVED}
    panels = figures.learning_curves(frame, algorithms=("MBPO", "SAC"), references=solved)
    for panel in panels:
        panel.axes[0].set_title(f"{panel.axes[0].get_title(loc='left')}, {size}", loc="left")
    return panels


def judged() -> pd.DataFrame:
    """All claims that there are reference results of, as the report judges them."""
    known, broken = artefacts.discover()
    if broken:
        raise RuntimeError("\n".join(broken.values()))
    with tempfile.TemporaryDirectory() as folder:
        build(list(known.values()), REFERENCE, folder)
        claims = pd.read_csv(Path(folder) / "tables" / "claims.csv")
    return pd.DataFrame(claims[claims["seeds"] != "0"])


def main() -> None:
    """Writes `docs/results.png` and `docs/claims.csv`."""
    judged().to_csv(TOP / "docs" / "claims.csv", index=False)
    panels = [*curves(figure2.NAME, "small networks"), *curves(hopper.NAME, "the paper's sizes")]
    images = [drawn(panel) for panel in panels]
    width = sum(image.width for image in images)
    head = legend(panels[0], width)
    whole = Image.new("RGB", (width, head.height + max(image.height for image in images)), "white")
    whole.paste(head, (0, 0))
    left = 0
    for image in images:
        whole.paste(image, (left, head.height))
        left += image.width
    whole.save(TOP / "docs" / "results.png", optimize=True)


if __name__ == "__main__":
    main()
