"""The machine that this process runs on, and the software on it."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from mbrl_jax.types import Facts

__all__ = ["available_cores", "provenance"]

PACKAGES = ("mbrl_jax", "jax", "jaxlib", "flax", "optax", "distrax", "mujoco", "mujoco-mjx", "numpy")


def available_cores() -> int:
    """Processors that this process may use; all there are where the system does not say (macOS, Windows)."""
    allowed = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if allowed is None else len(allowed(0))


def provenance() -> Facts:
    """Versions of Python and the packages that matter, and the commit (with `+dirty` if the sources were changed)."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit(Path(__file__))}


def _commit(source: Path) -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=source.parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", source.name)  # an installed copy inside another repository has no commit
        dirty = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
