"""Refusals of configurations, options and names: each message states the rule, then what was given.

`check_fields` holds every configuration and every group of options to the types of its fields and to `RULES`, one
table for all of them. Values of JAX are not looked at: they are swept or traced.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import os
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, Union

import jax
import numpy as np

__all__ = [
    "MOST_LANES",
    "check_arguments",
    "check_fields",
    "check_not_negative",
    "check_positive",
    "check_share",
    "check_widths",
    "nearest",
    "resolved",
    "shown",
    "whole_seeds",
]

F = TypeVar("F", bound=Callable[..., object])
MOST_LANES = 2**20
"""Seeds of a run, and lanes: more are a mistake, and would keep a machine busy before it could say so."""
NAME_BYTES = 200
COUNTER = 2**31 - 1
"""Counters are 32-bit integers."""
LARGEST, SMALLEST = (float(each) for each in (np.finfo(np.float32).max, np.finfo(np.float32).tiny))
SCALARS: Mapping[object, tuple[type, ...]] = {
    bool: (bool, np.bool_),
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
    str: (str,),
}
"""What a field of each type may hold: NumPy's scalars are numbers, whole numbers are numbers, truth values are not."""


class Rule(NamedTuple):
    """What the fields of one type must be.

    Attributes:
      kind: the type, of a field or of the entries of a tuple.
      named: which fields, as a regular expression for the whole name; of the rules for a field the first one counts.
      text: what its value must be.
      holds: whether a value of that type is so.
    """

    kind: type
    named: str
    text: str
    holds: Callable[..., bool]


def _within(low: float, high: float) -> Callable[[float], bool]:
    """Whether a number lies in `[low, high]`; NaN does not."""

    def holds(value: float) -> bool:
        return low <= value <= high

    return holds


def _is_name(text: str) -> bool:
    """Whether a text can be a name in the store, in labels and in files: not UTF-8 is not printable."""
    return text.isprintable() and text not in ("", ".", "..") and "/" not in text and len(text.encode()) <= NAME_BYTES


def _is_path_of_names(text: str) -> bool:
    return all(map(_is_name, text.split("/"))) and len(text.encode()) <= NAME_BYTES


A_NAME = f"a name (printable, without slashes, not '.' or '..', 1 to {NAME_BYTES} bytes)"
POSITIVE = _within(SMALLEST, LARGEST)
RULES = (
    Rule(int, "first_seed", "a whole number in [0, 2**32)", _within(0, 2**32 - 1)),
    Rule(int, "seeds", f"a whole number from 1 to {MOST_LANES:,}", _within(1, MOST_LANES)),
    Rule(int, "eval_.*|keep|devices|max_lanes", "a whole number from 1 to 2**31 - 1", _within(1, COUNTER)),
    Rule(int, ".*", "a whole number within +-(2**31 - 1)", _within(-COUNTER, COUNTER)),
    Rule(float, ".*_seconds", "a finite number of seconds, not negative", _within(0, LARGEST)),
    Rule(float, "(.*_)?(temperature|max_.*norm|(logit|weight)_clip|mean_limit)", "positive and finite", POSITIVE),
    Rule(float, "(.*_)?(lr|rate|decay|noise|clip|penalty)", "a finite number, not negative", _within(0, LARGEST)),
    Rule(float, ".*", "a finite number", _within(-LARGEST, LARGEST)),
    Rule(str, "name|algorithm|profile", A_NAME, _is_name),
    Rule(str, "experiment", f"{A_NAME}, or several with slashes between them", _is_path_of_names),
    Rule(str, "env", "the name of an environment", lambda value: True),
    Rule(str, ".*", "text", lambda value: True),
    Rule(bool, ".*", "True or False", lambda value: True),
)
"""Every rule on the value of a single field. Floats are held in single precision, so finite means finite there."""
AT_MOST = (("batch", "replay_capacity"), ("model_batch", "replay_capacity"))
"""Pairs of fields of which the first must not exceed the second."""

_short = reprlib.Repr()
_short.maxstring, _short.maxother, _short.maxtuple, _short.maxlist, _short.maxdict = 60, 100, 8, 8, 4


def shown(value: object) -> str:
    """A value as an error shows it: on one line, and short."""
    return " ".join(_short.repr(value).split())


def check_fields(given: object, prefix: str = "") -> None:
    """Refuses a configuration or options in which a field is not of its type, or breaks a rule of `RULES`.

    Args:
      given: a dataclass or a named tuple; the dataclasses in it are looked at too.
      prefix: what stands before the names of its fields in a message.

    Raises:
      ValueError: names the first such field, its rule, and its value.
    """
    for name, hint in _hints(type(given)).items():
        value = getattr(given, name)
        if not _fits(name, value, hint):
            raise ValueError(f"{prefix}{name} must be {_text(name, hint)}, got {shown(value)}")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            check_fields(value, f"{prefix}{name}.")
    for small, large in AT_MOST:
        low, high = getattr(given, small, None), getattr(given, large, None)
        if isinstance(low, int) and isinstance(high, int) and 1 <= high < low:
            raise ValueError(f"{prefix}{large} must be at least {small}, got {high} and {low}")


def check_arguments(function: F) -> F:
    """Decorator: refuses arguments, and fields of configurations among them, that are not of their stated types.

    Raises:
      ValueError: when the function is called: names the first such argument or field, its rule, and its value.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checking(*args: object, **kwargs: object) -> object:
        hints = _hints(function)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in hints and not _fits(name, value, hints[name]):
                raise ValueError(f"{name} must be {_text(name, hints[name])}, got {shown(value)}")
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                check_fields(value, f"{name}.")
        return function(*args, **kwargs)

    return typing.cast(F, checking)


@functools.cache
def _hints(kind: Callable[..., object]) -> dict[str, object]:
    """The fields of a dataclass or a named tuple, or a function's arguments, and their types, where they are known."""
    try:
        hints = typing.get_type_hints(kind)
    except NameError:  # a class inside a function
        return {}
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else hints
    return {name: hints[name] for name in names}


def _rule(name: str, kind: object) -> Rule:
    return next(rule for rule in RULES if rule.kind is kind and re.fullmatch(rule.named, name))


def _fits(name: str, value: object, hint: object) -> bool:
    """Whether a value is of a type and holds to the rule of the field's name."""
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is typing.Any or getattr(kind, "_is_protocol", False) or isinstance(value, jax.Array):
        return True
    if kind in SCALARS:
        truth = isinstance(value, SCALARS[bool]) and kind is not bool
        return isinstance(value, SCALARS[kind]) and not truth and _rule(name, kind).holds(value)
    if kind in (Union, types.UnionType):
        return any(_fits(name, value, each) for each in inner)
    if kind is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if kind is tuple and inner:
        if not isinstance(value, tuple):
            return False
        wanted = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(value) == len(wanted) and all(map(functools.partial(_fits, name), value, wanted))
    return not isinstance(kind, type) or isinstance(value, kind)


def _text(name: str, hint: object) -> str:
    """What a field of a type must be, as `_fits` sees it."""
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in SCALARS:
        return _rule(name, kind).text
    if kind in (Union, types.UnionType):
        return " or ".join(_text(name, each) for each in inner)
    if kind is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if kind is tuple and inner:
        entries = [_text(name, each) for each in inner if each is not Ellipsis]
        same = len(set(entries)) == 1
        number = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"a tuple{number}, each entry {entries[0]}" if same else f"a tuple of {', '.join(entries)}"
    if kind is type(None):
        return "None"
    return f"a {kind.__module__.rpartition('.')[2]}.{kind.__qualname__}" if isinstance(kind, type) else "anything"


def whole_seeds(given: object) -> tuple[int, ...]:
    """Seeds as a tuple, of any sequence of them: a range, a list, an array.

    Raises:
      ValueError: they are not distinct whole numbers in [0, 2**32), or there are none or too many.
    """
    listed = np.asarray(given).tolist() if isinstance(given, jax.Array | np.ndarray) else given
    if isinstance(listed, Sequence) and 1 <= len(listed) <= MOST_LANES:
        whole = [int(seed) for seed in listed if isinstance(seed, SCALARS[int]) and not isinstance(seed, bool)]
        if len(set(whole)) == len(listed) and min(whole) >= 0 and max(whole) < 2**32:
            return tuple(whole)
    raise ValueError(
        f"seeds must be a sequence of 1 to {MOST_LANES:,} distinct whole numbers in [0, 2**32), got {shown(given)}"
    )


def resolved(path: str | os.PathLike[str]) -> Path:
    """The path of a folder or file that a person names: the one place where `~` becomes the home directory.

    Raises:
      ValueError: it is not a path, not UTF-8 (the formats of results cannot hold others), or has an unknown home.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str) or "\0" in text or text.encode(errors="replace").decode() != text:
        raise ValueError(f"a path must be UTF-8 text without null characters, got {shown(text)}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"'~' must stand for a home directory that is known here, got {shown(text)}") from error


def nearest(given: str, known: Iterable[str], what: str) -> str:
    """The message for a misspelt name: the rule, what was given, and the nearest known names."""
    known = sorted(known)
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known)}"
    return f"{what} must be one of {len(known)} known names, got {given!r}; {hint}"


def check_positive(config: object, *names: str) -> None:
    """Refuses a configuration in which one of these whole-number fields is below 1.

    Raises:
      ValueError: names the first such field and its value.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def check_not_negative(config: object, *names: str) -> None:
    """Refuses a configuration in which one of these numbers is negative; values that are swept are not looked at.

    Raises:
      ValueError: names the first such field and its value.
    """
    for name in names:
        value = getattr(config, name)
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def check_share(config: object, *names: str, zero: bool = True) -> None:
    """Refuses a configuration in which one of these numbers, unless it is swept, is outside [0, 1], or 0 if not `zero`.

    Raises:
      ValueError: names the first such field, its interval and its value.
    """
    for name in names:
        value = getattr(config, name)
        if isinstance(value, int | float) and not (0 <= value <= 1 and (zero or value)):
            raise ValueError(f"{name} must lie in {'[' if zero else '('}0, 1], got {value}")


def check_widths(config: object, *names: str, empty: bool = False) -> None:
    """Refuses a configuration in which one of these tuples of layer widths has one below 1 or, unless `empty`, none.

    Raises:
      ValueError: names the first such field and its value.
    """
    rule = "must name positive widths" if empty else "must name at least one positive width"
    for name in names:
        widths = getattr(config, name)
        if not (widths or empty) or min(widths, default=1) < 1:
            raise ValueError(f"{name} {rule}, got {widths}")
