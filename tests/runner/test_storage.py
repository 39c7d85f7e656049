"""Results in object storage: runs, jobs, sweeps and reports at an address, from machines that see nothing else."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import chores
import numpy as np
import pandas as pd
import pytest
import tiny
from test_executors import QUIET, carry_out, ended, same

from mbrl_jax import cli, results, storage
from mbrl_jax.commands import artefacts
from mbrl_jax.jobs import How
from mbrl_jax.locks import BusyError
from mbrl_jax.report.artefact import Artefact
from mbrl_jax.runner import loop, setup, work
from mbrl_jax.runner.executors import attempt, by_name, ray, setting, slurm
from mbrl_jax.storage import lease

PLACE, OTHER = "s3://a-bucket/mine", "gs://a-bucket/mine"
OFTEN = loop.Options(chunk_seconds=0.0, checkpoint_seconds=0.0, quiet=True)
ONCE = loop.Options(quiet=True)
WORKER = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parents[2])!r}, {str(Path(__file__).parent)!r}]
from mbrl_jax.runner import setup
setup.configure(int(sys.argv[1]))
import tiny
from mbrl_jax.runner import loop
from mbrl_jax.storage import lease
lease.SECONDS = 3.0
loop.train(tiny.run(), {PLACE!r}, loop.Options(chunk_seconds=0.0, checkpoint_seconds=0.0, quiet=True))
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """`machine(name)` makes this process one that has nothing in common with others but the address."""

    def become(name):
        monkeypatch.setenv("MBRL_COPIES", str(tmp_path / name))
        return tmp_path / name

    return become


@pytest.fixture(autouse=True)
def configured(monkeypatch):
    """JAX runs already, with the settings of the tests."""
    monkeypatch.setattr(setup, "configure", lambda cpu_devices=None: None)


def stored(s3, end=""):
    """The keys in the bucket that end so, without the prefix."""
    return sorted(key.removeprefix("mine/") for key in list(s3.store.buckets["a-bucket"]) if key.endswith(end))


def status(s3, identity):
    found = s3.store.buckets["a-bucket"].get(f"mine/runs/{identity}/manifest.json")
    return None if found is None else json.loads(found.content)["status"]


@pytest.mark.parametrize("place", [PLACE, OTHER])
def test_a_run_at_an_address_is_read_from_any_machine(s3, machine, finished, place):
    run = tiny.run()
    machine("first")
    identity = loop.train(run, place, ONCE)
    folder = f"runs/{identity}"
    assert stored(s3) == [f"{folder}/{name}" for name in ("final/60.zip", "lease", "manifest.json", "metrics.parquet")]
    s3.store.requests.clear()
    assert loop.train(run, place, ONCE) == identity  # finished: nothing is done or written
    assert {command for command, _ in s3.store.requests} == {"GET"}
    machine("second")
    assert results.finished(place, identity) and results.manifest(place, identity)["status"] == "finished"
    assert same([run], finished, place)
    assert len(results.load(place)) == len(results.load(finished)) and len(results.manifests(place)) == 1
    machine("third")
    assert loop.train(run, place, ONCE) == identity and status(s3, identity) == "finished"


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_elsewhere_to_the_same_bits(s3, machine, finished, monkeypatch):
    import jax

    machine("first")
    identity = tiny.run().run_id(tiny.run().environment())
    words = [sys.executable, "-c", WORKER, str(jax.local_device_count())]
    with subprocess.Popen(words) as worker:
        while len(stored(s3, ".zip")) < 2:
            assert worker.poll() is None
            time.sleep(0.01)
        worker.kill()
    assert status(s3, identity) == "running"
    begun = max(int(Path(key).stem) for key in stored(s3, ".zip"))
    monkeypatch.setattr(lease, "SECONDS", 3.0)
    machine("second")
    with pytest.raises(BusyError, match="counts as dead after 3 s"):
        loop.train(tiny.run(), PLACE, OFTEN)
    assert attempt.state(work.job(tiny.run()), storage.located(PLACE)).status == "running"
    time.sleep(lease.SECONDS + 1.5)
    root = storage.located(PLACE)
    found = attempt.state(work.job(tiny.run()), root)
    assert found.status == "to resume" and found.step >= 4 * (begun - 1)
    steps = []
    loop.train(tiny.run(), PLACE, OFTEN._replace(sinks=(lambda step, means: steps.append(step),)))
    assert 0 < begun < 60 and steps[0] > 4 * (begun - 10)  # it went on, it did not begin anew
    assert same([tiny.run()], finished, PLACE) and stored(s3, ".zip") == [f"runs/{identity}/final/60.zip"]


def test_a_stopped_run_leaves_everything_at_the_address(s3, machine, finished):
    machine("first")
    (job,) = work.jobs([tiny.run()])
    stopped = attempt.attempt(job, storage.folder(PLACE), How(deadline=1.0, quiet=True))
    assert stopped.ending == "stopped" and status(s3, job.identity) == "interrupted"
    machine("second")
    root = storage.located(PLACE)
    assert attempt.state(job, root).status == "to resume"  # the lease was given back
    assert attempt.attempt(job, root, QUIET).ending == "done"
    assert same([tiny.run()], finished, PLACE)
    machine("third")
    assert attempt.state(job, storage.located(PLACE)).status == "done"


def test_a_job_that_another_machine_did_meanwhile_is_not_done_again(s3, machine, tmp_path):
    """The second machine looked before the first one began, and begins after it ended."""
    job = chores.chore("one", execute=partial(noted, tmp_path, "one"))
    machine("first")
    first = storage.folder(PLACE)
    machine("second")
    second = storage.located(PLACE)
    assert attempt.attempt(job, first, QUIET).ending == "done"
    assert attempt.attempt(job, second, QUIET).ending == "done"
    assert [one["event"] for one in chores.notes(tmp_path)] == ["begun"]


def test_two_executors_on_two_machines_never_do_a_job_twice(s3, machine, tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_jax.runner.executors.schedule.REFRESH_SECONDS", 0.2)
    jobs = [chores.chore(f"job{i}", seconds=0.05, execute=partial(noted, tmp_path, f"job{i}")) for i in range(12)]
    jobs += [chores.chore("last", [job.identity for job in jobs], execute=partial(noted, tmp_path, "last"))]
    roots = []
    for name in ("first", "second"):
        machine(name)
        roots.append(storage.folder(PLACE))
    assert roots[0] != roots[1]
    found = []
    threads = [threading.Thread(target=lambda root=root: found.append(carry_out(jobs, root))) for root in roots]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    begun = [one["job"] for one in chores.notes(tmp_path)]
    assert sorted(begun) == sorted(job.identity for job in jobs)
    assert len(found) == 2 and all(one.failed == [] for one in found)
    assert min(len(one.outcomes) for one in found) > 1  # both worked
    machine("third")
    assert {attempt.state(job, storage.located(PLACE)).status for job in jobs} == {"done"}


def noted(notes, name, root, how):
    chores.note(notes, name, "begun")
    time.sleep(0.05)


def test_a_job_reads_what_others_made_elsewhere_and_adds_to_it(s3, machine):
    """As films do: they read a run's final state, and keep their frames with the run."""
    machine("first")
    identity = loop.train(tiny.run(), PLACE, ONCE)
    machine("second")
    film = chores.chore("film", [identity], execute=partial(filmed, identity))
    assert attempt.attempt(film, storage.folder(PLACE), QUIET).ending == "done"
    machine("third")
    assert results.arrays(PLACE, identity)["frames"].tolist() == [1.0, 2.0]
    assert stored(s3, ".zip") == [f"runs/{identity}/final/60.zip"]


def filmed(identity, root, how):
    loop.final_state(tiny.run(), root)
    table, facts = results.load_run(root, identity), results.manifest(root, identity)
    results.save(root, identity, table, facts, {"frames": np.array([1.0, 2.0])})


@pytest.mark.parametrize("cluster", ["ray", "slurm"])
def test_a_node_of_a_cluster_has_a_copy_of_its_own(s3, machine, tmp_path, cluster):
    """What executors hand to a node names the address, not the folder of the machine that plans."""
    machine("head")
    job = chores.chore("far", execute=partial(noted, tmp_path, "far"))
    packed, place = pickle.dumps(setting.setting()), storage.place(storage.folder(PLACE))
    work_there = partial(ray._do, packed, pickle.dumps(job), place, QUIET)
    if cluster == "slurm":
        work_there = slurm.Call(packed, pickle.dumps(job), place, QUIET, 3600.0)
    node = machine("node")
    assert attempt.Outcome(*work_there()).ending == "done"
    assert [path.parent.name for path in node.glob("*/jobs/*/record.json")] == ["far"]
    machine("head")
    assert attempt.state(job, storage.located(PLACE)).status == "done"


def test_what_could_not_be_published_is_published_by_the_next_call(s3, machine, finished):
    machine("first")
    identity = tiny.run().run_id(tiny.run().environment())
    s3.store.refuse = lambda command, key: command == "PUT" and "manifest" in key
    with pytest.raises(OSError, match=rf"^{PLACE} could not be written"):
        loop.train(tiny.run(), PLACE, OFTEN._replace(checkpoint_seconds=100.0))
    assert status(s3, identity) is None
    s3.store.refuse = None
    iterations = []
    loop.train(tiny.run(), PLACE, OFTEN._replace(sinks=(lambda step, means: iterations.append(step),)))
    assert status(s3, identity) == "finished" and iterations == []
    machine("second")
    assert same([tiny.run()], finished, PLACE)


def test_a_run_removed_at_the_address_is_done_again(s3, machine):
    machine("first")
    run = tiny.run(config=tiny.shorter(80))
    identity = loop.train(run, PLACE, ONCE)
    for key in stored(s3):
        del s3.store.buckets["a-bucket"][f"mine/{key}"]
    assert results.manifests(PLACE).empty
    loop.train(run, PLACE, ONCE)
    assert status(s3, identity) == "finished"


def test_a_damaged_checkpoint_at_the_address_is_told(s3, machine):
    machine("first")
    identity = loop.train(tiny.run(config=tiny.shorter(80)), PLACE, ONCE)
    key = f"mine/runs/{identity}/final/20.zip"
    content = s3.store.buckets["a-bucket"][key].content
    s3.store.put("a-bucket", key, content[:500] + bytes(100) + content[600:])
    machine("second")
    with pytest.raises(OSError, match="must come as it was packed"):
        loop.final_state(tiny.run(config=tiny.shorter(80)), PLACE)


SWEEP = """
name = "far"
algorithms = ["sac"]
envs = ["probe-match"]
seeds = 2
eval_every = 40
[set]
steps = 80
warmup_steps = 20
steps_per_iteration = 4
batch = 8
replay_capacity = 100
agent.hidden = [8]
[sweep]
updates_per_step = [1, 2]
"""


def command(*words):
    with pytest.raises(SystemExit) as left:
        cli.main(list(map(str, words)))
    return left.value.code


def test_commands_work_at_an_address(s3, machine, tmp_path, capsys):
    (tmp_path / "far.toml").write_text(SWEEP)
    machine("first")
    assert command("sweep", "run", tmp_path / "far.toml", "--results", PLACE, "--quiet") == 0
    assert "2 of 2 blocks done" in capsys.readouterr().out
    machine("second")
    assert command("sweep", "status", tmp_path / "far.toml", "--results", PLACE) == 0
    assert "2 of 2 blocks done (2 done)" in capsys.readouterr().out
    copies = machine("third")
    assert command("report", "--results", PLACE) == 0
    said = capsys.readouterr().out
    assert f"{PLACE}/report/index.html" in said and "report/index.html" in stored(s3)
    assert b"sweep/far" in s3.store.buckets["a-bucket"]["mine/report/index.html"].content
    shutil.rmtree(copies)
    assert command("compare", PLACE, PLACE, "--out", tmp_path / "comparison") == 0
    assert (tmp_path / "comparison" / "index.html").is_file()


def test_a_bench_at_an_address_is_done_once_and_reported_there(s3, machine, capsys, monkeypatch):
    runs = [tiny.run(experiment="paper/figure", config=tiny.shorter(80), seeds=(i,)) for i in range(2)]
    jobs = work.jobs(runs)
    one = Artefact(
        name="paper/figure", title="Figure", paper="none", jobs=lambda profile: jobs, blocks=lambda frame: ()
    )
    monkeypatch.setattr(artefacts, "discover", lambda folder: ({one.name: one}, {}))
    machine("first")
    assert command("bench", "--results", PLACE) == 0
    assert "[2/2] paper/figure" in capsys.readouterr().err and "report/index.html" in stored(s3)
    machine("second")
    assert command("bench", "--plan", "--results", PLACE) == 0
    assert "2 jobs, 2 done" in capsys.readouterr().out
    s3.store.requests.clear()
    assert command("bench", "--results", PLACE) == 0
    assert not [key for word, key in s3.store.requests if word == "PUT" and key.startswith("mine/runs")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "sac", "--env", "probe-match", "--results", "s3://no-such-bucket/x"), "there is no such bucket"),
        (
            ("report", "--results", "ftp://a-bucket/x"),
            "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, got 'ftp://a-bucket/x'",
        ),
        (("bench", "--plan", "--results", "s3://no-such-bucket"), "there is no such bucket"),
        (("compare", "s3://no-such-bucket", "results"), "there is no such bucket"),
    ],
)
def test_an_address_that_does_not_answer_is_said_before_any_work(s3, words, said, capsys):
    assert command(*words) in (1, 2)
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first.startswith(f"mbrl {words[0]}: ") and said in first and "MBRL_TRACEBACK" in second


@pytest.mark.slow
def test_local_workers_at_an_address_give_the_same_bits_also_where_one_is_killed(s3, machine, tmp_path):
    root = machine("first") and storage.folder(PLACE)
    runs = [tiny.run(seeds=(i, 10 + i)) for i in range(4)]
    jobs, killed = work.jobs(runs), []
    executor = by_name.make(by_name.Wanted("local", workers=2), root)

    def kill(outcome, job):
        if not killed:
            killed.append(executor.processes[0])
            os.kill(killed[0], signal.SIGKILL)

    summary = carry_out(jobs, root, executor, told=kill)
    assert list(ended(summary).values()) == ["done"] * 4 and len(killed) == 1
    work.perform(jobs, tmp_path / "here", QUIET)
    machine("second")
    assert same(runs, PLACE, tmp_path / "here")
    pd.testing.assert_index_equal(results.manifests(PLACE).index, pd.RangeIndex(4))
