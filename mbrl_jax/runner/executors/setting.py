"""What a process does before its first job, so that numbers do not depend on where they are computed."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax

from mbrl_jax.host import available_cores
from mbrl_jax.runner import setup

__all__ = ["Setting", "setting"]


class Setting(NamedTuple):
    """What workers begin with.

    Attributes:
      devices: virtual devices of a CPU. XLA may round otherwise for several than for one: workers have as many as the
        process that plans, whatever cores they find.
      paths: folders that Python looks for modules in.
      prepare: what makes experiments known by name, pickled; nothing if empty.
    """

    devices: int | None = None
    paths: tuple[str, ...] = ()
    prepare: bytes = b""

    def begin(self) -> None:
        """Makes this process ready for jobs."""
        sys.path.extend(path for path in self.paths if path not in sys.path)
        setup.configure(self.devices)
        if self.prepare:
            pickle.loads(self.prepare)()


def setting(prepare: Callable[[], object] | None = None) -> Setting:
    """The setting of this process: its devices and its modules.

    Args:
      prepare: a function that has a name, or a `functools.partial` of one.
    """
    stated = getattr(jax.config, "jax_num_cpu_devices", -1)  # asking for the devices themselves would take them
    devices = stated if stated > 0 else available_cores()
    paths = tuple(path for path in sys.path if path)
    return Setting(devices, paths, b"" if prepare is None else pickle.dumps(partial(prepare)))
