"""What a run has written, published while it goes on where its folder is the local copy of an address."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from mbrl_jax import storage
from mbrl_jax.runner.lock import BusyError, Lock
from mbrl_jax.runner.progress import say

__all__ = ["Publisher"]


class Publisher:
    """Fetches what there is of a run, publishes in the background what is asked for, and at the end everything.

    Where the results folder is an ordinary one nothing happens.

    Args:
      root: the results folder.
      run: the run's id.
      lock: the run's lock, held while the context lasts.

    Raises:
      OSError: on entering, if the storage cannot be reached; on leaving, if something could not be published.
      BusyError: on leaving, if another process took the run over. Nothing is published then.
    """

    def __init__(self, root: Path, run: str, lock: Lock):
        self._root, self._run, self._lock = root, run, lock
        self.active = storage.is_copy(root)
        self._wanted, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Publisher:
        if self.active:
            storage.fetch(self._root, self._run, begun=True)
            self._thread.start()
        return self

    def later(self) -> None:
        """Publishes, while the caller goes on, what is complete in the run's folder now."""
        self._wanted.set()

    def check(self) -> None:
        """Looks whether the run is still this process's; does not wait.

        Raises:
          BusyError: another process has taken it over.
        """
        if self._lock.lost:
            self._lock.check()
            raise BusyError(f"run {self._run} is another process's now")

    def _work(self) -> None:
        while self._wanted.wait() and not self._over.is_set():
            self._wanted.clear()
            try:
                self._publish()
            except BusyError:
                return
            except OSError as error:
                say(f"warning: {error}; the next checkpoint is published with what is missing")

    def _publish(self) -> None:
        self._lock.check()
        storage.publish(self._root, [self._run])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self.active:
            return
        self._over.set()
        self._wanted.set()
        self._thread.join()
        if isinstance(error, BusyError):
            return
        try:
            self._publish()
        except OSError as failure:
            if error is None:
                raise
            say(f"warning: {failure}; what is not published lies in {self._root}, and the same command publishes it")
