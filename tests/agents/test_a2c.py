"""Advantage actor-critic: values and best actions of the probes, and one update against gradients by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from probing import fragment

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import a2c as agents
from mbrl_jax.agents import fragments
from mbrl_jax.algorithms import a2c
from mbrl_jax.data import normalise
from mbrl_jax.envs.probes import PROBES

GAMMA = 0.9
AGENT = agents.Config(hidden=(32,), gamma=GAMMA, trace=0.9, actor_lr=3e-3, critic_lr=5e-3, initial_log_std=-0.5)
CONFIG = a2c.Config(steps=160_000, environments=16, fragment=10, fragments=1000, agent=AGENT)
KEY = jax.random.key(0)
PASSIVE = (
    "probe-constant-v0",
    "probe-observation-v0",
    "probe-delayed-v0",
    "probe-truncation-v0",
    "probe-termination-v0",
)


@functools.cache
def trained(name):
    """What the agent has learned on a probe after 160,000 steps, and observations of the random policy."""
    env = rollouts.normalised(envs.make(name))
    algorithm = a2c.make(CONFIG, env)
    learn = jax.jit(lambda key: algorithm.step(key, algorithm.init(key))[0])
    state = learn(KEY)
    look = jax.jit(lambda key, actors: rollouts.fragment(key, env, rollouts.uniform(env.spec), actors, 20)[1].obs)
    return env, state.agent, look(KEY, state.actors).reshape(-1, 1)


@pytest.mark.parametrize("name", PASSIVE)
def test_values_are_exact_where_the_policy_does_not_matter(name):
    """A constant, the observation, delay; a truncated episode bootstraps (1 / (1 - γ)), a terminated one does not."""
    env, agent, obs = trained(name)
    exact = np.broadcast_to(PROBES[name].action_value(obs, jnp.zeros_like(obs), GAMMA), len(obs))
    found = agents.values(AGENT, env.spec, agent, agent.params["critic"], obs)
    np.testing.assert_allclose(found, exact, atol=0.03 * max(1.0, np.abs(exact).max()))


@pytest.mark.parametrize("name", ["probe-action-v0", "probe-match-v0"])
def test_the_policy_takes_the_best_action(name):
    env, agent, obs = trained(name)
    best = 0.5 * (obs if name == "probe-match-v0" else jnp.ones_like(obs))
    action = rollouts.first_action(KEY, agents.mode(AGENT, env.spec, agent), obs)
    np.testing.assert_allclose(action, best, atol=0.08)


def by_recursion(batch, value, following):
    """The advantages row by row from the end, in double precision."""
    found, later = np.zeros(value.shape), np.zeros(value.shape[1])
    for t in reversed(range(len(value))):
        delta = batch.reward[t] + GAMMA * batch.discount[t] * following[t] - value[t]
        later = delta + GAMMA * batch.discount[t] * 0.9 * np.where(batch.truncated[t], 0.0, later)
        found[t] = later
    return found


def test_an_update_is_adam_on_the_gradients_of_the_formulas(promoting):
    spec, batch = envs.make("probe-match-v0").spec, fragment()
    agent = agents.make(AGENT, spec)
    old = fragments.renewed(agent.init(KEY), batch.obs)
    new, info = jax.jit(agent.update)(KEY, old, jax.tree.map(lambda x: x[None], batch))

    def scale(x):
        return (x - old.seen.mean[None, None]) / old.seen.std[None, None]

    def forward(params, x):
        layers = params["params"]
        hidden = jnp.tanh(x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"][None, None])
        return hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"][None, None]

    def value(params, obs):
        return forward(params, scale(obs))[..., 0]

    now, following = (np.asarray(value(old.params["critic"], x), np.float64) for x in (batch.obs, batch.next_obs))
    advantage = by_recursion(jax.tree.map(np.asarray, batch), now, following)
    scaled = (advantage - advantage.mean()) / advantage.std()

    def actor_loss(params):
        mean, std = forward(params["mean"], scale(batch.obs)), jnp.exp(params["log_std"])[None, None]
        density = jnp.exp(-0.5 * ((batch.action - mean) / std) ** 2) / (std * jnp.sqrt(2 * jnp.pi))
        return -(jnp.log(density)[..., 0] * scaled).mean()

    def critic_loss(params):
        return 0.5 * ((value(params, batch.obs) - (advantage + now)) ** 2).mean()

    for name, loss, rate in (("actor", actor_loss, 3e-3), ("critic", critic_loss, 5e-3)):
        grads = jax.grad(loss)(old.params[name])
        rule = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate))
        step, _ = rule.update(grads, rule.init(old.params[name]))
        expected = optax.apply_updates(old.params[name], step)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), new.params[name], expected)
        np.testing.assert_allclose(info[f"a2c/{name}_loss"][0], loss(old.params[name]), rtol=1e-4, atol=1e-6)


def test_statistics_in_pieces_are_those_of_all_rows():
    rows = np.random.default_rng(0).normal(3.0, [0.1, 5.0], (60, 2))
    with jax.enable_x64(True):
        seen = normalise.running(2)
        for piece in np.split(rows, [7, 20, 21]):
            seen = jax.jit(normalise.observed)(seen, jnp.asarray(piece))
    np.testing.assert_allclose(seen.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(seen.std, rows.std(axis=0), rtol=1e-12)
    assert float(seen.rows) == 60


def test_entries_that_never_varied_are_not_scaled():
    seen = normalise.observed(normalise.running(1), jnp.full((5, 1), 7.0))
    np.testing.assert_array_equal(seen.scaler.forward(jnp.array([8.0])), [1.0])


@pytest.mark.parametrize("changes", [{"environments": 0}, {"fragment": 0}, {"fragments": 0}])
def test_impossible_sizes_of_the_fragments_are_refused(changes):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        a2c.Config(**changes)


def test_the_loop_learns_from_every_environment_and_counts_their_steps():
    env = envs.make("probe-truncation-v0")
    config = a2c.Config(steps=200, environments=4, fragment=25, agent=AGENT)
    algorithm = a2c.make(config, env)
    state, info = jax.jit(lambda k: algorithm.step(k, algorithm.init(k)))(KEY)
    assert algorithm.env_steps == 100 and state.agent.seen.rows == 100
    limit = env.spec.time_limit
    assert info["train/episodes"] == 4 * (25 // limit) and info["train/length"] == limit
