"""Batches of random MDPs, models and policies for property tests: one compiled float64 call checks hundreds."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbrl_jax import tabular

BATCH = 256
EXAMPLES = 8  # 8 x 256 = 2,048 MDPs per property
SLACK = 1e-9  # largest violation of an inequality, relative to the size of its sides
TIGHT = 1e-8  # largest deviation of an identity, likewise


class Draw(NamedTuple):
    """A random task with everything the papers' statements speak of."""

    mdp: tabular.MDP
    policy: jax.Array
    other: jax.Array
    model: jax.Array
    key: jax.Array


def draw(key, states=8, actions=4, rough=100.0):
    """MDP, two policies and a model; each from nearly uniform to nearly deterministic."""
    keys = jax.random.split(key, 6)
    scale = jnp.exp(jax.random.uniform(keys[0], (4,), jnp.float64, jnp.log(0.1), jnp.log(rough)))
    mdp = tabular.random_mdp(keys[1], states, actions, scale=scale[0], dtype=jnp.float64)
    policy = tabular.random_policy(keys[2], mdp, scale=scale[1])
    other = tabular.random_policy(keys[3], mdp, scale=scale[2])
    model = tabular.random_model(keys[4], mdp, scale=scale[3])
    near = jax.random.bernoulli(keys[5], 0.5)  # half of the second policies and models are close to the first
    blend = jnp.exp(-10 * jax.random.uniform(keys[5], (), jnp.float64))
    other = jnp.where(near, (1 - blend) * policy + blend * other, other)
    model = jnp.where(near, (1 - blend) * mdp.transition + blend * model, model)
    return Draw(mdp, policy, other, model, keys[5])


def batched(statement, chunk=BATCH, **sizes):
    """A compiled check of `statement(draw) -> dict of scalars` on `BATCH` random tasks of a seed, `chunk` at a time."""
    compiled = jax.jit(lambda keys: jax.lax.map(lambda key: statement(draw(key, **sizes)), keys, batch_size=chunk))

    def check(seed):
        with jax.enable_x64(True):
            out = compiled(jax.random.split(jax.random.key(seed), BATCH))
            return {name: np.asarray(values) for name, values in out.items()}

    return check


def property_test(*arguments):
    """Hypothesis over seeds with a fixed budget; failures print the seed that reproduces them."""
    options = settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )
    return lambda test: options(given(st.integers(0, 2**31 - 1), *arguments)(test))


def holds(small, large):
    """Slack of `small <= large`, relative to their size; at least `-SLACK` where the inequality holds."""
    return (large - small) / jnp.maximum(
        1, jnp.maximum(jnp.abs(large), jnp.where(jnp.isfinite(small), jnp.abs(small), 0))
    )


def equal(one, other):
    """Minus the deviation of two numbers relative to their size, on the scale of `holds`: at least `-TIGHT`."""
    return -jnp.max(jnp.abs(one - other) / jnp.maximum(1, jnp.maximum(jnp.abs(one), jnp.abs(other))))


def verify(found, identities=()):
    """Asserts every inequality and identity of a batch; names the worst."""
    for name, slack in found.items():
        limit = TIGHT if name in identities else SLACK
        assert not np.isnan(slack).any(), f"{name}: not a number for draw {int(np.argmax(np.isnan(slack)))}"
        worst = int(np.argmin(slack))
        assert slack[worst] >= -limit, f"{name}: violated by {-slack[worst]:.3g} for draw {worst}"
