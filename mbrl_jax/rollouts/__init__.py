"""Roll-outs: `real`, of the environment with automatic resets, `whole`, of its episodes, `imagined`, of a model."""

from mbrl_jax.rollouts.imagined import (
    Standing,
    advance,
    begin,
    branch,
    follow,
    memoryless,
    restarting,
    unroll,
    written_out,
)
from mbrl_jax.rollouts.noise import ornstein_uhlenbeck
from mbrl_jax.rollouts.policies import first_action, for_env, stateless, to_env, uniform
from mbrl_jax.rollouts.real import (
    Actor,
    Episodes,
    check_steps,
    collect,
    episode_info,
    fragment,
    interact,
    normalised,
    remember,
    start,
    step,
)
from mbrl_jax.rollouts.whole import Graded, episodes, evaluate, graded, until_ended, watch

__all__ = [
    "Actor",
    "Episodes",
    "Graded",
    "Standing",
    "advance",
    "begin",
    "branch",
    "check_steps",
    "collect",
    "episode_info",
    "episodes",
    "evaluate",
    "first_action",
    "follow",
    "for_env",
    "fragment",
    "graded",
    "interact",
    "memoryless",
    "normalised",
    "ornstein_uhlenbeck",
    "remember",
    "restarting",
    "start",
    "stateless",
    "step",
    "to_env",
    "uniform",
    "unroll",
    "until_ended",
    "watch",
    "written_out",
]
