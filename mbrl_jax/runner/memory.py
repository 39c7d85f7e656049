"""The plan of a run's memory and disk: what its state will take, said before anything is compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import psutil

from mbrl_jax.types import PyTree

__all__ = ["Plan", "plan", "require", "tree_bytes"]

WORKING_SHARE = 1.25  # temporaries of an update and of the model's roll-out, beside the state
HOST_COPIES = 2  # a checkpoint on its way to the disk: our copy of the state and the writer's


class Plan(NamedTuple):
    """What a run needs and what there is, in bytes.

    Attributes:
      per_lane: state of one lane.
      per_device: state and temporaries on the fullest device.
      available: what a device has.
      host: the host's memory while a checkpoint is written, states on CPU devices included.
      host_available: what the host has.
      checkpoint: one checkpoint on disk.
      lanes: lanes asked for, each a seed with its hyper-parameters.
      devices: number of devices.
      copies: states alive at once on a device.
    """

    per_lane: int
    per_device: int
    available: int
    host: int
    host_available: int
    checkpoint: int
    lanes: int
    devices: int
    copies: int

    def __str__(self) -> str:
        return (
            f"memory: {self.lanes} lanes x {_size(self.per_lane)} of state on {self.devices} device(s), about "
            f"{_size(self.per_device)} per device with temporaries, {_size(self.available)} available; "
            f"{_size(self.checkpoint)} per checkpoint"
        )

    @property
    def fits(self) -> bool:
        """Whether device and host have room."""
        return not (self.available and self.per_device > self.available) and self.host <= self.host_available


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.1f} MiB"


def tree_bytes(shapes: PyTree) -> int:
    """Bytes of all leaves of a tree of arrays or shapes."""

    def size(x: jax.ShapeDtypeStruct) -> int:
        return math.prod(x.shape) * (x.dtype.itemsize if hasattr(x.dtype, "itemsize") else 8)

    return sum(size(leaf) for leaf in jax.tree.leaves(shapes))


def plan(one: PyTree, lanes: int, devices: list[jax.Device], copies: int) -> Plan:
    """Plans a run whose state of one lane has the shapes `one`; nothing is computed.

    Args:
      one: shapes of one lane.
      lanes: lanes asked for; they are filled up to a multiple of the devices.
      copies: states alive at once: 1 if updated in place, 2 if old and new exist side by side.
    """
    per_lane, count = tree_bytes(one), len(devices)
    per_device = math.ceil(per_lane * -(-lanes // count) * copies * WORKING_SHARE)
    on_host = devices[0].platform == "cpu"
    host_available = psutil.virtual_memory().available
    stats = {} if on_host else devices[0].memory_stats() or {}
    available = host_available // count if on_host else stats.get("bytes_limit", 0)
    host = per_lane * lanes * HOST_COPIES + (per_device * count if on_host else 0)
    return Plan(per_lane, per_device, available, host, host_available, per_lane * lanes, lanes, count, copies)


def require(planned: Plan) -> None:
    """Refuses a plan that cannot fit.

    Raises:
      MemoryError: says what was planned and what would help.
    """
    if planned.fits:
        return
    advice = "use fewer seeds per run, a smaller replay_capacity or rollout_batch, or more devices"
    if planned.available and planned.per_device > planned.available:
        fit = int(planned.available / (planned.per_lane * planned.copies * WORKING_SHARE)) * planned.devices
        raise MemoryError(f"the run does not fit: {planned}. At most {fit} lanes would: {advice}")
    raise MemoryError(
        f"the run's checkpoints do not fit into the host's memory: {_size(planned.host)} are needed, "
        f"{_size(planned.host_available)} are available ({planned}): {advice}"
    )
