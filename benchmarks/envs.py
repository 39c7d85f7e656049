"""Environment steps per second: our engines beside Gymnasium's vector environment and Brax's built-in tasks.

    python -m benchmarks.envs                       # the four tasks that the papers' laptop runs use
    python -m benchmarks.envs --tasks ant-v4 --engines mujoco mjx mjx-default --batches 1 64 1024

Random actions, automatic resets, everything in one compiled scan per measurement. Compile seconds are those of the
first call, steps/s the best of the repeats after it. `mjx-default` is MJX with MuJoCo's own solver limits (100
iterations of 50 line-search steps).
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax import envs
from mbrl_jax.envs.mujoco_envs import ALL_TASKS
from mbrl_jax.types import Env

TASKS = ("inverted_pendulum-v4", "hopper-v4", "half_cheetah-v4")
BRAX = {"inverted_pendulum": "inverted_pendulum", "hopper": "hopper", "half_cheetah": "halfcheetah", "ant": "ant"}


class Speed(NamedTuple):
    """One measurement."""

    task: str
    engine: str
    batch: int
    compile_seconds: float
    steps_per_second: float
    compilations: int


def roll_out(env: Env, batch: int, steps: int) -> Callable[[jax.Array, Any], tuple[Any, jax.Array]]:
    """A jitted scan of `steps` random, automatically resetting steps of `batch` environments."""
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)

    def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        k_act, k_step, k_reset = jax.random.split(key, 3)
        action = jax.random.uniform(k_act, (batch, env.spec.action_dim), minval=low, maxval=high)
        state, transition = jax.vmap(env.step)(jax.random.split(k_step, batch), state, action)
        done = (transition.discount == 0) | transition.truncated
        fresh = jax.vmap(env.reset)(jax.random.split(k_reset, batch))

        def choose(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(done.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return jax.tree.map(choose, fresh, state), transition.reward.sum()

    return jax.jit(lambda key, state: jax.lax.scan(step, state, jax.random.split(key, steps)))


def measure(env: Env, label: str, batch: int, seconds: float) -> Speed:
    """Compile, then repeat for about `seconds`."""
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), batch))
    steps = max(4, min(200, 4096 // batch))
    run = roll_out(env, batch, steps)
    began = time.perf_counter()
    state = jax.block_until_ready(run(jax.random.key(0), state))[0]
    first = time.perf_counter() - began
    best, began, taken = 0.0, time.perf_counter(), []
    while time.perf_counter() - began < seconds or len(taken) < 2:
        start = time.perf_counter()
        state = jax.block_until_ready(run(jax.random.key(1), state))[0]
        taken.append(time.perf_counter() - start)
        best = max(best, batch * steps / taken[-1])
    compiled = run._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
    return Speed(env.spec.name, label, batch, first - min(taken), best, compiled)


def measure_gymnasium(task: str, batch: int, seconds: float) -> Speed:
    """Gymnasium's own synchronous vector environment of the same task."""
    import gymnasium

    gym_id, *options = ALL_TASKS[task].gym
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make_vec(gym_id, num_envs=batch, vectorization_mode="sync", **dict(options))
    env.action_space.seed(0)
    env.reset(seed=0)
    actions = itertools.cycle([env.action_space.sample() for _ in range(16)])
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or count < 2 * batch:
        env.step(next(actions))
        count += batch
    speed = count / (time.perf_counter() - began)
    env.close()
    return Speed(task, "gymnasium sync", batch, 0.0, speed, 0)


def brax_env(task: str, backend: str) -> Env:
    """Brax's built-in task of the same name (another task, see docs/environments.md), through our adapter."""
    import brax.envs

    from mbrl_jax.envs.adapters import from_brax

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_brax(brax.envs.get_environment(BRAX[task.split("-")[0]], backend=backend), name=task)


def make(task: str, engine: str) -> Env | None:
    """The environment for an engine label, or None where there is none."""
    if engine == "mjx-default":
        return envs.make(task, engine="mjx", iterations=100, ls_iterations=50)
    if engine.startswith("brax-"):
        return brax_env(task, engine.removeprefix("brax-")) if task.split("-")[0] in BRAX else None
    return envs.make(task, engine=engine)


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--engines", nargs="+", default=["gymnasium", "mujoco", "mjx"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64, 1024])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement, after compilation")
    given = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, numpy {np.__version__}")
    print(f"{'task':24} {'engine':16} {'batch':>6} {'compile s':>10} {'steps/s':>10} {'compilations':>13}")
    for task, engine, batch in itertools.product(given.tasks, given.engines, given.batches):
        task = envs.resolve(task)
        if engine == "gymnasium":
            if not ALL_TASKS[task].gym or batch > 64:
                continue
            speed = measure_gymnasium(task, batch, given.seconds)
        else:
            env = make(task, engine)
            if env is None:
                continue
            speed = measure(env, engine, batch, given.seconds)
        print(
            f"{speed.task:24} {speed.engine:16} {speed.batch:6d} {speed.compile_seconds:10.1f}"
            f" {speed.steps_per_second:10.0f} {speed.compilations:13d}",
            flush=True,
        )


if __name__ == "__main__":
    main()
