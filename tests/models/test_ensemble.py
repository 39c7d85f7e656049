"""Ensembles: the loss, the split, one epoch, the stopping rule, a known system, roll-outs of the elites."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from mbrl_jax.data import normalise
from mbrl_jax.models import ensemble
from mbrl_jax.models.ensemble import fit, model
from mbrl_jax.types import Spec, Transition

SPEC = Spec(
    name="test-v0", engine="jax", obs_dim=2, action_dim=1, action_low=(-1.0,), action_high=(1.0,), time_limit=100
)
TINY = ensemble.Config(members=3, elites=2, hidden=(4,), weight_decay=(0.1, 0.2), batch=8, max_epochs=30)


def transitions(obs, action, reward, next_obs):
    columns = [jnp.asarray(x, jnp.float32) for x in (obs, action, reward, next_obs)]
    ones = jnp.ones(len(reward))
    return Transition(*columns[:3], ones, columns[3], ones < 0)


def random_data(capacity, size, seed=0):
    rng = np.random.default_rng(seed)
    obs, next_obs = rng.normal(size=(2, capacity, 2))
    return ensemble.Data(transitions(obs, rng.uniform(-1, 1, (capacity, 1)), obs[:, 0], next_obs), jnp.int32(size))


def test_a_fresh_ensemble_has_the_released_codes_bounds_and_differing_members():
    state = ensemble.make(TINY, SPEC).init(jax.random.key(0))
    np.testing.assert_array_equal(state.params["max_log_var"], [0.5] * 3)
    np.testing.assert_array_equal(state.params["min_log_var"], [-10.0] * 3)
    kernel = state.params["net"]["params"]["Dense_0"]["kernel"]
    assert kernel.shape == (3, 3, 4)
    assert np.abs(kernel).max() <= 1 / np.sqrt(3)  # two deviations of 1 / (2 sqrt(fan_in))
    assert not np.allclose(kernel[0], kernel[1])


def test_the_loss_is_the_released_codes(rng):
    params = ensemble.make(TINY, SPEC).init(jax.random.key(0)).params
    params = {**params, "max_log_var": jnp.array([0.4, 0.5, 0.6]), "min_log_var": jnp.array([-9.0, -10.0, -11.0])}
    x, y = (jnp.asarray(rng.normal(size=(3, 8, 3)), jnp.float32) for _ in range(2))
    count = 5  # a short last batch
    weight = jnp.broadcast_to(jnp.arange(8) < count, (3, 8)).astype(jnp.float32)
    layers = jax.tree.map(lambda p: np.asarray(p, np.float64), params["net"]["params"])
    high, low = (np.asarray(params[name], np.float64) for name in ("max_log_var", "min_log_var"))

    def softplus(v):
        return np.logaddexp(v, 0)

    exact = 0.01 * (high.sum() - low.sum())
    for m in range(3):
        first, second = ({k: v[m] for k, v in layers[f"Dense_{i}"].items()} for i in range(2))
        hidden = np.asarray(x[m]) @ first["kernel"] + first["bias"]
        out = (hidden / (1 + np.exp(-hidden))) @ second["kernel"] + second["bias"]
        mean, log_var = out[:, :3], out[:, 3:]
        log_var = high - softplus(high - log_var)
        log_var = low + softplus(log_var - low)
        per_entry = (mean - np.asarray(y[m])) ** 2 * np.exp(-log_var) + log_var
        exact += per_entry[:count].mean()
        exact += 0.5 * (0.1 * (first["kernel"] ** 2).sum() + 0.2 * (second["kernel"] ** 2).sum())
    loss = jax.jit(likelihood_loss)(params, x, y, weight)
    np.testing.assert_allclose(loss, exact, rtol=1e-5)


def likelihood_loss(params, x, y, weight):
    """The loss that a fit descends, with nothing known of the rows but inputs and targets."""
    rows = Transition(*(jnp.zeros(()),) * 6)
    batch = fit.Batch(x, y, weight, rows)
    return fit.total_loss(params, TINY, SPEC, ensemble.likelihood, jnp.ones(3), batch)


SPLIT = jax.jit(lambda key, data: fit.split_rows(key, TINY, ensemble.STANDARD, data))


@pytest.mark.parametrize("size", [5, 9, 10, 37, 60])
def test_holdout_and_bootstrap_come_from_separate_rows(size):
    data = random_data(60, size)
    split, inputs, _ = SPLIT(jax.random.key(0), data)
    held = int(0.2 * size)
    holdout = np.asarray(split.holdout)[np.asarray(split.holdout_valid)]
    bootstrap = np.asarray(split.bootstrap)[:, : size - held]
    assert len(set(holdout)) == len(holdout) == held == size - int(split.train_size)
    assert holdout.max() < size and bootstrap.max() < size
    assert not set(holdout) & set(bootstrap.ravel())
    training = np.setdiff1d(np.arange(size), holdout)
    rows = np.concatenate([data.transitions.obs, data.transitions.action], axis=1)[training]
    np.testing.assert_allclose(inputs.mean, rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inputs.std, rows.std(axis=0), rtol=1e-4)


def test_bootstrap_is_uniform_with_replacement_and_differs_between_members_and_calls():
    size = 40
    data = random_data(60, size)
    splits = jax.jit(jax.vmap(lambda key: fit.split_rows(key, TINY, ensemble.STANDARD, data)[0]))(
        jax.random.split(jax.random.key(1), 300)
    )
    drawn = np.asarray(splits.bootstrap)[:, :, :32]
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=size)).pvalue > 1e-3
    distinct = np.array([len(set(row)) for row in drawn.reshape(-1, 32)])
    np.testing.assert_allclose(distinct.mean(), 32 * (1 - (1 - 1 / 32) ** 32), rtol=0.01)
    assert not (drawn[:, 0] == drawn[:, 1]).all(axis=1).any()
    assert len({tuple(row) for row in np.asarray(splits.holdout)}) == 300
    held = np.asarray(splits.holdout)[np.asarray(splits.holdout_valid)]
    assert stats.chisquare(np.bincount(held, minlength=size)).pvalue > 1e-3


def test_the_holdout_never_exceeds_its_limit():
    config = ensemble.Config(members=2, elites=1, hidden=(4,), weight_decay=(0.0, 0.0), max_holdout=7)
    split, _, _ = jax.jit(lambda key, data: fit.split_rows(key, config, ensemble.STANDARD, data))(
        jax.random.key(0), random_data(60, 60)
    )
    assert (split.holdout.shape, int(split.holdout_valid.sum()), int(split.train_size)) == ((7,), 7, 53)


def test_an_epoch_visits_every_bootstrap_row_once_in_a_fresh_order():
    """With one-hot inputs and a loss of minus their sum, plain descent counts how often each row was seen."""
    capacity, size = 60, 27
    split, _, _ = SPLIT(jax.random.key(0), random_data(capacity, size))
    split = split._replace(x=jnp.eye(capacity), y=jnp.zeros((capacity, 1)))

    def descend(carry, batch, scale):
        grads = jax.grad(lambda params: -(params * jnp.einsum("mbc,mb->mc", batch.x, batch.weight)).sum())(carry.params)
        updates, opt = optimiser.update(grads, carry.opt)
        return fit.Descent(optax.apply_updates(carry.params, updates), opt)

    optimiser = optax.sgd(1.0)
    start = jnp.zeros((3, capacity))
    epoch = jax.jit(lambda key, split, carry: fit.epoch(key, TINY, descend, split, carry))
    seen, _ = epoch(jax.random.key(1), split, fit.Descent(start, optimiser.init(start)))
    train_size = int(split.train_size)
    assert train_size == 22  # not a multiple of the batch of 8: the last batch is short
    for m in range(3):
        np.testing.assert_array_equal(seen[m], np.bincount(split.bootstrap[m, :train_size], minlength=capacity))


@pytest.mark.parametrize("capacity", [7, 1024, 4999])
def test_random_orders_of_a_part_are_those_of_sorting_all(capacity):
    order = jax.jit(lambda key, size: fit.random_order(key, (2, capacity), size))
    for size in sorted({1, 5, 500, 511, 512, 513, 624, 625, 626, 1250, 2500, 4999} & set(range(capacity + 1))):
        keys = np.asarray(jax.random.bits(jax.random.key(size), (2, capacity)) >> 1)
        found = np.asarray(order(jax.random.key(size), jnp.int32(size)))
        np.testing.assert_array_equal(found[:, :size], np.argsort(keys[:, :size], axis=-1, kind="stable"))
        np.testing.assert_array_equal(np.sort(found, axis=-1), np.tile(np.arange(capacity), (2, 1)))


def test_random_orders_are_uniform_over_the_first_places():
    orders = jax.vmap(lambda k: fit.random_order(k, (2, 7), jnp.int32(4)))(jax.random.split(jax.random.key(0), 3000))
    orders = np.asarray(orders)
    np.testing.assert_array_equal(np.sort(orders[..., :4]), np.broadcast_to(np.arange(4), (3000, 2, 4)))
    np.testing.assert_array_equal(np.sort(orders[..., 4:]), np.broadcast_to(np.arange(4, 7), (3000, 2, 3)))
    codes = orders[:, 0, :4] @ [64, 16, 4, 1]
    assert stats.chisquare(np.unique(codes, return_counts=True)[1]).pvalue > 1e-3
    assert len(np.unique(codes)) == 24
    assert (orders[:, 0] != orders[:, 1]).any(axis=1).mean() > 0.9


PATIENCE, EPOCHS = TINY.patience, 60


def stopping_rule(errors):
    """The released code's rule (`bnn.py`, `_save_best`) in NumPy: epochs run, and each member's best one, from 1."""
    best, snapshot, stale = np.full(errors.shape[1], 1e10), np.zeros(errors.shape[1], int), 0
    for epoch, current in enumerate(errors, start=1):
        improved = (best - current) / best > 0.01
        best, snapshot = np.where(improved, current, best), np.where(improved, epoch, snapshot)
        stale = 0 if improved.any() else stale + 1
        if stale > PATIENCE:
            break
    return epoch, snapshot


@pytest.fixture(scope="module")
def recorded_fit():
    """A fit whose every epoch adds 1 to all parameters and whose holdout errors are read from a table, exactly."""
    with pytest.MonkeyPatch.context() as patch:

        def epoch(key, config, descend, split, carry):
            return fit.Descent(jax.tree.map(lambda p: p + 1.0, carry.params), carry.opt)

        def error(config, spec, score, split, params):
            done = params["net"]["params"]["Dense_0"]["bias"][:, 0].astype(jnp.int32)  # epochs behind each member
            return split.y[done, jnp.arange(3)]

        patch.setattr(model, "epoch", epoch)
        patch.setattr(model, "holdout_score", error)
        config = ensemble.Config(members=3, elites=2, hidden=(4,), weight_decay=(0.0, 0.0), max_epochs=EPOCHS)
        learner = ensemble.make(config, SPEC)
        learn = jax.jit(learner.fit)

        def recorded(errors):
            state = learner.init(jax.random.key(0))
            state = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
            table = np.concatenate([np.full((1, 3), 1e6), errors])  # row t: after t epochs; as regression targets
            zeros = np.zeros((len(table), 2))
            data = transitions(zeros, zeros[:, :1], table[:, 0], table[:, 1:])
            return learn(jax.random.key(1), state, ensemble.Data(data, jnp.int32(len(table))))

        recorded(np.ones((EPOCHS, 3)))  # traced while the patches hold
    return recorded


@pytest.mark.parametrize("seed", range(8))
def test_early_stopping_follows_the_released_codes_rule(recorded_fit, seed):
    rng = np.random.default_rng(seed)
    decay = rng.uniform(0.7, 0.99, size=3) ** np.arange(EPOCHS)[:, None]
    errors = (decay + rng.uniform(0, 0.3)) * rng.uniform(0.98, 1.02, size=(EPOCHS, 3))
    errors = errors.astype(np.float32)
    epochs, snapshot = stopping_rule(errors.astype(np.float64))
    state, info = recorded_fit(errors)
    assert int(info["model/epochs"]) == epochs
    for leaf in jax.tree.leaves(state.params["net"]):
        np.testing.assert_array_equal(leaf, np.broadcast_to(snapshot.reshape(3, *[1] * (leaf.ndim - 1)), leaf.shape))
    best = errors[snapshot - 1, np.arange(3)]
    np.testing.assert_array_equal(state.holdout, best)
    np.testing.assert_array_equal(state.elites, np.argsort(best)[:2])
    np.testing.assert_allclose(info["model/holdout_mse"], np.sort(best)[:2].mean(), rtol=1e-6)
    # The bounds are not restored: they went through every epoch.
    np.testing.assert_array_equal(state.params["max_log_var"], float(epochs))


def test_fitting_stops_after_the_sixth_epoch_without_an_improvement_of_one_percent(recorded_fit):
    flat = np.full((EPOCHS, 3), 1.0)
    flat[1:] = 0.9901  # less than 1 % better than the first epoch
    assert int(recorded_fit(flat)[1]["model/epochs"]) == 1 + 6
    flat[6:, 1] = 0.98  # one member improves in the sixth epoch after the first: it goes on
    state, info = recorded_fit(flat)
    assert int(info["model/epochs"]) == 7 + 6
    np.testing.assert_array_equal(state.params["net"]["params"]["Dense_0"]["bias"][:, 0], [1.0, 7.0, 1.0])


def test_without_a_stop_the_epoch_limit_holds_and_is_said(recorded_fit):
    falling = 0.9 ** np.arange(EPOCHS)[:, None] * np.ones(3)
    _, info = recorded_fit(falling)
    assert (int(info["model/epochs"]), float(info["model/exhausted"])) == (EPOCHS, 1.0)
    falling[-6:] = falling[-7]  # it stops by itself in the last epoch
    _, info = recorded_fit(falling)
    assert (int(info["model/epochs"]), float(info["model/exhausted"])) == (EPOCHS, 0.0)
    _, info = recorded_fit(np.ones((EPOCHS, 3)))
    assert (int(info["model/epochs"]), float(info["model/exhausted"])) == (1 + 6, 0.0)


A = np.array([[0.5, -0.3, 0.2], [0.1, 0.4, -0.6], [-0.2, 0.3, 0.7]])
"""The known system: (reward, change of obs) = A (obs, action) + offset + noise."""
OFFSET = np.array([0.3, -0.1, 0.2])
NOISE = np.array([0.3, 0.1, 0.2])
# A negative threshold keeps the latest parameters: the holdout error of the mean says nothing about the variance, so
# the best epoch by it may come before the variance has settled.
LINEAR = ensemble.Config(
    members=3,
    elites=2,
    hidden=(),
    weight_decay=(0.0,),
    bound_penalty=0.0,
    learning_rate=1e-2,
    batch=2000,  # all training rows: descent settles at the bootstrap sample's own optimum
    improvement=-1.0,
    max_epochs=800,
)


def linear_data(capacity, size, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal([1.0, -2.0, 0.0], [2.0, 0.5, 1.0], size=(capacity, 3))
    y = x @ A.T + OFFSET + NOISE * rng.normal(size=(capacity, 3))
    return ensemble.Data(transitions(x[:, :2], x[:, 2:], y[:, 0], x[:, :2] + y[:, 1:]), jnp.int32(size)), x


@pytest.fixture(scope="module")
def linear():
    learner = ensemble.make(LINEAR, SPEC)
    update, start = jax.jit(learner.fit), learner.init(jax.random.key(0))
    return functools.partial(update, jax.random.key(1), start)


def test_a_linear_gaussian_system_is_recovered(linear):
    size = 2500
    data, _ = linear_data(3000, size, 0)
    state, info = linear(data)
    assert int(info["model/train_size"]) == 2000
    fresh, x = linear_data(2000, 0, 9)
    inputs = [jnp.broadcast_to(v, (3, *v.shape)) for v in (fresh.transitions.obs, fresh.transitions.action)]
    mean, log_var = map(np.asarray, ensemble.predict(LINEAR, SPEC, state, *inputs, jnp.arange(3)))
    truth = x @ A.T + OFFSET
    truth[:, 1:] += x[:, :2]
    # A bootstrap sample's least-squares error has variance 2 * 4 coefficients / 2000 rows in units of the noise.
    error = np.square((mean - truth) / NOISE).mean(axis=(1, 2))
    assert (error < 4 * 2 * 4 / 2000).all()
    # A deviation estimated from a bootstrap sample of n rows has relative variance 2 / (2 n): four standard errors.
    deviation = np.exp(0.5 * log_var).mean(axis=1)
    np.testing.assert_allclose(deviation, np.tile(NOISE, (3, 1)), rtol=4 / np.sqrt(2000))
    outcome = np.concatenate([fresh.transitions.reward[:, None], fresh.transitions.next_obs], axis=1)
    score = (np.square(mean - outcome) * np.exp(-log_var) + log_var).mean(axis=(1, 2))
    np.testing.assert_allclose(score, (1 + 2 * np.log(NOISE)).mean(), atol=0.05)  # the best that is possible
    np.testing.assert_allclose(info["model/holdout_mse"], (NOISE**2).mean(), rtol=0.15)


@pytest.mark.parametrize("garbage", [-1e3, 1e30])
def test_rows_beyond_the_size_never_matter(linear, garbage):
    data, _ = linear_data(3000, 300, 0)

    def poison(x):
        held = (jnp.arange(3000) < 300).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(held, x, jnp.asarray(garbage, x.dtype))

    poisoned = data._replace(transitions=jax.tree.map(poison, data.transitions))
    jax.tree.map(np.testing.assert_array_equal, linear(data), linear(poisoned))


@pytest.fixture(scope="module")
def labelled():
    """An ensemble of five members whose reward is the member's number, exactly; elites 4, 0 and 2."""
    config = ensemble.Config(members=5, elites=3, hidden=(), weight_decay=(0.0,))
    state = ensemble.make(config, SPEC).init(jax.random.key(0))
    zero = jax.tree.map(jnp.zeros_like, state.params["net"])
    bias = jnp.zeros((5, 6)).at[:, 0].set(jnp.arange(5.0)).at[:, 3:].set(-50.0)
    layer = {**zero["params"]["Dense_0"], "bias": bias}
    bounds = {"max_log_var": jnp.zeros(3), "min_log_var": jnp.full(3, -60.0)}
    state = state._replace(params={"net": {"params": {"Dense_0": layer}}, **bounds}, elites=jnp.array([4, 0, 2]))
    return config, state


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_every_row_gets_a_uniform_elite(labelled, batch):
    config, state = labelled
    dynamics = ensemble.random_elites(config, SPEC, state)
    obs, action = jnp.arange(2.0 * batch).reshape(batch, 2), jnp.zeros((batch, 1))
    draws = jax.jit(jax.vmap(lambda k: dynamics.step(k, (), obs, action)[1]))(jax.random.split(jax.random.key(0), 3000))
    next_obs, reward, discount = (np.asarray(d) for d in draws)
    member = np.rint(reward).astype(int)
    np.testing.assert_allclose(reward, member, atol=1e-5)
    np.testing.assert_allclose(next_obs, np.broadcast_to(obs, next_obs.shape), atol=1e-5)
    assert (discount == 1).all()
    for row in range(batch):
        counts = np.bincount(member[:, row], minlength=5)
        assert counts[[1, 3]].sum() == 0
        assert stats.chisquare(counts[[0, 2, 4]]).pvalue > 1e-4
    shares = np.stack([(member == e).sum(axis=1) for e in (0, 2, 4)])
    assert np.ptp(shares, axis=0).max() <= 1
    if batch > 1:  # which rows share an elite is not fixed
        together = (member[:, 0] == member[:, 1]).mean()
        assert 0 < together < 1


def test_model_steps_draw_from_the_predicted_gaussian_and_end_where_the_task_ends(labelled):
    config, state = labelled
    params = {**state.params, "min_log_var": jnp.log(jnp.array([0.01, 0.04, 0.25])), "max_log_var": jnp.full(3, 0.5)}
    state = state._replace(params=params)
    dynamics = ensemble.random_elites(config, SPEC, state, terminal=lambda obs: obs[..., 1] > 0)
    start = jax.random.key(0), (), jnp.zeros((30_000, 2)), jnp.zeros((30_000, 1))
    next_obs, reward, discount = jax.jit(dynamics.step)(*start)[1]
    noise = np.stack([reward - jnp.round(reward / 2) * 2, *next_obs.T])
    np.testing.assert_allclose(noise.std(axis=1), [0.1, 0.2, 0.5], rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(noise), np.eye(3), atol=0.03)
    np.testing.assert_array_equal(discount, next_obs[:, 1] <= 0)


SWITCHES = {"members": 2, "elites": 1, "hidden": (4,), "weight_decay": (1e-4, 1e-4), "batch": 16, "max_epochs": 6}


@functools.cache
def switched(**changes):
    config = ensemble.Config(**SWITCHES, **changes)
    learner = ensemble.make(config, SPEC)
    return config, learner.init(jax.random.key(0)), jax.jit(learner.fit)


def fitted(data, **changes):
    config, start, update = switched(**changes)
    state, _ = update(jax.random.key(1), start, data)
    at = jnp.zeros((2, 5, 2)), jnp.linspace(-1, 1, 10).reshape(2, 5, 1)
    return ensemble.predict(config, SPEC, state, *at, jnp.arange(2))


def test_residual_makes_no_difference_where_observations_are_zero():
    data = random_data(40, 40)
    data = data._replace(transitions=data.transitions._replace(obs=jnp.zeros((40, 2))))
    for a, b in zip(fitted(data), fitted(data, residual=False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_scaled_targets_make_predictions_follow_the_units(rng):
    data = random_data(40, 40)
    rows = data.transitions._replace(obs=jnp.zeros((40, 2)))
    larger = rows._replace(reward=8 * rows.reward, next_obs=8 * rows.next_obs)
    mean, log_var = fitted(data._replace(transitions=rows), scale_targets=True)
    mean_8, log_var_8 = fitted(data._replace(transitions=larger), scale_targets=True)
    np.testing.assert_allclose(mean_8, 8 * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_var_8, log_var + 2 * np.log(8), rtol=1e-4, atol=1e-4)


def test_predictions_are_in_the_units_of_the_data():
    """A member that outputs zero predicts the mean of the targets, the old observation added."""
    config = ensemble.Config(**SWITCHES, scale_targets=True)
    state = ensemble.make(config, SPEC).init(jax.random.key(0))
    state = state._replace(
        params=jax.tree.map(jnp.zeros_like, state.params),
        targets=normalise.Scaler(jnp.array([5.0, 1.0, 2.0]), jnp.array([2.0, 3.0, 4.0])),
    )
    obs = jnp.array([[[10.0, 20.0]]])
    mean, log_var = ensemble.predict(config, SPEC, state, obs, jnp.zeros((1, 1, 1)), jnp.array([1]))
    np.testing.assert_allclose(mean[0, 0], [5.0, 11.0, 22.0])
    raw = np.log1p(np.exp(0.0 - np.log(2)))  # both bounds at zero: softplus(-softplus(0))
    np.testing.assert_allclose(log_var[0, 0], raw + 2 * np.log([2.0, 3.0, 4.0]), rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"elites": 8}, "1 <= elites <= members, got elites=8, members=7"),
        ({"elites": 0}, "elites"),
        ({"hidden": (200,)}, "2 for hidden"),
        ({"hidden": (8, 8, 8, 0)}, r"hidden must name positive widths, got \(8, 8, 8, 0\)"),
        ({"patience": -1}, "patience must not be negative, got -1"),
        ({"holdout_fraction": 0.0}, "strictly between"),
        ({"holdout_fraction": 1.0}, "strictly between"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"max_epochs": 0}, "max_epochs"),
    ],
)
def test_impossible_configurations_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        ensemble.Config(**changes)
