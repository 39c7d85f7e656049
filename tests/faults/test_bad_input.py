"""Bad input of every kind that was tried: refused in one line, with the rule and the value, before anything compiles.

What looks bad and is accepted stands here too, each with its reason.
"""

import ast
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import mbrl_jax
from mbrl_jax import results
from mbrl_jax.algorithms import sac
from mbrl_jax.report.build import build
from mbrl_jax.runner import loop
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
