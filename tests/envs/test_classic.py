"""Pendulum against Gymnasium, the regulator and the probes against their closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from reference import make_gym

from mbrl_jax import envs
from mbrl_jax.envs import lqr, probes
from mbrl_jax.envs.pendulum import Angle


def test_pendulum_is_gymnasium():
    gym_env = make_gym("Pendulum-v1")
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        env = envs.make("pendulum-v1")
        step = jax.jit(env.step)
        for seed in range(5):
            gym_env.reset(seed=seed)
            state = env.reset(jax.random.key(0))
            state = state._replace(physics=Angle(*jnp.asarray(gym_env.state)))
            for _ in range(50):
                action = rng.uniform(-3, 3, 1)  # beyond the bounds too: both clip
                expected_obs, expected_reward, *_ = gym_env.step(action)
                state, transition = step(jax.random.key(0), state, action)
                np.testing.assert_allclose(transition.reward, expected_reward, atol=1e-10)
                np.testing.assert_allclose(transition.next_obs, expected_obs, atol=1e-6)  # Gym rounds these


def test_pendulum_starts_where_gymnasium_does():
    gym_env = make_gym("Pendulum-v1")
    theirs = np.array([(gym_env.reset(seed=seed), gym_env.state)[1] for seed in range(500)])
    state = jax.vmap(envs.make("pendulum").reset)(jax.random.split(jax.random.key(0), 2000))
    for ours, expected in zip(state.physics, theirs.T, strict=True):
        assert scipy.stats.ks_2samp(ours, expected).pvalue > 0.01


@pytest.mark.parametrize("name", probes.PROBES)
def test_probe_values_satisfy_bellman_optimality(name):
    """V(o) = max_a Q(o, a) and Q(o, a) = r + gamma discount V(o') for every step that the environment takes."""
    env, probe, gamma = envs.make(name), probes.PROBES[name], 0.9
    for seed in range(4):
        state = env.reset(jax.random.key(seed))
        for i in range(env.spec.time_limit):
            grid = jnp.linspace(-1, 1, 201)[:, None]
            q = probe.action_value(jnp.broadcast_to(state.obs, (201, 1)), grid, gamma)
            np.testing.assert_allclose(q.max(), probe.value(state.obs, gamma), atol=1e-6)
            action = grid[50 * i % 201]
            after, step = env.step(jax.random.key(i), state, action)
            target = step.reward + gamma * step.discount * probe.value(step.next_obs, gamma)
            np.testing.assert_allclose(target, probe.action_value(state.obs, action, gamma), atol=1e-5)
            state = after
            if step.discount == 0:
                break


def test_probes_tell_termination_from_truncation():
    lengths = {}
    for name in ("probe-termination", "probe-truncation"):
        env = envs.make(name)
        state, step = env.reset(jax.random.key(0)), None
        while step is None or not (step.truncated or step.discount == 0):
            state, step = env.step(jax.random.key(0), state, jnp.zeros(1))
        lengths[name] = (int(state.t), float(step.discount), bool(step.truncated))
    assert lengths == {"probe-termination": (5, 0.0, False), "probe-truncation": (5, 1.0, True)}


def test_regulator_value_is_the_mean_of_simulated_returns():
    gamma, start = 0.9, jnp.array([0.4, -0.2])
    env = envs.make("lqr")
    feedback = 0.7 * lqr.gain(gamma)  # any stable policy, not only the best

    def discounted(key):
        def step(carry, key):
            state, weight = carry
            state, transition = env.step(key, state, -jnp.asarray(feedback, jnp.float32) @ state.obs)
            return (state, weight * gamma), weight * transition.reward

        state = env.reset(key)._replace(obs=start)
        return jax.lax.scan(step, (state, jnp.float32(1)), jax.random.split(key, 150))[1].sum()

    returns = np.asarray(jax.jit(jax.vmap(discounted))(jax.random.split(jax.random.key(0), 4000)))
    expected = float(lqr.value_of(feedback, start, gamma))
    assert abs(returns.mean() - expected) < 4 * returns.std() / np.sqrt(len(returns))
    assert float(lqr.value(start, gamma)) > expected


def test_regulator_gain_is_a_maximum_of_the_value():
    start, gamma = jnp.array([0.3, 0.1]), 0.95
    best = float(lqr.value(start, gamma))
    for change in ([[0.1, 0.0]], [[-0.1, 0.0]], [[0.0, 0.1]], [[0.0, -0.1]]):
        assert float(lqr.value_of(lqr.gain(gamma) + np.array(change), start, gamma)) < best
    with pytest.raises(ValueError, match="spectral radius < 1"):
        lqr.value_of(np.array([[-100.0, 0.0]]), start, gamma)
