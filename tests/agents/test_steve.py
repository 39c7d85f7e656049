"""STEVE's agent and model: targets by loops over their networks, losses by formula, copies, exploration, probes."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import probing
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import steve
from mbrl_jax.models import deterministic
from mbrl_jax.objectives import interpolation
from mbrl_jax.testing import check_agent, check_model
from mbrl_jax.types import Transition

KEY = jax.random.key(0)
SPEC = rollouts.normalised(envs.make("pendulum-v1")).spec
MODEL = deterministic.Config(members=2, hidden=(5,), head_hidden=(4,), decay=0.1)
AGENT = steve.Config(hidden=(6,), critics=3, gamma=0.9, copy_every=2)


def batch(rows=6, seed=0):
    """Random transitions, every third of which has ended."""
    rng = np.random.default_rng(seed)
    obs, next_obs = jnp.asarray(rng.normal(size=(2, rows, 3)), jnp.float32)
    action, reward = jnp.asarray(rng.uniform(-1, 1, (rows, 1)), jnp.float32), jnp.asarray(rng.normal(size=rows))
    discount = (jnp.arange(rows) % 3 > 0).astype(jnp.float32)
    return Transition(obs, action, jnp.float32(reward), discount, next_obs, jnp.zeros(rows, bool))


def stacked(batches, count=2):
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), batches)


@functools.cache
def states():
    """A model, and an agent whose targets are not its critics."""
    model, agent = deterministic.make(MODEL, SPEC).init(KEY), steve.make(AGENT, SPEC).init(KEY)
    return model, agent._replace(target=jax.tree.map(lambda x: 0.5 * x + 0.1, agent.target))


def forward(params, x, i=None):
    """A network with one hidden layer in double precision, the i-th of a stack."""
    layers = [params["params"][f"Dense_{n}"] for n in range(2)]
    (first, bias), (last, offset) = ((each["kernel"], each["bias"]) for each in layers)
    if i is not None:
        first, bias, last, offset = first[i], bias[i], last[i], offset[i]
    return np.maximum(x @ first + bias, 0.0) @ last + offset


def doubles(tree):
    """The same numbers in NumPy's double precision."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def by_loops(model, agent, rows, horizon):
    """All targets of all rows `[horizon + 1, 2, 2, 3, rows]`, one at a time, in double precision."""
    model, actor, target, rows = map(doubles, (model.params, agent.params["actor"], agent.target, rows))
    found = np.zeros((horizon + 1, 2, 2, 3, len(rows.reward)))
    for h, i, j, k, b in np.ndindex(found.shape):
        obs, total, alive = rows.next_obs[b], rows.reward[b], rows.discount[b]
        for m in range(1, h + 1):
            pair = np.concatenate([obs, np.tanh(forward(actor, obs))])
            after = obs + forward(model["change"], pair, i)
            inputs = np.concatenate([after, pair])
            total += 0.9**m * alive * forward(model["reward"], inputs, j)[0]
            alive *= 1.0 - sigmoid(forward(model["end"], inputs, i)[0])
            obs = after
        pair = np.concatenate([obs, np.tanh(forward(actor, obs))])
        found[h, i, j, k, b] = total + 0.9 ** (h + 1) * alive * forward(target, pair, k)[0]
    return found


def test_targets_are_those_of_every_network_one_after_the_other():
    (model, agent), rows = states(), batch()
    found = jax.jit(functools.partial(steve.candidates, AGENT, SPEC, MODEL, model.params, 2, KEY))(agent, rows)
    wanted = by_loops(model, agent, rows, 2).reshape(3, 12, 6)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    target, info = jax.jit(steve.expansion(AGENT, SPEC, MODEL, model.params, 2))(KEY, agent, rows)
    certainty = 1.0 / (wanted.var(axis=1) + 1e-8)
    share = certainty / certainty.sum(axis=0)
    np.testing.assert_allclose(target, (share * wanted.mean(axis=1)).sum(axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(info["steve/model_use"], 1.0 - share[0].mean(), rtol=1e-3, atol=1e-4)


def test_without_roll_outs_they_are_the_targets_without_a_model():
    (model, agent), rows = states(), batch()
    none = jax.jit(steve.expansion(AGENT, SPEC, MODEL, model.params, 0, interpolation.longest))(KEY, agent, rows)[0]
    np.testing.assert_allclose(none, jax.jit(steve.bootstrap(AGENT, SPEC))(KEY, agent, rows)[0], rtol=1e-5)


def test_each_row_is_one_critics_and_the_policy_climbs_their_mean():
    (_, agent), rows, wanted = states(), batch(), np.arange(6.0)
    loss = functools.partial(steve._loss, AGENT, SPEC, batch=rows, target=jnp.asarray(wanted, jnp.float32))
    (found, _), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(agent.params)
    params, rows = doubles(agent.params), doubles(rows)
    pairs = np.concatenate([rows.obs, rows.action], axis=-1)
    errors = [forward(params["critic"], pairs, b // 2)[b, 0] - wanted[b] for b in range(6)]
    raw = forward(params["actor"], rows.obs)
    acting = np.concatenate([rows.obs, np.tanh(raw)], axis=-1)
    value = np.mean([forward(params["critic"], acting, k) for k in range(3)])
    np.testing.assert_allclose(found, 0.5 * np.mean(np.square(errors)) + 1e-3 * np.mean(raw**2) - value, rtol=1e-4)
    # The value is in the loss of the policy alone: the critics' gradient is that of their errors.
    bias = grads["critic"]["params"]["Dense_1"]["bias"][:, 0]
    np.testing.assert_allclose(bias, np.reshape(errors, (3, 2)).sum(axis=1) / 6, rtol=1e-4)


def test_targets_become_the_critics_before_every_so_manyth_update():
    agent, rows = steve.make(AGENT, SPEC), batch()
    update, state = jax.jit(agent.update), agent.init(KEY)
    seen = [state]
    for _ in range(4):
        seen.append(update(KEY, seen[-1], stacked(rows, 1))[0])
    held = [each.target["params"]["Dense_0"]["kernel"] for each in seen[1:]]
    made = [each.params["critic"]["params"]["Dense_0"]["kernel"] for each in seen]
    for target, source in zip(held, (made[0], made[0], made[2], made[2]), strict=True):
        np.testing.assert_array_equal(target, source)


def test_noise_comes_to_some_entries_and_to_none_where_it_is_switched_off():
    _, agent = states()
    obs = jnp.zeros((20_000, 3))
    plain = rollouts.first_action(KEY, steve.mode(AGENT, SPEC, agent), obs)
    noisy = rollouts.first_action(KEY, steve.act(AGENT, SPEC, agent), obs)
    share = float((noisy != plain).mean())
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 20_000)
    noise = (jnp.arctanh(noisy) - jnp.arctanh(plain))[noisy != plain]
    assert abs(float(noise.std()) - 1.0) < 0.1
    never = rollouts.first_action(KEY, steve.act(replace(AGENT, explore_chance=0.0), SPEC, agent), obs)
    np.testing.assert_array_equal(never, plain)


def test_the_models_losses_are_those_of_the_formulas():
    """The decay, which is not among the metrics, is half the square of all weights and biases."""
    (model, _), rows = states(), doubles(batch())
    total, info = jax.jit(functools.partial(deterministic._loss, MODEL, SPEC))(model.params, batch())
    params = doubles(model.params)
    pairs = np.concatenate([rows.obs, rows.action], axis=-1)
    inputs = np.concatenate([rows.next_obs, pairs], axis=-1)
    mine = np.arange(6) // 3  # the first half of the rows is the first member's

    def of_its_member(name, x):
        return np.stack([forward(params[name], x, i) for i in range(2)])[mine, np.arange(6)]

    change = of_its_member("change", pairs) - (rows.next_obs - rows.obs)
    ended = sigmoid(of_its_member("end", inputs)[:, 0])
    entropy = -np.log(np.where(rows.discount == 0, ended, 1.0 - ended))
    reward = of_its_member("reward", inputs)[:, 0] - rows.reward
    wanted = {"loss": 0.5 * (change**2).sum(axis=1), "reward_loss": 0.5 * reward**2, "end_loss": entropy}
    for name, each in wanted.items():
        np.testing.assert_allclose(info[f"model/{name}"], each.mean(), rtol=1e-4)
    square = sum((leaf**2).sum() for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(total, sum(each.mean() for each in wanted.values()) + 0.05 * square, rtol=1e-5)


def test_agent_and_model_keep_their_contracts():
    rows = stacked(batch())
    check_agent(steve.make(AGENT, SPEC), SPEC, rows)
    check_model(deterministic.make(MODEL, SPEC), SPEC, rows)  # its updates are its fit


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: deterministic.dealt(batch(), 4), "a batch must be a multiple of the members, got 6 and 4"),
        (lambda: steve.Config(explore_chance=1.5), r"explore_chance must lie in \[0, 1\], got 1.5"),
        (lambda: steve.Config(copy_every=0), "copy_every must be at least 1, got 0"),
        (lambda: deterministic.Config(members=0), "members must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


PROBED = ("probe-delayed-v0", "probe-truncation-v0", "probe-match-v0")


@functools.cache
def trained():
    config = steve.Config(hidden=(64,), critics=2, gamma=0.9, actor_lr=2e-3, critic_lr=4e-3, copy_every=20)
    return probing.train(steve.make, config, 1000, (1, 128), PROBED)


@pytest.mark.parametrize("name", PROBED)
def test_critics_learn_the_exact_values(name):
    probing.check_values(trained()[name])


def test_the_policy_finds_the_best_action():
    probing.check_policy(trained()["probe-match-v0"], steve.mode)
