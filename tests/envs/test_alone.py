"""The environments stand alone: they need nothing that learns, stores or draws curves."""

import subprocess
import sys

import pytest

BLOCKED = ("brax", "distrax", "flax", "matplotlib", "optax", "orbax", "pandas", "pyarrow", "tyro")
BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(name + " is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""
USE = """
import jax, jax.numpy as jnp
import mbrl_jax.envs.gymnasium_envs
from mbrl_jax import envs

for name, engine in (("icy_road", None), ("hopper", "mujoco"), ("hopper", "mjx")):
    state = jax.eval_shape(envs.make(name, engine=engine).reset, jax.random.key(0))
    assert state.obs.shape == (envs.make(name).spec.obs_dim,)
env = envs.make("pendulum")
state, step = env.step(jax.random.key(1), env.reset(jax.random.key(0)), jnp.zeros(1))
assert step.next_obs.shape == (3,)
frames = envs.render(env, jax.tree.map(lambda leaf: leaf[None], state))
assert frames.shape == (1, 240, 320, 3)
"""


def test_environments_need_neither_flax_nor_orbax():
    subprocess.run([sys.executable, "-W", "ignore", "-c", BLOCK + USE], check=True)


@pytest.mark.parametrize("name", ["flax", "orbax.checkpoint"])
def test_the_block_blocks(name):
    done = subprocess.run([sys.executable, "-c", f"{BLOCK}\nimport {name}"], capture_output=True, text=True)
    assert done.returncode == 1 and "is blocked" in done.stderr
