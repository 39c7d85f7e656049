"""Small configurations of every algorithm with what is known of their runs, a file each, found by listing.

Adding an algorithm adds `cases/<its name>.py`, which states `CASES` and, where configurations are refused, `CONFIG` and
`REFUSED`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mbrl_jax import envs
from mbrl_jax.types import Algorithm, Env

__all__ = ["LINEAR", "LOOP", "LOOP_REFUSED", "Case", "cases", "refused"]

LINEAR = envs.make("lqr-v0")
"""The environment of those that need none of their own."""
LOOP = {"steps": 500, "warmup_steps": 60, "steps_per_iteration": 10, "batch": 32}
"""Sizes of an off-policy run."""
LOOP_REFUSED = (
    ({"steps": 0}, "positive multiple"),
    ({"steps": 15}, "positive multiple .* got 15 and 10"),
    ({"warmup_steps": 0}, "warmup_steps must be at least 1, .* got 0"),
    ({"batch": 0}, "batch must be at least 1"),
)
"""Changes that every off-policy method refuses."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """An algorithm, and what is known of it.

    Attributes:
      algorithm: the algorithm, made.
      env: what it was made for.
      env_steps: environment steps of an iteration.
      warmup_steps: environment steps of `init`.
      iterations: how many iterations are run; 0: it is traced only.
      asked: further arguments of `check_algorithm`.
      steps: `steps(agent) -> counts`, how often each optimiser has stepped, by any name.
      stepped: those counts after `iterations`.
      metrics: some of the metrics that it must have.
      weights: `weights(agent) -> array`, something that differs between seeds.
      replay: whether `state.memory` is a replay.
    """

    algorithm: Algorithm[Any]
    env: Env = LINEAR
    env_steps: int = 10
    warmup_steps: int = 60
    iterations: int = 0
    asked: Mapping[str, Any] = field(default_factory=dict)
    steps: Callable[[Any], Mapping[Any, Any]] = lambda agent: {}
    stepped: Mapping[Any, int] = field(default_factory=dict)
    metrics: Collection[str] = ()
    weights: Callable[[Any], Any] = lambda agent: agent.params["actor"]["params"]["Dense_0"]["kernel"]
    replay: bool = True


BY_FRAGMENTS = (
    ({"steps": 0}, "positive multiple"),
    ({"steps": 50}, "positive multiple .* got 50 and 40"),
    ({"environments": 0}, "environments must be at least 1"),
)
"""What algorithms refuse that learn from 2 fragments of 5 steps in 4 environments."""
MODULES = {found.name: importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)}


def cases() -> dict[str, Case]:
    """Every case by its name, which begins with its algorithm's."""
    return {f"{module} {name}".strip(): case for module, each in MODULES.items() for name, case in each.CASES.items()}


def refused() -> list[tuple[str, Any, dict[str, Any], str]]:
    """(algorithm, configuration, changes, rule) of what every algorithm's configuration refuses."""
    return [
        (name, each.CONFIG, changes, rule)
        for name, each in MODULES.items()
        for changes, rule in getattr(each, "REFUSED", ())
    ]
