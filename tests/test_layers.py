"""Imports only point down the floors: read from the source, function-level imports included."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = (
    "mbrl_jax.types",
    "mbrl_jax.shapes",
    "mbrl_jax.checks",
    "mbrl_jax.host",
    "mbrl_jax.files",
    "mbrl_jax.jobs",
    "mbrl_jax.locks",
    "mbrl_jax.manifest_rules",
    "mbrl_jax.promotions",
    "mbrl_jax.storage",
)
"""The ground floor: what everything may import."""

FLOORS = (
    BASE,
    ("mbrl_jax.results",),
    ("mbrl_jax.envs",),
    ("mbrl_jax.tabular",),
    ("mbrl_jax.objectives", "mbrl_jax.theory"),
    ("mbrl_jax.networks", "mbrl_jax.optimisers", "mbrl_jax.trust_region", "mbrl_jax.data"),
    ("mbrl_jax.rollouts",),
    ("mbrl_jax.planners",),
    ("mbrl_jax.models",),
    ("mbrl_jax.agents",),
    ("mbrl_jax.loops",),
    ("mbrl_jax.algorithms",),
    ("mbrl_jax.testing", "mbrl_jax.runner"),
    ("mbrl_jax.report",),
    ("experiments", "benchmarks"),
    ("mbrl_jax.commands", "mbrl_jax.cli"),
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
GATHERERS = ("mbrl_jax.algorithms", "mbrl_jax.algorithms.registry", "mbrl_jax.algorithms.tasks")
"""Modules of the algorithms' package that list algorithms, or hold what they share, and are none themselves."""


def modules(root=ROOT):
    """Module name -> path, of everything the rule is about."""
    files = [f for top in ("mbrl_jax", "experiments", "benchmarks") for f in (root / top).rglob("*.py")]
    names = [f.relative_to(root).with_suffix("").parts for f in files]
    return {".".join(n[:-1] if n[-1] == "__init__" else n): f for n, f in zip(names, files, strict=True)}


def imported(name, source, known, is_package=False):
    """The known modules that a module imports; `from package import name` may mean a module or a thing in one."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".") if is_package else name.split(".")[:-1]
            start = ".".join(base[: len(base) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (start, node.module)))
            inner = {f"{origin}.{alias.name}" for alias in node.names}
            found |= {i if i in known else origin for i in inner}
    return {f for f in found if f.split(".")[0] in ("mbrl_jax", "experiments", "benchmarks")}


def floor(name):
    """The entry of `FLOORS` that holds a module; the package's own face, `mbrl_jax`, is on the top floor."""
    if name == "mbrl_jax":
        return "mbrl_jax.cli"
    matches = [f for f in LEVEL if name == f or name.startswith(f + ".")]
    return max(matches, key=len) if matches else None


def violation(name, target):
    """What is wrong with `name` importing `target`, or None."""
    here, there = floor(name), floor(target)
    if here is None or there is None:
        return f"{name} -> {target}: not on any floor"
    if LEVEL[there] > LEVEL[here]:
        return f"{name} -> {target}: points up"
    algorithm = here == there == "mbrl_jax.algorithms"
    if algorithm and name not in GATHERERS and target not in (name, "mbrl_jax.algorithms.tasks"):
        return f"{name} -> {target}: algorithms never import one another"
    if here == "mbrl_jax.envs" and there not in ("mbrl_jax.envs", *BASE):
        return f"{name} -> {target}: environments import the ground floor only"
    if here == "mbrl_jax.results" and there not in BASE:
        return f"{name} -> {target}: the results store imports the ground floor only"
    names_of_tasks = name == "mbrl_jax.report.exchange" and target == "mbrl_jax.envs.registry"
    if here == "mbrl_jax.report" and there not in ("mbrl_jax.report", "mbrl_jax.results", *BASE) and not names_of_tasks:
        return f"{name} -> {target}: the report reads results only"
    return None


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {
        name: imported(name, path.read_text(), known, path.name == "__init__.py") - {name}
        for name, path in known.items()
    }


def test_every_module_has_a_floor(graph):
    assert [name for name in graph if floor(name) is None] == []
    assert len(graph) > 20


def test_imports_only_point_down(graph):
    assert [v for name, targets in graph.items() for t in sorted(targets) if (v := violation(name, t))] == []


def test_no_cycles(graph):
    done, path = set(), []

    def visit(name):
        assert name not in path, f"import cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done or name not in graph:
            return
        path.append(name)
        for target in graph[name]:
            # A package's own files importing a sibling through the package is Python's business, not an arrow.
            if not (name.startswith(target + ".")):
                visit(target)
        done.add(path.pop())

    for name in graph:
        visit(name)


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("mbrl_jax.objectives.actor_critic", "from mbrl_jax import networks", "points up"),
        ("mbrl_jax.types", "def f():\n    from mbrl_jax.runner import loop", "points up"),
        ("mbrl_jax.types", "from .runner import loop", "points up"),
        ("mbrl_jax.checks", "from mbrl_jax import results", "points up"),
        ("mbrl_jax.algorithms.mnm", "from mbrl_jax.algorithms import mbpo", "never import one another"),
        ("mbrl_jax.algorithms.mnm", "from . import mbpo", "never import one another"),
        ("mbrl_jax.algorithms.mnm", "import mbrl_jax.algorithms.mbpo", "never import one another"),
        ("mbrl_jax.envs.pendulum", "from mbrl_jax.results import save", "ground floor only"),
        ("mbrl_jax.report.build", "from mbrl_jax.runner import loop", "reads results only"),
        ("mbrl_jax.report.build", "from mbrl_jax.envs.registry import resolve", "reads results only"),
        ("mbrl_jax.report.build", "from mbrl_jax import cli", "points up"),
        ("mbrl_jax.agents.sac", "import experiments.mbpo", "points up"),
        ("mbrl_jax.data.replay", "import mbrl_jax", "points up"),
        ("mbrl_jax.data.replay", "import mbrl_jax.cellar", "not on any floor"),
    ],
)
def test_the_rule_finds_what_is_wrong(name, source, wrong):
    found = [violation(name, t) for t in imported(name, source, modules())]
    assert any(v and wrong in v for v in found)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mbrl_jax.algorithms.mbpo", "from mbrl_jax.data import replay\nfrom mbrl_jax.agents import sac\nimport jax"),
        ("mbrl_jax.algorithms.mbpo", "from mbrl_jax.algorithms.tasks import task"),
        ("mbrl_jax.rollouts.real", "from mbrl_jax.data import replay"),
        ("mbrl_jax.envs.pendulum", "from mbrl_jax.envs.base import build\nfrom mbrl_jax.types import Env"),
        ("mbrl_jax.report.exchange", "from mbrl_jax.envs.registry import resolve"),
        ("experiments.mbpo.figure2", "from mbrl_jax.report import select\nfrom experiments.mbpo import common"),
    ],
)
def test_the_rule_allows_what_is_right(name, source):
    targets = imported(name, source, modules())
    assert targets
    assert [violation(name, t) for t in targets] == [None] * len(targets)
