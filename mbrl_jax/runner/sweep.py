"""Sweeps: a TOML file becomes a deterministic plan of blocks; each block is one `Run` with an id of its own.

Planning and executing are apart. A plan depends on the file and the package alone, so every machine that reads it makes
the same blocks with the same ids, takes the share `shard i/N`, and results do not depend on who ran what. Seeds and
continuous hyper-parameters of a block share one compiled program; what sets a shape or a branch makes blocks.

    name = "temperature"                 # the experiment is sweep/temperature
    algorithms = ["sac", "mbpo"]
    envs = ["pendulum", "hopper-v4"]
    seeds = 5                            # or a list of seeds
    eval_every = 1000
    [set]                                # fixed values for every algorithm; presets otherwise
    steps = 5000
    [sweep]                              # every combination of these lists
    agent.tau = [0.005, 0.01]
    [mbpo.sweep]                         # for one algorithm
    rollout_batch = [1000, 10000]
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mbrl_jax import envs
from mbrl_jax.algorithms import REGISTRY, preset
from mbrl_jax.checks import MOST_LANES, check_fields, nearest, resolved, shown, whole_seeds
from mbrl_jax.runner import record
from mbrl_jax.runner.precision import STANDARD, Precision
from mbrl_jax.runner.run import Run, override, sweepable
from mbrl_jax.types import Config, Facts

__all__ = ["Block", "Sweep", "blocks", "read", "shard"]

V = TypeVar("V")
MOST_BLOCKS = 10_000
"""Programs of a sweep: each takes seconds at the least to plan and to compile."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep file says, checked.

    Attributes:
      name: the experiment is `sweep/<name>`.
      algorithms: names in the registry.
      envs: versioned names of environments.
      seeds: the seeds of every block.
      fixed: per algorithm, dotted names and values set in every block.
      swept: per algorithm, dotted names and the values they take.
      eval_every: environment steps between evaluations.
      eval_episodes: episodes per evaluation.
      engine: physics engine; None chooses by device.
      precision: of products, see `runner.precision`.
      max_lanes: seeds times values in one program, at most; a larger block is split by its seeds.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`.
    """

    name: str
    algorithms: tuple[str, ...]
    envs: tuple[str, ...]
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    fixed: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    swept: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    eval_every: int = 1000
    eval_episodes: int = 10
    engine: str | None = None
    precision: Precision = STANDARD
    max_lanes: int = 1024

    def __post_init__(self) -> None:
        check_fields(self)


class Block(NamedTuple):
    """One compiled program of a sweep: its run and the run's id."""

    run: Run
    identity: str


def read(path: str | Path) -> Sweep:
    """Reads and checks a sweep file; nothing is built or run.

    Raises:
      ValueError: a name is not known (says which are near), or a value is not of its field's kind.
      OSError: the file cannot be read.
    """
    path = resolved(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, numbers or nesting beyond Python's limits
        raise ValueError(f"a sweep must be a TOML file, got {path}: {' '.join(str(error).split())}") from error
    known = [f.name for f in dataclasses.fields(Sweep) if f.name not in ("fixed", "swept")]
    for key in data:
        if key not in (*known, "set", "sweep", *REGISTRY):
            raise ValueError(nearest(key, [*known, "set", "sweep", *REGISTRY], f"a key of {path}"))
    algorithms = tuple(_strings(data, "algorithms"))
    for name in algorithms:
        if name not in REGISTRY:
            raise ValueError(nearest(name, REGISTRY, "algorithm"))
    for name in REGISTRY:
        if name in data and name not in algorithms:
            raise ValueError(f"[{name}] needs {name!r} among the algorithms, they are {', '.join(algorithms)}")
    tables = {name: _tables(data, name) for name in algorithms}
    facts = {key: data[key] for key in known if key in data and key not in ("algorithms", "envs", "seeds")}
    sweep = Sweep(
        **{"name": path.stem, **facts},
        algorithms=algorithms,
        envs=tuple(_once("envs", [envs.resolve(name) for name in _strings(data, "envs")])),
        seeds=_seeds(data.get("seeds", 5)),
        fixed={name: fixed for name, (fixed, _) in tables.items()},
        swept={name: swept for name, (_, swept) in tables.items()},
    )
    _check_size(sweep)
    for run, _ in blocks(sweep):  # every block is made once, so that errors come before any work
        record.schedule(run, run.build(run.first, run.environment()))
    return sweep


def _strings(data: Facts, key: str) -> list[str]:
    value = data.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key} must be a list of at least one name, got {value!r}")
    return _once(key, value)


def _once(key: str, values: list[V]) -> list[V]:
    """The values; refused if one is there twice."""
    if len(set(map(repr, values))) != len(values):
        raise ValueError(f"{key} must name each once, got {shown(values)}")
    return values


def _table(data: Facts, key: str, place: str) -> Facts:
    """A table of the file; an empty one where there is none.

    Raises:
      ValueError: it is something else.
    """
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"[{place}] must be a table of names and values, got {shown(value)}")
    return value


def _seeds(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) and not (type(value) is int and 1 <= value <= MOST_LANES):
        raise ValueError(f"seeds must be a number from 1 to {MOST_LANES:,} or a list of seeds, got {shown(value)}")
    return whole_seeds(range(value) if isinstance(value, int) else value)


def _tables(data: Facts, algorithm: str) -> tuple[Facts, dict[str, tuple[Any, ...]]]:
    """The values set and swept for one algorithm: those for all, then its own."""
    own = _table(data, algorithm, algorithm)
    for key in own:
        if key not in ("set", "sweep"):
            raise ValueError(nearest(key, ("set", "sweep"), f"a table of [{algorithm}]"))
    like = REGISTRY[algorithm].config()
    fixed, swept = (
        {**_flat(_table(data, key, key), like), **_flat(_table(own, key, f"{algorithm}.{key}"), like)}
        for key in ("set", "sweep")
    )
    for name, values in swept.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{name} is swept over a list of at least one value, got {shown(values)}")
    both = sorted(set(fixed) & set(swept))
    if both:
        raise ValueError(f"a field is either set or swept for {algorithm}, both are: {', '.join(both)}")
    fixed = {name: _like(name, value, like) for name, value in fixed.items()}
    return fixed, {name: tuple(_once(name, [_like(name, each, like) for each in swept[name]])) for name in swept}


def _flat(table: Mapping[str, object], like: Config, prefix: str = "") -> Facts:
    """Nested tables as dotted names, which must be fields of the configuration `like`."""
    found: Facts = {}
    known = {f.name: getattr(like, f.name) for f in dataclasses.fields(like)}
    for key, value in table.items():
        head, _, rest = key.partition(".")
        if head not in known:
            raise ValueError(nearest(prefix + head, [prefix + each for each in known], "a hyper-parameter"))
        inner = {rest: value} if rest else value
        if dataclasses.is_dataclass(known[head]):
            if not isinstance(inner, Mapping):
                raise ValueError(f"{prefix}{head} is a group of hyper-parameters, set those in it, got {shown(value)}")
            found |= _flat(inner, known[head], f"{prefix}{head}.")
        else:
            found[prefix + key] = value
    return found


def _like(name: str, value: Any, config: Config) -> object:
    """The value in the kind of the field's default: lists become tuples, whole numbers floats where one is expected."""
    for part in name.split("."):
        config = getattr(config, part)
    if isinstance(config, tuple) and isinstance(value, list):
        return tuple(value)
    expects_number = (config is None or isinstance(config, float)) and type(value) in (int, float)
    if expects_number and not abs(value) > sys.float_info.max:  # NaN is refused by the field's own rule
        return float(value)
    if config is None or expects_number or type(value) is not type(config):
        raise ValueError(f"{name} must be like its default {shown(config)}, got {shown(value)}")
    return value


class _Program(NamedTuple):
    """What an algorithm's programs in one environment begin with: its configuration, and what is swept how."""

    config: Config
    shaping: list[str]
    continuous: list[str]


def _program(sweep: Sweep, algorithm: str, env: str) -> _Program:
    swept, fixed = sweep.swept.get(algorithm, {}), sweep.fixed.get(algorithm, {})
    started = override(preset(algorithm, env), {**fixed, **{name: values[0] for name, values in swept.items()}})
    continuous = [name for name in swept if name in sweepable(started)]
    return _Program(started, [name for name in swept if name not in continuous], continuous)


def _configurations(sweep: Sweep) -> Iterator[tuple[str, str, str, Config, tuple[tuple[str, tuple[float, ...]], ...]]]:
    """Algorithm, environment, label, configuration and continuous sweep of every program, in the file's order."""
    for algorithm, env in itertools.product(sweep.algorithms, sweep.envs):
        swept, (started, shaping, continuous) = sweep.swept.get(algorithm, {}), _program(sweep, algorithm, env)
        for values in itertools.product(*(swept[name] for name in shaping)):
            chosen = dict(zip(shaping, values, strict=True))
            shown = ", ".join(f"{name}={_shown(value)}" for name, value in chosen.items())
            config = override(started, chosen)
            label = f"{algorithm}[{shown}]" if shown else algorithm
            yield algorithm, env, label, config, tuple((name, swept[name]) for name in continuous)


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _check_size(sweep: Sweep) -> None:
    """Refuses a sweep of so many programs that planning them would not end.

    Raises:
      ValueError: says how many there would be.
    """
    programs = 0
    for algorithm, env in itertools.product(sweep.algorithms, sweep.envs):
        sizes = {name: len(values) for name, values in sweep.swept.get(algorithm, {}).items()}
        _, shaping, continuous = _program(sweep, algorithm, env)
        seeds = max(1, sweep.max_lanes // math.prod(sizes[name] for name in continuous))
        programs += math.prod(sizes[name] for name in shaping) * -(-len(sweep.seeds) // seeds)
    if programs > MOST_BLOCKS:
        raise ValueError(
            f"a sweep must be of at most {MOST_BLOCKS:,} programs (values that set shapes, times groups of seeds), "
            f"got {programs:,}"
        )


def blocks(sweep: Sweep) -> list[Block]:
    """All blocks in a fixed order: by algorithm, environment, shape, so that neighbours share compiled code."""
    found = []
    for algorithm, env, label, config, continuous in _configurations(sweep):
        size = max(1, sweep.max_lanes // math.prod(len(values) for _, values in continuous))
        for first in range(0, len(sweep.seeds), size):
            run = Run(
                experiment=f"sweep/{sweep.name}",
                algorithm=label,
                method=algorithm,
                config=config,
                env=env,
                engine=sweep.engine,
                precision=sweep.precision,
                seeds=sweep.seeds[first : first + size],
                eval_every=sweep.eval_every,
                eval_episodes=sweep.eval_episodes,
                sweep=continuous,
            )
            found.append(Block(run, run.run_id(run.environment())))
    return found


def shard(planned: list[Block], which: str | None) -> list[Block]:
    """The share `i/N` of a plan, i from 1 to N; everything if None. The shares are disjoint and make up the whole.

    Raises:
      ValueError: it is not of that form.
    """
    if which is None:
        return planned
    index, _, count = which.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise ValueError(f"a shard is i/N with 1 <= i <= N, got {which!r}")
    return planned[int(index) - 1 :: int(count)]
