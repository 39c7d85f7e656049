"""The plan of a run's memory and disk: what its state, its updates and its record will take, before any compiling."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import psutil
from jax.core import ShapedArray
from jax.extend import core

from mbrl_jax.types import PyTree

__all__ = ["Plan", "equations", "largest", "measured", "peak", "plan", "require", "tree_bytes"]

WORKING_SHARE = 1.25  # temporaries of an update and of the model's roll-out, beside the state
HOST_COPIES = 2  # a checkpoint on its way to the disk: our copy of the state and the writer's
RECORD_BYTES = 200  # of the host's memory for each number that a run records, while its table is written (measured)
WRITTEN = (
    "dot_general",
    "conv_general_dilated",
    "gather",
    "scatter",
    "scatter-add",
    "sort",
    "scan",
    "while",
    "random_bits",
    "random_split",
)
"""Primitives whose results are written to memory, however much the compiler fuses."""


class Plan(NamedTuple):
    """What a run needs and what there is, in bytes.

    Attributes:
      per_lane: state of one lane.
      per_device: state and temporaries on the fullest device.
      passing: the largest temporary of one lane.
      available: what a device has.
      host: the host's memory while a checkpoint is written, states on CPU devices and the record included.
      host_available: what the host has.
      checkpoint: one checkpoint on disk.
      lanes: lanes asked for, each a seed with its hyper-parameters.
      devices: number of devices.
      copies: states alive at once on a device.
      on_host: whether the devices' memory is the host's.
      compiled: whether `per_device` is what the compiled programs take; before it is an estimate.
    """

    per_lane: int
    per_device: int
    passing: int
    available: int
    host: int
    host_available: int
    checkpoint: int
    lanes: int
    devices: int
    copies: int
    on_host: bool
    compiled: bool = False

    def __str__(self) -> str:
        taken = f"{_size(self.per_device)} per device {'as compiled' if self.compiled else 'with temporaries'}"
        return (
            f"memory: {self.lanes} lanes x {_size(self.per_lane)} of state on {self.devices} device(s), "
            f"{'' if self.compiled else 'about '}{taken}, {_size(self.available)} available; "
            f"{_size(self.checkpoint)} per checkpoint"
        )

    def needed(self, lanes: int) -> int:
        """Bytes on a device with so many lanes on it.

        What is compiled grows in proportion where lanes are updated side by side (`copies` is 1); where they are
        updated one after the other, by their states alone.
        """
        if not self.compiled:
            return _on_a_device(self.per_lane, lanes, self.copies, self.passing)
        now = -(-self.lanes // self.devices)
        if self.copies == 1:
            return math.ceil(self.per_device * lanes / now)
        return self.per_device + self.per_lane * self.copies * (lanes - now)

    @property
    def most(self) -> int:
        """The number of lanes, at most those asked for, that would fit on the devices."""
        lanes = range(1, self.lanes + 1)
        return bisect.bisect_right(lanes, self.available, key=self.needed) * self.devices

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


def equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All equations of a jaxpr, those of inner programs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in core.jaxprs_in_params(eqn.params):
            yield from equations(inner)


def largest(programs: Iterable[core.ClosedJaxpr], state: PyTree) -> int:
    """Bytes of the largest array that programs write on their way, those that have the shape of a part of the state
    left out: a batch, the rows of a layer, the random numbers of a loop."""
    held = {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)}
    found = (equation for program in programs for equation in equations(program.jaxpr))
    written = (v.aval for equation in found if equation.primitive.name in WRITTEN for v in equation.outvars)
    made = [aval for aval in written if isinstance(aval, ShapedArray)]
    return max((tree_bytes(x) for x in made if (x.shape, x.dtype) not in held), default=0)


def _on_a_device(per_lane: int, lanes: int, copies: int, passing: int) -> int:
    """Bytes of states and temporaries; lanes that are updated in place are updated side by side."""
    states = per_lane * lanes * copies
    return states + max(math.ceil(states * (WORKING_SHARE - 1)), passing * (lanes if copies == 1 else 1))


def plan(
    one: PyTree,
    lanes: int,
    devices: list[jax.Device],
    copies: int,
    passing: int = 0,
    recorded: int = 0,
    available: int | None = None,
) -> Plan:
    """Plans a run whose state of one lane has the shapes `one`; nothing is computed.

    Args:
      one: shapes of one lane.
      lanes: lanes asked for; they are filled up to a multiple of the devices.
      copies: states alive at once: 1 if updated in place, 2 if old and new exist side by side.
      passing: bytes of the largest temporary of one lane, see `largest`.
      recorded: numbers that are recorded of a lane.
      available: bytes that a device has; what it says itself if None.
    """
    per_lane, count = tree_bytes(one), len(devices)
    per_device = _on_a_device(per_lane, -(-lanes // count), copies, passing)
    on_host = devices[0].platform == "cpu"
    host_available = psutil.virtual_memory().available
    if available is None:
        available = host_available // count if on_host else (devices[0].memory_stats() or {}).get("bytes_limit", 0)
    host = lanes * (per_lane * HOST_COPIES + recorded * RECORD_BYTES) + (per_device * count if on_host else 0)
    checkpoint, limits = per_lane * lanes, (host, host_available)
    return Plan(per_lane, per_device, passing, available, *limits, checkpoint, lanes, count, copies, on_host)


def peak(compiled: jax.stages.Compiled) -> int:
    """Bytes of a device's memory that a compiled program takes at its fullest, arguments and results included.

    0 where the compiler does not say.
    """
    found = compiled.memory_analysis()
    if found is None:
        return 0
    held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return max(int(found.peak_memory_in_bytes), held + found.temp_size_in_bytes)


def measured(planned: Plan, programs: Iterable[jax.stages.Compiled]) -> Plan:
    """The plan with what the compiled programs take in place of the estimate, where the compiler says it."""
    taken = max(map(peak, programs), default=0)
    if not taken:
        return planned
    host = planned.host + ((taken - planned.per_device) * planned.devices if planned.on_host else 0)
    return planned._replace(per_device=taken, host=host, compiled=True)


def require(planned: Plan) -> None:
    """Refuses a plan that cannot fit.

    Raises:
      MemoryError: says what was planned and what would help.
    """
    if planned.fits:
        return
    advice = "use fewer seeds per run, a smaller replay_capacity, batch, rollout_batch or network, or more devices"
    if planned.available and planned.per_device > planned.available:
        raise MemoryError(f"the run does not fit: {planned}. At most {planned.most} lanes would: {advice}")
    raise MemoryError(
        f"the run's checkpoints and records do not fit into the host's memory: {_size(planned.host)} are needed, "
        f"{_size(planned.host_available)} are available ({planned}): {advice}"
    )
