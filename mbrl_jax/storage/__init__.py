"""Results in object storage: `s3://BUCKET/PREFIX` and `gs://BUCKET/PREFIX` wherever a results folder is named.

Every function here does nothing of its own where the folder is an ordinary one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mbrl_jax import files
from mbrl_jax.checks import resolved
from mbrl_jax.storage import copies
from mbrl_jax.storage.address import parse
from mbrl_jax.storage.lease import Lease

__all__ = [
    "Lease",
    "check_writable",
    "fetch",
    "fetch_record",
    "folder",
    "is_copy",
    "leased",
    "located",
    "place",
    "publish",
    "publish_folder",
    "publish_named",
    "publish_record",
    "published",
    "refresh",
    "under_lease",
]


def folder(named: str | os.PathLike[str]) -> Path:
    """The folder that a person names; of an address its local copy, once the address has answered.

    Raises:
      ValueError: it is an address of a kind that is not known, or no path.
      OSError: the package for it is not installed, there is no such bucket, the keys are wrong or missing, or nobody
        answers.
    """
    address = parse(named)
    return resolved(named) if address is None else copies.opened(address)


def located(named: str | os.PathLike[str], runs: Iterable[str] | None = None) -> Path:
    """The same; of an address, brought up to date first: all of it, or some runs."""
    root = folder(named)
    if parse(named) is not None:
        refresh(root, runs)
    return root


def place(root: Path) -> str:
    """What names a results folder on any machine: the address of a local copy, else its path."""
    found = copies.of(root)
    return str(root if found is None else found.address)


def is_copy(root: Path) -> bool:
    """Whether a folder is the local copy of an address."""
    return copies.of(root) is not None


def refresh(root: Path, names: Iterable[str] | None = None) -> None:
    """Brings a local copy up to date: manifests, tables and records of all runs and jobs, or of those that are named.

    Raises:
      OSError: the storage cannot be reached.
    """
    if (found := copies.of(root)) is not None:
        found.refresh(names)


def fetch(root: Path, run: str, begun: bool = False) -> None:
    """Fetches all that there is of a run: its final state, or of one that goes on its checkpoints.

    Args:
      root: the results folder.
      run: the run's id.
      begun: whether the caller holds the run's lock and goes on with it.

    Raises:
      OSError: the storage cannot be reached, or a checkpoint is damaged.
    """
    if (found := copies.of(root)) is not None:
        found.refresh([run])
        unit = found.unit(f"runs/{run}")
        unit.pull(unit.entries(), begun, ("final", "checkpoints") if begun else ("final",))


def fetch_record(root: Path, job: str) -> None:
    """Fetches the record of a job whose lock the caller holds: another machine may have done it just before.

    Raises:
      OSError: the storage cannot be reached.
    """
    if (found := copies.of(root)) is not None:
        unit = found.unit(f"jobs/{job}")
        unit.pull(unit.entries(), mine=True)


def publish(root: Path, runs: Iterable[str]) -> None:
    """Writes what is new of runs to the address, a manifest after all that it speaks of.

    Raises:
      OSError: the storage cannot be reached.
    """
    if (found := copies.of(root)) is not None:
        for run in runs:
            if (root / "runs" / run / "manifest.json").is_file():
                found.unit(f"runs/{run}").push()


def publish_record(root: Path, job: str) -> None:
    """Writes the record of a job, whose lock the caller holds, to the address.

    Raises:
      OSError: the storage cannot be reached.
    """
    if (found := copies.of(root)) is not None:
        found.unit(f"jobs/{job}").push()


def publish_named(named: str | os.PathLike[str], run: str) -> None:
    """Publishes a run that was saved at an address; in a folder that is a local copy whoever works there does."""
    if parse(named) is not None:
        publish(folder(named), [run])


def published(root: Path, run: str) -> bool:
    """Whether all of a run is where others see it."""
    found = copies.of(root)
    return found is None or found.unit(f"runs/{run}").published


def publish_folder(root: Path, name: str) -> str:
    """Writes a folder of the results, such as the report, to the address; where it is then, empty if nowhere else."""
    found = copies.of(root)
    if found is None:
        return ""
    for path in sorted((root / name).rglob("*")):
        if path.is_file():
            found.bucket.put(path.relative_to(root).as_posix(), path.read_bytes())
    return f"{found.address}/{name}"


def leased(folder: Path) -> Lease | None:
    """Takes the lease of a folder `root/runs/<id>` or `root/jobs/<id>`; None where none is needed.

    Raises:
      BusyError: somebody else holds it.
      OSError: the storage cannot be reached, or does not keep conditions.
    """
    found = copies.of(folder.parents[1]) if len(folder.parents) > 1 else None
    return None if found is None else found.lease(folder)


def under_lease(folder: Path) -> bool:
    """Whether somebody held the lease of such a folder when the copy was last refreshed."""
    found = copies.of(folder.parents[1]) if len(folder.parents) > 1 else None
    return found is not None and found.under_lease(folder)


def check_writable(named: str | os.PathLike[str], need_bytes: int = 64 * 2**20) -> None:
    """Refuses before long work starts if results could not be kept.

    Raises:
      OSError: the folder, or the local copy of an address, cannot be created or written, or has less than `need_bytes`
        free; the address cannot be written, or its storage does not keep conditions.
    """
    root = folder(named)
    files.check_writable(root, need_bytes)
    if (found := copies.of(root)) is not None:
        found.bucket.check_conditions()
