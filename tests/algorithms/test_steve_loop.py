"""STEVE's loop: when the model is pre-trained and copied, its presets; then it learns the pendulum."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from cases import LINEAR
from cases.steve import CONFIG

from mbrl_jax import envs, rollouts
from mbrl_jax.algorithms import preset, steve
from mbrl_jax.testing.rules import counted


def test_the_model_is_pretrained_once_and_its_copy_is_renewed_with_the_target_critics():
    """Copied before the updates that are multiples of 20: at the start of every iteration of ten steps."""
    algorithm = steve.make(CONFIG, LINEAR)
    (step, _), state = counted(algorithm.step), jax.jit(algorithm.init)(jax.random.key(0))  # compiled as in its case
    states = [state]
    for t in range(2):
        states.append(step(jax.random.key(t), states[-1])[0])
    first, last = states[1].agent, states[2].agent
    assert [int(each.model.opt.count) for each in (first, last)] == [27, 47]
    jax.tree.map(np.testing.assert_array_equal, last.used, first.model.params)
    jax.tree.map(np.testing.assert_array_equal, last.policy.target, first.policy.params["critic"])
    # The first copy is made after the pre-training.
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), first.used, states[0].agent.model.params)
    assert all(jax.tree.leaves(moved))


def test_the_presets_are_the_published_settings():
    config = preset("steve", "hopper-v4")
    assert (config.steps, config.warmup_steps, config.pretraining, config.updates_per_step) == (
        125_000,
        10_000,
        10_000,
        4,
    )
    assert (config.batch, config.horizon, config.agent.copy_every) == (512, 3, 500)
    assert (config.model.members, config.model.hidden, config.model.head_hidden) == (4, (512,) * 7, (128,) * 3)
    assert (config.agent.critics, config.agent.hidden, config.agent.explore_chance) == (4, (128,) * 3, 0.05)
    assert preset("steve", "pendulum").warmup_steps == 500


@pytest.mark.slow
def test_it_learns_the_pendulum():
    """At the quick sizes within 8,000 steps: untrained policies score about -1,500 here, the best about -130."""
    env = envs.make("pendulum-v1")
    algorithm = steve.make(replace(steve.quick("pendulum"), steps=8000), env)
    step, state = jax.jit(algorithm.step, donate_argnums=1), jax.jit(algorithm.init)(jax.random.key(0))
    evaluate = jax.jit(lambda state: rollouts.evaluate(jax.random.key(99), env, algorithm.policy(state), 10)[0].mean())
    scores = []
    for t in range(32):
        state, _ = step(jax.random.fold_in(jax.random.key(0), t), state)
        scores.append(float(evaluate(state)))
    assert max(scores) >= -400, scores
