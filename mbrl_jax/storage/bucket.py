"""A bucket of object storage: whole objects, listed, read, and written, also on the condition that nobody else did."""

from __future__ import annotations

import contextlib
import functools
import mimetypes
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from mbrl_jax.host import package
from mbrl_jax.storage.address import Address, shared_keys

__all__ = ["Bucket", "Entry", "Tag", "bucket"]

RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
"""Of small requests: a lease must be renewed within its time."""
SMALL_SECONDS, LARGE_SECONDS, CONNECT_SECONDS = "20s", "30m", "5s"
KEY_HOSTS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
"""Where machines of a cloud are told the keys of their role: asked where no others are found."""
LEAST_PART, MOST_PARTS = 5 * 2**20, 9000
"""Bytes of a part of a large object, and parts of one: S3 takes 10,000 at most."""
REASON = 300  # letters of what a server says


class Tag(NamedTuple):
    """What tells one version of an object from another; which of the two counts depends on the kind of storage."""

    e_tag: str | None
    version: str | None

    def condition(self) -> dict[str, str]:
        """The condition that an object is this version, without what is not known."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Entry(NamedTuple):
    """An object in a listing.

    Attributes:
      tag: its version, as far as a listing tells.
      when: seconds since the epoch at which it was written, by the storage's own clock.
      size: bytes.
    """

    tag: Tag
    when: float
    size: int


class Bucket:
    """The objects under one address. Keys do not have its prefix.

    Raises:
      MissingPackageError: the package that speaks the protocols is not installed.
    """

    def __init__(self, address: Address):
        self.address = address
        self._obstore: Any = package("obstore", f"results at {address.scheme}://", "storage")
        errors: Any = self._obstore.exceptions
        self._missing = (errors.NotFoundError, FileNotFoundError)
        self._exists = (errors.AlreadyExistsError, FileExistsError)
        self._changed, self._any = (errors.PreconditionError, *self._missing), (errors.BaseError, OSError, ValueError)
        self._small, self._large = self._opened(SMALL_SECONDS), self._opened(LARGE_SECONDS)
        self._ahead: float | None = None

    def _opened(self, timeout: str) -> Any:
        stores: Any = package("obstore.store", f"results at {self.address.scheme}://", "storage")
        plain = [os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")]
        plain.append(os.environ.get("GOOGLE_BASE_URL", ""))
        client = {"timeout": timeout, "connect_timeout": CONNECT_SECONDS}
        client |= {"allow_http": True} if any(name.startswith("http://") for name in plain) else {}
        more = {"prefix": self.address.prefix or None, "client_options": client, "retry_config": RETRIES}
        with self._told("opened"):
            if self.address.scheme == "s3":
                return stores.S3Store(self.address.bucket, config=shared_keys(), **more)
            return stores.GCSStore(self.address.bucket, **more)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What a server or the network says, as an error of one line that a person understands."""
        try:
            yield
        except self._any as error:
            raise _error(f"{self.address} could not be {what}", error) from error

    def list(self, prefix: str = "") -> dict[str, Entry]:
        """All objects whose keys begin with some folders' names.

        Raises:
          FileNotFoundError: there is no such bucket.
          PermissionError: the keys are missing or not those of somebody who may.
          OSError: the storage cannot be reached.
        """
        with self._told("read"):
            found = (one for some in self._obstore.list(self._small, prefix or None, chunk_size=1000) for one in some)
            return {one["path"]: _entry(one) for one in found}

    def read(self, key: str) -> tuple[bytes, Entry] | None:
        """An object and its version; None if there is none."""
        with self._told("read"):
            try:
                found = self._obstore.get(self._small, key)
                return bytes(found.bytes()), _entry(found.meta)
            except self._missing:
                return None

    def fetch(self, key: str, path: Path) -> bool:
        """Writes a large object to a file, which is no whole file before this returns; False if there is none."""
        with self._told("read"):
            try:
                found = self._obstore.get(self._large, key)
            except self._missing:
                return False
            with open(path, "wb") as file:
                for piece in found.stream(min_chunk_size=2**23):
                    file.write(piece)
        return True

    def put(self, key: str, content: bytes | Path) -> Tag:
        """Writes an object, whole or not at all: bytes, or those of a file."""
        kind = mimetypes.guess_type(key)[0]
        more: dict[str, object] = {"attributes": {"Content-Type": kind}} if kind else {}
        store = self._small if isinstance(content, bytes) else self._large
        if isinstance(content, Path):
            more["chunk_size"] = max(LEAST_PART, -(-content.stat().st_size // MOST_PARTS))
        with self._told("written"):
            return _tag(self._obstore.put(store, key, content, **more))

    def create(self, key: str, content: bytes) -> Tag | None:
        """Writes an object if there is none; None if there is one."""
        with self._told("written"):
            try:
                return _tag(self._obstore.put(self._small, key, content, mode="create"))
            except self._exists:
                return None

    def replace(self, key: str, content: bytes, known: Tag) -> Tag | None:
        """Writes an object if it is still the version that is known; None if it is not."""
        with self._told("written"):
            try:
                return _tag(self._obstore.put(self._small, key, content, mode=known.condition()))
            except self._changed:
                return None

    def delete(self, keys: Iterable[str]) -> None:
        """Removes objects; those that are not there do not matter."""
        with self._told("written"):
            for key in keys:
                with contextlib.suppress(*self._missing):
                    self._obstore.delete(self._small, key)

    @property
    def now(self) -> float:
        """The storage's own time, if it was asked for it (`check_conditions`), else this machine's."""
        return time.time() if self._ahead is None else time.monotonic() + self._ahead

    def check_conditions(self) -> None:
        """Refuses an address that cannot be written, or at which two machines could hold one lease. Asks once.

        Raises:
          OSError: says why.
        """
        if self._ahead is not None:
            return
        key = f"probes/{uuid.uuid4().hex}"
        first = self.create(key, b"first")
        try:
            second = None if first is None else self.replace(key, b"second", first)
            twice = self.create(key, b"twice") or (first and self.replace(key, b"twice", first))
            found = self.read(key)
            if second is None or twice or found is None or found[0] != b"second":
                raise OSError(f"the storage must keep conditions of writes (If-None-Match), {self.address} does not")
            self._ahead = found[1].when - time.monotonic()
        finally:
            self.delete([key])


@functools.cache
def bucket(address: Address) -> Bucket:
    """The bucket of an address, once it has answered a request.

    Raises:
      MissingPackageError: the package that speaks the protocols is not installed.
      OSError: there is no such bucket, the keys are wrong or missing, or nobody answers.
    """
    found = Bucket(address)
    found.list("probes")
    return found


def _error(what: str, error: Exception) -> OSError:
    """The error of Python's that says what one of the package's means, by what servers call it."""
    text = " ".join(str(error).partition("Debug source")[0].split())
    code = re.search("<Code>(\\w+)</Code>", text)
    said = code.group(1) if code else text if len(text) <= REASON else f"{text[:REASON]}…"
    if "NoSuchBucket" in text:
        return FileNotFoundError(f"{what}: there is no such bucket")
    if any(sign in text for sign in (*KEY_HOSTS, "Missing AccessKeyId", "Missing SecretAccessKey")):
        return PermissionError(f"{what}: no keys were found in the environment, and this machine has no role ({said})")
    if said in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        return OSError(f"{what}: the bucket is in another region than AWS_REGION says ({said})")
    if re.search("40[13] (Forbidden|Unauthorized)", text):
        return PermissionError(f"{what}: access is denied ({said})")
    return OSError(f"{what}: {said}")


def _tag(found: Any) -> Tag:
    return Tag(found.get("e_tag"), found.get("version"))


def _entry(found: Any) -> Entry:
    return Entry(_tag(found), found["last_modified"].timestamp(), int(found["size"]))
