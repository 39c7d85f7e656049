"""What every benchmark shares: the machine and its measured peak, timing in turn, medians with their spread."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mbrl_jax import results
from mbrl_jax.host import available_cores

FOLDER = Path(__file__).parent / "results"
PEAK_SIZE = 2048  # side of the matrices whose product measures the peak
Block = Callable[[], Any]


def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1).strip() if found else platform.machine()


def version(package: str) -> str | None:
    """The installed version of a package, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """What the numbers were measured on: processor, devices, versions, commit, and how busy it was."""
    devices = jax.local_devices()
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "devices": [f"{d.platform}: {d.device_kind}" for d in devices],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "distrax", "numpy")},
        "commit": results.provenance().get("commit"),
        "load_before": os.getloadavg()[0],
    }


def slug(facts: Mapping[str, Any]) -> str:
    """A file name for a machine: processor, cores, and the accelerators if there are any."""
    device = facts["devices"][0]
    extra = "" if device.startswith("cpu") else f" {len(facts['devices'])}x {device.partition(': ')[2]}"
    return re.sub(r"[^a-z0-9]+", "-", f"{facts['cpu']} {facts['cores']} cores{extra}".lower()).strip("-")


def write(name: str, content: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Writes one JSON file of results, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    results.write_whole(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return path


def spread(samples: Sequence[float]) -> dict[str, float | int]:
    """Median and quartiles of a list of measurements."""
    if len(samples) == 1:
        return {"median": samples[0], "low": samples[0], "high": samples[0], "count": 1}
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "count": len(samples)}


def in_turn(blocks: Mapping[str, Block], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each block, measured in turn `rounds` times after one call of each that does not count.

    A core's clock drifts by a factor of two within minutes, so only what is measured in turn can be compared. A block
    must not return before its work is done.
    """
    for block in blocks.values():
        block()
    samples: dict[str, list[float]] = {name: [] for name in blocks}
    for _ in range(rounds):
        for name, block in blocks.items():
            began = time.perf_counter()
            block()
            samples[name].append(time.perf_counter() - began)
    return samples


def matmul_probes(side: int = PEAK_SIZE, repeats: int = 3) -> dict[str, tuple[Block, float]]:
    """Ways to multiply float32 matrices with the whole machine, each with its number of operations.

    `one device` is one product on the first device, `all devices` one product on each at the same time, `numpy` the
    host's BLAS. The best of them is the machine's measured peak.
    """
    devices = jax.local_devices()
    work = 2.0 * side**3 * repeats
    host = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    multiply = jax.jit(lambda x: jax.lax.fori_loop(0, repeats, lambda _, y: jnp.tanh(x @ y), x))
    one = jax.device_put(jnp.asarray(host), devices[0])
    probes = {"one device": (lambda: jax.block_until_ready(multiply(one)), work)}
    if devices[0].platform == "cpu":
        probes["numpy"] = (lambda: [host @ host for _ in range(repeats)], work)
    if len(devices) > 1:
        mesh = Mesh(devices, ("seed",))
        each = jax.shard_map(lambda x: multiply(x[0])[None], mesh=mesh, in_specs=P("seed"), out_specs=P("seed"))
        many = jax.device_put(jnp.asarray(np.stack([host] * len(devices))), NamedSharding(mesh, P("seed")))
        spread_out = jax.jit(each)
        probes["all devices"] = (lambda: jax.block_until_ready(spread_out(many)), work * len(devices))
    return probes


def matmul_peak(samples: Mapping[str, list[float]], probes: Mapping[str, tuple[Block, float]]) -> dict[str, float]:
    """Operations per second of each probe (in units of 10⁹, by its median time), and the best as `peak`."""
    rates = {name: work / statistics.median(samples[name]) / 1e9 for name, (_, work) in probes.items()}
    return {**rates, "peak": max(rates.values())}


class Compilations:
    """Counts the programs that are compiled, or fetched from the persistent cache, and the seconds that took."""

    EVENT = "/jax/core/compile/backend_compile_duration"

    def __init__(self) -> None:
        self.durations: list[float] = []
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == self.EVENT:
            self.durations.append(duration_secs)
