"""Settings of every test, made before JAX is first used.

Two CPU devices, one compilation cache, no promotion of types or axes, and warnings that are errors.
"""

import functools
import gc
import importlib
import mmap
import os
import warnings
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest

DEVICES = 2
QUICK = {"xla_backend_optimization_level": "1", "xla_cpu_use_fusion_emitters": "false"}
"""XLA's flags by which a program compiles in half the time: code that is optimised less, and fusions written by
the older of its two generators. What is fused, and in which order numbers are added, stays as it is."""
FOREIGN = {
    "optax.tree.bias_correction": "raises a float to an integer count",
    "distrax.Distribution.sample": "puts an axis of draws before the parameters'",
    "distrax.Distribution.sample_and_log_prob": "the same",
    "distrax.Transformed.log_prob": "broadcasts a value's axes over its parameters'",
    "distrax.MixtureSameFamily.log_prob": "the same, and over the components'",
}
"""Functions of other packages that promote types or axes by themselves, each with what it does.

Relaxed for the tests' own formulas; the package allows promotions where it calls them, see `as_installed`.
"""


def relaxed(function):
    """The function with JAX's own promotions allowed inside."""

    @functools.wraps(function)
    def inside(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return inside


def relax(names):
    """Wraps these functions, each `package.place.name`, where their package keeps them."""
    for name in names:
        package, *path, last = name.split(".")
        owner = functools.reduce(getattr, path, importlib.import_module(package))
        setattr(owner, last, relaxed(getattr(owner, last)))


def known(flag):
    """Whether this version of XLA has a flag; one that it does not know would end the process."""
    (library,) = Path(jaxlib.__file__).parent.glob("libjax_common.*")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(flag.encode()) >= 0


def pytest_configure(config):
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", DEVICES)
    if config.option.markexpr == "not slow":
        # Most of these tests' time is compiling. Learning runs are compiled as users' are.
        given = os.environ.get("XLA_FLAGS", "")
        wanted = [f"--{flag}={value}" for flag, value in QUICK.items() if flag not in given and known(flag)]
        os.environ["XLA_FLAGS"] = " ".join([given, *wanted]).strip()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(Path(config.rootpath) / ".cache" / "tests"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these packages warn of when they are imported
        relax(FOREIGN)
    # A mark or a command-line option may still relax one warning; these come first.
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:tensorflow_probability")
    # Two processes share the cache: one may read what the other is writing, and then compiles it itself.
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry:UserWarning")
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:distrax")


@pytest.fixture
def rng():
    """NumPy's generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def as_installed(monkeypatch):
    """Other packages as they are installed: what `FOREIGN` names promotes where our own code does not allow it."""
    for name in FOREIGN:
        package, *path, last = name.split(".")
        owner = functools.reduce(getattr, path, importlib.import_module(package))
        monkeypatch.setattr(owner, last, getattr(owner, last).__wrapped__)


@pytest.fixture
def promoting():
    """JAX's own promotions of types and axes: for formulas of a test, and for packages, that rely on them."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(autouse=True, scope="module")
def bounded_memory():
    """Drops compiled programs between modules once the process holds 3 GB; they are read back from the cache."""
    yield
    statm = Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > 3e9:
        jax.clear_caches()
        gc.collect()
