"""The machine that this process runs on."""

import os

__all__ = ["available_cores"]


def available_cores() -> int:
    """Processors that this process may use; all there are where the system does not say (macOS, Windows)."""
    allowed = getattr(os, "sched_getaffinity", None)
    return (os.cpu_count() or 1) if allowed is None else len(allowed(0))
