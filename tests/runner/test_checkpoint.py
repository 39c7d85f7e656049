"""Damage to checkpoints, and disks that do not take them."""

import asyncio
import gc
import resource
import sys
import threading
import time

import numpy as np
import pytest

from mbrl_jax.results import ResultsError
from mbrl_jax.runner.checkpoint import Checkpoints


def tree(value: float):
    return {"weights": np.full((100, 30), value, np.float32), "none": np.zeros((0, 3), np.float32), "step": np.int32(7)}


@pytest.fixture
def three(tmp_path):
    """A folder with checkpoints 1, 2 and 3, holding these values."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for iteration in (1, 2, 3):
        checkpoints.save(iteration, tree(float(iteration)), {"train_seconds": float(iteration)})
    checkpoints.close()
    return tmp_path / "checkpoints"


def data_files(folder):
    """The files that hold the arrays of a checkpoint, the largest first."""
    files = [each for each in folder.rglob("*") if each.is_file() and "state" in each.parts]
    return sorted(files, key=lambda each: each.stat().st_size, reverse=True)


def newest(folder, like=None):
    checkpoints = Checkpoints(folder, keep=3)
    try:
        return checkpoints.newest(tree(0.0) if like is None else like)
    finally:
        checkpoints.close()


def test_round_trip_keeps_every_leaf(three):
    found = newest(three)
    assert (found.iteration, found.facts["train_seconds"], found.warnings) == (3, 3.0, [])
    np.testing.assert_array_equal(found.tree["weights"], tree(3.0)["weights"])
    assert found.tree["none"].shape == (0, 3) and found.tree["step"] == 7


def test_truncated_newest_gives_the_one_before_and_may_be_written_again(three):
    for file in data_files(three / "3"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = newest(three)
    assert found.iteration == 2 and found.tree["weights"][0, 0] == 2.0
    assert len(found.warnings) == 1 and str(three / "3") in found.warnings[0]
    checkpoints = Checkpoints(three, keep=3)
    checkpoints.save(3, tree(33.0), {})
    checkpoints.close()
    assert newest(three).tree["weights"][0, 0] == 33.0


def test_one_flipped_byte_is_noticed(three):
    """In any data file, whether the file format has a checksum there or not."""
    file = data_files(three / "3")[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    assert newest(three).iteration == 2


def test_a_digest_that_does_not_match_is_noticed(three, monkeypatch):
    from mbrl_jax.runner import checkpoint

    honest = checkpoint._digest
    monkeypatch.setattr(checkpoint, "_digest", lambda leaves: honest(leaves) + (leaves[-1].flat[0] == 3.0))
    found = newest(three)
    assert found.iteration == 2 and "digest" in found.warnings[0]


def test_none_left_is_an_error_that_names_each_and_removes_nothing(three):
    for iteration in (1, 2, 3):
        for file in data_files(three / str(iteration)):
            file.write_bytes(b"")
    with pytest.raises(ResultsError, match="no usable checkpoint is left") as caught:
        newest(three)
    assert all(str(three / str(iteration)) in str(caught.value) for iteration in (1, 2, 3))
    assert {each.name for each in three.iterdir()} >= {"1", "2", "3"}


def test_another_layout_is_refused(three):
    renamed = {"other": tree(0.0)["weights"], "none": tree(0.0)["none"], "step": np.int32(0)}
    with pytest.raises(ResultsError, match="not those of this version"):
        newest(three, renamed)


def test_what_changes_after_saving_is_not_what_is_saved(tmp_path):
    checkpoints, state = Checkpoints(tmp_path / "c"), tree(1.0)
    checkpoints.save(1, state, {})
    state["weights"][:] = 9.0
    checkpoints.close()
    assert newest(tmp_path / "c").tree["weights"][0, 0] == 1.0


@pytest.fixture
def unsaid(monkeypatch):
    """What a thread could only print; none of it may be left for another test."""
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda each: printed.append(str(each.exc_value)))
    yield printed
    gc.collect()
    assert not printed


@pytest.fixture
def longest(monkeypatch):
    """Files of at most so many bytes: the kernel refuses longer ones, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise(arrays):
    """So many arrays that do not compress."""
    chance = np.random.default_rng(0)
    return {f"{i}": chance.normal(size=(300, 30)).astype(np.float32) for i in range(arrays)}


def until_quiet():
    """Waits until TensorStore's threads have had the time to finish what nobody waits for."""
    time.sleep(0.3)


def test_a_write_that_fails_in_the_background_is_an_error_and_the_older_one_stays(three, longest, unsaid):
    checkpoints = Checkpoints(three, keep=3)
    longest(4096)
    with pytest.raises(OSError, match=r"could not be written|too large"):
        checkpoints.save(4, {**tree(4.0), **noise(1)}, {})
        checkpoints.wait()
    checkpoints.close()
    assert newest(three).iteration == 3


def test_one_array_that_cannot_be_written_ends_the_others_without_a_trace(tmp_path, longest, unsaid):
    checkpoints = Checkpoints(tmp_path)
    longest(4096)
    with pytest.raises(OSError, match=r"could not be written|too large"):
        checkpoints.save(1, noise(60), {})
        checkpoints.wait()
    checkpoints.close()
    until_quiet()


def test_one_array_that_cannot_be_read_ends_the_others_without_a_trace(tmp_path, unsaid):
    checkpoints = Checkpoints(tmp_path, keep=5)
    for iteration in range(5):
        checkpoints.save(iteration, noise(60), {})
    checkpoints.close()
    for iteration in range(1, 5):
        largest = data_files(tmp_path / str(iteration))[0]
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    found = newest(tmp_path, noise(60))
    assert found.iteration == 0 and len(found.warnings) == 4
    until_quiet()


def test_a_loop_that_is_closed_takes_calls_while_checkpoints_are_open(three):
    before = asyncio.get_event_loop_policy()
    checkpoints, called = Checkpoints(three, keep=3), []
    loop = asyncio.new_event_loop()
    loop.call_soon_threadsafe(called.append, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    checkpoints.close()
    late = threading.Thread(target=loop.call_soon_threadsafe, args=(called.append, 2))
    late.start()
    late.join()
    assert called == [1] and asyncio.get_event_loop_policy() is before
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(called.append, 3)
