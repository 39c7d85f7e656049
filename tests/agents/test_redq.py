"""REDQ as a learner: subsets by enumeration, one update taken apart."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import probing
import pytest
from scipy import stats

from mbrl_jax.agents import redq, sac
from mbrl_jax.networks import MLP, tanh_gaussian

SPEC, GAMMA = probing.SPEC, 0.9
SMALL = sac.Config(hidden=(8,), critics=4, actor_lr=1e-3, critic_lr=2e-3, temperature_lr=3e-3, gamma=GAMMA, tau=0.3)
CONSTANTS = np.array([4.0, 1.0, 8.0, 2.0])


@pytest.fixture(scope="module")
def state():
    return redq.make(SMALL, SPEC).init(jax.random.key(0))


@pytest.fixture(scope="module")
def still(state):
    """Target critics that are constants, and no entropy bonus."""
    zero = jax.tree.map(jnp.zeros_like, state.target)["params"]
    last = {**zero["Dense_1"], "bias": jnp.asarray(CONSTANTS, jnp.float32)[:, None]}
    params = {**state.params, "log_temperature": jnp.float32(-40.0)}
    return state._replace(target={"params": {**zero, "Dense_1": last}}, params=params)


def test_average_targets_take_the_mean_over_all(still):
    batch = probing.random_batch((6,))
    y = redq.average_targets(SMALL, SPEC)(jax.random.key(1), still, batch).target
    np.testing.assert_allclose(y, batch.reward + GAMMA * batch.discount * CONSTANTS.mean(), rtol=1e-6)


@pytest.mark.parametrize("subset", [1, 2, 3, 4])
def test_targets_take_the_minimum_over_uniform_subsets(still, subset):
    """Each target is one subset's minimum, as often as enumeration says."""
    batch = probing.random_batch((6,))
    targets = redq.subset_targets(SMALL, SPEC, subset)
    draws = 3000
    y = jax.jit(jax.vmap(lambda k: targets(k, still, batch).target))(jax.random.split(jax.random.key(1), draws))
    ended = np.asarray(batch.discount) == 0
    np.testing.assert_allclose(y[:, ended], np.tile(batch.reward[ended], (draws, 1)), rtol=1e-6)
    minima = ((np.asarray(y) - np.asarray(batch.reward)) / GAMMA)[:, ~ended]
    np.testing.assert_allclose(minima, minima[:, :1] * np.ones(minima.shape[1]), rtol=1e-5)  # one subset per batch
    exact = [min(chosen) for chosen in itertools.combinations(CONSTANTS, subset)]
    values, counts = np.unique(np.round(minima[:, 0], 3), return_counts=True)
    np.testing.assert_allclose(values, np.unique(exact), rtol=1e-4)
    expected = [draws * np.mean(np.isclose(exact, v)) for v in values]
    assert len(values) == 1 or stats.chisquare(counts, expected).pvalue > 1e-3
    np.testing.assert_allclose(minima.mean(), np.mean(exact), atol=4 * np.std(exact) / np.sqrt(draws) + 1e-4)


def written_out(key, state, batches):
    """Each critic by itself on every batch, targets following; then actor and temperature once, by the mean critic."""
    actor, critic = MLP((8,), 2), MLP((8,), 1)

    def member(tree, i):
        return jax.tree.map(lambda leaf: leaf[i], tree)

    def value(p, obs, action):
        return critic.apply(p, jnp.concatenate([obs, action], axis=-1))[:, 0]

    def draw(p, k, obs):
        return tanh_gaussian(actor.apply(p, obs)).sample_and_log_prob(seed=k)

    k_critic, k_policy = jax.random.split(key)
    own, target = ([member(tree, i) for i in range(4)] for tree in (state.params["critic"], state.target))
    opts, adam = [optax.adam(2e-3).init(p) for p in own], optax.adam(2e-3)
    alpha = jnp.exp(state.params["log_temperature"])
    for t, k in enumerate(jax.random.split(k_critic, batches.reward.shape[0])):
        batch = jax.tree.map(lambda x: x[t], batches)  # noqa: B023
        action, log_prob = draw(state.params["actor"], jax.random.split(k)[1], batch.next_obs)
        smallest = jnp.stack([value(p, batch.next_obs, action) for p in target]).min(axis=0)
        y = batch.reward + GAMMA * batch.discount * (smallest - alpha * log_prob)
        for i in range(4):

            def loss(p):
                return (0.5 * (value(p, batch.obs, batch.action) - y) ** 2).mean()  # noqa: B023

            updates, opts[i] = adam.update(jax.grad(loss)(own[i]), opts[i])
            own[i] = optax.apply_updates(own[i], updates)
        target = [jax.tree.map(lambda a, b: 0.7 * a + 0.3 * b, old, new) for old, new in zip(target, own, strict=True)]

    def actor_loss(p):
        action, log_prob = draw(p, k_policy, batch.obs)
        return (alpha * log_prob - sum(value(q, batch.obs, action) for q in own) / 4).mean()

    log_prob = draw(state.params["actor"], k_policy, batch.obs)[1]
    losses = {"actor": (actor_loss, 1e-3), "log_temperature": (lambda t: -(t * (log_prob - 1.0)).mean(), 3e-3)}
    params = {"critic": jax.tree.map(lambda *x: jnp.stack(x), *own)}
    for name, (loss, rate) in losses.items():
        old = state.params[name]
        updates, _ = optax.adam(rate).update(jax.grad(loss)(old), optax.adam(rate).init(old))
        params[name] = optax.apply_updates(old, updates)
    return params, jax.tree.map(lambda *x: jnp.stack(x), *target)


def test_one_update_is_each_critic_by_itself_then_the_policy_once(state):
    """With all critics in the subset nothing is random but the actions."""
    state = state._replace(target=jax.tree.map(lambda x: x + 0.1, state.target))
    batches, key = probing.random_batch((2, 16)), jax.random.key(5)
    found, info = jax.jit(redq.make(SMALL, SPEC, subset=4, policy_delay=2).update)(key, state, batches)

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)

    jax.tree.map(close, (found.params, found.target), jax.jit(written_out)(key, state, batches))
    assert all(v.shape == () and np.isfinite(v) for v in info.values())
    assert [int(opt[0].count) for opt in found.opt] == [2, 1]


def test_only_the_critics_drawn_are_computed(state):
    """The target's network products are those of a pair, not of all critics."""
    update = jax.make_jaxpr(redq.subset_targets(SMALL, SPEC, 2))
    text = str(update(jax.random.key(0), state, probing.random_batch((16,))))
    assert "f32[2,16,8]" in text and "f32[4,16,8]" not in text


@pytest.mark.parametrize("subset", [0, 5])
def test_impossible_subsets_are_refused(subset):
    with pytest.raises(ValueError, match=f"1 <= subset <= critics, got subset={subset}, critics=4"):
        redq.make(SMALL, SPEC, subset)
