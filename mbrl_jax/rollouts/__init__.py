"""Roll-outs: `real`, of the environment with automatic resets, and `imagined`, of a model."""

from mbrl_jax.rollouts.imagined import branch
from mbrl_jax.rollouts.real import (
    Actor,
    Episodes,
    check_steps,
    collect,
    episode_info,
    episodes,
    evaluate,
    interact,
    normalised,
    start,
    step,
    to_env,
    uniform,
)

__all__ = [
    "Actor",
    "Episodes",
    "branch",
    "check_steps",
    "collect",
    "episode_info",
    "episodes",
    "evaluate",
    "interact",
    "normalised",
    "start",
    "step",
    "to_env",
    "uniform",
]
