"""Which verdicts of DAM's Table 1 hang on the laptop's sizes, and which on a setting that the paper leaves open.

Settings of the planner are changed for models that Table 1 has fitted, whose data were planned with its own settings;
what changes the fits or the environment is a run of its own from the first round (`settings.Setting`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.dam import common, table1
from experiments.dam.settings import CORRECTED, SETTINGS, Setting
from mbrl_jax.algorithms import dam
from mbrl_jax.envs import icy_road
from mbrl_jax.report import select
from mbrl_jax.report.artefact import Artefact, Block, Table, Text
from mbrl_jax.report.claims import Claim, Judgement, Verdict, judge
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.report.statistics import Interval, bootstrap, iqm
from mbrl_jax.runner import loop, program
from mbrl_jax.runner.run import Lane, override
from mbrl_jax.types import Algorithm, Key, PyTree

NAME = "dam/sensitivity"
OPPOSITE = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}
SIZES, OPEN = ("fuller", "smaller"), ("open",)
GROUPS = {SIZES: "other sizes than the profile's", OPEN: "settings that the paper leaves open"}


class Fitted(NamedTuple):
    """What a policy needs of a finished run's state."""

    model: PyTree
    discriminator: PyTree


class Replanned(NamedTuple):
    """A lane of a finished run, by its place there, under a setting."""

    place: int
    lane: Lane
    setting: Setting


def run(profile: str, root: Path) -> None:
    """Trains Table 1 if it is missing; plans anew with its models; trains what needs runs of its own."""
    table1.run(profile, root)
    for env, settings in SETTINGS[profile].items():
        for model in common.MODELS:
            one = common.planned(table1.NAME, profile, env, model)
            for group in _programs(settings):
                _replan(one, group, root)
            for setting in settings:
                if setting.own:
                    loop.train(_trained(profile, env, model, setting), root)


def _programs(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Settings that are tried with fitted models, together where only numbers differ."""
    fitted = [one for one in settings if not one.own]
    numbers = [one for one in fitted if not one.planning]
    return [*([one] for one in fitted if one.planning), *([numbers] if numbers else [])]


def _trained(profile: str, env: str, model: str, setting: Setting) -> common.Cell:
    """A run of its own. Weights that differ in numbers only share a program, which is compiled once."""
    one = common.planned(NAME, profile, env, model, variant=setting.name, world=setting.world)
    numbers = tuple((name, (value,)) for name, value in sorted(setting.weights.items()))
    config = override(one.config, setting.config)
    return replace(
        one,
        config=config,
        eval_every=config.steps,
        sweep=(*CORRECTED, *numbers) if setting.weights else one.sweep,
        seeds=tuple(range(setting.seeds)),
        eval_episodes=setting.episodes,
    )


def _replan(one: common.Cell, group: Sequence[Setting], root: Path) -> None:
    """Evaluates a finished run's models with other planners, all lanes of all settings in one program."""
    size = group[0]
    lanes = [
        Replanned(place, lane, setting)
        for setting in group
        for place, lane in enumerate(one.lanes())
        if lane.seed < size.seeds and lane.label not in {common.label(one.algorithm, name) for name in setting.same}
    ]

    def tabulate(out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
        found = out["eval/return"].mean(axis=1)[: len(lanes)]
        cells = [(r.setting.name, r.lane.label) for r in lanes]
        for name, label in dict.fromkeys(cells):
            rows = np.asarray([value for value, cell in zip(found, cells, strict=True) if cell == (name, label)])
            yield exact.table(label, select.RETURN, rows[:, None], [0], common.place(one.env, name))

    changes = {setting.name: {**setting.planning, **setting.weights} for setting in group}
    facts = {"of": one.run_id(one.environment()), "changes": changes, "episodes": size.episodes}
    exact.run_once(
        root, NAME, one.profile, facts, size.seeds, lambda: _program(one, lanes, root), tabulate, double=False
    )


def _program(one: common.Cell, lanes: Sequence[Replanned], root: Path) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The runner's evaluation of a changed policy, and its arguments: lanes, fitted models, iteration 0."""
    env, state, size = one.environment(), loop.final_state(one, root), lanes[0].setting
    places = np.array([r.place for r in lanes])
    fitted = jax.tree.map(lambda leaf: np.asarray(leaf)[places], Fitted(state.model, state.discriminator))
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), fitted)

    def build(values: Any) -> Algorithm:
        config = override(one.config, values)
        made = dam.make(replace(config, planning=replace(config.planning, **size.planning)), env)
        return Algorithm(_start(blank), lambda key, state: (state, {}), made.policy, made.env_steps)

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


def _start(blank: Fitted) -> Callable[[Key], Fitted]:
    def init(key: Key) -> Fitted:
        del key
        return blank

    return init


def _settings(frame: pd.DataFrame, env: str, kinds: Sequence[str]) -> dict[str, Setting]:
    """Settings of these kinds that there are results of, by name."""
    there, known = set(frame["env"]), [one for profile in SETTINGS.values() for one in profile.get(env, ())]
    return {one.name: one for one in known if one.kind in kinds and common.place(env, one.name) in there}


def _judged(frame: pd.DataFrame, env: str, setting: Setting | None = None) -> dict[str, Judgement]:
    """The verdict on every statement, in Table 1 or under a setting."""
    where, same = (env, ()) if setting is None else (common.place(env, setting.name), setting.same)
    return {s.short: judge(common.claim(s, env, where, same), frame) for s in common.statements()}


def relation(verdict: Verdict, usual: Verdict) -> str:
    """How a verdict stands to that of Table 1: `same`, `opposite`, `open` here only, or `decided` here only."""
    if verdict is usual:
        return "same"
    if verdict is Verdict.OPEN:
        return "open"
    return "opposite" if OPPOSITE.get(usual) is verdict else "decided"


def shift(here: np.ndarray, usual: np.ndarray, confidence: float = 0.95) -> Interval:
    """By how much a gap differs from that of Table 1, the bootstrap over the seeds of all cells of both.

    Args:
      here: scores `[seeds, cells]` under a setting; the first cell is said to be better than the others.
      usual: scores `[other seeds, cells]` in Table 1.
      confidence: of the interval.
    """

    def gap(scores: np.ndarray) -> np.ndarray:
        middles = iqm(scores, axis=1)
        return middles[:, 0] - middles[:, 1:].max(axis=1)

    return bootstrap(lambda a, b: gap(a) - gap(b), here, usual, confidence=confidence, repetitions=10_000)


def _shifts(
    frame: pd.DataFrame, env: str, settings: dict[str, Setting], confidence: float
) -> dict[str, dict[str, Interval]]:
    """`shift` of every statement's gap under every setting."""

    def scores(statement: common.Statement, where: str) -> np.ndarray:
        cells = (statement.better, *statement.worse)
        return np.stack([common.scores(frame, where, *cell) for cell in cells], axis=1)

    return {
        name: {
            one.short: shift(scores(one, common.place(env, name)), scores(one, env), confidence)
            for one in common.statements()
        }
        for name in settings
    }


def _moved(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> dict[str, set[str]]:
    """Statements whose gap differs from Table 1's by more than chance, by setting; corrected for all of them."""
    count = len(settings) * len(common.statements())
    found = _shifts(frame, env, settings, 1 - 0.05 / count) if count else {}
    return {name: {short for short, one in row.items() if one.low > 0 or one.high < 0} for name, row in found.items()}


def _changes(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """How every gap differs from Table 1's, a row per setting."""
    moved, rows = _moved(frame, env, settings), []
    for name, found in _shifts(frame, env, settings, 0.95).items():
        shown = {
            short: f"{one.estimate:+.1f} [{one.low:+.1f}, {one.high:+.1f}]" + (" *" if short in moved[name] else "")
            for short, one in found.items()
        }
        rows.append({"setting": name, "seeds": settings[name].seeds, **shown})
    return pd.DataFrame(rows)


def _verdicts(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """A row for Table 1 and per setting, a column per statement."""
    usual = _judged(frame, env)
    rows = []
    for name, found in {"Table 1": usual, **{n: _judged(frame, env, s) for n, s in settings.items()}}.items():
        row: dict[str, Any] = {"setting": name, "seeds": next(iter(found.values())).n_seeds}
        for short, one in found.items():
            against = "" if found is usual else f" ({relation(one.verdict, usual[short].verdict)})"
            row[short] = f"{one.estimate:+.1f} [{one.low:+.1f}, {one.high:+.1f}] {one.verdict}{against}"
        rows.append(row)
    return pd.DataFrame(rows)


def _returns(frame: pd.DataFrame, env: str, settings: dict[str, Setting]) -> pd.DataFrame:
    """Mean and standard error of every cell, in Table 1 and under every setting."""
    rows = []
    for name, setting in {"Table 1": None, **settings}.items():
        row = {"setting": name}
        for model in common.MODELS:
            for method in common.METHODS:
                varied = setting is not None and method not in setting.same
                found = common.scores(frame, common.place(env, name) if varied else env, model, method)
                error = found.std(ddof=1) / np.sqrt(len(found))
                row[f"{model}, {method}"] = f"{found.mean():.1f} ± {error:.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


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
            settings = _settings(frame, env, kinds)
            if settings:
                caption = f"{title}, {what}: difference of the IQMs of the returns [95 % interval] and verdict."
                shown.append(Table(_verdicts(frame, env, settings), caption))
                if kinds == SIZES:
                    caption = (
                        f"{title}: by how much each difference is larger than in Table 1 [95 % interval]; "
                        "a star marks what is beyond chance, corrected for the size of this table."
                    )
                    shown.append(Table(_changes(frame, env, settings), caption))
        every = _settings(frame, env, ("fuller", "smaller", "open"))
        shown.append(Table(_returns(frame, env, every), f"{title}: mean ± standard error of the return in every cell."))
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


def _turned(env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """0.5 minus the number of verdicts that turn into their opposite under a setting that the paper leaves open."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        others, usual = _compared(frame, env, OPEN)
        if all(one.verdict is Verdict.OPEN for one in usual.values()):
            raise MissingDataError("no verdict of Table 1 is decided, so none can turn")
        return np.array([0.5 - len(_related(others, usual, ("opposite",)))])

    return gap


def _decided(env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """0.5 minus the number of verdicts that another size decides.

    That is, those that turn into their opposite, and those that are decided in only one of the two where the gap
    differs by more than chance as well.
    """

    def gap(frame: pd.DataFrame) -> np.ndarray:
        others, usual = _compared(frame, env, ("fuller",))
        sizes = _moved(frame, env, _settings(frame, env, SIZES))
        moved = {(name, short) for name, found in sizes.items() for short in found}
        turned = _related(others, usual, ("opposite",))
        return np.array([0.5 - len(turned | (_related(others, usual, ("open", "decided")) & moved))])

    return gap


def _compared(
    frame: pd.DataFrame, env: str, kinds: Sequence[str]
) -> tuple[dict[str, dict[str, Judgement]], dict[str, Judgement]]:
    """Verdicts by setting of these kinds, and those of Table 1; raises MissingDataError if there is no such setting."""
    settings = _settings(frame, env, kinds)
    if not settings:
        raise MissingDataError(f"no such variations of {env}")
    return {name: _judged(frame, env, one) for name, one in settings.items()}, _judged(frame, env)


def _related(
    others: dict[str, dict[str, Judgement]], usual: dict[str, Judgement], relations: Sequence[str]
) -> set[tuple[str, str]]:
    """Pairs of setting and statement whose verdict stands in one of these relations to that of Table 1."""
    return {
        (name, short)
        for name, row in others.items()
        for short, one in row.items()
        if relation(one.verdict, usual[short].verdict) in relations
    }


CLAIMS = tuple(
    Claim(text=f"{title}: {text}", source="ours", gap=gap(env), unit="0.5 minus the verdicts", tolerance=0.0, note=note)
    for env, title in common.ENVS.items()
    for text, gap, note in (
        (
            "no larger size that was tried decides a verdict of Table 1",
            _decided,
            "Counted are verdicts that turn into their opposite, and those decided only there or only in Table 1 where "
            "the difference itself has changed by more than chance (starred in the tables).",
        ),
        (
            "no setting that the paper leaves open turns a verdict of Table 1 into its opposite",
            _turned,
            "A verdict that becomes OPEN is not counted; the tables show it.",
        ),
    )
)

ARTEFACT = Artefact(
    name=NAME,
    title="Table 1 with other sizes, and under other settings of what the paper leaves open",
    paper=f"{common.PAPER}, Table 1 under other settings",
    run=run,
    blocks=blocks,
    claims=CLAIMS,
    note="Mostly fewer seeds and evaluation episodes than Table 1. What concerns the planner only (in IcyRoad "
    "self-normalised weights too) is changed after training; instance noise, at the intersection self-normalised "
    "weights, and what changes the environment are used from the first round on. Settings of the weights do not "
    "concern methods without a discriminator, which are taken from Table 1.",
    also=(table1.NAME,),
    on_request=("smoke",),
)
