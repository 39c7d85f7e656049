"""ALM through the runner: crash and resume, and a seed that diverges, as the other algorithms' tests have them."""

from functools import partial

import jax
import numpy as np
import pandas as pd
import pytest
import tiny

from mbrl_jax import results
from mbrl_jax.algorithms import alm
from mbrl_jax.learners import latent
from mbrl_jax.runner import loop
from mbrl_jax.runner.run import Run

CONFIG = alm.Config(
    steps=48,
    warmup_steps=20,
    steps_per_iteration=4,
    batch=8,
    noise_steps=20,
    agent=latent.Config(latent_dim=2, hidden=(8,), model_hidden=(8,), classifier_hidden=(8,)),
)
QUIET = loop.Options(batching="map", quiet=True)
BREAKS_AT = 7


def run(make=alm.make):
    return Run(
        experiment="test/runner",
        algorithm="ALM",
        make=make,
        config=CONFIG,
        env="probe-match-v0",
        seeds=(3, 0),
        eval_every=16,
        eval_episodes=2,
    )


def table(one, root, seed):
    frame = results.load_run(root, one.run_id(one.environment()))
    return frame[frame["seed"] == seed].drop(columns="run").reset_index(drop=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run in one piece."""
    root = tmp_path_factory.mktemp("whole")
    loop.train(run(), root, QUIET)
    return root


def test_crashed_and_resumed_equals_uninterrupted(whole, tmp_path):
    def crash(step, means):
        if step == 32:
            raise RuntimeError("crashed")

    often = QUIET._replace(chunk_seconds=1e-9, checkpoint_seconds=0.0)
    with pytest.raises(RuntimeError, match="crashed"):
        loop.train(run(), tmp_path, often._replace(sinks=(crash,)))
    folder = tmp_path / "runs" / run().run_id(run().environment()) / "checkpoints"
    assert any(each.name.isdigit() and int(each.name) > 0 for each in folder.iterdir())
    loop.train(run(), tmp_path, QUIET)
    assert tiny.final_bytes(run(), tmp_path) == tiny.final_bytes(run(), whole)
    for seed in run().seeds:
        pd.testing.assert_frame_equal(table(run(), tmp_path, seed), table(run(), whole, seed), check_exact=True)


def test_a_seed_that_diverges_is_frozen_alone(whole, tmp_path):
    broken = run(partial(tiny.breaking, seed=0, make=alm.make, at=BREAKS_AT))
    identity = loop.train(broken, tmp_path, QUIET)
    at = BREAKS_AT * CONFIG.steps_per_iteration
    assert results.manifest(tmp_path, identity)["diverged"] == {"ALM/0": at}
    pd.testing.assert_frame_equal(table(broken, tmp_path, 3), table(run(), whole, 3), check_exact=True)
    state, healthy = loop.final_state(broken, tmp_path).inner, loop.final_state(run(), whole)
    for one, other in zip(jax.tree.leaves(state.agent), jax.tree.leaves(healthy.agent), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert np.isfinite(one[1]).all()
