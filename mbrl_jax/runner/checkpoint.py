"""Checkpoints of a whole run: asynchronous, atomic, verified on reading, the newest sound one wins.

The tree is copied to the host before anything else, because its device buffers are donated to the next chunk while
the writer is still at work. A digest of all bytes and the layout of the tree go with it, so that damage is noticed
whatever the file format lets through. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from mbrl_jax.files import in_the_way
from mbrl_jax.results import ResultsError
from mbrl_jax.runner.event_loops import forgiving
from mbrl_jax.types import Facts, PyTree

__all__ = ["Checkpoints", "Restored", "StrangerError", "check_names", "remove", "to_host"]

R = TypeVar("R")
_UNFINISHED = ".orbax-checkpoint-tmp"


class StrangerError(ResultsError):
    """Something that is not the run's own bears a checkpoint's name. It is neither read nor removed."""


class Restored(NamedTuple):
    """A checkpoint read back: its iteration, the tree, the facts, and what was wrong with newer ones."""

    iteration: int
    tree: PyTree
    facts: Facts
    warnings: list[str]


def to_host(tree: PyTree) -> PyTree:
    """A copy of the tree as NumPy arrays; random keys become their key data."""

    def plain(x: jax.Array) -> jax.Array:
        return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x

    return jax.tree.map(lambda x: np.array(plain(x)), tree)


def _digest(leaves: list[np.ndarray]) -> int:
    value = 0
    for leaf in leaves:
        value = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1).data, value)
    return value


def _layout(tree: PyTree) -> int:
    """A digest of the names, shapes and dtypes of all leaves."""
    rows = [f"{jax.tree_util.keystr(p)} {x.shape} {x.dtype}" for p, x in jax.tree_util.tree_leaves_with_path(tree)]
    return zlib.crc32("\n".join(rows).encode())


def _numbered(folder: Path) -> dict[int, Path]:
    """What bears a checkpoint's name, by iteration; every other name in the folder is none of ours."""
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    return {int(name): folder / name for name in names if re.fullmatch("0|[1-9][0-9]*", name)}


def check_names(folder: Path) -> None:
    """Refuses links and files that bear a checkpoint's name.

    Raises:
      StrangerError: says which.
    """
    for path in _numbered(folder).values():
        if wrong := in_the_way(path, "folder", links=False):
            raise StrangerError(wrong)


def remove(folder: Path) -> None:
    """Removes all checkpoints, and their folder unless something else lies in it. What resists stays."""
    unfinished = folder.glob(f"*{_UNFINISHED}*")
    for path in (*_numbered(folder).values(), *unfinished):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


class Checkpoints:
    """The checkpoints of one run, in a folder of their own. One process at a time may have it open.

    Args:
      folder: created if missing; half-written checkpoints of a process that was killed are removed.
      keep: how many to keep; at least 2, so that damage to the newest loses little.
      run: the run's id: a checkpoint of another one is not read.

    Raises:
      StrangerError: a link or a file bears a checkpoint's name.
      ValueError: `keep` is below 1.
    """

    def __init__(self, folder: Path, keep: int = 2, run: str = ""):
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint, got {keep}")
        self.folder, self.run = Path(folder).absolute(), run
        check_names(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)
        self._loops = contextlib.ExitStack()
        self._loops.enter_context(forgiving())

    def save(self, iteration: int, tree: PyTree, facts: Facts) -> None:
        """Starts writing a host tree (see `to_host`); waits only for the write before it.

        Raises:
          OSError: the previous write failed (a full disk, say); checkpoints before it are intact.
        """
        leaves = [leaf for leaf in jax.tree.leaves(tree) if leaf.size]
        named = {"run": self.run, "iteration": iteration}
        facts = {**facts, **named, "digest": _digest(leaves), "layout": _layout(tree)}
        self.wait()
        items = {f"{i:05d}": leaf for i, leaf in enumerate(leaves)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(items), facts=ocp.args.JsonSave(facts))
        self._checked(lambda: self._manager.save(iteration, args=args, force=True))

    def check(self) -> None:
        """Looks whether a write in the background has failed; does not wait.

        Raises:
          OSError: one has.
        """
        self._checked(self._manager.check_for_errors)

    def wait(self) -> None:
        """Returns when everything is on disk.

        Raises:
          OSError: it could not be written.
        """
        self._checked(self._manager.wait_until_finished)

    def close(self) -> None:
        """Waits and releases the writer's threads.

        Raises:
          OSError: something could not be written.
        """
        try:
            self.wait()
        finally:
            with self._loops:
                self._checked(self._manager.close)

    def newest(self, like: PyTree) -> Restored | None:
        """The newest checkpoint that is sound and has the layout of `like`; None if there is none at all.

        Unusable ones that are newer are removed, so that the run can write these iterations again.

        Raises:
          StrangerError: one of them, which may be older, is of another run or iteration. Nothing is removed then.
          ResultsError: checkpoints exist but none is usable; says what is wrong with each. Nothing is removed then.
        """
        warnings: list[str] = []
        bad: list[int] = []
        for iteration in _numbered(self.folder):
            self._check_own(iteration)
        for iteration in sorted(_numbered(self.folder), reverse=True):
            try:
                tree, facts = self._read(iteration, like)
            except Exception as error:  # whatever a damaged file makes the reader raise
                reason = str(error).strip().splitlines() or [type(error).__name__]
                warnings.append(f"checkpoint {self.folder / str(iteration)} is not usable: {reason[0][:200]}")
                bad.append(iteration)
                continue
            self._drop(bad)
            return Restored(iteration, tree, facts, warnings)
        if warnings:
            listed = "\n  ".join(warnings)
            raise ResultsError(f"no usable checkpoint is left; remove {self.folder} to start anew:\n  {listed}")
        return None

    def _drop(self, iterations: list[int]) -> None:
        for iteration in iterations:
            shutil.rmtree(self.folder / str(iteration))
        if iterations:
            self._manager.reload()

    def _facts(self, iteration: int) -> Facts:
        return dict(self._manager.restore(iteration, args=ocp.args.Composite(facts=ocp.args.JsonRestore()))["facts"])

    def _check_own(self, iteration: int) -> None:
        """Refuses a copy of another run's checkpoint, or of another iteration's; one that is damaged cannot tell."""
        try:
            facts = self._facts(iteration)
        except Exception:  # whatever a damaged file makes the reader raise
            return
        named = (facts.get("run", self.run), facts.get("iteration", iteration))  # older ones say neither
        if named != (self.run, iteration):
            path, (run, other) = self.folder / str(iteration), named
            raise StrangerError(
                f"{path} must be iteration {iteration} of run {self.run}, "
                f"but it is a copy of iteration {other} of run {run}: move it away"
            )

    def _read(self, iteration: int, like: PyTree) -> tuple[PyTree, Facts]:
        facts = self._facts(iteration)
        if facts["layout"] != _layout(like):
            raise ResultsError("its arrays are not those of this version of the program")
        leaves, structure = jax.tree.flatten(like)
        items = {f"{i:05d}": np.zeros(x.shape, x.dtype) for i, x in enumerate([x for x in leaves if x.size])}
        read = self._manager.restore(iteration, args=ocp.args.Composite(state=ocp.args.StandardRestore(items)))
        found = [np.asarray(read["state"][name]) for name in sorted(items)]
        if _digest(found) != facts["digest"]:
            raise ResultsError("its bytes do not match the digest they were written with")
        filled = iter(found)
        return structure.unflatten([next(filled) if x.size else np.zeros(x.shape, x.dtype) for x in leaves]), facts

    def _checked(self, action: Callable[[], R]) -> R:
        try:
            return action()
        except OSError:
            raise
        except Exception as error:  # the writer's thread wraps what the file system said
            raise OSError(f"checkpoint could not be written to {self.folder}: {error}") from error
