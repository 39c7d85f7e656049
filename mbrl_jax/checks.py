"""Refusals of configurations and names: each message states the rule, then what was given."""

import difflib
from collections.abc import Iterable

__all__ = ["check_not_negative", "check_positive", "check_share", "check_widths", "nearest"]


def nearest(given: str, known: Iterable[str], what: str) -> str:
    """The message for a misspelt name: the rule, what was given, and the nearest known names."""
    known = sorted(known)
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known)}"
    return f"{what} must be one of {len(known)} known names, got {given!r}; {hint}"


def check_positive(config: object, *names: str) -> None:
    """Refuses a configuration in which one of these whole-number fields is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")


def check_not_negative(config: object, *names: str) -> None:
    """Refuses a configuration in which one of these numbers is negative; values that are swept are not looked at."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def check_share(config: object, *names: str, zero: bool = True) -> None:
    """Refuses a configuration in which one of these numbers is outside [0, 1], or 0 if `zero` is false.

    Values that are swept are not looked at.
    """
    for name in names:
        value = getattr(config, name)
        if isinstance(value, int | float) and not (0 <= value <= 1 and (zero or value)):
            raise ValueError(f"{name} must lie in {'[' if zero else '('}0, 1], got {value}")


def check_widths(config: object, *names: str, empty: bool = False) -> None:
    """Refuses a configuration in which one of these tuples of layer widths has an entry below 1.

    Args:
      empty: whether a network may have none of these layers.
    """
    rule = "must name positive widths" if empty else "must name at least one positive width"
    for name in names:
        widths = getattr(config, name)
        if not (widths or empty) or min(widths, default=1) < 1:
            raise ValueError(f"{name} {rule}, got {widths}")
