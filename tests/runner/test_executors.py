"""Executors: jobs in order, each once whoever works beside, lost ones again, the same bits wherever they are done."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import chores
import pandas as pd
import pytest
import tiny

from mbrl_jax import results
from mbrl_jax.jobs import How
from mbrl_jax.runner import costs, lock, work
from mbrl_jax.runner.costs import Price
from mbrl_jax.runner.executors import attempt, by_name, here, local, schedule, setting

QUIET = How(quiet=True)
ALONE = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import chores
from mbrl_jax.jobs import How
from mbrl_jax.runner.executors import attempt
print("ready", flush=True)
print(attempt.attempt(chores.chore("long", seconds=float(sys.argv[3])), Path(sys.argv[2]), How()).ending)
"""


def carry_out(jobs, root, executor=None, how=QUIET, **more):
    return schedule.carry_out(jobs, root, executor or here.Here(), how, **more)


def ended(summary):
    return {name: one.ending for name, one in summary.outcomes.items()}


def test_jobs_come_after_what_they_need_and_are_done_once(tmp_path):
    jobs = [chores.chore("a"), chores.chore("b", ["a"]), chores.chore("c", ["a", "b"])]
    assert ended(carry_out(jobs, tmp_path)) == {"a": "done", "b": "done", "c": "done"}
    again = carry_out(jobs, tmp_path)
    assert again.outcomes == {} and again.before == 3
    assert [one["job"] for one in chores.notes(tmp_path) if one["event"] == "begun"] == ["a", "b", "c"]


def test_what_fails_is_told_and_blocks_only_what_needs_it(tmp_path):
    bad = chores.chore("bad", execute=chores.fail)
    jobs = [bad, chores.chore("needs it", ["bad"]), chores.chore("next", ["needs it"]), chores.chore("free")]
    summary = carry_out(jobs, tmp_path)
    assert ended(summary) == {"bad": "failed", "free": "done"}
    assert [job.identity for job in summary.blocked] == ["needs it", "next"]
    found = attempt.state(bad, tmp_path)
    assert (found.status, found.reason) == ("failed", "RuntimeError: no luck")
    assert attempt.state(jobs[1], tmp_path).status == "not begun"
    assert ended(carry_out([chores.chore("bad")], tmp_path)) == {"bad": "done"}  # tried again when asked again


def test_two_executors_at_once_never_do_a_job_twice(tmp_path):
    """Locks are of open files: two threads stand for two processes."""
    jobs = [chores.chore(f"job {i}", seconds=0.02) for i in range(30)]
    jobs += [chores.chore("last", [job.identity for job in jobs])]
    found = []
    threads = [threading.Thread(target=lambda: found.append(carry_out(jobs, tmp_path))) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    begun = [one["job"] for one in chores.notes(tmp_path) if one["event"] == "begun"]
    assert sorted(begun) == sorted(job.identity for job in jobs)
    assert len(found) == 3 and all(attempt.done(job, tmp_path) for job in jobs)


def test_a_lease_is_taken_over_after_its_holders_death_and_only_then(tmp_path):
    words = [sys.executable, "-c", ALONE, str(Path(__file__).parent), str(tmp_path), "600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        while not chores.notes(tmp_path):
            time.sleep(0.05)
        job = chores.chore("long")
        holder.send_signal(signal.SIGSTOP)  # not dead: it may go on at any moment
        assert attempt.attempt(job, tmp_path, QUIET).ending == "busy"
        assert attempt.state(job, tmp_path).status == "running"
        finishing = threading.Thread(target=carry_out, args=([job], tmp_path))
        finishing.start()
        finishing.join(2.5)
        assert finishing.is_alive() and len(chores.notes(tmp_path)) == 1
        killed = time.time()
        holder.kill()
        finishing.join(30)
    begun = [one for one in chores.notes(tmp_path) if one["event"] == "begun"]
    assert [one["process"] for one in begun] == [holder.pid, os.getpid()] and begun[1]["time"] > killed
    assert attempt.state(job, tmp_path).status == "done"


def test_seeds_that_diverged_are_told_of(tmp_path, finished):
    (job,) = work.jobs([tiny.run()])
    facts, table = results.manifest(finished, job.identity), results.load_run(finished, job.identity)
    results.save(tmp_path, job.identity, table, {**facts, "diverged": {"SAC/3": 80}})
    found = attempt.state(job, tmp_path)
    assert (found.status, found.diverged, found.reason, found.over) == ("diverged", 1, "SAC/3 at step 80", True)


class Fake:
    """An executor with a number of places whose jobs end when they are waited for."""

    def __init__(self, places=1, endings=()):
        self.places, self.under_way, self.started, self.endings = places, [], [], list(endings)
        self.closed = False

    def room(self, price):
        return len(self.under_way) < self.places

    def start(self, job, root, how, price):
        self.under_way.append(job.identity)
        self.started.append(job.identity)

    def wait(self, seconds):
        ending = self.endings.pop(0) if self.endings else "done"
        return [attempt.Outcome(self.under_way.pop(0), ending)]

    def close(self):
        self.closed = True


def test_within_a_budget_what_does_not_fit_is_left_and_what_fits_is_done(tmp_path):
    long, short = chores.chore("long"), chores.chore("short")
    needs, resumes = chores.chore("needs", ["long"]), chores.chore("resumes")._replace(resumes=True)
    prices = dict.fromkeys(("long", "resumes"), Price(5000.0)) | dict.fromkeys(("short", "needs"), Price(10.0))
    executor = Fake()
    within = How(deadline=time.time() + 100)
    summary = carry_out([long, needs, short, resumes], tmp_path, executor, within, prices=prices)
    assert executor.started == ["short", "resumes"] and executor.closed
    assert [job.identity for job in summary.left] == ["long", "needs"]
    assert not schedule.fits(resumes, Price(5000.0), 1.0) and schedule.fits(resumes, Price(0.5), 1.0)


def test_a_job_whose_worker_dies_is_done_again_but_not_for_ever(tmp_path):
    executor = Fake(endings=["lost", "lost", "done"])
    assert ended(carry_out([chores.chore("a")], tmp_path, executor)) == {"a": "done"}
    assert executor.started == ["a"] * 3
    executor = Fake(endings=["lost"] * 9)
    summary = carry_out([chores.chore("a"), chores.chore("b", ["a"])], tmp_path, executor)
    assert ended(summary) == {"a": "lost"} and len(executor.started) == schedule.ATTEMPTS
    assert [one.identity for one in summary.failed] == ["a"] and len(summary.blocked) == 1


def test_jobs_that_are_held_elsewhere_are_waited_for_after_the_others(tmp_path):
    executor = Fake(endings=["busy", "done", "done"])
    assert ended(carry_out([chores.chore("a"), chores.chore("b")], tmp_path, executor)) == {"b": "done", "a": "done"}
    assert executor.started == ["a", "b", "a"]  # nobody held it any more


def test_a_thousand_jobs_are_planned_and_followed_in_seconds_and_in_little_memory(tmp_path):
    """Seconds are this process's own, so that what else the machine does is no part of them."""
    run = tiny.run(config=tiny.shorter(80))
    began = time.process_time()
    jobs = work.jobs(tiny.run(config=tiny.shorter(80), seeds=(i,)) for i in range(1000))
    prices = costs.prices(jobs, [tmp_path])
    planned = time.process_time() - began
    assert len(prices) == 1000 and all(one.seconds and one.memory for one in prices.values())
    table = pd.DataFrame({"seed": [0], "env_step": [0], "metric": ["m"], "value": [1.0]})
    facts = {"experiment": run.experiment, "algorithm": "SAC", "env": "e", "seeds": [0], "status": "running"}
    written = (results.save(tmp_path, "one", table, facts) / "manifest.json").read_text()
    for job in jobs:
        folder = tmp_path / "runs" / job.identity
        folder.mkdir()
        (folder / "manifest.json").write_text(written.replace('"one"', f'"{job.identity}"'))
    began = time.process_time()
    states = [attempt.state(job, tmp_path) for job in jobs]
    followed = time.process_time() - began
    assert {one.status for one in states} == {"to resume"}
    assert planned < 5 and followed < 2, f"planned in {planned:.1f} s, followed in {followed:.1f} s"
    tracemalloc.start()
    carry_out(jobs, tmp_path, Fake(places=4))
    assert tracemalloc.get_traced_memory()[1] / len(jobs) < 4096
    tracemalloc.stop()


def test_a_file_system_whose_locks_do_not_hold_is_refused(tmp_path, monkeypatch):
    attempt.check_locks(tmp_path)
    assert list((tmp_path / "jobs").iterdir()) == []
    monkeypatch.setattr("fcntl.flock", lambda file, operation: None)
    with pytest.raises(OSError, match="must be on a file system with locks"):
        attempt.check_locks(tmp_path)


def same(runs, root, other):
    """Whether runs have the same final state and the same metrics in two folders, bit for bit."""
    for run in runs:
        assert tiny.final_bytes(run, root) == tiny.final_bytes(run, other)
        identity = run.run_id(run.environment())
        pd.testing.assert_frame_equal(
            results.load_run(root, identity), results.load_run(other, identity), check_exact=True
        )
    return True


def test_a_local_worker_gives_the_same_bits(tmp_path, finished):
    executor = by_name.make(by_name.Wanted("local", workers=1), tmp_path)
    assert isinstance(executor, local.Local)
    assert set(ended(carry_out(work.jobs([tiny.run()]), tmp_path, executor)).values()) == {"done"}
    assert same([tiny.run()], tmp_path, finished) and executor.processes == []


@pytest.mark.slow
def test_local_workers_give_the_same_bits_also_where_one_is_killed(tmp_path):
    """The first run that has a checkpoint loses its worker in the midst; another one takes it from there."""
    runs = [tiny.run(config=tiny.shorter(800), seeds=(i, 10 + i)) for i in range(2)]
    jobs = work.jobs(runs)
    executor = by_name.make(by_name.Wanted("local", workers=2), tmp_path)
    assert isinstance(executor, local.Local)
    endings, killed = [], []

    def kill():
        while not killed:
            for job in jobs:
                folder = tmp_path / "runs" / job.identity
                saved = [each for each in folder.glob("checkpoints/*") if each.name.isdigit()]
                if saved and not killed and lock.held(folder):
                    killed.append(int((folder / "lock").read_text().split()[1]))
                    os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.005)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    often = How(checkpoint_seconds=0.0, quiet=True)
    summary = carry_out(jobs, tmp_path, executor, often, told=lambda outcome, job: endings.append(outcome.ending))
    assert list(ended(summary).values()) == ["done"] * 2
    assert sorted(endings) == ["done", "done", "lost"] and len(killed) == 1
    assert killed[0] not in [json.loads(path.read_text())["process"] for path in tmp_path.glob("jobs/*/record.json")]
    work.perform(jobs, tmp_path / "here", QUIET)
    assert same(runs, tmp_path, tmp_path / "here")


def test_workers_have_as_many_devices_as_the_process_that_plans():
    import jax

    assert setting.setting().devices == jax.local_device_count()
