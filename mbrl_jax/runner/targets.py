"""Accelerators that programs can be compiled for without having them.

XLA's compilers need a description of the device, not the device: for an NVIDIA GPU the numbers of its data sheet, for a
TPU a topology's name. They come in wheels of their own, which are looked for in the environment and then in a folder
of the user's cache: a plugin in the environment of a machine without its device makes JAX complain at every start.
This module does not import JAX, which looks for the plugins' parts when it is imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import jax

__all__ = ["HERE", "TARGETS", "Target", "device", "folder", "prepare", "target"]

HERE = "here"
"""The devices of this machine."""
SHARE = 0.75
"""Of a GPU's memory JAX takes this share unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise."""


class Gpu(NamedTuple):
    """Numbers of a data sheet, as XLA's cost models and code generators ask for them.

    Attributes:
      name: as XLA calls the device.
      capability: compute capability, its major number.
      cores: streaming multiprocessors.
      fpus: units for float32 of each.
      shared: memory that blocks on a core share, in bytes.
      optin: the most of it that one block may ask for, in bytes.
      bandwidth: of the memory, in bytes per second.
      cache: of the second level, in bytes.
      clock: in GHz.
    """

    name: str
    capability: int
    cores: int
    fpus: int
    shared: int
    optin: int
    bandwidth: int
    cache: int
    clock: float

    def text(self, memory: int) -> str:
        """As XLA's target configuration (`GpuTargetConfigProto`).

        Args:
          memory: of the device, in bytes.
        """
        return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: {self.shared} shared_memory_per_block_optin: {self.optin}
  core_count: {self.cores} fpus_per_core: {self.fpus}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {self.bandwidth} l2_cache_size: {self.cache} clock_rate_ghz: {self.clock}
  device_memory_size: {memory} cuda_compute_capability {{ major: {self.capability} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 patch: 0 }} device_description_str: "{self.name}"
"""


class Target(NamedTuple):
    """A device that is not here.

    Attributes:
      about: what it is.
      memory: bytes of its memory.
      gpu: the numbers of an NVIDIA GPU; None for a TPU.
      topology: the name of the smallest TPU topology with it.
    """

    about: str
    memory: int
    gpu: Gpu | None = None
    topology: str = ""

    @property
    def available(self) -> int:
        """Bytes that a program may take."""
        return int(self.memory * SHARE) if self.gpu else self.memory


def _gpu(name: str, memory: int, *numbers: float) -> Target:
    return Target(name, memory, Gpu(name, *numbers))  # pyright: ignore[reportArgumentType]


TARGETS = {
    "h200": _gpu("NVIDIA H200", 151_397_597_184, 9, 132, 128, 233472, 232448, 4_800_000_000_000, 52428800, 1.98),
    "h100": _gpu("NVIDIA H100 SXM", 84_942_979_072, 9, 132, 128, 233472, 232448, 3_352_320_000_000, 52428800, 1.98),
    "a100": _gpu("NVIDIA A100 SXM", 85_100_068_864, 8, 108, 64, 167936, 166912, 2_039_040_000_000, 41943040, 1.41),
    "v5e": Target("TPU v5e", int(15.75 * 2**30), topology="v5e:2x2"),
}
"""Known targets. The GPUs' numbers are those of NVIDIA's data sheets as XLA publishes them
(`xla/backends/gpu/target_config/specs`); the TPU's memory is what its compiler says there is."""


def target(name: str) -> Target:
    """The target of that name.

    Raises:
      ValueError: there is none; says which there are.
    """
    if name not in TARGETS:
        from mbrl_jax.checks import nearest

        raise ValueError(nearest(name, [*TARGETS, HERE], "target"))
    return TARGETS[name]


def _wheels(of: Target) -> list[str]:
    """The compiler's wheels, of the version of JAX that is installed."""
    if of.gpu:
        version = importlib.metadata.version("jax")
        return [f"jax-cuda12-plugin=={version}", f"jax-cuda12-pjrt=={version}", "nvidia-cuda-nvcc-cu12"]
    stated = [each.split(";")[0].strip() for each in importlib.metadata.requires("jax") or []]
    return [each for each in stated if each.startswith("libtpu")]


def _module(of: Target) -> str:
    return "jax_plugins.xla_cuda12" if of.gpu else "libtpu"


def folder(of: Target) -> Path:
    """Where the compiler's wheels are kept: MBRL_COMPILERS, or the user's cache, one for each version of JAX."""
    base = os.environ.get("MBRL_COMPILERS") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/mbrl_jax/compilers"
    return Path(base).expanduser() / f"{'cuda' if of.gpu else 'tpu'}-{importlib.metadata.version('jax')}"


def prepare(name: str) -> None:
    """Makes this process one that compiles for a target; to be called before JAX is imported.

    Raises:
      ValueError: there is no such target.
      FileNotFoundError: its compiler is not installed; says how to install it.
      RuntimeError: JAX has been imported without it.
    """
    of = target(name)
    if (place := folder(of)).is_dir() and str(place) not in sys.path:
        if "jax" in sys.modules:
            raise RuntimeError(f"the compiler for {of.about} must be found before JAX is imported, it is in {place}")
        sys.path.append(str(place))
    try:
        found = importlib.util.find_spec(_module(of))
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise FileNotFoundError(
            f"compiling for {of.about} needs its compiler, {' '.join(_wheels(of))}; to install it outside of the "
            f"environment (about {'0.4' if of.gpu else '1'} GB): {sys.executable} -m pip install --no-deps "
            f"--target {place} {' '.join(map(repr, _wheels(of)))}"
        )
    os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if of.gpu:  # there is no device on which variants could be timed
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip()
    else:
        os.environ |= {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_ACCELERATOR_TYPE": "v5litepod-1",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_WORKER_ID": "0",
        }


def device(name: str) -> jax.Device:
    """A device to compile for, of a process that is prepared for the target."""
    from jax.experimental import topologies

    of = target(name)
    if of.gpu is None:
        found = topologies.get_topology_desc(platform="tpu", topology_name=of.topology)
    else:
        text = of.gpu.text(of.memory)
        found = topologies.get_topology_desc("one", platform="cuda", target_config=text, topology="1x1x1")
    return found.devices[0]
