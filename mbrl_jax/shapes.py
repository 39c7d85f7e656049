"""Shapes: those that a signature states are checked while a function is traced; axes of length 1 are put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar, cast, get_origin

from beartype import BeartypeConf, beartype
from beartype.vale import IsInstance
from jaxtyping import Array, jaxtyped

__all__ = ["along", "checked"]

F = TypeVar("F", bound=Callable[..., Any])


def _known(hint: object) -> object:
    """A hint as beartype knows it: of a generic record, such as `Policy[M]`, which it does not know, the class."""
    record = get_origin(hint) or hint
    generic = isinstance(record, type) and issubclass(record, tuple) and issubclass(record, Generic)
    return Annotated[object, IsInstance[cast(type, record)]] if generic else hint


def _typechecker(function: F) -> F:
    """What jaxtyping asks to check values against hints; an `int` will do where a `float` is asked for."""
    function.__annotations__ = {name: _known(hint) for name, hint in function.__annotations__.items()}
    return beartype(conf=BeartypeConf(is_pep484_tower=True))(function)


def checked(function: F) -> F:
    """Decorator: jaxtyping shapes and dtypes are checked while tracing; costs nothing in the compiled program.

    The function that comes back has the attribute `shapes_are_checked`, so that a test can tell who lacks it.
    """
    checking = jaxtyped(function, typechecker=_typechecker)
    setattr(checking, "shapes_are_checked", True)  # noqa: B010  (a function has no such attribute for a type checker)
    return cast(F, checking)


def along(x: Array, like: Array) -> Array:
    """`x[dim]`, or any shape, with leading axes of length 1 until it has as many axes as `like`: `[1, ..., 1, dim]`."""
    return x.reshape((1,) * (like.ndim - x.ndim) + x.shape)
