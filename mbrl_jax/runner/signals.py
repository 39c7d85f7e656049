"""SIGINT and SIGTERM noted instead of obeyed at once, so that a checkpoint can be written first."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from mbrl_jax.runner.progress import say

__all__ = ["Interrupted", "Signals", "StoppedAtOnce", "TimeUpError"]


class Interrupted(SystemExit):
    """The run was asked to stop, wrote a checkpoint and stopped. Its code is 128 + the signal's number."""

    at_once = False
    """Whether a program may still be running."""


class StoppedAtOnce(Interrupted):
    """The run was asked to stop a second time, while its program runs.

    Python's own end would wait for the program, so whoever ends the process does so without it (`os._exit`).
    """

    at_once = True


class TimeUpError(Exception):
    """The run's time was up before its end. It wrote a checkpoint, and goes on when it is run again."""


class Signals:
    """A context in which the first signal is noted and the second raises `StoppedAtOnce`; handlers are put back after.

    Outside the main thread Python allows no handlers: nothing is noted there and the caller deals with signals.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                before = signal.signal(number, self._note)
            except ValueError:  # not in the main thread
                return self
            # None: the handler was not installed from Python and cannot be put back as it was
            self._before[number] = signal.SIG_DFL if before is None else before
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise StoppedAtOnce(128 + number)
        self.received = number
        say("stopping after this chunk; a checkpoint will be written (once more to stop at once)")

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop_if_received(self) -> None:
        """Ends the process where a signal has come, and only there.

        Raises:
          Interrupted: a signal came; its code is 128 + the signal's number.
        """
        if self.received is not None:
            raise Interrupted(128 + self.received)
