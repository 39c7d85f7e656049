"""MBPO at the paper's sizes: its runs, and the claim about the authors' curve against returns that are known."""

import numpy as np
import pandas as pd
import pytest

from experiments.mbpo import hopper
from experiments.mbpo.hopper import AUTHORS, BAND, HOPPER, MBPO, POINTS


def test_each_seed_of_hopper_is_a_run_of_its_own():
    """One takes hours: what one session or machine has finished is stored, and the other does the rest."""
    paper = [run for run in hopper.planned("paper") if run.env == HOPPER]
    assert [run.seeds for run in paper if run.algorithm == MBPO] == [(0,), (1,)]
    assert len({job.identity for job in hopper.jobs("paper")}) == len(hopper.planned("paper")) == 9
    assert all(run.config.steps == 75_000 and run.eval_every == 2500 for run in paper)
    assert [run.seeds for run in hopper.planned("laptop")] == [tuple(range(6))] * 3


@pytest.mark.parametrize(("off", "spare"), [(0.0, BAND), (200.0, BAND - 200.0), (-400.0, BAND - 400.0)])
def test_what_a_seed_has_to_spare_is_the_band_less_its_mean_distance(off, spare):
    steps = np.arange(2500, 75_001, 2500)
    returns = np.interp(steps, AUTHORS.env_step, AUTHORS.value)
    rows = [
        {"env_step": step, "seed": seed, "value": value + sign * off}
        for seed, sign in ((0, 1.0), (1, 1.0))
        for step, value in zip(steps, returns, strict=True)
    ]
    facts = {"experiment": hopper.NAME, "algorithm": MBPO, "env": HOPPER, "metric": "eval/return_mean"}
    frame = pd.DataFrame(rows).assign(**facts, diverged_at=np.nan)
    assert set(POINTS) <= set(steps)
    np.testing.assert_allclose(hopper._near_authors(frame), [spare, spare])
