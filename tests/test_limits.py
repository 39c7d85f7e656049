"""Limits of length, of untyped places and of assigned lambdas, measured over the source itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTION_LINES = 40
FILE_LINES = 300
ANY_PER_1000 = 3.7
"""What holds, kept from growing; an alias that is `Any` by another name (`PyTree`, `Facts`, `Config`) counts once."""

LONG_FUNCTIONS: dict[str, int] = {
    "experiments/dam/common.py::statements": 45,
    "mbrl_jax/agents/td3.py::make": 41,
    "mbrl_jax/algorithms/dam.py::make": 44,
    "mbrl_jax/algorithms/mbpo.py::make": 65,
    "mbrl_jax/envs/gridworld.py::finite_mdp": 44,
    "mbrl_jax/envs/intersection.py::make": 41,
    "mbrl_jax/models/discriminator.py::make": 43,
    "mbrl_jax/models/ensemble/model.py::make": 61,
}
"""Functions over `FUNCTION_LINES`, `path::name`, each with its length: an entry may shrink, never grow."""

LONG_FILES: dict[str, int] = {
    "experiments/dam/common.py": 318,
    "experiments/dam/comparison.py": 325,
    "mbrl_jax/agents/latent/learner.py": 378,
    "mbrl_jax/algorithms/mnm.py": 305,
    "mbrl_jax/envs/mujoco_table.py": 392,
    "mbrl_jax/results.py": 359,
}
"""Files over `FILE_LINES`, each with its length."""


def sources(*folders: str) -> dict[str, str]:
    """The text of every Python file of these folders, by its path from the root."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def functions(tree: ast.AST, outer: str = "") -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of a module with its dotted name, those inside classes and functions too."""
    found = []
    for node in ast.iter_child_nodes(tree):
        name = outer
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{outer}.{node.name}".strip(".")
            if not isinstance(node, ast.ClassDef):
                found.append((name, node))
        found += functions(node, name)
    return found


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the last one, without those of the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def any_count(text: str) -> int:
    """How often a module's code names `Any`, its import left out."""
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(ast.parse(text)))


def code_lines(text: str) -> int:
    """Lines that are neither blank nor a comment alone."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text.splitlines())


def assigned_lambdas(text: str) -> int:
    """How many lambdas are assigned to a name; a field's default is not."""
    tree = ast.parse(text)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    fields = {id(node) for each in classes for node in each.body if isinstance(node, ast.AnnAssign)}
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign) and id(node) not in fields]
    lambdas = [node for node in named if isinstance(node.value, ast.Lambda)]
    targets = [node.targets if isinstance(node, ast.Assign) else [node.target] for node in lambdas]
    return sum(any(isinstance(target, ast.Name) for target in each) for each in targets)


def over(found: dict[str, int], limit: int) -> dict[str, int]:
    """What exceeds the limit."""
    return {name: count for name, count in found.items() if count > limit}


def complaints(found: dict[str, int], limit: int, named: dict[str, int]) -> list[str]:
    """What exceeds the limit without being named, has grown beyond its named size, or is named without need."""
    exceeding = over(found, limit)
    new = [f"{name}: {count}, over {limit}" for name, count in exceeding.items() if name not in named]
    grown = [
        f"{name}: {exceeding[name]}, named {size}" for name, size in named.items() if exceeding.get(name, 0) > size
    ]
    return new + grown + [f"{name}: named without need" for name in named if name not in exceeding]


def test_functions_are_short_but_for_the_named_exceptions():
    lengths: dict[str, int] = {}
    for path, text in sources("mbrl_jax", "experiments").items():
        for name, function in functions(ast.parse(text)):
            place = f"{path}::{name}"
            lengths[place] = max(length(function), lengths.get(place, 0))
    assert complaints(lengths, FUNCTION_LINES, LONG_FUNCTIONS) == []


def test_files_are_short_but_for_the_named_exceptions():
    lengths = {path: len(text.splitlines()) for path, text in sources("mbrl_jax", "experiments").items()}
    assert complaints(lengths, FILE_LINES, LONG_FILES) == []


def test_lambdas_have_no_names():
    texts = sources("mbrl_jax", "experiments", "benchmarks", "tests", "docs")
    assert {path: count for path, text in texts.items() if (count := assigned_lambdas(text))} == {}


def test_the_package_names_any_in_few_places():
    texts = sources("mbrl_jax").values()
    assert 1000 * sum(map(any_count, texts)) / sum(map(code_lines, texts)) <= ANY_PER_1000


@pytest.mark.parametrize(
    ("text", "measured"),
    [
        ("def f():\n    return 1\n", [("f", 2)]),
        ('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n', [("f", 2)]),
        (
            "class C:\n    @property\n    def f(self):\n        def g():\n            pass\n        return g\n",
            [("C.f", 4), ("C.f.g", 2)],
        ),
    ],
)
def test_a_function_is_measured_without_its_docstring_and_decorators(text, measured):
    assert [(name, length(function)) for name, function in functions(ast.parse(text))] == measured


def test_assigned_lambdas_and_any_are_found_where_they_are():
    assert assigned_lambdas("f = lambda x: x\ng: Callable = lambda: 1\na.b = lambda: 0\n") == 2
    assert assigned_lambdas("sorted(y, key=lambda x: x)\nclass C:\n    f: Callable = lambda: 0\n") == 0
    assert any_count("from typing import Any\ndef f(x: Any) -> dict[str, Any]: ...\n# Any\n") == 2
    assert code_lines("# comment\n\nx = 1  # one\n") == 1


def test_exceptions_that_are_new_grown_or_needless_are_told():
    named = {"kept": 50, "shrunk": 50, "grown": 50, "short": 50, "gone": 50}
    told = complaints({"kept": 50, "shrunk": 45, "grown": 51, "short": 40, "new": 41, "fine": 40}, 40, named)
    assert [line.split(":")[0] for line in told] == ["new", "grown", "short", "gone"]
