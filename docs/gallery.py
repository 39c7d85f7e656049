"""Draws the pictures of docs/environments.md: `.venv/bin/python docs/gallery.py [NAME ...]`; all if none is named.

Each shows an early state of an episode of random actions, the last one if it ends before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from mbrl_jax import envs

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
    "probe-termination": 2,
}
"""Environments, versions left out, with the number of steps before the picture."""
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


if __name__ == "__main__":
    for chosen in sys.argv[1:] or STEPS:
        frame = Image.fromarray(picture(chosen, STEPS[chosen])).resize((240, 180), Image.Resampling.LANCZOS)
        frame.quantize(256, dither=Image.Dither.NONE).save(FOLDER / f"{chosen}.png", optimize=True)
