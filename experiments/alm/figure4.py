"""Figures 4 and 8 of ALM: bias and its spread of the lower bound against Monte-Carlo returns, during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from experiments.alm import common
from mbrl_jax import results, rollouts
from mbrl_jax.algorithms import alm
from mbrl_jax.learners import latent
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure
from mbrl_jax.report.claims import Claim
from mbrl_jax.runner import record
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.seeds import over_seeds
from mbrl_jax.types import Act, Env, Key

NAME = "alm/figure4"
SOURCE = f"{common.PAPER}, Sec. 5.3, Appendix E and Figures 4 and 8"
LABELS = ("lower bound", "critics alone")
CUTOFF = 350
"""Steps of an episode that are looked at; the return after them is nearly complete at 1,000 (Chen et al., 2021)."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One profile of the measurement.

    Attributes:
      env: the task.
      snapshots: how often the bias is measured.
      every: environment steps between two measurements.
      episodes: episodes per measurement.
    """

    env: str
    snapshots: int
    every: int
    episodes: int


SETUPS = {
    "smoke": Setup(env=common.SHORT[0], snapshots=1, every=250, episodes=1),
    "laptop": Setup(env=common.SHORT[0], snapshots=6, every=1_000, episodes=3),
    "paper": Setup(env="walker2d-v4", snapshots=20, every=10_000, episodes=5),
}


def _run_of(profile: str) -> Run:
    setup, size = SETUPS[profile], common.scale(profile)
    config = common.alm_config(setup.env, size, {"steps": setup.snapshots * setup.every})
    (one,) = common.runs(NAME, profile, setup.env, {common.ALM: (alm.make, config)})
    return one


def run(profile: str, root: Path) -> None:
    """Trains all seeds in one program and measures on the way."""
    setup, planned = SETUPS[profile], _run_of(profile)
    env = planned.environment()
    identity = results.run_id({**planned.identity(env), "setup": setup})
    if results.finished(root, identity):
        return
    measured = over_seeds(partial(_measure, env=env, setup=setup, config=planned.config), planned.seeds)
    facts = record.facts(planned, env) | {
        "status": "finished",
        "compile_seconds": measured.compile_seconds,
        "run_seconds": measured.run_seconds,
        "setup": setup,
    }
    results.save(root, identity, _table(measured.value, setup, planned.seeds), facts)


def _measure(key: Key, env: Env, setup: Setup, config: alm.Config) -> dict[str, jax.Array]:
    """One seed: the bias of both estimates after every `setup.every` steps, each `[snapshots, 2]`."""
    algorithm = alm.make(config, env)
    k_init, k_train, k_probe = jax.random.split(key, 3)

    def snapshot(state: alm.State, i: jax.Array) -> tuple[alm.State, dict[str, jax.Array]]:
        advance = lambda j, s: algorithm.step(jax.random.fold_in(jax.random.fold_in(k_train, i), j), s)[0]  # noqa: E731
        state = lax.fori_loop(0, setup.every // algorithm.env_steps, advance, state)
        return state, _bias(jax.random.fold_in(k_probe, i), env, setup, config, state.agent)

    return lax.scan(snapshot, algorithm.init(k_init), jnp.arange(setup.snapshots))[1]


def _bias(key: Key, env: Env, setup: Setup, config: alm.Config, agent: latent.State) -> dict[str, jax.Array]:
    """Mean and standard deviation of (estimate − return), over |mean return|, on the policy's own states."""
    unit = rollouts.normalised(env)
    k_run, k_bound = jax.random.split(key)
    act = latent.mode(config.agent, unit.spec, agent)
    obs, action, returns, valid = _episodes(k_run, unit, act, setup.episodes, config.agent.gamma)
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
    estimates = latent.lower_bound(config.agent, unit.spec, k_bound, agent, flat(obs), flat(action))
    truth, weight = flat(returns), flat(valid) / jnp.maximum(valid.sum(), 1.0)
    unit_return = jnp.maximum(jnp.abs((weight * truth).sum()), 1e-6)
    gaps = (jnp.stack(estimates) - truth) / unit_return
    mean = (weight * gaps).sum(axis=-1)
    spread = jnp.sqrt((weight * jnp.square(gaps - mean[:, None])).sum(axis=-1))
    return {"bias": mean, "spread": spread}


def _episodes(
    key: Key, unit: Env, act: Act, episodes: int, gamma: jax.Array | float
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """First `CUTOFF` steps of whole episodes: observations, actions, discounted returns, and which steps happened.

    All `[steps, episodes, ...]`; the return of a step goes on to the end of its episode.
    """
    k_reset, k_run = jax.random.split(key)
    states = jax.vmap(unit.reset)(jax.random.split(k_reset, episodes))

    def body(carry: tuple, k: Key) -> tuple[tuple, tuple[jax.Array, ...]]:
        states, alive = carry
        k_act, k_step = jax.random.split(k)
        action = act(k_act, states.obs)
        following, t = jax.vmap(unit.step)(jax.random.split(k_step, episodes), states, action)
        reward = jnp.where(alive, t.reward, 0.0)
        ended = (t.discount == 0) | t.truncated
        return (following, alive & ~ended), (states.obs, action, reward, alive.astype(jnp.float32))

    keys = jax.random.split(k_run, unit.spec.time_limit)
    obs, action, reward, valid = lax.scan(body, (states, jnp.ones(episodes, bool)), keys)[1]
    back = lambda later, r: (r + gamma * later,) * 2  # noqa: E731
    returns = lax.scan(back, jnp.zeros(episodes), reward, reverse=True)[1]
    cut = min(CUTOFF, unit.spec.time_limit)
    return obs[:cut], action[:cut], returns[:cut], valid[:cut]


def _table(found: dict[str, np.ndarray], setup: Setup, seeds: Sequence[int]) -> pd.DataFrame:
    rows = [
        {"algorithm": label, "seed": seed, "env_step": (i + 1) * setup.every, "metric": metric, "value": float(value)}
        for metric, values in found.items()
        for s, seed in enumerate(seeds)
        for i in range(setup.snapshots)
        for label, value in zip(LABELS, values[s, i], strict=True)
    ]
    return pd.DataFrame(rows)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Mean bias (left) and its standard deviation over states (right) during training."""
    if frame.empty:
        raise select.MissingDataError("nothing has been measured")
    panels = [_panel(frame, *spec) for spec in (("bias", "Mean normalised bias"), ("spread", "Its s.d. over states"))]
    caption = (
        f"{frame['env'].iloc[0]}: estimate minus Monte-Carlo return of the evaluated policy, as a share of its mean "
        f"return, on the first {CUTOFF} steps of its episodes. IQM over {frame['seed'].nunique()} seeds with 95 % "
        "intervals. The lower bound is L^K of Eq. 8, the critics alone its case K = 0."
    )
    return [Figure(panels, caption)]


def _panel(frame: pd.DataFrame, metric: str, title: str):
    lines = {}
    for label in LABELS:
        found = select.curves(frame, label, metric=metric)
        lines[label] = (found.env_step, statistics.aggregate(found.value[:, None, :]))
    return figures.lines(lines, title=title, xlabel="environment steps", ylabel="share of the mean return")


def _below(frame: pd.DataFrame) -> np.ndarray:
    return -select.final(frame, "lower bound", metric="bias", window=0.5)


def _uniform(frame: pd.DataFrame) -> np.ndarray:
    """Twice the spread of the first half of training minus that of the second half."""
    found = select.curves(frame, "lower bound", metric="spread")
    half = found.value.shape[1] // 2
    return 2.0 * found.value[:, :half].mean(axis=1) - found.value[:, half:].mean(axis=1)


ARTEFACT = Artefact(
    on_request=common.ON_REQUEST,
    name=NAME,
    title="Bias of the lower bound, and its spread",
    paper=f"{common.PAPER}, Figures 4 and 8",
    run=run,
    blocks=blocks,
    claims=(
        Claim(
            text="The joint objective is a biased estimate of the return, from below",
            source=SOURCE,
            gap=_below,
            unit="share of the mean return, second half of training",
            note="The paper says biased; from below is what a lower bound must be.",
        ),
        Claim(
            text="The spread of the bias is uniform throughout training: at most doubled in its second half",
            source=SOURCE,
            gap=_uniform,
            unit="share of the mean return",
        ),
    ),
    note=common.SCALED_DOWN + " The paper compares with REDQ and its average-critic baseline, which are not measured.",
)
