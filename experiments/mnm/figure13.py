"""Figure 13: Q-learning on new tasks with the dynamics that MnM learned for another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact
from experiments.mnm import worlds
from mbrl_jax import tabular
from mbrl_jax.algorithms.tabular.alternation import alternate, converged
from mbrl_jax.algorithms.tabular.exploration import Config, Lane, learn
from mbrl_jax.jobs import Job
from mbrl_jax.objectives.ratios import Terms
from mbrl_jax.report import (
    Artefact,
    Block,
    Claim,
    Figure,
    Interval,
    Rivals,
    Samples,
    Table,
    figures,
    select,
    statistics,
)

__all__ = ["ARTEFACT"]

NAME = "mnm/figure13"
TASKS = {"A": (5, 3), "B": (6, 6), "C": (2, 9)}
"""Goals (row, column): A before the wall, B just behind it, C far behind it. The paper shows them in a drawing only."""
LABELS = ("transferred dynamics", "true dynamics", "transferred dynamics, reward 1e-5 / 1e9")
"""First the dynamics learned with the reward of the learning curves (0.001 and 10), last those with the reward of the
released notebook's arrows (1e-5 and 1e9)."""
TRANSFERRED = {LABELS[2]: "of Figure 2a (right)", LABELS[0]: "of the learning curves"}
"""What the claims are about: Appendix C names the dynamics of Figure 2a (right), which the released notebook learns
with another reward than those of the learning curves."""
SEEDS = 20


def program(config: Config, seeds: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """First MnM's dynamics for the original task (Fig. 2a, right), then Q-learning: tasks x dynamics x seeds."""
    world, extreme = worlds.navigation(), worlds.navigation(reward=1e-5, goal_reward=1e9)
    rewards = jnp.stack([worlds.navigation(goal).mdp.reward for goal in TASKS.values()])
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    plain = Terms(0.0, 0.0, 0.0)

    def everything(keys: jax.Array, rewards: jax.Array) -> dict[str, jax.Array]:
        both = [_learned_moves(world), jnp.asarray(world.choice), _learned_moves(extreme)]

        def one(reward: jax.Array, choice: jax.Array, key: jax.Array) -> jax.Array:
            return learn(config, world, Lane(key, plain, choice, reward))

        over_seeds = jax.vmap(one, (None, None, 0))
        over_dynamics = jax.vmap(over_seeds, (None, 0, None))
        best = jax.vmap(lambda reward: tabular.value_iteration(world.mdp._replace(reward=reward)).value)(rewards)
        returns = jax.vmap(over_dynamics, (0, None, None))(rewards, jnp.stack(both), keys)
        return {"return": returns, "optimum": best @ world.mdp.initial}

    return everything, (keys, rewards)


def _learned_moves(world: worlds.World) -> jax.Array:
    """MnM's dynamics for a task, by the value-iteration version, as probabilities of moves `[S, A, D]`."""
    records = alternate(world.mdp, Terms(1.0, 1.0, 1.0), 100)
    return _per_move(world, records.model[converged(records.change)])


def _per_move(world: worlds.World, model: jax.Array) -> jax.Array:
    """A model `[S, A, S]` that re-weights the true dynamics, as probabilities of moves `[S, A, D]`."""
    ratio = model / jnp.where(world.mdp.transition > 0, world.mdp.transition, 1)
    reached = jnp.asarray(world.reached)
    return jnp.asarray(world.choice) * jnp.take_along_axis(ratio, reached[:, None, :], axis=2)


def jobs(profile: str) -> list[Job]:
    """Learns all tasks with both dynamics on every seed."""
    config = exact.by_profile(profile, Config(iterations=60), Config())
    seeds, identity = exact.by_profile(profile, 2, SEEDS), {**asdict(config), "tasks": TASKS}
    task = exact.Task(NAME, profile, identity, seeds, partial(program, config, seeds), partial(_tabulate, config))
    return [exact.job(task)]


def _tabulate(config: Config, out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    steps = np.arange(config.iterations // config.eval_every + 1) * config.eval_every
    for row, task in enumerate(TASKS):
        for column, label in enumerate(LABELS):
            yield exact.table(label, select.RETURN, out["return"][row, column], steps, f"task {task}")
        yield exact.table("optimum", select.RETURN, out["optimum"][row : row + 1, None], [0], f"task {task}")


def _curve(frame: pd.DataFrame, label: str, task: str) -> pd.DataFrame:
    return exact.pick(frame, NAME, select.RETURN, label, f"task {task}")


def _mean_fraction(frame: pd.DataFrame, label: str, task: str) -> np.ndarray:
    """`[seeds]` return averaged over learning, as a fraction of the task's optimum."""
    best = float(_curve(frame, "optimum", task).iloc[0, 0])
    return _curve(frame, label, task).to_numpy().mean(axis=1) / best


def _last_fraction(frame: pd.DataFrame, label: str, task: str) -> np.ndarray:
    best = float(_curve(frame, "optimum", task).iloc[0, 0])
    return _curve(frame, label, task).to_numpy()[:, -1] / best


def blocks(frame: pd.DataFrame) -> list[Block]:
    """Three panels with bands from the 25th to the 75th percentile, and the numbers."""
    panels, rows = [], []
    for task, goal in TASKS.items():
        series = {}
        for label in LABELS:
            found = _curve(frame, label, task)
            low, middle, high = np.percentile(found.to_numpy(), [25, 50, 75], axis=0)
            series[label] = (found.columns.to_numpy(), Interval(middle, low, high))
            last = _last_fraction(frame, label, task)
            rows.append(
                {
                    "task": task,
                    "goal (row, column)": str(goal),
                    "dynamics": label,
                    "final return / optimum (median)": float(np.median(last)),
                    "seeds within 10 % of the optimum": f"{int((last > 0.9).sum())} of {len(last)}",
                    "mean over learning / optimum": float(np.median(_mean_fraction(frame, label, task))),
                }
            )
        best = float(_curve(frame, "optimum", task).iloc[0, 0])
        panels.append(
            figures.lines(
                series,
                title=f"Task {task}",
                xlabel="iterations",
                ylabel="return",
                references={"optimum": best},
                size=(3.4, 2.8),
            )
        )
    seeds = len(_curve(frame, LABELS[0], "A"))
    caption = f"Median and 25–75 % band over {seeds} seeds (the paper: 5), evaluated under the true dynamics."
    return [Figure(panels, caption), Table(pd.DataFrame(rows), caption)]


def _little_difference(label: str, task: str) -> Callable[[pd.DataFrame], Samples]:
    def gap(frame: pd.DataFrame) -> Samples:
        learned, true = (_last_fraction(frame, name, task) for name in (label, LABELS[1]))
        return Samples(learned, true, statistics.closeness(0.1))

    return gap


def _faster(label: str) -> Callable[[pd.DataFrame], Samples]:
    return lambda frame: Samples(_mean_fraction(frame, label, "C"), _mean_fraction(frame, LABELS[1], "C"))


def _alone(label: str) -> Callable[[pd.DataFrame], Rivals]:
    """How far both halves of the statement are from failing, of which the smaller counts."""

    def gap(frame: pd.DataFrame) -> Rivals:
        learned, true = (_last_fraction(frame, name, "C") for name in (label, LABELS[1]))
        nothing = np.zeros_like(true)
        return Rivals(nothing, [0.9 - learned, true - 0.9])

    return gap


def _claims(label: str, which: str) -> tuple[Claim, ...]:
    """The paper's statements about dynamics that were learned in one way."""
    source = "Appendix C, Fig. 13"
    same = "the transferred and the true dynamics lead to the same final return (within 10 %)"
    return (
        *(
            Claim(
                text=f"On task {task} {same}; dynamics {which}",
                source=source,
                gap=_little_difference(label, task),
                unit="fraction of the optimum to spare",
            )
            for task in ("A", "B")
        ),
        Claim(
            text="On task C Q-learning learns faster with the transferred dynamics than with the true ones; "
            f"dynamics {which}",
            source=source,
            gap=_faster(label),
            unit="fraction of the optimum, averaged over learning",
        ),
        Claim(
            text="On task C only the transferred dynamics let Q-learning solve the task (90 % of the optimum); "
            f"dynamics {which}",
            source=source,
            gap=_alone(label),
            unit="fraction of the optimum to spare",
            note="With the transferred dynamics above 90 %, with the true ones below.",
        ),
    )


CLAIMS = tuple(claim for label, which in TRANSFERRED.items() for claim in _claims(label, which))

ARTEFACT = Artefact(
    name=NAME,
    title="Transfer of the learned dynamics to new tasks",
    paper="Eysenbach et al. 2022, Figure 13",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="The released notebook has no cell for this figure: learning settings are those of Figure 2a (left), and the "
    "goals are our reading of the paper's description. They matter: in a trial with goals off the way to the original "
    "goal, (9, 0), (9, 9) and (0, 6), no seed learned anything in the transferred dynamics, because episodes drawn "
    "from them are swept past those goals.",
)
