"""Executors by their names, made when asked for: what a name needs is imported then, and its absence said at once."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from mbrl_jax.runner.executors.here import Here
from mbrl_jax.runner.executors.local import Local
from mbrl_jax.runner.executors.schedule import Executor
from mbrl_jax.runner.executors.setting import setting

__all__ = ["NAMES", "Name", "Wanted", "make"]

Name = Literal["here", "local", "ray", "slurm"]
NAMES: tuple[Name, ...] = ("here", "local", "ray", "slurm")


class Wanted(NamedTuple):
    """What is asked of an executor.

    Attributes:
      name: which.
      workers: processes at once, of those that have a number of them; as many as there is room for if None.
      gpus: GPUs of a job on a cluster.
      minutes: time limit of a job of Slurm's.
      partition: of Slurm's; its default if empty.
    """

    name: Name = "here"
    workers: int | None = None
    gpus: int = 0
    minutes: int = 240
    partition: str = ""


def make(wanted: Wanted, root: Path, prepare: Callable[[], object] | None = None) -> Executor:
    """An executor.

    Args:
      wanted: what is asked of it.
      root: the results folder.
      prepare: what worker processes do to know experiments by name.

    Raises:
      MissingPackageError: a package is missing; says how it is installed.
    """
    if wanted.name == "here":
        return Here()
    if wanted.name == "local":
        return Local(setting(prepare), wanted.workers)
    module = importlib.import_module(f"mbrl_jax.runner.executors.{wanted.name}")
    return module.make(wanted, root, setting(prepare))
