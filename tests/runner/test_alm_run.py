"""ALM through the runner: crash and resume, and a lane that diverges; one program for all three runs."""

import jax
import numpy as np
import pandas as pd
import pytest
import tiny

from mbrl_jax import results
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.algorithms import alm
from mbrl_jax.runner import loop
from mbrl_jax.runner.run import Run

CONFIG = alm.Config(
    steps=48,
    warmup_steps=20,
    steps_per_iteration=4,
    batch=8,
    noise_steps=20,
    agent=latent.Config(latent_dim=2, hidden=(8,), model_hidden=(8,), classifier_hidden=(8,), horizon=1),
)
QUIET = loop.Options(batching="map", quiet=True)
SOUND, BROKEN = 1e-3, 1e38  # learning rates of encoder and model


def run(*rates):
    return Run(
        experiment="test/runner",
        algorithm="ALM",
        method="alm",
        config=CONFIG,
        env="probe-truncation-v0",
        seeds=(3,),
        eval_every=16,
        eval_episodes=2,
        sweep=(("agent.world_lr", rates),),
    )


WHOLE = run(SOUND, 2 * SOUND)


def table(one, root, label=None):
    frame = results.load_run(root, one.run_id(one.environment()))
    kept = frame if label is None else frame[frame["algorithm"] == label]
    return kept.drop(columns="run").reset_index(drop=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run in one piece."""
    root = tmp_path_factory.mktemp("whole")
    identity = loop.train(WHOLE, root, QUIET)
    assert results.manifest(root, identity)["diverged"] == {}
    return root


@pytest.mark.slow
def test_crashed_and_resumed_equals_uninterrupted(whole, tmp_path):
    def crash(step, means):
        if step == 32:
            raise RuntimeError("crashed")

    often = QUIET._replace(chunk_seconds=1e-9, checkpoint_seconds=0.0)
    with pytest.raises(RuntimeError, match="crashed"):
        loop.train(WHOLE, tmp_path, often._replace(sinks=(crash,)))
    folder = tmp_path / "runs" / WHOLE.run_id(WHOLE.environment()) / "checkpoints"
    assert any(each.name.isdigit() and int(each.name) > 0 for each in folder.iterdir())
    loop.train(WHOLE, tmp_path, QUIET)
    assert tiny.final_bytes(WHOLE, tmp_path) == tiny.final_bytes(WHOLE, whole)
    pd.testing.assert_frame_equal(table(WHOLE, tmp_path), table(WHOLE, whole), check_exact=True)


def test_a_lane_that_diverges_is_frozen_alone(whole, tmp_path):
    one = run(SOUND, BROKEN)
    identity = loop.train(one, tmp_path, QUIET)
    sound, broken = (lane.label for lane in one.lanes())
    assert list(results.manifest(tmp_path, identity)["diverged"]) == [f"{broken}/3"]
    pd.testing.assert_frame_equal(table(one, tmp_path, sound), table(WHOLE, whole, sound), check_exact=True)
    state, healthy = loop.final_state(one, tmp_path), loop.final_state(WHOLE, whole)
    for ours, other in zip(jax.tree.leaves(state.agent.learner), jax.tree.leaves(healthy.agent.learner), strict=True):
        np.testing.assert_array_equal(ours[0], other[0])
        assert np.isfinite(ours[1]).all()
