"""The site's own pages: an entry for every public name, links that lead somewhere. MkDocs itself is not needed."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_has_an_entry(site):
    entries = "".join(site.of_package().values())
    for path in (ROOT / "mbrl_jax").rglob("*.py"):
        inside = path.relative_to(ROOT / "mbrl_jax").with_suffix("").parts
        if inside[0] in (*site.SKIPPED, "__init__"):
            continue
        module = ".".join(("mbrl_jax", *inside)).removesuffix(".__init__")
        for name in set(site.public(path)) & site.written(path):
            entry = rf'::: {re.escape(module)}\n    options:\n      members: .*"{name}"'
            assert re.search(entry, entries), (module, name)


def test_every_page_is_in_the_navigation_and_links_to_pages(site):
    made = {name: site.moved((ROOT / source).read_text()) for name, source in site.PAGES.items()}
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    pages = {*made, *(path.name for path in (ROOT / "docs").glob("*.md"))}
    pages |= {f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
    made |= site.tables.pages()
    pages |= set(made)
    assert [page for page in sorted(pages) if not re.search(rf"[-:] {re.escape(page)}\n", navigation)] == []
    for text in made.values():
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
        assert [link for link in links if link and link not in pages and not (ROOT / "docs" / link).exists()] == []


def test_links_to_files_of_the_repository_become_words(site):
    assert site.moved("[what](docs/running.md#a), [it](CITATION.cff), [us](CONTRIBUTING.md)") == (
        "[what](running.md#a), it, [us](contributing.md)"
    )


def test_differences_and_sources_are_rows_of_one_table(site):
    rows = site.tables.of_page(ROOT / "docs" / "mbpo.md")
    assert next(row[:3] for row in rows if row[1] == "elites") == (
        "[MBPO](mbpo.md)",
        "elites",
        "paper: not mentioned; released code: 5 of 7, lowest holdout MSE",
    )
    methods = {row[0] for path in (ROOT / "docs").glob("*.md") for row in site.tables.of_page(path)}
    assert {"[MBPO](mbpo.md)", "[ALM](alm.md)", "[DAM](dam.md)", "[PETS](pets.md)"} <= methods
    settings = [row for path in site.tables.configured() for row in site.tables.of_configs(path)]
    by_name = {row[:2]: row[2:] for row in settings}
    assert by_name["`algorithms.mbpo`", "`real_fraction`"] == (
        "`0.05`",
        "Share of real transitions in a batch, rounded down to whole ones (MBPO code; Algorithm 2 has none).",
    )
    assert by_name["`algorithms.mbpo`", "`model`"][0] == "`ensemble.Config`" and len(settings) > 200
    page = site.tables.differences()
    assert all(len(re.split(r"(?<!\\)\|", line)) == 6 for line in page.splitlines() if line.startswith("|"))


def test_claims_on_the_site_are_of_artefacts_that_exist(site):
    rows = [line for line in site.tables.claims().splitlines() if line.startswith(("| HOLDS", "| FAILS", "| OPEN"))]
    named = {re.split(r"(?<!\\)\|", row)[3].strip() for row in rows}
    assert len(rows) > 100 and [name for name in named if not (ROOT / "experiments" / f"{name}.py").is_file()] == []


def test_notebooks_have_a_button_where_the_projects_address_is_known(site):
    path = ROOT / "notebooks" / "sweep.ipynb"
    page = site.of_notebook(path, "https://github.com/somebody/mbrl_jax.git")
    assert "(https://colab.research.google.com/github/somebody/mbrl_jax/blob/main/notebooks/sweep.ipynb)" in page
    assert page.index("colab") < page.index("import jax") and "colab" not in site.of_notebook(path)
    with pytest.raises(ValueError, match=r"must be https://github.com/OWNER/NAME, got 'github.com/x'"):
        site.of_notebook(path, "github.com/x")
