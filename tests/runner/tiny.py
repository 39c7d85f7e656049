"""A run small enough to be trained in a second, and a way to compare two of them bit for bit."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax.algorithms import sac
from mbrl_jax.learners import sac as soft
from mbrl_jax.runner import loop
from mbrl_jax.runner.run import Run
from mbrl_jax.types import Algorithm

CONFIG = sac.Config(
    steps=240,
    warmup_steps=20,
    steps_per_iteration=4,
    batch=8,
    replay_capacity=100,
    agent=soft.Config(hidden=(8,)),
)

BREAKS_AT = 30  # iteration


def run(**changes: Any) -> Run:
    """SAC on the match probe: 60 iterations, evaluated every 10; three seeds, so that two devices get a filler."""
    facts = {
        "experiment": "test/runner",
        "algorithm": "SAC",
        "make": sac.make,
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


class Tagged(NamedTuple):
    """An algorithm's state with the key it began with, and the iteration."""

    inner: Any
    tag: jax.Array
    iteration: jax.Array


def breaking(config, env, seed, make=sac.make, at=BREAKS_AT):
    """An algorithm in which one seed's parameters become NaN at iteration `at`."""
    inner = make(config, env)
    marked = jax.random.key_data(jax.random.split(jax.random.key(seed), 3)[0])

    def step(key, state):
        new, info = inner.step(key, state.inner)
        bad = (state.tag == marked).all() & (state.iteration >= at)
        spoil = lambda x: jnp.where(bad, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
        spoilt = new._replace(agent=jax.tree.map(spoil, new.agent))
        return Tagged(spoilt, state.tag, state.iteration + 1), info

    return Algorithm(
        lambda key: Tagged(inner.init(key), jax.random.key_data(key), jnp.zeros((), jnp.int32)),
        step,
        lambda state: inner.policy(state.inner),
        inner.env_steps,
        inner.warmup_steps,
    )
