"""Figure 2 of DAM: true and learned density of the sideways speed in IcyRoad, and what the discriminator makes of it.

The state is (2, 0, 2, 0) and the action accelerate, as in the paper. Model and discriminator are fitted to random
episodes, a few more than a run of Table 1 ends with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from matplotlib.figure import Figure as Drawing

from experiments import exact
from experiments.dam import common
from mbrl_jax import rollouts
from mbrl_jax.algorithms import dam as planning
from mbrl_jax.envs import icy_road
from mbrl_jax.jobs import Job
from mbrl_jax.models import discriminator, fitting, mixture
from mbrl_jax.objectives import ratios
from mbrl_jax.report import figures, statistics, theme
from mbrl_jax.report.artefact import Artefact, Block, Figure, Table
from mbrl_jax.report.claims import Claim
from mbrl_jax.types import Key

NAME = "dam/figure2"
ENV = "icy_road-v0"
STATE, ACTION = (2.0, 0.0, 2.0, 0.0), (1.0, 0.0, 0.0)
EDGES = np.linspace(-4.125, 4.125, 34)
CENTRES = 0.5 * (EDGES[1:] + EDGES[:-1])
NEAR = 0.5
"""A sideways speed is called possible if it is nearer than this to one of the three true ones."""
SCALARS = ("impossible mass", "log weight, possible", "log weight, impossible", "on the road", "on the road, weighted")
EPISODES, DRAWS = 100, 4000
CLIP = 5.0
"""Logits are clipped to this where they become weights, as `ratios.Planning.logit_clip` has it."""
FIT = fitting.Config(learning_rate=3e-3, batch=128, interval=25, patience=8, max_steps=1000)


def _learn(key: Key, components: int, hidden: tuple[int, ...], episodes: int, draws: int) -> dict[str, jax.Array]:
    """One seed: histograms of the model's samples, plain and weighted, and the mean log-weight per bin."""
    k_data, k_model, k_judge, k_init, k_draw = jax.random.split(key, 5)
    env = icy_road.make()
    blind = planning.uniform(planning.Planning(), env.spec)
    steps, valid = rollouts.episodes(k_data, env, blind, episodes)
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    data = mixture.Data(rows, jnp.ones(valid.size), valid.reshape(-1))
    settings = mixture.Config(components=components, hidden=hidden, fit=FIT)
    learner = mixture.make(settings, env.spec)
    model, _ = learner.fit(k_model, learner.init(k_init), data)

    def fake(k: Key, obs: jax.Array, action: jax.Array) -> jax.Array:
        return mixture.sample(settings, env.spec, model, k, obs, action)

    rule = discriminator.Config(hidden=hidden, fit=FIT)
    judging = discriminator.make(rule, env.spec, fake)
    judge, _ = judging.fit(k_judge, judging.init(k_init), discriminator.Data(data, jnp.asarray(True)))
    obs, action = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), (draws, len(x))) for x in (STATE, ACTION))
    drawn = fake(k_draw, obs, action)
    return _summary(drawn[:, 3], discriminator.logit(rule, judge, obs, action, drawn))


def _summary(speed: jax.Array, logit: jax.Array) -> dict[str, jax.Array]:
    """Everything the figure shows, from sideways speeds and logits `[draws]` of the model's samples.

    Weights are of clipped logits, as in planning; mean log-weights are of the logits as they are.
    """
    weight = ratios.ratio_weight(jnp.clip(logit, -CLIP, CLIP))
    place = jnp.searchsorted(jnp.asarray(EDGES, speed.dtype), speed) - 1
    inside = (place[:, None] == jnp.arange(len(CENTRES))).astype(speed.dtype)
    count = inside.sum(axis=0)
    share, width = inside / speed.shape[0], EDGES[1] - EDGES[0]
    modes = jnp.asarray([-2.0, 0.0, 2.0])
    possible = (jnp.abs(speed[:, None] - modes) < NEAR).any(axis=1)
    held = (jnp.abs(speed) <= icy_road.HALF_WIDTH).astype(speed.dtype)
    return {
        "density": share.sum(axis=0) / width,
        "weighted density": (weight[:, None] * share).sum(axis=0) / width,
        "log weight": jnp.where(count > 0, (logit[:, None] * inside).sum(axis=0) / jnp.maximum(count, 1), jnp.nan),
        "impossible mass": 1 - possible.mean(),
        "log weight, possible": _mean_where(logit, possible),
        "log weight, impossible": _mean_where(logit, ~possible),
        "on the road": held.mean(),
        "on the road, weighted": (weight * held).mean(),
    }


def _mean_where(values: jax.Array, chosen: jax.Array) -> jax.Array:
    return jnp.where(chosen, values, 0.0).sum() / jnp.where(chosen.any(), chosen.sum(), jnp.nan)


def jobs(profile: str) -> list[Job]:
    """One program per model class, the seeds one after the other."""
    common.scale(profile)
    seeds, episodes, draws = exact.by_profile(profile, (2, 10, 200), (20, EPISODES, DRAWS))
    hidden, found = exact.by_profile(profile, (8, 8), (64, 64)), []
    for model, components in common.MODELS.items():
        learn = partial(_learn, components=components, hidden=hidden, episodes=episodes, draws=draws)
        settings = {"components": components, "hidden": hidden, "episodes": episodes, "draws": draws, "fit": FIT}
        settings |= {"clip": CLIP, "warmup": "one-hot"}
        program, tabulate = partial(_program, learn, seeds), partial(_tabulate, model, seeds)
        task = exact.Task(NAME, profile, settings, seeds, program, tabulate, double=False)
        found.append(exact.job(task, label=model))
    return found


def _program(learn: Callable[..., Any], seeds: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return lambda keys: lax.map(learn, keys), (jax.vmap(jax.random.key)(jnp.arange(seeds)),)


def _tabulate(model: str, seeds: int, out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    for name, values in out.items():
        rows = values.reshape(seeds, -1)
        yield exact.table(model, name, rows, np.arange(rows.shape[1]), ENV)


def _values(frame: pd.DataFrame, model: str, name: str) -> np.ndarray:
    return exact.pick(frame, NAME, name, model, ENV).to_numpy()


def _scalar(frame: pd.DataFrame, model: str, name: str) -> np.ndarray:
    return _values(frame, model, name)[:, 0]


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """A panel per model class, and the numbers behind it."""
    seeds = len(_scalar(frame, "unimodal", "impossible mass"))
    caption = (
        f"Sideways speed after accelerating in (2, 0, 2, 0): true probabilities as bars (divided by the bin width), "
        f"the model's density and the density after weighting, mean of {seeds} seeds. Arrows: mean log-weight of the "
        "samples in a bin, upwards where they count more."
    )
    rows = []
    for model in common.MODELS:
        row: dict[str, Any] = {"model": model}
        for name in SCALARS:
            row[name] = _interval(_scalar(frame, model, name))
        rows.append(row)
    note = (
        f"IQM [95 % interval] over {seeds} seeds. Impossible: further than {NEAR:g} from −2, 0 and 2. True probability "
        f"of staying on the road: {1 - icy_road.Config().swerve_probability:.1f}."
    )
    return [Figure([_panel(frame, model) for model in common.MODELS], caption), Table(pd.DataFrame(rows), note)]


def _interval(values: np.ndarray) -> str:
    """IQM and interval of the seeds that know the number: without samples in a region, its mean weight is unknown."""
    known = values[np.isfinite(values)]
    if not len(known):
        return "no samples there"
    middle = statistics.aggregate(known)
    fewer = "" if len(known) == len(values) else f" ({len(known)} seeds with samples there)"
    return f"{middle.estimate:.2f} [{middle.low:.2f}, {middle.high:.2f}]{fewer}"


def _known_mean(values: np.ndarray) -> np.ndarray:
    """Mean over seeds `[points]` of what is known; NaN where no seed knows anything (a bin without samples)."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _panel(frame: pd.DataFrame, model: str) -> Drawing:
    figure, axes = figures.panel(f"{model} model", "sideways speed", "density")
    p, width = icy_road.Config().swerve_probability, EDGES[1] - EDGES[0]
    bars = axes.bar([-2, 0, 2], np.array([p / 2, 1 - p, p / 2]) / width, width, color=theme.color("truth"), alpha=0.25)
    bars.set_label("true")
    plain, weighted, logit = (
        _known_mean(_values(frame, model, name)) for name in ("density", "weighted density", "log weight")
    )
    axes.plot(CENTRES, plain, color=theme.color("x0"), label="model")
    axes.plot(CENTRES, weighted, color=theme.color("dam"), linestyle="--", label="model, reweighted")
    for x, foot, length in zip(CENTRES[::2], plain[::2], logit[::2], strict=True):
        if foot > 0.005 and np.isfinite(length):
            common.arrow(axes, x, foot, 0.15 * float(np.clip(length, -CLIP, CLIP)))
    axes.set_ylim(-0.8, 1.8)
    return figure


def _downweighted(model: str) -> Callable[[pd.DataFrame], np.ndarray]:
    def gap(frame: pd.DataFrame) -> np.ndarray:
        return _scalar(frame, model, "log weight, possible") - _scalar(frame, model, "log weight, impossible")

    return gap


def _nearer(model: str) -> Callable[[pd.DataFrame], np.ndarray]:
    true = 1 - icy_road.Config().swerve_probability

    def gap(frame: pd.DataFrame) -> np.ndarray:
        plain, weighted = (_scalar(frame, model, name) for name in ("on the road", "on the road, weighted"))
        return np.abs(plain - true) - np.abs(weighted - true)

    return gap


def _spread(frame: pd.DataFrame) -> np.ndarray:
    return _scalar(frame, "unimodal", "impossible mass") - 0.25


CLAIMS = (
    Claim(
        text="The unimodal model places a large mass (above 0.25) on sideways speeds that do not occur",
        source="Figure 2, caption",
        gap=_spread,
        unit="probability above 0.25",
        note="“Large” is read as more than a quarter.",
    ),
    Claim(
        text="The discriminator gives the unimodal model's samples in impossible regions smaller weights",
        source="Figure 2, caption",
        gap=_downweighted("unimodal"),
        unit="mean log weight",
    ),
    *(
        Claim(
            text=f"The weights bring the probability of staying on the road nearer to the truth ({model} model)",
            source="Sec. 3.1 (what the weights are for)",
            gap=_nearer(model),
            unit="absolute error",
        )
        for model in common.MODELS
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Learned density and discriminator weights in IcyRoad",
    paper=f"{common.PAPER}, Figure 2",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="The paper's model comes from one of its runs, whose data are not described; here from 100 random episodes.",
)
