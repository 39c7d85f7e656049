"""Puts a MuJoCo task and a physics engine together.

Observation and action, with units: as in `mujoco_tasks`.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import jax
import mujoco
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import build
from mbrl_jax.envs.mujoco_mbbl import MBBL_TASKS
from mbrl_jax.envs.mujoco_robots import MODELS, ROBOT_TASKS
from mbrl_jax.envs.mujoco_table import TASKS
from mbrl_jax.envs.mujoco_tasks import Task
from mbrl_jax.types import Env, Spec

__all__ = ["ALL_TASKS", "GYM_BODIES", "default_engine", "load_model", "make"]

GYM_BODIES = {**TASKS, **MBBL_TASKS}
"""Tasks on the models of Gym."""
ALL_TASKS = {**GYM_BODIES, **ROBOT_TASKS}


def default_engine() -> str:
    """C MuJoCo where JAX computes on the CPU (there it is many times faster), MJX on an accelerator.

    The engine is chosen when an environment is made, never while a program is traced: a program for another device
    names its engine.
    """
    return "mujoco" if jax.default_backend() == "cpu" else "mjx"


@functools.cache
def load_model(file: str) -> mujoco.MjModel:
    """One of our MJCF models by its name, or the model `file` of the installed `gymnasium` package, compiled.

    Not to be modified.

    Raises:
      FileNotFoundError: if the installed gymnasium has no such model.
    """
    if file in MODELS:
        return mujoco.MjModel.from_xml_string(MODELS[file]())
    import gymnasium  # its own `envs.mujoco` would ask for packages that the model files do not need

    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / file
    if not path.exists():
        raise FileNotFoundError(f"the installed gymnasium must have the model {file}, but {path} does not exist")
    with _quiet():
        return mujoco.MjModel.from_xml_path(str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """MuJoCo's remarks on deprecated attributes of Gym's models would go to a log file in the working directory."""
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(handler)


def make(name: str, *, engine: str | None = None, time_limit: int | None = None, **solver: Any) -> Env:
    """The task of that name on `engine`; `solver` holds the engine's own options (see `make` of `engine_c`, …)."""
    task, engine = ALL_TASKS[name], engine or default_engine()
    model = load_model(task.model)
    if engine == "mujoco":
        from mbrl_jax.envs.engine_c import make as functions
    elif engine == "warp":
        from mbrl_jax.envs.engine_warp import make as functions
    else:
        from mbrl_jax.envs.engine_mjx import make as functions
    start, advance = functions(task, model, **solver)
    spec = _spec(name, engine, task, model, time_limit, jax.eval_shape(start, jax.random.key(0))[1].shape[-1])
    selective = engine == "mujoco" and task.observes_derived
    # What engines of either kind call with their own arrays is called with JAX's here.
    reward = cast(Callable[[Array, Array, Array], Array] | None, task.obs_reward)
    terminal = cast(Callable[[Array], Array] | None, task.obs_terminal)
    env = build(spec, start, advance, reward, terminal, selective=selective, traced=False)
    return env._replace(scores=cast(Callable[[Array], Mapping[str, Array]] | None, task.obs_scores))


def _spec(name: str, engine: str, task: Task, model: mujoco.MjModel, time_limit: int | None, obs_dim: int) -> Spec:
    if task.bounds is None:
        low, high = np.asarray(model.actuator_ctrlrange).T.tolist()
    else:
        least, most, count = task.bounds
        low, high = [least] * count, [most] * count
    return Spec(
        name=name,
        engine=engine,
        obs_dim=obs_dim,
        action_dim=len(low),
        action_low=tuple(low),
        action_high=tuple(high),
        time_limit=task.time_limit if time_limit is None else time_limit,
        dt=float(model.opt.timestep * task.frame_skip),
    )
