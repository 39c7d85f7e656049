"""What belongs together at an address, and in its local copy: a run's files, its checkpoints, a job's record.

    runs/<id>/metrics.parquet, arrays.npz     as in a results folder
    runs/<id>/manifest.json                   written last
    runs/<id>/checkpoints/<iteration>.zip     a checkpoint as one object, which is there as a whole or not at all
    runs/<id>/final/<iteration>.zip           the final state, likewise
    jobs/<id>/record.json                     how the last attempt went
    runs/<id>/lease, jobs/<id>/lease          who works on it

Beside the files of the copy lies `.published.json`: which version of each object a file is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mbrl_jax import locks
from mbrl_jax.files import FILES, FOLDERS, write_whole
from mbrl_jax.storage.bucket import Bucket, Entry

__all__ = ["SMALL", "Unit"]

SMALL = ("metrics.parquet", "arrays.npz", "record.json", "manifest.json")
"""In the order in which they are written: a run is finished when its manifest says so."""
_INDEX = ".published.json"
assert set(FILES) <= set(SMALL)


class Unit:
    """A folder `runs/<id>` or `jobs/<id>` of a local copy, and the objects that it stands for.

    Args:
      bucket: the address.
      root: the local copy.
      name: `runs/<id>` or `jobs/<id>`.
    """

    def __init__(self, bucket: Bucket, root: Path, name: str):
        self._bucket, self._name, self._folder = bucket, name, root / name

    def entries(self) -> dict[str, Entry]:
        """Its objects, by their names within it."""
        return {key.removeprefix(f"{self._name}/"): entry for key, entry in self._bucket.list(self._name).items()}

    @property
    def published(self) -> bool:
        """Whether what lies in the folder is at the address, checkpoints left out."""
        index, files = self._index(), [name for name in SMALL if (self._folder / name).is_file()]
        return all(name in index and index[name]["stamp"] == _stamp(self._folder / name) for name in files)

    def pull(self, entries: Mapping[str, Entry], mine: bool = False, trees: tuple[str, ...] = ()) -> None:
        """Brings the folder up to date. What was not published yet stays; what a process here works on is its own.

        Args:
          entries: its objects.
          mine: whether the caller holds the folder's lock.
          trees: of `checkpoints` and `final`, those that are wanted.

        Raises:
          OSError: a checkpoint at the address is not as it was packed.
        """
        trees = tuple(tree for tree in trees if any(name.startswith(f"{tree}/") for name in entries))
        known = self._index()
        new = any(self._stale(name, entries, known) or (name in known and name not in entries) for name in SMALL)
        if not (new or trees):
            return
        with self._alone():
            if not mine and locks.held(self._folder):
                return
            index = self._index()
            if any(name in index and name not in entries for name in ("record.json", "manifest.json")):
                self._forget()  # it was removed at the address, so that it is done again
                index = {}
            for tree in trees:
                self._pull_trees(tree, entries, index)
            for name in SMALL:
                if self._stale(name, entries, index):
                    self._pull_file(name, entries[name], index)
            self._note(index)

    def _stale(self, name: str, entries: Mapping[str, Entry], index: Mapping[str, dict]) -> bool:
        """Whether a file here is not the object at the address."""
        if name not in entries:
            return False
        known = index[name]["tag"] if name in index and (self._folder / name).exists() else None
        return known != entries[name].tag.e_tag

    def _pull_file(self, name: str, listed: Entry, index: dict[str, dict]) -> None:
        beside = self._folder / f".{name}.fetched"
        if self._bucket.fetch(f"{self._name}/{name}", beside):
            os.replace(beside, self._folder / name)
            index[name] = {"tag": listed.tag.e_tag, "stamp": _stamp(self._folder / name)}

    def _pull_trees(self, tree: str, entries: Mapping[str, Entry], index: dict[str, dict]) -> None:
        """Fetches checkpoints that are newer than all here. They come beside, and are renamed when they are whole."""
        newest = max(self._numbered(tree), default=-1)
        beside = self._folder / tree / ".fetched"
        for name in entries:
            found = re.fullmatch(rf"{tree}/(0|[1-9]\d*)\.zip", name)
            if found is None or int(found[1]) <= newest:
                continue
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            if self._bucket.fetch(f"{self._name}/{name}", beside / "packed"):
                _unpack(beside / "packed", beside / "whole")
                os.replace(beside / "whole", self._folder / tree / found[1])
                index[name] = {"tag": entries[name].tag.e_tag, "stamp": None}
        shutil.rmtree(beside, ignore_errors=True)

    def push(self) -> None:
        """Writes what is new in the folder to the address: checkpoints, then files, the manifest last.

        Then removes checkpoints there that are not here any more.
        """
        with self._alone():
            index = self._index()
            for tree in ("final",) if self._finished() else FOLDERS:
                for number, path in self._numbered(tree).items():
                    if f"{tree}/{number}.zip" not in index:
                        self._push_tree(f"{tree}/{number}.zip", path, index)
            for name in SMALL:
                stamp = _stamp(self._folder / name)
                if stamp is not None and (name not in index or index[name]["stamp"] != stamp):
                    tag = self._bucket.put(f"{self._name}/{name}", self._folder / name)
                    index[name] = {"tag": tag.e_tag, "stamp": stamp}
                    self._note(index)
            self._push_removals(index)

    def _push_tree(self, name: str, path: Path, index: dict[str, dict]) -> None:
        packed = self._folder / f".{path.name}.zip"
        try:
            _pack(path, packed)
            index[name] = {"tag": self._bucket.put(f"{self._name}/{name}", packed).e_tag, "stamp": None}
            self._note(index)
        except FileNotFoundError:  # it was dropped while it was packed: there is a newer one
            if path.exists():
                raise
        finally:
            packed.unlink(missing_ok=True)

    def _push_removals(self, index: dict[str, dict]) -> None:
        """Removes checkpoints at the address that are older than those here, and all of a run that is finished."""
        here = {f"checkpoints/{number}.zip" for number in self._numbered("checkpoints")}
        known = self.entries() if self._finished() else index if here else ()
        gone = [name for name in known if name.startswith("checkpoints/") and name not in here]
        self._bucket.delete(f"{self._name}/{name}" for name in gone)
        for name in gone:
            index.pop(name, None)
        self._note(index)

    def _numbered(self, tree: str) -> dict[int, Path]:
        folder = self._folder / tree
        names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
        return {int(name): folder / name for name in sorted(names, key=len) if re.fullmatch(r"0|[1-9]\d*", name)}

    def _finished(self) -> bool:
        try:
            return json.loads((self._folder / "manifest.json").read_text(encoding="utf-8"))["status"] == "finished"
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def _forget(self) -> None:
        for name in (*SMALL, _INDEX):
            (self._folder / name).unlink(missing_ok=True)
        for tree in FOLDERS:
            shutil.rmtree(self._folder / tree, ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time compares a folder with its objects."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / ".compared", "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _index(self) -> dict[str, dict]:
        try:
            found = json.loads((self._folder / _INDEX).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, index: Mapping[str, dict]) -> None:
        write_whole(self._folder / _INDEX, json.dumps(index).encode())


def _pack(folder: Path, packed: Path) -> None:
    """Puts all files of a folder into one, uncompressed, with a checksum of each."""
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED, strict_timestamps=False) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))


def _unpack(packed: Path, folder: Path) -> None:
    """The inverse.

    Raises:
      OSError: it is damaged.
    """
    try:
        with zipfile.ZipFile(packed) as file:
            file.extractall(folder)  # checks the sums, and writes nowhere else
    except (zipfile.BadZipFile, ValueError) as error:
        raise OSError(f"a checkpoint must come as it was packed, {packed} did not: {error}") from error


def _stamp(path: Path) -> list[int] | None:
    """When a file was written, and its size; None where there is none."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return [found.st_mtime_ns, found.st_size]
    return None
