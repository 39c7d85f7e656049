"""A run that is killed and taken up again, on any number of devices, equals one in one piece, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pandas as pd
import pytest
import tiny

from mbrl_jax import results
from mbrl_jax.runner import lock, loop, signals

WORKER = Path(__file__).parent / "worker.py"


def start(root, devices=1, chunk_seconds=1e-9, checkpoint_seconds=0.0):
    """A worker that cuts its run into single iterations and checkpoints after each."""
    words = [str(root), str(devices), "map", str(chunk_seconds), str(checkpoint_seconds)]
    path = os.pathsep.join([str(WORKER.parents[2]), os.environ.get("PYTHONPATH", "")])
    cache = jax.config.jax_compilation_cache_dir or str(root / "cache")
    environment = {**os.environ, "PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PLATFORMS": "cpu"}
    # The worker chooses its devices itself; its code must be generated as that of the run it is compared with.
    flags = environment.pop("XLA_FLAGS", "").split()
    environment["XLA_FLAGS"] = " ".join(flag for flag in flags if "device_count" not in flag)
    return subprocess.Popen(
        [sys.executable, str(WORKER), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def newest(folder):
    """The iteration of the newest complete checkpoint, −1 if there is none."""
    return max((int(each.name) for each in folder.glob("checkpoints/*") if each.name.isdigit()), default=-1)


def wait_for_progress(process, folder, timeout=120.0):
    """Returns once the worker has written a checkpoint newer than those it found."""
    before, until = newest(folder), time.monotonic() + timeout
    while newest(folder) <= before:
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(f"no progress: {process.communicate()[1]}")
        time.sleep(0.01)


def assert_same(root, reference):
    run = tiny.run()
    identity = run.run_id(run.environment())
    assert tiny.final_bytes(run, root) == tiny.final_bytes(run, reference)
    pd.testing.assert_frame_equal(
        results.load_run(root, identity), results.load_run(reference, identity), check_exact=True
    )


def test_killed_and_resumed_equals_uninterrupted(tmp_path, finished):
    moments = random.Random()
    run = tiny.run()
    folder = tmp_path / "runs" / run.run_id(run.environment())
    for devices in (1, 2, 1):  # the number of devices may change on the way
        process = start(tmp_path, devices)
        wait_for_progress(process, folder)
        time.sleep(moments.uniform(0, 0.3))
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    reached = newest(folder)
    process = start(tmp_path, 2)
    wait_for_progress(process, folder)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "resumed at environment step" in said
    assert results.manifest(tmp_path, folder.name)["status"] == "interrupted"
    assert newest(folder) > reached
    loop.train(run, tmp_path, loop.Options(batching="map", quiet=True))
    assert_same(tmp_path, finished)
    assert not (folder / "checkpoints").exists()


def test_another_number_of_devices_changes_nothing(tmp_path, finished):
    other = 2 if jax.local_device_count() == 1 else 1
    process = start(tmp_path, other, chunk_seconds=5.0, checkpoint_seconds=1000.0)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert f"on {other} devices" in said
    assert_same(tmp_path, finished)


def test_handlers_are_put_back_and_a_second_signal_ends_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with signals.Signals() as noted:
        os.kill(os.getpid(), signal.SIGTERM)
        assert noted.received == signal.SIGTERM
        with pytest.raises(signals.Interrupted) as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert stopped.value.code == 143
        with pytest.raises(signals.Interrupted):
            noted.stop_if_received()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_does_not_wait_for_the_program(tmp_path):
    words = ["train", "sac", "--env", "pendulum", "--seeds", "2", "--results", str(tmp_path), "--chunk-seconds", "900"]
    words += ["--steps", "1000000", "--eval-every", "500000", "--updates-per-step", "100"]
    log = tmp_path / "said"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", "from mbrl_jax.cli import main; main()", *words], stderr=said, stdout=said
        )
    try:
        until = time.monotonic() + 120
        while "as compiled" not in log.read_text() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        time.sleep(3.0)
        process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        assert process.poll() is None, log.read_text()  # in the midst of a chunk
        assert "stopping after this chunk" in log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def test_one_process_per_run(tmp_path):
    run = tiny.run()
    folder = tmp_path / "runs" / run.run_id(run.environment())
    with lock.Lock(folder):
        assert lock.held(folder)
        with pytest.raises(loop.BusyError, match=f"process {os.getpid()}"):
            loop.train(run, tmp_path, loop.Options(quiet=True))
    assert not lock.held(folder)
