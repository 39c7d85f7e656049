"""One process per run: a lock that the operating system releases however its holder ends."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from mbrl_jax.files import in_the_way

__all__ = ["BusyError", "FileLock", "held"]


class BusyError(OSError):
    """Another process works on the same run."""


class FileLock:
    """Holds `folder/lock` while the context lasts; the file names the holder and stays behind, unlocked.

    Raises:
      BusyError: on entering, if another process holds it; says which.
      OSError: something else stands at `folder/lock`. A link does too: it would be written through.
    """

    def __init__(self, folder: Path):
        self._path = Path(folder) / "lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> FileLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if wrong := in_the_way(self._path, "file", links=False):
            raise OSError(wrong)
        file = open(self._path, "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise BusyError(f"one process at a time may work on {self._path.parent}; it is held by {holder}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def held(folder: Path) -> bool:
    """Whether a process on this machine (or, on a shared file system with locks, any) works on the run."""
    path = Path(folder) / "lock"
    if in_the_way(path, "file", links=False):
        return False
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
