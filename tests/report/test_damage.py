"""One bad run never takes the report with it: it is left out and its reason told, whatever is wrong with it."""

import json
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic

from mbrl_jax import results
from mbrl_jax.report import build, select
from mbrl_jax.report.gather import gather

STRANGE = (None, True, 0, 0.5, 10**400, float("nan"), "\ud800", [], [0.5], {}, {"x": "y"})
"""Values of every kind that JSON can hold."""


LAST = pd.DataFrame({"seed": [0, 1], "env_step": [500, 500], "metric": [select.RETURN] * 2, "value": [9.0, 8.0]})


def test_no_manifest_ends_the_report(tmp_path):
    """Whatever stands in any of its entries, the page is made, and of each run that is left out the reason is told."""
    write = synthetic.writer(tmp_path)
    write("sac", seeds=range(2), metrics=LAST)
    sound = write("mbpo", seeds=range(2), metrics=LAST, diverged={1: 400}, lanes=2)
    folder, facts = tmp_path / "runs" / sound, results.manifest(tmp_path, sound)
    for place, (field, value) in enumerate((field, value) for field in facts for value in STRANGE):
        bad = tmp_path / "runs" / f"bad{place:03}"
        shutil.copytree(folder, bad)
        (bad / "manifest.json").write_text(json.dumps({**facts, "run": bad.name, field: value}))
    text = build(synthetic.ARTEFACTS, tmp_path).read_text()
    assert "Learning curves" in text and "could not be judged" not in text
    told = (tmp_path / "report" / "report.md").read_text()
    for name in ("experiment", "seeds", "status", "schema", "lanes", "diverged", "run_seconds", "text"):
        assert f"{name} must be" in told, name


def test_a_copied_run_is_not_counted_twice(tmp_path):
    run = synthetic.writer(tmp_path)("mbpo", budget=500)
    shutil.copytree(tmp_path / "runs" / run, tmp_path / "runs" / "copy")
    with pytest.warns(UserWarning, match=rf"run copy: .* must be named after its run, .* a copy of '{run}'"):
        frame = results.load(tmp_path)
    assert len(frame) == 8 * 26 and set(frame["run"]) == {run}
    assert not results.finished(tmp_path, "copy")
    (section, *_) = gather(synthetic.ARTEFACTS, tmp_path)
    assert len(section.runs) == 1 and any(remark.startswith("skipped run copy: ") for remark in section.remarks)


def test_a_folder_whose_name_is_not_unicode_is_told_in_words(tmp_path):
    run = synthetic.writer(tmp_path)("mbpo", budget=500)
    shutil.copytree(tmp_path / "runs" / run, tmp_path / "runs" / "a\udcff")
    assert "skipped run a\\udcff: " in build(synthetic.ARTEFACTS, tmp_path).read_text()


@pytest.mark.parametrize("column", ["algorithm", "seed", "metric"])
def test_rows_without_a_name_are_damage_and_are_not_written(tmp_path, column):
    write = synthetic.writer(tmp_path)
    run = write("mbpo", seeds=range(2), metrics=LAST)
    with pytest.raises(ValueError, match=f"some lack {column}"):
        write("mbpo", seeds=range(2), metrics=LAST.assign(algorithm="mbpo").assign(**{column: None}))
    path = tmp_path / "runs" / run / "metrics.parquet"
    frame = pd.read_parquet(path)
    pq.write_table(pa.Table.from_pandas(frame.assign(**{column: None})), path)
    with pytest.raises(results.ResultsError, match=rf"{run}/metrics\.parquet.*{column}"):
        results.load_run(tmp_path, run)
    (remark,) = (one for one in gather(synthetic.ARTEFACTS, tmp_path)[0].remarks if run in one)
    assert column in remark


def test_a_manifest_nested_too_deep_is_named(tmp_path):
    run = synthetic.writer(tmp_path)("mbpo", budget=500)
    (tmp_path / "runs" / run / "manifest.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(results.ResultsError, match=rf"{run}/manifest\.json"):
        results.manifest(tmp_path, run)
