"""What the documentation shows is so: its commands are accepted, and its Python runs, at tiny sizes."""

import dataclasses
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tyro

import mbrl_jax as mb
from mbrl_jax import cli, envs, results
from mbrl_jax.commands import artefacts, bench, compare, doctor, listing
from mbrl_jax.commands.plan import Plan
from mbrl_jax.commands.sweep import Sweep
from mbrl_jax.commands.train import parse, parse_as
from mbrl_jax.report.exchange import export_csv
from mbrl_jax.report.gather import gather
from mbrl_jax.runner import loop, run, setup, sweep

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "results" / "reference" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RUNNING = ROOT / "docs" / "running.md"


def blocks(page, *languages):
    """The fenced blocks of a page that are in one of the languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def commands():
    """The words after `mbrl` of every command in a block, and in the text of those that train or run artefacts."""
    blocked = [code.replace("\\\n", "") for page in PAGES for code in blocks(page, "", "bash")]
    lines = [line for code in blocked for line in code.split("\n") if re.match(r"(\.venv/bin/)?mbrl |make bench", line)]
    inline = r"`(mbrl (?:train|bench) [^`]*|make bench [^`]*)`"
    lines += [line for page in PAGES for line in re.findall(inline, page.read_text())]
    found = [" ".join(as_mbrl(shlex.split(line, comments=True))) for line in lines]
    return sorted({command for command in found if not re.search(r"\b[A-Z]+\b|…|<", command)})


def as_mbrl(words):
    """What follows `mbrl`, for `make bench VARIABLE=VALUE ...` too."""
    if words[0] != "make":
        return words[1:]
    given = dict(word.split("=", 1) for word in words[2:])
    return ["bench", given.get("ARTEFACTS", ""), "--profile", given.get("PROFILE", "laptop")]


class ReachedError(Exception):
    """Raised in place of training; holds the run."""


@pytest.fixture(autouse=True)
def nothing_is_configured(monkeypatch):
    """JAX runs already, with the settings of the tests."""
    monkeypatch.setattr(setup, "configure", lambda cpu_devices=None: None)


@pytest.fixture(scope="module")
def known():
    """The artefacts' names, from their files: importing them all takes longer than everything else here."""
    files = [file for file in (ROOT / "experiments").glob("*/*.py") if "\nARTEFACT = " in file.read_text()]
    return {f"{file.parent.name}/{file.stem}": file for file in files}


def train(words, tmp_path, monkeypatch, known):
    if "--help" in words:
        with pytest.raises(SystemExit) as stopped:
            parse(words[0], words[1:])
        assert stopped.value.code == 0
        return

    def stop(planned, *rest):
        raise ReachedError(planned)

    monkeypatch.setattr(loop, "train", stop)
    with pytest.raises(ReachedError) as reached:
        cli.main(["train", *words, "--results", str(tmp_path)])
    (planned,) = reached.value.args
    loop.record.schedule(planned, planned.build({}, planned.environment()))


def plan(words, tmp_path, monkeypatch, known):
    asked = tyro.cli(Sweep, args=words)
    (example,) = blocks(RUNNING, "toml")
    (tmp_path / "sweep.toml").write_text(example)
    file = ROOT / asked.file if (ROOT / asked.file).exists() else tmp_path / asked.file
    assert sweep.shard(sweep.blocks(sweep.read(file)), asked.shard)


def compile_for(words, tmp_path, monkeypatch, known):
    if not words[0].endswith(".toml"):
        parse_as(Plan, "mbrl plan", words[0], words[1:])


def run_artefacts(words, tmp_path, monkeypatch, known):
    assert artefacts.chosen(tyro.cli(bench.Bench, args=words).artefacts, known)


def only_parse(options):
    return lambda words, tmp_path, monkeypatch, known: tyro.cli(options, args=words)


def report(words, tmp_path, monkeypatch, known):
    assert (ROOT / tyro.cli(bench.Report, args=words).results).is_dir()


ACCEPT = {
    "train": train,
    "sweep": plan,
    "plan": compile_for,
    "bench": run_artefacts,
    "report": report,
    "compare": only_parse(compare.Compare),
    "list": only_parse(listing.List),
    "doctor": only_parse(doctor.Doctor),
}


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documentation_is_accepted(command, tmp_path, monkeypatch, known):
    words = shlex.split(command)
    ACCEPT[words[0]](words[1:], tmp_path, monkeypatch, known)


def test_commands_of_every_kind_are_found():
    assert {command.split()[0] for command in commands()} == set(ACCEPT)


def small(config):
    """The configuration with sizes that train in a second."""
    agent = dataclasses.replace(config.agent, hidden=(8,))
    return dataclasses.replace(config, steps=20, warmup_steps=8, steps_per_iteration=10, batch=4, agent=agent)


class Small(run.Run):
    """Whatever is asked for, at sizes that train in a second."""

    def __post_init__(self):
        for name, value in {"config": small(self.config), "eval_every": 10, "eval_episodes": 1}.items():
            object.__setattr__(self, name, value)
        super().__post_init__()


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Executes the Python of a page, or of what follows a heading, in an empty folder; the names it leaves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "Run", Small)

    def execute(page, after=""):
        names, text = {}, page.read_text()
        for i, code in enumerate(blocks(page, "python")):
            if text.index(code) > text.index(after):
                exec(compile(code, f"{page.name}, block {i + 1}", "exec"), names)
        return names

    return execute


def test_the_python_of_the_page_on_running_runs(executed, tmp_path):
    rows = [(seed, step, "eval/return_mean", float(step)) for seed in (0, 1) for step in (0, 10, 20)]
    published = results.pd.DataFrame(rows, columns=["seed", "env_step", "metric", "value"])
    facts = {"algorithm": "theirs", "env": "Pendulum-v1", "experiment": "theirs"}
    export_csv(published.assign(**facts), tmp_path / "published.csv")
    names = executed(RUNNING)
    assert (tmp_path / "mine.csv").is_file() and (tmp_path / "pendulum.gif").is_file()
    (section,) = gather(artefacts.others("results", {}), "results")
    (table,) = [block for block in section.blocks if hasattr(block, "frame")]
    assert set(table.frame["algorithm"]) == {*names["variants"], "theirs"} and not section.remarks


def test_the_python_of_the_page_on_design_runs(executed):
    """Its assertions are what the page says."""
    names = executed(ROOT / "docs" / "design.md")
    assert names["compilations"] and names["judge"](names["claim"], names["frame"]).n_seeds == 6


DREAMS = {"model_train_freq": 10, "epoch_length": 10, "rollout_batch": 8, "updates_per_step": 1, "batch": 20}
MODEL = {"hidden": (8,), "weight_decay": (1e-5, 1e-5), "members": 2, "elites": 1, "batch": 16, "max_epochs": 2}


def small_mbpo(config):
    """MBPO's configuration with such sizes."""
    model = dataclasses.replace(config.model, **MODEL)
    agent = dataclasses.replace(config.agent, hidden=(8,))
    return dataclasses.replace(config, steps=40, warmup_steps=40, model=model, agent=agent, **DREAMS)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(executed, monkeypatch):
    honest = mb.make_train, mb.make

    def make_train(algorithm, env, config):
        return honest[0](algorithm, env, small(config), eval_every=10, eval_episodes=1)

    def make(algorithm, env):
        return honest[1](algorithm, env, small_mbpo(mb.preset(algorithm, env.spec.name)))

    changed = {"make_train": make_train, "make": make, "Run": Small, "configure": lambda: None}
    for name, value in changed.items():
        monkeypatch.setattr(mb, name, value)
    names = executed(ROOT / "README.md")
    assert names["metrics"]["eval/return_mean"].shape == (3, 3)
    assert set(names["frame"]["seed"]) == set(range(8))
    assert names["state"].memory.size.value == 40 + 4 * 10 and "model/holdout_mse" in names["info"]


def rows_of_environments():
    """The rows of the page's tables of environments, as dictionaries by column, one per id."""
    head = []
    for line in (ROOT / "docs" / "environments.md").read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if "id" in cells and "limit" in cells:
            head = [cell.split()[0] if cell else cell for cell in cells]
        elif head and len(cells) == len(head) and "---" in cells:
            continue
        elif head and len(cells) == len(head):
            row = dict(zip(head, cells, strict=True))
            stem = row["id"].partition("-v")[0]
            for i, version in enumerate(row["id"].split(", ")):
                sizes = re.findall(r"\d+", row["obs"].partition(":")[0])
                yield {**row, "id": version if i == 0 else stem + version, "obs": sizes[min(i, len(sizes) - 1)]}
        else:
            head = []


def test_every_environment_has_a_row_that_says_what_it_is():
    rows = list(rows_of_environments())
    assert sorted(row["id"] for row in rows) == list(envs.names())
    for row in rows:
        spec = envs.make(row["id"], engine="mujoco" if "mujoco" in envs.engines(row["id"]) else None).spec
        assert (spec.obs_dim, spec.time_limit) == (int(row["obs"]), int(row["limit"])), row
        assert spec.action_dim == int(re.match(r"\d+", row["act"])[0]), row
        if bound := re.search(r", ±([\d.]+)$", row["act"]):
            assert {-low for low in spec.action_low} == set(spec.action_high) == {float(bound[1])}, row
        if row.get("dt", "–") != "–":
            assert spec.dt == pytest.approx(float(row["dt"])), row


def test_an_environment_of_ones_own_is_trained_on(executed, monkeypatch):
    planned = []
    monkeypatch.setattr(loop, "train", planned.append)
    env = executed(ROOT / "docs" / "environments.md", "## Your own")["env"]
    (mine,) = planned
    assert mine.environment() is env and mine.identity(env)["env"]["name"] == env.spec.name not in envs.names()
    assert loop.plan_run(mine, env, 1, loop.Options()).memory.lanes == 5  # traces all that training compiles
    before, action = env.reset(jax.random.key(0)), jnp.ones(1)
    after, transition = env.step(jax.random.key(1), before, action)
    assert transition.reward == env.reward(before.obs, action, after.obs) and transition.discount == 1


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    """Paths from the top or from inside the package; those with a placeholder or of other repositories are not ours."""
    tops = [ROOT, ROOT / "mbrl_jax"]
    inside = {path.name for top in tops for path in top.iterdir() if path.is_dir()}
    named = re.findall(r"`([a-z_]+/[\w/.-]*)`", page.read_text())
    ours = [name for name in named if name.split("/")[0] in inside]
    assert [name for name in ours if not any((top / name).exists() for top in tops)] == []


def test_files_are_named_by_pages():
    assert len(re.findall(r"`mbrl_jax/[\w/.-]*\.py`", "".join(page.read_text() for page in PAGES))) > 20
