"""How IcyRoad's fits were chosen: losses on transitions that no fit has seen, by learning rate and length.

Held-out rows of a fit are too few to show what it misses, and returns would choose what flatters a method. So models
are judged by their negative log-likelihood, and discriminators by their loss against models with Table 1's fits, on
fresh episodes of the planners that Table 1 ends with and of random actions, in the proportion of a run's data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jaxtyping import Array

from experiments import exact
from experiments.dam import common, table1
from mbrl_jax import rollouts
from mbrl_jax.algorithms import dam
from mbrl_jax.jobs import Job
from mbrl_jax.models import discriminator, fitting, mixture
from mbrl_jax.objectives.ratios import discriminator_loss
from mbrl_jax.objectives.value_aware import return_weights
from mbrl_jax.report.artefact import Artefact, Block, Table
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.runner import loop
from mbrl_jax.types import Env, Key, Transition

NAME = "dam/fits"
ENV = "icy_road-v0"
WEIGHTED = {"alike": 0.0, "by returns": 1.0}
"""How a fit weights transitions: without and with minimum variance."""
DRAWS = 8
"""Samples of the model at each fresh transition."""


class Sizes(NamedTuple):
    """Fits of every kind, and episodes, planned and random: to fit to, and fresh ones."""

    seeds: int
    seen: tuple[int, int]
    fresh: tuple[int, int]


SIZES = {"smoke": Sizes(2, (4, 4), (4, 2)), "laptop": Sizes(10, (180, 40), (100, 20))}
"""Of a run's data in the last round: nine rounds of 20 planned episodes and 40 random ones."""


def _fit(rate: float, rows: int, steps: int) -> fitting.Config:
    return fitting.Config(
        learning_rate=rate, batch=rows, interval=25, patience=max(8, round(steps / 125)), max_steps=steps
    )


MODELS = (
    *(_fit(rate, 128, 1000) for rate in (5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3)),
    *(_fit(rate, 128, 2000) for rate in (1e-3, 3e-3)),
)
DISCRIMINATORS = (
    *(_fit(rate, 128, 1000) for rate in (1e-3, 3e-3)),
    *(_fit(rate, 128, 2500) for rate in (5e-3, 1e-2)),
    *(_fit(rate, 64, 4000) for rate in (3e-3, 5e-3, 7e-3)),
    _fit(7e-3, 64, 5000),
    _fit(5e-3, 32, 7000),
    _fit(3e-3, 128, 5000),
)
KINDS = {"model": MODELS, "discriminator": DISCRIMINATORS}
SMOKE = {"model": (_fit(1e-3, 32, 25),), "discriminator": (_fit(5e-3, 32, 25),)}


def named(fit: fitting.Config) -> str:
    """A fit as the table shows it."""
    return f"{fit.max_steps:,} steps of {fit.batch} at {fit.learning_rate:g}"


def _episodes(env: Env, config: dam.Config, sizes: Sizes, key: Key, fitted: dam.Learning) -> tuple[Any, Any]:
    """Whole episodes and which steps count, planned ones and random ones: `[episodes, steps, ...]` each."""
    k_planned, k_random = jax.random.split(key)
    unit = rollouts.normalised(env)
    policy, blind = (
        rollouts.for_env(env.spec, dam.planning(config, unit, fitted)),
        dam.uniform(config.planning, env.spec),
    )
    planned, random = (seen + fresh for seen, fresh in zip(sizes.seen, sizes.fresh, strict=True))
    return (
        _without_extras(*rollouts.episodes(k_planned, env, policy, planned)),
        rollouts.episodes(k_random, env, blind, random),
    )


def _without_extras(steps: Transition, valid: Array) -> tuple[Transition, Array]:
    return steps._replace(extras=()), valid


def _rows(parts: tuple[Any, Any], sizes: Sizes, weighted: Array, fresh: bool) -> mixture.Data:
    """Transitions to fit to, or fresh ones, weighted alike or by returns."""

    def cut(part: Any, count: int) -> Any:
        return jax.tree.map(lambda x: x[count:] if fresh else x[:count], part)

    pieces = [cut(part, count) for part, count in zip(parts, sizes.seen, strict=True)]
    steps, valid = jax.tree.map(lambda *x: jnp.concatenate(x), *pieces)
    returns = jnp.where(valid, steps.reward, 0.0).sum(axis=1)
    by_return = return_weights(returns, jnp.ones(len(returns), bool))
    weights = weighted * by_return + (1.0 - weighted)
    rows: Transition = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    return mixture.Data(rows, jnp.repeat(weights, valid.shape[1]), valid.reshape(-1))


def _fresh_loss(
    env: Env, config: dam.Config, sizes: Sizes, kind: str, key: Key, parts: tuple[Any, Any], weighted: Array
) -> dict[str, Array]:
    """One fit's loss on fresh transitions and on its held-out ones, and its gradient steps."""
    k_model, k_judge, k_init, k_draw = jax.random.split(key, 4)
    data, test = (_rows(parts, sizes, weighted, fresh) for fresh in (False, True))
    real, spec = test.transitions, env.spec

    def mean(values: Array) -> Array:
        return jnp.where(test.valid, test.weights * values, 0.0).sum() / jnp.where(test.valid, test.weights, 0.0).sum()

    learner = mixture.make(config.model, spec)
    model, info = learner.fit(k_model, learner.init(k_init), data)
    if kind == "model":
        found = mixture.log_prob(config.model, spec, model, real.obs, real.action, real.next_obs)
        loss = -mean(found + jnp.log(model.targets.std).sum())
        return {"fresh": loss, "held-out": info["model/holdout_nll"], "steps": info["model/steps"]}

    def fake(k: Key, obs: Array, action: Array) -> Array:
        return mixture.sample(config.model, spec, model, k, obs, action)

    def drawn(k: Key) -> Array:
        judge = partial(discriminator.logit, config.discriminator, judged, real.obs, real.action)
        return jnp.where(
            test.valid, discriminator_loss(judge(real.next_obs), judge(fake(k, real.obs, real.action))), 0.0
        ).sum() / test.valid.sum(dtype=jnp.float32)

    judging = discriminator.make(config.discriminator, spec, fake)
    judged, info = judging.fit(k_judge, judging.init(k_init), discriminator.Data(data, jnp.asarray(True)))
    loss = jax.vmap(drawn)(jax.random.split(k_draw, DRAWS)).mean()
    return {"fresh": loss, "held-out": info["disc/holdout_loss"], "steps": info["disc/steps"]}


def jobs(profile: str) -> list[Job]:
    """Every fit in a program of its own, with all seeds and both weightings, on episodes of Table 1's baselines."""
    scale = common.scale(profile)[ENV]
    sizes = SIZES["smoke" if profile == "smoke" else "laptop"]
    one = common.planned(table1.NAME, profile, ENV, "unimodal")
    of, found = one.run_id(one.environment()), table1.jobs(profile)
    for kind, fits in (SMOKE if profile == "smoke" else KINDS).items():
        for model in common.MODELS:
            for fit in fits:
                usual = common.config(scale, ENV, model)
                config = replace(usual, **{kind: replace(getattr(usual, kind), fit=fit)})
                facts = {"of": of, "sizes": sizes._asdict(), "config": asdict(config), "kind": kind}
                program = partial(_program, profile, config, kind)
                tabulate = partial(_tabulate, partial(_label, kind, model, fit=fit))
                task = exact.Task(NAME, profile, facts, sizes.seeds, program, tabulate, double=False, reads=True)
                found.append(exact.job(task, (of,), f"{model} {kind}, {named(fit)}"))
    return found


def _program(profile: str, config: dam.Config, kind: str, root: Path) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    sizes = SIZES["smoke" if profile == "smoke" else "laptop"]
    env = common.planned(table1.NAME, profile, ENV, "unimodal").environment()
    lost = partial(_fresh_loss, env, config, sizes, kind)
    return partial(_every, lost, sizes.seeds), (_gathered(profile, root),)


@cache
def _gathered(profile: str, root: Path) -> tuple[Any, Any]:
    """Episodes of Table 1's baselines, the same for every fit."""
    sizes = SIZES["smoke" if profile == "smoke" else "laptop"]
    one = common.planned(table1.NAME, profile, ENV, "unimodal")
    state = loop.final_state(one, root)
    wanted = common.label("unimodal", "baseline")
    lanes = np.array([i for i, lane in enumerate(one.lanes()) if lane.label == wanted][: sizes.seeds])
    fitted = jax.tree.map(lambda x: np.asarray(x)[lanes], state.agent)
    gather = partial(_episodes, one.environment(), replace(one.config, correction=0.0), sizes)
    keys = jax.random.split(jax.random.key(0), sizes.seeds)
    return jax.device_get(jax.jit(lambda rows: lax.map(lambda row: gather(*row), rows))((keys, fitted)))


def _every(lost: Callable[..., dict[str, Array]], seeds: int, parts: Any) -> dict[str, Array]:
    """All seeds, the fits one after the other, with either weighting: `[weightings, seeds]`."""
    keys = jax.random.split(jax.random.key(1), seeds)
    weights = jnp.array(list(WEIGHTED.values()))
    return lax.map(lambda w: lax.map(lambda row: lost(row[0], row[1], w), (keys, parts)), weights)


def _label(kind: str, model: str, weighted: str, fit: fitting.Config) -> str:
    return f"{model} {kind}[{weighted}, {named(fit)}]"


def _tabulate(label: Callable[[str], str], out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    for metric, values in out.items():
        for weighted, row in zip(WEIGHTED, values, strict=True):
            yield exact.table(label(weighted), metric, row[:, None], [0], ENV)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """A table for models and one for discriminators: the middle of the losses on fresh transitions."""
    shown: list[Block] = []
    there = set(frame.loc[frame["experiment"] == NAME, "algorithm"])
    for kind, fits in KINDS.items():
        rows = []
        for fit in (*SMOKE[kind], *fits):
            row: dict[str, Any] = {"at most": named(fit)}
            for model in common.MODELS:
                for name in WEIGHTED:
                    label = _label(kind, model, name, fit)
                    if label in there:
                        found = exact.pick(frame, NAME, "fresh", label, ENV).to_numpy()
                        low, middle, high = np.quantile(found, (0.25, 0.5, 0.75))
                        row[f"{model}, {name}"] = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
            if len(row) > 1:
                rows.append(row)
        what = {
            "model": "negative log-likelihood per transition, nats, targets standardised",
            "discriminator": "loss, 2 log 2 = 1.39 where nothing is known, against models with Table 1's fits",
        }[kind]
        if rows:
            caption = f"{kind.capitalize()}: {what}, on fresh episodes; median [quartiles] over seeds."
            shown.append(Table(pd.DataFrame(rows), caption))
    if not shown:
        raise MissingDataError(f"no results of {NAME}")
    return shown


ARTEFACT = Artefact(
    name=NAME,
    title="Fits of IcyRoad's models and discriminators, judged on fresh transitions",
    paper=f"{common.PAPER}, which does not say how its networks are fitted",
    jobs=jobs,
    blocks=blocks,
    note="Columns say how a fit weights transitions, alike or by returns (minimum variance); where models are judged, "
    "fresh ones are weighted in the same way. Data are 180 planned and 40 random episodes, fresh ones 100 and 20; "
    "Table 1's unimodal baselines have planned them after their last round.",
    also=(table1.NAME,),
    on_request=("smoke", "laptop"),
)
