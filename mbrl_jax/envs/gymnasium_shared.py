"""What our two kinds of Gymnasium environments share: spaces, checks, keys from seeds, pickling."""

from __future__ import annotations

import os
import reprlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jaxtyping import Array
from numpy.typing import ArrayLike

from mbrl_jax.envs import registry
from mbrl_jax.types import Env, Key, PyTree, Spec, is_marked

__all__ = ["Copied", "Given", "actions_of", "check_process", "spaces_of", "started"]

_SEEDS = 2**31 - 1


class _Process:
    """What is known of this process.

    Attributes:
      made: environments have been made, here or before a fork.
      forked: it was forked from one in which they had been: JAX's threads did not come along.
    """

    made = False
    forked = False

    @classmethod
    def after_fork(cls) -> None:
        """Called by Python in a child that was forked, and by nothing else."""
        cls.forked = cls.made


if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(after_in_child=_Process.after_fork)


def spaces_of(spec: Spec) -> tuple[spaces.Box, spaces.Box]:
    """The spaces of one observation and one action."""
    observation = spaces.Box(-np.inf, np.inf, (spec.obs_dim,), np.float32)
    low, high = np.asarray(spec.action_low, np.float32), np.asarray(spec.action_high, np.float32)
    return observation, spaces.Box(low, high, dtype=np.float32)


class Given(NamedTuple):
    """What an environment was asked for: its name, or an `Env`, and options."""

    env: str | Env
    options: dict[str, Any]

    def made(self) -> Env:
        """The environment; notes the process, which must not be forked from here on."""
        _Process.made = True
        return registry.make(self.env, **self.options) if isinstance(self.env, str) else self.env


def check_process() -> None:
    """Refuses a process that was forked from one in which environments have been made.

    Raises:
      RuntimeError: it is such a process; JAX has threads, which a fork does not have.
    """
    if _Process.forked:
        raise RuntimeError(
            "a process in which environments have been made must not be forked, because JAX has threads:"
            " make the others with context='spawn', or by `async_vector`"
        )


def actions_of(spec: Spec, given: ArrayLike, *lead: int) -> np.ndarray:
    """Actions `[*lead, action_dim]` as float32, of anything that is an array `[*lead, action_dim]` of real numbers.

    Raises:
      ValueError: they are no real numbers of this shape.
    """
    what = f"{'actions' if lead else 'an action'} of {spec.name}"
    try:
        array = np.asarray(given)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{what} must be an array of real numbers, got {reprlib.repr(given)}") from None
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ValueError(f"{what} must be an array of real numbers, got {reprlib.repr(given)}")
    if array.shape != (*lead, spec.action_dim):
        raise ValueError(f"{what} must have shape {(*lead, spec.action_dim)}, got {array.shape}")
    return array.astype(np.float32)


def started(generator: np.random.Generator) -> tuple[Key, Key]:
    """Keys for what follows and for the first episode, of a generator just seeded."""
    later, first = jax.random.split(jax.random.key(int(generator.integers(_SEEDS))))
    return later, first


class _Keys(NamedTuple):
    """Random keys as plain numbers, which can be pickled."""

    data: np.ndarray


def _packed(tree: PyTree) -> PyTree:
    """The tree as NumPy holds it."""

    def pack(leaf: Array) -> np.ndarray | _Keys:
        keys = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return _Keys(np.asarray(jax.random.key_data(leaf))) if keys else np.asarray(leaf)

    return jax.tree.map(pack, tree)


def _unpacked(tree: PyTree) -> PyTree:
    """What `_packed` was given."""

    def unpack(leaf: np.ndarray | _Keys) -> Array:
        return jax.random.wrap_key_data(jnp.asarray(leaf.data)) if isinstance(leaf, _Keys) else jnp.asarray(leaf)

    return jax.tree.map(unpack, tree, is_leaf=is_marked(_Keys))


class Copied:
    """Pickling and copying of both kinds: by the name, with the state and what is drawn next."""

    _given: Given
    _env: Env
    _state: PyTree
    _key: PyTree

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._given.env, str):
            rule = "an environment must be given by its name to be pickled or copied"
            raise TypeError(f"{rule}, got an Env of {self._env.spec.name!r}")
        kept = {name: value for name, value in vars(self).items() if name not in ("_env", "_reset", "_step")}
        given = self._given._replace(options={"engine": self._env.spec.engine, **self._given.options})
        return {**kept, "_given": given, "_state": _packed(self._state), "_key": _packed(self._key)}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        vars(self).update(kept)
        self._state, self._key = _unpacked(self._state), _unpacked(self._key)
        self._bind()

    def _bind(self) -> None:
        """Makes the environment and its compiled functions."""
        raise NotImplementedError
