"""One process per run, on any machine: a lock of the operating system, and in object storage a lease as well."""

from __future__ import annotations

from pathlib import Path

from mbrl_jax import locks, storage
from mbrl_jax.locks import BusyError

__all__ = ["BusyError", "Lock", "held"]


class Lock:
    """Holds a folder `root/runs/<id>` or `root/jobs/<id>` while the context lasts.

    Where `root` is the local copy of an address, no other machine holds it either: there is a lease at the address,
    which is renewed while the context lasts.

    Raises:
      BusyError: on entering, if another process holds it; says which.
      OSError: something else stands at `folder/lock`, or the address cannot be reached.
    """

    def __init__(self, folder: Path):
        self._folder, self._file = Path(folder), locks.FileLock(folder)
        self._lease: storage.Lease | None = None

    def __enter__(self) -> Lock:
        self._file.__enter__()
        try:
            self._lease = storage.leased(self._folder)
        except BaseException:
            self._file.__exit__()
            raise
        return self

    def check(self) -> None:
        """Makes sure that it is still held, which what is about to be published needs.

        Raises:
          BusyError: the lease ended while this process could not renew it, and another one took it.
        """
        if self._lease is not None:
            self._lease.renew()

    @property
    def lost(self) -> bool:
        """Whether it is known that another process took it."""
        return self._lease is not None and self._lease.lost

    def __exit__(self, *_: object) -> None:
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        self._file.__exit__()


def held(folder: Path) -> bool:
    """Whether a process works on the run: one that this machine sees, or one that has a lease at the address."""
    return locks.held(folder) or storage.under_lease(Path(folder))
