"""SLBO alone, with a tenth of the released code's steps, beside the returns that are published of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from experiments import training
from experiments.mao import continuous as shared
from experiments.mao.continuous import SLBO
from experiments.training import Chosen
from mbrl_jax.algorithms import slbo
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Figure, Table, figures, select, statistics

__all__ = ["ARTEFACT"]

NAME = "mao/slbo"
LEAST = {"mbbl_pendulum-v0": 150.0, "mbbl_cartpole-v0": 70.0, "mbbl_acrobot-v0": -140.0, "mbbl_reacher-v0": -8.0}
"""Median returns that count as learnt: published after ten times as many steps are 173.5, 78.0, −75.6 and −4.1."""
WORK: dict[str, Callable[[str], slbo.Config]] = {"laptop": slbo.scaled, "paper": slbo.preset}


def jobs(profile: str) -> list[Job]:
    """All seeds of a task in one program."""
    size, found = shared.scale(profile), []
    work = WORK.get(profile, size.work)
    for env in LEAST if profile != "smoke" else [shared.FIRST]:
        config = work(env.rpartition("-")[0])
        measured = shared.Evaluated(seeds=size.seeds, eval_every=config.stage_steps, eval_episodes=size.eval_episodes)
        found += training.runs(NAME, profile, env, measured, {SLBO: Chosen("slbo", config)})
    return training.jobs(found)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Learning curves, and returns at the end beside the published ones."""
    there = [env for env in LEAST if env in set(frame["env"])]
    rows = []
    for env in there:
        middle = statistics.aggregate(select.final(frame, SLBO, env), statistics.median)
        rows.append(
            {
                "task": shared.PUBLISHED[env].title,
                "median return": f"{middle.estimate:,.1f} [{middle.low:,.1f}, {middle.high:,.1f}]",
                "real steps": int(select.curves(frame, SLBO, env).env_step[-1]),
                "after 200,000 steps": shared.PUBLISHED[env].slbo,
            }
        )
    lines = {env: {"learnt": LEAST[env]} for env in there}
    seeds = frame["seed"].nunique()
    return [
        Figure(
            figures.learning_curves(frame, algorithms=[SLBO], envs=there, references=lines),
            f"Return of the stochastic policy against real steps: IQM over {seeds} seeds with 95 % intervals.",
        ),
        Table(
            pd.DataFrame(rows),
            "Median [95 % interval] over seeds; published: mean and standard deviation of 4 seeds.",
            {"after 200,000 steps": "Wang et al. 2019, Table 1"},
        ),
    ]


def _learns(env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    def gap(frame: pd.DataFrame) -> np.ndarray:
        return select.final(frame, SLBO, env) - LEAST[env]

    return gap


CLAIMS = tuple(
    Claim(
        text=f"{shared.PUBLISHED[env].title}: SLBO's median return is at least {least:g}",
        source="ours, from Wang et al. 2019, Table 1",
        gap=_learns(env),
        unit="return to spare",
        center=statistics.median,
    )
    for env, least in LEAST.items()
)

ARTEFACT = Artefact(
    name=NAME,
    title="SLBO beside its published returns",
    paper="Luo et al. 2019; Wang et al. 2019, Table 1",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="The laptop profile has 10 stages of 2,000 real steps with 10 times 100 model updates and 20 policy updates "
    "of 2,000 imagined steps (released code: 20 stages of 10,000, 20 times 100 and 40 of 4,000).",
    on_request=("smoke", "laptop"),
)
