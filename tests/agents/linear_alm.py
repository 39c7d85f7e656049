"""ALM's networks with one latent and one action entry, linear, so that every value and gradient can be written down."""

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax import envs, rollouts
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.agents.latent.networks import Nets, PolicyHead
from mbrl_jax.networks import Diagonal, perturbed
from mbrl_jax.types import Transition

SPEC = rollouts.normalised(envs.make("lqr-v0")).spec


def random_transitions(seed, *shape):
    rng = np.random.default_rng(seed)

    def real(*dims):
        return jnp.asarray(rng.normal(size=(*shape, *dims)), jnp.float32)

    action = jnp.tanh(real(SPEC.action_dim))
    return Transition(real(SPEC.obs_dim), action, real(), jnp.ones(shape), real(SPEC.obs_dim), jnp.zeros(shape, bool))


def linear_policy(**changes):
    """A policy with the mean `bias + gain z`, without density."""

    def mean(p, z):
        return p["bias"] + p["gain"] * z

    functions = {
        "init": lambda key: {},
        "mean": mean,
        "draw": lambda p, key, z, noise, limit: (perturbed(key, mean(p, z), noise, limit), jnp.zeros_like(z[..., 0])),
        "temperature": lambda p: jnp.zeros(()),
        "loss": lambda p, log_prob: jnp.zeros(()),
    }
    return PolicyHead(**{**functions, **changes})


def linear(**changes):
    """The networks; `changes` replaces functions of `Nets`."""
    functions = {
        "init": lambda key: {},
        "encode": lambda p, obs: Diagonal(p * obs, jnp.ones_like(obs)),
        "predict": lambda p, z, a: Diagonal(p * z + a, jnp.zeros_like(z)),
        "reward": lambda p, z, a: (p["z"] * z + p["a"] * a)[..., 0],
        "classify": lambda p, z, a, n: jnp.concatenate([0 * z, p["z"] * z + p["a"] * a + p["next"] * n], axis=-1),
        "values": lambda p, z, a: (p["z"] * z + p["a"] * a)[None, ..., 0],
        "policy": linear_policy(),
    }
    return Nets(**{**functions, **changes})


def seen(nets, data, **params):
    """A context in which every group has the given parameters; z is 0.5 without spread."""
    state = latent.State({group: params.get(group, {}) for group in latent.GROUPS}, params.get("target", {}), {})
    z = jnp.full_like(data.batch.obs, 0.5)
    return latent.Context(nets, state, data, Diagonal(z, 0 * z), Diagonal(-z, 0 * z))


def flat_data(steps=2, noise=0.0):
    """Four sequences of one-dimensional observations and actions, and their first transitions as the batch."""
    one = random_transitions(2, 4, steps)

    def cut(t):
        return t._replace(obs=t.obs[..., :1], next_obs=t.next_obs[..., :1], action=0.1 * t.action)

    batch = jax.tree.map(lambda x: x[:, 0], one)
    return latent.Data(cut(one), cut(batch), jnp.float32(noise))
