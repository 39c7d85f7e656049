"""What the artefacts of DAM share: the sizes of each profile, the cells of Table 1, and the statements about them.

Work of one laptop run, counted before it was chosen (one multiply-add is 2 operations; networks 2x64):
a model row is 15 kFLOP in IcyRoad and 23 kFLOP in Intersection, a discriminator row 10 and 11 kFLOP.
A decision plans K sequences x P particles x (H - 1) steps; a gradient step takes 3 x batch model rows, or batch model
rows and 6 x batch discriminator rows. docs/dam.md has the sums beside the measured times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mbrl_jax.algorithms import dam
from mbrl_jax.checks import nearest
from mbrl_jax.envs import icy_road, intersection
from mbrl_jax.models import discriminator, fitting, mixture
from mbrl_jax.report import Claim, Rivals, Samples, select, theme
from mbrl_jax.runner.run import Run
from mbrl_jax.types import Env

__all__ = [
    "ENVS",
    "METHODS",
    "MIDDLE",
    "MODELS",
    "PAPER",
    "PRINTED",
    "SHORT",
    "SWEEP",
    "WORLDS",
    "Scale",
    "Statement",
    "arrow",
    "claim",
    "config",
    "label",
    "place",
    "planned",
    "scale",
    "scores",
    "seeds_of",
    "statements",
    "varied",
]

PAPER = "Haghgoo et al. 2021"
ENVS = {"icy_road-v0": "IcyRoad", "intersection-v0": "Intersection"}
MODELS = {"unimodal": 1, "multimodal": 5}
"""Gaussians of the model; the paper does not say how many its mixture has."""
METHODS = {"baseline": (0.0, 0.0), "minvar only": (0.0, 1.0), "disc only": (1.0, 0.0), "DAM": (1.0, 1.0)}
"""`(correction, minimum_variance)` of each row of Table 1."""
SWEEP = (("correction", (1.0, 0.0)), ("minimum_variance", (1.0, 0.0)))
"""All four methods with all seeds are lanes of one program; DAM is the first."""
PRINTED = {
    ("icy_road-v0", "unimodal"): ("0.71±1.72", "0.86±0.79", "4.88±0.50", "2.32±1.76"),
    ("icy_road-v0", "multimodal"): ("5.34±0.84", "4.55±3.50", "3.30±2.75", "7.94±0.92"),
    ("intersection-v0", "unimodal"): ("62.67±22.10", "31.40±1.111", "87.79±15.34", "46.76±9.543"),
    ("intersection-v0", "multimodal"): ("29.58±0.105", "31.30±1.634", "60.18±19.58", "97.72±5.127"),
}
"""Table 1 of the paper: mean ± standard error over 3 seeds as printed, in the order of `METHODS`."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of one environment in one profile.

    Attributes:
      rounds: rounds of fitting and planning.
      warmup: random episodes before the first.
      episodes: planned episodes per round.
      hidden: widths of all networks.
      fit: schedule of the model's fit.
      rates: its learning rate where it is another, by model class.
      discriminator: schedule of the discriminator's fit if it is another.
      planning: sizes of the search.
      evaluation: episodes of the evaluation after the last round.
    """

    rounds: int = 10
    warmup: int
    episodes: int
    hidden: tuple[int, ...]
    fit: fitting.Config
    planning: dam.Planning
    evaluation: int
    rates: Mapping[str, float] = field(default_factory=dict)
    discriminator: fitting.Config | None = None


SHORT = fitting.Config(learning_rate=3e-3, batch=64, interval=25, patience=4, max_steps=300)
MIDDLE = fitting.Config(learning_rate=1e-3, batch=128, interval=25, patience=8, max_steps=1000)
_TINY = fitting.Config(learning_rate=3e-3, batch=32, interval=5, patience=1, max_steps=10)
_LONG = fitting.Config(learning_rate=1e-3, batch=256, interval=25, patience=40, max_steps=5000)
_ICY = Scale(
    warmup=40,
    episodes=20,
    hidden=(64, 64),
    fit=MIDDLE,
    rates={"unimodal": 3e-3},
    discriminator=fitting.Config(learning_rate=5e-3, batch=64, interval=25, patience=32, max_steps=4000),
    planning=dam.Planning(search="exhaustive", horizon=5, particles=20),
    evaluation=30,
)
_INTERSECTION = replace(
    _ICY,
    warmup=10,
    episodes=2,
    fit=SHORT,
    rates={},
    discriminator=None,
    planning=dam.Planning(horizon=15, sequences=32, particles=4),
    evaluation=8,
)
_FULL = Scale(warmup=40, episodes=20, hidden=(200, 200), fit=_LONG, planning=dam.Planning(), evaluation=50)
_SMOKE = Scale(
    rounds=2,
    warmup=4,
    episodes=2,
    hidden=(8, 8),
    fit=_TINY,
    planning=dam.Planning(horizon=3, sequences=9, particles=2),
    evaluation=4,
)
SCALES: dict[str, dict[str, Scale]] = {
    "smoke": {"icy_road-v0": _SMOKE},
    "laptop": {"icy_road-v0": _ICY, "intersection-v0": _INTERSECTION},
    "paper": {"icy_road-v0": _FULL, "intersection-v0": replace(_FULL, planning=dam.Planning(horizon=15))},
}
SEEDS = {"smoke": 2, "laptop": 20, "paper": 20}
WORLDS = {"icy_road-v0": icy_road, "intersection-v0": intersection}
"""The module of each environment, with its `Config` of what the paper leaves open."""


def varied(env: str, variant: str, world: Sequence[tuple[str, float]]) -> Env:
    """An environment under a name that says what is different from Table 1, with some settings of its own."""
    module = WORLDS[env]
    return module.make(place(env, variant), config=module.Config(**dict(world)))


def place(env: str, variant: str = "") -> str:
    """The name of an environment in the results, with what is different from Table 1."""
    return f"{env}, {variant}" if variant else env


def scale(profile: str) -> dict[str, Scale]:
    """The sizes of a profile, by environment. Raises ValueError, naming the nearest, if there is none of that name."""
    if profile not in SCALES:
        raise ValueError(nearest(profile, SCALES, "profile"))
    return SCALES[profile]


def config(size: Scale, env: str, model: str) -> dam.Config:
    """DAM's configuration for a cell of the table."""
    fit = replace(size.fit, learning_rate=size.rates.get(model, size.fit.learning_rate))
    return dam.Config(
        steps=size.rounds * size.episodes * WORLDS[env].STEPS,
        warmup_episodes=size.warmup,
        episodes=size.episodes,
        model=mixture.Config(components=MODELS[model], hidden=size.hidden, fit=fit),
        discriminator=discriminator.Config(hidden=size.hidden, fit=size.discriminator or size.fit),
        planning=size.planning,
    )


def planned(
    experiment: str, profile: str, env: str, model: str, variant: str = "", world: tuple[tuple[str, float], ...] = ()
) -> Run:
    """The run of one environment and model class: four methods and all seeds, in one program.

    It is evaluated after the last round only: planning in an untrained model would cost as much as the evaluation that
    counts. Labels show the two halves of the method; other numbers are in the variant's name.

    Args:
      variant: what is different from Table 1; becomes a part of the environment's name.
      world: settings of the environment that are not the registered ones, by name.
    """
    size = scale(profile)[env]
    settings = config(size, env, model)
    return Run(
        experiment=experiment,
        algorithm=model,
        method="dam",
        config=settings,
        env=env,
        seeds=tuple(range(SEEDS[profile])),
        eval_every=settings.steps,
        eval_episodes=size.evaluation,
        sweep=SWEEP,
        profile=profile,
        made_by=partial(varied, env, variant, world) if variant else None,
        stated={"variant": variant, "world": world},
        labelled_by=tuple(name for name, _ in SWEEP),
        evaluated_untrained=False,
    )


def label(model: str, method: str) -> str:
    """How the runner labels a cell's results."""
    correction, variance = METHODS[method]
    return f"{model}[correction={correction:g}, minimum_variance={variance:g}]"


def scores(frame: pd.DataFrame, env: str, model: str, method: str) -> np.ndarray:
    """Mean return of each seed's evaluation after the last round, `[seeds]`."""
    return select.final(frame, label(model, method), env)


Cells = Callable[[str, str], np.ndarray]
"""`cells(model, method) -> [seeds]`."""


class Statement(NamedTuple):
    """One of the paper's statements about an environment: which method is better than which others.

    Attributes:
      short: heading of a column.
      text: the statement.
      source: where it is made.
      better: `(model, method)`.
      worse: every one that it is better than.
      note: what a reader must know.
    """

    short: str
    text: str
    source: str
    better: tuple[str, str]
    worse: tuple[tuple[str, str], ...]
    note: str = ""

    def gap(self, cells: Cells) -> Samples | Rivals:
        """The cells that it compares."""
        ours, others = cells(*self.better), [cells(*cell) for cell in self.worse]
        return Samples(ours, others[0]) if len(others) == 1 else Rivals(ours, others)


def statements() -> tuple[Statement, ...]:
    """What Section 4 says of every environment."""
    source, ours = "Sec. 4 and Table 1", ("multimodal", "DAM")
    others = tuple((model, method) for model in MODELS for method in METHODS if (model, method) != ours)
    worse = tuple(
        Statement(
            f"baseline > minvar, {model}",
            f"Minimum variance alone is worse than the baseline ({model})",
            "Sec. 4, which says “often”",
            (model, "baseline"),
            ((model, "minvar only"),),
        )
        for model in MODELS
    )
    return (
        Statement(
            "DAM multimodal best",
            "DAM with the multimodal model is the best of all eight cells",
            source,
            ours,
            others,
        ),
        Statement(
            "disc > baseline, unimodal",
            "With the unimodal model, the discriminator alone improves on the baseline",
            source,
            ("unimodal", "disc only"),
            (("unimodal", "baseline"),),
        ),
        *worse,
        Statement(
            "DAM > disc, multimodal",
            "With the multimodal model, minimum variance improves on the discriminator alone",
            source,
            ours,
            (("multimodal", "disc only"),),
        ),
        Statement(
            "disc > DAM, unimodal",
            "With the unimodal model, minimum variance makes the discriminator alone worse",
            source,
            ("unimodal", "disc only"),
            (("unimodal", "DAM"),),
            "The paper says that it does not help; an interval around zero would agree with that too.",
        ),
    )


def printed(env: str, model: str, method: str) -> str:
    """What the paper prints in a cell of Table 1."""
    return PRINTED[env, model][list(METHODS).index(method)]


def claim(statement: Statement, env: str, cells: Callable[[pd.DataFrame], Cells] | None = None) -> Claim:
    """A statement as a claim on Table 1's results of `env`, or on what `cells(frame)` takes from the frame instead."""

    def gap(frame: pd.DataFrame) -> Samples | Rivals:
        return statement.gap(partial(scores, frame, env) if cells is None else cells(frame))

    note = statement.note
    if len(statement.worse) == 1:
        left, right = (printed(env, *cell) for cell in (statement.better, *statement.worse))
        note = f"The paper prints {left} against {right}. {note}".strip()
    return Claim(text=f"{ENVS[env]}: {statement.text}", source=statement.source, gap=gap, unit="return", note=note)


def arrow(axes: Axes, x: float, foot: float, length: float) -> None:
    """An upright arrow of a log-weight, from `foot` to `foot + length`."""
    style = {"arrowstyle": "->", "color": theme.color("muted"), "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, foot + length), (x, foot), arrowprops=style)


def seeds_of(frame: pd.DataFrame, envs: Sequence[str]) -> int:
    """Seeds in every cell."""
    return min(int(frame.loc[frame["env"] == env, "seed"].nunique()) for env in envs)
