"""Environments of other libraries as ours, and ours as theirs."""

from __future__ import annotations

import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mbrl_jax import envs
from mbrl_jax.envs import adapters, gymnasium_envs

# Gymnasium calls every id of which it knows a later version out of date, and Brax imports what JAX deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_brax_env_keeps_brax_trajectory():
    from brax.envs import fast

    theirs = fast.Fast()
    ours = adapters.from_brax(theirs, name="fast-v0", time_limit=4)
    key = jax.random.key(0)
    state, expected = ours.reset(key), theirs.reset(jax.random.key_data(key))
    np.testing.assert_array_equal(state.obs, expected.obs)
    for i in range(4):
        action = jnp.full(ours.spec.action_dim, 0.1 * i)
        expected = theirs.step(expected, action)
        state, step = jax.jit(ours.step)(key, state, action)
        np.testing.assert_allclose(step.next_obs, expected.obs)
        np.testing.assert_allclose(step.reward, expected.reward)
        assert bool(step.truncated) == (i == 3)
    from brax.envs.wrappers.training import EpisodeWrapper

    with pytest.raises(ValueError, match="must not be wrapped in EpisodeWrapper"):
        adapters.from_brax(EpisodeWrapper(theirs, 10, 1), name="fast-v0")


def test_ours_in_brax_clothes_is_ours():
    env = envs.make("inverted_pendulum", engine="mujoco")
    brax_env = adapters.to_brax(env)
    state = jax.jit(brax_env.reset)(jax.random.PRNGKey(0))
    plain = state.pipeline_state
    step = jax.jit(brax_env.step)
    for action in (0.5, -1.0, 3.0):
        state = step(state, jnp.array([action]))
        plain, transition = env.step(jax.random.key(0), plain, 3.0 * jnp.clip(jnp.array([action]), -1, 1))
        np.testing.assert_array_equal(state.obs, transition.next_obs)
        assert state.done == 0
    from brax.envs.wrappers import training

    wrapped = training.wrap(brax_env, episode_length=3)
    states = jax.jit(wrapped.reset)(jax.random.split(jax.random.PRNGKey(0), 2))
    for _ in range(3):
        states = jax.jit(wrapped.step)(states, jnp.zeros((2, 1)))
    np.testing.assert_array_equal(states.info["truncation"], 1)


def test_gymnax_env_ends_and_truncates_as_its_own():
    gymnax = pytest.importorskip("gymnax")
    theirs, params = gymnax.make("CartPole-v1")
    ours = adapters.from_gymnax(theirs, params)
    key = jax.random.key(0)
    state, steps = ours.reset(key), []
    obs, inner = theirs.reset_env(key, params)
    np.testing.assert_allclose(state.obs, obs)
    for _ in range(30):
        state, step = jax.jit(ours.step)(key, state, jnp.array([-0.2, 0.7]))
        obs, inner, _, terminated, _ = theirs.step_env(key, inner, 1, params)
        np.testing.assert_allclose(step.next_obs, obs, rtol=1e-6)
        assert bool(step.discount == 0) == bool(terminated)
        steps.append(bool(terminated))
        if terminated:
            break
    assert steps[-1]


@pytest.mark.parametrize("name", ["mbrl_jax/Hopper-v4", "mbrl_jax/Pendulum-v1"])
def test_gymnasiums_own_checker_passes(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*out of date.*")
        warnings.filterwarnings("ignore", message=".*A Box observation space .*value is.*infinity.*")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        check_env(gymnasium.make(name).unwrapped, skip_render_check=True)


def test_every_name_is_registered_and_unwraps_to_the_same_dynamics():
    ids = [gymnasium_envs.gym_id(name) for name in envs.names()]
    assert len(set(ids)) == len(ids) and all(gym_id in gymnasium.registry for gym_id in ids)
    env = gymnasium.make("mbrl_jax/Hopper-v4")
    obs, _ = env.reset(seed=3)
    again, _ = env.reset(seed=3)
    np.testing.assert_array_equal(obs, again)
    assert obs.dtype == np.float32 and obs.shape == (11,)
    frame = gymnasium.make("mbrl_jax/Pendulum-v1", render_mode="rgb_array")
    frame.reset(seed=0)
    assert frame.render().shape == (240, 320, 3)


def test_vector_env_resets_in_the_step_after_the_end():
    env = gymnasium.make_vec("mbrl_jax/InvertedPendulum-v4", num_envs=3, vectorization_mode="vector_entry_point")
    obs, _ = env.reset(seed=0)
    assert obs.shape == (3, 4)
    ended = np.zeros(3, bool)
    for _ in range(60):
        before = ended
        obs, reward, terminated, truncated, _ = env.step(np.full((3, 1), 3.0, np.float32))
        ended = terminated | truncated
        assert (reward[before] == 0).all() and not ended[before].any()
        assert (np.abs(obs[before]) <= 0.01 + 1e-6).all(), "a reset draws within ±0.01"
        assert (np.abs(obs[ended, 1]) > 0.2).all(), "the last observation is the terminal one"
        if before.any():
            return
    raise AssertionError("the pendulum never fell")
