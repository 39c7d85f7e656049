"""A run small enough to be trained in a second, and a way to compare two of them bit for bit."""

import dataclasses
from typing import Any

import jax
import numpy as np

from mbrl_jax.agents import sac as soft
from mbrl_jax.algorithms import sac
from mbrl_jax.runner import loop
from mbrl_jax.runner.run import Run

CONFIG = sac.Config(
    steps=240,
    warmup_steps=20,
    steps_per_iteration=4,
    batch=8,
    replay_capacity=100,
    agent=soft.Config(hidden=(8,)),
)


def run(**changes: Any) -> Run:
    """SAC on the match probe: 60 iterations, evaluated every 10; three seeds, so that two devices get a filler."""
    facts = {
        "experiment": "test/runner",
        "algorithm": "SAC",
        "method": "sac",
        "config": CONFIG,
        "env": "probe-match-v0",
        "seeds": (3, 0, 7),
        "eval_every": 40,
        "eval_episodes": 2,
    }
    return Run(**{**facts, **changes})


def shorter(steps: int, **changes: Any) -> sac.Config:
    return dataclasses.replace(CONFIG, steps=steps, **changes)


def final_bytes(done: Run, root: Any) -> bytes:
    """All bytes of a finished run's final state."""
    return b"".join(
        np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x).tobytes()
        for x in jax.tree.leaves(loop.final_state(done, root))
    )
