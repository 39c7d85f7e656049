"""Soft actor-critic as a learner: one update taken apart, value expansion."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probing
import pytest
from scipy import integrate, stats

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import sac
from mbrl_jax.envs.probes import LENGTH, PROBES
from mbrl_jax.networks import MLP, tanh_gaussian
from mbrl_jax.objectives import actor_critic as objectives
from mbrl_jax.types import Transition

SPEC = rollouts.normalised(envs.make("probe-match-v0")).spec
SMALL = sac.Config(hidden=(8,), actor_lr=1e-3, critic_lr=2e-3, temperature_lr=3e-3, gamma=0.9, tau=0.3)
GAMMA = 0.9


def random_batch(n, seed=0):
    return probing.random_batch((n,), seed)


def three_separate_updates(key, params, target, opts, batch):
    """The update written out: three losses of their own parameters, three Adams, then the target critics."""
    actor, critic = MLP((8,), 2), MLP((8,), 1)
    k_target, k_actor = jax.random.split(key)
    temperature = jnp.exp(params["log_temperature"])

    def values(p, obs, action):
        x = jnp.concatenate([obs, action], axis=-1)
        return jnp.stack([critic.apply(jax.tree.map(lambda leaf: leaf[i], p), x)[:, 0] for i in range(2)])  # noqa: B023

    def draw(p, k, obs):
        return tanh_gaussian(actor.apply(p, obs)).sample_and_log_prob(seed=k)

    next_action, next_log_prob = draw(params["actor"], k_target, batch.next_obs)
    next_value = values(target, batch.next_obs, next_action)
    y = objectives.soft_target(batch.reward, GAMMA * batch.discount, next_value, next_log_prob, temperature)
    log_prob = draw(params["actor"], k_actor, batch.obs)[1]

    def actor_loss(p):
        action, own = draw(p, k_actor, batch.obs)
        return objectives.actor_loss(own, values(params["critic"], batch.obs, action), temperature).mean()

    losses = {
        "actor": actor_loss,
        "critic": lambda p: objectives.critic_loss(values(p, batch.obs, batch.action), y).mean(axis=1).sum(),
        "log_temperature": lambda p: objectives.temperature_loss(p, log_prob, -1.0).mean(),
    }
    rates = {"actor": 1e-3, "critic": 2e-3, "log_temperature": 3e-3}
    new, new_opts = {}, {}
    for name, loss in losses.items():
        updates, new_opts[name] = optax.adam(rates[name]).update(jax.grad(loss)(params[name]), opts[name])
        new[name] = optax.apply_updates(params[name], updates)
    target = jax.tree.map(lambda old, online: 0.7 * old + 0.3 * online, target, new["critic"])
    return new, target, new_opts


def test_one_update_is_three_separate_ones_then_the_targets():
    learner = sac.make(SMALL, SPEC)
    state = learner.init(jax.random.key(0))
    params, target = state.params, jax.tree.map(lambda x: x + 0.1, state.target)
    state = state._replace(target=target)
    opts = {name: optax.adam(1.0).init(params[name]) for name in params}
    update, separate = jax.jit(learner.update), jax.jit(three_separate_updates)
    for t in range(3):
        key, batch = jax.random.key(t), random_batch(16, t)
        state, info = update(key, state, jax.tree.map(lambda x: x[None], batch))
        params, target, opts = separate(jax.random.split(key, 1)[0], params, target, opts, batch)

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)

    jax.tree.map(close, (state.params, state.target), (params, target))
    assert all(v.shape == (1,) and np.isfinite(v).all() for v in info.values())


def test_a_fresh_state_has_targets_equal_to_critics_that_differ_from_each_other():
    state = sac.make(SMALL, SPEC).init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.target, state.params["critic"])
    kernel = state.target["params"]["Dense_0"]["kernel"]
    assert not np.allclose(kernel[0], kernel[1])
    assert state.params["log_temperature"] == 0.0
    with_copy = jax.tree.leaves(state.target)[0].unsafe_buffer_pointer()
    assert with_copy != jax.tree.leaves(state.params["critic"])[0].unsafe_buffer_pointer()  # donation needs it


def test_the_mode_is_the_squashed_mean_and_actions_spread_around_it():
    state = sac.make(SMALL, SPEC).init(jax.random.key(0))
    obs = jnp.zeros((2000, 1))
    outputs = MLP((8,), 2).apply(state.params["actor"], obs)
    mode = rollouts.first_action(jax.random.key(1), sac.mode(SMALL, SPEC, state), obs)
    np.testing.assert_allclose(mode, np.tanh(outputs[:, :1]), rtol=1e-6)
    draws = np.arctanh(
        np.asarray(rollouts.first_action(jax.random.key(1), sac.act(SMALL, SPEC, state), obs), np.float64)
    )[:, 0]
    assert stats.kstest(draws, stats.norm(outputs[0, 0], np.exp(outputs[0, 1])).cdf).pvalue > 1e-3


def countdown_model(key, obs, action):
    """The termination probe's own dynamics, exact: reward 1 per step until the observation reaches 1."""
    del key, action
    next_obs = obs + 1 / LENGTH
    ended = PROBES["probe-termination-v0"].terminal(next_obs)
    return next_obs, jnp.ones(obs.shape[0]), 1.0 - ended.astype(jnp.float32)


def constant_networks(state, value):
    """A state whose critics are constant and whose policy is tanh of a standard normal everywhere."""
    zero = jax.tree.map(jnp.zeros_like, state)
    bias = jnp.full_like(zero.target["params"]["Dense_1"]["bias"], value)
    target = {"params": {**zero.target["params"], "Dense_1": {**zero.target["params"]["Dense_1"], "bias": bias}}}
    return zero._replace(target=target)


def entropy_of_tanh_normal():
    def log_det(u):
        return stats.norm.pdf(u) * np.log1p(-(np.tanh(u) ** 2))

    return stats.norm.entropy() + integrate.quad(log_det, -9, 9)[0]


@pytest.mark.parametrize("horizon", [0, 2, 10])
def test_value_expansion_with_the_true_model_is_exact(horizon):
    """From observation 0.2 with terminal steps ahead; α enters at every imagined state through the exact entropy."""
    closing, batch, log_temperature = 7.0, 4000, np.log(0.5)
    state = constant_networks(sac.make(SMALL, SPEC).init(jax.random.key(0)), closing)
    state = state._replace(params={**state.params, "log_temperature": jnp.float32(log_temperature)})
    first = jnp.full((batch, 1), 0.2)
    real = Transition(
        first, jnp.zeros((batch, 1)), jnp.ones(batch), jnp.ones(batch), first + 1 / LENGTH, jnp.zeros(batch, bool)
    )
    targets = jax.jit(sac.expansion(SMALL, SPEC, rollouts.memoryless(countdown_model), horizon))
    fit = jax.tree.map(
        lambda x: np.asarray(x).reshape(horizon + 1, batch, *x.shape[1:]), targets(jax.random.key(1), state, real)
    )
    bonus = 0.5 * entropy_of_tanh_normal()
    # Step i starts at 0.2 (1 + i); the step from 0.8 (i = 3) terminates; nothing after it counts.
    alive = [i <= 3 for i in range(horizon + 1)]
    exact, later = np.zeros(horizon + 1), closing + bonus
    for i in reversed(range(horizon + 1)):
        exact[i] = 1.0 + (0.0 if i == 3 else GAMMA) * later
        later = exact[i] + bonus
    np.testing.assert_array_equal(fit.weight, np.stack([np.full(batch, float(a)) for a in alive]))
    for i in range(horizon + 1):
        if alive[i]:
            np.testing.assert_allclose(fit.obs[i], 0.2 * (1 + i), rtol=1e-5)
            error = fit.target[i].std() / np.sqrt(batch)
            np.testing.assert_allclose(fit.target[i].mean(), exact[i], atol=4 * error + 1e-5)


def test_no_steps_of_expansion_are_the_one_step_targets():
    state = constant_networks(sac.make(SMALL, SPEC).init(jax.random.key(0)), 3.0)
    state = state._replace(params={**state.params, "log_temperature": jnp.float32(-40.0)})
    batch = random_batch(6)
    one = sac.bootstrap(SMALL, SPEC)(jax.random.key(0), state, batch)
    none = sac.expansion(SMALL, SPEC, rollouts.memoryless(countdown_model), 0)(jax.random.key(0), state, batch)
    last_bit = 2 * np.finfo(np.float32).eps  # the two sums round once in different places
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=last_bit), one, none)
    np.testing.assert_allclose(one.target, batch.reward + GAMMA * 3.0 * batch.discount, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"hidden": ()}, r"hidden must name at least one positive width, got \(\)"),
        ({"hidden": (0,)}, "hidden"),
        ({"critics": 0}, "critics must be at least 1, got 0"),
        ({"gamma": 1.1}, r"gamma must lie in \[0, 1\], got 1.1"),
        ({"tau": 0.0}, r"tau must lie in \(0, 1\], got 0.0"),
        ({"initial_temperature": 0.0}, "initial_temperature must be positive, got 0.0"),
    ],
)
def test_impossible_configurations_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        sac.Config(**changes)
