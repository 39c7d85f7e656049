"""A process that trains, stopped at moments of which it knows nothing: what is on disk then, a kill would leave.

A stopped process has no thread that writes, so that a copy is of one moment however slow the machine is.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import jax
from states import State, Subject, copied

KILLABLE = Path(__file__).parent / "killable.py"
HOURS = 3600.0
"""A process that has not begun by then hangs; on a machine that does other work too, compiling takes minutes."""


@contextlib.contextmanager
def training(subject: Subject, root: Path, devices: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that trains a run again and again, below `root`, from its first write on; killed at the end.

    Raises:
      AssertionError: it ended by itself; shows what it said.
    """
    path = os.pathsep.join([str(KILLABLE.parents[2]), os.environ.get("PYTHONPATH", "")])
    cache = jax.config.jax_compilation_cache_dir or str(root / "cache")
    root.mkdir()
    said = root.with_suffix(".said")
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(KILLABLE), str(root), subject.run.algorithm, str(devices)],
            env={**os.environ, "PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PLATFORMS": "cpu"},
            stdout=stderr,
            stderr=stderr,
        )
    try:
        until = time.monotonic() + HOURS
        while not list(root.glob("*/runs/*/manifest.json")):
            assert process.poll() is None and time.monotonic() < until, said.read_text()
            time.sleep(0.01)
        yield process
        assert process.poll() is None, said.read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, said.read_text()


@contextlib.contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """In this context none of the process's threads does anything."""
    process.send_signal(signal.SIGSTOP)
    found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert found is not None and found.si_code == os.CLD_STOPPED, "it ended by itself"
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def killed(subject: Subject, root: Path, devices: int, moments: int, chance: Random) -> list[State]:
    """What a process left at so many random moments, and all that it left when it was killed at last."""
    live, taken = root / "live", []
    with training(subject, live, devices) as process:
        for moment in range(moments):
            time.sleep(chance.uniform(0, 0.3))
            with stopped(process):
                now = max(live.iterdir())
                state = State(f"moment {moment} of {now.name}", root / f"{moment:04d}", devices)
                copied(subject.folder(now), subject.folder(state.root))
                taken.append(state)
        time.sleep(chance.uniform(0, 0.3))
    return [*taken, *(State(f"left of {each.name}", each, devices) for each in sorted(live.iterdir()))]
