"""The multi-step model: its loss against NumPy, its gradient, what an update does, and when its units die."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.models import multi_step, value_losses
from mbrl_jax.objectives import value_aware
from mbrl_jax.types import Shared, Storage, Transition

ENV = rollouts.normalised(envs.make("mbbl_pendulum-v0"))
SPEC = ENV.spec
CONFIG = multi_step.Config(hidden=(16, 16), initial_std=0.3)
KEY = jax.random.key(0)


@functools.cache
def data():
    """Steps of the random policy in a replay, the last one cut off."""
    memory = replay.make(SPEC, 1000)
    stored = jax.jit(lambda k: rollouts.collect(k, ENV, memory, rollouts.uniform(SPEC), 1000)[1])(KEY)
    return stored._replace(rows=Storage(stored.rows.value.at[-1, -1].set(1.0)))


def windows(batch=12, horizon=2):
    return jax.jit(lambda stored: replay.sample_consecutive(KEY, stored, SPEC, (batch,), horizon))(data())


def make(config=CONFIG, objective=multi_step.change_norm, value=None):
    """The model and its state with the statistics of the data."""
    given = {} if value is None else {"value": value}
    model = multi_step.make(config, SPEC, ENV.reward, ENV.terminal, objective, **given)
    rows = unpack(data().rows.value, SPEC)
    return model, jax.jit(lambda key: multi_step.renewed(model.init(key), rows))(KEY)


@jax.jit
def predict(state, obs, action):
    """ŝ' of the package."""
    return multi_step.next_obs(CONFIG, SPEC, state, state.params, obs, action)


def forward(state, obs, action):
    """ŝ' in NumPy, double precision."""
    layers = [state.params["params"][f"Dense_{i}"] for i in range(3)]
    mean, std = np.float64(state.obs.mean), np.float64(state.obs.std)
    x = np.concatenate([(obs - mean) / std, np.clip(action, -1, 1)], axis=-1)
    for i, layer in enumerate(layers):
        x = x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
        x = np.maximum(x, 0) if i < 2 else x
    found = obs + np.float64(state.change.std) * x + np.float64(state.change.mean)
    return mean + std * np.clip((found - mean) / std, -100, 100)


def by_numpy(state, batch):
    """SLBO's multi_step_loss.py: each step goes on from the prediction, or, after an end, from the next real row."""
    batch = jax.tree.map(lambda x: np.asarray(x, np.float64), batch)
    start, total = batch.obs[0], 0.0
    for h in range(len(batch.obs)):
        end = forward(state, start, batch.action[h])
        error = (end - start - batch.next_obs[h] + batch.obs[h]) / np.maximum(np.float64(state.change.std), 1e-6)
        total += np.sqrt((error**2).mean(axis=-1)).mean() / len(batch.obs)
        if h + 1 < len(batch.obs):
            going = ((batch.discount[h] == 1) & (batch.truncated[h] == 0))[:, None]
            start = batch.obs[h + 1] + going * (end - batch.obs[h + 1])
    return total


def loss_of(config, state, batch, value=None, objective=multi_step.change_norm):
    @jax.jit
    def loss(state, batch):
        return objective(config, multi_step.predicted(config, SPEC, state, state.params, batch), batch, value)

    return loss(state, batch)


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_the_loss_is_that_of_the_released_code(horizon):
    config, batch = replace(CONFIG, horizon=horizon), windows(horizon=horizon)
    if horizon > 1:
        batch = batch._replace(truncated=batch.truncated.at[0, 0].set(True), discount=batch.discount.at[0, 1].set(0.0))
    state = make(config)[1]
    np.testing.assert_allclose(loss_of(config, state, batch), by_numpy(state, batch), rtol=2e-5)


def test_a_step_after_an_end_counts_as_a_first_one():
    """Where all episodes end in between, the mean over both steps is that over twice as many windows of one."""
    batch, state = windows(), make()[1]
    cut = batch._replace(truncated=batch.truncated.at[0].set(True))
    ones = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), cut)
    one = loss_of(replace(CONFIG, horizon=1), state, ones)
    np.testing.assert_allclose(loss_of(CONFIG, state, cut), one, rtol=1e-6)
    going = batch._replace(truncated=jnp.zeros_like(batch.truncated))
    assert abs(loss_of(CONFIG, state, going) - one) > 1e-4


def test_a_perfect_model_has_no_loss_and_a_finite_gradient():
    state, config, batch = make()[1], replace(CONFIG, horizon=3), windows(horizon=3)
    obs, rows = batch.obs[0], []
    for h in range(3):
        after = predict(state, obs, batch.action[h])
        rows.append((obs, after))
        obs = after
    truth = batch._replace(
        obs=jnp.stack([before for before, _ in rows]),
        next_obs=jnp.stack([after for _, after in rows]),
        truncated=jnp.zeros_like(batch.truncated),
    )

    def loss(params):
        return loss_of(config, state._replace(params=params), truth)

    found, grads = jax.jit(jax.value_and_grad(loss))(state.params)
    assert found < 1e-9
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_gradients_flow_through_the_state_that_is_rolled_on():
    """Against differences of the NumPy loss along a random direction."""
    batch = windows()._replace(truncated=jnp.zeros((2, 12), bool))
    state = make()[1]
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), state.params)

    def at(step):
        moved = jax.tree.map(lambda p, d: np.float64(p) + step * d, state.params, direction)
        return by_numpy(state._replace(params=moved), batch)

    def loss(params):
        return loss_of(CONFIG, state._replace(params=params), batch)

    grads = jax.jit(jax.grad(loss))(state.params)
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: float((np.float64(g) * d).sum()), grads, direction)))
    np.testing.assert_allclose(slope, (at(1e-6) - at(-1e-6)) / 2e-6, rtol=1e-3)


def test_at_first_the_mean_change_is_predicted():
    state, batch = make(replace(CONFIG, initial_std=1e-5))[1], windows()
    after = predict(state, batch.obs, batch.action)
    expected = np.asarray(batch.obs) + np.asarray(state.change.mean)
    np.testing.assert_allclose(after, expected, atol=2e-6 * np.abs(expected).max())


def test_predictions_stay_within_a_hundred_deviations():
    state = make()[1]
    far = jnp.full((1, SPEC.obs_dim), 1e6)
    after = predict(state, far, jnp.zeros((1, 1)))
    np.testing.assert_allclose(after[0], state.obs.mean + 100 * state.obs.std, rtol=1e-5)


def test_an_update_clips_the_gradient_with_the_decay_in_it():
    config = replace(CONFIG, decay=0.5, clip=0.1)
    model, state = make(config)
    batch = windows()
    new, info = jax.jit(model.update)(KEY, state, jax.tree.map(lambda x: x[None], batch))

    def loss(params):
        return loss_of(config, state._replace(params=params), batch)

    found, grads = jax.jit(jax.value_and_grad(loss))(state.params)
    grads = jax.tree.map(lambda g, p: np.float64(g) + 0.5 * np.float64(p), grads, state.params)
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
    assert norm > 0.1
    np.testing.assert_allclose(info["model/loss"][0], found, rtol=1e-5)

    def stepped(p, g):
        g = g * 0.1 / norm
        rate = 1e-3 * np.sqrt(1 - 0.999) / (1 - 0.9)
        return p - rate * 0.1 * g / (np.sqrt(0.001) * np.abs(g) + 1e-8)

    expected = jax.tree.map(stepped, state.params, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), new.params, expected)


def test_a_unit_is_alive_while_some_weight_leads_to_it():
    _, state = make()
    params = state.params
    assert multi_step.alive(params) == 1.0
    kernel = params["params"]["Dense_0"]["kernel"].at[:, :4].set(1e-7)
    params = {"params": {**params["params"], "Dense_0": {**params["params"]["Dense_0"], "kernel": kernel}}}
    assert multi_step.alive(params) == 1 - 4 / 32


def value(obs):
    """Some value, of the scale of returns."""
    return 100.0 * jnp.tanh(obs @ jnp.arange(1.0, 1.0 + SPEC.obs_dim))


def largest(params):
    layers = params["params"]
    return max(float(jnp.abs(layers[name]["kernel"]).max()) for name in layers)


@pytest.mark.parametrize(("objective", "weight"), [(value_losses.vaml, 1e-10), (multi_step.change_norm, 1.0)])
def test_a_loss_that_decay_outweighs_kills_the_model(objective, weight):
    """Modhe et al.'s weights of VAML leave nothing but the mean change; SLBO's loss learns from the same start."""
    config = multi_step.Config(hidden=(200, 200), horizon=1, weight=weight)
    model, state = make(config, objective, value)

    @jax.jit
    def run(state):
        drawn = replay.sample_consecutive(KEY, data(), SPEC, (300, 128), 1)
        return model.update(KEY, state, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), drawn))

    state, info = run(state)
    error = float(info["model/rmse"][-20:].mean())
    if objective is value_losses.vaml:
        assert largest(state.params) < 1e-12 and multi_step.alive(state.params) == 0 and 0.9 < error < 1.1
    else:
        assert multi_step.alive(state.params) > 0.5 and error < 0.15


def steps_of(config, state, batch):
    return jax.jit(lambda s, b: multi_step.predicted(config, SPEC, s, s.params, b))(state, batch)


LOSSES = {
    value_losses.advantage_l1: lambda d: np.abs(d[0]).mean(),
    value_losses.vaml: lambda d: (d[0] ** 2).mean(),
    value_losses.advantage_direct_l1: lambda d: np.abs(d[0].mean()),
    value_losses.advantage_direct_l2: lambda d: d[0].mean() ** 2,
}


@pytest.mark.parametrize("objective", list(LOSSES))
def test_value_losses_are_their_formulas(objective):
    """α L + λ VPS: consecutive errors of the values, but where an episode ends in between the first one is none."""
    config, batch = replace(CONFIG, weight=0.5, smoothness=0.25), windows()
    batch = batch._replace(truncated=jnp.zeros((2, 12), bool).at[0, 3].set(True))
    state = make(config)[1]
    found = steps_of(config, state, batch)
    difference = np.asarray(value(batch.next_obs) - value(found.after), np.float64)
    first = np.where(np.arange(12) == 3, 0.0, difference[0])
    expected = 0.5 * LOSSES[objective](difference) + 0.25 * np.abs(difference[1] - first).mean()
    np.testing.assert_allclose(objective(config, found, batch, value), expected, rtol=1e-4)
    one = replace(config, horizon=1, smoothness=0.0)
    np.testing.assert_allclose(objective(one, found, batch, value), 0.5 * LOSSES[objective](difference), rtol=1e-4)


def test_without_ends_the_smoothness_is_that_of_whole_sequences():
    batch = windows(horizon=3)._replace(truncated=jnp.zeros((3, 12), bool))
    rolled = batch._replace(next_obs=jnp.concatenate([batch.obs[1:], batch.next_obs[2:]]))
    config = replace(CONFIG, horizon=3)
    state = make(config)[1]
    found = steps_of(config, state, rolled)
    whole = value_aware.value_predictive_smoothness(value(found.after), value(rolled.next_obs)).mean()
    np.testing.assert_allclose(value_losses.smoothness(found, rolled, value), whole, rtol=1e-5)


def test_values_are_asked_for_where_none_are_given():
    model, state = make(CONFIG, value_losses.vaml)
    with pytest.raises(ValueError, match="objective is of values"):
        model.update(KEY, state, jax.tree.map(lambda x: x[None], windows()))


def test_windows_go_round_the_ring_past_its_youngest_row():
    rows = jnp.zeros((4, 2 * 3 + 1 + 3)).at[:, 0].set(jnp.arange(4.0))
    state = replay.ReplayState(Storage(rows), Shared(jnp.int32(3)), Shared(jnp.int32(3)))
    drawn = replay.sample_consecutive(KEY, state, SPEC, (50,), 2)
    assert isinstance(drawn, Transition) and drawn.obs.shape == (2, 50, 3)
    first, second = np.asarray(drawn.obs[..., 0])
    assert set(first) == {0, 1, 2}
    np.testing.assert_array_equal(second, (first + 1) % 3)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"horizon": 1, "smoothness": 0.1}, "horizon must be at least 2, got 1"),
        ({"hidden": ()}, "hidden must name at least one positive width"),
        ({"decay": -1.0}, "decay must be a finite number, not negative, got -1.0"),
    ],
)
def test_impossible_settings_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        multi_step.Config(**changes)
