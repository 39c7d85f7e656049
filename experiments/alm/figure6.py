"""Figure 6 of ALM: a(log(r + a) − log a) is nearly r."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.alm import common
from mbrl_jax.jobs import Job
from mbrl_jax.objectives.latent import log_reward
from mbrl_jax.report import figures
from mbrl_jax.report.artefact import Artefact, Block, Figure
from mbrl_jax.report.claims import Claim

NAME = "alm/figure6"
SHIFT = 10_000.0
REWARDS = np.linspace(-10.0, 10.0, 201)
"""The paper's axis is not legible in our copy; rewards of its tasks lie within ±10 per step, but for Humanoid's."""


def jobs(profile: str) -> list[Job]:
    """Evaluates the transformed reward, in float64."""
    exact.by_profile(profile, None, None)
    return [exact.job(exact.Task(NAME, profile, {"rewards": list(REWARDS), "shift": SHIFT}, 1, _program, _tabulate))]


def _program() -> tuple[Callable[..., jax.Array], tuple[jax.Array]]:
    return lambda r: log_reward(r, SHIFT), (jnp.asarray(REWARDS),)


def _tabulate(out: np.ndarray) -> list[pd.DataFrame]:
    return [exact.table("transformed", "reward", out[None], np.arange(len(REWARDS)), "reward axis")]


def _transformed(frame: pd.DataFrame) -> np.ndarray:
    return exact.pick(frame, NAME, "reward", "transformed").to_numpy()[0]


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Both curves, and their difference beside what the series expansion says."""
    y = _transformed(frame)
    both = {"r": (REWARDS, REWARDS), "a (log(r + a) − log a)": (REWARDS, y)}
    left = figures.lines(both, title="Transformed reward", xlabel="r", ylabel="y")
    gaps = {"r − y": (REWARDS, REWARDS - y), "r² / 2a": (REWARDS, REWARDS**2 / (2 * SHIFT))}
    right = figures.lines(gaps, title="Difference", xlabel="r", ylabel="difference")
    return [Figure([left, right], f"a = {SHIFT:,.0f}; exact values. The curves of the first panel cover one another.")]


def _similar(frame: pd.DataFrame) -> np.ndarray:
    return np.array([0.001 * np.abs(REWARDS).max() - np.abs(REWARDS - _transformed(frame)).max()])


ARTEFACT = Artefact(
    name=NAME,
    title="The logarithm of the reward, shifted",
    paper=f"{common.PAPER}, Figure 6 and Appendix A.8",
    jobs=jobs,
    blocks=blocks,
    claims=(
        Claim(
            text="For common rewards the shifted logarithm is the reward, up to a thousandth of the largest",
            source=f"{common.PAPER}, Appendix A.8",
            gap=_similar,
            tolerance=0.0,
            unit="reward",
        ),
    ),
)
