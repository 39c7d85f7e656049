"""TD3 as a learner: targets by hand, one update taken apart, delays."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probing
import pytest
from scipy import stats

from mbrl_jax import rollouts
from mbrl_jax.agents import td3
from mbrl_jax.networks import MLP

SPEC, GAMMA = probing.SPEC, 0.9
SMALL = td3.Config(hidden=(8,), actor_lr=1e-3, critic_lr=2e-3, gamma=GAMMA, tau=0.3, policy_delay=3)


def linear_critics(state, slopes, biases):
    """Target critics of the form slope · relu(a + 1) + bias for actions in [-1, 1], and a target policy that is 0.8."""
    zero = jax.tree.map(jnp.zeros_like, state.target)
    critic = {
        "Dense_0": dict(zero["critic"]["params"]["Dense_0"]),
        "Dense_1": dict(zero["critic"]["params"]["Dense_1"]),
    }
    critic["Dense_0"]["kernel"] = critic["Dense_0"]["kernel"].at[:, 1, 0].set(1.0)
    critic["Dense_0"]["bias"] = critic["Dense_0"]["bias"].at[:, 0].set(1.0)
    critic["Dense_1"]["kernel"] = critic["Dense_1"]["kernel"].at[:, 0, 0].set(jnp.array(slopes))
    critic["Dense_1"]["bias"] = critic["Dense_1"]["bias"].at[:, 0].set(jnp.array(biases))
    actor = {name: dict(layer) for name, layer in zero["actor"]["params"].items()}
    actor["Dense_1"]["bias"] = actor["Dense_1"]["bias"] + np.float32(np.arctanh(0.8))
    return {"actor": {"params": actor}, "critic": {"params": critic}}


@pytest.fixture(scope="module")
def state():
    return td3.make(SMALL, SPEC).init(jax.random.key(0))


def test_targets_without_noise_by_hand(state):
    """At a' = 0.8 the critics are 1.8 · 2 + 1 = 4.6 and 1.8 · 5 − 6 = 3: the second one counts."""
    target = linear_critics(state, [2.0, 5.0], [1.0, -6.0])
    batch = probing.random_batch((6,))
    y = td3.targets(replace(SMALL, policy_noise=0.0), SPEC, jax.random.key(0), target, batch)
    np.testing.assert_allclose(y, batch.reward + GAMMA * batch.discount * 3.0, rtol=1e-5)


def test_the_smoothed_action_has_the_clipped_gaussians_distribution(state):
    """a' = clip(0.8 + clip(ε, ±0.5), ±1) seen through the critic a' + 1; ε is drawn for every row and key anew."""
    target = linear_critics(state, [1.0, 1.0], [0.0, 0.0])
    batch = probing.random_batch((5000,))._replace(reward=jnp.zeros(5000), discount=jnp.ones(5000))

    def draw(seed):
        return td3.targets(SMALL, SPEC, jax.random.key(seed), target, batch) / GAMMA - 1.0

    action = np.asarray(draw(1), np.float64)
    assert not np.allclose(action, draw(2))
    noise = stats.norm(scale=0.2)
    for share, exact in (
        (action > 1 - 1e-5, noise.sf(0.2)),  # clipped to the action's range
        (np.abs(action - 0.3) < 1e-5, noise.cdf(-0.5)),  # clipped noise
        (action < 0.8, 0.5),
    ):
        assert abs(share.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / 5000)
    inner = action[(action > 0.31) & (action < 0.99)]
    low, high = noise.cdf([0.31 - 0.8, 0.99 - 0.8])
    assert stats.kstest((noise.cdf(inner - 0.8) - low) / (high - low), "uniform").pvalue > 1e-3


def written_out(key, state, batches):
    """Three updates of each critic by itself, then the actor by the first critic, then all targets."""
    actor, critic = MLP((8,), 1), MLP((8,), 1)

    def member(tree, i):
        return jax.tree.map(lambda leaf: leaf[i], tree)

    def value(p, obs, action):
        return critic.apply(p, jnp.concatenate([obs, action], axis=-1))[:, 0]

    k_critic, _ = jax.random.split(key)
    own = [member(state.params["critic"], i) for i in range(2)]
    opts = [optax.adam(2e-3).init(p) for p in own]
    for t, k in enumerate(jax.random.split(k_critic, 3)):
        batch = jax.tree.map(lambda x: x[t], batches)  # noqa: B023
        noise = jnp.clip(0.2 * jax.random.normal(k, (16, 1)), -0.5, 0.5)
        action = jnp.clip(jnp.tanh(actor.apply(state.target["actor"], batch.next_obs)) + noise, -1, 1)
        both = [value(member(state.target["critic"], i), batch.next_obs, action) for i in range(2)]
        y = batch.reward + GAMMA * batch.discount * jnp.minimum(*both)
        for i in range(2):

            def loss(p):
                return (0.5 * (value(p, batch.obs, batch.action) - y) ** 2).mean()  # noqa: B023

            updates, opts[i] = optax.adam(2e-3).update(jax.grad(loss)(own[i]), opts[i])
            own[i] = optax.apply_updates(own[i], updates)

    def loss(p):
        return -value(own[0], batch.obs, jnp.tanh(actor.apply(p, batch.obs))).mean()

    old = state.params["actor"]
    updates, _ = optax.adam(1e-3).update(jax.grad(loss)(old), optax.adam(1e-3).init(old))
    params = {"actor": optax.apply_updates(old, updates), "critic": jax.tree.map(lambda *x: jnp.stack(x), *own)}
    return params, jax.tree.map(lambda old, new: 0.7 * old + 0.3 * new, state.target, params)


def test_one_update_is_three_of_each_critic_then_one_of_the_actor_and_the_targets(state):
    state = state._replace(target=jax.tree.map(lambda x: x + 0.1, state.target))
    batches, key = probing.random_batch((3, 16)), jax.random.key(5)
    found, info = jax.jit(td3.make(SMALL, SPEC).update)(key, state, batches)

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)

    jax.tree.map(close, (found.params, found.target), jax.jit(written_out)(key, state, batches))
    assert all(v.shape == () and np.isfinite(v) for v in info.values())
    assert (int(found.opt["critic"][0].count), int(found.opt["actor"][0].count)) == (3, 1)


def test_a_fresh_state_has_targets_of_its_own_equal_to_the_networks(state):
    jax.tree.map(np.testing.assert_array_equal, state.target, state.params)
    kernel = state.params["critic"]["params"]["Dense_0"]["kernel"]
    assert not np.allclose(kernel[0], kernel[1])
    pointers = [[x.unsafe_buffer_pointer() for x in jax.tree.leaves(t)] for t in (state.target, state.params)]
    assert not set(pointers[0]) & set(pointers[1])  # donation needs it


def test_exploration_is_gaussian_around_the_policy_and_clipped(state):
    obs = jnp.full((4000, 1), 0.3)
    mean = np.asarray(rollouts.first_action(jax.random.key(0), td3.mode(SMALL, SPEC, state), obs), np.float64)[0, 0]
    taken = np.asarray(rollouts.first_action(jax.random.key(0), td3.act(SMALL, SPEC, state), obs), np.float64)[:, 0]
    assert stats.kstest(taken, stats.norm(mean, 0.1).cdf).pvalue > 1e-3
    wild = rollouts.first_action(jax.random.key(0), td3.act(replace(SMALL, exploration_noise=5.0), SPEC, state), obs)
    assert np.abs(wild).max() == 1.0 and (np.abs(wild) == 1.0).mean() > 0.7


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"hidden": ()}, "hidden"),
        ({"critics": 0}, "critics"),
        ({"gamma": -0.1}, r"gamma must lie in \[0, 1\], got -0.1"),
        ({"tau": 1.5}, r"tau must lie in \(0, 1\], got 1.5"),
        ({"policy_delay": 0}, "policy_delay must be at least 1, got 0"),
        ({"noise_clip": -0.1}, "noise_clip must be a finite number, not negative, got -0.1"),
        ({"policy_noise": -1}, "policy_noise"),
        ({"exploration_noise": -1.0}, "exploration_noise"),
    ],
)
def test_impossible_configurations_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        td3.Config(**changes)
