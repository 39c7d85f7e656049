"""The memory plan: what a run's state will take, said before anything is compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import psutil

from mbrl_jax.types import PyTree

__all__ = ["Plan", "plan", "tree_bytes"]

WORKING_SHARE = 1.25  # temporaries of an update and of the model's roll-out, beside the state


class Plan(NamedTuple):
    """Bytes: state of one lane, of all lanes on the fullest device, and what that device has."""

    per_lane: int
    per_device: int
    available: int
    lanes: int
    devices: int

    def __str__(self) -> str:
        gib = lambda n: f"{n / 2**30:.2f} GiB" if n >= 2**27 else f"{n / 2**20:.1f} MiB"  # noqa: E731
        return (
            f"memory: {self.lanes} lanes x {gib(self.per_lane)} of state on {self.devices} device(s), "
            f"about {gib(self.per_device)} per device with temporaries; {gib(self.available)} available"
        )


def tree_bytes(shapes: PyTree) -> int:
    """Bytes of all leaves of a tree of arrays or shapes."""
    size = lambda x: math.prod(x.shape) * (x.dtype.itemsize if hasattr(x.dtype, "itemsize") else 8)  # noqa: E731
    return sum(size(leaf) for leaf in jax.tree.leaves(shapes))


def plan(init: Callable[[], PyTree], lanes: int, devices: list[jax.Device], copies: int) -> Plan:
    """Plans a run whose state over all lanes is what `init()` returns; nothing is computed.

    Args:
      copies: states alive at once: 1 if updated in place, 2 if old and new exist side by side.

    Raises:
      MemoryError: the plan cannot fit; says what was planned and what would help.
    """
    total = tree_bytes(jax.eval_shape(init))
    per_device = math.ceil(total / len(devices) * copies * WORKING_SHARE)
    stats = devices[0].memory_stats() or {} if devices[0].platform != "cpu" else {}
    on_host = devices[0].platform == "cpu"
    available = psutil.virtual_memory().available // len(devices) if on_host else stats.get("bytes_limit", 0)
    result = Plan(total // lanes, per_device, available, lanes, len(devices))
    if available and per_device > available:
        fit = int(available / (result.per_lane * copies * WORKING_SHARE)) * len(devices)
        raise MemoryError(
            f"the run does not fit: {result}. At most {fit} lanes would: use fewer seeds per run, a smaller "
            "replay_capacity or rollout_batch, or more devices"
        )
    return result
