"""What the checks share: one structure in and out, finite numbers, trees that are equal or nearly so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs import contract
from mbrl_jax.types import Info, PyTree

__all__ = [
    "asserted",
    "check_finite",
    "check_info",
    "check_leading",
    "check_near",
    "check_same",
    "check_strong",
    "check_structure",
    "counted",
    "numbers",
    "saved",
    "shapes",
]


def _paths(tree: PyTree) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield jax.tree_util.keystr(path) or "the value", leaf


def shapes(tree: PyTree) -> PyTree:
    """Shapes, dtypes and weak types of a tree of arrays."""
    return jax.eval_shape(lambda x: x, tree)


@contextmanager
def asserted() -> Iterator[None]:
    """A block in which what breaks a rule of `envs.contract` is an `AssertionError`.

    Raises:
      AssertionError: with the message of the `ContractError`.
    """
    try:
        yield
    except contract.ContractError as error:
        raise AssertionError(str(error)) from error


def check_strong(tree: PyTree, what: str) -> None:
    """No leaf is weakly typed: a number of Python became part of it, and a second call would be compiled anew."""
    with asserted():
        contract.check_strong(tree, what)


def check_structure(before: PyTree, after: PyTree, what: str) -> None:
    """Both trees have the same structure, shapes, dtypes and weak types."""
    with asserted():
        contract.check_structure(before, after, what)


def check_leading(tree: PyTree, size: int, what: str) -> None:
    """Every leaf is `[size, ...]`."""
    odd = [f"{path}: {list(leaf.shape)}" for path, leaf in _paths(tree) if leaf.shape[:1] != (size,)]
    assert not odd, f"{what} must have leaves [{size}, ...], got {'; '.join(odd)}"


def check_info(info: Info, what: str) -> None:
    """A flat dict of scalars."""
    assert isinstance(info, dict), f"{what} must be a dict of metrics, got {type(info).__name__}"
    nested = [name for name, value in info.items() if not hasattr(value, "shape")]
    assert not nested, f"{what} must be flat, but {nested} are not arrays"
    wide = {name: list(value.shape) for name, value in info.items() if value.shape != ()}
    assert not wide, f"{what} must have scalars only, got {wide}"


def check_finite(tree: PyTree, what: str, but: Callable[[str], bool] = lambda path: False) -> None:
    """No floating-point leaf has a NaN or an infinity.

    Args:
      but: paths of which this is not asked.
    """
    bad = [
        path
        for path, leaf in _paths(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not but(path) and not np.isfinite(np.asarray(leaf)).all()
    ]
    assert not bad, f"{what} must be finite, but these are not: {bad}"


def numbers(leaf: Any) -> np.ndarray:
    """An array of any shape as NumPy holds it, a random key as its data."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)


def saved(tree: PyTree) -> PyTree:
    """The tree after it has left the device and come back, as through a checkpoint."""

    def back(leaf: Any) -> Array:
        held = np.array(numbers(leaf))
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(held), impl=jax.random.key_impl(leaf))
        return jnp.asarray(held)

    return jax.tree.map(back, tree)


def check_same(found: PyTree, expected: PyTree, rule: str) -> None:
    """Both trees have the same bits."""
    check_structure(shapes(expected), shapes(found), rule)
    pairs = zip(_paths(expected), jax.tree.leaves(found), strict=True)
    differing = [path for (path, x), y in pairs if numbers(x).tobytes() != numbers(y).tobytes()]
    assert not differing, f"{rule}, but these differ: {differing}"


def check_near(
    found: PyTree, expected: PyTree, tolerance: float, rule: str, but: Callable[[str], bool] = lambda path: False
) -> None:
    """The norm of the difference of each array is below `tolerance` times its norm.

    By arrays, because an entry that cancels to nothing has no relative error.

    Args:
      but: paths of which this is not asked.
    """
    pairs = zip(_paths(expected), jax.tree.leaves(found), strict=True)
    errors = {path: _error(numbers(y), numbers(x)) for (path, x), y in pairs if not but(path)}
    far = {path: f"{error:.1e}" for path, error in errors.items() if not error < tolerance}
    assert not far, f"{rule} (relative error of each array below {tolerance:g}), got {far}"


def _error(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    same = np.isnan(x) & np.isnan(y)
    x, y = np.where(same, 0.0, x), np.where(same, 0.0, y)
    return float(np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-30))


def counted(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[None]]:
    """The function under `jit`, and a list with an entry for each time that it was traced."""
    traces: list[None] = []

    def noted(*args: Any) -> Any:
        traces.append(None)
        return function(*args)

    return jax.jit(noted), traces
