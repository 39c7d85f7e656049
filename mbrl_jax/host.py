"""The machine that this process runs on, and the software on it."""

import contextlib
import functools
import importlib
import os
import platform
import re
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

from mbrl_jax.types import Facts

__all__ = [
    "MissingPackageError",
    "available_cores",
    "machine",
    "package",
    "peak_memory",
    "provenance",
    "reset_peak_memory",
]

PACKAGES = ("mbrl_jax", "jax", "jaxlib", "flax", "optax", "distrax", "mujoco", "mujoco-mjx", "numpy")


class MissingPackageError(OSError):
    """A sink, an executor or an address needs a package that is not installed."""


def package(name: str, what: str, extra: str = "sweep") -> ModuleType:
    """An optional package.

    Raises:
      MissingPackageError: it is not installed; says with which extra it is.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        how = f"python -m pip install -c constraints.txt -e '.[{extra}]' in the clone"
        raise MissingPackageError(f"{what} needs the package {name}: {how}") from error


def available_cores() -> int:
    """Processors that this process may use; all there are where the system does not say (macOS, Windows)."""
    allowed = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if allowed is None else len(allowed(0))


def reset_peak_memory() -> None:
    """From now on `peak_memory` is of what comes, where the system can do that (Linux); else of the whole process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most bytes of memory that this process has had at once since `reset_peak_memory`, or since it began."""
    with contextlib.suppress(OSError):
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        if found := re.search(r"^VmHWM:\s*(\d+) kB$", text, re.MULTILINE):
            return int(found.group(1)) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine() -> Facts:
    """What tells kinds of machines apart where times are compared: the processor's name and the usable cores."""
    return {"processor": _processor(), "cores": available_cores()}


@functools.cache
def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def provenance() -> Facts:
    """Versions of Python and the packages that matter, the commit (with `+dirty` if the sources were changed), and the
    machine."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "commit": _commit(Path(__file__)), "machine": machine()}


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
