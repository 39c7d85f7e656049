"""Published raw results go out and come in without loss: text is text, and a number that is none is named."""

import html
import re
import sys

import numpy as np
import pandas as pd
import pytest
import synthetic

from mbrl_jax import results
from mbrl_jax.report import Artefact, Figure, Table, build, figures, statistics
from mbrl_jax.report.exchange import export_csv, import_csv
from mbrl_jax.report.gather import Drawn, gather

LABELS = (
    "None",
    "nan",
    "NA",
    "",
    "3",
    "007",
    "1e5",
    "True",
    "_hidden",
    "a,b",
    'say "a"',
    "two\nlines",
    " padded ",
    "größer",
    "$k$",
)


def stored(root, labels=("mbpo",), env="hopper-v4"):
    """A run of two seeds under these labels, as `results.load` gives it."""
    rows = [
        (label, seed, step, "eval/return_mean", (seed + step) / 7)
        for label in labels
        for seed in (0, 1)
        for step in (0, 500)
    ]
    metrics = pd.DataFrame(rows, columns=["algorithm", "seed", "env_step", "metric", "value"])
    facts = {"experiment": "mbpo/figure2", "algorithm": "mbpo", "env": env, "seeds": [0, 1], "status": "finished"}
    results.save(root, "a", metrics, facts)
    return results.load(root)


def written(path, rows, head="exp_name,env_name,seed,metric,env_step,value", encoding="utf-8"):
    """A file of these lines."""
    path.write_bytes("\n".join([head, *rows, ""]).encode(encoding))
    return path


def test_exchange_format_round_trips(tmp_path):
    frame, path = stored(tmp_path), tmp_path / "out.csv"
    export_csv(frame, path)
    assert path.read_text().splitlines()[0] == "exp_name,env_name,seed,metric,env_step,value"
    back = import_csv(path, "mbpo/figure2")
    pd.testing.assert_frame_equal(back[list(results.COLUMNS)], frame[list(results.COLUMNS)])
    with pytest.raises(ValueError, match="filter by `experiment`"):
        export_csv(pd.concat([frame, frame.assign(experiment="other")]), path)


def test_text_comes_back_as_the_text_it_was(tmp_path):
    frame, path = stored(tmp_path, LABELS), tmp_path / "out.csv"
    export_csv(frame, path)
    back = import_csv(path, "mbpo/figure2")
    assert set(back["algorithm"]) == set(LABELS)
    pd.testing.assert_frame_equal(back[list(results.COLUMNS)], frame[list(results.COLUMNS)])
    facts = {"experiment": "mine", "algorithm": "published", "env": "hopper-v4", "status": "finished", "seeds": [0, 1]}
    results.save(tmp_path, "b", back, facts)
    assert set(results.load(tmp_path, run="b")["algorithm"]) == set(LABELS)


@pytest.mark.parametrize(
    "spelling", ["Pendulum-v1", "pendulum-v1", "mbrl_jax/Pendulum-v1", "PENDULUM-v1", "pendulum_distractors_4-v1"]
)
def test_a_task_has_our_name_however_it_is_spelt(tmp_path, spelling):
    path = written(tmp_path / "x.csv", [f"a,{spelling},0,m,0,1"])
    ours = "pendulum_distractors_4-v1" if "distractors" in spelling else "pendulum-v1"
    assert import_csv(path, "x")["env"].tolist() == [ours]


@pytest.mark.parametrize(
    ("spelling", "kept", "told"),
    [
        ("Pendulun-v1", "Pendulun-v1", "'Pendulun-v1'; did you mean 'pendulum-v1'.* task of its own"),
        ("", "", "got ''.* task of its own"),
        ("Hopper", "hopper-v4", "'Hopper' states no version, .* hopper-v4"),
        ("this:pendulum-v1", "this:pendulum-v1", "'this:pendulum-v1'.* task of its own"),
    ],
)
def test_a_task_that_is_not_known_for_certain_is_told(tmp_path, spelling, kept, told):
    path = written(tmp_path / "x.csv", [f"a,{spelling},{seed},m,0,1" for seed in (0, 1)])
    with pytest.warns(UserWarning, match=rf"x\.csv: .*{told}") as caught:
        frame = import_csv(path, "x")
    assert frame["env"].tolist() == [kept] * 2 and len(caught) == 1
    assert "this" not in sys.modules, "a name in a file must not import a module"


def test_tasks_that_differ_in_spelling_only_are_remarked_upon(tmp_path):
    write = synthetic.writer(tmp_path)
    write("mbpo", "pendulum-v1", seeds=range(2), budget=500)
    assert gather(synthetic.ARTEFACTS, tmp_path)[0].remarks == []
    write("theirs", "Pendulum-v1", seeds=range(2), budget=500)
    (remark,) = gather(synthetic.ARTEFACTS, tmp_path)[0].remarks
    assert "spelling" in remark and "Pendulum-v1, pendulum-v1" in remark


def test_every_label_is_drawn_with_its_legend(tmp_path):
    stored(tmp_path, LABELS, env="$k$")
    one = statistics.Interval(np.array(1.0), np.array(0.5), np.array(2.0))

    def blocks(frame):
        drawn = [*figures.learning_curves(frame), figures.intervals({"$k$": one}, references={"$k$": 1.0})]
        return [
            Figure(drawn),
            Figure(figures.lines({"a": (np.arange(3), np.array([1, 1e3, 1e6]))}, logy=True)),
            Table(frame),
        ]

    artefact = Artefact("mbpo/figure2", "t", "A 2020", print, blocks)
    (section,) = gather([artefact], tmp_path)
    assert section.remarks == []
    drawn, logarithmic = section.blocks[:2]
    assert isinstance(drawn, Drawn) and set(drawn.legend) == set(LABELS)
    assert [panel.count(">$k$<") for panel in drawn.panels] == [1, 2]
    assert isinstance(logarithmic, Drawn) and "mathdefault" not in re.sub("<!--.*?-->", "", logarithmic.panels[0])
    index = build([artefact], tmp_path)
    assert all(html.escape(label) in index.read_text() for label in LABELS)
    lines = (index.parent / "report.md").read_text().splitlines()
    assert all(line.endswith("|") for line in lines if line.startswith("|"))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,hopper-v4,0.5,m,0,1", "line 3: seed must be a whole number .*'0.5'"),
        ("a,hopper-v4,1,m,1000.7,1", "line 3: env_step must be a whole number .*'1000.7'"),
        ("a,hopper-v4,,m,0,1", "line 3: seed must be a whole number .*''"),
        ("a,hopper-v4,1,m,-5,1", "line 3: env_step must be a whole number .*'-5'"),
        ("a,hopper-v4,1,m,1e30,1", "line 3: env_step must be a whole number .*'1e30'"),
        ("a,hopper-v4,1,m,nan,1", "line 3: env_step must be a whole number .*'nan'"),
        ("a,hopper-v4,1,m,0,much", "line 3: value must be a number.*'much'"),
        ("a,hopper-v4,1,m,0", "line 3: .* must have 6 cells, .* 5"),
        ("a,hopper-v4,1,m,0,1,2", "line 3: .* must have 6 cells, .* 7"),
    ],
)
def test_a_number_that_is_none_is_named_with_its_line(tmp_path, row, told):
    path = written(tmp_path / "bad.csv", ["a,hopper-v4,0,m,0,1", row])
    with pytest.raises(results.ResultsError, match=rf"bad\.csv, {told}"):
        import_csv(path, "x")


def test_whole_numbers_are_read_in_every_spelling(tmp_path):
    path = written(tmp_path / "x.csv", ["a,hopper-v4,0,m,1e3,1", "a,hopper-v4,1.0,m,2000.0,inf", "a,hopper-v4,1,m,3,"])
    frame = import_csv(path, "x")
    assert frame["seed"].tolist() == [0, 1, 1] and frame["env_step"].tolist() == [1000, 2000, 3]
    assert frame["value"].tolist()[:2] == [1.0, float("inf")] and frame["value"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("head", "encoding", "told"),
    [
        ("exp_name,seed", "utf-8", "must have the columns exp_name, .*; it has 'exp_name', 'seed'"),
        ("exp_name;env_name;seed;metric;env_step;value", "utf-8", "separated by commas, .* by ';'"),
        ("exp_name\tenv_name\tseed\tmetric\tenv_step\tvalue", "utf-8", r"separated by commas, .* by '\\t'"),
        ("exp_name, env_name, seed, metric, env_step, value", "utf-8", "it has 'exp_name', ' env_name'"),
        ("größer", "latin-1", "must be UTF-8"),
        ("exp_name", "utf-16", "must be UTF-8"),
        ("", "utf-8", "must have the columns .*; it has none"),
        ("exp_name,exp_name,env_name,seed,metric,env_step,value", "utf-8", "each once"),
    ],
)
def test_a_file_of_another_form_is_named_with_what_it_is(tmp_path, head, encoding, told):
    with pytest.raises(results.ResultsError, match=rf"bad\.csv: .*{told}"):
        import_csv(written(tmp_path / "bad.csv", [], head, encoding), "x")


def test_a_spreadsheets_mark_before_the_first_column_is_no_part_of_its_name(tmp_path):
    path = written(tmp_path / "x.csv", ["a,hopper-v4,0,m,0,1"], encoding="utf-8-sig")
    assert import_csv(path, "x")["algorithm"].tolist() == ["a"]
