"""The report is one whole, self-contained page, says what is missing or damaged, and survives what artefacts do."""

import base64
import html.parser
import io
import re

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.colors import to_hex
from PIL import Image

from mbrl_jax import results
from mbrl_jax.report import Artefact, Claim, Figure, Table, Verdict, build, data, figures, page, select, theme
from mbrl_jax.report.gather import gather
from mbrl_jax.report.statistics import Interval

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Collects tags and ids, and checks that every element is closed in its place."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.links, self.sources, self.text = [], [], [], [], [], []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        known = dict(attrs)
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known[name] for name in ("href", "xlink:href") if name in known]
        self.sources += [known["src"]] if "src" in known else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    synthetic.write_all(synthetic.writer(root))
    return build(synthetic.ARTEFACTS, root)


def test_the_page_is_whole_and_self_contained(built):
    text = built.read_text()
    parsed = Page(text)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "script" not in parsed.tags and "link" not in parsed.tags
    assert all(source.startswith("data:image/gif;base64,") for source in parsed.sources) and len(parsed.sources) == 1
    internal = {link[1:] for link in parsed.links if link.startswith("#")}
    assert internal <= set(parsed.ids) and "mbpo-figure2" in internal
    assert not [link for link in parsed.links if not link.startswith(("#", "data:text/csv;base64,"))]
    assert not re.findall(r"url\((?!#)", text) and "@import" not in text
    assert parsed.tags.count("svg") >= 5 + 4  # five panels, four claims with an interval
    assert "second <b>" in "".join(parsed.text) and "No results yet." in "".join(parsed.text)


def test_figures_follow_the_page_and_carry_no_light_colour(built):
    svgs = re.findall(r"<svg .*?</svg>", built.read_text(), re.DOTALL)
    assert any("var(--mbpo)" in svg for svg in svgs)
    for svg in svgs:
        assert not re.search(r"#[0-9a-f]{6}\b(?<!#000000)", re.sub(r'(href|url\()="?#[^")]*', "", svg))
        assert "DejaVu" not in svg


def test_verdicts_and_numbers_are_those_of_the_judgements(built):
    claims = pd.read_csv(built.parent / "tables" / "claims.csv")
    assert claims["verdict"].tolist() == ["HOLDS", "OPEN", "HOLDS", "HOLDS", "OPEN"]
    assert claims["note"].tolist()[-1].endswith("no finished run yet")
    text = built.read_text()
    assert all(number in text for number in claims["gap [95 % interval]"][:4])
    cost = pd.read_csv(built.parent / "tables" / "mbpo-figure2-cost.csv")
    assert sorted(cost["seeds finished"]) == ["7/8", "8/8", "8/8", "8/8"]
    np.testing.assert_allclose(cost["updates/s"], 50_000 * 8 / cost["run s"])


@pytest.mark.parametrize(("updates", "shown"), [(2000, 800.0), (0, np.nan), (None, np.nan)])
def test_updates_per_second_are_left_out_where_nobody_counted(updates, shown):
    facts = {"algorithm": "a", "env": "e", "seeds": [0, 1], "status": "finished", "run_seconds": 5.0}
    np.testing.assert_equal(page.cost_table([{**facts, "updates": updates}])["updates/s"][0], shown)


def test_markdown_names_files_that_exist(built):
    text = (built.parent / "report.md").read_text()
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(linked) == 6 and all((built.parent / name).is_file() for name in linked)
    assert "printed (Figure 2, read off)" in text
    svg = (built.parent / linked[0]).read_text()
    assert "--mbpo:" in svg and "prefers-color-scheme:dark" in svg and "--panel" in svg


def one(blocks=lambda frame: [], gap=lambda frame: np.ones(8), **changes):
    claim = Claim(text="t", source="s", gap=gap, **changes)
    return Artefact("mbpo/figure2", "t", "A 2020, Figure 1", lambda profile: (), blocks, (claim,))


def test_a_failing_artefact_is_told_and_the_rest_stands(write, tmp_path):
    write("mbpo")

    def broken(frame):
        raise RuntimeError("no such axis")

    for blocks in (broken, lambda frame: [Figure("not an image")], lambda frame: [Table(frame, paper={"nobody": "x"})]):
        text = build([one(blocks), *synthetic.ARTEFACTS], tmp_path).read_text()
        assert "could not be drawn" in text and "Learning curves" in text
        Page(text)


def test_profiles_are_not_mixed_and_smoke_proves_nothing(write, tmp_path):
    write("mbpo", profile="smoke")
    (section,) = gather([one()], tmp_path)
    assert section.profile == "smoke" and section.judged[0][1].verdict is Verdict.OPEN
    assert gather([one(tolerance=0.0)], tmp_path)[0].judged[0][1].verdict is Verdict.OPEN
    write("mbpo", profile="laptop")
    write("mbpo", profile="paper", status="running")
    (section,) = gather([one()], tmp_path)
    assert section.profile == "laptop" and len(section.runs) == 1 and section.judged[0][1].verdict is Verdict.HOLDS
    (section,) = gather([one(profiles=("paper",))], tmp_path)
    assert section.judged[0][1].verdict is Verdict.OPEN and "paper profile's scale" in section.judged[0][1].note
    assert gather([one(profiles=("laptop", "paper"))], tmp_path)[0].judged[0][1].verdict is Verdict.HOLDS


def test_claims_without_results_stand_apart(write, tmp_path):
    write("mbpo")
    nothing = one(gap=lambda frame: select.paired(frame, "mbpo", "sac"))
    text = build([one()._replace(claims=(*nothing.claims, *one().claims))], tmp_path).read_text()
    assert "1 without results" in text and "<dd>1<small> of 2</small></dd>" in text
    first, second = re.findall(r'<tr class="row (.*?)</tr>', text, re.DOTALL)
    assert first.startswith("holds") and second.startswith("waiting") and "no results for sac" in second
    assert "with results 1<" in text and "HOLDS 1<" in text and "OPEN 0<" in text and "all 2<" in text
    assert re.search('id="show-results" checked', text)


def test_claims_stand_by_paper_with_the_decided_ones_first(built):
    text = built.read_text()
    groups = re.findall(r'<details open class="group .*?</details>', text, re.DOTALL)
    assert ["MBPO" in groups[0], "MnM" in groups[1]] == [True, True] and len(groups) == 2
    assert "When to Trust Your Model" in groups[0] and "Mismatched No More" in groups[1]
    assert re.findall('<tr class="row (\\w+)"', groups[0]) == ["holds", "holds", "holds", "open"]
    assert re.findall('<tr class="row (\\w+)"', groups[1]) == ["waiting"]


def test_a_paper_is_named_by_its_method_and_title_wherever_its_artefacts_stand(write, tmp_path):
    write("mbpo")
    apart = [synthetic.FIGURE2, synthetic.ABSENT, synthetic.PROFILE, one()._replace(name="x/own", paper="not known")]
    text = build(apart, tmp_path).read_text()
    navigation = text[text.index("<nav") : text.index("</nav>")]
    methods = re.findall('class="method" href="#([^"]+)">([^<]+)<', navigation)
    assert [method for _, method in methods] == ["MBPO", "MnM", "not known"]
    assert all(f'id="{place}"' in text for place, _ in methods) and "When to Trust Your Model" in navigation
    assert "Janner" not in re.sub('#[^"]+', "", navigation)


def test_claims_against_profiles(write, tmp_path):
    write("mbpo", profile="smoke")
    write("mbpo", profile="laptop")
    artefact = one(profiles=("laptop",))
    text = build([artefact], tmp_path).read_text()
    table = text[text.index('<table class="matrix">') :]
    table = table[: table.index("</table>")]
    assert re.findall('<th scope="col">(\\w+)</th>', table) == ["claim", "paper", "laptop", "smoke"]
    (cells,) = [re.findall("<td>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert cells[0] == "–" and "HOLDS" in cells[1] and "OPEN" in cells[2]
    (section,) = gather([artefact], tmp_path, "smoke")
    assert section.profile == "smoke" and gather([artefact], tmp_path, "paper")[0].profile == ""


def test_every_figure_has_its_data_and_its_code(built):
    text = built.read_text()
    links = dict(re.findall('download="([^"]+)" href="data:text/csv;base64,([^"]+)"', text))
    assert sorted(links) == ["mbpo-figure2-0.csv", "mbpo-figure2-1.csv", "mbpo-profile-0.csv"]
    held = pd.read_csv(io.BytesIO(base64.b64decode(links["mbpo-figure2-0.csv"])))
    assert list(held.columns) == ["panel", "series", "x", "y", "low", "high"]
    assert set(held["panel"]) == set(synthetic.ENVS) and set(held["series"]) == {"mbpo", "sac"}
    frame = results.load(built.parents[1], experiment="mbpo/figure2", algorithm="sac", env=synthetic.ENVS[0])
    final = frame.loc[frame["env_step"] == 5000, "value"]
    ours = held[(held["panel"] == synthetic.ENVS[0]) & (held["series"] == "sac")].iloc[-1]
    assert ours["y"] == pytest.approx(np.sort(final)[2:6].mean(), rel=1e-8) and ours["low"] < ours["y"] < ours["high"]
    stored = pd.read_csv(built.parent / "figures" / "mbpo-figure2-0.csv")
    pd.testing.assert_frame_equal(stored, held)
    line = synthetic.learning_blocks.__code__.co_firstlineno
    assert (
        f"<code>synthetic.py:{line}</code>" in text
        and f"`synthetic.py:{line}`" in (built.parent / "report.md").read_text()
    )
    assert f"judged by <code>synthetic.py:{synthetic.faster.__code__.co_firstlineno}</code>" in text


def test_figures_and_films_are_described_in_words(built):
    text = built.read_text()
    labels = re.findall('<svg [^>]*role="img" aria-label="([^"]*)"', text)
    assert "inverted_pendulum-v4. evaluation return against environment steps: mbpo, sac" in labels
    assert all(labels) and len(re.findall('<svg [^>]*role="img"', text)) == len(labels)
    assert 'alt="A trained policy."' in text


def test_numbers_are_read_from_what_artefacts_draw_themselves():
    figure, axes = figures.panel("own")
    axes.bar([1.0, 2.0], [3.0, 4.0], label="bars")
    axes.plot([0.0, 1.0], [5.0, 6.0])
    axes.scatter([7.0], [8.0], label="points")
    axes.axhline(9.0)
    picture, other = figures.panel("image")
    other.imshow(np.arange(6.0).reshape(2, 3))
    held = data.numbers([figure, picture, "<svg/>"])
    own = held[held["panel"] == "own"]
    rows = {tuple(row) for row in own[["series", "x", "y"]].to_numpy().tolist()}
    assert rows == {("bars", 1.0, 3.0), ("bars", 2.0, 4.0), ("", 0.0, 5.0), ("", 1.0, 6.0), ("points", 7.0, 8.0)}
    image = held[held["panel"] == "image"]
    assert image["value"].tolist() == [0, 1, 2, 3, 4, 5] and image["x"].tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize("budget, expected", [(5000, None), (15_000, 443.5), (60_000, 2654.0)])
def test_published_curves_are_dashed_as_far_as_ours_go(write, tmp_path, budget, expected):
    write("MBPO", "hopper-v4", budget=budget)
    write("SAC", "hopper-v4", budget=budget)
    (figure,) = figures.learning_curves(results.load(tmp_path))
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    if expected is None:  # the published curve begins at 10,000 steps
        assert dashed == [] and "published" not in figure.get_label()
        return
    x, y = dashed[0].get_data()
    assert len(dashed) == 1 and x[-1] == budget and y[-1] == pytest.approx(expected) and x[0] == 10_000
    assert "Dashed: MBPO as published (the authors' runs" in figure.get_label()
    assert set(data.numbers([figure])["series"]) == {"MBPO", "SAC", "MBPO, published"}
    (other,) = figures.learning_curves(results.load(tmp_path).assign(metric="m"), "m")
    assert not [line for line in other.axes[0].lines if line.get_linestyle() == "--"]


def test_what_a_reader_must_know_stands_wherever_the_verdict_does(write, tmp_path):
    write("mbpo")
    known = one(gap=lambda frame: np.array([1.0, 3.0]), tolerance=0.0, note="Only on *one* task.")
    page_, markdown = build([known], tmp_path).read_text(), (tmp_path / "report" / "report.md").read_text()
    assert page_.count("Only on <em>one</em> task.") == 2 and markdown.count("Only on *one* task.") == 2
    (row,) = pd.read_csv(tmp_path / "report" / "tables" / "claims.csv").to_dict("records")
    assert row["note"].startswith("Only on *one* task.") and row["seeds"] == "exact"
    assert row["gap [95 % interval]"] == "1 to 3" and "1 to 3" in page_


def test_damage_and_unfinished_runs_are_remarked(write, tmp_path):
    run = write("mbpo")
    write("sac", status="running")
    (section,) = gather([one(lambda frame: [Table(frame.head(2))])], tmp_path)
    assert "unfinished" in section.remarks[0] and page.seeds_text(section.runs) == "8/16"
    path = tmp_path / "runs" / run / "metrics.parquet"
    path.write_bytes(path.read_bytes()[:100])
    (section,) = gather([one()], tmp_path)
    assert any("metrics.parquet" in remark for remark in section.remarks)
    assert section.judged[0][1].note == "no finished run yet"


def test_lanes_of_a_sweep_are_counted_as_seeds(write, tmp_path):
    write("mbpo", lanes=16, diverged={"lr=1.0/0": 0, "lr=1.0/1": 10})
    write("sac")
    (section,) = gather([one()], tmp_path)
    assert page.seeds_text(section.runs) == "22/24"
    assert page.cost_table(section.runs)["seeds finished"].tolist() == ["14/16", "8/8"]


def test_of_two_runs_of_the_same_seeds_the_newest_counts(tmp_path):
    for run, written, value in (("old", "2020-01-01", 1.0), ("new", "2021-01-01", 2.0)):
        metrics = pd.DataFrame({"seed": [0], "env_step": [10], "metric": ["m"], "value": [value]})
        facts = {"experiment": "mbpo/figure2", "algorithm": "a", "env": "e", "seeds": [0], "status": "finished"}
        results.save(tmp_path, run, metrics, {**facts, "written": written})
    seen = []
    (section,) = gather([one(lambda frame: seen.append(frame) or [])], tmp_path)
    assert seen[0]["value"].tolist() == [2.0] and "1 older run" in section.remarks[0]


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.1, 0.2)])
def test_seeds_of_runs_with_different_settings_are_remarked_upon(tmp_path, rates):
    for seed, rate in enumerate(rates):
        metrics = pd.DataFrame({"seed": [seed], "env_step": [10], "metric": ["m"], "value": [1.0]})
        facts = {"experiment": "mbpo/figure2", "algorithm": "a", "env": "e", "seeds": [seed], "status": "finished"}
        results.save(tmp_path, f"run{seed}", metrics, {**facts, "config": {"rate": rate}})
    (section,) = gather([one(lambda frame: [])], tmp_path)
    told = [remark for remark in section.remarks if "different settings: run0, run1" in remark]
    assert len(told) == (rates[0] != rates[1])


def test_blocks_can_reach_the_stored_arrays(write, tmp_path):
    write("mbpo", arrays={"frames": np.zeros((2, 4, 4, 3), np.uint8)})
    shapes = []
    gather([one(lambda frame: shapes.append(select.arrays(frame, "mbpo")["frames"].shape) or [])], tmp_path)
    assert shapes == [(2, 4, 4, 3)]


def test_an_empty_results_folder_makes_a_page(tmp_path):
    Page(build(synthetic.ARTEFACTS, tmp_path / "nothing", tmp_path / "out").read_text())
    Page(build([], tmp_path / "nothing", tmp_path / "out").read_text())


def test_palette_is_unambiguous():
    lights = [tone.light for tone in theme._NAMED.values()]
    assert len(set(lights)) == len(lights) and all(re.fullmatch("#[0-9a-f]{6}", light) for light in lights)
    chosen = theme.colors(["mbpo", "new", "sac", "newer", "new"])
    assert chosen["mbpo"] == theme.ALGORITHMS["mbpo"].light and len(set(chosen.values())) == 4


def test_colours_that_only_matplotlib_knows_are_written_as_css_in_legends():
    figure, axes = figures.panel()
    for place, tint in enumerate(("k", "C1", (1.0, 0.0, 0.0), "#2468d2")):
        axes.plot([0, 1], [place, place], color=tint, label=f"line {place}")
    assert list(theme.legend(figure).values()) == ["#000000", to_hex("C1"), "#ff0000", "#2468d2"]


@pytest.mark.parametrize("pair", ["light", "dark"])
def test_text_is_legible(pair):
    """WCAG contrast of at least 4.5 for text and verdicts, of 3 for lines (1.4.3, 1.4.11), on page and panel."""

    def luminance(code):
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    def contrast(a, b):
        low, high = sorted([luminance(a), luminance(b)])
        return (high + 0.05) / (low + 0.05)

    for ground in ("page", "panel"):
        back = getattr(theme.ROLES[ground], pair)
        for name in ("ink", "muted", "accent", "holds", "fails", "open"):
            assert contrast(getattr(theme.ROLES[name], pair), back) >= 4.5, name
        for name, tone in {**theme.ALGORITHMS, **theme.EXTRA}.items():
            assert contrast(getattr(tone, pair), back) >= 3, name


def test_learning_curves_draw_the_iqm_and_break_off_where_seeds_diverge(write, tmp_path):
    write("mbpo", diverged=dict.fromkeys(range(3), 2400))
    frame = results.load(tmp_path)
    (figure,) = figures.learning_curves(frame)
    x, y = figure.axes[0].lines[0].get_data()
    values = frame.pivot(index="seed", columns="env_step", values="value")
    expected = np.sort(values.to_numpy(), axis=0)[2:6].mean(axis=0)
    np.testing.assert_allclose(y[x < 2400], expected[values.columns < 2400], rtol=1e-12)
    assert np.isnan(y[x >= 2400]).all()
    assert "3 of 8 diverged" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize("logy", [False, True])
@pytest.mark.parametrize("scores, align", [((1, 1, 9), "left"), ((9, 1, 1), "right"), ((1, 100, 11), "right")])
def test_the_name_of_a_line_stands_where_no_curve_is(scores, align, logy):
    steps = np.array([0, 100, 10_000])  # between the first two of (1, 100, 11) the curve crosses the line
    drawn = figures.lines({"a": (steps, np.array(scores, float))}, references={"solved": 10.0}, logy=logy)
    (name,) = drawn.axes[0].texts
    assert name.get_text() == "solved" and name.get_horizontalalignment() == align


def test_intervals_and_lines_survive_infinite_ends():
    band = Interval(np.array([1.0, 2.0]), np.array([-np.inf, 1.0]), np.array([np.inf, 3.0]))
    drawn = figures.lines({"a": (np.array([1, 2]), band)}, logx=True, references={"r": 2.0})
    scalar = Interval(np.array(1.0), np.array(-np.inf), np.array(2.0))
    for figure in (drawn, figures.intervals({"a": scalar}, references={"r": 1.0})):
        assert "nan" not in theme.to_svg(figure, "p").lower().replace("dominant", "")


def test_gif_holds_all_frames():
    frames = np.zeros((5, 16, 24, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(0, 250, 50)[:, None, None]
    image = Image.open(io.BytesIO(figures.gif(frames, fps=20)))
    assert getattr(image, "n_frames", 1) == 5 and image.size == (24, 16) and image.info["duration"] == 50
    with pytest.raises(ValueError, match="got float64"):
        figures.gif(frames.astype(float))
    assert base64.b64encode(figures.gif(frames))


@pytest.mark.parametrize(
    "value, text",
    [
        (1234567.8, "1,234,568"),
        (-0.12345, "−0.1235"),
        (np.inf, "∞"),
        (np.nan, "–"),
        (3, "3"),
        ("k", "k"),
        (True, "yes"),
    ],
)
def test_numbers_are_for_reading(value, text):
    assert page.number(value) == text


def test_rich_text_escapes():
    shown = page.rich("a < `b` and **c** [d](https://e.org/?f=1&g=2)\n\n- one\n- *two*")
    assert shown.startswith('<p>a &lt; <code>b</code> and <strong>c</strong> <a href="https://e.org/?f=1&amp;g=2">')
    assert shown.endswith("<ul><li>one</li><li><em>two</em></li></ul>")
