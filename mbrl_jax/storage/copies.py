"""Local copies of addresses: folders in which everything works as in any results folder.

A run needs renames, locks and files that grow, which object storage has not. So whoever works at an address works in a
folder of this machine, its copy, publishes there what is finished, and reads there what others have published.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mbrl_jax.checks import resolved
from mbrl_jax.files import write_whole
from mbrl_jax.storage.address import Address, parse
from mbrl_jax.storage.bucket import Bucket, Entry, bucket
from mbrl_jax.storage.lease import Lease, counts
from mbrl_jax.storage.units import SMALL, Unit

__all__ = ["Copy", "copies_folder", "of", "opened"]

MARK = ".address"
KINDS = ("runs", "jobs")
AT_ONCE = 8  # requests


class Copy(NamedTuple):
    """A local copy of an address.

    Attributes:
      root: the folder.
      address: what it is a copy of.
      name: what tells it from copies on other machines.
      leases: the leases of the last listing, by `runs/<id>` and `jobs/<id>`.
    """

    root: Path
    address: Address
    name: str
    leases: dict[str, Entry]

    @property
    def bucket(self) -> Bucket:
        """The address, once it has answered."""
        return bucket(self.address)

    def unit(self, name: str) -> Unit:
        """The folder `runs/<id>` or `jobs/<id>`."""
        return Unit(self.bucket, self.root, name)

    def refresh(self, names: Iterable[str] | None = None) -> None:
        """Fetches what others have published: manifests, tables and records of all runs and jobs, or of those named."""
        asked = KINDS if names is None else [f"{kind}/{name}" for name in names for kind in KINDS]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            listed = {key: one for found in pool.map(self.bucket.list, asked) for key, one in found.items()}
            units = {name: dict(rows) for name, rows in _by_unit(listed)}
            here = {f"{kind}/{each.name}" for kind in KINDS for each in _folders(self.root / kind)}
            known = here if names is None else here.intersection(asked)
            for name in known | units.keys():
                self.leases.pop(name, None)
            self.leases.update({name: rows["lease"] for name, rows in units.items() if "lease" in rows})
            wanted = [name for name in sorted(known | units.keys()) if name in here or units[name].keys() & set(SMALL)]
            list(pool.map(lambda name: self.unit(name).pull(units.get(name, {})), wanted))

    def lease(self, folder: Path) -> Lease:
        """Takes the lease of a folder `runs/<id>` or `jobs/<id>`, of which the caller holds the lock.

        Raises:
          BusyError: somebody else holds it.
        """
        here = f"{self.name} on {socket.gethostname()}"  # locks of a folder that several machines see may not hold
        return Lease(self.bucket, f"{folder.relative_to(self.root).as_posix()}/lease", here)

    def under_lease(self, folder: Path) -> bool:
        """Whether the last listing said that somebody holds the lease of a folder."""
        found = self.leases.get(folder.relative_to(self.root).as_posix())
        return found is not None and counts(found, self.bucket.now)


def copies_folder() -> Path:
    """Where copies lie: MBRL_COPIES, or the user's cache folder."""
    if named := os.environ.get("MBRL_COPIES"):
        return resolved(named)
    return resolved(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mbrl_jax" / "copies"


def opened(address: Address) -> Path:
    """The local copy of an address, made if there is none, once the address has answered.

    Raises:
      OSError: there is no such bucket, the keys are wrong or missing, or nobody answers.
    """
    bucket(address)
    root = copies_folder() / f"{address.bucket}-{hashlib.sha256(str(address).encode()).hexdigest()[:16]}"
    root.mkdir(parents=True, exist_ok=True)
    if not (root / MARK).exists():
        write_whole(root / MARK, json.dumps({"address": str(address), "name": uuid.uuid4().hex}).encode())
    return root


def of(root: Path) -> Copy | None:
    """The copy that a folder is; None of a folder that is none."""
    return _known(root) if (root / MARK).is_file() else None


@functools.cache
def _known(root: Path) -> Copy:
    facts = json.loads((root / MARK).read_text(encoding="utf-8"))
    address = parse(facts["address"])
    assert address is not None
    return Copy(root, address, facts["name"], {})


def _folders(parent: Path) -> Iterator[Path]:
    return (each for each in parent.iterdir() if each.is_dir()) if parent.is_dir() else iter(())


def _by_unit(listed: dict[str, Entry]) -> Iterator[tuple[str, list[tuple[str, Entry]]]]:
    """Objects by the folder that they belong to, and by their names within it."""
    found: dict[str, list[tuple[str, Entry]]] = {}
    for key, entry in listed.items():
        kind, _, rest = key.partition("/")
        name, _, inner = rest.partition("/")
        if kind in KINDS and name and inner and name not in (".", ".."):
            found.setdefault(f"{kind}/{name}", []).append((inner, entry))
    yield from found.items()
