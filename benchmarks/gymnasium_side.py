# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""Gymnasium's own vector environments of one task, in a process without JAX: `python -m benchmarks.gymnasium_side`.

Speaks as `benchmarks.peers.serve` says. A process that has started JAX's threads could not fork the 64 processes of
the asynchronous vector environment safely, and its timings would not be Gymnasium's alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections.abc import Callable

import gymnasium
import mujoco

from benchmarks.peers.serve import serve


def block(gym_id: str, options: dict, mode: str, batch: int, seconds: float) -> Callable[[], int]:
    """A case: random actions for some seconds, with Gymnasium's automatic resets; returns environment steps."""
    env = gymnasium.make_vec(gym_id, num_envs=batch, vectorization_mode=mode, **options)
    env.action_space.seed(0)
    env.reset(seed=0)
    actions = itertools.cycle([env.action_space.sample() for _ in range(16)])

    def run() -> int:
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            env.step(next(actions))
            steps += 1
        return steps * batch

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gym_id")
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--cases", nargs="+", default=["sync 64"], help="such as 'async 64'")
    parser.add_argument("--seconds", type=float, default=0.4)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # it calls every -v4 out of date
    mujoco.set_mju_user_warning(lambda message: None)  # and MuJoCo an attribute of its models, once per environment
    cases = {}
    for case in given.cases:
        mode, batch = case.split()
        cases[case] = block(given.gym_id, given.options, mode, int(batch), given.seconds)
    serve("gymnasium", ("gymnasium", "mujoco", "numpy"), cases)


if __name__ == "__main__":
    main()
