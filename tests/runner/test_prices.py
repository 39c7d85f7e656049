"""What jobs are thought to take is what they took: seconds and the most memory that a process had for them."""

import json
import shutil
import sys

import numpy as np
import psutil
import pytest
import tiny

from mbrl_jax import host, results
from mbrl_jax.jobs import How
from mbrl_jax.runner import costs, session, work
from mbrl_jax.runner.executors import attempt

MIB = 2**20


@pytest.fixture
def earlier(finished, tmp_path):
    """`earlier(job, manifest changes, peak of the record)`: a folder in which the job was done before."""

    def make(job, changes, peak=None, status="done"):
        folder = tmp_path / "runs" / job.identity
        shutil.copytree(finished / "runs" / job.identity, folder)
        facts = json.loads((folder / "manifest.json").read_text()) | changes
        facts = {name: value for name, value in facts.items() if value is not None}
        (folder / "manifest.json").write_text(json.dumps(facts))
        if peak is not None:
            (tmp_path / "jobs" / job.identity).mkdir(parents=True)
            record = {"status": status, "peak_memory": peak}
            (tmp_path / "jobs" / job.identity / "record.json").write_text(json.dumps(record))
        return tmp_path

    return make


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a process's peak")
def test_a_peak_is_of_what_comes_after_it_was_reset():
    host.reset_peak_memory()
    before = host.peak_memory()
    assert abs(before - psutil.Process().memory_info().rss) < 100 * MIB
    taken = np.ones(600 * MIB, np.uint8)
    assert host.peak_memory() > before + 500 * MIB
    del taken
    assert host.peak_memory() > before + 500 * MIB
    host.reset_peak_memory()
    assert host.peak_memory() < before + 300 * MIB


def test_a_run_records_the_most_memory_that_any_of_its_processes_took(finished, tmp_path):
    (job,) = work.jobs([tiny.run()])
    facts = results.manifest(finished, job.identity)
    assert facts["memory"] < facts["peak_memory"] < psutil.virtual_memory().total
    assert session._Clock({"peak_memory": 2**60}).facts()["peak_memory"] == 2**60  # of a process before
    assert attempt.attempt(job, tmp_path, How(quiet=True)).ending == "done"
    record = json.loads((tmp_path / "jobs" / job.identity / "record.json").read_text())
    assert 0.5 < record["peak_memory"] / results.manifest(tmp_path, job.identity)["peak_memory"] < 1.5


def test_memory_in_a_plan_is_what_was_measured_else_what_programs_take(earlier):
    (job,) = work.jobs([tiny.run()])
    root = earlier(job, {"peak_memory": 700 * MIB}, peak=900 * MIB)
    assert costs.prices([job], [root])[job.identity].memory == 700 * MIB


@pytest.mark.parametrize(("status", "measured"), [("done", True), ("failed", False)])
def test_a_job_without_a_peak_in_its_manifest_has_that_of_its_record(earlier, status, measured):
    (job,) = work.jobs([tiny.run()])
    root = earlier(job, {"peak_memory": None, "memory": 5 * MIB}, peak=900 * MIB, status=status)
    wanted = 900 * MIB if measured else costs.PROCESS_MEMORY + 5 * MIB
    assert costs.prices([job], [root])[job.identity].memory == wanted


def test_jobs_that_are_alike_are_thought_to_take_the_most_of_those_before(earlier):
    (job,) = work.jobs([tiny.run()])
    root = earlier(job, {"peak_memory": 700 * MIB, "machine": host.machine()})
    (longer,) = work.jobs([tiny.run(config=tiny.shorter(480), seeds=(8, 9))])
    found = costs.prices([longer], [root])[longer.identity]
    assert found.source == "alike" and found.memory == 700 * MIB


def test_what_was_never_done_takes_its_programs_and_a_process(tmp_path):
    (job,) = work.jobs([tiny.run()])
    found = costs.prices([job], [tmp_path])[job.identity]
    assert found.source == "operations" and job.cost.trace is not None
    assert found.memory == job.cost.trace().memory + costs.PROCESS_MEMORY
