"""Something else where a run's files and folders belong: said before any work, never read, never written, kept."""

import os
import shutil
import threading

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import states
import tiny

from mbrl_jax import files, results
from mbrl_jax.runner import checkpoint, lock, loop
from mbrl_jax.runner.checkpoint import Checkpoints, StrangerError

QUIET = loop.Options(batching="map", quiet=True)
IDENTITY = tiny.run().run_id(tiny.run().environment())


def a_folder(path):
    path.mkdir()
    (path / "mine").write_text("kept")


def a_file(path):
    path.write_text("kept")


def a_link_that_leads_nowhere(path):
    path.symlink_to("nowhere")


def a_link_to_a_file(path):
    target = path.with_name("notes of mine")
    target.write_text("kept")
    path.symlink_to(target)


def a_link_to_a_folder(path):
    target = path.with_name("folder of mine")
    a_folder(target)
    path.symlink_to(target)


def something_else(path):
    os.mkfifo(path)


def words(make):
    return make.__name__.replace("_", " ")


PLACES = [
    *[(name, a_folder, "file") for name in (*files.FILES, "lock")],
    *[(name, a_link_that_leads_nowhere, "file") for name in (*files.FILES, "lock")],
    *[(name, a_link_to_a_folder, "file") for name in ("manifest.json", "metrics.parquet", "lock")],
    *[(name, something_else, "file") for name in ("manifest.json", "metrics.parquet", "lock")],
    ("lock", a_link_to_a_file, "file"),
    *[(name, make, "folder") for name in files.FOLDERS for make in (a_file, a_link_to_a_folder, something_else)],
    *[(f"{name}/200", make, "folder") for name in files.FOLDERS for make in (a_file, a_link_to_a_folder)],
    ("checkpoints/200", a_link_that_leads_nowhere, "folder"),
]


@pytest.mark.parametrize(("name", "make", "wanted"), PLACES, ids=[f"{n}: {words(m)}" for n, m, _ in PLACES])
def test_what_is_in_the_way_is_said_before_any_work(name, make, wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "plan_run", lambda *_: pytest.fail("planned although something is in the way"))
    path = tmp_path / "runs" / IDENTITY / name
    path.parent.mkdir(parents=True)
    make(path)
    before = states.contents(path.parent)
    with pytest.raises((OSError, results.ResultsError)) as caught:
        loop.train(tiny.run(), tmp_path, QUIET)
    assert str(caught.value) == f"{path} must be a {wanted}, but it is {words(make)}: move it away"
    assert states.contents(path.parent) == before


@pytest.mark.parametrize("name", ["runs", f"runs/{IDENTITY}"])
def test_a_file_where_the_runs_folder_belongs_is_said(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    a_file(tmp_path / name)
    with pytest.raises(OSError, match=f"{name} must be a folder, but it is a file: move it away"):
        loop.train(tiny.run(), tmp_path, QUIET)


def test_a_lock_that_is_none_holds_nobody_and_is_not_written_through(tmp_path):
    a_link_to_a_file(tmp_path / "lock")
    assert not lock.held(tmp_path)
    with pytest.raises(OSError, match="must be a file, but it is a link to a file"), lock.Lock(tmp_path):
        pytest.fail("locked")
    assert (tmp_path / "notes of mine").read_text() == "kept"


@pytest.mark.parametrize(("make", "remove"), [("touch", "unlink"), ("mkdir", "rmdir")])
def test_what_others_make_and_remove_meanwhile_is_nothing_else(make, remove, tmp_path):
    """Several make a lock at once: what is not there at one look and is there at the next is nothing else."""
    path, stop = tmp_path / "lock", threading.Event()

    def meddle():
        while not stop.is_set():
            getattr(path, make)()
            getattr(path, remove)()

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        found = {files.in_the_way(path, "file" if make == "touch" else "folder") for _ in range(20_000)}
    finally:
        stop.set()
        meddler.join()
    assert found == {""}


@pytest.fixture
def stored(tmp_path):
    """The folder of a finished run in the store."""
    facts = {"experiment": "t", "algorithm": "A", "env": "e", "seeds": [0], "status": "finished"}
    frame = pd.DataFrame({"seed": [0], "env_step": [0], "metric": ["m"], "value": [1.0]})
    folder = results.save(tmp_path, "r", frame, facts)
    assert results.finished(tmp_path, "r") and len(results.load(tmp_path)) == 1
    return folder


def test_a_folder_of_tables_is_not_read_as_a_runs_metrics(stored, tmp_path):
    """Parquet's own reader takes a folder for a table in parts."""
    table, part = stored / "metrics.parquet", stored / "part.parquet"
    table.rename(part)
    table.mkdir()
    part.rename(table / part.name)
    assert pq.read_table(table).num_rows == 1
    said = f"{table} must be a file, but it is a folder"
    with pytest.raises(results.ResultsError, match=said):
        results.load_run(tmp_path, "r")
    with pytest.warns(UserWarning, match=said):
        assert results.load(tmp_path).empty
    assert not results.finished(tmp_path, "r")


def test_a_manifest_that_is_a_folder_is_skipped_with_its_reason(stored, tmp_path):
    path = stored / "manifest.json"
    path.unlink()
    a_folder(path)
    with pytest.warns(UserWarning, match=f"{path} must be a file, but it is a folder"):
        assert results.manifests(tmp_path).empty


def test_a_folder_of_arrays_is_an_error_and_not_no_arrays(stored, tmp_path):
    assert results.arrays(tmp_path, "r") == {}
    a_folder(stored / "arrays.npz")
    with pytest.raises(results.ResultsError, match="must be a file, but it is a folder"):
        results.arrays(tmp_path, "r")


def tree(value):
    return {"weights": np.full((3, 2), value, np.float32)}


@pytest.fixture
def two(tmp_path):
    """A folder with checkpoints 10 and 20 of the run `ours`."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", 2, "ours")
    for iteration in (10, 20):
        checkpoints.save(iteration, tree(float(iteration)), {})
    checkpoints.close()
    return tmp_path / "checkpoints"


def newest(folder, run="ours"):
    checkpoints = Checkpoints(folder, 2, run)
    try:
        return checkpoints.newest(tree(0.0))
    finally:
        checkpoints.close()


@pytest.mark.parametrize("copy", (5, 15, 30))
def test_a_checkpoint_under_another_number_is_not_read_and_not_removed(two, copy):
    """Read as iteration 30, checkpoint 10 would end the run with the wrong number of rows."""
    shutil.copytree(two / "10", two / str(copy))
    with pytest.raises(StrangerError, match=f"{two / str(copy)} must be iteration {copy} .* copy of iteration 10 "):
        newest(two)
    assert {each.name for each in two.iterdir()} == {"10", "20", str(copy)}


def test_a_checkpoint_of_another_run_is_not_read(two):
    with pytest.raises(StrangerError, match=r"of run theirs, but it is a copy of iteration \d0 of run ours"):
        newest(two, "theirs")
    assert newest(two).iteration == 20


def test_strangers_with_other_names_are_neither_read_nor_removed(two):
    (two / "notes.txt").write_text("kept")
    (two / "newest").symlink_to("20")
    (two / "gone").symlink_to("nowhere")
    for name in ("0030", "٣٠", "step_40", "50.bak"):
        shutil.copytree(two / "20", two / name)
    assert newest(two).iteration == 20
    strangers = {each.name for each in two.iterdir()} - {"10", "20"}
    assert len(strangers) == 7
    checkpoints = Checkpoints(two, 2, "ours")
    checkpoints.save(30, tree(30.0), {})
    checkpoints.close()
    assert {each.name for each in two.iterdir()} - {"20", "30"} == strangers
    checkpoint.remove(two)
    assert {each.name for each in two.iterdir()} == strangers


def test_checkpoints_from_before_they_named_their_run_are_read(two, monkeypatch):
    honest = Checkpoints._facts

    def older(self, iteration):
        facts = honest(self, iteration)
        return {name: value for name, value in facts.items() if name not in ("run", "iteration")}

    monkeypatch.setattr(Checkpoints, "_facts", older)
    assert newest(two, "theirs").iteration == 20


def test_what_killed_processes_left_half_written_is_removed(tmp_path):
    for name in (".manifest.json.123", ".metrics.parquet.7"):
        (tmp_path / name).write_text("half")
    kept = {".manifest.json.bak", ".notes.1", "manifest.json"}
    for name in kept:
        (tmp_path / name).write_text("kept")
    (tmp_path / ".arrays.npz.5").mkdir()
    files.tidy(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {*kept, ".arrays.npz.5"}
