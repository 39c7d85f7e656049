"""Killed at any write or moment, or its files damaged: a run ends as if nothing had been, or says what is wrong.

`make test` tries one small run; the slow tests four methods, every write, every file and every kind of damage.
"""

import random

import processes
import pytest
import states
import subjects
import tiny

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
    some = states.damaged(small, with_checkpoints(taken), tmp_path / "damaged", every=43)
    finished = states.damaged(small, small.whole, tmp_path / "ended", every=43)
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
def test_every_file_damaged_in_every_way(subject, tmp_path):
    taken = states.recorded(subject, tmp_path, 1)
    running = states.damaged(subject, with_checkpoints(taken), tmp_path / "damaged", every=7)
    ended = states.damaged(subject, subject.whole, tmp_path / "ended", every=7)
    said = states.outcomes(subject, running + ended)
    assert len(said) >= 36  # 143 over the four methods
    print(f"{subject.run.algorithm}: {len(said)} damages, {sum(map(bool, said.values()))} told")


@pytest.mark.slow
@pytest.mark.parametrize("devices", (1, 2))
def test_killed_at_random_moments(subject, tmp_path, devices):
    taken = processes.killed(subject, tmp_path, devices, 12, random.Random())
    assert len(taken) >= 13  # 104 over the four methods
    assert set(states.outcomes(subject, taken).values()) == {""}
    print(f"{subject.run.algorithm} on {devices}: {len(taken)} kills")
