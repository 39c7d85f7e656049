"""PETS's loop: what is fitted, what is reported, refusals, presets; then it swings its cartpole up."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.pets import CONFIG, SHORT

from mbrl_jax import envs, rollouts
from mbrl_jax.algorithms import find, pets, preset
from mbrl_jax.envs import lqr
from mbrl_jax.models import particles
from mbrl_jax.testing.rules import counted


def test_every_fit_sees_all_episodes_so_far_and_the_best_return_is_that_of_planned_ones():
    algorithm = pets.make(CONFIG, SHORT)
    (step, _), best = counted(algorithm.step), -np.inf  # compiled as in its case
    state = jax.jit(algorithm.init)(jax.random.key(0))
    for t in range(3):
        state, info = step(jax.random.key(t), state)
        best = max(best, float(info["train/return"]))
        assert int(info["model/train_size"]) == 5 * (1 + t)
        np.testing.assert_allclose(info["pets/best_return"], best, rtol=1e-5)
        assert int(info["pets/steps"]) == 5 * (1 + t)


def test_it_plans_the_best_actions_of_a_known_system():
    """With the system itself as the model the first action is nearly that of the Riccati equation of that horizon."""
    unit, a, b = SHORT.spec, np.asarray(lqr.DYNAMICS), np.asarray(lqr.INPUT)
    plan = pets.Planning(horizon=6, sequences=400, elites=40, iterations=8, particles=2, least_variance=0.0)

    def step(key, obs, action):
        after = obs @ jnp.asarray(a.T, jnp.float32) + 10.0 * action @ jnp.asarray(b.T, jnp.float32)
        return after, SHORT.reward(obs, 10.0 * action, after), jnp.ones(len(obs))

    policy = pets.planning(plan, unit, rollouts.memoryless(step))
    obs = jnp.array([[0.5, 0.2], [-0.4, 0.5]])
    memory, found = policy.start(obs), None
    memory, found, _ = jax.jit(policy.act)(jax.random.key(0), memory, obs)
    value, gain = np.zeros((2, 2)), np.zeros((1, 2))
    for _ in range(6):
        gain = np.linalg.solve(lqr.TORQUE_COST + b.T @ value @ b, b.T @ value @ a)
        closed = a - b @ gain
        value = lqr.STATE_COST + gain.T @ lqr.TORQUE_COST @ gain + closed.T @ value @ closed
    np.testing.assert_allclose(10.0 * found, -np.asarray(obs) @ gain.T, atol=0.25)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: pets.make(CONFIG, envs.make("intersection")), "PETS plans with rewards that it knows"),
        (lambda: pets.make(replace(CONFIG, steps=19), SHORT), "positive multiple .* got 19 and 5"),
        (lambda: pets.Planning(sequences=5, elites=6), "elites must be at most sequences, got 6 and 5"),
        (lambda: pets.Planning(kept=1.5), r"kept must lie in \[0, 1\], got 1.5"),
    ],
)
def test_what_cannot_be_planned_is_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


def test_the_presets_are_the_published_settings():
    config, cheetah = preset("pets", "pets_cartpole-v0"), preset("pets", "mbbl_half_cheetah-v0")
    assert (config.steps, config.model.members, config.model.epochs, config.model.batch) == (50 * 200, 5, 5, 32)
    assert config.model.weight_decay == (1e-4, 2.5e-4, 2.5e-4, 5e-4) and config.model.hidden == (500,) * 3
    plan = config.planning
    assert (plan.horizon, plan.sequences, plan.elites, plan.iterations, plan.particles) == (25, 400, 40, 5, 20)
    assert (plan.kept, plan.least_variance) == (0.1, 1e-3)
    assert (cheetah.planning.horizon, cheetah.planning.sequences, cheetah.planning.elites) == (30, 500, 50)
    assert cheetah.model.hidden == (200,) * 4 and find("pets_ts1").make.keywords == {"sampling": particles.every_step}


@pytest.mark.slow
def test_it_swings_the_cartpole_up_within_ten_episodes():
    """Scaled down: the median return of the eighth to tenth episodes of two seeds is 150 of 200 or more."""
    env = envs.make("pets_cartpole")
    algorithm, late = pets.make(pets.scaled("pets_cartpole"), env), []
    step = jax.jit(algorithm.step, donate_argnums=1)
    for seed in range(2):
        state = jax.jit(algorithm.init)(jax.random.key(seed))
        for t in range(10):
            state, info = step(jax.random.fold_in(jax.random.key(seed), t), state)
            late += [float(info["train/return"])] * (t >= 7)
    assert np.median(late) >= 150, late
