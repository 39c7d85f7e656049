"""ALM(3) solves InvertedPendulum at the sizes and steps of the laptop profile of Table 1 (slow suite)."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.alm import common, table1
from experiments.mbpo.common import SOLVED
from mbrl_jax import results
from mbrl_jax.report import select
from mbrl_jax.runner import loop


@pytest.mark.slow
def test_alm_solves_inverted_pendulum(tmp_path):
    """At least 95 % of the largest possible return at the end of the run: the median over four seeds."""
    env = common.SHORT[0]
    (one,) = [r for r in table1.planned("laptop") if r.env == env and r.algorithm == common.ALM]
    one = replace(one, seeds=(0, 1, 2, 3))
    loop.train(one, tmp_path, loop.Options(quiet=True))
    frame = results.load(tmp_path, experiment=table1.NAME)
    assert np.median(select.final(frame, common.ALM, env)) >= SOLVED[env]
