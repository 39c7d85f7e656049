"""The executor ray, alone on this machine and with two nodes: workers are killed, a node leaves, nothing is lost."""

import os
import signal
import subprocess
import sys
import threading
import time

import chores
import pytest
import tiny
from test_executors import QUIET, carry_out, ended, same

from mbrl_jax.runner import work
from mbrl_jax.runner.executors import by_name
from mbrl_jax.runner.executors import ray as executors

ray = pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
# Ray's own processes are forked, and execute another program at once.
pytestmark = pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")


PLAIN = "import ray; ray.init(num_cpus=1, include_dashboard=False); assert ray.get(ray.remote(lambda: 1).remote()) == 1"


def executor_ray(root):
    """The executor; skipped only where Ray by itself, without anything of ours, cannot work either."""
    try:
        executor = by_name.make(by_name.Wanted("ray"), root)
    except Exception:
        try:
            subprocess.run([sys.executable, "-c", PLAIN], check=True, capture_output=True, text=True, timeout=120)
        except subprocess.SubprocessError as error:
            last = (str(getattr(error, "stderr", None) or error)).strip().splitlines()[-1:]
            pytest.skip(f"Ray cannot start a cluster on this machine: {' '.join(last)}")
        raise
    assert isinstance(executor, executors.Ray)
    return executor


def quiet_and_equal(monkeypatch):
    """No word to Ray's makers; and its workers wait for no other process of the tests, as by themselves they do."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes with two processors each; the second one can be removed."""
    from ray.cluster_utils import Cluster

    quiet_and_equal(monkeypatch)
    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20, "memory": 4 * 2**30}
    started = Cluster(initialize_head=True, head_node_args=head)
    started.second = started.add_node(num_cpus=2, object_store_memory=80 * 2**20, memory=4 * 2**30)
    monkeypatch.setenv("RAY_ADDRESS", started.address)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def alone(monkeypatch):
    """No cluster yet."""
    quiet_and_equal(monkeypatch)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    ray.shutdown()


def test_without_a_cluster_one_is_started_here_and_gives_the_same_bits_though_a_worker_is_killed(
    tmp_path, alone, finished
):
    executor = executor_ray(tmp_path)
    run, killed = work.jobs([tiny.run()])[0], []
    slow = chores.chore("killed", ["first"], seconds=1.0)
    jobs = [chores.chore("first"), slow, run, chores.chore("last", ["killed"])]

    def kill():
        while not killed:
            begun = [one for one in chores.notes(tmp_path) if one["job"] == "killed"]
            killed.extend(one["process"] for one in begun)
            time.sleep(0.02)
        os.kill(killed[0], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    endings = []
    summary = carry_out(jobs, tmp_path, executor, told=lambda outcome, job: endings.append(outcome.ending))
    assert list(ended(summary).values()) == ["done"] * 4 and sorted(endings) == ["done"] * 4 + ["lost"]
    assert same([tiny.run()], tmp_path, finished)


@pytest.mark.slow
def test_tasks_that_die_with_their_worker_are_done_again(tmp_path, cluster):
    executor = executor_ray(tmp_path)
    assert ray.cluster_resources()["CPU"] == 4
    jobs = [chores.chore(f"job {i}", seconds=0.2) for i in range(6)]
    jobs += [chores.chore("killed", seconds=2.0), chores.chore("last", [job.identity for job in jobs])]
    killed = []

    def kill(outcome, job):
        for one in chores.notes(tmp_path):
            if one["job"] == "killed" and not killed:
                killed.append(one["process"])
                os.kill(one["process"], signal.SIGKILL)

    summary = carry_out(jobs, tmp_path, executor, told=kill)
    assert ended(summary) == dict.fromkeys([job.identity for job in jobs], "done") and len(killed) == 1
    begun = [one["job"] for one in chores.notes(tmp_path) if one["event"] == "begun"]
    assert sorted(begun) == sorted([*(job.identity for job in jobs), "killed"])


@pytest.mark.slow
def test_a_sweep_ends_with_the_same_bits_though_a_worker_is_killed_and_a_node_is_removed(tmp_path, cluster):
    runs = [tiny.run(seeds=(i, 20 + i)) for i in range(14)]
    jobs, happened = work.jobs(runs), []
    executor = executor_ray(tmp_path)

    def disturb(outcome, job):
        """After the second job a worker is killed, after the fifth a node is removed."""
        happened.append(outcome.identity)
        if len(happened) == 2:
            os.kill(_working(tmp_path), signal.SIGKILL)
        if len(happened) == 5:
            cluster.remove_node(cluster.second, allow_graceful=False)

    summary = carry_out(jobs, tmp_path, executor, told=disturb)
    assert list(ended(summary).values()) == ["done"] * 14 and ray.cluster_resources()["CPU"] == 2
    here = by_name.make(by_name.Wanted("local", workers=2), tmp_path)
    carry_out(jobs, tmp_path / "local", here, QUIET)
    assert same(runs, tmp_path, tmp_path / "local")


def _working(root):
    """A process that holds a lease."""
    import json

    from mbrl_jax.runner.lock import held

    holders = [path.parent for path in (root / "jobs").glob("*/record.json") if held(path.parent)]
    return json.loads((holders[0] / "record.json").read_text())["process"]
