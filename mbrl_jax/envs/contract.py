"""The rules of `types.Env` that can be checked without running or compiling anything.

`build` asks them of an environment when it is made, `mbrl_jax.testing.check_env` of anybody's. What is refused is named
by its field, the rule, and what was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax.types import Env, PyTree, Spec, Transition

__all__ = ["ContractError", "check_env", "check_parts", "check_spec", "check_strong", "check_structure"]

Given = tuple[PyTree, ...]
_LARGEST = 1e38
"""Bounds below it, and their difference, are finite in 32 bits."""
_BATCH = (2, 3)
"""Leading axes with which `reward` and `terminal` are tried: any will do."""


class ContractError(ValueError):
    """An environment breaks a rule of `types.Env`; the message names field, rule and what was given."""


class _Rule(NamedTuple):
    """Shape and kind of one array."""

    shape: tuple[int, ...]
    words: str
    flag: bool = False


def check_spec(spec: Spec) -> None:
    """Refuses a spec whose entries cannot be those of an environment.

    Raises:
      ContractError: a name is no printable text; a dimension or the time limit is no whole number of at least 1; bounds
        are not `action_dim` finite numbers, the lower below the upper; `dt` is negative or not finite.
    """
    for name in ("obs_dim", "action_dim", "time_limit"):
        value = getattr(spec, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or not 1 <= int(value) < 2**31:
            raise ContractError(f"{name} must be a whole number of at least 1, in 32 bits, got {value!r}")
    for name in ("action_low", "action_high"):
        bounds, many = getattr(spec, name), spec.action_dim
        if not isinstance(bounds, tuple) or len(bounds) != many or not all(map(_is_bound, bounds)):
            raise ContractError(f"{name} must be a tuple of action_dim={many} finite numbers, got {bounds!r}")
    crossed = [i for i, (low, high) in enumerate(zip(spec.action_low, spec.action_high, strict=True)) if low >= high]
    if crossed:
        given = f"got {spec.action_low} and {spec.action_high}"
        raise ContractError(f"action_low must be below action_high, is not at entries {crossed}, {given}")
    if not isinstance(spec.dt, Real) or not (math.isfinite(spec.dt) and spec.dt >= 0):
        raise ContractError(f"dt must be finite and at least 0, got {spec.dt!r}")
    for name in ("name", "engine"):
        value = getattr(spec, name)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ContractError(f"{name} must be printable text, got {value!r}")


def _is_bound(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(float(value)) < _LARGEST


def check_parts(
    spec: Spec,
    start: Callable[..., object],
    advance: Callable[..., object],
    reward: Callable[..., object] | None,
    terminal: Callable[..., object] | None,
    *,
    selective: bool,
) -> None:
    """Refuses a spec, a start or a step of which `build` cannot make an environment; traces each of them once.

    Raises:
      ContractError: names the first part that is not of the shape, type or structure of `types.Env`.
    """
    check_spec(spec)
    key, flag = jax.eval_shape(jax.random.key, 0), jax.ShapeDtypeStruct((), np.bool_)
    wide = _Rule((spec.obs_dim,), f"(obs_dim,) = ({spec.obs_dim},)")
    physics, obs = _results(spec, "start", start, ("physics", "obs"), (key, flag) if selective else (key,))
    _check_array("obs of start", obs, wide)
    given = (key, physics, _floats(spec.obs_dim), _floats(spec.action_dim))
    names = ("physics", "next_obs", "reward", "terminated")
    after, next_obs, gain, ended = _results(spec, "advance", advance, names, given)
    check_structure(physics, after, "physics of advance", weak=False)
    _check_array("next_obs of advance", next_obs, wide)
    _check_array("reward of advance", gain, _Rule((), "()"))
    _check_array("terminated of advance", ended, _Rule((), "()", flag=True))
    _check_definitions(spec, reward, terminal)


def check_env(env: Env) -> None:
    """Refuses an environment whose spec, state or transitions are not those of `types.Env`.

    Raises:
      ContractError: names the first part that is not of the shape, type or structure of `types.Env`.
    """
    spec = env.spec
    check_spec(spec)
    key = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(env.reset, key)
    if not hasattr(state, "obs"):
        raise ContractError(f"an environment's state must have a field `obs`, got {type(state).__name__}")
    check_strong(state, "an environment's state")
    after, step = _results(spec, "step", env.step, ("state", "transition"), (key, state, _floats(spec.action_dim)))
    check_structure(state, after, "an environment's state")
    if not isinstance(step, Transition):
        raise ContractError(f"`step` must give a Transition, got {_form(step)}")
    check_strong(step, "a transition")
    shapes = {"obs": (spec.obs_dim,), "next_obs": (spec.obs_dim,), "action": (spec.action_dim,)}
    _check_array("a state's obs", state.obs, _Rule(shapes["obs"], f"(obs_dim,) = {shapes['obs']}"))
    for name in Transition._fields[:6]:
        shape = shapes.get(name, ())
        found, flag = getattr(step, name), name == "truncated"
        _check_array(f"a transition's {name}", found, _Rule(shape, str(shape), flag))
        if not flag and not jnp.issubdtype(found.dtype, jnp.floating):
            raise ContractError(f"a transition's {name} must be floating-point, got {found.dtype}")
    _check_definitions(spec, env.reward, env.terminal)


def check_structure(before: PyTree, after: PyTree, what: str, *, weak: bool = True) -> None:
    """Refuses two trees that differ in structure, shapes or dtypes; in weak types too, unless they may change.

    Raises:
      ContractError: names the leaves that differ, before and after.
    """
    structures = jax.tree.structure(before), jax.tree.structure(after)
    if structures[0] != structures[1]:
        raise ContractError(f"{what} must keep one structure, got {structures[0]} before and {structures[1]} after")
    changed = []
    for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        told, became = _described(old, weak), _described(new, weak)
        if told != became:
            changed.append(f"{jax.tree_util.keystr(path) or 'the value'}: {told} became {became}")
    if changed:
        raise ContractError(f"{what} must keep shapes and dtypes, but {'; '.join(changed)}")


def _described(leaf: jax.ShapeDtypeStruct, weak: bool) -> str:
    loose = weak and getattr(leaf, "weak_type", False)
    return f"{leaf.dtype}{list(leaf.shape)}{', weakly typed' if loose else ''}"


def check_strong(tree: PyTree, what: str) -> None:
    """Refuses a tree with weak types: a number of Python became part of it, and a second call would compile anew.

    Raises:
      ContractError: names the leaves that are weakly typed.
    """
    leaves = jax.tree.leaves_with_path(tree)
    weak = [jax.tree_util.keystr(path) for path, leaf in leaves if getattr(leaf, "weak_type", False)]
    if weak:
        raise ContractError(f"{what} must have no weak types (give every constant a dtype), found them at {weak}")


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(np.float64))


def _results(spec: Spec, what: str, function: Callable[..., object], names: tuple[str, ...], given: Given) -> Given:
    """Shapes of a function's results, which must be as many arrays, or trees of them, as there are names."""

    def traced(*args: PyTree) -> Given:
        found = function(*args)
        if not isinstance(found, tuple | list) or len(found) != len(names):
            raise ContractError(f"{what} must return ({', '.join(names)}), got {_form(found)}")
        for name, part in zip(names, found, strict=True):
            _check_arrays(f"{name} of {what}", part)
        return tuple(found)

    return _shapes(f"{what} of {spec.name}", traced, *given)


def _shapes(what: str, function: Callable[..., PyTree], *given: PyTree) -> PyTree:
    """Shapes of what a function returns; an error of its own is told where it was met."""
    try:
        return jax.eval_shape(function, *given)
    except ContractError:
        raise
    except Exception as error:
        error.add_note(f"met while {what} was traced, for its shapes")
        raise


def _check_arrays(what: str, tree: PyTree) -> None:
    for leaf in jax.tree.leaves(tree):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            raise ContractError(f"{what} must hold arrays, got {type(leaf).__name__} {leaf!r}")


def _check_array(what: str, found: PyTree, rule: _Rule) -> None:
    """Refuses what is no array of the rule's shape, or not of real numbers, or of a flag."""
    if not isinstance(found, jax.ShapeDtypeStruct):
        raise ContractError(f"{what} must be one array, got {_form(found)}")
    if found.shape != rule.shape:
        raise ContractError(f"{what} must have shape {rule.words}, got {found.shape}")
    _check_kind(what, found, rule.flag)


def _check_kind(what: str, found: jax.ShapeDtypeStruct, flag: bool) -> None:
    real = any(jnp.issubdtype(found.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
    if not real or (flag and found.dtype != jnp.bool_):
        raise ContractError(f"{what} must be {'bool' if flag else 'real'}, got {found.dtype}")


def _check_definitions(
    spec: Spec, reward: Callable[..., object] | None, terminal: Callable[..., object] | None
) -> None:
    """`reward` and `terminal` map arrays with any leading axes to one value each."""
    obs, action = _floats(*_BATCH, spec.obs_dim), _floats(*_BATCH, spec.action_dim)
    for name, function, given in (("reward", reward, (obs, action, obs)), ("terminal", terminal, (obs,))):
        if function is None:
            continue
        found = _shapes(f"`{name}` of {spec.name}", function, *given)
        if not isinstance(found, jax.ShapeDtypeStruct):
            raise ContractError(f"`{name}` must give one array, got {_form(found)}")
        if found.shape != _BATCH:
            raise ContractError(f"`{name}` must give shape {_BATCH} for obs of shape {obs.shape}, got {found.shape}")
        _check_kind(f"`{name}`", found, name == "terminal")


def _form(found: object) -> str:
    """What something is, in words."""
    if isinstance(found, Mapping):
        return f"a dict of {', '.join(map(repr, sorted(found, key=str)))}"
    if isinstance(found, tuple | list):
        return f"{len(found)} values" if type(found) in (tuple, list) else type(found).__name__
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    return f"{dtype}{list(shape)}" if shape is not None else type(found).__name__
