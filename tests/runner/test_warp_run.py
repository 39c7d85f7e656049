"""Training with physics of MuJoCo Warp, compiled for the CPU."""

import functools

import numpy as np
import pytest
import tiny

from mbrl_jax import envs, results
from mbrl_jax.runner import loop, offline

pytest.importorskip("warp", reason="warp-lang is not installed: make test-slow does so (extra warp)")
pytestmark = pytest.mark.slow
NAME = "inverted_pendulum-v4"


def test_seeds_train_on_it_as_on_any_engine(tmp_path):
    """Room for 8 environments: on a CPU Warp goes through its whole list of contacts in turn."""
    made = functools.partial(envs.make, NAME, engine="warp", environments=8)
    run = tiny.run(env=NAME, made_by=made, seeds=(0, 1), config=tiny.shorter(80), eval_every=40)
    table = results.load_run(tmp_path, loop.train(run, tmp_path, loop.Options(quiet=True)))
    assert np.isfinite(table["value"]).all() and set(table["seed"]) == {0, 1}
    assert results.manifest(tmp_path, run.run_id(made()))["env"] == NAME
    assert run.run_id(made()) != run.run_id(envs.make(NAME, engine="mjx"))


def test_no_plan_for_a_device_that_is_not_here_is_made_of_kernels_that_its_compiler_does_not_see():
    with pytest.raises(ValueError, match=r"the engine warp brings kernels of its own, .* plan with mjx"):
        offline.plan(tiny.run(env=NAME, engine="warp"), "h200")
