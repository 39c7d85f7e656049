"""Whatever experiments are called: every one has files and places of its own on the page."""

import re

import pytest
import synthetic
from test_report import Page

from mbrl_jax.commands import artefacts
from mbrl_jax.report import build

NAMES = ("lr.1", "lr-1", "summary", 'a"b<c> d|e', "lr/1", "long " * 1000, "größer")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    write = synthetic.writer(root)
    for height, name in enumerate(NAMES):
        write(
            "sac", seeds=range(2), experiment=name, metrics=synthetic.learning_curve([0, 1], 900, 1, 10**height, 0, 5)
        )
    return build(artefacts.others(root, {}), root)


def test_no_experiment_shows_anothers_figure(built):
    figures = [path.read_text() for path in (built.parent / "figures").glob("*.svg")]
    assert len(set(figures)) == len(NAMES)
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (built.parent / "report.md").read_text())
    assert len(set(linked)) == len(NAMES) and all((built.parent / name).is_file() for name in linked)


def test_places_on_the_page_are_found_and_unique(built):
    page = Page(built.read_text())
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if not link.startswith("data:")} <= set(page.ids)
    assert page.tags.count("article") == len(NAMES)
