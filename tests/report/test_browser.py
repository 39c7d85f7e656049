"""The report in a browser: its filters and keys work, nothing is complained of, and it fits a phone."""

import browser
import pytest
import synthetic

from mbrl_jax.report import build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.executable() is None, reason="needs a browser: Debian's package chromium, say"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    write = synthetic.writer(root)
    synthetic.write_all(write)
    write("MBPO", "hopper-v4", budget=60_000, experiment="own")
    return build(synthetic.ARTEFACTS, root).as_uri()


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser.tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("size", [browser.WIDE, browser.PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_the_screen_and_complains_of_nothing(tab, address, size, dark):
    tab.open(address, size, dark)
    tab.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert tab.overflow() == 0 and tab.problems == []
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light == ("rgb(18, 21, 27)" if dark else "rgb(251, 250, 248)")


@pytest.mark.parametrize("size", [browser.WIDE, browser.PHONE])
def test_the_filter_shows_what_it_says(tab, address, size):
    tab.open(address, size)
    for kind, rows, groups in (
        ("results", 4, 1),
        ("holds", 3, 1),
        ("fails", 0, 0),
        ("open", 1, 1),
        ("waiting", 1, 1),
        ("all", 5, 2),
    ):
        tab.click(f"label[for=show-{kind}]")
        assert (tab.shown("#claims .row"), tab.shown("#claims .group")) == (rows, groups), kind
    assert tab.problems == []


def test_the_keyboard_reaches_the_filter_and_the_results(tab, address):
    tab.open(address)
    tab.press("Tab", 9)
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.evaluate("document.querySelector('#show-results').focus()")
    tab.press("ArrowRight", 39)
    assert tab.evaluate("document.querySelector('#show-holds').checked") and tab.shown("#claims .row") == 3


def test_a_fold_opens_and_a_paper_is_gone_to(tab, address):
    tab.open(address)
    assert tab.shown(".matrix tr") == 0
    tab.click("#profiles > summary")
    assert tab.shown(".matrix tr") == 6  # the head, a paper, four claims
    tab.click("nav a.method[href*=Eysenbach]")
    assert "Eysenbach" in tab.evaluate("decodeURIComponent(location.hash)")


def test_the_browser_tells_of_what_is_wrong(tab, tmp_path):
    """What the other tests rely on."""
    page = tmp_path / "wrong.html"
    head = "<meta name=viewport content='width=device-width, initial-scale=1'>"
    page.write_text(f"{head}<div style='width:900px'>x</div><script>console.error('seen'); nothing()</script>")
    tab.open(page.as_uri(), browser.PHONE)
    assert tab.overflow() > 0 and len(tab.problems) == 2 and "seen" in tab.problems[0]
    tab.problems.clear()
