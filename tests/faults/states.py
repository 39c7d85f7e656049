"""States in which a killed process or a damaged disk leaves a run's folder, and what becomes of a run in each.

A kill leaves what was on disk at that moment. `recorded` therefore trains once and copies the folder before each of
the process's writes; `processes.killed` stops another process at random moments. Each copy is then trained to the end.
"""

import builtins
import contextlib
import functools
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from mbrl_jax import files, results
from mbrl_jax.runner import loop, program
from mbrl_jax.runner.checkpoint import Checkpoints
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.session import plain_shapes, without_storage

CLEAR = (OSError, ValueError, results.ResultsError)
"""What `mbrl` says in one line."""
NEAR: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
"""What a few iterations make of another rounding of single precision, 1e-7 at first."""
OFTEN = loop.Options(checkpoint_seconds=0.0, batching="map", quiet=True)
CHANGES = ("replace", "rename", "mkdir", "rmdir", "unlink", "remove", "fsync", "truncate", "link", "symlink")
"""Functions of `os` that change what is on disk; opening a file to write it is another."""


class Programs:
    """Compiles every run once for each number of devices, however often it is trained."""

    def __init__(self) -> None:
        self._planned: dict[Any, loop.Planned] = {}
        self._compiled: dict[int, Any] = {}

    def plan(self, run: Run, env: Any, length: int, options: loop.Options) -> loop.Planned:
        key = (run.run_id(env), length, options.batching, tuple(options.devices or ()))
        if key not in self._planned:
            self._planned[key] = PLAN(run, env, length, options)
        return self._planned[key]

    def compile(self, planned: loop.Planned) -> Any:
        if id(planned) not in self._compiled:
            self._compiled[id(planned)] = COMPILE(planned)
        return self._compiled[id(planned)]

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """In this context `loop.train` takes its programs from here."""
        loop.plan_run, loop.compile_run = self.plan, self.compile
        try:
            yield
        finally:
            loop.plan_run, loop.compile_run = PLAN, COMPILE


PLAN, COMPILE = loop.plan_run, loop.compile_run


@dataclass(frozen=True)
class State:
    """A copy of a run's folder, below `root`, at which moment it was taken, and on how many devices the run was."""

    moment: str
    root: Path
    devices: int


@dataclass
class Subject:
    """A run with the result that it must end with, from one piece on all devices.

    Attributes:
      rounds: whether the number of devices decides on last digits (docs/running.md): where it was another one at any
        time, the end must be near the result; where it was not, it is the result.
    """

    run: Run
    root: Path
    rounds: bool = False
    programs: Programs = field(default_factory=Programs)

    def __post_init__(self) -> None:
        env = self.run.environment()
        self.identity = self.run.run_id(env)
        one = jax.eval_shape(self.run.build({}, env).init, jax.random.key(0))
        carry = without_storage(program.Carry(one, jax.eval_shape(lambda: jax.numpy.zeros((), jax.numpy.int32))))
        self.like = plain_shapes(program.shapes_of(carry, len(self.run.lanes())))
        self.whole = State("whole", self.root / "whole", jax.local_device_count())
        self.train(self.whole.root, self.whole.devices, OFTEN._replace(checkpoint_seconds=1e6))
        self.state, self.table = self.final(self.whole.root)

    def folder(self, root: Path) -> Path:
        return root / "runs" / self.identity

    def train(self, root: Path, devices: int, options: loop.Options = OFTEN) -> None:
        with self.programs.shared():
            loop.train(self.run, root, options._replace(devices=tuple(jax.local_devices()[:devices])))

    def final(self, root: Path) -> tuple[list[np.ndarray], pd.DataFrame]:
        """All arrays of the final state, and the metrics."""
        table = results.load_run(root, self.identity)
        if not (self.folder(root) / "final").is_dir():
            raise FileNotFoundError(f"no final state in {self.folder(root)}")
        checkpoints = Checkpoints(self.folder(root) / "final", 1, self.identity)
        try:
            found = checkpoints.newest(self.like)
        finally:
            checkpoints.close()
        if found is None:
            raise FileNotFoundError(f"no final state in {self.folder(root)}")
        return [np.asarray(x) for x in jax.tree.leaves(found.tree)], table

    def outcome(self, state: State, devices: int) -> str:
        """Empty where the run, trained to its end from a state, ends as it must; else what was said.

        Raises:
          AssertionError: it ends otherwise, or something is lost though nothing was achieved.
        """
        root, before = state.root, contents(self.folder(state.root))
        try:
            self.train(root, devices, OFTEN._replace(checkpoint_seconds=1e6))
            found, table = self.final(root)
        except CLEAR as error:
            said = str(error)
            assert str(root) in said.splitlines()[0], f"the message names no place: {said}"
            after = contents(self.folder(root))
            lost = {name for name, content in before.items() if after.get(name) != content}
            assert not lost, f"lost {lost} although it ended with: {said}"
            return said
        self.check(found, table, {state.devices, devices})
        left = {path.name for path in self.folder(root).iterdir()} - {"final", "lock", *files.FILES}
        assert not left, f"it leaves {left} behind"
        return ""

    def check(self, found: list[np.ndarray], table: pd.DataFrame, devices: set[int]) -> None:
        """Compares the end of a run, which was on these numbers of devices, with the result."""
        if self.rounds and devices != {self.whole.devices}:
            for ours, theirs in zip(found, self.state, strict=True):
                np.testing.assert_allclose(ours, theirs, **NEAR)
            pd.testing.assert_frame_equal(table, self.table, **NEAR)
        else:
            same = [ours.tobytes() == theirs.tobytes() for ours, theirs in zip(found, self.state, strict=True)]
            assert all(same), f"it ends with another state: {same.count(False)} of {len(same)} arrays"
            assert table.equals(self.table), "it ends with other metrics"


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file of a run's folder with its bytes, every folder and link with None; not what a process leaves."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        name = path.relative_to(folder).as_posix()
        if path.name.startswith(".") or "orbax-checkpoint-tmp" in name or (name == "lock" and path.is_file()):
            continue
        found[name] = path.read_bytes() if path.is_file() else None
    return found


def _written(path: Any, folder: str, dir_fd: int | None) -> str | None:
    """The full path that a call changes if it lies in the folder."""
    if isinstance(path, int):
        path = os.readlink(f"/proc/self/fd/{path}")
    elif dir_fd is not None:
        path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
    full = os.path.abspath(os.fsdecode(path))
    return full if full == folder or full.startswith(folder + os.sep) else None


@contextlib.contextmanager
def intercepted(folder: Path, before: Callable[[str], None]) -> Iterator[None]:
    """Calls `before(what)` before every write of this process in the folder, by whatever thread, one at a time."""
    lock, honest = threading.RLock(), {name: getattr(os, name) for name in CHANGES}
    opened = {module: module.open for module in (io, builtins, os)}

    def told(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def inside(path: Any, *args: Any, **kwargs: Any) -> Any:
            full = _written(path, str(folder), kwargs.get("dir_fd"))
            if full is None:
                return call(path, *args, **kwargs)
            with lock:
                before(f"{name} {os.path.relpath(full, folder)}")
                return call(path, *args, **kwargs)

        return inside

    def writing(call: Callable[..., Any]) -> Callable[..., Any]:
        announced = told("open", call)

        @functools.wraps(call)
        def inside(path: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> Any:
            flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
            writes = bool(mode & flags) if isinstance(mode, int) else bool(set(mode) & set("wax+"))
            named = not isinstance(path, int)
            return (announced if writes and named else call)(path, mode, *args, **kwargs)

        return inside

    try:
        for name, call in honest.items():
            setattr(os, name, told(name, call))
        for module, call in opened.items():
            module.open = writing(call)
        yield
    finally:
        for name, call in honest.items():
            setattr(os, name, call)
        for module, call in opened.items():
            module.open = call


def recorded(subject: Subject, root: Path, devices: int) -> list[State]:
    """Trains a run, with a checkpoint after every chunk, and copies its folder before each write."""
    folder, taken = subject.folder(root / "live"), []

    def take(what: str) -> None:
        state = State(what, root / f"{len(taken):04d}", devices)
        copied(folder, subject.folder(state.root))
        taken.append(state)

    with intercepted(folder, take):
        subject.train(root / "live", devices)
    return taken


def copied(folder: Path, to: Path) -> None:
    """Copies a folder that others may be changing: what vanishes in between is left out.

    The manifest goes first: one that says finished, beside files from before, is of no moment at all.
    """

    def but_the_manifest(place: str, names: list[str]) -> set[str]:
        return {"manifest.json"} & set(names) if Path(place) == folder else set()

    with contextlib.suppress(FileNotFoundError):
        if (folder / "manifest.json").is_file():
            to.mkdir(parents=True)
            shutil.copy2(folder / "manifest.json", to / "manifest.json")
    with contextlib.suppress(shutil.Error, FileNotFoundError):
        shutil.copytree(folder, to, symlinks=True, ignore=but_the_manifest, dirs_exist_ok=True)


def distinct(states: list[State], subject: Subject) -> list[State]:
    """One of each kind of state: those that differ on disk."""
    seen = {repr(sorted(_everything(subject.folder(state.root)).items())): state for state in reversed(states)}
    return list(reversed(seen.values()))


def _everything(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in (sorted(folder.rglob("*")) if folder.exists() else ())
    }


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content), max(len(content) // 3, 1)):
        content[at] ^= 0xFF
    path.write_bytes(content)


def _delete(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = {each.__name__[1:]: each for each in (_truncate, _empty, _zero, _flip, _delete, _folder, _nowhere)}


def damaged(subject: Subject, origin: State, root: Path, every: int = 1) -> list[State]:
    """Copies of a state, below `root`, in each of which one file is damaged in one way; every so-manieth of them."""
    files = sorted(p for p in subject.folder(origin.root).rglob("*") if p.is_file())
    kinds = [(path.relative_to(origin.root), kind) for path in files for kind in DAMAGES]
    taken = []
    for number, (path, kind) in enumerate(kinds[::every]):
        moment = f"{kind} {path.relative_to(Path('runs') / subject.identity)}"
        state = State(moment, root / f"{number:04d}", origin.devices)
        copied(subject.folder(origin.root), subject.folder(state.root))
        DAMAGES[kind](state.root / path)
        taken.append(state)
    return taken


def outcomes(subject: Subject, states: list[State]) -> dict[str, str]:
    """What was said at each state, by its moment, on one device and on two in turn.

    Raises:
      AssertionError: lists every state that ends badly.
    """
    said, bad = {}, []
    for number, state in enumerate(states):
        moment = f"{number}: {state.moment}"
        try:
            said[moment] = subject.outcome(state, 1 + number % jax.local_device_count())
        except Exception as error:
            bad.append(f"{moment}: {type(error).__name__} {error}")
        shutil.rmtree(state.root, ignore_errors=True)
    assert not bad, "\n".join([f"{len(bad)} of {len(states)} states end badly:", *bad[:20]])
    return said
