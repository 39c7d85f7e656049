"""The face of the package: its names are there, lazy, typed, and do what their examples say."""

import ast
import doctest
import importlib.metadata
import importlib.util
import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import mbrl_jax as mb

SOURCE = Path(mb.__file__)
FUNCTIONS = [name for name in mb.__all__ if inspect.isfunction(inspect.unwrap(getattr(mb, name)))]
CONTRACTS = [name for name in mb.__all__ if inspect.isclass(getattr(mb, name))]
COMPILED = ("make_train", "train")
SHOWN_ELSEWHERE = {
    "configure": "changes the process",
    "final_state": "goes on from `train`'s",
    "load": "in `train`",
    "Dynamics": "in `Model`",
    "Entry": "by its name, in `make`",
    "Method": "in notebooks/own_algorithm.ipynb",
    "Spec": "in `Env`",
}


def test_every_name_is_there_and_has_a_docstring():
    assert sorted(mb.__all__) == mb.__all__ and set(mb.__all__) <= set(dir(mb))
    assert [name for name in mb.__all__ if not inspect.getdoc(getattr(mb, name))] == []
    assert 20 <= sum(not inspect.ismodule(getattr(mb, name)) for name in mb.__all__) <= 25


def test_a_type_checker_finds_what_is_imported():
    """What stands under `TYPE_CHECKING` is what `__getattr__` gives."""
    blocks = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    (checking,) = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    stated = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in checking.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(stated) == mb.__all__
    for name, (module, inside) in stated.items():
        there = importlib.import_module(module)
        found = getattr(there, inside) if module != "mbrl_jax" else importlib.import_module(f"mbrl_jax.{inside}")
        assert found is getattr(mb, name), name
    assert SOURCE.with_name("py.typed").is_file()


def test_nothing_is_imported_before_it_is_asked_for():
    code = "import sys, mbrl_jax\nassert 'jax' not in sys.modules\nmbrl_jax.Spec\nassert 'jax' in sys.modules"
    code += "\nassert not {'flax', 'pandas', 'mbrl_jax.runner'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


EVERY_MODULE = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
import mbrl_jax
for module in pkgutil.walk_packages(mbrl_jax.__path__, "mbrl_jax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def distributions(*, extras):
    """The names of what the package needs without extras, or with one of them."""
    stated = [line for line in importlib.metadata.requires("mbrl_jax") if ("extra ==" in line) == extras]
    return {re.match(r"[\w.-]+", line).group().lower().replace("_", "-") for line in stated}


def test_every_module_can_be_imported_without_what_extras_bring():
    extras = distributions(extras=True) - distributions(extras=False)
    made = importlib.metadata.packages_distributions().items()
    inside = {module for module, names in made if {name.lower().replace("_", "-") for name in names} & extras}
    assert {"ray", "submitit", "obstore", "rliable"} <= inside
    code = [sys.executable, "-W", "ignore", "-c", EVERY_MODULE, "warp", *sorted(inside)]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'make_trian'"):
        mb.make_trian  # noqa: B018
    assert not hasattr(mb, "__path_of_nothing__")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in COMPILED else ()) for name in (*FUNCTIONS, *CONTRACTS)],
)
def test_the_example_of_a_name_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = inspect.unwrap(getattr(mb, name))
    names = {"mb": mb, "jax": jax, "jnp": jnp, "replace": replace}
    (test,) = doctest.DocTestFinder(recurse=False).find(given, name, module=False, globs=names)
    if name in SHOWN_ELSEWHERE:
        assert name == "final_state" or not test.examples
        return
    assert test.examples
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)
    if name == "train":
        (after,) = doctest.DocTestFinder(recurse=False).find(mb.final_state, module=False, globs=test.globs)
        runner.run(after, out=said.append)
        assert after.examples and not runner.failures, "".join(said)
