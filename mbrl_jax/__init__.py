"""Decision-aware model-based reinforcement learning in JAX: pure functions over pytrees, seed sweeps in one program.

    import mbrl_jax as mb

What most programs need has its name here and is imported when it is first asked for; so are the packages that hold the
rest, as `mb.envs` and `mb.objectives`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbrl_jax import (
        agents,
        algorithms,
        data,
        envs,
        loops,
        models,
        networks,
        objectives,
        planners,
        results,
        rollouts,
        tabular,
        testing,
        theory,
        types,
    )
    from mbrl_jax.algorithms import Entry, make, preset
    from mbrl_jax.envs import build as build_env
    from mbrl_jax.envs import make as make_env
    from mbrl_jax.envs import render
    from mbrl_jax.results import load
    from mbrl_jax.rollouts import watch
    from mbrl_jax.runner.loop import final_state, train
    from mbrl_jax.runner.pure import make_train
    from mbrl_jax.runner.run import Run
    from mbrl_jax.runner.setup import configure
    from mbrl_jax.types import Agent, Algorithm, Dynamics, Env, Method, Model, Policy, Spec, Transition

__all__ = [
    "Agent",
    "Algorithm",
    "Dynamics",
    "Entry",
    "Env",
    "Method",
    "Model",
    "Policy",
    "Run",
    "Spec",
    "Transition",
    "agents",
    "algorithms",
    "build_env",
    "configure",
    "data",
    "envs",
    "final_state",
    "load",
    "loops",
    "make",
    "make_env",
    "make_train",
    "models",
    "networks",
    "objectives",
    "planners",
    "preset",
    "render",
    "results",
    "rollouts",
    "tabular",
    "testing",
    "theory",
    "train",
    "types",
    "watch",
]

__version__ = "0.1.0"

_PLACES = {
    "mbrl_jax.algorithms": ("Entry", "make", "preset"),
    "mbrl_jax.envs": ("render",),
    "mbrl_jax.results": ("load",),
    "mbrl_jax.rollouts": ("watch",),
    "mbrl_jax.runner.loop": ("final_state", "train"),
    "mbrl_jax.runner.pure": ("make_train",),
    "mbrl_jax.runner.run": ("Run",),
    "mbrl_jax.runner.setup": ("configure",),
    "mbrl_jax.types": ("Agent", "Algorithm", "Dynamics", "Env", "Method", "Model", "Policy", "Spec", "Transition"),
}
_NAMES = {name: (place, name) for place, names in _PLACES.items() for name in names}
_NAMES |= {"build_env": ("mbrl_jax.envs", "build"), "make_env": ("mbrl_jax.envs", "make")}
"""Where each name comes from; every other one of `__all__` is a package."""


def __getattr__(name: str) -> object:
    """A name of `__all__`, imported now and kept."""
    if name not in __all__:
        raise AttributeError(f"module 'mbrl_jax' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    place, inside = _NAMES.get(name, (f"mbrl_jax.{name}", None))
    module = import_module(place)
    found = module if inside is None else getattr(module, inside)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
