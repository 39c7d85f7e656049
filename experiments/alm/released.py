"""The scores that ALM's authors released (`RajGhugare19/alm`, `scores/*.csv`), as data beside ours.

Each file has the returns of 5 seeds every 5,000 steps, each the mean of 5 episodes; here are their mean and standard
deviation (n − 1) over seeds. The random warm-up is not on the step axis. Hopper's scores are not released.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from mbrl_jax.report.artefact import Table

__all__ = ["SCORES", "Scores", "table"]


class Scores(NamedTuple):
    """One task's released scores.

    Attributes:
      name: the task in the paper.
      at: mean and standard deviation over seeds by step; at 300,000 those of step 295,000 where the file ends there.
      window: mean over seeds and the evaluations in (150,000, 200,000].
    """

    name: str
    at: dict[int, tuple[int, int]]
    window: int


def _scores(
    name: str, first: tuple[tuple[int, int], ...], last: tuple[int, int] | None = None, *, window: int
) -> Scores:
    at = {50_000 * (i + 1): one for i, one in enumerate(first)}
    return Scores(name, at if last is None else {**at, 495_000: last}, window)


SCORES = {
    "half_cheetah-v4": _scores(
        "HalfCheetah-v2",
        ((6098, 504), (8522, 233), (9883, 341), (10789, 366), (11344, 602), (12163, 391)),
        window=10184,
    ),
    "ant_truncated-v2": _scores(
        "T-Ant-v2", ((993, 512), (2925, 979), (4049, 640), (4887, 1027), (5137, 612), (5387, 712)), window=4441
    ),
    "humanoid_truncated-v2": _scores(
        "T-Humanoid-v2",
        ((2683, 1852), (4329, 1129), (4612, 1311), (4177, 1017), (5678, 282), (5710, 650)),
        window=4864,
    ),
    "walker2d-v4": _scores(
        "Walker2d-v2", ((601, 182), (2499, 1112), (2586, 1709), (1954, 1773), (2450, 1819), (3402, 1753)), window=2558
    ),
    "ant-v2": _scores(
        "Ant-v2",
        ((495, 360), (3167, 803), (3933, 648), (4717, 1351), (5754, 303), (6017, 533)),
        (6002, 561),
        window=4584,
    ),
    "humanoid-v2": _scores(
        "Humanoid-v2",
        ((305, 44), (472, 67), (835, 313), (2763, 1706), (5664, 324), (5550, 1038)),
        (5886, 1078),
        window=1458,
    ),
}
"""By our environments. They agree with the paper's Table 1, at step 200,000, on HalfCheetah and T-Ant only."""


def table() -> Table:
    """All of them: one row per task, one column per step."""
    steps = {step: f"{step // 1000}k" for one in SCORES.values() for step in one.at}
    rows = []
    for env, one in SCORES.items():
        row = {"task": one.name, "our environment": env}
        row |= {name: "{} ± {}".format(*one.at[step]) if step in one.at else "–" for step, name in steps.items()}
        rows.append({**row, "mean over (150k, 200k]": str(one.window)})
    cited = "`scores/*.csv` of the released code: mean ± s.d. of 5 seeds"
    caption = (
        "The authors' released scores of ALM(3) by environment step. Files that end at 295,000 steps have those under "
        "300k; T-Humanoid's file has no steps, one row per 5,000 is assumed. At 200k they stand beside ours above."
    )
    where = dict.fromkeys(steps.values(), cited) | {"mean over (150k, 200k]": "the same files: mean of 10 evaluations"}
    return Table(pd.DataFrame(rows), caption, where)
