"""What the site has beside the pages of this folder: the README, the notebooks, and an entry for every public name.

A hook of MkDocs: it reads sources and notebooks and imports neither, so that the site is built without JAX.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import tables  # noqa: E402

PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changes.md": "CHANGELOG.md"}
SKIPPED = ("commands", "cli")
"""What is no interface of Python."""
ELSEWHERE = ("results/reference/README.md", "CITATION.cff", "docs")
"""Links of the README to what is no page."""


def on_config(config: Any) -> None:
    """Adds the pages of the API to the navigation."""
    config.nav.append({"API": sorted(of_package(), key=lambda page: (page != "api/index.md", page))})


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made of other files."""
    from mkdocs.structure.files import File  # pyright: ignore[reportMissingImports]

    pages = {name: moved((ROOT / source).read_text(encoding="utf-8")) for name, source in PAGES.items()}
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    pages |= {f"notebooks/{path.stem}.md": of_notebook(path, config.repo_url or "") for path in notebooks}
    pages |= of_package() | tables.pages()
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links of this folder's pages to files that are pages of the site under another name."""
    return markdown.replace("](../CONTRIBUTING.md)", "](contributing.md)")


def moved(text: str) -> str:
    """A page of the top folder with its links as they are from the site's root; of those to no page the words."""
    text = re.sub(r"\]\(docs/", "](", text)
    for source, page in (("CONTRIBUTING.md", "contributing.md"), ("CHANGELOG.md", "changes.md")):
        text = text.replace(f"]({source})", f"]({page})")
    for target in ELSEWHERE:
        text = re.sub(rf"\[([^\]]*)\]\({re.escape(target)}\)", r"\1", text)
    return text


def of_notebook(path: Path, repository: str = "") -> str:
    """A notebook as a page: its text and its code; what it prints is left to the reader's machine.

    Args:
      repository: the project's public address, for a button that opens the notebook on a hosted machine; none without.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = [
        "".join(cell["source"]) if cell["cell_type"] == "markdown" else f"```python\n{''.join(cell['source'])}\n```"
        for cell in cells
    ]
    if repository:
        parts.insert(1, hosted(path, repository))
    return "\n\n".join([*parts, f"*`notebooks/{path.name}` is this page as a notebook.*"])


def hosted(path: Path, repository: str) -> str:
    """The button, and what has to be run there first.

    Raises:
      ValueError: the address is none that a hosted notebook can be opened from.
    """
    found = re.fullmatch(r"https://github\.com/([\w.\-]+/[\w.\-]+?)(?:\.git)?/?", repository)
    if not found:
        raise ValueError(f"REPOSITORY must be https://github.com/OWNER/NAME, got {repository!r}")
    address = f"https://colab.research.google.com/github/{found[1]}/blob/main/notebooks/{path.name}"
    first = f"`%pip install git+https://github.com/{found[1]}` comes before its first cell."
    return f"[Open on a hosted machine]({address}){{ .md-button }}\n\n{first}"


def public(path: Path) -> list[str]:
    """The names in a module's `__all__`, or none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def written(path: Path) -> set[str]:
    """The names of functions, classes and values that a module itself defines."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found.add(ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0]))
    return found


def of_face() -> str:
    """The names that `import mbrl_jax as mb` gives, each with a link to its entry."""
    tree = ast.parse((ROOT / "mbrl_jax" / "__init__.py").read_text(encoding="utf-8"))
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    named = [
        (alias.asname or alias.name, node.module, place(str(node.module), alias.name))
        for node in ast.walk(checking)
        if isinstance(node, ast.ImportFrom) and node.module != "mbrl_jax"
        for alias in node.names
    ]
    rows = [f"| `mb.{name}` | [`{module}`][{entry}] |" for name, module, entry in named]
    text = ast.get_docstring(tree) or ""
    return "\n".join(["# mbrl_jax", "", text, "", "| name | of |", "|---|---|", *sorted(rows), ""])


def place(module: str, name: str) -> str:
    """The dotted name under which a public name has its entry: that of the module that defines it."""
    start = ROOT.joinpath(*module.split("."), "__init__.py")
    if not start.is_file() or name in written(start):
        return f"{module}.{name}"
    (origin,) = [
        node.module
        for node in ast.parse(start.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]
    ]
    return f"{origin}.{name}"


def of_package() -> dict[str, str]:
    """A page for the face, one for each package with all of its modules, and one for each module beside them."""
    package = ROOT / "mbrl_jax"
    pages = {"api/index.md": of_face()}
    for path in sorted(package.iterdir()):
        if path.stem in SKIPPED or path.name.startswith("_") or path.name == "py.typed":
            continue
        modules = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        entries = [entry for module in modules if (entry := of_module(module, package.parent))]
        pages[f"api/{path.stem}.md"] = "\n\n".join([f"# mbrl_jax.{path.stem}", *entries])
    return pages


def of_module(path: Path, root: Path) -> str:
    """The entries of a module's public names; those that a package takes from its modules stand there."""
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    names = [each for each in public(path) if each in written(path)]
    return f"::: {name}\n    options:\n      members: {json.dumps(names)}\n" if names else ""
