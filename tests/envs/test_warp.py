"""MuJoCo Warp as an engine, compiled for the CPU: the same tasks, any number at once, and no contact lost unsaid."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_parity import assert_mjx_parity, reference, state_of, stepper

from mbrl_jax import envs
from mbrl_jax.envs import engine_warp
from mbrl_jax.envs.mujoco_envs import ALL_TASKS, GYM_BODIES, load_model
from mbrl_jax.envs.mujoco_robots import NOT_ON_MJX
from mbrl_jax.host import MissingPackageError

BODIES = {task.model: name for name, task in reversed(GYM_BODIES.items()) if "warp" in envs.engines(name)}
QUICK = "inverted_pendulum-v4"
needs_warp = pytest.mark.skipif(
    importlib.util.find_spec("warp") is None, reason="warp-lang is not installed: make test-slow does so (extra warp)"
)


def lanes(name, count):
    """A state of each of so many environments after some steps, and actions."""
    expected = reference(name, 10)
    state = jax.tree.map(lambda x: x[:count], state_of(expected, "mjx", expected.obs.shape[-1]))
    return state, jnp.asarray(expected.actions[:count, 0], jnp.float32)


def test_without_the_package_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(MissingPackageError, match=r"the engine warp needs the package warp: .*\[warp\]"):
        engine_warp.make(ALL_TASKS["hopper-v4"], load_model("hopper.xml"))


def test_tasks_that_it_cannot_do_are_not_offered():
    without = {name for name in ALL_TASKS if "warp" not in envs.engines(name)}
    assert without == {name for name, task in ALL_TASKS.items() if "cfrc_ext" in task.derived} | NOT_ON_MJX


@needs_warp
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == QUICK else pytest.mark.slow) for n in BODIES.values()]
)
def test_every_body_is_gymnasiums(name):
    """Its solver ends at a tolerance of 1e-6, which shows where many contacts act; Gym's humanoid asks for PGS."""
    floats = any(body in name for body in ("ant", "humanoid"))
    assert_mjx_parity(name, first=5e-3 if floats else 1e-3, tenth=1e-2, engine="warp")


@needs_warp
@pytest.mark.slow
@pytest.mark.parametrize("name", ["dclaw_pose_random-v0", "dclaw_turn_random-v0", "drawer_open-v2"])
def test_robots_are_those_of_c_mujoco(name):
    """From the same resets, ten random steps; what they are off by on MJX is in the docs."""
    made = {engine: envs.make(name, engine=engine) for engine in ("mujoco", "warp")}
    keys = jax.random.split(jax.random.key(0), 8)
    states = {engine: jax.vmap(env.reset)(keys) for engine, env in made.items()}
    steps = {engine: jax.jit(jax.vmap(env.step)) for engine, env in made.items()}
    for i in range(10):
        actions = jax.random.uniform(jax.random.key(i), (8, made["warp"].spec.action_dim), minval=-1, maxval=1)
        states = {engine: steps[engine](keys, states[engine], actions)[0] for engine in made}
        np.testing.assert_allclose(states["warp"].obs, states["mujoco"].obs, atol=2e-2)


@needs_warp
@pytest.mark.slow
def test_environments_at_once_are_environments_one_by_one():
    """Vmapped once, twice, and in a loop."""
    state, actions = lanes("hopper-v4", 6)
    key, env = jax.random.key(0), envs.make("hopper-v4", engine="warp")

    def step(one):
        return env.step(key, *one)[1].next_obs

    two = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), (state, actions))
    alone = jax.jit(lambda all_: jax.lax.map(step, all_))((state, actions))
    at_once = jax.jit(jax.vmap(step))((state, actions))
    nested = jax.jit(jax.vmap(jax.vmap(step)))(two)
    np.testing.assert_allclose(at_once, alone, atol=1e-5)
    np.testing.assert_allclose(nested.reshape(alone.shape), alone, atol=1e-5)
    assert len(np.unique(alone, axis=0)) == 6


@needs_warp
@pytest.mark.slow
def test_in_64_bits_it_computes_in_32():
    state, actions = lanes("hopper-v4", 4)
    single = stepper("hopper-v4", "warp")(jax.random.key(0), state, actions)[1]
    with jax.enable_x64(True):
        state, _ = lanes("hopper-v4", 4)
        double = jax.jit(jax.vmap(envs.make("hopper-v4", engine="warp").step, in_axes=(None, 0, 0)))(
            jax.random.key(0), state, actions
        )[1]
        assert double.next_obs.dtype == jnp.float64
        np.testing.assert_allclose(single.next_obs, double.next_obs, atol=1e-5)


@needs_warp
@pytest.mark.slow
def test_contacts_that_find_no_room_are_not_lost_unsaid():
    def failures(room):
        env = envs.make("hopper-v4", engine="warp", environments=room)
        state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 64))
        step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))
        for _ in range(20):
            state, _ = step(jax.random.key(1), state, jnp.zeros((64, 3)))
        return int(state.failures.sum())

    assert failures(1) > 0 and failures(64) == 0
