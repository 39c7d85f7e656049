"""Robotic tasks, by name, and the MJCF models they run on, which are our own.

Observation and action, with units: as in `mujoco_claw` and in `mujoco_drawer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from mbrl_jax.envs.claw_model import claw
from mbrl_jax.envs.drawer_model import drawer
from mbrl_jax.envs.mujoco_claw import CLAW_TASKS
from mbrl_jax.envs.mujoco_drawer import DRAWER_TASKS
from mbrl_jax.envs.mujoco_tasks import Task

__all__ = ["MODELS", "NOT_ON_MJX", "ROBOT_TASKS"]

MODELS: Mapping[str, Callable[[], str]] = {
    "dclaw": partial(claw, valve=False, full=False),
    "dclaw_full": partial(claw, valve=False, full=True),
    "dclaw_valve": partial(claw, valve=True, full=False),
    "dclaw_valve_full": partial(claw, valve=True, full=True),
    "drawer": drawer,
}
"""MJCF text by the name that a task's `model` has."""
ROBOT_TASKS: dict[str, Task] = {**CLAW_TASKS, **DRAWER_TASKS}
NOT_ON_MJX = frozenset(name for name in CLAW_TASKS if "_full" in name)
"""Tasks with contacts that MJX cannot simulate: of cylinders with boxes."""
