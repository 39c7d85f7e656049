"""The results store: what a run leaves on disk, how it gets there safely, and how it is read back.

    root/runs/<run>/metrics.parquet     one long table: experiment, algorithm, env, seed, env_step, metric, value
    root/runs/<run>/manifest.json       what the run was and on what it ran; written last
    root/runs/<run>/arrays.npz          optional bulk data (rollouts to draw, histograms); never pickled

Every file is written under a temporary name, flushed to the disk and renamed, so a reader sees the old file or the new
one, never half of one. A run is finished when its manifest says so. `load()` gives all results in one line. `root` may
be an address `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`, whose local copy is read and written then (see `storage`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mbrl_jax import storage
from mbrl_jax.checks import nearest
from mbrl_jax.files import in_the_way, write_whole
from mbrl_jax.host import provenance
from mbrl_jax.manifest_rules import REQUIRED, SCHEMA_VERSION, STATUSES, problem
from mbrl_jax.storage import check_writable, located
from mbrl_jax.types import Facts

__all__ = [
    "COLUMNS",
    "STATUSES",
    "ResultsError",
    "arrays",
    "check_writable",
    "file_name",
    "finished",
    "load",
    "load_run",
    "manifest",
    "manifests",
    "provenance",
    "run_id",
    "save",
    "write_whole",
]

COLUMNS = ("experiment", "algorithm", "env", "seed", "env_step", "metric", "value")
_TABLE = pa.schema(
    [(name, pa.string()) for name in COLUMNS[:3]]
    + [("seed", pa.int64()), ("env_step", pa.int64()), ("metric", pa.string()), ("value", pa.float64())]
)
_READ_ERRORS = (OSError, ValueError, KeyError, pa.ArrowException, zipfile.BadZipFile)


class ResultsError(RuntimeError):
    """A stored file is damaged or is not what the store's layout says; the message names the file."""


def run_id(identity: Facts) -> str:
    """The name of a run: 16 hexadecimal digits of the hash of everything that determines it.

    Args:
      identity: nested mapping of plain values, dataclasses and arrays' scalars: experiment, configuration,
        environment version, seeds, budget. The order of keys does not matter.

    Raises:
      TypeError: a value has no canonical JSON form.
    """
    return hashlib.sha256(_canonical(identity).encode()).hexdigest()[:16]


def save(
    root: str | Path,
    run: str,
    metrics: pd.DataFrame,
    manifest: Facts,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Writes a run, replacing what an earlier call wrote; call it again and again while the run is going on.

    Args:
      root: the results folder.
      run: the run's id, see `run_id`.
      metrics: long table with `seed`, `env_step` (int), `metric` and `value`; `experiment`, `algorithm` and `env` are
        taken from the manifest when the columns are missing. One row per (algorithm, env, seed, env_step, metric).
      manifest: `experiment`, `algorithm`, `env`, `seeds` (list of int), `status` (one of `STATUSES`); by convention
        also `profile`, `engine`, `config`, `versions` and `commit` (see `provenance`), `device`, `precision`,
        `compile_seconds`, `run_seconds`, `updates` (gradient steps of one seed; None where they are not counted),
        `lanes` (seeds times labels, where a run holds several labels) and `diverged` (`"seed"` or `"label/seed"` -> env
        step at which a non-finite loss froze it). Anything else is kept; `written` is the time of saving unless given.
        The label `algorithm` must tell configurations of one experiment apart: figures draw one line per label.
      arrays: optional arrays of any shape by name; no object dtype.

    Returns:
      The run's folder.

    Raises:
      ValueError: the table or the manifest breaks the rules above.
      OSError: the disk is full or not writable; the previous files are intact.
    """
    facts = _checked_manifest(run, manifest)
    table = _checked_table(metrics, facts)
    folder = storage.folder(root) / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    write_whole(folder / "metrics.parquet", buffer.getvalue())
    if arrays is not None:
        write_whole(folder / "arrays.npz", _packed(arrays))
    write_whole(folder / "manifest.json", (json.dumps(facts, indent=2) + "\n").encode())
    storage.publish_named(root, run)
    return folder


def finished(root: str | Path, run: str) -> bool:
    """Whether the run is complete on disk: its manifest is readable and says so, and its table is there."""
    root = located(root, [run])
    try:
        complete = manifest(root, run)["status"] == "finished"
    except (ResultsError, FileNotFoundError):
        return False
    return complete and (root / "runs" / run / "metrics.parquet").is_file()


def manifest(root: str | Path, run: str) -> Facts:
    """The manifest of one run.

    Raises:
      FileNotFoundError: there is none.
      ResultsError: it cannot be read, breaks a rule, or is that of another run; the message names the file.
    """
    path = located(root, [run]) / "runs" / run / "manifest.json"
    _check_is_file(path)
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"a manifest must be JSON, {path} is not: {error}") from error
    if wrong := problem(facts):
        raise ResultsError(f"{path} cannot be used: {wrong}")
    if facts.get("run", run) != run:
        raise ResultsError(f"a folder must be named after its run, {path} is a copy of {facts['run']!r} or was renamed")
    return facts


def load_run(root: str | Path, run: str) -> pd.DataFrame:
    """The metrics of one run, with the column `run`.

    Raises:
      FileNotFoundError: there are none.
      ResultsError: the table is truncated or corrupt (pages carry checksums); the message names the file.
    """
    path = located(root, [run]) / "runs" / run / "metrics.parquet"
    _check_is_file(path)
    try:
        table = pq.read_table(path, columns=list(COLUMNS), page_checksum_verification=True)
        frame = _named_rows(table.cast(_TABLE)).to_pandas()
    except FileNotFoundError:
        raise
    except _READ_ERRORS as error:
        raise ResultsError(f"metrics must be an intact Parquet table, {path} is not: {error}") from error
    frame.insert(0, "run", run)
    return frame


def load(root: str | Path = "results", *, only_finished: bool = False, **filters: object) -> pd.DataFrame:
    """All metrics under `root` as one long table; unreadable runs are skipped with a warning that names the file.

    Args:
      root: the results folder; a missing or empty one gives an empty table.
      only_finished: leave out runs that are still going on or were interrupted.
      filters: a value or a collection of values per column, for example `experiment="mbpo/figure2", seed=[0, 1]`.

    Returns:
      Columns `run`, `COLUMNS` and `diverged_at` (the step at which the row's seed diverged; NaN if it did not),
      ordered by experiment, algorithm, env, metric, seed, env_step.

    Raises:
      ValueError: a filter is not a column.
    """
    known = ("run", *COLUMNS)
    for name in filters:
        if name not in known:
            raise ValueError(nearest(name, known, "a filter"))
    wanted, root = {name: _listed(value) for name, value in filters.items()}, located(root)
    frames = []
    for run, facts in _readable_manifests(root):
        if (only_finished and facts["status"] != "finished") or not _may_match(run, facts, wanted):
            continue
        try:
            frame = _with_divergence(load_run(root, run), facts)
        except (ResultsError, FileNotFoundError) as error:
            _skipped(run, error, 3)
            continue
        for name, values in wanted.items():
            frame = frame.loc[pd.Series(frame[name]).isin(values)]
        frames.append(frame)
    if not any(len(frame) for frame in frames):
        empty = _TABLE.empty_table().to_pandas()
        return empty.assign(run=pd.Series(dtype="str"), diverged_at=np.nan)[[*known, "diverged_at"]]
    order = ["experiment", "algorithm", "env", "metric", "seed", "env_step"]
    return pd.concat([frame for frame in frames if len(frame)]).sort_values(order, kind="stable", ignore_index=True)


def manifests(root: str | Path = "results") -> pd.DataFrame:
    """One row per run: `run` and the manifest's entries; unreadable ones are skipped with a warning."""
    rows = [{"run": run, **facts} for run, facts in _readable_manifests(located(root))]
    return pd.DataFrame(rows, columns=None if rows else ["run", *REQUIRED])


def arrays(root: str | Path, run: str) -> dict[str, np.ndarray]:
    """The bulk arrays of a run, of any shape; empty if it has none. Nothing is unpickled.

    Raises:
      ResultsError: the file is damaged or holds pickled objects; the message names it.
    """
    path = located(root, [run]) / "runs" / run / "arrays.npz"
    _check_is_file(path)
    if not path.is_file():
        return {}
    try:
        content = io.BytesIO(path.read_bytes())  # a damaged file would leave NumPy's own handle open
        with np.load(content, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (*_READ_ERRORS, EOFError) as error:
        raise ResultsError(f"arrays must be an intact .npz without pickled objects, {path} is not: {error}") from error


def file_name(name: str) -> str:
    """What a name is called in file names and on the page: short, safe everywhere, and of no other name.

    `mbpo/figure2` is `mbpo-figure2`. A name that is not of this form keeps what is safe of its first letters and gets
    a part of its hash, so that neither punctuation, capitals nor length make two names one.
    """
    if re.fullmatch("[a-z0-9_]+/[a-z0-9_]+", name) and len(name) <= 40:
        return name.replace("/", "-")
    readable = re.sub("[^A-Za-z0-9_]+", "-", name[:40]).strip("-") or "name"
    return f"{readable}--{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _checked_manifest(run: str, manifest: Facts) -> Facts:
    if not run or run != Path(run).name:
        raise ValueError(f"a run id must be a plain file name, got {run!r}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"schema": SCHEMA_VERSION, "written": now, **json.loads(_canonical(manifest)), "run": run}
    if wrong := problem(facts):
        raise ValueError(wrong)
    return facts


def _checked_table(metrics: pd.DataFrame, facts: Facts) -> pa.Table:
    filled = metrics.assign(**{name: facts[name] for name in COLUMNS[:3] if name not in metrics})
    missing = [name for name in COLUMNS if name not in filled]
    if missing:
        raise ValueError(f"metrics must have the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    try:
        table = _named_rows(pa.Table.from_pandas(filled[list(COLUMNS)], schema=_TABLE, preserve_index=False))
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"metrics must be text, integers (seed, env_step) and floats (value): {error}") from error
    twice = filled.duplicated(["experiment", "algorithm", "env", "seed", "env_step", "metric"])
    if twice.any():
        first = filled.loc[twice, ["seed", "env_step", "metric"]].iloc[0].to_dict()
        raise ValueError(f"a run must hold one value per point, {twice.sum()} rows repeat one, the first is {first}")
    return table


def _check_is_file(path: Path) -> None:
    if wrong := in_the_way(path, "file"):
        raise ResultsError(wrong)


def _named_rows(table: pa.Table) -> pa.Table:
    """The table, if every row has all that tells it apart; a `value` may be missing."""
    if nameless := [name for name in COLUMNS[:-1] if table[name].null_count]:
        raise ValueError(f"every row must have {', '.join(COLUMNS[:-1])}, some lack {', '.join(nameless)}")
    return table


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    objects = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if objects:
        raise ValueError(f"arrays must not hold Python objects, these do: {', '.join(objects)}")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def _readable_manifests(root: Path) -> Iterable[tuple[str, Facts]]:
    for folder in sorted((root / "runs").glob("*/manifest.json")):
        try:
            yield folder.parent.name, manifest(root, folder.parent.name)
        except (ResultsError, FileNotFoundError) as error:
            _skipped(folder.parent.name, error, 4)


def _skipped(run: str, error: Exception, stacklevel: int) -> None:
    """Says why a run is left out; a name that is not Unicode is shown with escapes, so that any stream takes it."""
    told = f"skipped run {run}: {error}".encode(errors="backslashreplace").decode()
    warnings.warn(told, stacklevel=stacklevel)


def _with_divergence(frame: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    lanes = frame[["algorithm", "seed"]].drop_duplicates()
    frozen = facts.get("diverged") or {}
    at = [frozen.get(f"{label}/{seed}", frozen.get(str(seed), np.nan)) for label, seed in lanes.to_numpy()]
    return frame.merge(lanes.assign(diverged_at=np.asarray(at, dtype=float)), on=["algorithm", "seed"])


def _may_match(run: str, facts: Facts, wanted: Mapping[str, list[object]]) -> bool:
    known = {"run": run, "experiment": facts["experiment"]}
    return all(known[name] in wanted[name] for name in known if name in wanted)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _canonical(value: object) -> str:
    return json.dumps(value, default=_plain, sort_keys=True, separators=(",", ":"))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a run is described by plain values, got {value!r} of type {type(value).__name__}")
