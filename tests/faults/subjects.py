"""Runs of a second or so: the methods whose loops and states differ most, and every algorithm's conformance case."""

from dataclasses import replace
from functools import partial

from cases import MODULES

from mbrl_jax import envs
from mbrl_jax.runner.run import Run

CRASHED = ("sac", "mbpo", "alm", "dam")
"""Off-policy, with a model and roll-outs, with windows, and with whole episodes."""
ROUNDS = ("mbpo",)
"""Those of them in which XLA compiles a device's one lane otherwise than its several: last digits differ."""
SEEDS = (3, 0, 7)
"""Three, so that two devices get a filler."""


def case_run(name: str, iterations: int, seeds: tuple[int, ...] = SEEDS, every: int = 2) -> Run:
    """The first case of an algorithm as a run of so many iterations, evaluated every few."""
    module = MODULES[name]
    case = next(iter(module.CASES.values()))
    return Run(
        experiment="test/faults",
        algorithm=name,
        method=name,
        config=replace(module.CONFIG, steps=iterations * case.env_steps),
        env=case.env.spec.name,
        made_by=partial(envs.make, case.env.spec.name, time_limit=case.env.spec.time_limit),
        seeds=seeds,
        eval_every=every * case.env_steps,
        eval_episodes=2,
    )
