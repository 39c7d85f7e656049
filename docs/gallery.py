"""Draws the pictures of docs/environments.md: `.venv/bin/python docs/gallery.py [NAME ...]`; all if none is named.

Each shows an early state of an episode of random actions, the last one if it ends before. Tasks of `FILMS` are also
shown moving, under a controller written by hand or, the pusher, random actions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mbrl_jax import envs, rollouts
from mbrl_jax.envs import mujoco_drawer

STEPS = {
    "half_cheetah": 20,
    "hopper": 12,
    "walker2d": 12,
    "ant": 20,
    "humanoid": 10,
    "swimmer": 40,
    "reacher": 20,
    "pusher": 30,
    "inverted_pendulum": 12,
    "inverted_double_pendulum": 4,
    "pendulum": 30,
    "cartpole": 10,
    "acrobot": 240,
    "mountain_car_continuous": 60,
    "gridworld": 10,
    "icy_road": 3,
    "intersection": 10,
    "lqr": 10,
    "dclaw_pose_random": 20,
    "dclaw_turn_random": 20,
    "dclaw_screw_fixed": 20,
    "dclaw_screw_random": 20,
    "drawer_open": 60,
    "probe-termination": 2,
}
"""Environments, versions left out, with the number of steps before the picture."""
FILMS = {
    "dclaw_pose_random": (80, 3),
    "dclaw_turn_random": (40, 2),
    "dclaw_screw_fixed": (80, 3),
    "dclaw_screw_random": (80, 3),
    "drawer_open": (120, 4),
    "pusher": (100, 4),
}
"""Environments with a film: its steps, and every how many there is a picture."""
VALVES = ("dclaw_turn_random", "dclaw_screw_fixed", "dclaw_screw_random")
FOLDER = Path(__file__).parent / "images" / "environments"


def picture(name: str, steps: int, seed: int = 0) -> np.ndarray:
    """One frame uint8 `[360, 480, 3]` of a state from which the episode goes on."""
    env = envs.make(name, engine="mujoco" if "mujoco" in envs.engines(name) else None)
    low, high = np.asarray(env.spec.action_low, np.float32), np.asarray(env.spec.action_high, np.float32)

    def body(state, key):
        k_act, k_step = jax.random.split(key)
        action = jax.random.uniform(k_act, low.shape, minval=low, maxval=high)
        after, transition = env.step(k_step, state, action)
        return after, (state, (transition.discount == 0) | transition.truncated)

    keys = jax.random.split(jax.random.key(seed), steps + 2)
    _, (states, ended) = jax.lax.scan(body, env.reset(keys[0]), keys[1:])
    last = min(int(np.argmax(ended)), steps) if ended.any() else steps
    return envs.render(env, jax.tree.map(lambda x: x[last : last + 1], states), height=360, width=480)[0]


def controlled(name: str, obs: np.ndarray) -> np.ndarray:
    """Actions of a controller for observations `[1, O]`: follow the pose, wave two fingers, open the drawer."""
    if name == "dclaw_pose_random":
        return (obs[:, :9] + obs[:, 18:]) / jnp.tile(jnp.array([0.48, jnp.pi / 3, jnp.pi / 2]), 3)[None]
    if name in VALVES:
        swing = jnp.where(obs[:, :1] < 0.2, 1.0, -1.0) * jnp.sign(obs[:, 20:])
        return jnp.tile(jnp.concatenate([swing, -0.9 + 0.0 * swing, 0.55 + 0.0 * swing], axis=1), (1, 3))
    return mujoco_drawer.scripted(obs)


def film(name: str, seed: int = 0) -> np.ndarray:
    """Frames uint8 `[T, 180, 240, 3]` of an episode under the controller."""
    (steps, every), env = FILMS[name], envs.make(name, engine="mujoco")
    policy = rollouts.uniform(env.spec)  # of the pusher, for which nobody has written a controller
    if name != "pusher":
        policy = rollouts.stateless(lambda key, obs: jnp.clip(controlled(name, obs), -1.0, 1.0))
    states = jax.jit(lambda key: rollouts.watch(key, env, policy, steps))(jax.random.key(seed))
    frames = envs.render(env, jax.tree.map(lambda x: x[::every], states), height=360, width=480)
    return np.stack([np.asarray(Image.fromarray(frame).resize((240, 180))) for frame in frames])


if __name__ == "__main__":
    for chosen in sys.argv[1:] or STEPS:
        frame = Image.fromarray(picture(chosen, STEPS[chosen])).resize((240, 180), Image.Resampling.LANCZOS)
        frame.quantize(256, dither=Image.Dither.NONE).save(FOLDER / f"{chosen}.png", optimize=True)
        if chosen in FILMS:
            envs.save(film(chosen), FOLDER / f"{chosen}.gif", fps=10)
