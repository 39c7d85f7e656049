"""How the words of a command line become values: as `tyro` reads them, whole numbers also as 1e5 or 100_000."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from collections.abc import Sequence
from typing import TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

__all__ = ["parse", "whole"]

T = TypeVar("T")
NUMBERS = ConstructorRegistry()


def whole(word: str) -> int:
    """A whole number as people write it.

    Raises:
      ValueError: it is none.
    """
    with contextlib.suppress(ValueError):
        return int(word)
    number = float(word)
    if not number.is_integer():  # NaN and infinity are none either
        raise ValueError(f"a whole number is wanted, got {word!r}")
    return int(number)


@NUMBERS.primitive_rule
def _whole_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole(words[0]),
        is_instance=lambda value: type(value) is int,
        str_from_instance=lambda value: [str(value)],
    )


def parse(kind: type[T], prog: str, words: Sequence[str], description: str | None = None) -> T:
    """The words as a dataclass of options.

    Raises:
      ValueError: a configuration among the options refuses its values: in its own words, which name the field.
      SystemExit: help was asked for, or a word is not understood, which `tyro` explains.
    """
    said = io.StringIO()
    try:
        with NUMBERS, contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=prog, description=description, args=words)
    except SystemExit as stopped:
        if (refusal := _refusal(stopped)) is not None:
            raise refusal from None
        sys.stderr.write(said.getvalue())
        raise


def _refusal(stopped: BaseException | None) -> ValueError | None:
    """The error of a configuration that `tyro` explains in its own way, if that is why it stops."""
    while stopped is not None:
        made = [frame.f_code.co_name for frame, _ in traceback.walk_tb(stopped.__traceback__)]
        if isinstance(stopped, ValueError) and "__post_init__" in made:
            return stopped
        stopped = stopped.__context__
    return None
