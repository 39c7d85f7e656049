"""Files on disk: written whole or not at all, and what stands where one of ours belongs."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mbrl_jax.checks import resolved

__all__ = ["FILES", "FOLDERS", "check_places", "check_writable", "in_the_way", "tidy", "write_whole"]

FILES = ("metrics.parquet", "arrays.npz", "manifest.json")
FOLDERS = ("checkpoints", "final")
"""What a run's folder holds, beside its lock."""


def in_the_way(path: Path, wanted: Literal["file", "folder"], links: bool = True) -> str:
    """What is wrong with that which stands at `path`, for a person; empty if nothing does or it is what is wanted.

    Args:
      path: where something of ours is, or will be.
      wanted: what it must be.
      links: whether a link to it will do.
    """
    found = _kind(path)
    if found in ("", f"a {wanted}") or (links and found == f"a link to a {wanted}"):
        return ""
    return f"{path} must be a {wanted}, but it is {found}: move it away"


def _kind(path: Path) -> str:
    """What stands at a path, in words; empty if nothing does.

    One look says what it is, a second one where a link leads: what others make or remove meanwhile is there or is not.
    """
    mode = _mode(path, os.lstat)
    if mode is None:
        return ""
    if not stat.S_ISLNK(mode):
        return _named(mode)
    target = _mode(path, os.stat)
    return "a link that leads nowhere" if target is None else f"a link to {_named(target)}"


def _mode(path: Path, look: Callable[[Path], os.stat_result]) -> int | None:
    """The mode of what stands there; None if nothing does."""
    try:
        return look(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _named(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "something else"


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file whole or not at all: temporary name, flush to disk, rename, flush the folder.

    Raises:
      OSError: it could not be written; what was there before is kept.
    """
    path = resolved(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        size = f"{len(content) / 2**20:.1f} MiB"
        raise OSError(
            error.errno, f"could not write {path} ({size}); what was there is kept: {error.strerror}"
        ) from error


def check_writable(root: str | Path, need_bytes: int = 64 * 2**20) -> None:
    """Refuses before long work starts if results could not be kept.

    Raises:
      OSError: `root` cannot be created or written, or has less than `need_bytes` free.
    """
    root = resolved(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".writable-{os.getpid()}"
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise OSError(error.errno, f"the results folder must be writable, {root} is not: {error.strerror}") from error
    free = shutil.disk_usage(root).free
    if free < need_bytes:
        need, have = f"{need_bytes / 2**20:.0f} MiB", f"{free / 2**20:.0f} MiB"
        raise OSError(errno.ENOSPC, f"the results folder must have {need} free, {root} has {have}")


def check_places(folder: Path) -> None:
    """Refuses before long work starts if something else stands where a run's folder, and what is in it, will be.

    Raises:
      OSError: says what is in the way.
    """
    found = [in_the_way(each, "folder") for each in (folder.parent, folder)]
    found += [in_the_way(folder / name, "folder", links=False) for name in FOLDERS]
    found += [in_the_way(folder / name, "file") for name in FILES]
    if wrong := next(filter(None, found), ""):
        raise OSError(wrong)


def tidy(folder: Path) -> None:
    """Removes files that killed processes left half-written in a run's folder; only who has its lock may call it."""
    ours = re.compile(rf"\.({'|'.join(map(re.escape, FILES))})\.\d+")
    for each in folder.iterdir():
        if ours.fullmatch(each.name) and not in_the_way(each, "file", links=False):
            each.unlink()
