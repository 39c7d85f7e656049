"""Jobs that are no runs, for tests of executors: they note who did them and when, wait, fail, or are killed."""

import json
import os
import signal
import time
from functools import partial

from mbrl_jax.jobs import Cost, Job


def note(root, name, event):
    """Appends a line, whole, whoever writes at the same time."""
    line = json.dumps({"job": name, "event": event, "process": os.getpid(), "time": time.time()}) + "\n"
    with open(root / "notes", "ab", buffering=0) as file:
        file.write(line.encode())


def notes(root):
    path = root / "notes"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait(name, seconds, root, how):
    note(root, name, "begun")
    time.sleep(seconds)
    note(root, name, "done")


def fail(root, how):
    raise RuntimeError("no\nluck")


def overdue(name, deaf, root, how):
    """The first attempt does not end, and if it is deaf, no signal but SIGKILL ends it; the second ends at once."""
    again = any(one["job"] == name for one in notes(root))
    note(root, name, "begun")
    if not again:
        for each in (signal.SIGUSR2, signal.SIGTERM) if deaf else ():
            signal.signal(each, signal.SIG_IGN)
        time.sleep(1000)
    note(root, name, "done")


def chore(name, after=(), seconds=0.0, execute=None, price=None):
    cost = Cost(seconds=price)
    return Job(name, "test/chores", name, tuple(after), cost, execute or partial(wait, name, seconds), run=False)
