"""Checkpoints of a whole run: asynchronous, atomic, verified on reading, the newest sound one wins.

The tree is copied to the host before anything else, because its device buffers are donated to the next chunk while
the writer is still at work. A digest of all bytes and the layout of the tree go with it, so that damage is noticed
whatever the file format lets through. Nothing is pickled.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from mbrl_jax.results import ResultsError
from mbrl_jax.types import Facts, PyTree

__all__ = ["Checkpoints", "Restored", "to_host"]

R = TypeVar("R")


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


class Checkpoints:
    """The checkpoints of one run, in a folder of their own. One process at a time may have it open.

    Args:
      folder: created if missing; half-written checkpoints of a process that was killed are removed.
      keep: how many to keep; at least 2, so that damage to the newest loses little.
    """

    def __init__(self, folder: Path, keep: int = 2):
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint, got {keep}")
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, iteration: int, tree: PyTree, facts: Facts) -> None:
        """Starts writing a host tree (see `to_host`); waits only for the write before it.

        Raises:
          OSError: the previous write failed (a full disk, say); checkpoints before it are intact.
        """
        leaves = [leaf for leaf in jax.tree.leaves(tree) if leaf.size]
        facts = {**facts, "digest": _digest(leaves), "layout": _layout(tree)}
        self.wait()
        items = {f"{i:05d}": leaf for i, leaf in enumerate(leaves)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(items), facts=ocp.args.JsonSave(facts))
        self._checked(lambda: self._manager.save(iteration, args=args, force=True))

    def check(self) -> None:
        """Raises OSError if a write in the background has failed; does not wait."""
        self._checked(self._manager.check_for_errors)

    def wait(self) -> None:
        """Returns when everything is on disk. Raises OSError if it could not be written."""
        self._checked(self._manager.wait_until_finished)

    def close(self) -> None:
        """Waits and releases the writer's threads. Raises OSError if something could not be written."""
        try:
            self.wait()
        finally:
            self._checked(self._manager.close)

    def newest(self, like: PyTree) -> Restored | None:
        """The newest checkpoint that is sound and has the layout of `like`; None if there is none at all.

        Unusable ones that are newer are removed, so that the run can write these iterations again.

        Raises:
          ResultsError: checkpoints exist but none is usable; says what is wrong with each. Nothing is removed then.
        """
        warnings: list[str] = []
        bad: list[int] = []
        for iteration in sorted(self._manager.all_steps(), reverse=True):
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

    def _read(self, iteration: int, like: PyTree) -> tuple[PyTree, Facts]:
        facts = dict(self._manager.restore(iteration, args=ocp.args.Composite(facts=ocp.args.JsonRestore()))["facts"])
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
