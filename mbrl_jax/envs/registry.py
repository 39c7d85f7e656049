"""Environments by name: every module of this package, or of yours, that states what it offers; wrapped ones too.

A module states `ENVS`, names with their version and functions `make(name, *, time_limit=...) -> Env`. One of this
package is found by listing it; one of yours is named before the environment, as in `mylab.worlds:maze-v0`.

A module of this package with a function `wrap(env, *numbers, name) -> Env` is a wrapper for every environment:
`STEM_MODULE_N_M-vV` is `wrap(make("STEM-vV"), N, M, name=...)`. It is found by listing, too.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mbrl_jax.checks import nearest
from mbrl_jax.envs.mujoco_mbbl import MBBL_TASKS
from mbrl_jax.envs.mujoco_robots import NOT_ON_MJX, ROBOT_TASKS
from mbrl_jax.envs.mujoco_table import ALIASES, TASKS
from mbrl_jax.envs.mujoco_tasks import Task
from mbrl_jax.types import Env

__all__ = ["engines", "make", "names", "plain", "resolve", "unwrapped"]


class Entry(NamedTuple):
    """How to make one environment, on which engines, and with which options for each."""

    make: Callable[..., Env]
    engines: dict[str, tuple[str, ...]]


def _mujoco(name: str, **options: Any) -> Env:
    """Imports MuJoCo only when one of its tasks is made."""
    from mbrl_jax.envs import mujoco_envs

    return mujoco_envs.make(name, **options)


PACKAGE = "mbrl_jax.envs"
_JAX = {"jax": ("time_limit",)}
_SOLVER = ("iterations", "ls_iterations")
_PHYSICS = {
    "mujoco": ("time_limit", "threads"),
    "mjx": ("time_limit", *_SOLVER),
    "warp": ("time_limit", "environments", *_SOLVER),
}


def _stated(path: str) -> dict[str, Entry]:
    """What the module at a path offers."""
    module = importlib.import_module(path)
    if not isinstance(getattr(module, "ENVS", None), Mapping):
        raise ValueError(f"a module of environments states ENVS, names with functions make(name), {path} does not")
    return {name: Entry(make, _JAX) for name, make in module.ENVS.items()}


def _source(path: str) -> str:
    """A module's source, without importing it."""
    spec = importlib.util.find_spec(path)
    loader = None if spec is None else spec.loader
    return (loader.get_source(path) or "") if isinstance(loader, importlib.abc.InspectLoader) else ""


def _bodies(name: str, task: Task) -> Entry:
    """A MuJoCo task, on the engines that can simulate it and know what it observes."""
    if name in NOT_ON_MJX:
        return Entry(_mujoco, {"mujoco": _PHYSICS["mujoco"]})
    lacking = {"warp"} if "cfrc_ext" in task.derived else set()
    return Entry(_mujoco, {engine: options for engine, options in _PHYSICS.items() if engine not in lacking})


def _listed() -> dict[str, Entry]:
    """What this package's modules offer; those that state nothing, some of which import MuJoCo, are not imported."""
    found: dict[str, Entry] = {}
    for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__, f"{PACKAGE}."):
        if not re.search(r"^ENVS\b.*=", _source(module.name), re.MULTILINE):
            continue
        stated = _stated(module.name)
        if twice := sorted(set(stated) & set(found)):
            raise ValueError(f"an environment is stated by one module, {module.name} repeats {', '.join(twice)}")
        found |= stated
    return found


_ENTRIES: dict[str, Entry] = {
    **_listed(),
    **{name: _bodies(name, task) for name, task in {**TASKS, **MBBL_TASKS, **ROBOT_TASKS}.items()},
}
_SHORT = {re.sub(r"-v\d+$", "", name): name for name in reversed(_ENTRIES)}
"""Names without a version, for the first version that is listed."""


def plain(name: str) -> str:
    """A name without what tells spellings apart, capitals and what separates words: `cartpole-v1` of `CartPole-v1`."""
    return re.sub(r"_|-(?!v\d+$)", "", name.lower())


_PLAIN = {plain(name): found for name, found in {**ALIASES, **_SHORT, **{name: name for name in _ENTRIES}}.items()}
"""Every name without what tells spellings apart."""


class _Wrapped(NamedTuple):
    """A wrapped environment's parts: the wrapper's module, the name inside, and the numbers."""

    module: str
    inside: str
    numbers: tuple[int, ...]


@functools.cache
def _wrapped(name: str) -> _Wrapped | None:
    """The parts of a wrapped environment's name, or None."""
    package = __name__.rpartition(".")[0]
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        parts = re.fullmatch(rf"(.+)_{found.name}((?:_\d+)*)(-v\d+)?", name, re.IGNORECASE)
        if parts and hasattr(importlib.import_module(f"{package}.{found.name}"), "wrap"):
            stem, numbers, version = parts.group(1), parts.group(2), parts.group(3) or ""
            return _Wrapped(f"{package}.{found.name}", stem + version, tuple(map(int, numbers.split("_")[1:])))
    return None


def unwrapped(name: str) -> str:
    """The name of the environment inside a wrapped one, with a version if it has one; any other name as it is."""
    parts = _wrapped(name)
    return name if parts is None else unwrapped(parts.inside)


def names() -> tuple[str, ...]:
    """The versioned ids of this package's environments, sorted; any of them can be wrapped."""
    return tuple(sorted(_ENTRIES))


def engines(name: str) -> tuple[str, ...]:
    """The engines that an environment can be made on.

    Raises:
      ValueError: as of `resolve`.
    """
    return tuple(_entry(resolve(unwrapped(name))).engines)


def _entry(name: str) -> Entry:
    """How to make an environment that is not wrapped, by the name that `resolve` gave."""
    path, colon, inner = name.rpartition(":")
    return _stated(path)[inner] if colon else _ENTRIES[name]


def resolve(name: str) -> str:
    """The versioned id of a name: an id, an id without its version, or Gym's spelling, such as `HalfCheetah-v4`.

    Capitals, and underscores and hyphens between words, make no difference. An environment of a module of yours is
    called as that module states it, after the module's path: `mylab.worlds:maze-v0`.

    Raises:
      ValueError: if no environment has the name; the message holds the nearest ones. Or if Python finds no module of
        that path, or the module states no environments.
    """
    name = name.removeprefix("mbrl_jax/")
    found, parts = _PLAIN.get(plain(name)), _wrapped(name)
    if found is None and parts is not None:
        stem, _, version = resolve(parts.inside).rpartition("-v")
        module = parts.module.rpartition(".")[2]
        return "_".join([stem, module, *map(str, parts.numbers)]) + f"-v{version}"
    path, colon, inner = name.rpartition(":")
    if colon:
        return f"{path}:{_own(path, inner)}"
    if found is None:
        raise ValueError(nearest(name, [*_ENTRIES, *_SHORT], "environment"))
    return found


def _own(path: str, name: str) -> str:
    """The name, if the module at the path states it."""
    try:
        stated = _stated(path)
    except ModuleNotFoundError as error:
        raise ValueError(f"what stands before ':' must be a module that Python finds, got {path!r}: {error}") from error
    if name not in stated:
        raise ValueError(nearest(name, stated, f"environment of {path}"))
    return name


def make(name: str, engine: str | None = None, **options: Any) -> Env:
    """The environment of that name.

        >>> env = mb.make_env("pendulum")
        >>> env.spec.name, env.spec.obs_dim, env.spec.time_limit
        ('pendulum-v1', 3, 200)

    Args:
      name: see `resolve`; `names()` lists them all.
      engine: what computes the physics. MuJoCo tasks: `mujoco` (C, through a host callback), `mjx` (on the device),
        or `warp` (NVIDIA's kernels, for those that observe no contact forces); default, `mujoco` where JAX's device is
        a CPU and `mjx` elsewhere. All others: `jax`.
      **options: `time_limit` for all; `threads` for `mujoco`; `iterations` and `ls_iterations` for `mjx` and `warp`;
        `environments`, the most that are stepped together, for `warp`.

    Returns:
      The environment. The same arguments give the same object, so that compiled programs are found again.

    Raises:
      ValueError: if there is no such environment, engine or option, or an option is not a positive number.
    """
    name = resolve(name)
    parts = _wrapped(name)
    if parts is not None:
        return _wrap(name, parts, make(parts.inside, engine, **options))
    engines = _entry(name).engines
    if engine is not None and engine not in engines:
        raise ValueError(nearest(str(engine), engines, f"engine of {name}"))
    chosen = engine or _default_engine(engines)
    for option, value in options.items():
        if option not in engines[chosen]:
            raise ValueError(nearest(option, engines[chosen], f"option of {name} on engine {chosen!r}"))
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"option {option!r} of {name} must be a positive int, got {value!r}")
    return _made(name, chosen, tuple(sorted(options.items())))


@functools.cache
def _wrap(name: str, parts: _Wrapped, inside: Env) -> Env:
    wrap = importlib.import_module(parts.module).wrap
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    numbers = [one for one in inspect.signature(wrap).parameters.values() if one.kind == positional][1:]
    least, most = sum(one.default is one.empty for one in numbers), len(numbers)
    if not least <= len(parts.numbers) <= most:
        raise ValueError(f"{parts.module.rpartition('.')[2]} takes {least} to {most} numbers, got {name!r}")
    return wrap(inside, *parts.numbers, name=name.rpartition(":")[2])


def _default_engine(engines: dict[str, tuple[str, ...]]) -> str:
    if len(engines) == 1:
        return next(iter(engines))
    from mbrl_jax.envs.mujoco_envs import default_engine

    return default_engine()


@functools.cache
def _made(name: str, engine: str, options: tuple[tuple[str, Any], ...]) -> Env:
    entry = _entry(name)
    given = dict(options) if len(entry.engines) == 1 else {"engine": engine, **dict(options)}
    return entry.make(name.rpartition(":")[2], **given)
