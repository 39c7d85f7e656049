"""Settings of every test, made before JAX is first used: two CPU devices, one compilation cache, strict warnings."""

import gc
import os
from pathlib import Path

import jax
import numpy as np
import pytest

DEVICES = 2


def pytest_configure(config):
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", DEVICES)
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(Path(config.rootpath) / ".cache" / "tests"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    # A mark or a command-line option may still relax one warning; these come first.
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:tensorflow_probability")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:distrax")


@pytest.fixture
def rng():
    """NumPy's generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Drops compiled programs between modules once the process holds 3 GB; they are read back from the cache."""
    yield
    statm = Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > 3e9:
        jax.clear_caches()
        gc.collect()
