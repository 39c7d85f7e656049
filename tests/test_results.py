"""The store: what is written comes back exactly, nothing half-written is ever seen, damage is named."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from mbrl_jax import results

RUN = "00112233445566aa"


def table(seeds=(0, 1), steps=(0, 500), metric="eval/return_mean", scale=1.0):
    rows = [(seed, step, metric, scale * (seed + step / 3)) for seed in seeds for step in steps]
    return pd.DataFrame(rows, columns=["seed", "env_step", "metric", "value"])


def facts(**changes):
    plain = {"experiment": "mbpo/figure2", "algorithm": "mbpo", "env": "hopper-v4", "seeds": [0, 1]}
    return {**plain, "status": "finished", **changes}


def test_a_saved_run_comes_back_exactly(tmp_path):
    bulk = {"rollout": np.arange(12.0).reshape(3, 4), "mask": np.array([True, False])}
    results.save(tmp_path, RUN, table(scale=1 / 7), facts(device="cpu", diverged={1: 500}), bulk)
    back = results.load_run(tmp_path, RUN)
    assert list(back.columns) == ["run", *results.COLUMNS]
    assert back["value"].tolist() == table(scale=1 / 7)["value"].tolist()
    assert (back["experiment"] == "mbpo/figure2").all()
    kept = results.manifest(tmp_path, RUN)
    assert kept["device"] == "cpu" and kept["diverged"] == {"1": 500} and kept["schema"] == results.SCHEMA_VERSION
    for name, array in results.arrays(tmp_path, RUN).items():
        np.testing.assert_array_equal(array, bulk[name])
        assert array.dtype == bulk[name].dtype
    leftovers = [path.name for path in (tmp_path / "runs" / RUN).iterdir() if path.name.startswith(".")]
    assert not leftovers


def test_run_id_depends_on_content_only():
    @dataclass(frozen=True)
    class Config:
        lr: float = 3e-4
        hidden: tuple[int, ...] = (256, 256)

    one = results.run_id({"config": Config(), "seeds": [0, 1], "env": "hopper-v4"})
    same = results.run_id({"env": "hopper-v4", "seeds": np.arange(2), "config": {"hidden": [256, 256], "lr": 0.0003}})
    assert one == same and len(one) == 16
    assert one != results.run_id({"config": Config(lr=1e-3), "seeds": [0, 1], "env": "hopper-v4"})
    with pytest.raises(TypeError, match="plain values"):
        results.run_id({"config": object()})


def test_progress_is_replaced_and_only_finished_is_finished(tmp_path):
    assert not results.finished(tmp_path, RUN)
    results.save(tmp_path, RUN, table(steps=(0,)), facts(status="running"))
    assert not results.finished(tmp_path, RUN)
    assert len(results.load(tmp_path)) == 2 and results.load(tmp_path, only_finished=True).empty
    results.save(tmp_path, RUN, table(), facts())
    assert results.finished(tmp_path, RUN) and len(results.load(tmp_path, only_finished=True)) == 4
    (tmp_path / "runs" / RUN / "metrics.parquet").unlink()
    assert not results.finished(tmp_path, RUN)


def test_diverged_seeds_are_marked(tmp_path):
    results.save(tmp_path, RUN, table(), facts(diverged={1: 500}))
    frame = results.load(tmp_path)
    assert frame.loc[frame["seed"] == 1, "diverged_at"].tolist() == [500.0, 500.0]
    assert frame.loc[frame["seed"] == 0, "diverged_at"].isna().all()
    labels = pd.concat([table().assign(algorithm=label) for label in ("lr=0.1", "lr=1.0")])
    results.save(tmp_path, RUN, labels, facts(diverged={"lr=1.0/0": 0}))
    frame = results.load(tmp_path)
    lost = frame.loc[frame["diverged_at"].notna(), ["algorithm", "seed"]].drop_duplicates()
    assert lost.to_numpy().tolist() == [["lr=1.0", 0]]


def test_load_filters_and_names_a_misspelt_filter(tmp_path):
    results.save(tmp_path, "a", table(), facts())
    results.save(tmp_path, "b", table(metric="q"), facts(algorithm="sac", experiment="mbpo/figure3"))
    assert set(results.load(tmp_path)["algorithm"]) == {"mbpo", "sac"}
    assert set(results.load(tmp_path, algorithm="sac")["run"]) == {"b"}
    assert set(results.load(tmp_path, experiment="mbpo/figure2")["run"]) == {"a"}
    assert results.load(tmp_path, seed=[1], metric=["q", "other"])["seed"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="did you mean 'algorithm'"):
        results.load(tmp_path, algoritm="sac")
    empty = results.load(tmp_path / "nowhere")
    assert empty.empty and list(empty.columns) == [*results.load(tmp_path).columns]
    assert results.manifests(tmp_path)["run"].tolist() == ["a", "b"] and results.manifests(tmp_path / "nowhere").empty


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_table_is_named_and_skipped_when_loading_many(tmp_path, damage):
    many = pd.concat([table(steps=range(0, 100_000, 100), metric=f"m{i}") for i in range(3)], ignore_index=True)
    path = results.save(tmp_path, "bad", many, facts()) / "metrics.parquet"
    results.save(tmp_path, "good", table(), facts(algorithm="sac"))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    path.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    with pytest.raises(results.ResultsError, match=r"bad/metrics\.parquet"):
        results.load_run(tmp_path, "bad")
    with pytest.warns(UserWarning, match=r"bad/metrics\.parquet"):
        assert set(results.load(tmp_path)["run"]) == {"good"}


@pytest.mark.parametrize("content", ['{"experiment": "x"', "[]", "7", '{"experiment": "x"}', "\x00\xff"])
def test_a_damaged_manifest_is_named(tmp_path, content):
    path = results.save(tmp_path, "bad", table(), facts()) / "manifest.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(results.ResultsError, match=r"bad/manifest\.json"):
        results.manifest(tmp_path, "bad")
    with pytest.warns(UserWarning, match=r"bad/manifest\.json"):
        assert results.load(tmp_path).empty
    assert not results.finished(tmp_path, "bad")


def test_a_newer_schema_is_refused(tmp_path):
    path = results.save(tmp_path, "new", table(), facts()) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": results.SCHEMA_VERSION + 1}))
    with pytest.raises(results.ResultsError, match="schema"):
        results.manifest(tmp_path, "new")


def test_arrays_are_never_unpickled(tmp_path):
    with pytest.raises(ValueError, match="Python objects"):
        results.save(tmp_path, RUN, table(), facts(), {"bad": np.array([{}])})
    path = results.save(tmp_path, RUN, table(), facts(), {"good": np.zeros(1000)}) / "arrays.npz"
    np.savez(path, bad=np.array([{"a": 1}], dtype=object))
    with pytest.raises(results.ResultsError, match=r"arrays\.npz"):
        results.arrays(tmp_path, RUN)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(results.ResultsError, match=r"arrays\.npz"):
        results.arrays(tmp_path, RUN)
    assert results.arrays(tmp_path, "without") == {}


@pytest.mark.parametrize(
    "metrics, manifest, message",
    [
        (table().drop(columns="metric"), facts(), "missing: metric"),
        (pd.concat([table(), table()]), facts(), "4 rows repeat"),
        (table().assign(seed="zero"), facts(), "integers"),
        (table().assign(seed=0.5), facts(), "integers"),
        (table().assign(env_step=[0.0, 1000.7] * 2), facts(), "integers"),
        (table(), facts(seeds=[0, 0.5]), "seeds must be a list of whole numbers"),
        (table(), facts(algorithm=3), "algorithm must be text, got 3"),
        (table(), {"experiment": "x"}, "missing: algorithm"),
        (table(), facts(status="done"), "got 'done'"),
        (table(), facts(diverged={7: 100}), "got 7"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, metrics, manifest, message):
    with pytest.raises(ValueError, match=message):
        results.save(tmp_path, RUN, metrics, manifest)
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ValueError, match="plain file name"):
        results.save(tmp_path, "../escape", table(), facts())


def test_a_full_disk_is_told_and_keeps_the_previous_files(tmp_path):
    results.save(tmp_path, RUN, table(), facts(status="running"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "runs" / RUN).iterdir()}
    large = table(steps=range(50_000), scale=np.pi)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the kernel refuses longer files, as a full disk would
    try:
        with pytest.raises(OSError, match=r"could not write .*metrics\.parquet.*kept"):
            results.save(tmp_path, RUN, large, facts())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in (tmp_path / "runs" / RUN).iterdir()} == before


def test_killed_while_saving_leaves_a_readable_run(tmp_path):
    script = f"""
import itertools, sys, pandas as pd
sys.path.insert(0, {os.getcwd()!r})
from mbrl_jax import results
for n in itertools.count(1):
    rows = [(0, step, "m", float(step)) for step in range(200 * n)]
    frame = pd.DataFrame(rows, columns=["seed", "env_step", "metric", "value"])
    facts = dict(experiment="e", algorithm="a", env="v", seeds=[0], status="running")
    results.save({str(tmp_path)!r}, "r", frame, facts)
    print(n, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 5:
                break
        process.kill()
    frame = results.load(tmp_path)
    assert len(frame) % 200 == 0 and len(frame) >= 1000
    assert results.manifest(tmp_path, "r")["status"] == "running"


def test_check_writable(tmp_path):
    results.check_writable(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="must be writable"):
        results.check_writable(tmp_path / "file" / "results")
    with pytest.raises(OSError, match="free"):
        results.check_writable(tmp_path, need_bytes=2**60)


def test_provenance_names_versions_and_commit():
    facts = results.provenance()
    assert facts["versions"]["numpy"] == np.__version__ and facts["versions"]["python"].startswith("3.")
    assert facts["commit"] == "unknown" or len(facts["commit"].split("+")[0]) == 40


NAMES = (
    "lr.1",
    "lr-1",
    "lr/1",
    "lr 1",
    "lr_1",
    "LR_1",
    "lr--1",
    "a/b",
    "a-b",
    "a.b",
    "",
    "..",
    "é",
    "e",
    "x" * 300,
    "x" * 301,
)


def test_names_of_files_are_short_safe_and_never_the_same():
    names = {*NAMES, *map(results.file_name, NAMES)}  # what one name became may be another's name
    found = [results.file_name(name) for name in names]
    assert len({name.lower() for name in found}) == len(found)  # some disks do not tell capitals apart
    assert all(re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]{0,59}", name) for name in found)
    assert results.file_name("mbpo/figure2") == "mbpo-figure2"
