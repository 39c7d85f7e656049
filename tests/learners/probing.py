"""Learners on all probe environments at once, one lane each, and what is known exactly about the result."""

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax import envs, replay, rollouts
from mbrl_jax.envs.probes import PROBES
from mbrl_jax.types import Transition

ROWS = 400
SPEC = rollouts.normalised(envs.make("probe-match-v0")).spec


def random_batch(shape, seed=0):
    """Transitions with one observation and one action, `[*shape, ...]`; every third one ends an episode."""
    rng = np.random.default_rng(seed)
    columns = (rng.normal(size=(*shape, 1)), rng.uniform(-1, 1, (*shape, 1)), rng.normal(size=shape))
    discount = np.arange(np.prod(shape)).reshape(shape) % 3 > 0
    obs, action, reward, discount = (jnp.asarray(c, jnp.float32) for c in (*columns, discount))
    return Transition(obs, action, reward, discount, obs + 1.0, jnp.zeros(shape, bool))


FEW = ("probe-delayed-v0", "probe-truncation-v0", "probe-match-v0")
"""Bootstrapping, time limits, and a policy that must see its input."""


def train(learner, updates, shape, names=tuple(PROBES)):
    """Name of a probe -> data of the random policy and the learner's state after so many updates on it.

    Args:
      shape: of the batches that one update takes, `(batch,)` or `(steps, batch)`.
    """

    def collect(name):
        env = rollouts.normalised(envs.make(name))
        memory = replay.make(env.spec, ROWS)
        return rollouts.collect(jax.random.key(0), env, memory, rollouts.uniform(env.spec), ROWS)[1].rows.value

    data = jnp.stack([jax.jit(collect, static_argnums=0)(name) for name in names])

    def run(key, rows):
        def update(state, k):
            k_draw, k_update = jax.random.split(k)
            batch = replay.unpack(rows[jax.random.randint(k_draw, shape, 0, ROWS)], SPEC)
            return learner.update(k_update, state, batch)[0], None

        return jax.lax.scan(update, learner.init(key), jax.random.split(key, updates))[0]

    states = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(1), len(names)), data)
    return {
        name: (replay.unpack(data[i], SPEC), jax.tree.map(lambda x: x[i], states))  # noqa: B023
        for i, name in enumerate(names)
    }


def check_values(name, batch, values, gamma):
    """Values `[critics, rows]` are those of the action and optimal play after it, to 3 % of the largest."""
    exact = np.asarray(PROBES[name].action_value(batch.obs, batch.action, gamma))
    np.testing.assert_allclose(values, np.stack([exact] * len(values)), atol=0.03 * max(1.0, np.abs(exact).max()))


def check_policy(name, batch, mode):
    """The deterministic policy takes the best action: half of the observation, or a half."""
    best = 0.5 * (batch.obs if name == "probe-match-v0" else jnp.ones_like(batch.obs))
    np.testing.assert_allclose(mode(jax.random.key(0), batch.obs), best, atol=0.08)
