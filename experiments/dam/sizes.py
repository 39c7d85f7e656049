"""Whether the laptop profile's sizes decide a verdict of DAM's Table 1: larger data, fits and networks.

All methods have 20 seeds there, and at larger sizes those without a discriminator, which cost less, have 40 or 60
more: what minimum variance alone does is what 20 seeds leave undecided. Table 1 with other seeds stands beside
them: what changes there changes by chance, and the larger sizes are compared with all its seeds. IcyRoad once more with
broader Gaussians, which the paper leaves open too, has a table of its own. These rows of `dam/sensitivity` take longer
than the laptop profile, so they are run only where they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments import training
from experiments.dam import common, sensitivity, table1
from experiments.dam.comparison import (
    CHANGES,
    OPEN,
    SIZES,
    added,
    changes,
    decided,
    present,
    returns,
    unfinished,
    verdicts,
)
from experiments.dam.settings import SIZES as ROWS
from experiments.dam.settings import Setting
from mbrl_jax.jobs import Job
from mbrl_jax.report.artefact import Artefact, Block, Table, Text

NAME = "dam/sizes"


def jobs(profile: str) -> list[Job]:
    """Table 1's jobs, and every larger one; their results belong to the sensitivity table."""
    runs = []
    for env, settings in ROWS.get(profile, {}).items():
        for setting in settings:
            for model in common.MODELS:
                runs.append(sensitivity.trained(profile, env, model, setting))
                if setting.further:
                    runs.append(sensitivity.further(profile, env, model, setting))
    return [*table1.jobs(profile), *training.jobs(runs)]


def _beside(frame: pd.DataFrame, env: str, settings: dict[str, Setting], title: str) -> list[Block]:
    """Verdicts, changes of the gaps and returns under some settings, beside those of Table 1."""
    if not settings:
        return []
    what = f"{title}: difference of the IQMs of the returns [95 % interval] and verdict."
    return [
        Table(verdicts(frame, env, settings), what),
        Table(changes(frame, env, settings), f"{title}: {CHANGES}"),
        Table(returns(frame, env, settings), f"{title}: mean ± standard error of the return in every cell."),
    ]


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Per environment: verdicts, changes of the gaps, and all returns; then what the paper leaves open."""
    shown: list[Block] = []
    ours = {one.name for profiles in ROWS.values() for rows in profiles.values() for one in rows}
    for env, title in common.ENVS.items():
        settings = present(frame, env, SIZES, own=True)
        shown += _beside(frame, env, settings, title)
        later = added(frame, env, settings)
        if not later.empty:
            what = f"{title}: verdicts from the seeds alone that were added for the methods without a discriminator."
            shown.append(Table(later, what))
        guessed = {name: one for name, one in present(frame, env, OPEN).items() if name in ours}
        shown += _beside(frame, env, guessed, f"{title}, what the paper leaves open")
        missing = [name for name in unfinished(frame, env, (*SIZES, *OPEN)) if name in ours]
        if missing:
            shown.append(Text(f"{title}, not shown since some cells have no results yet: {', '.join(missing)}."))
    return [
        *shown,
        Text(
            "In parentheses: the verdict is the *same* as in Table 1, its *opposite*, *open* here only or *decided* "
            "here only. “Other seeds” and “more seeds” are Table 1 once more, compared with it alone: a difference "
            "that one decides and one does not may be the same. The other sizes are compared with all of these "
            "together, their verdicts too. Methods without a discriminator have more seeds, since 20 leave undecided "
            "what minimum variance alone does. In IcyRoad they were asked for with the others, but “40 more seeds” "
            "were first asked for after a look at results with other fits of the discriminators, which these methods "
            "do not have; at the intersection only after a look at the first 20. Intervals that include what was "
            "looked at before do not count that, those from the added seeds alone need not."
        ),
    ]


ARTEFACT = Artefact(
    name=NAME,
    title="Table 1 with more data, longer fits and wider networks",
    paper=f"{common.PAPER}, Table 1 with larger sizes",
    jobs=jobs,
    blocks=blocks,
    claims=tuple(decided(env, own=True) for env in common.ENVS),
    note="In IcyRoad the laptop profile's Table 1 plans 20 episodes per round and fits networks of 2×64 as the note "
    "on Table 1 says; longer fits have twice and shorter ones half as many steps and as much patience. "
    "Standard deviations of Gaussians are softly bounded by e⁻⁵ of the targets'. At the intersection it plans "
    "2 episodes, and longer fits are 1,000 steps of 128 rows at 1e-3 with a patience of 8. Half the data and twice the "
    "data are half and twice as many episodes, random and planned.",
    also=(table1.NAME, sensitivity.NAME),
    on_request=("smoke", "laptop"),
)
