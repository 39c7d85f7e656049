"""What MAO's artefacts on continuous control share: tasks, methods, sizes, the rows that need no training, claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import exact, training
from experiments.training import Chosen
from mbrl_jax import envs, rollouts
from mbrl_jax.algorithms import mao, mao_vaml, preset, sac, slbo
from mbrl_jax.checks import nearest
from mbrl_jax.jobs import Job
from mbrl_jax.report import Block, Figure, Table, figures, select, statistics
from mbrl_jax.runner.run import Run

__all__ = [
    "ALIVE",
    "FIRST",
    "L1",
    "L1_VPS",
    "METHODS",
    "NOTHING",
    "PAPER",
    "PUBLISHED",
    "SAC",
    "SCALED_DOWN",
    "SLBO",
    "STALE",
    "VAML",
    "VAML_VPS",
    "Evaluated",
    "Scale",
    "Task",
    "blocks",
    "chosen",
    "jobs",
    "mean_return",
    "planned",
    "scale",
]

PAPER = "Modhe et al. 2021"
SLBO, L1, L1_VPS, VAML, VAML_VPS = "SLBO", "MA-L1", "MA-L1 + VPS", "MA-VAML", "MA-VAML + VPS"
ALIVE, SAC, STALE = "MA-VAML, α of L1", "SAC", "MA-L1, values not refreshed"
METHODS = (SLBO, L1, L1_VPS, VAML, VAML_VPS, ALIVE, SAC)
"""Labels: the paper's five, VAML at a weight with which its model trains, and SAC with as many real steps."""
NOTHING, RANDOM = "doing nothing", "random"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task and what is published of it.

    Attributes:
      title: its name in the paper.
      slbo: SLBO's return after 200,000 steps, mean and standard deviation of 4 seeds (Wang et al. 2019, Table 1).
      random: a random policy's, likewise.
    """

    title: str
    slbo: str
    random: str


PUBLISHED: Mapping[str, Task] = {
    "mbbl_pendulum-v0": Task(title="Pendulum", slbo="173.5 ± 2.5", random="−202.6 ± 249.3"),
    "mbbl_cartpole-v0": Task(title="CartPole", slbo="78.0 ± 166.6", random="38.4 ± 32.5"),
    "mbbl_acrobot-v0": Task(title="Acrobot", slbo="−75.6 ± 8.8", random="−374.5 ± 17.1"),
    "mbbl_ant-v0": Task(title="Ant", slbo="718.1 ± 123.3", random="474 ± 41"),
    "mbbl_half_cheetah-v0": Task(title="HalfCheetah", slbo="1,097.7 ± 166.4", random="−288 ± 66"),
    "mbbl_swimmer-v0": Task(title="Swimmer", slbo="41.6 ± 18.4", random="1.2 ± 11.2"),
    "mbbl_reacher-v0": Task(title="Reacher", slbo="−4.1 ± 0.1", random="−45.7 ± 4.8"),
    "mbbl_hopper-v0": Task(title="Hopper", slbo="−741.7 ± 734.1", random="−2,573 ± 631"),
}
FIRST = "mbbl_pendulum-v0"
"""The task on which MA-L1 is also run without Algorithm 2's lines 7 and 8."""
LONG = ("mbbl_ant-v0", "mbbl_half_cheetah-v0", "mbbl_swimmer-v0", "mbbl_hopper-v0")
"""Tasks with 800,000 real steps in the paper (Hopper's are not printed); the others have 200,000."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of one profile.

    Attributes:
      work: SLBO's settings of a task, by its name without version.
      seeds: seeds per method, all in one program.
      eval_episodes: episodes per evaluation, which are once per stage.
      untrained: episodes of the rows that need no training.
      small: whether SAC's networks and batches are scaled down.
    """

    work: Callable[[str], slbo.Config]
    seeds: int
    eval_episodes: int
    untrained: int
    small: bool = True

    def config(self, env: str) -> slbo.Config:
        """SLBO's settings of an environment."""
        found = self.work(_base(env))
        return replace(found, steps=800_000) if self.work is slbo.preset and env in LONG else found


def _smoke(base: str) -> slbo.Config:
    few = replace(slbo.quick(base), iterations=1, model_updates=20, policy_updates=1)
    return replace(few, steps=few.stage_steps)


SCALES = {
    "smoke": Scale(work=_smoke, seeds=2, eval_episodes=1, untrained=4),
    "laptop": Scale(work=slbo.quick, seeds=6, eval_episodes=10, untrained=400),
    "paper": Scale(work=slbo.preset, seeds=20, eval_episodes=20, untrained=400, small=False),
}
SCALED_DOWN = (
    "The laptop profile has 4 stages of 2,000 real steps with 4 times 100 model updates and 15 policy updates of 2,000 "
    "imagined steps each (paper profile: 20 or 80 stages of 10,000 steps, 20 times 100 and 40 of 4,000); networks and "
    "batches of the model are the released ones. How often the values are refreshed is not in the paper; here after "
    "every 20th model update. "
)


def _base(env: str) -> str:
    return env.rpartition("-")[0]


def scale(profile: str) -> Scale:
    """The sizes of a profile. Raises ValueError, naming the nearest, if there is none of that name."""
    if profile not in SCALES:
        raise ValueError(nearest(profile, SCALES, "profile"))
    return SCALES[profile]


def chosen(env: str, size: Scale) -> dict[str, Chosen]:
    """All methods on a task, by their labels."""
    base, config = _base(env), size.config(env)
    value_l1, value_vaml = mao.preset(base, config), mao_vaml.preset(base, config)
    alive = replace(value_vaml, model=replace(value_vaml.model, weight=value_l1.model.weight))
    return {
        SLBO: Chosen("slbo", config),
        L1: Chosen("mao", value_l1),
        L1_VPS: Chosen("mao", mao.smooth(base, value_l1)),
        VAML: Chosen("mao_vaml", value_vaml),
        VAML_VPS: Chosen("mao_vaml", mao_vaml.smooth(base, value_vaml)),
        ALIVE: Chosen("mao_vaml", alive),
        SAC: Chosen("sac", _sac(base, config, size)),
        **({STALE: Chosen("mao", replace(value_l1, value_refresh=0))} if env == FIRST else {}),
    }


def _sac(base: str, config: slbo.Config, size: Scale) -> sac.Config:
    """SAC with as many real steps, the random ones among them."""
    warmup = config.stage_steps // 4 if size.small else config.stage_steps
    found = replace(preset("sac", base), warmup_steps=warmup, steps=config.steps - warmup, steps_per_iteration=250)
    return replace(found, batch=128, agent=replace(found.agent, hidden=(64, 64))) if size.small else found


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Seeds and evaluations of one run, see `training.Measured`."""

    seeds: int
    eval_every: int
    eval_episodes: int


def planned(name: str, profile: str, tasks: Sequence[str]) -> list[Run]:
    """Every method on every task."""
    size = scale(profile)
    found = []
    for env in tasks:
        for label, one in chosen(env, size).items():
            every = one.config.warmup_steps if label == SAC else one.config.stage_steps
            measured = Evaluated(seeds=size.seeds, eval_every=every, eval_episodes=size.eval_episodes)
            found += training.runs(name, profile, env, measured, {label: one})
    return found


def jobs(name: str, profile: str, tasks: Sequence[str]) -> list[Job]:
    """The methods' runs, and the policies that need no training."""
    return [*training.jobs(planned(name, profile, tasks)), *(_untrained(name, profile, env) for env in tasks)]


def _untrained(name: str, profile: str, env: str) -> Job:
    """Returns of whole episodes of doing nothing, and of uniformly random actions, an episode as a seed."""
    episodes = scale(profile).untrained
    identity = {"env": env, "episodes": episodes}
    program, tabulate = partial(_program, env, episodes), partial(_tabulate, env)
    task = exact.Task(name, profile, identity, episodes, program, tabulate, double=False)
    return exact.job(task, label=f"untrained policies {env}")


def _program(env: str, episodes: int) -> tuple[Callable[..., object], tuple[object, ...]]:
    world = envs.make(env)

    def still(key: jax.Array, obs: jax.Array) -> jax.Array:
        del key
        return jnp.zeros((len(obs), world.spec.action_dim))

    def both(key: jax.Array) -> list[jax.Array]:
        policies = (rollouts.stateless(still), rollouts.uniform(world.spec))
        return [rollouts.evaluate(key, world, policy, episodes)[0] for policy in policies]

    return both, (jax.random.key(0),)


def _tabulate(env: str, out: list[np.ndarray]) -> list[pd.DataFrame]:
    return [
        exact.table(label, select.RETURN, returns[:, None], (0,), env)
        for label, returns in zip((NOTHING, RANDOM), out, strict=True)
    ]


def blocks(frame: pd.DataFrame, tasks: Sequence[str]) -> list[Block]:
    """Learning curves, the share of the model that lives, returns at the end beside the published ones."""
    there = [env for env in tasks if env in set(frame["env"])]
    trained = frame.loc[~frame["algorithm"].isin((NOTHING, RANDOM))]
    still = {env: mean_return(frame, NOTHING, env) for env in there}
    lines = {env: {NOTHING: value} for env, value in still.items() if value > mean_return(frame, RANDOM, env)}
    curves = figures.learning_curves(trained, algorithms=METHODS, envs=there, references=lines)
    living = [name for name in METHODS if name != SAC]
    units = figures.learning_curves(
        trained, "model/alive", algorithms=living, envs=there, ylabel="share of living hidden units"
    )
    seeds = trained["seed"].nunique()
    return [
        Figure(
            curves,
            f"Evaluation return against real environment steps: IQM over {seeds} seeds with 95 % intervals. SLBO's and "
            "MAO's policies are evaluated with their randomness, as in the released code. Dashed: doing nothing, where "
            "that is better than a random policy.",
        ),
        Figure(
            units,
            "Hidden units of the model with an incoming weight above 1e-6: with the weights that the paper selects for "
            "VAML the model dies, and predicts the mean change for good.",
        ),
        Table(
            _scores(frame, there),
            "Return at the end; IQM [95 % interval] over seeds, of 'doing nothing' and 'random' mean over episodes.",
            {"SLBO, 200,000 steps": "Wang et al. 2019, Table 1", "random (published)": "Wang et al. 2019, Table 1"},
        ),
    ]


def mean_return(frame: pd.DataFrame, label: str, env: str) -> float:
    """The first evaluations' mean over seeds: of the rows that need no training all there is."""
    return float(select.curves(frame, label, env).value[:, 0].mean())


def _scores(frame: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    rows = []
    for env in tasks:
        row: dict[str, object] = {"task": PUBLISHED[env].title}
        for name in (*METHODS, STALE):
            if name == STALE and env != FIRST:
                row[name] = "–"
                continue
            middle = statistics.aggregate(select.final(frame, name, env))
            row[name] = f"{middle.estimate:,.1f} [{middle.low:,.1f}, {middle.high:,.1f}]"
        for name in (NOTHING, RANDOM):
            row[name] = f"{mean_return(frame, name, env):,.1f}"
        row |= {"SLBO, 200,000 steps": PUBLISHED[env].slbo, "random (published)": PUBLISHED[env].random}
        rows.append(row)
    return pd.DataFrame(rows)
