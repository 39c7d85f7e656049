"""Leases at an address: who works on what, renewed while that lasts, and ended by time if the holder dies.

Object storage gives nothing back when a process ends, as an operating system does with its locks. So a lease counts
for `SECONDS` after it was written last, by the storage's own clock, and its holder writes it again all the time, each
time on the condition that it is still the one it wrote. A holder that was away for too long finds that it is not, and
must not publish what it has.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid

from mbrl_jax.locks import BusyError
from mbrl_jax.storage.bucket import Bucket, Entry, Tag

__all__ = ["SECONDS", "Lease", "counts"]

SECONDS = 120.0
"""How long a lease counts after it was written last."""
RENEWALS = 6
"""How often a holder writes it in that time."""


def counts(entry: Entry, now: float) -> bool:
    """Whether a lease in a listing is somebody's: one that was given back is empty, one of a dead holder is old."""
    return entry.size > 0 and now - entry.when < SECONDS


class Lease:
    """A lease, held from its making until `release`.

    Args:
      bucket: where.
      key: the object that is the lease.
      copy: what tells the holder's local copy of the address from others. Whoever asks holds a lock in it, which
        the operating system gives to one process: a lease of the same copy is a dead process's, and is taken at once.

    Raises:
      BusyError: somebody else holds it; says who.
      OSError: the storage cannot be reached, or does not keep conditions.
    """

    def __init__(self, bucket: Bucket, key: str, copy: str):
        self._bucket, self._key, self._copy, self._token = bucket, key, copy, uuid.uuid4().hex
        self._writing, self._over, self.lost, self._count = threading.Lock(), threading.Event(), False, 0
        bucket.check_conditions()
        self._tag = self._taken()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _content(self) -> bytes:
        self._count += 1  # a version of its own each time, where versions are sums of the content
        facts = {"token": self._token, "copy": self._copy, "count": self._count}
        return json.dumps({**facts, "holder": f"process {os.getpid()} on {socket.gethostname()}"}).encode()

    def _taken(self) -> Tag:
        """Writes the lease where there is none that counts."""
        created = self._bucket.create(self._key, self._content())
        if created is not None:
            return created
        found = self._bucket.read(self._key)
        facts = {} if found is None else _facts(found[0])
        if found is not None and facts.get("token") == self._token:  # the answer to our first request was lost
            return found[1].tag
        if found is not None and (facts.get("copy") == self._copy or not counts(found[1], self._bucket.now)):
            replaced = self._bucket.replace(self._key, self._content(), found[1].tag)
            if replaced is not None:
                return replaced
        age = 0.0 if found is None else max(0.0, self._bucket.now - found[1].when)
        raise BusyError(
            f"one process at a time may work on {self._bucket.address}/{self._key.rpartition('/')[0]}; it is held by "
            f"{facts.get('holder', 'another')}, who said so {age:.0f} s ago and counts as dead after {SECONDS:.0f} s"
        )

    def _keep(self) -> None:
        while not self._over.wait(SECONDS / RENEWALS):
            try:
                self.renew()
            except BusyError:
                return
            except OSError:  # the network may come back within the lease's time
                continue

    def renew(self) -> None:
        """Writes the lease again, which proves that it is still ours.

        Raises:
          BusyError: it is not.
          OSError: the storage cannot be reached.
        """
        with self._writing:
            if self._over.is_set():
                return
            written = self._bucket.replace(self._key, self._content(), self._tag)
            if written is None:
                found = self._bucket.read(self._key)
                if found is None or _facts(found[0]).get("token") != self._token:
                    self.lost = True
                    raise BusyError(f"{self._bucket.address}/{self._key} was silent for too long and is another's now")
                written = found[1].tag  # the answer to the last request was lost
            self._tag = written

    def release(self) -> None:
        """Gives the lease back, if it is still ours; one that cannot be reached ends by time."""
        with self._writing:
            self._over.set()
        self._thread.join()
        if not self.lost:
            try:
                self._bucket.replace(self._key, b"", self._tag)
            except OSError:
                return


def _facts(content: bytes) -> dict[str, str]:
    """What a lease says; nothing where it was given back or is not ours to read."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
