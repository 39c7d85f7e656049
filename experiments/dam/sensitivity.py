"""Which verdicts of DAM's Table 1 hang on a setting that the paper leaves open: one table.

Settings of the planner are changed for models that Table 1 has fitted, whose data were planned with its own settings;
another swerve probability is a run of its own from the first round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.dam import common, table1
from mbrl_jax.algorithms import dam
from mbrl_jax.envs import icy_road
from mbrl_jax.report import select
from mbrl_jax.report.artefact import Artefact, Block, Table, Text
from mbrl_jax.report.claims import Claim, Verdict, judge
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.runner import loop, program
from mbrl_jax.runner.run import override
from mbrl_jax.types import Algorithm, Key, PyTree

NAME = "dam/sensitivity"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a profile varies.

    Attributes:
      seeds: seeds of every cell.
      episodes: evaluation episodes of every seed.
      planning: by environment, changes of the planner by name.
      swerves: swerve probabilities of IcyRoad besides the default.
    """

    seeds: int
    episodes: dict[str, int]
    planning: dict[str, dict[str, dict[str, Any]]]
    swerves: tuple[float, ...]


_ICY = {
    "one particle": {"particles": 1},
    "20 particles": {"particles": 20},
    "all 243 sequences": {"search": "exhaustive"},
    "horizon 3": {"horizon": 3},
    "weights σ(logit)": {"sigmoid": 1.0},
    "products up to e²": {"weight_clip": 2.0},
}
_INTERSECTION = {
    "weights σ(logit)": {"sigmoid": 1.0},
    "products up to e²": {"weight_clip": 2.0},
    "one particle": {"particles": 1},
}
SCALES = {
    "smoke": Scale(
        seeds=2,
        episodes={"icy_road-v0": 2},
        planning={"icy_road-v0": {"one particle": {"particles": 1}}},
        swerves=(),
    ),
    "laptop": Scale(
        seeds=8,
        episodes={"icy_road-v0": 15, "intersection-v0": 6},
        planning={"icy_road-v0": _ICY, "intersection-v0": _INTERSECTION},
        swerves=(0.6,),
    ),
    "paper": Scale(
        seeds=20,
        episodes={"icy_road-v0": 50, "intersection-v0": 50},
        planning={
            "icy_road-v0": _ICY | {"particles 100": {"particles": 100}, "horizon 8": {"horizon": 8}},
            "intersection-v0": _INTERSECTION | {"2,000 sequences": {"sequences": 2000}, "horizon 20": {"horizon": 20}},
        },
        swerves=(0.5, 0.6, 0.7, 0.9),
    ),
}


class Fitted(NamedTuple):
    """What a policy needs of a finished run's state."""

    model: PyTree
    discriminator: PyTree


def run(profile: str, root: Path) -> None:
    """Trains Table 1 if it is missing; plans anew with its models; runs IcyRoad with other swerve probabilities."""
    table1.run(profile, root)
    size = SCALES[profile]
    for env, changes in size.planning.items():
        for model in common.MODELS:
            for name, change in changes.items():
                _replan(common.planned(table1.NAME, profile, env, model), name, change, size, root)
    for swerve in size.swerves:
        for model in common.MODELS:
            options = {"seeds": tuple(range(size.seeds)), "eval_episodes": size.episodes["icy_road-v0"]}
            loop.train(common.planned(NAME, profile, "icy_road-v0", model, swerve=swerve, **options), root)


def _replan(one: common.Cell, name: str, change: dict[str, Any], size: Scale, root: Path) -> None:
    """Evaluates a finished run's models with another planner, all lanes in one program."""
    lanes = [(i, lane) for i, lane in enumerate(one.lanes()) if lane.seed < size.seeds]

    def build() -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _program(one, change, lanes, size.episodes[one.env], root)

    def tabulate(out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
        found = out["eval/return"].mean(axis=1)[: len(lanes)]
        for label in dict.fromkeys(lane.label for _, lane in lanes):
            rows = [value for value, (_, lane) in zip(found, lanes, strict=True) if lane.label == label]
            yield exact.table(label, select.RETURN, np.asarray(rows)[:, None], [0], f"{one.env}, {name}")

    settings = {"of": one.run_id(one.environment()), "change": change, "name": name, "episodes": size.episodes[one.env]}
    exact.run_once(root, NAME, one.profile, settings, size.seeds, build, tabulate, double=False)


def _program(
    one: common.Cell, change: dict[str, Any], lanes: Sequence[tuple[int, Any]], episodes: int, root: Path
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The runner's evaluation of a changed policy, and its arguments: lanes, fitted models, iteration 0."""
    env, state = one.environment(), loop.final_state(one, root)
    places = np.array([i for i, _ in lanes])
    fitted = jax.tree.map(lambda leaf: np.asarray(leaf)[places], Fitted(state.model, state.discriminator))
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), fitted)

    def build(values: Any) -> Algorithm:
        config = override(one.config, values)
        made = dam.make(replace(config, planning=replace(config.planning, **change)), env)
        return Algorithm(_start(blank), lambda key, state: (state, {}), made.policy, made.env_steps)

    columns = {name: [lane.values[name] for _, lane in lanes] for name, _ in one.sweep}
    seeds = [lane.seed for _, lane in lanes]
    made = program.make(build, env, program.lanes_of(seeds, columns, len(lanes)), episodes=episodes, length=1)
    wide = program.lanes_of(seeds, columns, made.lanes)
    carry = program.resized(program.Carry(fitted, jnp.full(len(lanes), -1, jnp.int32)), made.lanes)
    placed = jax.device_put(wide, jax.NamedSharding(made.mesh, jax.P("seed")))
    return made.evaluate, (placed, made.place(carry), jnp.zeros((), jnp.int32))


def _start(blank: Fitted) -> Callable[[Key], Fitted]:
    def init(key: Key) -> Fitted:
        del key
        return blank

    return init


def _places(frame: pd.DataFrame, env: str) -> list[str]:
    """The environment as Table 1 has it, then every variation there are results of."""
    known = [where for where in frame["env"].unique() if where.startswith(f"{env},")]
    order = [f"{env}, {name}" for size in SCALES.values() for name in size.planning.get(env, {})]
    return [env, *sorted(known, key=lambda where: (order.index(where) if where in order else len(order), where))]


def _judged(frame: pd.DataFrame, env: str, where: str) -> dict[str, Any]:
    return {s.short: judge(common.claim(s, env, where), frame, repetitions=2000) for s in common.statements()}


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """A table per environment: a row per setting, a column per statement."""
    shown: list[Block] = []
    for env, title in common.ENVS.items():
        if env not in set(frame["env"]):
            continue
        rows = []
        for where in _places(frame, env):
            name = where.removeprefix(env).removeprefix(", ") or "Table 1"
            found = _judged(frame, env, where)
            cells = {
                short: f"{j.estimate:+.1f} [{j.low:+.1f}, {j.high:+.1f}] {j.verdict}" for short, j in found.items()
            }
            rows.append({"setting": name, "seeds": next(iter(found.values())).n_seeds, **cells})
        caption = f"{title}: difference of the IQMs of the returns [95 % interval] and verdict, by setting."
        shown.append(Table(pd.DataFrame(rows), caption))
    optima = ", ".join(
        f"{icy_road.exact_return(icy_road.Config(swerve_probability=p)):.1f} at {p:g}" for p in (0.6, 0.8, 0.9)
    )
    text = f"The optimum of IcyRoad depends on the swerve probability: {optima}."
    return [*shown, Text(text)]


def _flips(env: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """0.5 minus the number of verdicts that turn into their opposite under some setting."""

    def gap(frame: pd.DataFrame) -> np.ndarray:
        places = _places(frame, env)
        if len(places) < 2:
            raise MissingDataError(f"no variations of {env}")
        base, others = _judged(frame, env, env), [_judged(frame, env, where) for where in places[1:]]
        against = {Verdict.HOLDS: Verdict.FAILS, Verdict.FAILS: Verdict.HOLDS}
        turned = [
            short for short, judged in base.items() for o in others if o[short].verdict is against.get(judged.verdict)
        ]
        return np.array([0.5 - len(turned)])

    return gap


CLAIMS = tuple(
    Claim(
        text=f"{title}: no open setting turns a verdict of Table 1 into its opposite",
        source="ours",
        gap=_flips(env),
        unit="0.5 minus the verdicts turned",
        tolerance=0.0,
        note="A verdict that becomes OPEN is not counted; the table shows it.",
    )
    for env, title in common.ENVS.items()
)

ARTEFACT = Artefact(
    name=NAME,
    title="Table 1 under other settings of what the paper leaves open",
    paper=f"{common.PAPER}, Table 1",
    run=run,
    blocks=blocks,
    claims=CLAIMS,
    note="Fewer seeds and evaluation episodes than Table 1. Planner settings are changed after training only.",
    also=(table1.NAME,),
)
