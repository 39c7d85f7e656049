"""What an entry of the API says: every public function, class and method states shapes, errors, units and its source.

Read from the source itself, without importing it. "Public" is what has no underscore before its name and stands at the
top of a module of `mbrl_jax`, or is a method there; what a function defines inside itself is part of its own entry.
"""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mbrl_jax"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = Function | ast.ClassDef

MATHEMATICS = ("objectives", "theory")
"""Packages in which every function names its source itself."""
SOURCED = ("tabular", "planners", "models", "agents", "algorithms", "rollouts", "loops")
"""Packages in which the entry or its module's docstring does."""
SOURCE = re.compile(
    r"\b(1[89]|20)\d\d\b|\bEqs?\. |\bAlgorithm \d|\bSec\. |\bApp(endix|\.) |\b(Theorem|Lemma|Corollary|Proposition) "
    r"|\b(Table|Figure) \d|\breleased code|\b[Oo]urs\b"
)
"""A year, a numbered place in a paper, released code, or that it is our own."""
SHAPE = re.compile(r"\[([^\[\]]*)\](?!\()|\bscalars?\b|\bany shape\b")
"""A shape, or that there are no axes; `shapes` leaves out what is an interval."""
UNITS = {
    "time": (
        "dt|timeout|interval|duration|elapsed|deadline|budget|patience|age|every|warmup|limit_s",
        "seconds|minutes|hours|steps|epochs|iterations",
        r"seconds?|minutes?|hours?|days?|steps?|epochs?|iterations?|updates?|sweeps?|rounds?|calls?",
    ),
    "memory": ("memory|capacity|disk|cache|shared", "bytes", r"bytes|[KMGT]i?B|rows|transitions|windows|-> memory"),
    "angle": ("angles?|theta|heading|yaw|pitch|tilt", "radians|degrees", r"radians?|degrees?|rad"),
    "speed": ("speeds?|velocity|velocities|acceleration|bandwidth", "", r"per \w+|metres? per \w+|m/s|rad/s"),
    "frequency": ("fps|clock|frequency", "", r"[kMG]?Hz|per second"),
}
"""Of each quantity: the last words of names that hold one, those that state the unit themselves, the units in prose."""


@dataclass(frozen=True)
class Entry:
    """A public function, class or method, and where it stands."""

    path: str
    name: str
    node: Node
    module: ast.Module
    owner: ast.ClassDef | None = None

    @property
    def place(self) -> str:
        return f"{self.path}::{self.name}"

    @property
    def doc(self) -> str:
        """Its docstring; a method's errors may stand in its class's."""
        return ast.get_docstring(self.node) or ""

    @property
    def package(self) -> str:
        return self.path.partition("/")[0]


def entries(text: str, path: str = "module.py") -> list[Entry]:
    """The public functions and classes of a module's text, and the public methods of its classes."""
    module, found = ast.parse(text), []
    for node in module.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            found.append(Entry(path, node.name, node, module))
            found += [
                Entry(path, f"{node.name}.{each.name}", each, module, node)
                for each in (node.body if isinstance(node, ast.ClassDef) else ())
                if isinstance(each, Function) and not each.name.startswith("_")
            ]
    return found


def everything() -> list[Entry]:
    """Every entry of the package."""
    return [
        entry
        for path in sorted(ROOT.rglob("*.py"))
        for entry in entries(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]


EVERYTHING = everything()


# What is read of a docstring


def section(doc: str, title: str) -> str:
    """The indented lines under a title as `Args:`, or nothing."""
    found = re.search(rf"^{title}:\n((?:[ \t]+.*\n|\n)*)", f"{doc}\n", re.M)
    return found.group(1) if found else ""


def items(doc: str, title: str) -> dict[str, str]:
    """What a section says of each name."""
    parts = re.split(r"^  (?! )\**([\w., *]+?)(?: \([^)]*\))?: ", section(doc, title), flags=re.M)
    said = zip(parts[1::2], parts[2::2], strict=True)
    return {name.strip(" *"): words for names, words in said for name in names.split(",")}


def about(entry: Entry, name: str) -> str:
    """What an entry says of a parameter or a field: its item, what stands below the field, or its mention in prose."""
    said = [items(entry.doc, title).get(name, "") for title in ("Args", "Attributes")]
    body = entry.node.body if isinstance(entry.node, ast.ClassDef) else []
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and ast.unparse(field.target) == name and isinstance(after, ast.Expr):
            said.append(str(getattr(after.value, "value", "")))
    return "\n".join(filter(None, said))


def parameters(function: Function) -> list[ast.arg]:
    """The named arguments, without `self`."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [each for each in every if each.arg not in ("self", "cls")]


def fields(entry: Entry) -> list[tuple[str, ast.expr]]:
    """Names and annotations: a function's parameters, a class's fields."""
    if isinstance(entry.node, ast.ClassDef):
        found = [node for node in entry.node.body if isinstance(node, ast.AnnAssign)]
        return [(name, node.annotation) for node in found if not (name := ast.unparse(node.target)).startswith("_")]
    return [(each.arg, each.annotation) for each in parameters(entry.node) if each.annotation is not None]


# Errors


def bases(name: str, module: ast.Module) -> set[str]:
    """An error's type with all that it is derived from, as far as they are Python's, the package's or the module's."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type):
        return {each.__name__ for each in kind.__mro__}
    written = {each.name: each for each in module.body if isinstance(each, ast.ClassDef)}
    known = written.get(name) or DERIVED.get(name)
    above = [ast.unparse(each).rpartition(".")[2] for each in known.bases] if known else []
    return {name}.union(*(bases(each, module) for each in above))


def caught(handler: ast.ExceptHandler, module: ast.Module) -> set[str]:
    """The types that a handler takes; a tuple of the module's counts with its entries."""
    named = handler.type
    if isinstance(named, ast.Name):
        assigned = [each for each in module.body if isinstance(each, ast.Assign)]
        named = next((each.value for each in assigned if ast.unparse(each.targets[0]) == named.id), named)
    if named is None:
        return {"BaseException"}
    kinds = named.elts if isinstance(named, ast.Tuple) else [named]
    return {ast.unparse(kind).rpartition(".")[2] for kind in kinds}


def escaping(node: ast.AST, entry: Entry, seen: frozenset[str] = frozenset()) -> set[str]:
    """The types of errors that `raise` names in a piece of code, or in the private functions and checks that it calls.

    Left out are those that a handler around them takes; what is raised again counts where nothing stands before it.
    """
    if isinstance(node, ast.Try):
        inside = set().union(*(escaping(each, entry, seen) for each in node.body))
        found = set().union(*(escaping(each, entry, seen) for each in (*node.handlers, *node.orelse, *node.finalbody)))
        for handler in node.handlers:
            taken = {name for name in inside if bases(name, entry.module) & caught(handler, entry.module)}
            again = isinstance(handler.body[0], ast.Raise) and handler.body[0].exc is None
            inside -= taken
            found |= taken if again else set()
        return inside | found
    found = set()
    if isinstance(node, ast.Raise) and node.exc is not None:
        kind = ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc).rpartition(".")[2]
        found |= {kind} if re.fullmatch(r"_?[A-Z]\w*", kind) else set()
    if isinstance(node, ast.Call):
        found |= called(node, entry, seen)
    return found.union(*(escaping(each, entry, seen) for each in ast.iter_child_nodes(node)))


def called(node: ast.Call, entry: Entry, seen: frozenset[str]) -> set[str]:
    """The errors of what a call leads to: a private function, method or check of the module, or one of `checks.py`."""
    text = ast.unparse(node.func)
    name = text.removeprefix("self.")
    if name in seen or "." in name:
        return set()
    around = entry.owner or entry.node
    body = around.body if text != name and isinstance(around, ast.ClassDef) else entry.module.body
    local = [each for each in body if isinstance(each, Function) and each.name == name]
    if local and name.startswith(("_", "check_")):
        return set().union(*(escaping(each, entry, seen | {name}) for each in local[0].body))
    return {"ValueError"} if name in CHECKS and not local else set()


def silent_errors(entry: Entry) -> set[str]:
    """The errors that an entry does not name under `Raises:`, by their type or one that it is derived from."""
    if isinstance(entry.node, ast.ClassDef):
        made = [node for node in entry.node.body if isinstance(node, Function)]
        checks = [node for node in made if node.name in ("__init__", "__post_init__", "__new__")]
        errors = set().union(*(escaping(node, entry) for node in checks))
    else:
        errors = escaping(entry.node, entry)
    said = set(re.findall(r"^  (?:[a-z_]+\.)*(\w+): \S", section(entry.doc, "Raises"), re.M))
    return {name for name in errors if not bases(name, entry.module) & said}


CHECKS = {each.name for each in EVERYTHING if each.path == "checks.py" and each.name.startswith("check_")}
DERIVED = {each.name: each.node for each in EVERYTHING if isinstance(each.node, ast.ClassDef) and each.node.bases}


# Shapes


def bare(node: ast.AST, written: frozenset[str] = frozenset()) -> bool:
    """Whether an annotation has an array without a shape; what functions take and give is said in prose.

    Classes that the module has `written` itself are none, whatever their names.
    """
    if isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if len(parts) == 2 and isinstance(parts[1], ast.Constant):
            return False
        return ast.unparse(node.value) not in ("Callable", "Policy", "Dynamics", "Literal") and bare(
            node.slice, written
        )
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bare(ast.parse(node.value, mode="eval"), written)
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node) in {"Array", "Values", "ArrayLike", "jax.Array", "np.ndarray"} - written
    return any(bare(each, written) for each in ast.iter_child_nodes(node))


def shapes(text: str) -> int:
    """How many shapes a text states: `[batch, ...]`, `[]`, `[3]` or "scalar"; `[0, 1]` and `[-1, 1]` are intervals."""
    inside = [re.split(r", *", found.group(1) or "") for found in SHAPE.finditer(text)]
    return sum(not any(re.match(r"[-−]|0(\.\d+)?$", entry) for entry in entries) for entries in inside)


def prose(doc: str) -> str:
    """A docstring without what it says of each name, of errors, and without examples."""
    text = re.sub(r"^(Args|Attributes|Raises):\n(?:[ \t]+.*\n|\n)*", "", f"{doc}\n", flags=re.M)
    return re.sub(r"^ *(>>>|\.\.\.) .*$", "", text, flags=re.M)


def shapeless(entry: Entry) -> list[str]:
    """Parameters, fields and results that are arrays of no stated shape.

    A name has one in its item, or in prose: beside the name, or among as many shapes as there are arrays without an
    item, or one shape that "each" of them has.
    """
    written = frozenset(each.name for each in entry.module.body if isinstance(each, ast.ClassDef))
    named = [name for name, hint in fields(entry) if bare(hint, written)]
    if isinstance(entry.node, Function) and entry.node.returns is not None and bare(entry.node.returns, written):
        named.append("what it returns")
    text = prose(entry.doc)
    beside = [name for name in named if re.search(rf"\b{name}`? ?`?\[", text)]
    likewise = [name for name in named if re.search(rf"\b{name}\b[^.]* likewise", entry.doc)]
    left = [name for name in named if name not in beside and name not in likewise and not shapes(about(entry, name))]
    of_each = re.search(r"\b(each|both)( of them)? `?\w*\[|\ball scalars\b", text)
    return [] if of_each or shapes(text) - len(beside) >= len(left) else left


def taken_without_shapes(entry: Entry) -> list[str]:
    """Functions of arrays, among parameters and fields, of which neither item nor prose gives a call with shapes."""
    hints = [(name, ast.unparse(hint)) for name, hint in fields(entry)]
    functions = [name for name, hint in hints if re.search(r"\bCallable\[.*\b(Array|Values)\b", hint)]
    return [name for name in functions if not shapes(about(entry, name)) and not re.search(rf"\b{name}`?\(", entry.doc)]


def undescribed(entry: Entry) -> list[str]:
    """Fields of a configuration, which `check_fields` refuses values of, that nothing is said of."""
    made = [each for each in ast.walk(entry.node) if isinstance(each, ast.Call)]
    if not isinstance(entry.node, ast.ClassDef) or "check_fields(self)" not in map(ast.unparse, made):
        return []
    return [name for name, _ in fields(entry) if not about(entry, name) and f"`{name}`" not in entry.doc]


# Sources and units


def unsourced(entry: Entry) -> bool:
    """Whether neither an entry nor, outside of mathematics, its class or module says where it is from."""
    if entry.package in MATHEMATICS:
        docs = [entry.doc, ast.get_docstring(entry.owner) if entry.owner else ""]
    elif entry.package in SOURCED:
        docs = [entry.doc, ast.get_docstring(entry.owner) if entry.owner else "", ast.get_docstring(entry.module)]
    else:
        return False
    return not any(SOURCE.search(doc or "") for doc in docs)


def quantity(name: str, words: str) -> bool:
    """Whether a name's last word is one of these."""
    return re.fullmatch(rf"(.*_)?({words})", name) is not None


def without_unit(entry: Entry) -> list[str]:
    """Parameters and fields that are numbers of time, memory, angle, speed or frequency, and say no unit."""
    return [
        f"{name} ({what})"
        for name, hint in fields(entry)
        if re.search(r"\b(int|float|Scalar|Array|Values)\b", ast.unparse(hint))
        for what, (holds, stated, unit) in UNITS.items()
        if quantity(name, holds)
        and not (stated and quantity(name, stated))
        and not re.search(rf"\b({unit})\b", about(entry, name) or entry.doc, re.I)
    ]


def environments() -> dict[str, str]:
    """The docstrings of modules with environments, tables of MuJoCo tasks or wrappers, by the module's name."""
    found = {}
    for path in sorted((ROOT / "envs").glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        made = {each.name for each in module.body if isinstance(each, Function)}
        named = {ast.unparse(target) for each in module.body for target in targets(each)}
        if "ENVS" in named or "wrap" in made or any(re.fullmatch(r"([A-Z]+_)?TASKS", name) for name in named):
            found[path.stem] = ast.get_docstring(module) or ""
    return found


def targets(node: ast.stmt) -> list[ast.expr]:
    """What a statement assigns to."""
    return node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []


MEASURE = re.compile(r"\b(metres?|radians?|m/s|rad/s|N|N m|units?|one-hot|centimetres?|seconds?)\b|\bas in `(\w+)`")
"""A unit, that there is none, or the module that says it."""


def unmeasured(docs: dict[str, str]) -> list[str]:
    """Modules whose docstring gives no observation or action with units, neither itself nor by the module it names."""
    missing = []
    for name, doc in docs.items():
        for what in ("Observation", "[Aa]ction"):
            lines = re.findall(rf"^(?:Observation and )?{what}\b[^:\n]*:((?:.*\n?)+?)(?=^[A-Z]|\Z)", doc, re.M)
            said = MEASURE.search("".join(lines))
            if said is None or (said.group(2) and said.group(2) not in docs and said.group(2) != "mujoco_tasks"):
                missing.append(f"{name}: {what}")
    return missing


# The rules


def test_every_public_name_has_a_docstring():
    assert len(EVERYTHING) > 1000
    assert [entry.place for entry in EVERYTHING if not entry.doc] == []


def test_errors_are_named_where_they_are_raised():
    assert {entry.place: errors for entry in EVERYTHING if (errors := silent_errors(entry))} == {}


def test_arrays_have_shapes():
    assert {entry.place: names for entry in EVERYTHING if (names := shapeless(entry))} == {}


def test_functions_that_are_passed_in_have_shapes():
    assert {entry.place: names for entry in EVERYTHING if (names := taken_without_shapes(entry))} == {}


def test_every_setting_is_described():
    assert {entry.place: names for entry in EVERYTHING if (names := undescribed(entry))} == {}


def test_mathematics_and_algorithms_have_sources():
    assert [entry.place for entry in EVERYTHING if unsourced(entry)] == []


def test_quantities_have_units():
    assert {entry.place: names for entry in EVERYTHING if (names := without_unit(entry))} == {}


def test_environments_have_observations_and_actions_with_units():
    docs = environments()
    assert {"classic", "gridworld", "icy_road", "mujoco_table", "mujoco_claw", "distractors"} <= set(docs)
    docs["mujoco_tasks"] = ast.get_docstring(ast.parse((ROOT / "envs" / "mujoco_tasks.py").read_text())) or ""
    assert unmeasured(docs) == []


# That each rule tells what it is for


def only(text: str, path: str = "module.py") -> Entry:
    """The last entry of a text."""
    return entries(text, path)[-1]


RAISES = """
def _check(x: int) -> None:
    if x < 0:
        raise ValueError(x)

def f(x: int) -> None:
    \"\"\"{doc}\"\"\"
    {body}
"""


@pytest.mark.parametrize(
    ("body", "doc", "silent"),
    [
        ("raise ValueError(x)", "One.", {"ValueError"}),
        ("raise ValueError(x)", "Raises ValueError.", {"ValueError"}),
        ("raise ValueError(x)", "One.\n\n    Raises:\n      ValueError: x is so.\n    ", set()),
        ("raise UnicodeError(x)", "One.\n\n    Raises:\n      ValueError: x is so.\n    ", set()),
        ("raise ValueError(x)", "One.\n\n    Raises:\n      TypeError: x is so.\n    ", {"ValueError"}),
        ("_check(x)", "One.", {"ValueError"}),
        ("check_positive(x)", "One.", {"ValueError"}),
        ("print(x)", "One.", set()),
        ("try:\n        _check(x)\n    except ValueError:\n        pass", "One.", set()),
        ("try:\n        _check(x)\n    except ValueError:\n        raise", "One.", {"ValueError"}),
        ("try:\n        _check(x)\n    except OSError:\n        pass", "One.", {"ValueError"}),
    ],
)
def test_an_error_without_a_word_is_told(body, doc, silent):
    assert silent_errors(only(RAISES.format(body=body, doc=doc))) == silent


def test_checks_of_a_class_are_errors_of_its_making():
    text = '''
class C:
    """{doc}"""
    def __post_init__(self):
        check_fields(self)
'''
    assert silent_errors(only(text.format(doc="One."))) == {"ValueError"}
    assert silent_errors(only(text.format(doc="One.\n\n    Raises:\n      ValueError: a field is so.\n    "))) == set()


@pytest.mark.parametrize(
    ("hint", "doc", "without"),
    [
        ("Array", "Of x.", ["x"]),
        ("Array", "Of x in [0, 1].", ["x"]),
        ("Array", "Of `x [batch]`.", []),
        ("Array", "Of observations `[..., obs_dim]`.", []),
        ("Array", "One.\n\n    Args:\n      x: `[batch]`.\n    ", []),
        ("Array", "One.\n\n    Args:\n      x: a number in [-1, 1].\n    ", ["x"]),
        ("tuple[Array, int]", "Of x.", ["x"]),
        ("Array | None", "Of x.", ["x"]),
        ("'Array'", "Of x.", ["x"]),
        ('Float[Array, " n"]', "Of x.", []),
        ("Callable[[Array], int]", "Of x.", []),
        ("int", "Of x.", []),
    ],
)
def test_an_array_without_a_shape_is_told(hint, doc, without):
    assert shapeless(only(f'def f(x: {hint}) -> None:\n    """{doc}"""\n')) == without


def test_results_and_fields_without_a_shape_are_told():
    assert shapeless(only('def f(x: int) -> Array:\n    """The value."""\n')) == ["what it returns"]
    assert shapeless(only('def f(x: int) -> Array:\n    """The value `[batch]`."""\n')) == []
    assert shapeless(only('def f(x: Array) -> Array:\n    """The value `[batch]`."""\n')) == ["x", "what it returns"]
    assert shapeless(only('class C(NamedTuple):\n    """Both."""\n    x: Array\n    y: Array\n')) == ["x", "y"]
    assert shapeless(only('class C(NamedTuple):\n    """Both, each `[n]`."""\n    x: Array\n    y: Array\n')) == []
    assert shapeless(only('class C:\n    """One."""\n    x: Array\n    """`[n]`."""\n')) == []


def test_functions_without_shapes_and_settings_without_a_word_are_told():
    text = "def f(g: Callable[[Array], Array]) -> None:\n    {}\n"
    assert taken_without_shapes(only(text.format('"""Of g."""'))) == ["g"]
    assert taken_without_shapes(only(text.format('"""Of `g(x [n]) -> [n]`."""'))) == []
    text = 'class C:\n    """One."""\n    x: int = 1\n{}    def __post_init__(self):\n        check_fields(self)\n'
    assert undescribed(entries(text.format(""))[0]) == ["x"]
    assert undescribed(entries(text.format('    """Steps."""\n'))[0]) == []


@pytest.mark.parametrize(
    ("path", "module", "doc", "told"),
    [
        ("theory/one.py", "Exactly (Janner et al., 2019).", "A bound.", True),
        ("theory/one.py", "Exactly.", "A bound (Eq. 3).", False),
        ("agents/one.py", "An agent (Chua et al., 2018).", "One.", False),
        ("agents/one.py", "Ours: plumbing.", "One.", False),
        ("agents/one.py", "An agent.", "One.", True),
        ("data/one.py", "Rows.", "One.", False),
    ],
)
def test_what_has_no_source_is_told(path, module, doc, told):
    assert unsourced(only(f'"""{module}"""\ndef f():\n    """{doc}"""\n', path)) is told


@pytest.mark.parametrize(
    ("name", "hint", "doc", "told"),
    [
        ("dt", "float", "how long one takes", True),
        ("dt", "float", "seconds per step", False),
        ("timeout", "float | None", "how long to wait", True),
        ("wait_seconds", "float", "how long", False),
        ("memory", "int", "of the device", True),
        ("memory", "int", "of the device, in bytes", False),
        ("memory", "M", "what it remembers", False),
        ("max_speed", "float", "the most", True),
        ("max_speed", "float", "the most, in metres per second", False),
        ("heading", "Array", "where it looks, `[]`", True),
        ("fps", "float", "how fast", True),
    ],
)
def test_a_quantity_without_a_unit_is_told(name, hint, doc, told):
    text = f'def f({name}: {hint}) -> None:\n    """One.\n\n    Args:\n      {name}: {doc}.\n    """\n'
    assert bool(without_unit(only(text))) is told


def test_an_environment_without_units_is_told():
    sound = "A task.\n\nObservation: `[1]`, in metres.\nAction: `[1]`, without a unit."
    assert unmeasured({"one": sound, "two": "Observation and action, with units: as in `one`."}) == []
    assert unmeasured({"one": "A task.\n\nObservation: `[1]`.\nAction: `[1]`, a force in N."}) == ["one: Observation"]
    assert unmeasured({"one": "A task.", "two": "Observation and action: as in `three`."}) == [
        "one: Observation",
        "one: [Aa]ction",
        "two: Observation",
        "two: [Aa]ction",
    ]
