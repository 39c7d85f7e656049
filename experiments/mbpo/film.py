"""Short films of trained policies, kept with their run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from mbrl_jax import envs, results
from mbrl_jax.jobs import Cost, How, Job
from mbrl_jax.report import figures, select
from mbrl_jax.runner import loop, program
from mbrl_jax.runner.progress import say
from mbrl_jax.runner.run import Run
from mbrl_jax.types import PyTree

__all__ = ["film", "job", "of"]

FRAMES = 60
FPS = 15.0
COST = Cost(seconds=5.0)


def job(run: Run) -> Job:
    """The film of a run, after it. It is no run of its own: its frames are kept with the run."""
    of = run.run_id(run.environment())
    return Job(f"{of}-film", run.experiment, f"film of {run.algorithm}", (of,), COST, partial(_execute, run), run=False)


def _execute(run: Run, root: Path, how: How) -> None:
    film(run, root)


def film(run: Run, root: Path) -> None:
    """Renders the first seed's policy from the start of an episode and stores the frames with the run.

    Where no off-screen renderer is to be had, says so and leaves the film out.
    """
    env = run.environment()
    identity = run.run_id(env)
    try:
        if "film" in results.arrays(root, identity):
            return
    except FileNotFoundError:
        pass
    every = max(1, round(1 / (FPS * env.spec.dt))) if env.spec.dt else 1
    states = _episode(run, root, FRAMES * every)
    try:
        frames = envs.render(env, jax.tree.map(lambda x: x[::every], states))
    except (ImportError, RuntimeError, OSError) as error:
        say(f"no film of {run.algorithm} on {run.env}: {error}")
        return
    results.save(
        root, identity, results.load_run(root, identity), results.manifest(root, identity), {"film": np.asarray(frames)}
    )


def _episode(run: Run, root: Path, steps: int) -> PyTree:
    """States of the first lane's deterministic policy, `[time, ...]`, up to the end of the episode."""
    env = run.environment()
    algorithm = run.build(run.first, env)
    policy = algorithm.policy(program.lane(loop.final_state(run, root), 0))

    def body(carry: tuple[PyTree, PyTree], key: jax.Array) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, jax.Array]]:
        env_state, memory = carry
        memory, action, _ = policy.act(key, memory, env_state.obs[None])
        following, transition = env.step(key, env_state, action[0])
        return (following, memory), (env_state, (transition.discount == 0) | transition.truncated)

    keys = jax.random.split(jax.random.key(0), steps + 1)
    start = env.reset(keys[0])
    run_on = jax.jit(lambda carry: jax.lax.scan(body, carry, keys[1:])[1])
    states, ended = jax.device_get(run_on((start, policy.start(start.obs[None]))))
    length = int(np.argmax(ended)) + 1 if ended.any() else steps
    return jax.tree.map(lambda x: x[:length], states)


def of(frame: pd.DataFrame, algorithm: str, env: str) -> bytes | None:
    """The film of an algorithm on a task as a GIF, if there is one."""
    try:
        frames = select.arrays(frame, algorithm, env).get("film")
    except (select.MissingDataError, FileNotFoundError):
        return None
    return None if frames is None else figures.gif(frames, FPS)
