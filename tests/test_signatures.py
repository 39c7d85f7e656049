"""Shapes are stated in signatures and checked while tracing: every public function of mathematics and of roll-outs."""

import ast
import importlib
import inspect
import pkgutil
import textwrap
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import AbstractArray, Array, Float, TypeCheckError

from mbrl_jax import envs, planners, rollouts, tabular
from mbrl_jax.algorithms.tabular import alternation
from mbrl_jax.objectives import ratios, value_aware
from mbrl_jax.theory import dam, mbpo, mnm
from mbrl_jax.types import checked

PACKAGES = ("objectives", "theory", "tabular", "algorithms.tabular", "planners", "rollouts")
UNCHECKED = {
    "mbrl_jax.tabular.mdp.make": "takes what an array can be made of, and refuses it with the rule and the entry",
    "mbrl_jax.tabular.mdp.make_policy": "the same",
    "mbrl_jax.tabular.mdp.make_dynamics": "the same",
}
"""Public functions with arrays in their signatures that nothing checks, each with its reason."""


def public_functions(package):
    """The functions that a package and its modules name in `__all__`, by where they are written."""
    top = importlib.import_module(f"mbrl_jax.{package}")
    names = [found.name for found in pkgutil.iter_modules(top.__path__, f"{top.__name__}.")]
    modules = [top, *map(importlib.import_module, names)]
    public = [getattr(module, name) for module in modules for name in getattr(module, "__all__", ())]
    return {f"{each.__module__}.{each.__qualname__}": each for each in public if inspect.isfunction(each)}


def has_array(hint):
    """Whether arrays are among what a hint describes, in the fields of records and the arguments of functions too."""
    if isinstance(hint, list):  # the arguments of a function
        return any(map(has_array, hint))
    kind = typing.get_origin(hint) or hint
    if inspect.isclass(kind) and issubclass(kind, jax.Array | np.ndarray | AbstractArray):
        return True
    record = inspect.isclass(kind) and issubclass(kind, tuple) and hasattr(kind, "_fields")
    fields = typing.get_type_hints(kind).values() if record else ()
    return any(map(has_array, (*typing.get_args(hint), *fields)))


def unchecked(functions):
    """The names of those that have arrays in their signatures and do not check them."""
    some = [name for name, each in functions.items() if any(map(has_array, typing.get_type_hints(each).values()))]
    return [name for name in some if not hasattr(functions[name], "shapes_are_checked")]


def without_shape(source):
    """The annotations of a function in which an array has no shape; those of functions and memories are left out."""
    function = ast.parse(textwrap.dedent(source)).body[0]
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    hints = [hint for hint in (*(each.annotation for each in arguments), function.returns) if hint is not None]

    def bare(node):
        if isinstance(node, ast.Subscript):
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            shaped = len(parts) == 2 and isinstance(parts[1], ast.Constant)
            return not shaped and ast.unparse(node.value) not in ("Callable", "Policy") and bare(node.slice)
        if isinstance(node, ast.Name | ast.Attribute):
            return ast.unparse(node) in ("Array", "Values", "jax.Array", "np.ndarray")
        return any(map(bare, ast.iter_child_nodes(node)))

    return [ast.unparse(hint) for hint in hints if bare(hint)]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_check_the_shapes_they_state(package):
    functions = public_functions(package)
    assert functions
    assert [name for name in unchecked(functions) if name not in UNCHECKED] == []
    sources = {name: inspect.getsource(inspect.unwrap(each)) for name, each in functions.items()}
    assert {name: hints for name, source in sources.items() if (hints := without_shape(source))} == {}


def test_every_exception_is_needed():
    everything = {name: each for package in PACKAGES for name, each in public_functions(package).items()}
    assert set(UNCHECKED) == set(unchecked(everything))


@pytest.mark.parametrize(
    ("hint", "some"),
    [
        (jax.Array, True),
        (np.ndarray | None, True),
        (tuple[int, Float[Array, " n"]], True),
        (Callable[[jax.Array], float], True),
        (rollouts.Actor, True),
        (int, False),
        (dict[str, float], False),
        (Callable[[int], float], False),
        (typing.NamedTuple("Number", [("x", float)]), False),
    ],
)
def test_arrays_are_found_in_hints(hint, some):
    assert has_array(hint) is some


def test_a_function_without_checks_is_told():
    def moves(x: jax.Array) -> jax.Array:
        return x

    def counts(x: int) -> int:
        return x

    assert unchecked({"moves": moves, "checked": checked(moves), "counts": counts}) == ["moves"]


def test_an_array_without_shape_is_told():
    source = """
    def f(key: Key, x: tuple[Array, int], y: Callable[[Array], Array], z: Float[Array, " n"] | None) -> Values:
        return x
    """
    assert without_shape(source) == ["tuple[Array, int]", "Values"]


MDP = tabular.make([[[0.9, 0.1]], [[0.5, 0.5]]], [[1.0], [2.0]], [1.0, 0.0], 0.9)
KEY = jax.random.key(0)
WRONG = {
    "objectives: two batches": lambda: value_aware.vaml(jnp.zeros(3), jnp.zeros(4)),
    "objectives: three classes": lambda: ratios.classifier_loss(jnp.zeros((5, 3)), jnp.zeros(5, bool)),
    "objectives: whole numbers": lambda: value_aware.vaml(jnp.zeros(3), jnp.zeros(3, int)),
    "theory: values of another task": lambda: mnm.tilted_model(MDP.transition, jnp.zeros(3)),
    "theory: as many weights as rewards": lambda: dam.stepwise_estimate(jnp.ones((4, 3)), jnp.ones((4, 3))),
    "tabular: a policy of another task": lambda: tabular.state_value(MDP, np.full((3, 2), 0.5)),
    "tabular: two sets of outcomes": lambda: tabular.kl_divergence(jnp.ones((2, 3)) / 3, jnp.ones((2, 1))),
    "algorithms.tabular: a change per state": lambda: alternation.converged(jnp.zeros((4, 2))),
    "planners: sequences without actions": lambda: planners.exhaustive(lambda key, obs, x: x, jnp.zeros((8, 3))),
    "planners: a weight too few": lambda: planners.box(2).fit(
        (jnp.zeros((5, 2)), jnp.ones((5, 2))), jnp.zeros((7, 5, 2)), jnp.ones(6) / 6
    ),
    "rollouts: one observation": lambda: rollouts.first_action(
        KEY, rollouts.uniform(envs.make("lqr-v0").spec), jnp.zeros(4)
    ),
    "rollouts: a function as a policy": lambda: rollouts.first_action(KEY, jnp.sin, jnp.zeros((3, 4))),
    "rollouts: actions of one step": lambda: rollouts.follow(jnp.zeros((8, 2))),
}
"""Calls with a shape or a type that a signature excludes."""


@pytest.mark.parametrize("name", WRONG)
def test_wrong_shapes_are_refused(name):
    with pytest.raises(TypeCheckError):
        jax.eval_shape(lambda: jax.tree.leaves(WRONG[name]()))


def test_whole_numbers_of_python_are_numbers():
    assert mbpo.theorem_41(1, 0, 0, 0) == 0
    assert mnm.expected_partial_sum(jnp.ones(3), 0) == 1


def test_every_package_has_a_wrong_call():
    assert {name.split(":")[0] for name in WRONG} == set(PACKAGES)
