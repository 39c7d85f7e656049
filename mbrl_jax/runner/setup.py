"""Process-wide settings of JAX, made once before its first use by a command of this package."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import jax

from mbrl_jax.checks import resolved
from mbrl_jax.host import available_cores

__all__ = ["cache_folder", "check_jit", "configure"]


def cache_folder() -> Path:
    """Where compiled programs are kept between processes: JAX_COMPILATION_CACHE_DIR, or the user's cache folder.

    Raises:
      ValueError: there is no home directory and no variable that names a folder.
    """
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if named:
        return resolved(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return resolved(base or "~/.cache") / "mbrl_jax" / "xla"


def check_jit() -> None:
    """Refuses to go on where JAX compiles nothing: a run is one program, which takes years operation by operation.

    Raises:
      ValueError: JAX_DISABLE_JIT is set, or `jax.disable_jit()` holds.
    """
    if getattr(jax.config, "jax_disable_jit", False):
        raise ValueError(
            "training needs JAX to compile, so JAX_DISABLE_JIT must be unset or 0 (and `jax.disable_jit()` not hold); "
            f"got {os.environ.get('JAX_DISABLE_JIT', 'jax.disable_jit()')}"
        )


def configure(cpu_devices: int | None = None) -> None:
    """Turns the persistent compilation cache on and gives each CPU core a device of its own: `mb.configure()`.

    One stream of seeds per core runs 1.2 to 1.8 times as fast as all seeds under `vmap` over all cores
    (docs/speed.md). On accelerators the CPU devices are simply not used. Must run before JAX first touches a device.

    Args:
      cpu_devices: virtual CPU devices; the number of usable cores if None.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        try:
            jax.config.update("jax_num_cpu_devices", cpu_devices or available_cores())
        except RuntimeError:
            warnings.warn("JAX is already running: its CPU devices stay as they are, which may be slower", stacklevel=2)
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError):
        return  # no cache is slower, not wrong
    jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
