"""What a run is: everything that determines its numbers, and the lanes it consists of."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from mbrl_jax import envs, results
from mbrl_jax.algorithms import Entry, check_config, entry_of
from mbrl_jax.checks import MOST_LANES, check_fields, nearest, shown, whole_seeds
from mbrl_jax.runner.precision import STANDARD, Precision
from mbrl_jax.types import Algorithm, Config, Env, Facts

__all__ = ["Lane", "Run", "check_sweepable", "override", "sweepable"]


UNSTATED = ("made_by", "stated", "labelled_by", "evaluated_untrained")
"""Fields that are no entries of an id: they say what is shown, or are stated otherwise."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One seed with its values of the swept hyper-parameters, and its label in the results."""

    seed: int
    values: dict[str, float]
    label: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One algorithm, configuration and environment with many seeds: one compiled program, one entry in the store.

        >>> facts = {"experiment": "mine", "algorithm": "SAC", "method": "sac", "env": "pendulum"}
        >>> run = mb.Run(config=mb.preset("sac", "pendulum"), sweep=(("agent.tau", (0.005, 0.01)),), **facts)
        >>> len(run.lanes())  # 5 seeds with 2 values each
        10

    Attributes:
      experiment: what the run belongs to, for example `mbpo/figure2`.
      algorithm: label in the results.
      method: the algorithm: its name in the registry, the path of a module of your own (`mylab.steve`), or an `Entry`.
      options: arguments of the algorithm's `make` beside configuration and environment; plain data, or functions that
        have a name (`functools.partial` of one, too).
      config: the algorithm's configuration; must have a field `steps`.
      env: registry name of the environment.
      engine: physics engine; None chooses by device.
      precision: of products: `float32`, or what the device has that is faster: `tensorfloat32` on an NVIDIA GPU,
        `bfloat16` on a TPU.
      seeds: the seeds, distinct whole numbers in [0, 2³²) in any sequence; all run at once.
      eval_every: environment steps between evaluations.
      eval_episodes: episodes per evaluation, deterministic policy, true environment.
      sweep: names of continuous hyper-parameters (dotted) with their values; every combination runs with every seed.
      profile: `smoke`, `laptop` or `paper` for artefacts; anything else for one's own runs.
      made_by: makes the environment where it is not the registered one; a function that has a name.
      stated: what else determines the numbers, by name: entries of the id. Where they are given they stand for
        `made_by`, whose name and arguments are an entry else.
      labelled_by: swept hyper-parameters that labels show; all if None. What is left out must not tell lanes apart.
      evaluated_untrained: whether the policy is evaluated before training too; where planning is dear it need not be.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; seeds are not distinct; there are more than `MOST_LANES`
        lanes; the configuration is not the algorithm's own; an option has no name of its own; a swept name is no
        continuous field or given twice, its values are not distinct in single precision; `labelled_by` does not tell
        lanes apart.
    """

    experiment: str
    algorithm: str
    method: str | Entry
    config: Config
    env: str
    engine: str | None = None
    precision: Precision = STANDARD
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    eval_every: int = 1000
    eval_episodes: int = 10
    sweep: tuple[tuple[str, tuple[float, ...]], ...] = ()
    profile: str = "custom"
    options: Mapping[str, object] = dataclasses.field(default_factory=dict)
    made_by: Callable[[], Env] | None = None
    stated: Mapping[str, object] = dataclasses.field(default_factory=dict)
    labelled_by: tuple[str, ...] | None = None
    evaluated_untrained: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", whole_seeds(self.seeds))
        check_fields(self)
        check_config(self.entry, self.config)
        for value in (*self.options.values(), *self.stated.values(), *filter(None, [self.made_by])):
            _stated(value)
        swept = [name for name, _ in self.sweep]
        if (lanes := len(self.seeds) * math.prod(len(values) for _, values in self.sweep)) > MOST_LANES:
            raise ValueError(f"a run has at most {MOST_LANES:,} lanes, seeds times swept values, got {lanes:,}")
        if len(set(swept)) != len(swept):
            raise ValueError(f"a hyper-parameter may be swept once, got {', '.join(swept)}")
        for name, values in self.sweep:
            if not values or len({float(np.float32(value)) for value in values}) != len(values):
                raise ValueError(f"values of {name} must be distinct in single precision, at least one, got {values}")
            check_sweepable(self.config, name)
            for value in values:
                override(self.config, {name: value})
        hidden = [name for name, values in self.sweep if name not in self._labels and len(values) > 1]
        if strangers := [name for name in self._labels if name not in swept]:
            raise ValueError(f"labels show swept hyper-parameters ({', '.join(swept)}), got {', '.join(strangers)}")
        if hidden:
            raise ValueError(f"labels must tell lanes apart, they leave out {', '.join(hidden)} of several values")

    @property
    def _labels(self) -> tuple[str, ...]:
        """The swept hyper-parameters that labels show."""
        return tuple(name for name, _ in self.sweep) if self.labelled_by is None else self.labelled_by

    @property
    def entry(self) -> Entry:
        """The algorithm."""
        return entry_of(self.method)

    def environment(self) -> Env:
        """The environment."""
        return envs.make(self.env, engine=self.engine) if self.made_by is None else self.made_by()

    def build(self, values: Mapping[str, object], env: Env) -> Algorithm:
        """The algorithm with the given hyper-parameter values, which may be traced."""
        return self.entry.make(override(self.config, values), env, **self.options)

    @property
    def first(self) -> dict[str, float]:
        """Values of the swept hyper-parameters in the first lane."""
        return {name: values[0] for name, values in self.sweep}

    def lanes(self) -> list[Lane]:
        """All lanes: combinations of the swept values, seeds innermost."""
        names = [name for name, _ in self.sweep]
        combinations = [dict(zip(names, c, strict=True)) for c in itertools.product(*(v for _, v in self.sweep))]
        return [Lane(seed=s, values=c, label=self._label(c)) for c in combinations for s in self.seeds]

    def _label(self, values: Mapping[str, float]) -> str:
        shown = [
            f"{name}={value:g}" if float(f"{value:g}") == value else f"{name}={value!r}"
            for name, value in values.items()
            if name in self._labels
        ]
        return f"{self.algorithm}[{', '.join(shown)}]" if shown else self.algorithm

    def identity(self, env: Env) -> Facts:
        """Everything that determines the numbers; its hash is the run's id. No module's path is part of it.

        Raises:
          ValueError: a function among the options has no name of its own.
        """
        left_out = ["method", "options", "engine", *UNSTATED, *(["precision"] if self.precision == STANDARD else [])]
        facts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}
        options = {name: _stated(value) for name, value in self.options.items()}
        method = {"name": self.entry.name, "version": self.entry.version, "options": options}
        stated = {name: _stated(value) for name, value in self.stated.items()}
        if self.made_by is not None and not stated:
            stated = {"made_by": _stated(self.made_by)}
        return {**facts, "env": dataclasses.asdict(env.spec), "method": method, **stated}

    def run_id(self, env: Env) -> str:
        """The run's id in the results store."""
        return results.run_id(self.identity(env))


def _stated(value: object) -> object:
    """An option as plain data: a function is its name and what is bound to it, an array is its entries.

    Raises:
      ValueError: what it is cannot be told by its content: an object, or a function that is not found by its name.
    """
    if isinstance(value, functools.partial):
        named = {key: _stated(argument) for key, argument in sorted(value.keywords.items())}
        return {"function": _named(value.func), "arguments": [_stated(each) for each in value.args], "keywords": named}
    if callable(value):
        return {"function": _named(value), "arguments": [], "keywords": {}}
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    if dataclasses.is_dataclass(value):
        return {field.name: _stated(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _stated(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_stated(each) for each in value]
    if isinstance(value, str | int | float | None):
        return value
    raise ValueError(
        "an option of a run must be data (numbers, text, arrays; lists, dataclasses and mappings by text of them) or a "
        f"function with a name of its own, so that the run has an id; got {shown(value)}"
    )


def _named(function: object) -> str:
    """The name of a function, by which its module knows it: two functions of one name would have one id."""
    name = getattr(function, "__qualname__", f"<an object of {type(function).__qualname__}>")
    found: object = sys.modules.get(getattr(function, "__module__", None) or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    if found != function:
        raise ValueError(
            "an option of a run must be data or a function with a name of its own, so that the run has an id; "
            f"got {name}, which is not found by that name"
        )
    return name


def sweepable(config: Config, prefix: str = "") -> list[str]:
    """Dotted names of the fields that may differ between lanes of one program: the continuous ones.

    A field that sets a shape or a branch is marked `metadata={"static": True}` in its dataclass.
    """
    names: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += sweepable(value, f"{prefix}{field.name}.")
        elif isinstance(value, float | jax.Array) and not field.metadata.get("static"):
            names.append(prefix + field.name)
    return names


def check_sweepable(config: Config, name: str) -> None:
    """Refuses a name (dotted) that is no continuous field: what sets a shape or a branch has a program of its own.

    Raises:
      ValueError: says which names are near.
    """
    if name not in sweepable(config):
        raise ValueError(nearest(name, sweepable(config), "a hyper-parameter swept inside one program"))


def override(config: Config, values: Mapping[str, object]) -> Config:
    """The configuration with some fields (dotted names) replaced, all at once: only the result must make sense.

    Raises:
      ValueError: a name is not a field; says which are near.
    """
    known = [f.name for f in dataclasses.fields(config)]
    changes: dict[str, object] = {}
    inner: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head not in known:
            raise ValueError(nearest(head, known, f"a field of {type(config).__qualname__}"))
        if rest:
            inner.setdefault(head, {})[rest] = value
        else:
            changes[head] = value
    for head, own in inner.items():
        changes[head] = override(changes.get(head, getattr(config, head)), own)
    return dataclasses.replace(config, **changes) if changes else config
