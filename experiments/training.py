"""What the artefacts that train agents share: a profile's runs, and training those that are missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mbrl_jax.runner.loop import train
from mbrl_jax.runner.run import Run

__all__ = ["Measured", "run_all", "runs"]


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


def runs(
    experiment: str, profile: str, env: str, size: Measured, algorithms: Mapping[str, tuple[Any, Any]]
) -> list[Run]:
    """One run per algorithm, given as `name: (make, config)`, with the seeds and evaluations of a profile."""
    return [
        Run(
            experiment=experiment,
            algorithm=name,
            make=make,
            config=config,
            env=env,
            seeds=tuple(range(size.seeds)),
            eval_every=size.eval_every,
            eval_episodes=size.eval_episodes,
            profile=profile,
        )
        for name, (make, config) in algorithms.items()
    ]


def run_all(planned: list[Run], results: Path) -> None:
    """Trains what is not finished, one run after the other."""
    for run in planned:
        train(run, results)
