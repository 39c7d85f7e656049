"""The built site in a browser: nothing is fetched from elsewhere, it fits a phone, search and tables are searched."""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import browser
import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs MkDocs: the extra `docs`"),
    pytest.mark.skipif(browser.executable() is None, reason="needs a browser: Debian's package chromium, say"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture
def tab(tmp_path):
    """A reader who has not been there: a page remembers which of light and dark was chosen."""
    with browser.tab(tmp_path) as opened:
        yield opened


def until(condition, seconds=30):
    """Waits for something that the page does by itself."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_a_phone_and_complain_of_nothing(site, tab, dark):
    for page in ("index", "design", "differences", "claims", "gallery", "api/envs", "notebooks/first_agent"):
        tab.open((site / f"{page}.html").as_uri(), browser.PHONE, dark)
        assert tab.overflow() == 0 and tab.problems == [], page
    scheme = tab.evaluate("document.body.getAttribute('data-md-color-scheme')")
    assert scheme == ("slate" if dark else "default")


def test_the_search_finds_without_a_server(site, tab):
    tab.open((site / "index.html").as_uri())
    tab.evaluate("document.querySelector('.md-search__input').focus()")
    tab.send("Input.insertText", text="storage")
    until(lambda: tab.evaluate("document.querySelectorAll('.md-search-result__item').length"))
    assert tab.problems == []


def test_the_tables_are_searched(site, tab):
    tab.open((site / "differences.html").as_uri())
    everything = tab.shown("article tbody tr")
    tab.click("#find")
    tab.send("Input.insertText", text="mbpo elites")
    assert 1 <= tab.shown("article tbody tr") < 10 < everything
    assert tab.evaluate("document.getElementById('found').textContent").endswith("rows")
