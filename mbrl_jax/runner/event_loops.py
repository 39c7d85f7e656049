"""Event loops that may be called after their end, while checkpoints are open.

Orbax reads and writes the arrays of a checkpoint side by side, on an event loop that it closes as soon as one of them
fails. TensorStore's threads are then still at work on the others, and each that is done calls the closed loop: Python
prints a traceback for every one of them, beside the one line that says what is wrong. They print at the same time,
which before 3.11.8 may end in a `SystemError`: what parses source for the marks under a traceback's lines was shared by
all threads (https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextvars import Context

__all__ = ["forgiving"]


class _Loop(asyncio.SelectorEventLoop):
    """Nobody waits any more for what is done after the loop's end."""

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        except RuntimeError:
            if not self.is_closed():
                raise
            return asyncio.Handle(callback, args, self, context)


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop()


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """In this context new event loops, of whatever thread, take calls for good; those that come too late do nothing."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
