"""Algorithms by name: every module of this package, or of yours, that states what an algorithm must state.

A module states `Config`, `make(config, env, **options) -> Algorithm`, `preset(base) -> Config` for an environment's
name without version, `ABOUT` (one line for lists) and `VERSION` (a whole number, raised when the same configuration
gives other numbers than before). A variation of an algorithm states `VARIES` (the algorithm's name), `OPTIONS` (the
arguments of `make` that it fixes), `preset(base, config) -> Config` made of the algorithm's own preset, `ABOUT` and
`VERSION`.

Ours: plumbing, without a paper.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from types import ModuleType
from typing import NamedTuple

from mbrl_jax import envs
from mbrl_jax.checks import nearest
from mbrl_jax.types import Algorithm, Config, Env, PyTree

__all__ = ["REGISTRY", "Entry", "check_config", "entry_of", "find", "make", "preset"]

PACKAGE = "mbrl_jax.algorithms"
STATED = ("make", "Config", "preset", "ABOUT", "VERSION")
VARIATION = ("VARIES", "OPTIONS", "preset", "ABOUT", "VERSION")


class Entry(NamedTuple):
    """An algorithm by name.

    Attributes:
      name: its name in lists, results and run ids.
      version: raised when the same configuration gives other numbers than before.
      config: its configuration class.
      make: `make(config, env, **options) -> Algorithm`.
      preset: `preset(base) -> config` for an environment's name without version.
      about: one line for lists.
    """

    name: str
    version: int
    config: type
    make: Callable[..., Algorithm[PyTree]]
    preset: Callable[[str], Config]
    about: str


def _entry(name: str, module: ModuleType) -> Entry:
    """The entry of a module.

    Raises:
      ValueError: it lacks something that an algorithm must state; says what.
    """
    varies = getattr(module, "VARIES", None)
    missing = [stated for stated in (STATED if varies is None else VARIATION) if not hasattr(module, stated)]
    if missing:
        raise ValueError(
            f"an algorithm's module states {', '.join(STATED)} (or, as a variation, {', '.join(VARIATION)}); "
            f"{module.__name__} lacks {', '.join(missing)}"
        )
    if varies is None:
        return Entry(name, module.VERSION, module.Config, module.make, module.preset, module.ABOUT)
    base = find(varies)
    return Entry(
        name,
        # A variation's numbers change with those of what it varies too.
        base.version * 1000 + module.VERSION,
        base.config,
        partial(base.make, **module.OPTIONS),
        partial(_varied, module.preset, base.preset),
        module.ABOUT,
    )


def _varied(own: Callable[[str, PyTree], PyTree], preset: Callable[[str], PyTree], base: str) -> PyTree:
    """The preset of a variation, made of that of the algorithm that it varies."""
    return own(base, preset(base))


@cache
def _names() -> tuple[str, ...]:
    """Names of the package's modules that are algorithms."""
    package = importlib.import_module(PACKAGE)
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__) if not found.ispkg)
    return tuple(name for name in names if hasattr(importlib.import_module(f"{PACKAGE}.{name}"), "ABOUT"))


@cache
def find(name: str) -> Entry:
    """An algorithm by its name in this package, or by the path of a module of your own (`mylab.steve`).

    A module of your own is known by its last part, `steve`: moving it changes no run's id. `mylab.steve:LONGER` is the
    `Entry` of that name in the module, known by the name that it states.

    Raises:
      ValueError: there is none of that name, and says which are near; or the module lacks something.
    """
    if name in _names():
        return _entry(name, importlib.import_module(f"{PACKAGE}.{name}"))
    path, colon, thing = name.partition(":")
    if "." not in path and not colon:
        raise ValueError(nearest(name, _names(), "algorithm") + " (or give the path of a module, as in mylab.steve)")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise ValueError(f"an algorithm's path must name a module that Python finds, got {name!r}: {error}") from error
    if not colon:
        return _entry(path.rpartition(".")[2], module)
    entry = getattr(module, thing, None)
    if not isinstance(entry, Entry):
        raise ValueError(f"what stands after ':' must be an Entry in {path}, got {name!r}")
    return entry


class _Registry(Mapping[str, Entry]):
    """This package's algorithms, found when asked for."""

    def __getitem__(self, name: str) -> Entry:
        if name not in _names():
            raise KeyError(name)
        return find(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())


REGISTRY: Mapping[str, Entry] = _Registry()


def entry_of(algorithm: str | Entry) -> Entry:
    """An algorithm by its name, the path of its module, or as it is."""
    return algorithm if isinstance(algorithm, Entry) else find(algorithm)


def check_config(entry: Entry, config: Config) -> None:
    """Refuses a configuration that is not of an algorithm's own class.

    Raises:
      ValueError: it is of another class than `entry.config`.
    """
    if not isinstance(config, entry.config):
        raise ValueError(
            f"the configuration of {entry.name} is a {entry.config.__qualname__}, got a {type(config).__qualname__}"
        )


def make(algorithm: str | Entry, env: Env, config: Config | None = None, **options: object) -> Algorithm[PyTree]:
    """An algorithm on an environment as three pure functions: `init`, `step` and `policy`.

        >>> algorithm = mb.make("sac", mb.make_env("pendulum"))
        >>> algorithm.env_steps  # of one call of `step`
        250

    Args:
      algorithm: a name in `REGISTRY`, the path of a module of your own, or an `Entry`.
      env: what it learns in.
      config: its configuration; the preset for the environment if None.
      options: arguments of the algorithm's own `make` beside configuration and environment.

    Raises:
      ValueError: the algorithm is not known, or the configuration is another algorithm's.
    """
    entry = entry_of(algorithm)
    config = preset(entry, env.spec.name) if config is None else config
    check_config(entry, config)
    return entry.make(config, env, **options)


def preset(algorithm: str | Entry, env: str) -> Config:
    """The configuration of an algorithm for an environment, or its defaults where no preset exists.

        >>> mb.preset("mbpo", "hopper").rollout_schedule
        (20, 150, 1, 15)

    Args:
      algorithm: a name in `REGISTRY`, the path of a module, or an `Entry`.
      env: a registry name such as `hopper-v4`, with or without its version. Of a wrapped one, what is inside counts; a
        module's path before a name does not.

    Raises:
      ValueError: the algorithm is not known; names the nearest.
    """
    env = envs.unwrapped(env).rpartition(":")[2]
    base, _, version = env.rpartition("-v")
    return entry_of(algorithm).preset(base if base and version.isdigit() else env)
