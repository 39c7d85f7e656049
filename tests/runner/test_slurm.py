"""The executor slurm: submitit's own processes, and a real Slurm of one node where it can be installed."""

import shutil
import subprocess
from functools import partial
from pathlib import Path

import chores
import pytest
import tiny
from test_executors import carry_out, ended, same

from mbrl_jax.runner import work
from mbrl_jax.runner.executors import by_name, slurm
from mbrl_jax.runner.executors.setting import setting

submitit = pytest.importorskip("submitit", reason="submitit is not installed (extra slurm)")
STEPS = 400_000
"""Of a run of more than a minute."""
START = Path(__file__).parents[1] / "slurm" / "start.sh"


def test_jobs_are_processes_of_submitits_and_failures_are_told(tmp_path):
    executor = slurm.make(by_name.Wanted("slurm", minutes=5), tmp_path, setting(), cluster="local")
    jobs = [chores.chore("good"), chores.chore("bad", execute=chores.fail), chores.chore("next", ["good"])]
    summary = carry_out(jobs, tmp_path, executor)
    assert ended(summary) == {"good": "done", "bad": "failed", "next": "done"}
    assert summary.failed[0].reason == "RuntimeError: no luck"
    begun = {one["process"] for one in chores.notes(tmp_path) if one["event"] == "begun"}
    assert len(begun) == 2 and "no\nluck" in "".join(path.read_text() for path in tmp_path.glob("slurm/*/*.err"))


def test_a_time_limit_that_slurms_clock_does_not_resolve_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 3 minutes, got 2"):
        slurm.make(by_name.Wanted("slurm", minutes=2), tmp_path, setting(), cluster="local")


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch):
    """A Slurm of one node on this machine."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge (Debian), as root")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([START, folder], capture_output=True, text=True)
    if started.returncode:
        pytest.skip(f"Slurm does not start here: {started.stderr.strip()}")
    monkeypatch.setenv("SLURM_CONF", started.stdout.strip())
    yield folder
    subprocess.run([START, "--stop", folder], check=True)


@pytest.mark.slow
def test_a_job_at_its_time_limit_is_requeued_and_ends_with_the_same_bits(tmp_path, cluster):
    """The run takes more than a minute; after fifty seconds a process writes its checkpoint and is queued again."""
    run = tiny.run(config=tiny.shorter(STEPS), eval_every=STEPS // 10)
    (job,) = work.jobs([run])
    executor = by_name.make(by_name.Wanted("slurm", minutes=3), tmp_path)
    assert isinstance(executor, slurm.Slurm)
    executor._limit = 100.0
    summary = carry_out([job, chores.chore("beside")], tmp_path, executor)
    assert ended(summary) == {job.identity: "done", "beside": "done"}
    number = next(path.name for path in (tmp_path / "slurm").iterdir())
    log = "".join(path.read_text() for path in (tmp_path / "slurm" / number).glob("*.err"))
    assert "Caught signal SIGUSR2" in log, log
    work.perform([job], tmp_path / "here")
    assert same([run], tmp_path, tmp_path / "here")


@pytest.mark.slow
@pytest.mark.parametrize("deaf", [False, True], ids=["signalled", "cancelled"])
def test_a_job_beyond_its_time_limit_is_done_again(tmp_path, cluster, deaf):
    """Slurm signals it before its three minutes are over, and it is queued again; one that does not hear is cancelled.

    Whoever watches then hands it over anew.
    """
    executor = by_name.make(by_name.Wanted("slurm", minutes=3), tmp_path)
    assert isinstance(executor, slurm.Slurm)
    executor._limit = 3600.0
    summary = carry_out([chores.chore("late", execute=partial(chores.overdue, "late", deaf))], tmp_path, executor)
    assert ended(summary) == {"late": "done"}
    assert [one["event"] for one in chores.notes(tmp_path)] == ["begun", "begun", "done"]
    numbers = sorted(path.name for path in (tmp_path / "slurm").iterdir() if path.is_dir())
    accounts = [subprocess.run(["scontrol", "show", "job", n], capture_output=True, text=True).stdout for n in numbers]
    if deaf:
        assert len(numbers) == 2 and "JobState=TIMEOUT" in accounts[0]
    else:
        assert len(numbers) == 1 and "Restarts=1" in accounts[0]
