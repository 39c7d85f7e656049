"""Killed at any write or moment, or its files damaged: a run ends as if nothing had been, or says what is wrong.

Another number of devices may change MBPO's last digits, which is said; nothing else does.

`make test` tries one small run; the slow tests four methods, every write, every file and every kind of damage.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
import states
import subjects
import tiny

KILLABLE = Path(__file__).parent / "killable.py"
LAST = "mkdir final"
"""Before this write a run still has all its checkpoints."""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The runner's tiny run, a third of it, whose program its tests have compiled."""
    return states.Subject(tiny.run(config=tiny.shorter(80)), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module", params=subjects.CRASHED)
def subject(request, tmp_path_factory):
    run, root = subjects.case_run(request.param, 6), tmp_path_factory.mktemp(request.param)
    return states.Subject(run, root, rounds=request.param in subjects.ROUNDS)


def with_checkpoints(taken):
    """The last of the states in which a run's checkpoints are all there."""
    return next(state for state in taken if state.moment == LAST)


def test_killed_at_some_writes(small, tmp_path):
    taken = states.recorded(small, tmp_path, 2)
    some = states.distinct(taken, small)[::10]
    assert len(taken) > 100 and len(some) >= 10
    assert set(states.outcomes(small, some).values()) == {""}


def test_some_files_damaged(small, tmp_path):
    taken = states.recorded(small, tmp_path, 1)
    some = states.damaged(small, with_checkpoints(taken).root, tmp_path / "damaged", every=43)
    finished = states.damaged(small, small.root / "whole", tmp_path / "ended", every=43)
    assert len(some) >= 6 and len(finished) >= 2
    states.outcomes(small, some + finished)


@pytest.mark.slow
def test_killed_at_every_write(subject, tmp_path):
    taken = states.recorded(subject, tmp_path, 2)
    each = states.distinct(taken, subject)
    assert len(each) >= 53  # 212 over the four methods
    assert set(states.outcomes(subject, each).values()) == {""}
    print(f"{subject.run.algorithm}: {len(taken)} writes, {len(each)} states")


@pytest.mark.slow
def test_killed_at_random_moments(subject, tmp_path):
    """Copies made while the run goes on: not even the files of one copy are of one moment.

    So a copy may have caught both checkpoints while they were being removed, one after the other.
    """
    taken = states.torn(subject, tmp_path, 2, 25, random.Random(0))
    said = list(states.outcomes(subject, taken).values())
    assert all(each == "" or each.startswith("no usable checkpoint is left") for each in said)
    assert said.count("") >= 20


@pytest.mark.slow
def test_every_file_damaged_in_every_way(subject, tmp_path):
    taken = states.recorded(subject, tmp_path, 1)
    running = states.damaged(subject, with_checkpoints(taken).root, tmp_path / "damaged", every=7)
    ended = states.damaged(subject, subject.root / "whole", tmp_path / "ended", every=7)
    said = states.outcomes(subject, running + ended)
    assert len(said) >= 36  # 143 over the four methods
    print(f"{subject.run.algorithm}: {len(said)} damages, {sum(map(bool, said.values()))} told")


@pytest.mark.slow
@pytest.mark.parametrize("devices", (1, 2))
def test_a_process_that_is_killed(subject, tmp_path, devices):
    path = os.pathsep.join([str(KILLABLE.parents[2]), os.environ.get("PYTHONPATH", "")])
    cache = jax.config.jax_compilation_cache_dir or str(tmp_path / "cache")
    process = subprocess.Popen(
        [sys.executable, str(KILLABLE), str(tmp_path / "live"), subject.run.algorithm, str(devices)],
        env={**os.environ, "PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 300
    while not list((tmp_path / "live").glob("*/runs/*/manifest.json")):
        assert process.poll() is None and time.monotonic() < until, process.stderr.read()
        time.sleep(0.01)
    time.sleep(random.uniform(0, 3))
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = sorted((tmp_path / "live").iterdir())
    assert states.outcomes(subject, [states.State(root.name, root) for root in left])
