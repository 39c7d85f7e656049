"""What takes minutes: return distributions of every task, every task on MJX, resets of all, Gymnasium's checker."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
import scipy.stats
from gymnasium.utils.env_checker import check_env
from reference import body_of, contact_cost
from test_adapters import assert_same_trajectory
from test_mbbl import CASES
from test_parity import GYM_TASKS, assert_mjx_parity, assert_resets_are_gymnasiums

from mbrl_jax import envs, rollouts
from mbrl_jax.envs import adapters, gymnasium_envs
from mbrl_jax.envs.mujoco_envs import GYM_BODIES

pytestmark = pytest.mark.slow
LONG = ("half_cheetah", "swimmer", "ant", "mbbl_half_cheetah", "mbbl_ant", "mbbl_swimmer", "mbbl_fixed_swimmer")
LONG += ("mbbl_hopper-", "mbbl_walker2d-", "mbbl_slim_humanoid-")
"""Beginnings of the names of tasks whose random episodes last for hundreds of steps."""
Step = Callable[[np.ndarray], tuple[float, bool]]


def episodes(name: str) -> int:
    return 64 if name.startswith(LONG) else 256


def our_returns(name: str, engine: str, count: int) -> np.ndarray:
    """Returns of `count` whole episodes with uniformly random actions."""
    env = rollouts.normalised(envs.make(name, engine=engine))
    evaluate = jax.jit(lambda key: rollouts.evaluate(key, env, rollouts.uniform(env.spec), count))
    return np.asarray(evaluate(jax.random.key(0))[0])


def theirs(name: str, env: Any) -> Step:
    """A step of Gymnasium's simulation; the reward and the end of a task that Gymnasium lacks are written out again."""
    if GYM_BODIES[name].gym:
        return lambda action: env.step(action)[1:3]
    if name in CASES:
        return benchmark(env, *CASES[name][2:])
    if name == "mbbl_humanoid_et-v0":
        _, _, slim, ended = CASES["mbbl_slim_humanoid_et-v0"]
        return benchmark(env, lambda *before: slim(*before) - contact_cost(name, env.data.cfrc_ext), ended)
    if name == "mbbl_fixed_swimmer-v0":
        return swimmer(env)
    if name == "mbbl_reacher-v0":
        return reacher(env)
    return pusher(env) if name == "pusher-v4" else with_contact_cost(name, env)


def benchmark(env: Any, reward: Callable[..., float], ended: Callable[[np.ndarray], bool]) -> Step:
    """Paid for the state before the step."""

    def step(action: np.ndarray) -> tuple[float, bool]:
        paid = reward(env.data.qpos, env.data.qvel, action)
        env.step(action)
        return paid, bool(ended(env.data.qpos))

    return step


def swimmer(env: Any) -> Step:
    def tip() -> float:
        return env.data.body("torso").xpos[0] + 1.5 * env.data.body("torso").xmat[0]

    memory = {"tip": tip(), "speed": 0.0}

    def step(action: np.ndarray) -> tuple[float, bool]:
        paid = memory["speed"] - 1e-4 * action @ action
        env.step(action)
        memory.update(speed=(tip() - memory["tip"]) / env.dt, tip=tip())
        return paid, False

    return step


def reacher(env: Any) -> Step:
    """Gym's with its target moved into the square, where the episode has begun."""
    qpos = np.concatenate([env.data.qpos[:2], env.np_random.uniform(-0.2, 0.2, 2)])
    env.set_state(qpos, env.data.qvel.copy())
    return lambda action: env.step(action)[1:3]


def pusher(env: Any) -> Step:
    def step(action: np.ndarray) -> tuple[float, bool]:
        tip, thing, goal = (env.data.body(body).xpos for body in ("tips_arm", "object", "goal"))
        paid = -np.linalg.norm(thing - goal) - 0.1 * action @ action - 0.5 * np.linalg.norm(thing - tip)
        env.step(action)
        return paid, False

    return step


def with_contact_cost(name: str, env: Any) -> Step:
    def step(action: np.ndarray) -> tuple[float, bool]:
        _, reward, terminated, *_ = env.step(action)
        return reward - contact_cost(name, env.data.cfrc_ext), terminated

    return step


def their_returns(name: str) -> np.ndarray:
    """The same with plain Gymnasium, one episode after the other."""
    env, rng, returns = body_of(name), np.random.default_rng(0), []
    for seed in range(episodes(name)):
        env.reset(seed=seed)
        step, total = theirs(name, env), 0.0
        for _ in range(GYM_BODIES[name].time_limit):
            reward, terminated = step(rng.uniform(env.action_space.low, env.action_space.high))
            total += reward
            if terminated:
                break
        returns.append(total)
    return np.array(returns)


@pytest.mark.parametrize("name", GYM_BODIES)
def test_random_returns_are_distributed_as_gymnasiums(name):
    ours = our_returns(name, "mujoco", episodes(name))
    assert scipy.stats.ks_2samp(ours, their_returns(name)).pvalue > 0.01


@pytest.mark.parametrize("name", ["inverted_pendulum-v4", "hopper-v4"])
def test_random_returns_on_mjx_are_distributed_as_gymnasiums(name):
    """Tasks whose random episodes are short; 64 at once, because larger batches of MJX may hang with jaxlib 0.10."""
    assert scipy.stats.ks_2samp(our_returns(name, "mjx", 64), their_returns(name)).pvalue > 0.01


@pytest.mark.parametrize("name", [name for name in GYM_TASKS if name.endswith("-v5")])
def test_resets_of_v5_are_drawn_from_gymnasiums_distribution(name):
    assert_resets_are_gymnasiums(name)


def bounds(name: str) -> tuple[float, float]:
    """Largest error of the first step and median error of the tenth that MJX may have in float64.

    Planar bodies agree to rounding (2e-13 measured). Ant's solver stops within its own tolerance, so that contact
    forces are off by 4e-10. Gym's humanoid uses the solver PGS, which MJX lacks: its forces agree to 2e-4.
    """
    if "humanoid" in name:
        return 5e-4, 1e-4
    if name.removeprefix("mbbl_").startswith("ant"):
        return 2e-9, 1e-7
    return 1e-12, 1e-11


# Neighbours share MJX's program of a body.
ON_MJX = sorted(GYM_BODIES, key=lambda name: (GYM_BODIES[name].model, GYM_BODIES[name].solver, name))


@pytest.mark.parametrize("name", ON_MJX)
def test_every_task_on_mjx_in_64_bits(name):
    with jax.enable_x64(True):
        first, tenth = bounds(name)
        assert_mjx_parity(name, first, tenth, whole=False)


@pytest.mark.parametrize("name", ON_MJX)
def test_every_task_on_mjx_in_32_bits(name):
    assert_mjx_parity(name, first=1e-3, tenth=1e-2, whole=False)


@pytest.mark.parametrize("name", [name for name in ON_MJX if GYM_BODIES[name].observes_derived])
def test_resets_show_the_same_fields_on_both_engines(name):
    """Observations of positions, inertias and forces that a reset has to compute; the rest is drawn from the key."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(3), 4)
        ours, exact = (jax.vmap(envs.make(name, engine=engine).reset)(keys).obs for engine in ("mjx", "mujoco"))
        np.testing.assert_allclose(ours, exact, atol=1e-12, rtol=1e-12)
        assert np.abs(exact).max() > 0.05 and len(np.unique(exact, axis=0)) == 4


@pytest.mark.parametrize("name", ["inverted_pendulum-v4", "hopper-v4"])
def test_mjx_seeds_in_parallel_are_seeds_in_turn_and_repeat_bit_for_bit(name):
    env = envs.make(name, engine="mjx")
    actions = jax.random.uniform(jax.random.key(1), (10, env.spec.action_dim), minval=-1.0)

    def run(key):
        return jax.lax.scan(lambda state, action: env.step(key, state, action), env.reset(key), actions)[1]

    keys = jax.random.split(jax.random.key(0), 3)
    together, alone = jax.jit(jax.vmap(run)), jax.jit(run)
    batch = together(keys)
    jax.tree.map(np.testing.assert_array_equal, batch, together(keys))
    for i in range(3):
        np.testing.assert_allclose(alone(keys[i]).next_obs, batch.next_obs[i], atol=1e-6, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, alone(keys[0]), alone(keys[0]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", envs.names())
def test_gymnasiums_own_checker_passes_everywhere(name):
    engine = {"engine": "mujoco"} if "mujoco" in envs.engines(name) else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*out of date.*")
        warnings.filterwarnings("ignore", message=".*A Box observation space .*value is.*infinity.*")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        check_env(gymnasium.make(gymnasium_envs.gym_id(name), **engine).unwrapped, skip_render_check=True)


@pytest.mark.filterwarnings("ignore")
def test_a_playground_task_keeps_its_trajectory():
    playground = pytest.importorskip("mujoco_playground", reason="MuJoCo Playground is not installed")
    theirs = playground.registry.load("PendulumSwingup", config_overrides={"impl": "jax"})
    assert_same_trajectory(theirs, adapters.from_brax(theirs, name="playground_pendulum-v0"), 10, 0.1)
