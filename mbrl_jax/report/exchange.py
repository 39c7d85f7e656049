"""The exchange format of published raw results: a CSV `exp_name, env_name, seed, metric, env_step, value`."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pandas as pd

from mbrl_jax import results
from mbrl_jax.envs.registry import resolve

__all__ = ["export_csv", "import_csv"]

EXCHANGE = {"algorithm": "exp_name", "env": "env_name"} | {
    name: name for name in ("seed", "metric", "env_step", "value")
}


class Reader(Protocol):
    """What is used of the object that `csv.reader` gives."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


def export_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Writes the exchange format `exp_name, env_name, seed, metric, env_step, value`; `exp_name` is the algorithm.

    Raises:
      ValueError: two experiments hold the same point; filter by `experiment` first.
    """
    table = pd.DataFrame(frame[list(EXCHANGE)]).rename(columns=EXCHANGE)
    twice = table.duplicated(["exp_name", "env_name", "seed", "metric", "env_step"])
    if twice.any():
        names = ", ".join(sorted(frame["experiment"].unique()))
        raise ValueError(f"points must be unique, {twice.sum()} are not (experiments: {names}); filter by `experiment`")
    results.write_whole(Path(path), table.to_csv(index=False).encode())


def import_csv(path: str | Path, experiment: str) -> pd.DataFrame:
    """Reads the exchange format into the long form, under the name `experiment`; `run` is the file's name.

    Text is taken as it stands (`None`, `3` and nothing at all are labels); of numbers, an empty `value` is NaN. A task
    gets our name of it, `pendulum-v1` for `Pendulum-v1`. With a warning, one that we do not have keeps its name, and
    one whose name states no version is taken for our first.

    Raises:
      results.ResultsError: the file is no UTF-8 text, is not separated by commas, lacks a column or a cell, or a number
        is none; the message names file, line, rule and what stands there.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            columns = _read(csv.reader(file))
    except UnicodeDecodeError as error:
        raise results.ResultsError(f"{path}: an exchange file must be UTF-8 text, got {error}") from error
    except (_FormError, csv.Error) as error:
        raise results.ResultsError(f"{path}{error}") from error
    ours = {name: _task(name, path) for name in dict.fromkeys(map(str, columns["env_name"]))}
    columns["env_name"] = [ours[str(name)] for name in columns["env_name"]]
    table = pd.DataFrame({old: columns[new] for old, new in EXCHANGE.items()})
    table = table.astype({"seed": "int64", "env_step": "int64", "value": "float64"})
    return pd.DataFrame(table.assign(experiment=experiment, run=Path(path).name)[["run", *results.COLUMNS]])


class _FormError(ValueError):
    """What is wrong with a file, to be put after its name."""


def _read(reader: Reader) -> dict[str, list[str | int | float]]:
    """The columns of the format, numbers as such."""
    head = next(reader, [])
    wanted = list(EXCHANGE.values())
    if len(head) == 1 and (found := [mark for mark in ";\t|" if mark in head[0]]):
        raise _FormError(f": columns must be separated by commas, they are by {found[0]!r}")
    if any(head.count(name) != 1 for name in wanted):
        there = ", ".join(map(repr, head)) or "none"
        raise _FormError(f": an exchange file must have the columns {', '.join(wanted)}, each once; it has {there}")
    places = {name: head.index(name) for name in wanted}
    columns: dict[str, list[str | int | float]] = {name: [] for name in wanted}
    for row in filter(None, reader):
        if len(row) != len(head):
            raise _FormError(f", line {reader.line_num}: every line must have {len(head)} cells, got {len(row)}")
        for name, place in places.items():
            parse, rule = _NUMBERS.get(name, (str, ""))
            try:
                columns[name].append(parse(row[place]))
            except (ValueError, OverflowError) as error:
                raise _FormError(f", line {reader.line_num}: {name} must be {rule}, got {row[place]!r}") from error
    return columns


def _task(name: str, path: str | Path) -> str:
    """Our name of a task; a file's names import no module, so one with `:` stays what it is."""
    try:
        if ":" in name:
            raise ValueError(f"an environment of another module is not looked up, got {name!r}")
        ours = resolve(name)
    except ValueError as error:
        warnings.warn(f"{path}: {error}; it stays a task of its own", stacklevel=4)
        return name
    if not re.search(r"-v\d+$", name):
        warnings.warn(f"{path}: {name!r} states no version, taken for {ours}", stacklevel=4)
    return ours


def _number(text: str) -> float:
    """A number as it is usually written; Python's `1_000` is none. Nothing is NaN."""
    if "_" in text:
        raise ValueError
    return float(text) if text.strip() else float("nan")


def _whole(text: str) -> int:
    """A whole number of 64 bits, however it is written: `1000`, `1000.0`, `1e3`."""
    value = int(text) if text.strip().lstrip("+-").isdecimal() else _number(text)
    if value != int(value) or not -(2**63) <= value < 2**63:
        raise ValueError
    return int(value)


def _step(text: str) -> int:
    step = _whole(text)
    if step < 0:
        raise ValueError
    return step


_NUMBERS: dict[str, tuple[Callable[[str], int | float], str]] = {
    "seed": (_whole, "a whole number of 64 bits"),
    "env_step": (_step, "a whole number of 64 bits, at least 0"),
    "value": (_number, "a number"),
}
"""How each of the columns that hold numbers is read, and the rule in words."""
