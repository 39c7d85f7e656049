"""Bad input of every kind that was tried: refused in one line, with the rule and the value, before anything compiles.

What looks bad and is accepted stands here too, each with its reason.
"""

import ast
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
from mbrl_jax.runner import loop, setup
from mbrl_jax.runner.run import Run

CONFIG = sac.Config(steps=1_000)


def run(**changes):
    facts = {"experiment": "test", "algorithm": "SAC", "method": "sac", "config": CONFIG, "env": "probe-match-v0"}
    return Run(**{**facts, **changes})


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
]


@pytest.mark.parametrize(("words", "message"), COMMANDS, ids=lambda value: value[:60])
def test_the_command_line_refuses_in_one_line_before_it_compiles(words, message, command):
    code, said = command("train", "sac", "--env", "pendulum", *words.split(" "))
    assert code == 2 and len(said) == 2 and said[0].startswith(f"mbrl train: {message}") and len(said[0]) < 400
