"""What a compiled program launches: its operations counted by loop and by part, read from XLA's text.

An operation of the optimised program that is not a mere view launches something on an accelerator: a fusion, a product,
a copy, a library's routine, a loop's test. Small ones cost about the same whatever they compute, so their number says
where the time of a small program goes. The parts are the scopes that loops and roll-outs are marked with
(`jax.named_scope("mbrl.updates")`); what lies in no scope belongs to the loop around it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["PARTS", "Count", "Loop", "count", "described", "iteration", "loops", "total"]

PARTS = ("environment", "acting", "updates", "preparing", "rollouts")
"""Parts of an iteration: the environment's steps, the policy's choice of actions, what learns after a step, what is
done before an iteration (models are fitted) and the branched roll-outs in it."""
REST = "rest"
VIEWS = ("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "partition-id", "call")
"""Operations that launch nothing by themselves."""
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_TRIPS = re.compile(r'known_trip_count"?:\{"n":"(\d+)"')
_COUNTS = re.compile(r" compare\((?:\S+ )?%?get-tuple-element[\w.\-]*, (?:\S+ )?%?([\w.\-]+)\), direction=LT")
_INNER = re.compile(r"(?:to_apply|calls|branch_computations)=\{?(%[\w.\-]+(?:, %[\w.\-]+)*)")


class Loop(NamedTuple):
    """A loop of the program, or the program itself.

    Attributes:
      trips: how often its body runs; None where numbers decide.
      part: the part that it belongs to.
      own: operations of its body by part, those of loops inside left out.
      inner: the loops inside.
    """

    trips: int | None
    part: str
    own: Counter[str]
    inner: list[Loop]


class Count(NamedTuple):
    """Operations of an environment step.

    Attributes:
      known: by part, those whose number is fixed.
      open: by part, for every loop whose length numbers decide: how many a pass of its body takes, and how often the
        loop is begun per environment step (loops around it that are themselves open count once).
    """

    known: dict[str, float]
    open: dict[str, list[tuple[float, float]]]


class _Computation(NamedTuple):
    """The right sides of a computation's instructions by their names, and the name of its result."""

    instructions: dict[str, str]
    root: list[str]


def _computations(text: str) -> tuple[str, dict[str, _Computation]]:
    """The entry's name, and every computation."""
    found: dict[str, _Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = found.setdefault(head[2], _Computation({}, []))
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and " = " in line:
            left, right = line.split(" = ", 1)
            name = left.split()[-1].removeprefix("%")
            current.instructions[name] = right
            if "ROOT" in left:
                current.root.append(name)
    return entry, found


def _operation(right: str) -> str | None:
    """The operation of an instruction's right side, which begins with the shape of its result."""
    named = re.search(r"[)\]}] ([a-z][a-z0-9\-]*)\(", right)
    return named[1] if named else None


def _part(line: str, around: str) -> str:
    named = re.search(r'op_name="([^"]*)"', line)
    scopes = re.findall(r"mbrl\.([a-z]+)", named[1]) if named else []
    return scopes[-1] if scopes else around


def _trips(line: str, computations: dict[str, _Computation]) -> int | None:
    """How often a loop's body runs: what XLA knows of it, or the constant that its counter is compared with.

    A TPU's compiler leaves the comparison alone to say it. JAX's loops of fixed length count from zero.
    """
    if known := _TRIPS.search(line):
        return int(known[1])
    named = re.search(r"condition=%?([\w.\-]+)", line)
    condition = computations.get(named[1]) if named else None
    if condition is None or not condition.root:
        return None
    compared = _COUNTS.search(condition.instructions[condition.root[0]])
    bound = re.search(r" constant\((\d+)\)", condition.instructions.get(compared[1], "")) if compared else None
    return int(bound[1]) if bound else None


def loops(text: str) -> Loop:
    """The optimised program `compiled.as_text()` as a tree of its loops."""
    entry, computations = _computations(text)

    def read(name: str, trips: int | None, part: str) -> Loop:
        own, inner = Counter[str](), list[Loop]()
        for line in computations[name].instructions.values():
            operation, here = _operation(line), _part(line, part)
            if operation is None:
                continue
            own[here] += operation not in VIEWS
            if operation == "while":
                body = re.search(r"body=%?([\w.\-]+)", line)
                inner.append(read(body[1] if body else "", _trips(line, computations), here))
            elif operation in ("call", "conditional") and (named := _INNER.search(line)):
                for one in named[1].replace("%", "").split(", "):
                    inside = read(one, 1, here)
                    own.update(inside.own)
                    inner += inside.inner
        return Loop(trips, part, own, inner)

    return read(entry, 1, REST)


def total(loop: Loop) -> int:
    """Operations of one pass of a loop's body, loops of unknown length inside once."""
    return sum(loop.own.values()) + sum((each.trips or 1) * total(each) for each in loop.inner)


def iteration(program: Loop) -> Loop:
    """The loop over iterations of an `advance`: its outermost loop whose length is not known, the largest of several.

    Lanes one after the other are a loop of known length around it.

    Raises:
      ValueError: there is no such loop.
    """
    level = [program]
    while level and all(loop.trips is not None for loop in level):
        level = [inner for loop in level for inner in loop.inner]
    candidates = [loop for loop in level if loop.trips is None]
    if not candidates:
        raise ValueError("a program of iterations must have a loop over them whose length is an argument, found none")
    return max(candidates, key=total)


def count(one: Loop, env_steps: int) -> Count:
    """Operations of an iteration's body, shared among its environment steps."""
    known: dict[str, float] = {}
    open_: dict[str, list[tuple[float, float]]] = {}

    def walk(loop: Loop, times: float) -> Counter[str]:
        found = Counter(loop.own)
        for inner in loop.inner:
            if inner.trips is None:
                inside = walk(inner, times)
                open_.setdefault(inner.part, []).append((sum(inside.values()), times / env_steps))
            else:
                for part, number in walk(inner, times * inner.trips).items():
                    found[part] += inner.trips * number
        return found

    for part, number in walk(one, 1.0).items():
        known[part] = number / env_steps
    return Count(known, open_)


def described(found: Count) -> Iterator[str]:
    """The count as lines of a table."""
    for part in (*PARTS, REST):
        passes = [f"{number:,.0f} a pass, begun {times:g} times" for number, times in found.open.get(part, [])]
        if part in found.known or passes:
            tail = f"  + loops: {'; '.join(passes)}" if passes else ""
            yield f"  {part:<12} {found.known.get(part, 0.0):>9,.1f}{tail}"
