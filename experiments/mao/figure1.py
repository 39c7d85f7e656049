"""Figure 1: value-aware model losses against maximum likelihood on an 8x8 and a 16x16 gridworld."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.mao import grid
from experiments.mao.learning import METHODS, Config, learn
from mbrl_jax.report import Artefact, Block, Claim, Figure, Table, figures, select, statistics

__all__ = ["ARTEFACT"]

NAME = "mao/figure1"
SETUP = {8: Config(iterations=60, collect=64), 16: Config(iterations=100, collect=128)}
SMOKE = {8: Config(iterations=4, collect=32), 16: Config(iterations=2, collect=32)}
SEEDS = 20
OURS = "MA Upper Bound L1"


def _env(size: int) -> str:
    return f"grid {size}x{size}"


def run(profile: str, root: Path) -> None:
    """One program per method and grid, all seeds in it."""
    seeds = exact.by_profile(profile, 2, SEEDS)
    for size, config in exact.by_profile(profile, SMOKE, SETUP).items():
        for method in METHODS:
            _run(profile, root, size, config, method, seeds)


def _run(profile: str, root: Path, size: int, config: Config, method: str, seeds: int) -> None:
    world = grid.make(size)
    steps = config.eval_every * config.collect * np.arange(1, config.iterations // config.eval_every + 1)

    def program() -> tuple[Callable[..., Any], tuple[Any, ...]]:
        keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
        return jax.vmap(lambda key: learn(config, world, METHODS[method], key)), (keys,)

    def tabulate(out: np.ndarray) -> Iterable[pd.DataFrame]:
        yield exact.table(method, select.RETURN, out, steps, _env(size))

    identity = {**asdict(config), "size": size, "method": method}
    exact.run_once(root, NAME, profile, identity, seeds, program, tabulate, double=False)


def _curve(frame: pd.DataFrame, method: str, size: int) -> pd.DataFrame:
    return exact.pick(frame, NAME, select.RETURN, method, _env(size))


def _mean(frame: pd.DataFrame, method: str, size: int) -> np.ndarray:
    """`[seeds]` return averaged over learning: high for methods that learn early."""
    return _curve(frame, method, size).to_numpy().mean(axis=1)


def blocks(frame: pd.DataFrame) -> list[Block]:
    """A panel per grid, and the numbers."""
    panels, rows = [], []
    for size in SETUP:
        series = {}
        for method in METHODS:
            found = _curve(frame, method, size)
            series[method] = (found.columns.to_numpy(), statistics.aggregate(found.to_numpy()[:, None, :]))
            last = found.to_numpy()[:, -1]
            rows.append(
                {
                    "grid": f"{size}x{size}",
                    "method": method,
                    "mean return over learning": float(statistics.iqm(_mean(frame, method, size))),
                    "final return": float(statistics.iqm(last)),
                    "seeds above 1 at the end": f"{int((last > 1).sum())} of {len(last)}",
                }
            )
        title, label = f"{size}x{size} grid", "real environment steps"
        panels.append(figures.lines(series, title=title, xlabel=label, ylabel="return", references={"solved": 1.0}))
    seeds = len(_curve(frame, OURS, 8))
    caption = f"IQM and 95 % band over {seeds} seeds of the mean return of {Config().eval_episodes} real episodes."
    return [Figure(panels, caption), Table(pd.DataFrame(rows), caption)]


def _better(method: str, other: str, size: int) -> Callable[[pd.DataFrame], np.ndarray]:
    return lambda frame: _mean(frame, method, size) - _mean(frame, other, size)


CLAIMS = (
    *(
        Claim(
            text=f"On the 16x16 grid {method} learns faster than maximum likelihood",
            source="Sec. 4.1, Fig. 1",
            gap=_better(method, "MLE", 16),
            unit="return, averaged over learning",
        )
        for method in METHODS
        if method != "MLE"
    ),
    *(
        Claim(
            text=f"The upper bound {upper} learns faster than its direct counterpart on the {size}x{size} grid",
            source="Sec. 4.1, Fig. 1",
            gap=_better(upper, direct, size),
            unit="return, averaged over learning",
        )
        for upper, direct in ((OURS, "MA Direct L1"), ("VAML L2", "MA Direct L2"))
        for size in SETUP
    ),
    Claim(
        text="The advantage of the upper bound over maximum likelihood grows with the grid",
        source="Fig. 1, caption",
        gap=lambda frame: _better(OURS, "MLE", 16)(frame) - _better(OURS, "MLE", 8)(frame),
        unit="return, averaged over learning",
    ),
    Claim(
        text="The upper bound solves the 16x16 grid (return above 1)",
        source="Sec. 4.1, Fig. 1",
        gap=lambda frame: _curve(frame, OURS, 16).to_numpy()[:, -1] - 1,
        unit="return",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Value-aware model learning on gridworlds",
    paper="Modhe et al. 2021, Figure 1",
    run=run,
    blocks=blocks,
    claims=CLAIMS,
    note="The paper gives no learning rates, schedule, reward scale or bonus decay for its gridworlds: one setting "
    "was fixed for all five methods (Adam, rates 0.1 for the model and 0.05 for the policy). The reward is a known "
    "function of a state and its successor and is applied to the model's predictions. Next states are summed out "
    "exactly.",
)
