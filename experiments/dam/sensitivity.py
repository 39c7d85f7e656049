"""Which verdicts of DAM's Table 1 hang on the sizes of the planner, and which on a setting that the paper leaves open.

Settings of the planner are changed for models that Table 1 has fitted, whose data were planned with its own settings;
what changes the fits or the environment is a run of its own from the first round (`settings.Setting`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact, training
from experiments.dam import common, table1
from experiments.dam.comparison import (
    CHANGES,
    OPEN,
    SIZES,
    changes,
    decided,
    present,
    returns,
    turned,
    verdicts,
)
from experiments.dam.settings import CORRECTED, SETTINGS, Setting
from mbrl_jax import rollouts
from mbrl_jax.algorithms import dam
from mbrl_jax.envs import icy_road
from mbrl_jax.jobs import Job
from mbrl_jax.report import select
from mbrl_jax.report.artefact import Artefact, Block, Table, Text
from mbrl_jax.runner import loop, program
from mbrl_jax.runner.run import Lane, Run, override
from mbrl_jax.types import Algorithm, Key, Policy

NAME = "dam/sensitivity"
GROUPS = {SIZES: "the planner's sizes", OPEN: "settings that the paper leaves open"}


class Replanned(NamedTuple):
    """A lane of a finished run, by its place there, under a setting."""

    place: int
    lane: Lane
    setting: Setting


def jobs(profile: str) -> list[Job]:
    """Table 1's jobs; plans made anew with its models; runs of what needs its own."""
    found = table1.jobs(profile)
    for env, settings in SETTINGS[profile].items():
        for model in common.MODELS:
            one = common.planned(table1.NAME, profile, env, model)
            found += [_replan(one, group) for group in _programs(settings)]
            found += training.jobs(trained(profile, env, model, setting) for setting in settings if setting.own)
    return found


def _programs(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings that are tried with fitted models, together where only numbers differ."""
    fitted = [one for one in settings if not one.own]
    numbers = [one for one in fitted if not one.planning]
    return [*([one] for one in fitted if one.planning), *([numbers] if numbers else [])]


def trained(profile: str, env: str, model: str, setting: Setting) -> Run:
    """A run of its own. Weights that differ in numbers only share a program, which is compiled once."""
    one = common.planned(NAME, profile, env, model, variant=setting.name, world=setting.world)
    numbers = tuple((name, (value,)) for name, value in sorted(setting.weights.items()))
    config = override(one.config, setting.config)
    return replace(
        one,
        config=config,
        eval_every=config.steps,
        sweep=(*CORRECTED, *numbers) if setting.weights else one.sweep,
        seeds=tuple(range(setting.first_seed, setting.first_seed + setting.seeds)),
        eval_episodes=setting.episodes,
    )


def further(profile: str, env: str, model: str, setting: Setting) -> Run:
    """The seeds after those of `trained`, of the methods without a discriminator only; `setting.further` is not 0."""
    first = setting.first_seed + setting.seeds
    one = trained(profile, env, model, setting)
    seeds = tuple(range(first, first + setting.further))
    return replace(one, sweep=(("correction", (0.0,)), common.SWEEP[1]), seeds=seeds)


def _replan(one: Run, group: Sequence[Setting]) -> Job:
    """Evaluates a finished run's models with other planners, all lanes of all settings in one program."""
    size, of = group[0], one.run_id(one.environment())
    lanes = [
        Replanned(place, lane, setting)
        for setting in group
        for place, lane in enumerate(one.lanes())
        if lane.seed < size.seeds and lane.label not in {common.label(one.algorithm, name) for name in setting.same}
    ]
    changes = {setting.name: {**setting.planning, **setting.weights} for setting in group}
    facts = {"of": of, "changes": changes, "episodes": size.episodes}
    program, tabulate = partial(_program, one, lanes), partial(_tabulate, one.env, lanes)
    task = exact.Task(NAME, one.profile, facts, size.seeds, program, tabulate, double=False, reads=True)
    return exact.job(task, (of,), f"{one.algorithm} {one.env}, {', '.join(changes)}")


def _tabulate(env: str, lanes: Sequence[Replanned], out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    found = out["eval/return"].mean(axis=1)[: len(lanes)]
    cells = [(r.setting.name, r.lane.label) for r in lanes]
    for name, label in dict.fromkeys(cells):
        rows = np.asarray([value for value, cell in zip(found, cells, strict=True) if cell == (name, label)])
        yield exact.table(label, select.RETURN, rows[:, None], [0], common.place(env, name))


def _program(one: Run, lanes: Sequence[Replanned], root: Path) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The runner's evaluation of a changed policy, and its arguments: lanes, fitted models, iteration 0."""
    env, state, size = one.environment(), loop.final_state(one, root), lanes[0].setting
    places = np.array([r.place for r in lanes])
    fitted = jax.tree.map(lambda leaf: np.asarray(leaf)[places], state.agent)
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), fitted)

    def build(values: Any) -> Algorithm:
        config = override(one.config, values)
        config = replace(config, planning=replace(config.planning, **size.planning))
        unit, steps = rollouts.normalised(env), config.episodes * env.spec.time_limit

        def policy(fitted: dam.Learning) -> Policy[Any]:
            return rollouts.for_env(env.spec, dam.planning(config, unit, fitted))

        return Algorithm(_start(blank), lambda key, state: (state, {}), policy, steps)

    columns = {name: [r.lane.values[name] for r in lanes] for name, _ in one.sweep}
    for name in sorted({name for r in lanes for name in r.setting.weights}):
        usual = float(reduce(getattr, name.split("."), one.config))
        columns[name] = [r.setting.weights.get(name, usual) for r in lanes]
    seeds = [r.lane.seed for r in lanes]
    made = program.make(build, env, program.lanes_of(seeds, columns, len(lanes)), episodes=size.episodes, length=1)
    wide = program.lanes_of(seeds, columns, made.lanes)
    carry = program.resized(program.Carry(fitted, jnp.full(len(lanes), -1, jnp.int32)), made.lanes)
    placed = jax.device_put(wide, jax.NamedSharding(made.mesh, jax.P("seed")))
    return made.evaluate, (placed, made.place(carry), jnp.zeros((), jnp.int32))


def _start(blank: dam.Learning) -> Callable[[Key], dam.Learning]:
    def init(key: Key) -> dam.Learning:
        del key
        return blank

    return init


def _promises(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """After the last round: by how much a plan's value exceeds what is earned, and the effective sample size."""
    rows = []
    for name in ["Table 1", *(name for name, setting in settings.items() if setting.own)]:
        where = env if name == "Table 1" else common.place(env, name)
        for model in common.MODELS:
            gap, size = (
                select.final(frame, common.label(model, "DAM"), where, f"planner/{what}", window=0.05)
                for what in ("promise_gap", "ess")
            )
            row = {"promised too much, median": np.median(gap), "mean": gap.mean()}
            rows.append({"setting": name, "model": model, **row, "effective sample size, median": np.median(size)})
    return pd.DataFrame(rows)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Per environment: verdicts by setting, sizes apart from what is open; all returns; what plans promise."""
    shown: list[Block] = []
    for env, title in common.ENVS.items():
        if env not in set(frame["env"]):
            continue
        for kinds, what in GROUPS.items():
            settings = present(frame, env, kinds, own=False if kinds == SIZES else None)
            if settings:
                caption = f"{title}, {what}: difference of the IQMs of the returns [95 % interval] and verdict."
                shown.append(Table(verdicts(frame, env, settings), caption))
                if kinds == SIZES:
                    what = f"{title}: {CHANGES} The models are Table 1's, so seeds are resampled together."
                    shown.append(Table(changes(frame, env, settings), what))
        every = {**present(frame, env, SIZES, own=False), **present(frame, env, OPEN)}
        shown.append(Table(returns(frame, env, every), f"{title}: mean ± standard error of the return in every cell."))
        caption = (
            f"{title}: DAM in the last round, over seeds: value of the first plan less what as many steps earn; "
            "how many equally weighted particles those of a sequence are worth."
        )
        shown.append(Table(_promises(frame, env, every), caption))
    optima = ", ".join(
        f"{icy_road.exact_return(icy_road.Config(swerve_probability=p)):.1f} at {p:g}" for p in (0.6, 0.8, 0.9)
    )
    return [
        *shown,
        Text(
            "In parentheses: the verdict is the *same* as in Table 1, its *opposite*, *open* here only or *decided* "
            f"here only. The optimum of IcyRoad depends on the swerve probability: {optima}."
        ),
    ]


CLAIMS = tuple(claim for env in common.ENVS for claim in (decided(env, own=False), turned(env)))

ARTEFACT = Artefact(
    name=NAME,
    title="Table 1 with other sizes, and under other settings of what the paper leaves open",
    paper=f"{common.PAPER}, Table 1 under other settings",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="Mostly fewer seeds and evaluation episodes than Table 1. What concerns the planner only (in IcyRoad "
    "self-normalised weights too) is changed after training; instance noise, at the intersection self-normalised "
    "weights, and what changes the environment are used from the first round on. Settings of the weights do not "
    "concern methods without a discriminator, which are taken from Table 1. Networks, fits and data are varied by "
    "dam/sizes.",
    also=(table1.NAME,),
    on_request=("smoke",),
)
