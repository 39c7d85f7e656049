"""Objectives of ensembles: what is minimised, by whom rows count, what a loss is told of its rows, single steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_ensemble import SPEC, SPLIT, TINY, random_data, transitions

from mbrl_jax.data import normalise
from mbrl_jax.models import ensemble
from mbrl_jax.models.ensemble import fit
from mbrl_jax.types import Transition

KEY = jax.random.key(0)
PLAIN = ensemble.Config(
    members=3, elites=2, hidden=(), weight_decay=(0.3,), bound_penalty=0.02, batch=8, learning_rate=0.01
)
"""A linear ensemble, so that its gradient is a line of NumPy."""


def absolute(predicted, batch):
    """The mean absolute error of a row, in the environment's units."""
    del batch
    return jnp.abs(predicted.error).mean(axis=-1)


ABSOLUTE = ensemble.Objective(loss=absolute, score=absolute)


def batches(updates, batch, seed=0):
    """Random transitions `[updates, batch, ...]`."""
    rows = random_data(updates * batch, updates * batch, seed).transitions
    return jax.tree.map(lambda x: x.reshape(updates, batch, *x.shape[1:]), rows)


def scaled(state):
    """The state with scalers that change something."""
    inputs = normalise.Scaler(jnp.array([0.5, -1.0, 0.2]), jnp.array([2.0, 0.5, 1.5]))
    targets = normalise.Scaler(jnp.array([0.1, -0.2, 0.3]), jnp.array([3.0, 0.25, 1.5]))
    return state._replace(inputs=inputs, targets=targets)


def inputs_and_targets(state, rows):
    """Standardised inputs and targets in float64: (observation, action), (reward, change of the observation)."""
    rows = jax.tree.map(lambda x: np.asarray(x, np.float64), rows)
    x = np.concatenate([rows.obs, rows.action], axis=-1)
    y = np.concatenate([rows.reward[..., None], rows.next_obs - rows.obs], axis=-1)
    return [(v - np.asarray(s.mean)) / np.asarray(s.std) for v, s in ((x, state.inputs), (y, state.targets))]


def absolute_gradient(kernel, bias, x, y, scale):
    """Gradient of the summed mean absolute errors of linear members and their decay: kernel, bias; and the loss."""
    error = (np.einsum("bi,mio->mbo", x, kernel) + bias[:, None])[..., :3] - y
    slope = np.sign(error) * scale / (len(x) * 3)
    slope = np.concatenate([slope, np.zeros_like(slope)], axis=-1)  # nothing tells the log-variances anything
    loss = (np.abs(error) * scale).mean(axis=(1, 2)).sum() + 0.15 * np.square(kernel).sum()
    return np.einsum("bi,mbo->mio", x, slope) + 0.3 * kernel, slope.sum(axis=1), loss


def test_a_custom_loss_is_what_single_steps_descend():
    """Three steps of Adam on absolute errors, in NumPy: moments, parameters, and the loss before each step."""
    learner = ensemble.make(PLAIN, SPEC, ABSOLUTE)
    state = scaled(learner.init(KEY))
    rows = batches(3, 15)  # odd: signs cannot cancel, of which Adam would make a step of rounding errors
    after, info = jax.jit(learner.update)(KEY, state, rows)
    scale = np.asarray(state.targets.std, np.float64)
    net = state.params["net"]["params"]["Dense_0"]
    values = [np.asarray(net[name], np.float64) for name in ("kernel", "bias")]
    values += [np.asarray(state.params[name], np.float64) for name in ("max_log_var", "min_log_var")]
    first, second = ([np.zeros_like(v) for v in values] for _ in range(2))
    losses = []
    for t in range(3):
        x, y = inputs_and_targets(state, jax.tree.map(lambda leaf: leaf[t], rows))  # noqa: B023
        kernel, bias, loss = absolute_gradient(*values[:2], x, y, scale)
        losses.append(loss + 0.02 * (values[2] - values[3]).sum())
        for i, slope in enumerate((kernel, bias, np.full(3, 0.02), np.full(3, -0.02))):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            step = first[i] / (1 - 0.9 ** (t + 1)) / (np.sqrt(second[i] / (1 - 0.999 ** (t + 1))) + 1e-8)
            values[i] = values[i] - 0.01 * step

    def leaves(tree):
        layer = tree["net"]["params"]["Dense_0"]
        return [layer["kernel"], layer["bias"], tree["max_log_var"], tree["min_log_var"]]

    moments = optax.tree.get(after.opt, "mu"), optax.tree.get(after.opt, "nu")
    for found, exact in zip((*moments, after.params), (first, second, values), strict=True):
        for a, b in zip(leaves(found), exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)  # a ten-thousandth of one step
    np.testing.assert_allclose(info["model/loss"], losses, rtol=1e-5)


def test_single_steps_are_optaxs_on_the_likelihood():
    """A loss written out here, its gradients, Adam's steps; all but parameters and optimiser stays."""
    learner = ensemble.make(TINY, SPEC)
    state = scaled(learner.init(KEY))._replace(elites=jnp.array([2, 0]), holdout=jnp.array([3.0, 2.0, 1.0]))
    rows, adam = batches(4, 16), optax.adam(TINY.learning_rate)

    def loss(params, x, y):
        layers = [params["net"]["params"][f"Dense_{i}"] for i in range(2)]
        total = 0.01 * (params["max_log_var"] - params["min_log_var"]).sum()
        for m in range(3):
            hidden = jax.nn.silu(x @ layers[0]["kernel"][m] + layers[0]["bias"][m][None])
            mean, raw = jnp.split(hidden @ layers[1]["kernel"][m] + layers[1]["bias"][m][None], 2, axis=-1)
            low, high = params["min_log_var"][None], params["max_log_var"][None]
            log_var = high - jnp.logaddexp(high - raw, 0.0)
            log_var = low + jnp.logaddexp(log_var - low, 0.0)
            total += ((mean - y) ** 2 / jnp.exp(log_var) + log_var).mean()
            total += sum(0.5 * c * (layer["kernel"][m] ** 2).sum() for c, layer in zip((0.1, 0.2), layers, strict=True))
        return total

    params, opt, losses = state.params, adam.init(state.params), []
    for t in range(4):
        x, y = (jnp.asarray(v, jnp.float32) for v in inputs_and_targets(state, jax.tree.map(lambda v: v[t], rows)))  # noqa: B023
        value, grads = jax.jit(jax.value_and_grad(loss))(params, x, y)
        updates, opt = adam.update(grads, opt, params)
        params, losses = optax.apply_updates(params, updates), [*losses, value]
    after, info = jax.jit(learner.update)(KEY, state, rows)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), after.params, params)
    np.testing.assert_allclose(info["model/loss"], losses, rtol=1e-5)
    kept = state._replace(params=after.params, opt=after.opt)
    jax.tree.map(np.testing.assert_array_equal, after, kept)


def test_fits_to_absolute_errors_find_medians_and_likelihood_finds_means():
    """A reward drawn from an exponential distribution: median log 2, which is also the mean absolute error there."""
    count = 2500
    reward = np.random.default_rng(0).exponential(size=count)
    zeros = np.zeros((count, 2))
    data = ensemble.Data(transitions(zeros, zeros[:, :1], reward, zeros), jnp.int32(count))
    settings = {"members": 3, "elites": 2, "hidden": (), "weight_decay": (0.0,), "bound_penalty": 0.0}
    config = ensemble.Config(**settings, learning_rate=1e-2, batch=2000, improvement=-1.0, max_epochs=500)
    for objective, centre in ((ABSOLUTE, np.log(2)), (ensemble.STANDARD, 1.0)):
        learner = ensemble.make(config, SPEC, objective)
        state, _ = jax.jit(learner.fit)(KEY, learner.init(KEY), data)
        mean, _ = ensemble.predict(config, SPEC, state, jnp.zeros((3, 1, 2)), jnp.zeros((3, 1, 1)), jnp.arange(3))
        # The standard error of either is 1 / sqrt(n); that of a bootstrap sample adds as much again.
        np.testing.assert_allclose(mean[:, 0, 0], centre, atol=4 * np.sqrt(2 / 2000))
        if objective is ABSOLUTE:
            np.testing.assert_allclose(3 * state.holdout, np.log(2), atol=4 / np.sqrt(500))  # the other entries are 0


def test_stopping_and_elites_follow_a_score_of_either_sign():
    """A member's best network is the one with the lowest score, below zero too."""
    config = ensemble.Config(members=3, elites=1, hidden=(), weight_decay=(0.0,), patience=2, max_epochs=50)
    scores = np.full((51, 3), 9.0)
    scores[1:5] = [[-5.0, 2.0, -3.0], [-6.0, 1.0, -2.0], [-6.001, -1.0, -4.0], [-7.0, -0.5, -3.99]]
    table = jnp.asarray(scores)
    start = {"net": jnp.zeros(3)}

    def score(params):
        return table[params["net"].astype(jnp.int32), jnp.arange(3)]

    def one_epoch(key, carry):
        return fit.Descent(jax.tree.map(lambda p: p + 1.0, carry.params), carry.opt)

    found = jax.jit(lambda: fit.stopped(KEY, config, score, one_epoch, fit.Descent(start, ())))()
    np.testing.assert_array_equal(found.best, np.float32([-7.0, -1.0, -4.0]))
    np.testing.assert_array_equal(found.best_net, [4.0, 3.0, 3.0])
    assert found.epoch == 4 + 3  # the third epoch in a row without an improvement is one too many


COUNTS = np.array([0, 3, 1, 2, 0, 1, 4, 1, 0, 2, 1, 1])
"""Integer weights of twelve rows."""
WILD = np.array([1e3, -1e3, 7.0])


def batch_of(data, index, weight=None):
    """The rows of the data at these indices, for every member, as a fit would see them."""
    index = jnp.broadcast_to(jnp.asarray(index), (3, len(index)))
    ones = jnp.ones(len(data.transitions.reward))
    x = jnp.concatenate([data.transitions.obs, data.transitions.action], axis=-1)
    y = jnp.concatenate([data.transitions.reward[:, None], data.transitions.next_obs - data.transitions.obs], axis=-1)
    split = fit.Split(data.transitions, weight, x, y, jnp.ones(3), index, ones.sum(), index[0], ones > 0)
    return fit.taken(split, index, jnp.ones(index.shape))


@pytest.mark.parametrize("loss", [ensemble.likelihood, absolute])
def test_integer_weights_are_rows_repeated_and_weightless_rows_never_matter(loss):
    params, data = ensemble.make(TINY, SPEC).init(KEY).params, random_data(12, 12)
    grads = jax.jit(
        jax.value_and_grad(lambda params, batch: fit.total_loss(params, TINY, SPEC, loss, jnp.ones(3), batch))
    )
    weighted = batch_of(data, np.arange(12), jnp.asarray(COUNTS, jnp.float32))
    np.testing.assert_array_equal(weighted.weight, np.tile(COUNTS, (3, 1)))
    repeated = batch_of(data, np.repeat(np.arange(12), COUNTS))
    found, exact = grads(params, weighted), grads(params, repeated)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, exact)
    nobody = (weighted.weight == 0)[..., None]
    elsewhere = weighted._replace(x=jnp.where(nobody, WILD, weighted.x), y=jnp.where(nobody, -WILD, weighted.y))
    jax.tree.map(np.testing.assert_array_equal, grads(params, elsewhere), found)
    unweighted = grads(params, batch_of(data, np.arange(12)))[0]
    assert abs(unweighted - found[0]) > 1e-3


def test_the_weights_of_a_fit_move_means_and_scores_to_what_they_favour():
    """Rewards ±1, equally often, under weights 1.8 and 0.2: their mean is 0.8, the squared error there 1 - 0.8²."""
    count = 1000
    side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    zeros = np.zeros((count, 2))
    weights = jnp.asarray(1.0 + 0.8 * side, jnp.float32)
    data = ensemble.Data(transitions(zeros, zeros[:, :1], side, zeros), jnp.int32(count), weights)
    settings = {"members": 3, "elites": 2, "hidden": (), "weight_decay": (0.0,), "bound_penalty": 0.0}
    config = ensemble.Config(**settings, learning_rate=1e-2, batch=800, improvement=-1.0, max_epochs=500)
    learner = ensemble.make(config, SPEC)
    learn = jax.jit(learner.fit)
    state, _ = learn(KEY, learner.init(KEY), data)
    mean, _ = ensemble.predict(config, SPEC, state, jnp.zeros((3, 1, 2)), jnp.zeros((3, 1, 1)), jnp.arange(3))
    # A weighted share's standard error, for two equally frequent sides, is 2 · 0.9 · 0.1 / sqrt(n / 4) in units of ±1.
    np.testing.assert_allclose(mean[:, 0, 0], 0.8, atol=4 * np.sqrt(2) * 2 * 0.09 * 2 / np.sqrt(800))
    np.testing.assert_allclose(3 * state.holdout, 1 - 0.8**2, atol=4 * 2 * 0.8 * 2 * 0.09 * 2 / np.sqrt(200) + 0.02)


def test_equal_weights_change_nothing_and_batches_without_any_give_numbers():
    learner = ensemble.make(TINY, SPEC)
    learn, state, data = jax.jit(learner.fit), learner.init(KEY), random_data(40, 40)
    plain, halved = (learn(KEY, state, data._replace(weights=w)) for w in (None, jnp.full(40, 0.5)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, halved)
    for weights in (jnp.zeros(40), jnp.zeros(40).at[3].set(1.0)):  # of batches of eight, most or all are without
        found = learn(KEY, state, data._replace(weights=weights))
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def numbered(capacity, size):
    """Data whose rewards are their rows' numbers."""
    data = random_data(capacity, size)
    return data._replace(transitions=data.transitions._replace(reward=jnp.arange(capacity, dtype=jnp.float32)))


def marked(loss, at=0):
    """This loss of rows that find their own number as extras and as target, NaN of all others."""

    def checked(predicted, batch):
        same = (batch.extras["row"] + at == batch.reward) & (predicted.target[..., 0] == batch.reward)
        same &= predicted.weight.shape == batch.reward.shape == (3, *batch.reward.shape[1:])
        return loss(predicted, batch) * jnp.where(same, 1.0, jnp.nan)  # a factor: gradients are NaN too

    return checked


@pytest.mark.parametrize("where", ["loss", "score"])
def test_annotations_reach_the_loss_and_score_of_their_own_rows(where):
    """In every bootstrap and held-out row of a whole fit; the rows of a mistaken annotation are noticed."""
    data, seen = numbered(60, 37), []

    def annotate(rows):
        seen.append(rows.obs.shape)
        return {"row": jnp.arange(60.0)}

    def fitted(at):
        functions = {"loss": ensemble.likelihood, "score": ensemble.squared_error}
        functions[where] = marked(functions[where], at)
        learner = ensemble.make(TINY, SPEC, ensemble.Objective(**functions, annotate=annotate))
        return jax.jit(learner.fit)(KEY, learner.init(KEY), data)

    learner = ensemble.make(TINY, SPEC)
    exact = jax.jit(learner.fit)(KEY, learner.init(KEY), data)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), fitted(0), exact)
    assert seen == [(60, 2)]  # once per fit, all rows together
    wrong, _ = fitted(1)
    assert jnp.isnan(wrong.params["max_log_var"] if where == "loss" else wrong.holdout).all()


def test_annotations_of_single_steps_are_those_of_their_batch():
    rows = batches(3, 16)
    state = ensemble.make(TINY, SPEC).init(KEY)

    def annotate(batch):
        return {"row": batch.reward}

    found, exact, wrong = (
        jax.jit(ensemble.make(TINY, SPEC, objective).update)(KEY, state, rows)
        for objective in (
            ensemble.Objective(loss=marked(ensemble.likelihood), annotate=annotate),
            ensemble.STANDARD,
            ensemble.Objective(loss=marked(ensemble.likelihood, 1), annotate=annotate),
        )
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, exact)
    assert jnp.isnan(wrong[1]["model/loss"]).all()


def test_rows_that_fill_up_a_batch_are_told_to_have_no_weight():
    """Of 27 rows five are held out, of at most twelve; the other 22 come in batches of eight."""
    seen = {"loss": [], "score": []}

    def recorded(name, loss):
        def noted(predicted, batch):
            jax.debug.callback(lambda weight: seen[name].append(np.asarray(weight)), predicted.weight)
            return loss(predicted, batch)

        return noted

    objective = ensemble.Objective(
        recorded("loss", ensemble.likelihood), recorded("score", ensemble.squared_error), lambda rows: ()
    )
    config = ensemble.Config(members=3, elites=2, hidden=(4,), weight_decay=(0.0, 0.0), batch=8, max_epochs=1)
    learner, data = ensemble.make(config, SPEC, objective), random_data(60, 27)

    def descend(carry, batch, scale):
        fit.total_loss(carry.params, config, SPEC, objective.loss, scale, batch)
        return carry

    @jax.jit
    def whole(params):
        split, _, _ = fit.split_rows(KEY, config, objective, data)
        fit.epoch(KEY, config, descend, split, fit.Descent(params, ()))
        return fit.holdout_score(config, SPEC, objective.score, split, params)

    jax.block_until_ready(whole(learner.init(KEY).params))
    jax.effects_barrier()
    full, rest = np.ones((3, 8)), np.tile([1, 1, 1, 1, 1, 1, 0, 0], (3, 1))
    np.testing.assert_array_equal(sorted(seen["loss"], key=np.sum), [rest, full, full])
    np.testing.assert_array_equal(seen["score"], [np.tile(np.arange(12) < 5, (3, 1))])


def test_rows_of_a_batch_carry_all_fields_of_the_transition():
    """A loss sees observation, action, discount and the successor that belong to its prediction."""
    data = numbered(40, 40)
    index = np.array([[3, 1], [0, 39], [7, 7]])
    split, _, _ = SPLIT(KEY, data)
    batch = fit.taken(split, jnp.asarray(index), jnp.ones((3, 2)))
    assert isinstance(batch.rows, Transition)
    for name in Transition._fields[:-1]:
        np.testing.assert_array_equal(getattr(batch.rows, name), np.asarray(getattr(data.transitions, name))[index])
