"""Figure 1: value-aware model losses against maximum likelihood on an 8x8 and a 16x16 gridworld."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.mao import grid
from mbrl_jax.algorithms.tabular.mao import LOSSES, Config, learn
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Figure, Table, figures, select, statistics

__all__ = ["ARTEFACT"]

NAME = "mao/figure1"
SETUP = {8: Config(iterations=60, collect=64), 16: Config(iterations=100, collect=128)}
SMOKE = {8: Config(iterations=4, collect=32)}
SEEDS = 20
RATES = (0.01, 0.1)
"""Learning rates of the model. The paper gives none, and the order of the methods depends on it: with the small one the
model needs many updates to fit the data, with the large one few."""
OURS = "MA Upper Bound L1"


def _env(size: int, rate: float) -> str:
    return f"grid {size}x{size}, model rate {rate:g}"


def jobs(profile: str) -> list[Job]:
    """One program per method and grid, all seeds in it."""
    seeds, sizes = exact.by_profile(profile, 2, SEEDS), exact.by_profile(profile, SMOKE, SETUP)
    return [_job(profile, size, config, method, seeds) for size, config in sizes.items() for method in LOSSES]


def _job(profile: str, size: int, config: Config, method: str, seeds: int) -> Job:
    identity = {**asdict(config), "size": size, "method": method, "rates": RATES}
    program, tabulate = partial(_program, size, config, method, seeds), partial(_tabulate, size, config, method)
    task = exact.Task(NAME, profile, identity, seeds, program, tabulate, double=False)
    return exact.job(task, label=f"{method} {size}x{size}")


def _program(size: int, config: Config, method: str, seeds: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    over_seeds = jax.vmap(partial(learn, config, grid.make(size), LOSSES[method]), (0, None))
    return jax.vmap(over_seeds, (None, 0)), (keys, jnp.asarray(RATES))


def _tabulate(size: int, config: Config, method: str, out: np.ndarray) -> Iterable[pd.DataFrame]:
    steps = config.eval_every * config.collect * np.arange(1, config.iterations // config.eval_every + 1)
    for row, rate in enumerate(RATES):
        yield exact.table(method, select.RETURN, out[row], steps, _env(size, rate))


def _curve(frame: pd.DataFrame, method: str, size: int, rate: float) -> pd.DataFrame:
    return exact.pick(frame, NAME, select.RETURN, method, _env(size, rate))


def _mean(frame: pd.DataFrame, method: str, size: int, rate: float) -> np.ndarray:
    """`[seeds]` return averaged over learning: high for methods that learn early."""
    return _curve(frame, method, size, rate).to_numpy().mean(axis=1)


def blocks(frame: pd.DataFrame) -> list[Block]:
    """A panel per grid and learning rate, and the numbers."""
    panels, rows = [], []
    there = set(frame["env"])
    for rate, size in ((rate, size) for rate, size in itertools.product(RATES, SETUP) if _env(size, rate) in there):
        series = {}
        for method in LOSSES:
            found = _curve(frame, method, size, rate)
            series[method] = (found.columns.to_numpy(), statistics.aggregate(found.to_numpy()[:, None, :]))
            last = found.to_numpy()[:, -1]
            rows.append(
                {
                    "model rate": f"{rate:g}",
                    "grid": f"{size}x{size}",
                    "method": method,
                    "mean return over learning": float(statistics.iqm(_mean(frame, method, size, rate))),
                    "final return": float(statistics.iqm(last)),
                    "seeds above 1 at the end": f"{int((last > 1).sum())} of {len(last)}",
                }
            )
        title, label = f"{size}x{size} grid, model rate {rate:g}", "real environment steps"
        panels.append(figures.lines(series, title=title, xlabel=label, ylabel="return", references={"solved": 1.0}))
    seeds = len(_curve(frame, OURS, 8, RATES[0]))
    caption = f"IQM and 95 % band over {seeds} seeds of the mean return of {Config().eval_episodes} real episodes."
    return [Figure(panels, caption), Table(pd.DataFrame(rows), caption)]


def _better(method: str, other: str, size: int, rate: float) -> Callable[[pd.DataFrame], np.ndarray]:
    return lambda frame: _mean(frame, method, size, rate) - _mean(frame, other, size, rate)


def _growth(rate: float) -> Callable[[pd.DataFrame], np.ndarray]:
    return lambda frame: _better(OURS, "MLE", 16, rate)(frame) - _better(OURS, "MLE", 8, rate)(frame)


UNIT = "return, averaged over learning"
CLAIMS = (
    *(
        Claim(
            text=f"On the 16x16 grid {method} learns faster than maximum likelihood (model rate {rate:g})",
            source="Sec. 4.1, Fig. 1",
            gap=_better(method, "MLE", 16, rate),
            unit=UNIT,
        )
        for rate in RATES
        for method in LOSSES
        if method != "MLE"
    ),
    *(
        Claim(
            text=f"{upper} learns faster than {direct} on the {size}x{size} grid (model rate {rate:g})",
            source="Sec. 4.1, Fig. 1",
            gap=_better(upper, direct, size, rate),
            unit=UNIT,
        )
        for rate in RATES
        for upper, direct in ((OURS, "MA Direct L1"), ("VAML L2", "MA Direct L2"))
        for size in SETUP
    ),
    *(
        Claim(
            text=f"The advantage of the upper bound over maximum likelihood grows with the grid (model rate {rate:g})",
            source="Fig. 1, caption",
            gap=_growth(rate),
            unit=UNIT,
        )
        for rate in RATES
    ),
    Claim(
        text="The upper bound solves the 16x16 grid (return above 1; model rate 0.1)",
        source="Sec. 4.1, Fig. 1",
        gap=lambda frame: _curve(frame, OURS, 16, 0.1).to_numpy()[:, -1] - 1,
        unit="return",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Value-aware model learning on gridworlds",
    paper="Modhe et al. 2021, Figure 1",
    jobs=jobs,
    headline=True,
    blocks=blocks,
    claims=CLAIMS,
    note="The paper gives no learning rates, schedule, reward scale or bonus decay for its gridworlds. All methods "
    "share one setting; the model's learning rate decides their order, so two are shown. The reward is a known "
    "function of a state and its successor and is applied to the model's predictions. Next states are summed out "
    "exactly.",
)
