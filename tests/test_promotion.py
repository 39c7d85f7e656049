"""Promotions of types and axes are refused in every test (`conftest.py`): all presets are traced with that, not run."""

import jax
import jax.numpy as jnp
import pytest

from mbrl_jax import envs
from mbrl_jax.algorithms import REGISTRY, preset

ENVS = {"dam": "icy_road"}
"""Where the environment of the others, a linear one, is not what an algorithm is for."""


@pytest.mark.parametrize("promotes", [lambda: jnp.ones(2) + jnp.ones((3, 2)), lambda: jnp.ones(2) * jnp.arange(2)])
def test_a_promotion_of_axes_or_types_is_refused(promotes):
    with pytest.raises((ValueError, TypeError), match="promotion"):
        jax.eval_shape(promotes)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_algorithms_are_traced_without_a_promotion(name):
    """Start, one iteration and the policy, with the preset's own branches."""
    env = envs.make(ENVS.get(name, "lqr-v0"))
    algorithm = REGISTRY[name].make(preset(name, env.spec.name), env)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    jax.eval_shape(algorithm.step, jax.random.key(0), state)

    def act(state, obs):
        policy = algorithm.policy(state)
        return policy.act(jax.random.key(0), policy.start(obs), obs)

    action = jax.eval_shape(act, state, jnp.zeros((3, env.spec.obs_dim)))[1]
    assert action.shape == (3, env.spec.action_dim) and action.dtype == jnp.float32


@pytest.mark.parametrize("name", [name for name in envs.names() if "jax" in envs.engines(name)])
def test_environments_are_traced_without_a_promotion(name):
    env = envs.make(name)
    state = jax.eval_shape(env.reset, jax.random.key(0))
    action = jnp.zeros(env.spec.action_dim)
    _, step = jax.eval_shape(env.step, jax.random.key(0), state, action)
    assert step.next_obs.shape == (env.spec.obs_dim,)
    many = [jnp.zeros((2, 3, size)) for size in (env.spec.obs_dim, env.spec.action_dim, env.spec.obs_dim)]
    if env.reward is not None:
        assert jax.eval_shape(env.reward, *many).shape == (2, 3)
    if env.terminal is not None:
        assert jax.eval_shape(env.terminal, many[2]).shape == (2, 3)
