"""Two stores side by side: which claims changed, and both learning curves on the same axes."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic
from test_report import Page

from mbrl_jax import cli
from mbrl_jax.report import Artefact, Claim, select
from mbrl_jax.report.claims import Judgement, Verdict
from mbrl_jax.report.compare import Pair, Source, changed, compare


def judged(low, high, exact=False, seeds=8):
    verdict = Verdict.HOLDS if low > 0 else Verdict.FAILS if high < 0 else Verdict.OPEN
    return Judgement(verdict, (low + high) / 2, low, high, 0 if exact else seeds, 0, "", exact)


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (judged(1.0, 2.0), judged(1.5, 3.0), ""),
        (judged(1.0, 2.0), judged(-1.0, 2.0), "HOLDS → OPEN"),
        (judged(1.0, 2.0), judged(-3.0, -2.0), "HOLDS → FAILS"),
        (judged(1.0, 2.0), judged(2.5, 3.0), "the gaps' intervals do not meet"),
        (judged(451.0, 451.0, exact=True), judged(451.0001, 451.0001, exact=True), ""),
        (judged(451.0, 451.0, exact=True), judged(452.0, 452.0, exact=True), "the gaps are apart"),
        (judged(1.0, np.inf), judged(2.0, np.inf), ""),
        (judged(1.0, 2.0), judged(-1.0, 1.0, seeds=0), ""),  # there is nothing on the other side
    ],
)
def test_what_counts_as_changed(first, second, what):
    assert changed(Pair(synthetic.FIGURE2, synthetic.FIGURE2.claims[0], first, second)) == what


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two stores: in the second SAC is faster than MBPO, and on another device; only the first has the pendulum."""
    folder = tmp_path_factory.mktemp("stores")
    one, two = synthetic.writer(folder / "a"), synthetic.writer(folder / "b")
    synthetic.write_all(one)
    two("mbpo", synthetic.ENVS[0], speed=0.75, device="gpu (H200)")
    two("sac", synthetic.ENVS[0], speed=2.0, top=980.0, device="gpu (H200)")
    sources = Source(folder / "a"), Source(folder / "b")
    return *compare(synthetic.ARTEFACTS, *sources, folder / "out"), sources


def test_the_page_says_what_changed(written):
    index, pairs, sources = written
    text = index.read_text()
    page = Page(text)
    assert not [source for source in page.sources if not source.startswith("data:")]
    assert [changed(pair) for pair in pairs if pair.artefact.name == "mbpo/figure2"] == [
        "HOLDS → FAILS",
        "",  # the second task is in the first store only
        "HOLDS → OPEN",
    ]
    assert re.findall('<tr class="row (\\w+)"', text) == ["changed", "changed", "same", "single"]
    assert all(source.name in "".join(page.text) for source in sources)
    assert "gpu (H200)" in text and "cpu (2 cores)" in text and "changed 2<" in text
    table = pd.read_csv(index.parent / "claims.csv")
    assert table["changed"].dropna().tolist() == ["HOLDS → FAILS", "HOLDS → OPEN"] and len(table) == 5
    assert table["verdict of a"].tolist()[0] == "HOLDS" and table["verdict of b"].tolist()[0] == "FAILS"


def test_curves_of_both_stand_on_the_same_axes(written):
    index, _, _ = written
    text = index.read_text()
    curves = text[text.index('<section id="curves">') :]
    assert curves.count("<article>") == 1 and curves.count("<svg") == 2  # the task that both have
    drawn = re.findall("<svg.*?</svg>", curves, re.DOTALL)
    numbers = [re.findall(r">([\d,.k−]+)</text>", svg) for svg in drawn]
    assert numbers[0] == numbers[1] and len(numbers[0]) > 4


def test_profiles_of_one_store_are_compared(write, tmp_path):
    for profile, top in (("laptop", 1000.0), ("paper", 500.0)):
        write("mbpo", profile=profile, top=top, metrics=synthetic.learning_curve(range(8), 5000, 1, top, 10))
    claim = Claim(text="t", source="s", gap=lambda frame: select.final(frame, "mbpo") - 700.0)
    artefact = Artefact("mbpo/figure2", "t", "A 2020, Figure 1", lambda profile: (), lambda frame: [], (claim,))
    sides = Source(tmp_path, "laptop"), Source(tmp_path, "paper")
    _, (pair,) = compare([artefact], *sides, tmp_path / "out")
    assert changed(pair) == "HOLDS → FAILS"


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a results folder must exist, .*nowhere does not"):
        compare([], Source(tmp_path), Source(tmp_path / "nowhere"), tmp_path / "out")


def test_the_command_says_what_changed(written, tmp_path, capsys, monkeypatch):
    from mbrl_jax.commands import artefacts
    from mbrl_jax.runner import setup

    _, _, (one, two) = written
    monkeypatch.setattr(setup, "configure", lambda: None)
    monkeypatch.setattr(artefacts, "discover", lambda folder: ({a.name: a for a in synthetic.ARTEFACTS}, {}))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", str(one.root), str(two.root), "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert stopped.value.code == 0 and (tmp_path / "index.html").is_file()
    assert re.search("HOLDS → FAILS +mbpo/figure2 +MBPO needs fewer", said)
    assert "on both sides, 2 changed" in said
