"""Bad input of every kind that was tried: refused in one line, with the rule and the value, before anything compiles.

What looks bad and is accepted stands here too, each with its reason.
"""

import ast
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import mbrl_jax
from mbrl_jax import cli, results
from mbrl_jax.agents import a2c, latent, sac_svg, td3
from mbrl_jax.agents import sac as soft
from mbrl_jax.algorithms import Entry, alm, dam, mbpo, sac
from mbrl_jax.checks import check_fields
from mbrl_jax.models import discriminator, ensemble, fitting, mixture
from mbrl_jax.report.build import build
from mbrl_jax.runner import loop, progress, record, session, setup, sweep
from mbrl_jax.runner.run import Run

CONFIG = sac.Config(steps=1_000)


def run(**changes):
    facts = {"experiment": "test", "algorithm": "SAC", "method": "sac", "config": CONFIG, "env": "probe-match-v0"}
    return Run(**{**facts, **changes})


@pytest.fixture(autouse=True)
def quick():
    """Answers take 2 seconds at most on an idle core; the processor's time is looked at, with room to spare."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 20


def refused(message, function, *args, **kwargs):
    """Calls the function, which must refuse with one short line of this beginning."""
    with pytest.raises((ValueError, OSError)) as caught:
        function(*args, **kwargs)
    said = str(caught.value)
    assert said.startswith(message) or message in said, said
    assert "\n" not in said and len(said) < 500 and "got" in said


SEEDS = [
    (0, 1.5),
    (0.0, 1.0),
    (True, 2),
    (np.True_, 2),
    (-1, 0),
    (0, 2**32),
    (2**64,),
    (1, 1),
    (np.int64(1), 1),
    (),
    5,
    None,
    "012",
    {0, 1},
    (0, None),
    ((0, 1), (2, 3)),
    np.array([[0, 1]]),
    np.array([0.0, 1.0]),
    (float("nan"),),
    range(10**9),
    range(-2, 2),
]


@pytest.mark.parametrize("seeds", SEEDS, ids=repr)
def test_seeds_that_are_not_distinct_whole_numbers_are_refused(seeds):
    refused("seeds must be a sequence of 1 to 1,048,576 distinct whole numbers in [0, 2**32)", run, seeds=seeds)


@pytest.mark.parametrize(
    "seeds", [range(3), [0, 1, 2], np.arange(3), np.arange(3, dtype=np.uint8), jnp.arange(3), tuple(np.arange(3))]
)
def test_any_sequence_of_whole_numbers_is_seeds_and_makes_the_same_run(seeds):
    given, plain = run(seeds=seeds), run(seeds=(0, 1, 2))
    assert given.seeds == (0, 1, 2) and {type(seed) for seed in given.seeds} == {int}
    assert given == plain and given.run_id(given.environment()) == plain.run_id(plain.environment())


def test_the_largest_seed_is_accepted():
    assert run(seeds=(2**32 - 1,)).lanes()[0].seed == 2**32 - 1


PATHS = ["a\udcffb", "nul\0", 5, None, b"bytes", "~no-such-person/x"]


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_a_results_folder_that_is_no_path_is_refused(path):
    for use in (loop.train, loop.final_state):
        refused("'~' must stand" if path == PATHS[-1] else "a path must be UTF-8 text", use, run(), path)
    refused("must", build, [], path)


def test_a_home_directory_is_found_in_one_place(tmp_path, monkeypatch):
    """Whoever writes to `~/x` and whoever reads from it mean the same folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    facts = {"experiment": "e", "algorithm": "a", "env": "v", "seeds": [0], "status": "finished"}
    rows = pd.DataFrame({"seed": [0], "env_step": [0], "metric": ["m"], "value": [1.0]})
    results.check_writable("~/x")
    results.save("~/x", "r", rows, facts, {"many": np.arange(3)})
    assert results.finished("~/x", "r") and results.finished(tmp_path / "x", "r")
    assert len(results.load("~/x")) == len(results.load_run("~/x", "r")) == len(results.manifests("~/x")) == 1
    assert list(results.arrays("~/x", "r")["many"]) == [0, 1, 2]
    assert build([], "~/x", "~/page") == tmp_path / "page" / "index.html"
    with pytest.raises(FileNotFoundError, match="needs a finished run"):
        loop.final_state(run(), "~/x")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["page", "x"]


def test_every_path_that_a_person_names_is_resolved_in_one_place():
    """`Path(...)` of an argument is left to `checks.resolved`."""
    named = {"root", "results_root", "out", "tensorboard"}
    for file in Path(mbrl_jax.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Path":
                given = [argument.id for argument in node.args if isinstance(argument, ast.Name)]
                assert not named & set(given), f"{file.name}:{node.lineno}"


NAN, INF = float("nan"), float("inf")
HUGE = "x" * 5_000
FIELDS = [
    # learning rates, temperatures, entropies
    (soft.Config, {"actor_lr": NAN}, "actor_lr must be a finite number, not negative, got nan"),
    (soft.Config, {"critic_lr": INF}, "critic_lr must be a finite number, not negative, got inf"),
    (soft.Config, {"temperature_lr": -1e-3}, "temperature_lr must be a finite number, not negative, got -0.001"),
    (soft.Config, {"actor_lr": 1e39}, "actor_lr must be a finite number"),  # infinite in single precision
    (soft.Config, {"initial_temperature": NAN}, "initial_temperature must be positive and finite, got nan"),
    (soft.Config, {"initial_temperature": INF}, "initial_temperature must be positive and finite, got inf"),
    (soft.Config, {"initial_temperature": 1e-50}, "initial_temperature must be positive and finite"),  # 0 there
    (soft.Config, {"target_entropy": NAN}, "target_entropy must be a finite number or None, got nan"),
    (soft.Config, {"target_entropy": -INF}, "target_entropy must be a finite number or None, got -inf"),
    (soft.Config, {"gamma": NAN}, "gamma must be a finite number, got nan"),
    (soft.Config, {"tau": INF}, "tau must be a finite number, got inf"),
    (td3.Config, {"policy_noise": NAN}, "policy_noise must be a finite number, not negative, got nan"),
    (a2c.Config, {"entropy": NAN}, "entropy must be a finite number, got nan"),
    (a2c.Config, {"clip": -0.5}, "clip must be a finite number, not negative, got -0.5"),
    (latent.networks.Config, {"world_lr": NAN}, "world_lr must be a finite number, not negative"),
    (latent.networks.Config, {"max_grad_norm": 0.0}, "max_grad_norm must be positive and finite, got 0.0"),
    (latent.networks.Config, {"mean_limit": -1.0}, "mean_limit must be positive and finite, got -1.0"),
    (latent.networks.Config, {"std_bounds": (0.1, INF)}, "std_bounds must be a tuple of 2, each entry a finite number"),
    (sac_svg.Config, {"head_lr": -INF}, "head_lr must be a finite number, not negative"),
    (sac_svg.Config, {"initial_entropy": NAN}, "initial_entropy must be a finite number or None, got nan"),
    (ensemble.Config, {"learning_rate": NAN}, "learning_rate must be a finite number, not negative, got nan"),
    (ensemble.Config, {"weight_decay": (NAN,) * 5}, "weight_decay must be a tuple, each entry a finite number"),
    (ensemble.Config, {"improvement": NAN}, "improvement must be a finite number, got nan"),
    (fitting.Config, {"learning_rate": -1.0}, "learning_rate must be a finite number, not negative"),
    (mixture.Config, {"log_std": (NAN, 2.0)}, "log_std must be a tuple of 2, each entry a finite number"),
    (mixture.Config, {"holdout_fraction": NAN}, "holdout_fraction must be a finite number, got nan"),
    (discriminator.Config, {"noise": INF}, "noise must be a finite number, not negative, got inf"),
    (dam.Planning, {"temperature": 0.0}, "temperature must be positive and finite, got 0.0"),
    (dam.Config, {"correction": NAN}, "correction must be a finite number, got nan"),
    (dam.Config, {"minimum_variance": 2.0}, "minimum_variance must lie in [0, 1], got 2.0"),
    (alm.Config, {"last_noise": NAN}, "last_noise must be a finite number, not negative, got nan"),
    # a replay that does not hold a batch
    (sac.Config, {"replay_capacity": 255}, "replay_capacity must be at least batch, got 255 and 256"),
    (alm.Config, {"replay_capacity": 511}, "replay_capacity must be at least batch, got 511 and 512"),
    (mbpo.Config, {"batch": 2_000_000}, "replay_capacity must be at least batch, got 1000000 and 2000000"),
]


@pytest.mark.parametrize(("config", "fields", "message"), FIELDS, ids=lambda value: str(value)[:60])
def test_a_configuration_that_breaks_a_rule_is_refused_when_it_is_made(config, fields, message):
    refused(message, config, **fields)


def test_rates_of_nought_and_whole_numbers_for_real_ones_are_accepted():
    """A learning rate of 0 keeps a network as it is, and 1 is a number; NumPy's scalars are numbers too."""
    soft.Config(actor_lr=0.0, gamma=1, target_entropy=np.float32(-1.0), critics=np.int64(2))


class Own(NamedTuple):
    """Options of a kind that `checks` has never heard of."""

    chunk_seconds: float = 1.0
    inner: object = None


@dataclass(frozen=True)
class Mine:
    """A configuration of somebody else's, without checks of its own."""

    steps: int = 1_000
    my_lr: float = 1e-3
    inner: object = None


def test_rules_hold_for_everybodys_configurations_and_options():
    method = Entry("mine", 1, Mine, sac.make, Mine, "about")
    refused("config.my_lr must be a finite number, not negative, got nan", run, method=method, config=Mine(my_lr=NAN))
    within = Mine(inner=Mine(steps=True))
    refused("config.inner.steps must be a whole number", run, method=method, config=within)
    refused("chunk_seconds must be a finite number of seconds", check_fields, Own(chunk_seconds=NAN))


RUNS = [
    ({"eval_every": 0}, "eval_every must be a whole number from 1"),
    ({"eval_every": -250}, "eval_every must be a whole number from 1"),
    ({"eval_every": 250.0}, "eval_every must be a whole number from 1"),
    ({"eval_episodes": 0}, "eval_episodes must be a whole number from 1"),
    *(
        ({field: name}, f"{field} must be a name (printable, without slashes, not '.' or '..', 1 to 200 bytes)")
        for field in ("experiment", "algorithm", "profile")
        for name in ("", "..", ".", "a\nb", "a\tb", HUGE, "\udcff", "ä" * 101, 3, None)
    ),
    ({"experiment": "mbpo//figure2"}, "experiment must be a name"),
    ({"experiment": "/figure2"}, "experiment must be a name"),
    ({"experiment": "mbpo/../figure2"}, "experiment must be a name"),
    ({"algorithm": "SAC/TD3"}, "algorithm must be a name"),
    ({"sweep": (("agent.tau", (0.1,)), ("agent.tau", (0.2,)))}, "a hyper-parameter may be swept once"),
    ({"sweep": (("agent.tau", (0.1, 0.1)),)}, "values of agent.tau must be distinct"),
    ({"sweep": (("agent.tau", (0.1, NAN)),)}, "sweep must be"),
    ({"sweep": (("agent.tau", ("0.1",)),)}, "sweep must be"),
    ({"sweep": (("agent.tau", 0.1),)}, "sweep must be"),
    ({"sweep": (("agent.tau", (0.1, 2.0)),)}, "tau must lie in (0, 1], got 2.0"),
    ({"sweep": {"agent.tau": (0.1,)}}, "sweep must be"),
]


@pytest.mark.parametrize(("changes", "message"), RUNS, ids=lambda value: str(value)[:60])
def test_a_run_that_breaks_a_rule_is_refused_when_it_is_made(changes, message):
    refused(message, run, **changes)


def test_a_run_is_evaluated_within_its_steps(tmp_path):
    refused("eval_every must be at most the run's 1000 steps, got 1250", loop.train, run(eval_every=1250), tmp_path)
    refused("eval_every must be a multiple of the 250", loop.train, run(eval_every=300), tmp_path)
    assert not list(tmp_path.iterdir())


OPTIONS = [
    ("chunk_seconds", NAN, "a finite number of seconds, not negative"),
    ("chunk_seconds", INF, "a finite number of seconds, not negative"),
    ("chunk_seconds", -1.0, "a finite number of seconds, not negative"),
    ("checkpoint_seconds", NAN, "a finite number of seconds, not negative"),
    ("checkpoint_seconds", -5, "a finite number of seconds, not negative"),
    ("checkpoint_seconds", "60", "a finite number of seconds, not negative"),
    ("keep", 0, "a whole number from 1"),
    ("keep", -1, "a whole number from 1"),
    ("keep", 2.0, "a whole number from 1"),
    ("batching", "pmap", "one of 'vmap', 'map' or None"),
    ("quiet", 1, "True or False"),
]


@pytest.mark.parametrize(("name", "value", "rule"), OPTIONS)
def test_an_option_that_breaks_a_rule_is_refused_before_anything_is_built(name, value, rule, tmp_path):
    refused(f"{name} must be {rule}", loop.train, run(), tmp_path, loop.Options(**{name: value}))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """`command(*words)` calls `mbrl`, where nothing may compile; gives its exit code and its lines on stderr."""

    def forbidden(*_):
        pytest.fail("planned, compiled or trained")

    monkeypatch.setattr(setup, "configure", lambda cpu_devices=None: None)
    monkeypatch.setattr(loop, "compile_run", forbidden)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        with pytest.raises(SystemExit) as stopped:
            cli.main(words)
        assert not list(tmp_path.glob("results/**/*"))
        return stopped.value.code, capsys.readouterr().err.splitlines()

    return call


COMMANDS = [
    ("--keep 0", "keep must be a whole number from 1 to 2**31 - 1, got 0"),
    ("--chunk-seconds nan", "chunk_seconds must be a finite number of seconds, not negative, got nan"),
    ("--chunk-seconds inf", "chunk_seconds must be a finite number of seconds, not negative, got inf"),
    ("--checkpoint-seconds -1", "checkpoint_seconds must be a finite number of seconds, not negative, got -1.0"),
    ("--steps 1000000000000000000", "steps must be a whole number within +-(2**31 - 1), got 1000000000000000000"),
    (
        "--name \udcff",
        "name must be a name (printable, without slashes, not '.' or '..', 1 to 200 bytes), got '\\udcff'",
    ),
    ("--name a/b", "name must be a name"),
    ("--name ..", "name must be a name"),
    (f"--name {HUGE}", "name must be a name"),
    ("--seeds 0", "seeds must be a whole number from 1 to 1,048,576, got 0"),
    ("--seeds 100000000", "seeds must be a whole number from 1 to 1,048,576, got 100000000"),
    ("--first-seed -1", "first_seed must be a whole number in [0, 2**32), got -1"),
    ("--first-seed 4294967295", "seeds must be a sequence of 1 to 1,048,576 distinct whole numbers in [0, 2**32)"),
    ("--devices 0", "devices must be a whole number from 1"),
    ("--eval-every 0", "eval_every must be a whole number from 1"),
    ("--eval-every 100000", "eval_every must be at most the run's 20000 steps, got 100000"),
    ("--agent.actor-lr nan", "actor_lr must be a finite number, not negative, got nan"),
    ("--agent.target-entropy inf", "target_entropy must be a finite number or None, got inf"),
    ("--results a\udcff", "a path must be UTF-8 text without null characters, got"),
    ("--results nul\0", "a path must be UTF-8 text without null characters, got"),
    ("--tensorboard a\udcff", "a path must be UTF-8 text without null characters, got"),
    ("--first-seed 4294967296", "first_seed must be a whole number in [0, 2**32), got 4294967296"),
    ("--steps 42949672960", "steps must be a whole number within +-(2**31 - 1), got 42949672960"),  # 20 · 2³¹
    ("--eval-episodes 1e18", "eval_episodes must be a whole number from 1 to 2**31 - 1, got 1000000000000000000"),
    ("--eval-episodes -1", "eval_episodes must be a whole number from 1 to 2**31 - 1, got -1"),
    ("--agent.hidden 0", "hidden must name at least one positive width, got (0,)"),
    ("--agent.hidden 1e18", "hidden must be a tuple, each entry a whole number within +-(2**31 - 1), got"),
    ("--batch 0", "batch must be at least 1, got 0"),
    ("--batch 2000000", "replay_capacity must be at least batch, got 1000000 and 2000000"),
    ("--steps 20001", "steps must be a positive multiple of the environment steps per iteration, got 20001 and 250"),
    ("--warmup-steps 0", "warmup_steps must be at least 1, so that there is data to learn from, got 0"),
    ("--chunk-seconds=-inf", "chunk_seconds must be a finite number of seconds, not negative, got -inf"),
    ("--engine mjx", "engine"),
]


@pytest.mark.parametrize(("words", "message"), COMMANDS, ids=lambda value: value[:60])
def test_the_command_line_refuses_in_one_line_before_it_compiles(words, message, command):
    code, said = command("train", "sac", "--env", "pendulum", *words.split(" "))
    assert code == 2 and len(said) == 2 and said[0].startswith(f"mbrl train: {message}") and len(said[0]) < 400


@pytest.mark.parametrize("words", ["report", "sweep plan x.toml", "bench mbpo/table1"])
def test_every_command_refuses_a_results_folder_that_is_no_path(words, command, tmp_path):
    (tmp_path / "x.toml").write_text('algorithms = ["sac"]\nenvs = ["pendulum"]')
    code, said = command(*words.split(), "--results", "a\udcff")
    assert code == 2 and len(said) == 2 and "a path must be UTF-8 text without null characters, got" in said[0]


SWEEP = """
algorithms = ["sac"]
envs = ["pendulum"]
seeds = [0]
"""
TABLE = "must be a table of names and values, got"
WIDTHS = "hidden must be a tuple, each entry a whole number within +-(2**31 - 1), got"
FILES = [
    # tables that are none, lists that are none
    ("sac = 3", f"[sac] {TABLE} 3"),
    ("sac = []", f"[sac] {TABLE} []"),
    ('sac = "set"', f"[sac] {TABLE} 'set'"),
    ("set = 3", f"[set] {TABLE} 3"),
    ("set = []", f"[set] {TABLE} []"),
    ("sweep = []", f"[sweep] {TABLE} []"),
    ("sweep = [{}]", f"[sweep] {TABLE} [{{}}]"),
    ("sweep = nan", f"[sweep] {TABLE} nan"),
    ("[[set]]\nsteps = 3", f"[set] {TABLE}"),
    ("[sac]\nset = 3", f"[sac.set] {TABLE} 3"),
    ("[sac]\nsweep = []", f"[sac.sweep] {TABLE} []"),
    ("[set]\nagent = 3", "agent is a group of hyper-parameters, set those in it, got 3"),
    ("[set.steps]\nmany = 3", "steps must be like its default 125000, got {'many': 3}"),
    ("[sweep]\nagent.tau = []", "agent.tau is swept over a list of at least one value, got []"),
    ("[sweep]\nagent.tau = {}", "agent.tau is swept over a list of at least one value, got {}"),
    ("[sweep]\nagent = [1]", "agent is a group of hyper-parameters, set those in it, got [1]"),
    # numbers that are none
    ("[sweep]\nagent.tau = [0.01, nan]", "sweep must be a tuple, each entry"),
    ("[sweep]\nagent.tau = [nan, 0.01]", "tau must be a finite number, got nan"),
    ("[sweep]\nagent.tau = [inf]", "agent.tau must be like its default 0.005, got inf"),
    ("[set]\nagent.tau = nan", "tau must be a finite number, got nan"),
    (f"[set]\nagent.tau = 1{'0' * 400}", "agent.tau must be like its default 0.005, got 1000"),
    (f"[set]\nsteps = 1{'0' * 400}", "steps must be a whole number within +-(2**31 - 1), got 1000"),
    (f"[set]\nsteps = 1{'0' * 5000}", "a sweep must be a TOML file, got"),
    ("[set]\nsteps = 42949672960", "steps must be a whole number within +-(2**31 - 1), got 42949672960"),
    ("[set]\nsteps = true", "steps must be like its default 125000, got True"),
    ("[set]\nbatch = [1979-05-27]", "batch must be like its default 256, got [datetime.date"),
    ("[sweep]\nbatch = [64, 64]", "batch must name each once, got [64, 64]"),
    ("[sweep]\nagent.tau = [0.01, 0.01000000001]", "values of agent.tau must be distinct in single precision"),
    # widths that are text, nested, or none
    ('[set]\nagent.hidden = "64"', "agent.hidden must be like its default (256, 256), got '64'"),
    ("[set]\nagent.hidden = 64", "agent.hidden must be like its default (256, 256), got 64"),
    ('[set]\nagent.hidden = ["64"]', f"{WIDTHS} ('64',)"),
    ("[set]\nagent.hidden = [[64], [64]]", f"{WIDTHS} ([64], [64])"),
    ("[set]\nagent.hidden = [64.0]", f"{WIDTHS} (64.0,)"),
    ("[set]\nagent.hidden = []", "hidden must name at least one positive width, got ()"),
    ("[set]\nagent.hidden = [0]", "hidden must name at least one positive width, got (0,)"),
    ("[sweep]\nagent.hidden = [64, 32]", "agent.hidden must be like its default (256, 256), got 64"),
    # too many of something
    (f"[sweep]\nbatch = {list(range(1, 20_000))}", "a sweep must be of at most 10,000 programs"),
    (
        f"[sweep]\nagent.tau = {[i / 2000 for i in range(1, 2000)]}\nagent.gamma = {[i / 1000 for i in range(1000)]}",
        "a run has at most 1,048,576 lanes, seeds times swept values, got 1,999,000",
    ),
    # names and nesting
    ('[set]\n"" = 3', "a hyper-parameter must be one of"),
    ('[set]\n"agent." = 3', "agent is a group of hyper-parameters"),
    ('name = "a/b"', "name must be a name"),
    ("name = 3", "name must be a name"),
    ("engine = 3", "engine must be text or None, got 3"),
    ("max_lanes = 0", "max_lanes must be a whole number from 1"),
    ("eval_every = 1e3", "eval_every must be a whole number from 1"),
    ("deep = " + "[" * 5_000, "a sweep must be a TOML file, got"),
]


def toml(tmp_path, text):
    (tmp_path / "file.toml").write_text(text, encoding="utf-8")
    return tmp_path / "file.toml"


@pytest.mark.parametrize(("text", "message"), FILES, ids=lambda value: value[:40])
def test_a_sweep_that_cannot_be_planned_is_refused(text, message, tmp_path):
    refused(message, sweep.read, toml(tmp_path, f"{SWEEP}{text}\n"))


LISTED = "seeds must be a sequence of 1 to 1,048,576 distinct whole numbers in [0, 2**32), got ["
KEYS = [
    *(
        (f"seeds = {seeds}", LISTED)
        for seeds in ("[4294967296]", "[0, -1]", "[0, 0]", "[0.0]", '["0"]', "[[0]]", "[true]", "[]", "[nan]")
    ),
    *(
        (f"seeds = {seeds}", "seeds must be a number from 1 to 1,048,576 or a list of seeds, got")
        for seeds in ("100000000", "0", "-1", "4294967296", '"5"', "5.0", "true", "{}", "nan")
    ),
    *((f"envs = {value}", "envs must") for value in ("3", "[]", "[3]", '"pendulum"', '["pendulum", "pendulum"]', "{}")),
    ('envs = ["pendulum", "Pendulum-v1"]', "envs must name each once"),
    *((f"algorithms = {value}", "algorithms must") for value in ("3", "[]", "[3]", '"sac"', '["sac", "sac"]', "nan")),
    ('algorithms = ["a\\u0000b"]', "algorithm must be one of"),
]


@pytest.mark.parametrize(("line", "message"), KEYS, ids=lambda value: value[:40])
def test_a_key_of_a_sweep_that_breaks_a_rule_is_refused(line, message, tmp_path):
    key = line.partition(" ")[0]
    rest = "\n".join(each for each in SWEEP.splitlines() if not each.startswith(key))
    refused(message, sweep.read, toml(tmp_path, f"{line}\n{rest}\n"))


@pytest.mark.parametrize("content", [b"\xff\xfe", b'name = "\xe4"', b"\0", b"algorithms"], ids=repr)
def test_a_file_that_is_no_toml_is_refused(content, tmp_path):
    (tmp_path / "file.toml").write_bytes(content)
    refused("a sweep must be a TOML file, got", sweep.read, tmp_path / "file.toml")


def test_the_most_seeds_of_a_sweep_are_planned_in_a_moment(tmp_path):
    """A million of them are as many lanes as there may be; in programs of one seed each they are too many programs."""
    text = SWEEP.replace("[0]", "1048576")
    assert len(sweep.read(toml(tmp_path, f"max_lanes = 1048576\n{text}")).seeds) == 2**20
    refused("a sweep must be of at most 10,000 programs", sweep.read, toml(tmp_path, f"max_lanes = 1\n{text}"))


def large(**changes):
    """A run of sizes that no machine has."""
    return run(config=dataclasses.replace(sac.Config(steps=1_000), **changes), seeds=(0,))


def modelled(**changes):
    return run(method="mbpo", config=mbpo.Config(steps=1_000, **changes), seeds=(0,))


HELD = {
    "a width": lambda: large(agent=soft.Config(hidden=(2**31 - 1,))),
    "two widths": lambda: large(agent=soft.Config(hidden=(2**20, 2**20))),
    "many layers": lambda: large(agent=soft.Config(hidden=(2**16,) * 40)),
    "critics": lambda: large(agent=soft.Config(critics=10**7)),
    "a batch": lambda: large(batch=2**31 - 1, replay_capacity=2**31 - 1),
    "a smaller batch": lambda: large(batch=10**9, replay_capacity=10**9),
    "updates": lambda: large(updates_per_step=2**31 - 1),
    "a replay": lambda: run(config=sac.Config(steps=10**9, replay_capacity=10**9), seeds=(0,)),
    "a warm-up": lambda: large(warmup_steps=2**31 - 1, replay_capacity=1_000),
    "a record": lambda: run(config=sac.Config(steps=2**31 - 1, steps_per_iteration=1, replay_capacity=300)),
    "episodes": lambda: run(eval_episodes=2**31 - 1),
    "seeds": lambda: run(seeds=range(2**20)),
    "roll-outs": lambda: modelled(rollout_batch=2**31 - 1),
    "a model": lambda: modelled(model=ensemble.Config(members=10**7)),
}


@pytest.mark.parametrize("what", HELD)
def test_the_plan_refuses_what_no_memory_holds(what, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "compile_run", lambda *_: pytest.fail("compiled"))
    with pytest.raises((MemoryError, ValueError)) as caught:
        loop.train(HELD[what](), tmp_path, loop.Options(quiet=True))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600, caught.value
    assert not list(tmp_path.glob("runs/*/manifest.json"))


def test_a_run_of_years_is_accepted_and_told_of(tmp_path, capsys, monkeypatch):
    """It may be what somebody wants, on a machine of theirs: its time is said as soon as it is known."""

    class EnoughError(Exception):
        pass

    def told(message, stream=None):
        print(message)
        if "at this speed" in message:
            raise EnoughError

    monkeypatch.setattr(session, "say", told)
    monkeypatch.setattr(session, "LONG_SECONDS", 0.0)
    sizes = {"warmup_steps": 20, "steps_per_iteration": 4, "batch": 8, "replay_capacity": 30}
    config = sac.Config(steps=400, agent=soft.Config(hidden=(8,)), **sizes)
    one = run(config=config, seeds=(0,), eval_every=16, eval_episodes=2)
    with pytest.raises(EnoughError):
        loop.train(one, tmp_path, loop.Options(quiet=True, chunk_seconds=1e-9))
    said = capsys.readouterr()
    assert "warning: test SAC probe-match-v0: at this speed training will take" in said.out
    assert "warning: evaluations" not in said.err


def test_evaluations_of_years_are_told_of(capsys):
    one = run(config=sac.Config(steps=1_000), seeds=(0, 1), eval_every=250, eval_episodes=10**6)
    env = one.environment()
    many = loop.plan_run(one, env, 1, loop.Options())
    schedule = record.schedule(one, one.build({}, env))
    loop._foretell_evaluations(one, env, schedule, many)
    steps = 5 * 10**6 * env.spec.time_limit
    seconds = steps * 2 / many.memory.devices / 1e6
    assert f"warning: evaluations take up to {steps:,} environment steps of each seed, training 1,000: " in (
        said := capsys.readouterr().err
    )
    assert said.endswith(f"at a million steps per second and device {progress.how_long(seconds)}\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 seconds"), (7_200.0, "2.0 hours"), (86_400 * 3, "3.0 days"), (365.25 * 86_400 * 1_234, "1,234.0 years")],
)
def test_times_are_said_as_people_say_them(seconds, text):
    assert progress.how_long(seconds) == text
