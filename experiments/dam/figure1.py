"""Figure 1 of DAM, measured: importance weights of a discriminator correct estimates under a wrong density."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from matplotlib.figure import Figure as Drawing
from scipy import stats

from experiments import exact
from experiments.dam import common
from mbrl_jax.jobs import Job
from mbrl_jax.models import discriminator, fitting, mixture
from mbrl_jax.objectives import ratios
from mbrl_jax.promotions import promoting
from mbrl_jax.report import figures, statistics, theme
from mbrl_jax.report.artefact import Artefact, Block, Figure, Table
from mbrl_jax.report.claims import Claim
from mbrl_jax.types import Key, Spec, Transition

NAME = "dam/figure1"
ENV = "one dimension"
SHARES, MEANS, STDS = (0.5, 0.5), (-1.5, 1.5), (0.4, 0.6)
"""The true density, a mixture of two Gaussians (ours; the paper's figure has no numbers)."""
REAL, DRAWS = 1000, 4000
GRID = np.linspace(-4.0, 4.0, 81)
ESTIMATES = ("uncorrected", "discriminator", "exact ratio")
SPEC = Spec(
    name="density-v0", engine="jax", obs_dim=1, action_dim=1, action_low=(-1.0,), action_high=(1.0,), time_limit=1
)
CONFIG = discriminator.Config(
    hidden=(64, 64), fit=fitting.Config(learning_rate=3e-3, batch=256, interval=25, patience=8, max_steps=1000)
)


def truth() -> distrax.Distribution:
    """The true density."""
    parts = distrax.Normal(jnp.asarray(MEANS, jnp.float32), jnp.asarray(STDS, jnp.float32))
    return distrax.MixtureSameFamily(distrax.Categorical(probs=jnp.asarray(SHARES, jnp.float32)), parts)


def moments() -> tuple[float, float]:
    """Mean and standard deviation of the true density; the model is the Gaussian that has them."""
    mean = float(np.dot(SHARES, MEANS))
    return mean, float(np.sqrt(np.dot(SHARES, np.square(STDS) + np.square(np.asarray(MEANS) - mean))))


def middle() -> float:
    """The exact probability of |x| < 0.5: the model gives it far too much."""
    inside = stats.norm.cdf(0.5, MEANS, STDS) - stats.norm.cdf(-0.5, MEANS, STDS)
    return float(np.dot(SHARES, inside))


@promoting()
def _drawn(density: distrax.Distribution, key: Key, *shape: int) -> jax.Array:
    return density.sample(seed=key, sample_shape=shape).astype(jnp.float32)


@promoting()
def _log_prob(density: distrax.Distribution, x: jax.Array) -> jax.Array:
    return jnp.asarray(density.log_prob(x))


def _learn(key: Key, real: int, draws: int) -> dict[str, jax.Array]:
    """One seed: the logits on the grid, and three estimates of P(|x| < 0.5) from the same samples of the model."""
    k_real, k_init, k_fit, k_draw = jax.random.split(key, 4)
    model = distrax.Normal(*moments())
    rows = _drawn(truth(), k_real, real)[:, None]
    zeros, ones = jnp.zeros((real, 1)), jnp.ones(real)
    data = mixture.Data(Transition(zeros, zeros, ones, ones, rows, ones < 0), ones, ones > 0)

    def fake(k: Key, obs: jax.Array, action: jax.Array) -> jax.Array:
        del action
        return _drawn(model, k, *obs.shape)

    learner = discriminator.make(CONFIG, SPEC, fake)
    judge, _ = learner.fit(k_fit, learner.init(k_init), discriminator.Data(data, jnp.asarray(True)))

    def logit(x: jax.Array) -> jax.Array:
        nothing = jnp.zeros((*x.shape, 1))
        return discriminator.logit(CONFIG, judge, nothing, nothing, x[:, None])

    x = _drawn(model, k_draw, draws)
    inside = (jnp.abs(x) < 0.5).astype(jnp.float32)
    weights = (
        jnp.ones_like(x),
        ratios.ratio_weight(logit(x)),
        jnp.exp(_log_prob(truth(), x) - _log_prob(model, x)),
    )
    found = {name: (w * inside).mean() for name, w in zip(ESTIMATES, weights, strict=True)}
    return {**found, "logit": logit(jnp.asarray(GRID, jnp.float32))}


def jobs(profile: str) -> list[Job]:
    """Fits one discriminator per seed, one after the other in one program."""
    common.scale(profile)
    seeds, real, draws = exact.by_profile(profile, (2, 100, 400), (20, REAL, DRAWS))
    settings = {"density": (SHARES, MEANS, STDS), "real": real, "draws": draws, "discriminator": CONFIG}
    program = partial(_program, seeds, real, draws)
    return [exact.job(exact.Task(NAME, profile, settings, seeds, program, _tabulate, double=False))]


def _program(seeds: int, real: int, draws: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    return lambda keys: lax.map(partial(_learn, real=real, draws=draws), keys), (keys,)


def _tabulate(out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    for name in ESTIMATES:
        yield exact.table(name, "probability", out[name][:, None], [0], ENV)
    yield exact.table("discriminator", "logit", out["logit"], np.arange(len(GRID)), ENV)


def _estimate(frame: pd.DataFrame, name: str) -> np.ndarray:
    return exact.pick(frame, NAME, "probability", name).to_numpy()[:, 0]


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """The densities with the weights as arrows, the weights against the exact ratio, and the three estimates."""
    logits = exact.pick(frame, NAME, "logit", "discriminator").to_numpy()
    seeds = len(logits)
    rows = []
    for name in ESTIMATES:
        found = _estimate(frame, name)
        middle_of = statistics.aggregate(found)
        rows.append(
            {
                "weights": name,
                "estimate of P(|x| < 0.5)": f"{middle_of.estimate:.4f} [{middle_of.low:.4f}, {middle_of.high:.4f}]",
                "mean error": f"{np.abs(found - middle()).mean():.4f}",
                "exact": f"{middle():.4f}",
            }
        )
    exact_logit = _log_truth() - _log_model()
    lines = {"discriminator": (GRID, statistics.aggregate(logits[:, None, :])), "truth": (GRID, exact_logit)}
    caption = (
        f"Left: true density, a Gaussian model with the same moments, and that model reweighted by the discriminator "
        f"(mean of {seeds} seeds); arrows: logarithm of the weight, upwards where a sample counts more. Right: logits, "
        "IQM and 95 % band, beside the exact log-ratio."
    )
    right = figures.lines(lines, title="Logit against exact log-ratio", xlabel="x", ylabel="log weight")
    right.axes[0].set_ylim(-6, 3)
    return [Figure([_densities(logits.mean(axis=0)), right], caption), Table(pd.DataFrame(rows), f"{seeds} seeds.")]


def _log_truth() -> np.ndarray:
    return np.asarray(_log_prob(truth(), jnp.asarray(GRID)))


def _log_model() -> np.ndarray:
    mean, std = moments()
    return -0.5 * np.square((GRID - mean) / std) - np.log(std * np.sqrt(2 * np.pi))


def _densities(logit: np.ndarray) -> Drawing:
    figure, axes = figures.panel("True density, model and weights", "x", "density")
    model = np.exp(_log_model())
    axes.plot(GRID, np.exp(_log_truth()), color=theme.color("truth"), label="true")
    axes.plot(GRID, model, color=theme.color("x0"), label="model")
    axes.plot(GRID, model * np.exp(logit), color=theme.color("dam"), linestyle="--", label="model, reweighted")
    for place in range(4, len(GRID) - 4, 4):
        foot, length = model[place], 0.05 * float(np.clip(logit[place], -4, 4))
        common.arrow(axes, GRID[place], foot, length)
    axes.set_ylim(-0.1, None)
    return figure


def _nearer(frame: pd.DataFrame) -> np.ndarray:
    errors = {name: np.abs(_estimate(frame, name) - middle()) for name in ESTIMATES}
    return errors["uncorrected"] - errors["discriminator"]


CLAIMS = (
    Claim(
        text="The discriminator's weights bring an estimate under a wrong density nearer to the truth",
        source="Sec. 3.1 and Figure 1",
        gap=_nearer,
        unit="absolute error of P(|x| < 0.5)",
        note="The paper's figure is an illustration; density, model and estimated quantity are ours.",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Importance weights correct a wrong density",
    paper=f"{common.PAPER}, Figure 1",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="The paper draws this by hand; here the discriminator is fitted to 1,000 true samples against the model's.",
)
