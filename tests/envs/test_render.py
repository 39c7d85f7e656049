"""Frames show the state they are made from."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mbrl_jax import envs


def test_pendulum_hangs_and_stands_where_its_angle_says():
    env = envs.make("pendulum")
    theta = jnp.array([0.0, jnp.pi])
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2))
    obs = jnp.stack([jnp.cos(theta), jnp.sin(theta), jnp.zeros(2)], axis=-1)
    frames = envs.render(
        env, states._replace(obs=obs, physics=jnp.stack([theta, jnp.zeros(2)], axis=-1)), height=60, width=80
    )
    assert frames.shape == (2, 60, 80, 3) and frames.dtype == np.uint8
    rows = [np.flatnonzero((frame[..., 0] > 150) & (frame[..., 1] < 120)) // 80 for frame in frames]
    assert rows[0].mean() < 25 and rows[1].mean() > 35


@pytest.mark.parametrize("name", [name for name in envs.names() if envs.engines(name) == ("jax",)])
def test_everything_without_bodies_has_a_drawing_that_moves(name):
    env = envs.make(name)
    state = env.reset(jax.random.key(1))
    change = (lambda x: jnp.roll(x, 1)) if name == "gridworld-v0" else (lambda x: x + 0.5)
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), state, state._replace(obs=change(state.obs)))
    frames = envs.render(env, states, height=60, width=80)
    assert frames.shape == (2, 60, 80, 3) and frames.dtype == np.uint8
    assert frames[0].std() > 5 and (frames[0] != frames[1]).any()


def test_probes_are_drawn_as_a_bar_of_what_is_observed():
    env = envs.make("probe-termination")
    state = env.reset(jax.random.key(0))
    seen = jnp.array([[-1.0], [0.0], [1.0], [2.0]])
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4, *leaf.shape)), state)._replace(obs=seen)
    frames = envs.render(env, states, height=240, width=320)
    widths = [((frame[..., 0] > 150) & (frame[..., 1] < 120)).any(axis=0).sum() for frame in frames]
    np.testing.assert_allclose(widths, [80, 0, 80, 160], atol=4)  # 80 pixels a unit, however low its line is


def test_hopper_is_drawn_and_saved(tmp_path):
    env = envs.make("hopper", engine="mujoco")
    state = env.reset(jax.random.key(0))
    _, states = jax.lax.scan(
        lambda s, k: (env.step(k, s, jnp.ones(3))[0],) * 2, state, jax.random.split(jax.random.key(0), 6)
    )
    frames = envs.render(env, states, height=90, width=120)
    assert frames.shape == (6, 90, 120, 3)
    assert frames[0].std() > 10 and (frames[0] != frames[-1]).any()
    with Image.open(envs.save(frames, tmp_path / "hopper.gif")) as picture:
        assert picture.n_frames == 6 and picture.size == (120, 90)
    with Image.open(envs.save(frames, tmp_path / "hopper.png")) as picture:
        np.testing.assert_array_equal(np.asarray(picture), frames[-1])


def test_rendering_says_what_is_wrong(monkeypatch, tmp_path):
    env = envs.make("hopper", engine="mujoco")
    state = env.reset(jax.random.key(0))
    with pytest.raises(ValueError, match="one leading axis"):
        envs.render(env, state)
    states = jax.tree.map(lambda leaf: leaf[None], state)
    for backend in ("egl", "osmesa", "glfw"):
        monkeypatch.setitem(sys.modules, f"mujoco.{backend}", None)
    with pytest.raises(RuntimeError, match="rendering needs a GL library: EGL"):
        envs.render(env, states)
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(RuntimeError, match=r"program ffmpeg, which is not on PATH; save film[.]gif"):
        envs.save(np.zeros((1, 2, 2, 3), np.uint8), tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="suffix must be"):
        envs.save(np.zeros((1, 2, 2, 3), np.uint8), tmp_path / "picture.bmp")
    with pytest.raises(ValueError, match="uint8"):
        envs.save(np.zeros((1, 2, 2, 3)), tmp_path / "picture.gif")


def test_the_background_is_light():
    env = envs.make("inverted_pendulum", engine="mujoco")
    states = jax.tree.map(lambda leaf: leaf[None], env.reset(jax.random.key(0)))
    frame = envs.render(env, states, height=60, width=80)[0]
    assert frame[:3].min() > 200 and frame.min() < 150, "light above, and the pole is there"
