# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""Many C MuJoCo simulations of one model, stepped on threads: the host's side of `engine_c`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import mujoco
import numpy as np
from mujoco.batch import Batch

from mbrl_jax.envs.mujoco_tasks import locate

__all__ = ["STATE", "Pool", "Simulations"]

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""All that a physics step depends on: time, positions, velocities, activations, warm start, forces, controls."""


class Simulations(Protocol):
    """A fixed number of simulations; `state` `[count, n]` holds their integration states and may be written."""

    state: np.ndarray

    def forward(self, ids: np.ndarray) -> None:
        """Compute the derived fields and the warm start of simulations `ids[...]`, as Gymnasium's `set_state` does."""
        ...

    def step(self, action: np.ndarray, steps: int) -> None:
        """Apply actions `[count, nu]` for some physics steps, as Gymnasium's `do_simulation` does."""
        ...

    def read(self, spec: str) -> np.ndarray:
        """A copy of a field of `MjData`, `[count, ...]`, named as in `Task.derived`."""
        ...


class _Batched:
    """`mujoco.batch`: everything but the forces that MuJoCo computes on demand only."""

    def __init__(self, model: mujoco.MjModel, count: int, threads: int, specs: tuple[str, ...]):
        self._batch = Batch(model, count, min(threads, count))
        self._places = {spec: locate(model, spec) for spec in specs}
        self._fields = {field: self._batch.bind(field) for field, _ in self._places.values()}  # live arrays
        self.state = self._batch.state

    def forward(self, ids: np.ndarray) -> None:
        self._batch.forward(ids=ids)

    def step(self, action: np.ndarray, steps: int) -> None:
        self._fields["ctrl"][:] = action
        self._batch.step(nstep=steps)

    def read(self, spec: str) -> np.ndarray:
        field, row = self._places[spec]
        values = self._fields[field]
        return values.copy() if row is None else values[:, row].copy()


class _Looped:
    """One `MjData` per thread, and after each step the external contact forces, which Gymnasium asks for as well."""

    def __init__(
        self, model: mujoco.MjModel, count: int, workers: ThreadPoolExecutor, threads: int, specs: tuple[str, ...]
    ):
        self._model, self._workers = model, workers
        self._datas = [mujoco.MjData(model) for _ in range(min(threads, count))]
        self._places = {spec: locate(model, spec) for spec in specs}
        self._fields = {field: getattr(self._datas[0], field).shape for field, _ in self._places.values()}
        self._values = {field: np.empty((count, *shape)) for field, shape in self._fields.items()}
        self.state = np.empty((count, mujoco.mj_stateSize(model, STATE)))

    def forward(self, ids: np.ndarray) -> None:
        def work(data: mujoco.MjData, i: int) -> None:
            mujoco.mj_resetData(self._model, data)  # clears the last simulation's contact forces
            mujoco.mj_setState(self._model, data, self.state[i], STATE)
            mujoco.mj_forward(self._model, data)

        self._each(ids, work)

    def step(self, action: np.ndarray, steps: int) -> None:
        def work(data: mujoco.MjData, i: int) -> None:
            mujoco.mj_setState(self._model, data, self.state[i], STATE)
            data.ctrl[:] = action[i]
            mujoco.mj_step(self._model, data, nstep=steps)
            mujoco.mj_rnePostConstraint(self._model, data)

        self._each(np.arange(len(self.state)), work)

    def read(self, spec: str) -> np.ndarray:
        field, row = self._places[spec]
        return self._values[field].copy() if row is None else self._values[field][:, row].copy()

    def _each(self, ids: np.ndarray, work: Callable[[mujoco.MjData, int], None]) -> None:
        todo = iter(ids.tolist())  # whoever is free takes the next: contacts make some steps longer than others

        def share(data: mujoco.MjData) -> None:
            for i in todo:
                work(data, i)
                mujoco.mj_getState(self._model, data, self.state[i], STATE)
                for field, values in self._values.items():
                    values[i] = getattr(data, field)

        others = [self._workers.submit(share, data) for data in self._datas[1:]]
        try:
            share(self._datas[0])
        finally:
            wait(others)  # nobody may still write here when the next caller takes these simulations
        for other in others:
            other.result()


class Pool:
    """Simulations ready for use, by their number; callbacks that run at the same time each take their own.

    A pool stops MuJoCo's own clock, in the whole process: durations in `MjData.timer` stay 0 from then on, until
    `mujoco.set_mjcb_time` sets one (None sets the package's own again).
    """

    def __init__(self, model: mujoco.MjModel, specs: tuple[str, ...], threads: int):
        _stop_clock()
        self._model, self._specs, self._threads = model, specs, threads
        self._workers = ThreadPoolExecutor(threads) if "cfrc_ext" in specs else None
        self._free: dict[int, list[Simulations]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def take(self, count: int) -> Iterator[Simulations]:
        """`count` simulations for the length of the block."""
        with self._lock:
            free = self._free.setdefault(count, [])
            simulations = free.pop() if free else None
        if simulations is None:
            simulations = self._make(count)
        try:
            yield simulations
        finally:
            with self._lock:
                free.append(simulations)

    def _make(self, count: int) -> Simulations:
        if self._workers is not None:
            return _Looped(self._model, count, self._workers, self._threads, self._specs)
        return _Batched(self._model, count, self._threads, self._specs)


def _stop_clock() -> None:
    """Take away the clock that MuJoCo's Python package installs, unless somebody has set another one.

    With it the library times every stage of every physics step, which takes 5 to 25 % of the step. Its Python interface
    can exchange the clock but not remove it. Where clock or library are not found, or more libraries than the one that
    is loaded, simulations are merely slower.
    """
    folder = Path(mujoco.__file__).parent
    libraries = [*folder.glob("libmujoco*"), *folder.glob("mujoco.dll")]
    if len(libraries) == 1 and mujoco.get_mjcb_time() is None:
        with suppress(OSError, ValueError):
            ctypes.c_void_p.in_dll(ctypes.CDLL(str(libraries[0])), "mjcb_time").value = None
