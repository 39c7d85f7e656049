"""Environments of other libraries as ours, and ours as theirs."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from flax import struct
from gymnasium.utils.env_checker import check_env

from mbrl_jax import envs
from mbrl_jax.envs import adapters, gymnasium_envs
from mbrl_jax.envs.quiet_mjx import mjx

# Gymnasium calls every id of which it knows a later version out of date, and Brax imports what JAX deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def assert_same_trajectory(theirs, ours, steps: int, size: float) -> list[tuple[bool, bool]]:
    """Ours against theirs, step by step, until it ends; whether each step terminated and truncated."""
    key = jax.random.key(0)
    state, expected = ours.reset(key), jax.jit(theirs.reset)(jax.random.key_data(key))
    np.testing.assert_array_equal(state.obs, expected.obs)
    step, their_step, ends = jax.jit(ours.step), jax.jit(theirs.step), []
    for i in range(steps):
        action = jnp.full(ours.spec.action_dim, size * i)
        expected = their_step(expected, action)
        state, transition = step(key, state, action)
        np.testing.assert_allclose(transition.next_obs, expected.obs, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(transition.reward, expected.reward, rtol=1e-6, atol=1e-7)
        assert bool(transition.discount == 0) == bool(expected.done)
        ends.append((bool(transition.discount == 0), bool(transition.truncated)))
    return ends


def test_brax_env_keeps_brax_trajectory(promoting):
    from brax.envs import fast
    from brax.envs.wrappers.training import EpisodeWrapper

    theirs = fast.Fast()
    ends = assert_same_trajectory(theirs, adapters.from_brax(theirs, name="fast-v0", time_limit=4), 4, 0.1)
    assert ends == [(False, False)] * 3 + [(False, True)]
    with pytest.raises(ValueError, match="must not be wrapped in EpisodeWrapper"):
        adapters.from_brax(EpisodeWrapper(theirs, 10, 1), name="fast-v0")


@struct.dataclass
class PlaygroundState:
    """The fields of MuJoCo Playground's `State`."""

    data: Any
    obs: Any
    reward: jax.Array
    done: jax.Array
    metrics: dict[str, jax.Array]
    info: dict[str, Any]


class Slider:
    """A mass on a rail with the interface of Playground's `MjxEnv`, and its habits: done as a float, keys in info."""

    action_size, dt = 1, 0.02

    def __init__(self):
        joint = '<joint name="rail" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/>'
        motor = '<actuator><motor joint="rail" gear="5"/></actuator>'
        xml = f"<mujoco><worldbody><body>{joint}</body></worldbody>{motor}</mujoco>"
        self.mj_model = mujoco.MjModel.from_xml_string(xml)

    @property
    def observation_size(self):
        return jax.eval_shape(self.reset, jax.random.PRNGKey(0)).obs.shape[-1]

    def _obs(self, data):
        return jnp.concatenate([data.qpos, data.qvel])

    def reset(self, rng):
        rng, used = jax.random.split(rng)
        data = mjx.make_data(self.mj_model, impl="jax").replace(qpos=jax.random.uniform(used, (1,), maxval=0.1))
        reward, done = jnp.zeros(2)
        return PlaygroundState(data, self._obs(data), reward, done, {"speed": jnp.zeros(())}, {"rng": rng, "step": 0})

    def step(self, state, action):
        # MuJoCo's own Euler step of one mass; `mjx.step` would only add half a minute of compilation.
        qvel = state.data.qvel + self.dt * 5.0 * action
        data = state.data.replace(ctrl=action, qvel=qvel, qpos=state.data.qpos + self.dt * qvel)
        done = (jnp.abs(data.qpos[0]) > 0.2).astype(float)
        state.metrics["speed"] = 0.0  # Brax's Hopper too writes into the state that it is given
        metrics, info = {"speed": data.qvel[0]}, {**state.info, "step": state.info["step"] + 1}
        return state.replace(
            data=data, obs=self._obs(data), reward=1.0 - data.qpos[0], done=done, metrics=metrics, info=info
        )


def test_playground_env_keeps_its_trajectory():
    """Playground itself brings 150 MB that nothing here uses; `test_slow` has a task of its own where it is there."""
    theirs = Slider()
    ends = assert_same_trajectory(theirs, adapters.from_brax(theirs, name="slider-v0", time_limit=20), 12, 1.0)
    assert ends[0] == (False, False) and ends[-1] == (True, False), ends
    ours = adapters.from_brax(theirs, name="slider-v0")
    assert (ours.spec.obs_dim, ours.spec.action_dim, ours.spec.dt) == (2, 1, 0.02)
    seeds = jax.vmap(ours.reset)(jax.random.split(jax.random.key(0), 3))
    assert len(np.unique(seeds.obs[:, 0])) == 3


def test_ours_in_brax_clothes_is_ours(promoting):
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
    assert step(state, jnp.array([jnp.inf])).done == 1, "clipping must not make an infinity a valid action"
    from brax.envs.wrappers import training

    wrapped = training.wrap(brax_env, episode_length=3)
    states = jax.jit(wrapped.reset)(jax.random.split(jax.random.PRNGKey(0), 2))
    for _ in range(3):
        states = jax.jit(wrapped.step)(states, jnp.zeros((2, 1)))
    np.testing.assert_array_equal(states.info["truncation"], 1)


def test_what_brax_misses_in_jax_is_lent_for_a_block_only():
    had = hasattr(jax, "device_put_replicated")
    devices, tree = jax.local_devices()[:2], {"weights": jnp.arange(3.0), "step": jnp.int32(4)}
    with pytest.raises(KeyError), adapters.brax_training():
        found = jax.device_put_replicated(tree, devices)
        raise KeyError
    assert hasattr(jax, "device_put_replicated") == had
    for name, leaf in tree.items():
        np.testing.assert_array_equal(found[name], np.stack([leaf] * len(devices)))
        assert found[name].dtype == leaf.dtype
        assert [shard.device for shard in found[name].addressable_shards] == devices


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
