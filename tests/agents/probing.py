"""Learners on all probe environments at once, one lane each, and what is known exactly about the result."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import critics
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.envs.probes import PROBES
from mbrl_jax.networks import MLP
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


class Trained(NamedTuple):
    """A learner on one probe: data of the random policy, the state after training on it, and the configuration."""

    name: str
    batch: Transition
    state: Any
    config: Any

    def values(self):
        """The critics at the data, `[critics, rows]`."""
        critic, batch = MLP(self.config.hidden, 1), self.batch
        return critics.values(critic, self.state.params["critic"], batch.obs, batch.action)


def train(make, config, updates, shape, names):
    """Name of a probe -> what `make(config, spec)` has learned there after so many updates.

    Args:
      shape: of the batches that one update takes, `(batch,)` or `(steps, batch)`.
    """

    def collect(name):
        env = rollouts.normalised(envs.make(name))
        memory = replay.make(env.spec, ROWS)
        return rollouts.collect(jax.random.key(0), env, memory, rollouts.uniform(env.spec), ROWS)[1].rows.value

    learner = make(config, SPEC)
    data = jnp.stack([jax.jit(collect, static_argnums=0)(name) for name in names])

    def run(key, rows):
        def update(state, k):
            k_draw, k_update = jax.random.split(k)
            batch = unpack(rows[jax.random.randint(k_draw, shape, 0, ROWS)], SPEC)
            return learner.update(k_update, state, batch)[0], None

        return jax.lax.scan(update, learner.init(key), jax.random.split(key, updates))[0]

    states = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(1), len(names)), data)

    def found(i):
        return unpack(data[i], SPEC), jax.tree.map(lambda x: x[i], states)

    return {name: Trained(name, *found(i), config) for i, name in enumerate(names)}


def check_values(trained):
    """The critics are the values of the action and optimal play after it, to 3 % of the largest."""
    name, batch, _, config = trained
    exact, values = np.asarray(PROBES[name].action_value(batch.obs, batch.action, config.gamma)), trained.values()
    np.testing.assert_allclose(values, np.stack([exact] * len(values)), atol=0.03 * max(1.0, np.abs(exact).max()))


def check_policy(trained, mode):
    """The deterministic policy `mode(config, spec, state)` takes the best action: half the observation, or a half."""
    name, batch, state, config = trained
    best = 0.5 * (batch.obs if name == "probe-match-v0" else jnp.ones_like(batch.obs))
    np.testing.assert_allclose(
        rollouts.first_action(jax.random.key(0), mode(config, SPEC, state), batch.obs), best, atol=0.08
    )


def fragment(steps=5, count=3):
    """A fragment with ends of both kinds in its middle."""
    rng = np.random.default_rng(0)
    obs, action, next_obs = (rng.normal(size=(steps, count, 1)) for _ in range(3))
    discount, truncated = np.ones((steps, count)), np.zeros((steps, count), bool)
    discount[1, 0], truncated[2, 1] = 0.0, True
    columns = (obs, action, rng.normal(size=(steps, count)), discount, next_obs)
    return Transition(*(jnp.asarray(c, jnp.float32) for c in columns), jnp.asarray(truncated))
