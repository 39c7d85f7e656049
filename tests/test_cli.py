"""The command line: what it prints, what it refuses, and that one artefact's failure stops no other."""

import subprocess
import sys
import time

import pandas as pd
import pytest

from mbrl_jax import cli, results
from mbrl_jax.commands import artefacts, bench, priced
from mbrl_jax.jobs import Cost, Job
from mbrl_jax.report.artefact import Artefact, Text
from mbrl_jax.runner import costs, setup
from mbrl_jax.runner.executors import attempt


@pytest.fixture(autouse=True)
def configured(monkeypatch):
    """JAX runs already, with the settings of the tests."""
    monkeypatch.setattr(setup, "configure", lambda cpu_devices=None: None)


def call(*words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    return stopped.value.code


def test_help_lists_the_commands_and_imports_nothing_heavy():
    code = "import sys; from mbrl_jax.cli import main\ntry: main(['--help'])\nfinally: print('jax' in sys.modules)"
    began = time.monotonic()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert time.monotonic() - began < 10  # a hundredth of it where the machine is idle
    assert all(command in said for command in cli.COMMANDS)
    assert said.strip().endswith("False")


@pytest.mark.parametrize(
    "words, message",
    [
        (("bnech",), "did you mean 'bench'"),
        (("train", "mpbo", "--env", "hopper"), "did you mean 'mbpo'"),
        (("train", "mbpo", "--env", "hoper"), "did you mean 'hopper'"),
        (("bench", "mbpo/figure22"), "did you mean 'mbpo/figure2'"),
        (("sweep", "plan", "missing.toml"), "No such file"),
        (("train", "sac", "--env", "pendulum", "--devices", "99"), "devices must lie between"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, message, capsys, monkeypatch):
    known = {"mbpo/figure2": artefact("mbpo/figure2")}
    monkeypatch.setattr(artefacts, "discover", lambda folder: (known, {}))
    assert call(*words) in (1, 2)
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_every_hyper_parameter_is_an_option_with_its_source_and_preset(capsys):
    assert call("train", "mbpo", "--env", "hopper", "--help") == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--rollout-schedule" in said and "20 150 1 15" in said
    assert "--agent.target-entropy" in said and "--model.weight-decay" in said
    assert "(Janner et al. 2019, Table 1" in said


def test_train_sets_nested_fields_and_stores_the_run(tmp_path, capsys):
    words = "train sac --env probe-action --seeds 2 --first-seed 3 --steps 20 --warmup-steps 8 --steps-per-iteration 10"
    words += " --batch 4 --agent.hidden 8 --agent.gamma 0.9 --eval-every 10 --eval-episodes 1 --quiet --name mine"
    assert call(*words.split(), "--results", str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "seed 3: return" in said and "seed 4: return" in said
    (facts,) = results.manifests(tmp_path).to_dict("records")
    assert facts["experiment"] == "mine" and facts["status"] == "finished" and facts["seeds"] == [3, 4]
    assert facts["config"]["agent"]["hidden"] == [8] and facts["config"]["agent"]["gamma"] == 0.9
    (section,) = artefacts.others(tmp_path, {})
    figure, table = section.blocks(results.load(tmp_path))
    assert section.name == "mine" and len(figure.panels) == 1 and list(table.frame["seeds"]) == [2]


def artefact(name, do=lambda profile, root: None, **others):
    """An artefact of one job, `do(profile, root)`."""

    def jobs(profile):
        identity = f"{name.replace('/', '-')}-{profile}"
        return [Job(identity, name, name, (), Cost(), lambda root, how: do(profile, root), run=False)]

    return Artefact(name=name, title=name, paper="none", jobs=jobs, blocks=lambda frame: [Text("drawn")], **others)


def store(profile, root):
    facts = {"experiment": "a/good", "algorithm": "x", "env": "e", "seeds": [0], "status": "finished"}
    frame = pd.DataFrame({"seed": [0], "env_step": [0], "metric": ["m"], "value": [1.0]})
    results.save(root, "r", frame, {**facts, "profile": profile, "compile_seconds": 2.5, "run_seconds": 4.5})


def test_one_failing_artefact_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    def broken(profile, root):
        raise RuntimeError("no luck")

    known = {"a/bad": artefact("a/bad", broken), "a/good": artefact("a/good", store)}
    monkeypatch.setattr(artefacts, "discover", lambda folder: (known, {"b/unreadable": "Traceback\nSyntaxError: oops"}))
    assert call("bench", "--profile", "smoke", "--results", str(tmp_path)) == 1
    shown = capsys.readouterr()
    assert "FAILED RuntimeError: no luck" in shown.out and "FAILED SyntaxError: oops" in shown.out
    assert "a/good" in shown.out and "2.5" in shown.out and "4.5" in shown.out
    assert "2 of 3 artefacts failed: a/bad, b/unreadable" in shown.err
    assert (tmp_path / "report" / "index.html").is_file() and "report: " in shown.out
    assert call("bench", "a/good", "--profile", "smoke", "--results", str(tmp_path)) == 0
    assert call("bench", "a", "--profile", "smoke", "--results", str(tmp_path)) == 1


def test_an_artefact_that_is_too_long_for_a_profile_runs_when_named(tmp_path, capsys, monkeypatch):
    ran = []

    def run(profile, root):
        return ran.append(profile)

    monkeypatch.setattr(
        artefacts, "discover", lambda folder: ({"a/long": artefact("a/long", run, on_request=("smoke",))}, {})
    )
    where = ("--results", str(tmp_path))
    assert call("bench", "--profile", "smoke", *where) == 0 and ran == []
    assert "(or --all, or --budget): a/long" in capsys.readouterr().err
    assert call("bench", "a/long", "--profile", "smoke", *where) == 0
    assert call("bench", "a", "--profile", "smoke", *where) == 0
    assert call("bench", "--profile", "laptop", *where) == 0
    assert ran == ["smoke", "laptop"]  # what is done is not done again


@pytest.fixture
def papers(monkeypatch):
    """Artefacts of which the last is a headline, and what they have done, in order."""
    ran = []

    def one(name, **others):
        return artefact(name, lambda profile, root: ran.append(name), **others)

    known = [one("a/long", on_request=("smoke",)), one("a/plain"), one("b/headline", headline=True)]
    monkeypatch.setattr(artefacts, "discover", lambda folder: ({each.name: each for each in known}, {}))
    return ran


def test_a_plan_shows_headlines_first_and_what_is_done_and_does_nothing(tmp_path, capsys, papers):
    words = ("bench", "--profile", "smoke", "--results", str(tmp_path), "--all")
    assert call(*words, "--plan") == 0 and papers == [] and list(tmp_path.iterdir()) == []
    said = capsys.readouterr().out
    assert said.index("b/headline") < said.index("a/plain") < said.index("a/long")
    assert "3 jobs, 0 done" in said and said.count("not begun") == 3
    assert call(*words) == 0 and papers == ["b/headline", "a/plain", "a/long"]
    capsys.readouterr()
    assert call(*words, "--plan") == 0
    assert "3 jobs, 3 done; those that are left take about 0 s" in capsys.readouterr().out


def test_a_budget_leaves_the_rest_for_the_next_call_which_goes_on(tmp_path, capsys, papers, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(bench.time, "time", lambda: clock[0])
    monkeypatch.setattr(costs, "prices", lambda jobs, folders: {job.identity: costs.Price(50.0) for job in jobs})
    words = ("bench", "--profile", "smoke", "--results", str(tmp_path), "--budget", "100s")
    honest = attempt.attempt

    def slow(job, root, how):
        clock[0] += 50
        return honest(job, root, how)

    monkeypatch.setattr("mbrl_jax.runner.executors.here.attempt", slow)
    assert call(*words) == 0 and papers == ["b/headline"]
    said = capsys.readouterr().out
    assert "left for another call: 2 jobs, about 2 min" in said and "1 of 1 jobs are left" in said
    assert call(*words) == 0 and papers == ["b/headline", "a/plain"]
    assert call(*words) == 0 and papers == ["b/headline", "a/plain", "a/long"]
    said = capsys.readouterr()
    assert "left for another call" not in said.out.rpartition("artefact")[2]
    assert "1 of 3 jobs were done before\n" in said.err and "[2/3] a/plain" in said.err
    assert "2 of 3 jobs were done before\n" in said.err and "[3/3] a/long" in said.err


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600), ("90m", 5400), ("45s", 45), ("1h30m", 5400), ("0.5h", 1800)]
)
def test_times_are_read(text, seconds):
    assert priced.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1d", "-1h", "30m1h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="a budget must be a time such as 1h"):
        priced.seconds_of(text)


def test_artefacts_are_found_and_named_after_their_modules():
    known, broken = artefacts.discover()
    assert not broken
    assert "mbpo/figure2" in known and list(known) == [each.name for each in known.values()]
    assert artefacts.chosen(["mbpo"], known) == [known[name] for name in known if name.startswith("mbpo/")]


OWN = """
from experiments.shared import TITLE
from mbrl_jax.jobs import Cost, Job
from mbrl_jax.report.artefact import Artefact, Text

NAMES = {"name": "lab/one", "title": TITLE, "paper": "ours"}
ARTEFACT = Artefact(**NAMES, jobs=lambda _: (), blocks=lambda frame: [Text("drawn")])
"""


@pytest.fixture
def fresh(monkeypatch):
    """No folder of experiments has been imported yet."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "experiments"}
    for name in before:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "experiments"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_experiments_of_ones_own_are_run_from_their_folder(tmp_path, capsys, fresh):
    folder = tmp_path / "whatever"
    for name, text in {"__init__": "", "shared": 'TITLE = "Our table"', "lab/__init__": "", "lab/one": OWN}.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    where = ("--experiments", str(folder))
    assert call("list", "artefacts", *where) == 0
    assert capsys.readouterr().out.split("\n")[1] == "  lab/one  Our table (ours)"
    assert call("bench", "lab/one", "--profile", "smoke", "--results", str(tmp_path / "results"), *where) == 0
    assert "Our table" in (tmp_path / "results" / "report" / "index.html").read_text()
    assert call("list", "artefacts") == 2
    assert "one folder of experiments can be used in a process" in capsys.readouterr().err


def test_a_folder_of_experiments_is_a_package(tmp_path, capsys, fresh):
    assert call("list", "artefacts", "--experiments", str(tmp_path)) == 2
    assert "must be a Python package" in capsys.readouterr().err


def test_sweep_plan_run_and_status(tmp_path, capsys):
    text = 'algorithms = ["sac"]\nenvs = ["probe-action"]\nseeds = 2\neval_every = 10\neval_episodes = 1\n'
    text += "[set]\nsteps = 20\nwarmup_steps = 8\nsteps_per_iteration = 10\nbatch = 4\nagent.hidden = [8]\n"
    (tmp_path / "s.toml").write_text(text + "[sweep]\nagent.tau = [0.01, 0.1]\n")
    here = [str(tmp_path / "s.toml"), "--results", str(tmp_path), "--quiet"]
    assert call("sweep", "plan", *here) == 0
    assert "1 blocks, 4 lanes" in capsys.readouterr().out
    assert call("sweep", "status", *here) == 0
    assert "not begun" in capsys.readouterr().out
    assert call("sweep", "run", *here) == 0
    assert "1 of 1 blocks done (1 done)" in capsys.readouterr().out
    labels = results.load(tmp_path, experiment="sweep/s")["algorithm"].unique()
    assert sorted(labels) == ["sac[agent.tau=0.01]", "sac[agent.tau=0.1]"]
    assert call("sweep", "run", *here, "--shard", "2/2") == 0
    assert "0 of 0 blocks" in capsys.readouterr().out
