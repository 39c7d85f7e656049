"""What every algorithm must keep, by the package's own suite, and what is known of each (`cases`)."""

import importlib
from dataclasses import replace

import jax
import numpy as np
import pytest
from cases import LINEAR, MODULES, cases, refused

from mbrl_jax.algorithms import REGISTRY
from mbrl_jax.data.rows import unpack
from mbrl_jax.testing import check_algorithm

CASES = cases()
RUN = [name for name, case in CASES.items() if case.iterations]


def varies(name):
    """Whether an algorithm is a variation of another one, with whose loop it may only be traced."""
    return hasattr(importlib.import_module(f"mbrl_jax.algorithms.{name}"), "VARIES")


def test_every_algorithm_has_a_case_and_all_but_variations_are_run():
    assert set(MODULES) == set(REGISTRY)
    assert {name for name in REGISTRY if not varies(name)} <= {name.partition(" ")[0] for name in RUN}


@pytest.fixture(scope="module", params=list(CASES))
def checked(request):
    """A case that has passed `check_algorithm`, and its run."""
    case = CASES[request.param]
    return case, check_algorithm(case.algorithm, case.env.spec, iterations=case.iterations, **case.asked)


def test_it_keeps_what_the_runner_relies_on(checked):
    """One structure, one compilation, no branch or copy over seeds, seeds alone = together, resumed = in one piece."""
    case, ran = checked
    assert len(ran.infos) == 2 * case.iterations
    assert (case.algorithm.env_steps, case.algorithm.warmup_steps) == (case.env_steps, case.warmup_steps)


def test_its_optimisers_step_as_often_as_they_should(checked):
    case, ran = checked
    for state in ran.states:
        assert jax.tree.map(int, case.steps(state.agent)) == dict(case.stepped)
        if case.replay:
            assert int(state.memory.size.value) == case.warmup_steps + case.env_steps * case.iterations


def test_its_metrics_are_there_and_finite(checked):
    case, ran = checked
    for info in ran.infos:
        assert set(case.metrics) <= set(info)
        assert all(np.isfinite(value) for name, value in info.items() if not name.startswith("train/"))


def test_its_seeds_differ(checked):
    case, ran = checked
    if ran.states:
        assert not np.allclose(*(case.weights(state.agent) for state in ran.states))


def test_its_replays_rows_are_what_happened(checked):
    case, ran = checked
    spec = replace(LINEAR.spec, action_low=(-1.0,), action_high=(1.0,))
    for state in ran.states if case.replay else ():
        held = unpack(state.memory.rows.value[: int(state.memory.size.value)], spec)
        assert np.abs(held.action).max() <= 1
        np.testing.assert_allclose(held.reward, LINEAR.reward(held.obs, 10 * held.action, held.next_obs), rtol=1e-5)
        following = ~held.truncated[:-1]
        np.testing.assert_array_equal(held.next_obs[:-1][following], held.obs[1:][following])
        assert int(held.truncated.sum()) == len(held.truncated) // LINEAR.spec.time_limit


@pytest.mark.parametrize("name", list(CASES))
def test_it_can_be_traced_in_64_bit_mode(name):
    algorithm = CASES[name].algorithm
    # What is made before, such as the environment's constants, has 32 bits.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        key = jax.random.key(0)
        before = jax.eval_shape(algorithm.init, key)
        after, info = jax.eval_shape(algorithm.step, key, before)
    kinds = [[leaf.dtype for leaf in jax.tree.leaves(tree)] for tree in (before, after)]
    assert kinds[0] == kinds[1] and info


@pytest.mark.parametrize(("name", "config", "changes", "rule"), refused())
def test_impossible_configurations_are_refused(name, config, changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(config, **changes)
