"""A small agent on the pendulum, its networks in NumPy, and random data for objectives of models."""

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import sac
from mbrl_jax.models import ensemble
from mbrl_jax.types import Transition

SPEC = rollouts.normalised(envs.make("pendulum-v1")).spec
CONFIG = sac.Config(hidden=(8, 8))


def agent_state(seed=0):
    """An agent whose target critics differ from its online ones."""
    state = sac.make(CONFIG, SPEC).init(jax.random.key(seed))
    return state._replace(target=jax.tree.map(lambda leaf: 0.7 * leaf + 0.05, state.target))


def dense(params, x):
    """A network of flax's Dense layers with rectifiers, in NumPy and float64."""
    layers = [params["params"][f"Dense_{i}"] for i in range(3)]
    for i, layer in enumerate(layers):
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        x = np.maximum(x, 0.0) if i < 2 else x
    return x


def stacked(state):
    """Parameters of the online critics, then of the target critics, one by one."""
    stacks = [(tree, k) for tree in (state.params["critic"], state.target) for k in range(CONFIG.critics)]
    return [jax.tree.map(lambda leaf, k=k: leaf[k], tree) for tree, k in stacks]


def mean_action(state, obs):
    """The policy's mean action `[batch, action_dim]`, in NumPy."""
    return np.tanh(dense(state.params["actor"], obs)[:, : SPEC.action_dim])


def predicted(rng, members=2, batch=5, scale=None):
    """Random predictions and targets."""
    mean, log_var, target = jnp.asarray(rng.normal(size=(3, members, batch, 1 + SPEC.obs_dim)), jnp.float32)
    scale = jnp.ones(1 + SPEC.obs_dim) if scale is None else jnp.asarray(scale, jnp.float32)
    return ensemble.Predicted(mean, log_var, target, scale, jnp.ones((members, batch)))


def transitions(rng, *shape, extras=()):
    """Random transitions of that shape."""
    obs, next_obs = jnp.asarray(rng.normal(size=(2, *shape, SPEC.obs_dim)), jnp.float32)
    action, reward = obs[..., :1], obs[..., 1]
    return Transition(obs, action, reward, jnp.ones(shape), next_obs, jnp.zeros(shape, bool), extras)
