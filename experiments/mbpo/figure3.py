"""Figure 3 of MBPO: no model, fixed roll-out lengths, value expansion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.mbpo import common, figure2
from experiments.training import Chosen
from mbrl_jax.algorithms import mbpo, sac
from mbrl_jax.jobs import Job
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure, Table
from mbrl_jax.report.claims import Claim, Samples
from mbrl_jax.runner.run import Run

NAME = "mbpo/figure3"
SOURCE = f"{common.PAPER}, Sec. 6.2 and Figure 3"
TASKS = {"smoke": "inverted_pendulum-v4", "laptop": "inverted_pendulum-v4", "paper": "hopper-v4"}
SAMPLES = {"smoke": 200, "laptop": 4_000, "paper": 400_000}
"""Imagined transitions per fit of the fixed-length variants: long roll-outs start from fewer states, so that all
lengths train on equally many. The paper does not say how many it used."""
STEPS = {"smoke": 500, "laptop": 3000, "paper": None}
"""Environment steps of the variants, None for the preset's; comparisons with MBPO and SAC end there too."""
LENGTHS = {"smoke": (200,), "laptop": (200, 500), "paper": (200, 500)}
EXPANSIONS = {"smoke": (1,), "laptop": (1,), "paper": (1, 5)}


def planned(profile: str) -> list[Run]:
    """The variants; MBPO itself and SAC are figure 2's runs."""
    size, env = replace(common.scale(profile), steps=STEPS[profile]), TASKS[profile]
    base = common.mbpo_config(env, size)
    variants: dict[str, Chosen] = {
        f"SAC, {base.updates_per_step} updates per step": Chosen("sac", _model_free(env, size, base))
    }
    for length in LENGTHS[profile]:
        variants[f"roll-outs of {length}"] = Chosen("mbpo", _fixed(base, length, SAMPLES[profile]))
    if base.longest_rollout > 1:
        variants["roll-outs of 1"] = Chosen("mbpo", replace(base, rollout_schedule=(0, 1, 1, 1)))
    for horizon in EXPANSIONS[profile]:
        variants[f"value expansion, H = {horizon}"] = Chosen(
            "mbpo", replace(base, real_fraction=1.0), {"targets": mbpo.value_expansion(horizon)}
        )
    return common.runs(NAME, profile, env, **variants)


def _model_free(env: str, size: common.Scale, base: mbpo.Config) -> sac.Config:
    return common.without_model(env, size, updates_per_step=base.updates_per_step)


def _fixed(base: mbpo.Config, length: int, samples: int) -> mbpo.Config:
    return replace(base, rollout_schedule=(0, 1, length, length), rollout_batch=max(samples // length, 1))


def jobs(profile: str) -> list[Job]:
    """Figure 2's runs on this task, and the variants."""
    return common.jobs([*(one for one in figure2.planned(profile) if one.env == TASKS[profile]), *planned(profile)])


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of this figure's task, of Figure 2's methods those of MBPO and SAC."""
    tasks = list(frame.loc[frame["experiment"] == NAME, "env"])
    if not tasks:
        raise select.MissingDataError("no variant has been trained")
    ours = (frame["experiment"] == NAME) | frame["algorithm"].isin(["MBPO", "SAC"])
    kept = pd.DataFrame(frame[frame["env"].isin(tasks) & ours])
    kept.attrs.update(frame.attrs)
    return kept


def _panels(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Panel titles and the algorithms in them, as in the paper."""
    labels = list(frame["algorithm"].unique())

    def pick(start: str) -> list[str]:
        return [name for name in labels if name.startswith(start)]

    return {
        "No model": ["MBPO", *pick("SAC")],
        "Roll-out length": ["MBPO", *pick("roll-outs")],
        "Value expansion": ["MBPO", *pick("value"), "SAC"],
    }


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Three panels of learning curves, as in the paper, and a table."""
    own = _own(frame)
    drawn = []
    for title, names in _panels(own).items():
        (panel,) = figures.learning_curves(own, algorithms=names)
        figures.retitle(panel, title)
        drawn.append(panel)
    seeds = own["seed"].nunique()
    caption = (
        f"{own['env'].iloc[0]}: evaluation return against environment steps, IQM over {seeds} seeds with 95 % "
        "intervals. MBPO and SAC are Figure 2's runs. SAC with as many updates as MBPO has MBPO's target entropy too."
    )
    note = f"Return (IQM [95 % interval]) and steps to solve, of all runs up to step {_budget(own):,.0f}."
    return [Figure(drawn, caption), Table(_scores(own), note)]


def _budget(own: pd.DataFrame) -> float:
    """The last step that every run has reached."""
    return min(float(select.curves(own, name).env_step[-1]) for name in own["algorithm"].unique())


def _scores(frame: pd.DataFrame) -> pd.DataFrame:
    task, budget = frame["env"].iloc[0], _budget(frame)
    frame = pd.DataFrame(frame[frame["env_step"] <= budget])
    rows = []
    for name in frame["algorithm"].unique():
        middle = statistics.aggregate(select.final(frame, name, task))
        row = {"variant": name, "return": f"{middle.estimate:,.0f} [{middle.low:,.0f}, {middle.high:,.0f}]"}
        if task in common.SOLVED:
            (until,) = select.steps_until(frame, common.SOLVED[task], name, env=task)
            row["median steps to solve"] = common.steps_text(until)
        rows.append(row)
    return pd.DataFrame(rows)


def _sooner(better: str, worse: str):
    """log(median steps of `worse` / of `better`) until solved, where that is defined; else final returns."""

    def gap(frame: pd.DataFrame) -> Samples | select.Times:
        own = _own(frame)
        task = own["env"].iloc[0]
        if task not in common.SOLVED:
            return Samples(_final(own, better), _final(own, worse))
        names = _matching(own, worse), _matching(own, better)
        return select.times(own, common.SOLVED[task], *names, env=task)

    return gap


def _final(frame: pd.DataFrame, start: str) -> np.ndarray:
    return select.final(frame, _matching(frame, start), at=_budget(frame))


def _learns(name: str) -> Callable[[pd.DataFrame], Samples]:
    """Returns at the end and before training."""

    def gap(frame: pd.DataFrame) -> Samples:
        own = _own(frame)
        return Samples(_final(own, name), select.curves(own, _matching(own, name)).value[:, 0])

    return gap


def _ineffective(name: str) -> Callable[[pd.DataFrame], Samples]:
    """Half of what MBPO gains in return, and what this gains, each over the untrained policies' mean."""

    def gap(frame: pd.DataFrame) -> Samples:
        own = _own(frame)
        untrained = select.curves(own, "MBPO").value[:, 0].mean()
        return Samples(0.5 * (_final(own, "MBPO") - untrained), _final(own, name) - untrained)

    return gap


def _matching(frame: pd.DataFrame, start: str) -> str:
    names = [name for name in frame["algorithm"].unique() if name.startswith(start)]
    if not names:
        raise select.MissingDataError(f"no results for {start}")
    return names[0]


UNIT = "log ratio of median steps to solve; on Hopper, return"
CLAIMS = (
    Claim(
        text="MBPO learns faster than SAC without a model at the same number of updates per step",
        source=SOURCE,
        gap=_sooner("MBPO", "SAC, "),
        unit=UNIT,
    ),
    Claim(
        text="The model is accurate enough for roll-outs of 200 steps: the policy learns from them",
        source=SOURCE,
        gap=_learns("roll-outs of 200"),
        unit="return above the untrained policy's",
    ),
    Claim(
        text="Roll-outs of 200 steps perform worse than short ones",
        source=SOURCE,
        gap=_sooner("MBPO", "roll-outs of 200"),
        unit=UNIT,
        note="Judged as: MBPO's short roll-outs solve the task sooner.",
    ),
    Claim(
        text="Roll-outs of 500 steps are too inaccurate for effective learning",
        source=SOURCE,
        gap=_ineffective("roll-outs of 500"),
        unit="return",
        note="Judged as: they gain less than half of the return that MBPO gains in as many steps.",
    ),
    Claim(
        text="SAC benefits from value expansion with single-step roll-outs",
        source=SOURCE,
        gap=_sooner("value expansion, H = 1", "SAC, "),
        unit=UNIT,
        note="Against SAC with the same number of updates per step.",
    ),
    Claim(
        text="MBPO outperforms value expansion",
        source=SOURCE,
        gap=_sooner("MBPO", "value expansion, H = 1"),
        unit=UNIT,
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="What the model is good for: no model, roll-out length, value expansion",
    paper=f"{common.PAPER}, Figure 3",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=common.SCALED_DOWN
    + " The laptop profile shows the inverted pendulum where the paper shows Hopper. MBPO's own preset there has "
    "roll-outs of one step. Long roll-outs start from proportionally fewer states.",
    also=(figure2.NAME,),
    on_request=("smoke",),
)
