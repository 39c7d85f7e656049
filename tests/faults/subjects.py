"""Runs of a second or so: the methods whose loops and states differ most, and every algorithm's conformance case."""

from dataclasses import replace
from functools import partial

from cases import MODULES

from mbrl_jax import envs
from mbrl_jax.runner.run import Run

CRASHED = ("sac", "mbpo", "alm", "dam")
"""Off-policy, with a model and roll-outs, with windows, and with whole episodes."""
EXACT = (
    *("a2c", "ppo", "trpo"),
    *("alm", "dam", "redq", "sac", "sac_svg", "steve", "td3"),
    *("mbpo", "pets", "slbo", "vagram"),
)
"""Algorithms that end with the same bits whatever the number of devices: lanes one after the other compute alike, and
no quotient by what is spread over an array is left to XLA, which may turn it into a product or not."""
UNTRIED = "a variation of another; whether it keeps every bit has not been tried"
ROUNDS = {
    "mnm": "products of its critics' matrices with vectors get shapes for which XLA has other kernels: 1e-4 at most",
    "mao_vaml": "the gradient of its model's loss differs by 2e-9; by which operation is not known",
    **dict.fromkeys(("iter_vaml", "mao", "pets_ts1", "ppo1", "trpo_mbbl", "vmbpo"), UNTRIED),
    **dict.fromkeys(("mnm_full", "mnm_iter_vaml", "mnm_mbpo", "mnm_vaml", "mnm_weighted"), UNTRIED),
}
"""Those whose last digits may differ, each with the reason, after four iterations of two lanes."""
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
