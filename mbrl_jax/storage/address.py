"""Addresses of results in object storage: `s3://BUCKET/PREFIX` and `gs://BUCKET/PREFIX`."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import NamedTuple

from mbrl_jax.checks import shown

__all__ = ["Address", "parse", "shared_keys"]

SCHEMES = ("s3", "gs")
_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(.*)", re.DOTALL)
"""A scheme has two letters at least: one is a drive of Windows."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
ENVIRONMENT_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")


class Address(NamedTuple):
    """Where results lie in object storage.

    Attributes:
      scheme: `s3` or `gs`.
      bucket: the bucket's name.
      prefix: what the names of all objects begin with, without slashes at its ends; may be empty.
    """

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def parse(place: str | os.PathLike[str]) -> Address | None:
    """The address that a person names; None if it is a folder. A `Path` has lost one of the two slashes and will do.

    Raises:
      ValueError: it is an address, and not of one of the forms that are known.
    """
    found = _FORM.fullmatch(os.fspath(place)) if isinstance(place, str | os.PathLike) else None
    if found is None:
        return None
    scheme, rest = found.group(1).lower(), found.group(2)
    bucket, _, prefix = rest.partition("/")
    parts = [part for part in prefix.split("/") if part]
    plain = all(part.isprintable() and part not in (".", "..") for part in parts)
    if scheme not in SCHEMES or not _BUCKET.fullmatch(bucket) or not plain:
        given = shown(f"{scheme}://{rest}")
        raise ValueError(f"results lie in a folder, or at s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, got {given}")
    return Address(scheme, bucket, "/".join(parts))


def shared_keys() -> dict[str, str]:
    """Keys of S3 from the file that Amazon's tools share, for AWS_PROFILE; none where the environment has its own."""
    if any(os.environ.get(name) for name in ENVIRONMENT_KEYS):
        return {}
    path = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(Path(path).expanduser(), encoding="utf-8")
    except (configparser.Error, OSError, ValueError, RuntimeError):
        return {}
    profile = os.environ.get("AWS_PROFILE") or "default"
    section = file[profile] if file.has_section(profile) else {}
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return {name: section[name] for name in names if name in section}
