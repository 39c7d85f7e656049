"""What every worker speaks; only Python's own library, because a peer's environment has nothing of ours.

A worker prints one line of JSON with its versions and cases. Then, for every line of input that names a case, it runs
that case once and prints a line with the wall seconds per unit. So a driver can time several workers in turn.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import metadata


def serve(name: str, packages: tuple[str, ...], cases: Mapping[str, Callable[[], int]]) -> None:
    """Answers until the input ends. A case does its work and returns how many units that was."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not get into the answers
    versions = {package: metadata.version(package) for package in packages}
    for case in cases.values():
        case()  # compilation and first touches do not count
    print(json.dumps({"name": name, "versions": versions, "cases": list(cases)}), file=channel, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        units = cases[line.strip()]()
        print(json.dumps({"seconds": (time.perf_counter() - began) / units}), file=channel, flush=True)


def in_pieces(train: Callable[[Callable[..., None]], None]) -> Callable[[], None]:
    """A function that goes on with `train(progress)` until it calls `progress` again; it runs in a thread."""
    asked, done = queue.Queue(), queue.Queue()

    def wait(*_):
        done.put(None)
        asked.get()

    def piece():
        asked.put(None)
        done.get()

    threading.Thread(target=train, args=(wait,), daemon=True).start()
    done.get()
    return piece
