"""What a run's manifest must say: the rules that hold when it is written and again when it is read."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["REQUIRED", "SCHEMA_VERSION", "STATUSES", "problem"]

SCHEMA_VERSION = 1
STATUSES = ("running", "interrupted", "finished")
REQUIRED = ("experiment", "algorithm", "env", "seeds", "status")
_LARGEST = 2**63 - 1


class Rule(NamedTuple):
    """What an entry must be, in words and as a predicate."""

    words: str
    holds: Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_whole(value: object, least: int = -_LARGEST, most: int = _LARGEST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: object) -> bool:
    return isinstance(value, float) or _is_whole(value)


def _are_seeds(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_whole, value))


def _are_steps(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_whole, value.values())))


def _is_measured(value: object) -> bool:
    return value is None or _is_number(value)


def _is_count(value: object) -> bool:
    return value is None or _is_whole(value, least=1)


def _is_status(value: object) -> bool:
    return value in STATUSES


def _is_known_schema(value: object) -> bool:
    return _is_whole(value, 0, SCHEMA_VERSION)


_RULES = {
    "schema": Rule(f"a whole number up to {SCHEMA_VERSION}, which this mbrl_jax reads", _is_known_schema),
    **dict.fromkeys(("run", "experiment", "algorithm", "env"), Rule("text", _is_text)),
    "seeds": Rule("a list of whole numbers of 64 bits, at least one", _are_seeds),
    "status": Rule(f"one of {', '.join(STATUSES)}", _is_status),
    "diverged": Rule("a table of seeds and the environment steps at which they diverged", _are_steps),
    "lanes": Rule("a whole number of at least 1", _is_count),
    **dict.fromkeys(("compile_seconds", "run_seconds", "updates"), Rule("a number", _is_measured)),
    **dict.fromkeys(("memory", "peak_memory"), Rule("a number", _is_measured)),
}
"""By entry; one that is not `REQUIRED` may be missing."""


def problem(facts: object) -> str:
    """The first rule that a manifest breaks, with what it says instead; empty if it keeps them all."""
    if not isinstance(facts, dict):
        return f"a manifest must be a table of entries by name, got {reprlib.repr(facts)}"
    if missing := [name for name in REQUIRED if name not in facts]:
        return f"a manifest must have {', '.join(REQUIRED)}; missing: {', '.join(missing)}"
    for name, rule in _RULES.items():
        if name in facts and not rule.holds(facts[name]):
            return f"{name} must be {rule.words}, got {reprlib.repr(facts[name])}"
    named = {key.rpartition("/")[2] for key in facts.get("diverged") or {}}
    if strangers := sorted(named - {str(seed) for seed in facts["seeds"]}):
        return f"diverged seeds must be among the run's seeds {facts['seeds']}, got {', '.join(strangers)}"
    try:
        json.dumps(facts, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"text must be Unicode, got {error.object[error.start : error.end]!r}"
    return ""
