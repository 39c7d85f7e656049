"""Pages of the site that are made of other files: paper against code, settings with sources, gallery, results."""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FILMS = (".gif", ".png")
WIDE = "---\nhide: [toc]\n---\n"
"""The head of a page without a table of contents, whose place what is wide gets."""

FIND = """
<p><input type="search" id="find" aria-label="Find in the tables" placeholder="find in the tables">
<span id="found" role="status"></span></p>
<script>
document.getElementById("find").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const row of document.querySelectorAll("article tbody tr")) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
    shown += !row.hidden;
  }
  document.getElementById("found").textContent = words.length ? `${shown} rows` : "";
});
</script>
"""


def pages() -> dict[str, str]:
    """Every such page by its name."""
    return {"differences.md": differences(), "gallery.md": gallery(), "claims.md": claims()}


def differences() -> str:
    """What differs between papers, their released code and this package, and the source of every setting."""
    rows = [row for path in sorted(DOCS.glob("*.md")) for row in of_page(path)]
    settings = [row for path in configured() for row in of_configs(path)]
    return "\n".join(
        [
            WIDE,
            "# Paper, code, here",
            "",
            "Where a paper, its released code and this package differ, from the pages on the methods; below, every "
            "setting of every configuration with its default and its source.",
            FIND,
            "## Differences",
            "",
            *searched("differences", ("method", "topic", "paper or code", "here"), rows),
            "",
            "## Settings and their sources",
            "",
            *searched("settings", ("configuration", "setting", "default", "what it is, and its source"), settings),
            "",
        ]
    )


def of_page(path: Path) -> list[tuple[str, ...]]:
    """The rows of a page's tables that begin with a topic and end with what is done here."""
    text = path.read_text(encoding="utf-8")
    title = re.search(r"^# ([^:\n]+)", text, re.MULTILINE)
    link = f"[{title[1].strip() if title else path.stem}]({path.name})"
    head: list[str] = []
    rows: list[tuple[str, ...]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0] == "topic" and cells[-1] == "here":
            head = cells
        elif not cells:
            head = []
        elif head and len(cells) == len(head) and not set(line) <= set("|-: "):
            cells = [re.sub(r"\]\(#", f"]({path.name}#", cell) for cell in cells]
            said = [f"{name}: {cell}" for name, cell in zip(head[1:-1], cells[1:-1], strict=True) if cell != "–"]
            rows.append(
                (link, cells[0], said[0].partition(": ")[2] if len(head) == 3 and said else "; ".join(said), cells[-1])
            )
    return rows


def configured() -> list[Path]:
    """The modules that may hold configurations."""
    folders = ("algorithms", "agents", "models", "planners")
    return [path for folder in folders for path in sorted((ROOT / "mbrl_jax" / folder).rglob("*.py"))]


def of_configs(path: Path) -> list[tuple[str, ...]]:
    """The fields of a module's configurations: name, default, and what their docstring says."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    rows: list[tuple[str, ...]] = []
    for node in tree.body:
        if not (isinstance(node, ast.ClassDef) and node.name.endswith("Config")):
            continue
        name = ".".join(path.relative_to(ROOT / "mbrl_jax").with_suffix("").parts).removesuffix(".__init__")
        for field, said in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
                words = " ".join(str(said.value.value).split())
                rows.append((f"`{name}`", f"`{ast.unparse(field.target)}`", f"`{default(field.value)}`", words))
    return rows


def default(value: ast.expr | None) -> str:
    """A field's default as it is written; of `field(...)` the value or what makes it."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given = {each.arg: each.value for each in value.keywords}
        value = given.get("default", given.get("default_factory"))
    return "required" if value is None else ast.unparse(value)


def gallery() -> str:
    """The films and pictures of the environments."""
    files = [path for end in FILMS for path in sorted((DOCS / "images" / "environments").glob(f"*{end}"))]
    filmed = {path.stem for path in files if path.suffix == ".gif"}
    shown = [path for path in files if path.suffix == ".gif" or path.stem not in filmed]
    cards = [
        f"- ![{path.stem}{' (film)' * (path.suffix == '.gif')}](images/environments/{path.name})\n\n    `{path.stem}`"
        for path in shown
    ]
    head = "# Gallery\n\nEvery environment early in an episode, or as a film; what they are stands in [environments]"
    head += "(environments.md). `docs/gallery.py` makes the pictures, `mb.render` those of your own.\n"
    return "\n".join([WIDE, head, '<div class="grid cards" markdown>', "", "\n\n".join(cards), "", "</div>", ""])


def claims() -> str:
    """The papers' claims that have reference results, as `docs/front.py` last found them."""
    with open(DOCS / "claims.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("HOLDS", "FAILS", "OPEN")}
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    columns = ("verdict", "claim", "artefact", "gap [95 % interval]", "seeds", "note")
    return "\n".join(
        [
            WIDE,
            "# Results",
            "",
            f"{len(rows)} claims of the papers have results in the repository ({tally}), all of the laptop profile, on "
            "two cores of an AMD EPYC: scaled down, and labelled so. [Reading the report]"
            "(running.md#reading-the-report) says what a verdict means; the report itself, with figures, data and "
            "costs, is made from the same results by",
            "",
            "```bash\nmbrl report --results results/reference/laptop-amd-epyc-2-cores --out report\n```",
            FIND,
            *searched("claims", columns, [tuple(row[name] for name in columns) for row in rows]),
            "",
        ]
    )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table in Markdown; a bar in a cell stays in it."""
    lines = [[re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.split())) for cell in row] for row in (head, *rows)]
    return ["| " + " | ".join(line) + " |" for line in (lines[0], ["---"] * len(head), *lines[1:])]


def searched(kind: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table that `FIND` searches, with the widths that `assets/site.css` gives its columns."""
    return [f'<div class="searched {kind}" markdown>', "", *table(head, rows), "", "</div>"]
