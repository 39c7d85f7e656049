"""What the artefacts that train agents share: a profile's runs, and runs as jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from mbrl_jax.algorithms import Entry
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.work import jobs

__all__ = ["Chosen", "Measured", "jobs", "runs"]


class Measured(Protocol):
    """How many seeds a profile trains, and how they are evaluated."""

    @property
    def seeds(self) -> int:
        """Seeds per algorithm, all in one program."""
        ...

    @property
    def eval_every(self) -> int:
        """Environment steps between evaluations."""
        ...

    @property
    def eval_episodes(self) -> int:
        """Episodes per evaluation."""
        ...


class Chosen(NamedTuple):
    """An algorithm (a name in the registry, or an `Entry`), its configuration, and further arguments of its `make`."""

    method: str | Entry
    config: Any
    options: Mapping[str, Any] = {}


def runs(experiment: str, profile: str, env: str, size: Measured, algorithms: Mapping[str, Chosen]) -> list[Run]:
    """One run per algorithm, given by their labels, with the seeds and evaluations of a profile."""
    return [
        Run(
            experiment=experiment,
            algorithm=name,
            method=chosen.method,
            config=chosen.config,
            options=chosen.options,
            env=env,
            seeds=tuple(range(size.seeds)),
            eval_every=size.eval_every,
            eval_episodes=size.eval_episodes,
            profile=profile,
        )
        for name, chosen in algorithms.items()
    ]
