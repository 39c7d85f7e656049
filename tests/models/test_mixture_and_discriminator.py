"""Density models and the discriminator: densities against scipy, fits with known answers, data at the edge."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from mbrl_jax import tabular
from mbrl_jax.data import normalise
from mbrl_jax.models import discriminator, fitting, mixture
from mbrl_jax.objectives import value_aware
from mbrl_jax.theory import dam
from mbrl_jax.types import Spec, Transition

SPEC = Spec(
    name="test-v0", engine="jax", obs_dim=2, action_dim=1, action_low=(-1.0,), action_high=(1.0,), time_limit=100
)
KEY = jax.random.key(0)
FIT = fitting.Config(learning_rate=1e-2, batch=128, interval=25, patience=6, max_steps=600)
MODELS = {components: mixture.Config(components=components, hidden=(16, 16), fit=FIT) for components in (1, 3)}


def data(obs, action, next_obs, weights=None, valid=None):
    obs, action, next_obs = (jnp.asarray(x, jnp.float32) for x in (obs, action, next_obs))
    ones = jnp.ones(len(obs))
    weights = ones if weights is None else jnp.asarray(weights, jnp.float32)
    valid = ones > 0 if valid is None else jnp.asarray(valid)
    return mixture.Data(Transition(obs, action, ones, ones, next_obs, ones < 0), weights, valid)


def random_state(config, seed=0):
    """A model with random parameters, biases included, and scalers that are not the identity."""
    rng = np.random.default_rng(seed)
    params = mixture.make(config, SPEC).init(KEY).params
    params = jax.tree.map(lambda p: p + jnp.asarray(0.3 * rng.normal(size=p.shape), jnp.float32), params)

    def scaler(n):
        return normalise.Scaler(jnp.asarray(rng.normal(size=n)), jnp.asarray(rng.uniform(0.5, 2, n)))

    scalers = jax.tree.map(lambda x: x.astype(jnp.float32), (scaler(3), scaler(2)))
    return mixture.State(params, *scalers)


def by_hand(config, state, obs, action, next_obs):
    """`log q` in double precision with numpy and scipy."""
    layers = jax.tree.map(lambda p: np.asarray(p, np.float64), state.params["params"])
    x = (np.concatenate([obs, action], axis=-1) - np.asarray(state.inputs.mean)) / np.asarray(state.inputs.std)
    for i in range(2):
        x = np.maximum(x @ layers[f"Dense_{i}"]["kernel"] + layers[f"Dense_{i}"]["bias"], 0)
    raw = x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"]
    m = config.components
    logits, rest = raw[:, :m], raw[:, m:].reshape(len(raw), m, 4)
    low, high = (2 * bound for bound in config.log_std)
    log_var = high - np.logaddexp(high - rest[..., 2:], 0)
    std = np.exp(0.5 * (low + np.logaddexp(log_var - low, 0)))
    y = (next_obs - obs - np.asarray(state.targets.mean)) / np.asarray(state.targets.std)
    parts = stats.norm.logpdf(y[:, None, :], rest[..., :2], std).sum(axis=-1)
    mixed = special.logsumexp(parts + special.log_softmax(logits, axis=-1), axis=-1)
    return mixed - np.log(np.asarray(state.targets.std)).sum()


@pytest.mark.parametrize("components", MODELS)
def test_densities_agree_with_scipy(components, rng):
    config = MODELS[components]
    state = random_state(config)
    obs, action, next_obs = rng.normal(size=(50, 2)), rng.normal(size=(50, 1)), rng.normal(size=(50, 2))
    found = mixture.log_prob(config, SPEC, state, *(jnp.asarray(x, jnp.float32) for x in (obs, action, next_obs)))
    exact = by_hand(config, state, obs, action, next_obs)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    assert np.ptp(exact) > 1


@pytest.mark.parametrize("components", MODELS)
def test_samples_have_the_density(components):
    config, count = MODELS[components], 40_000
    state = random_state(config)
    obs, action = jnp.broadcast_to(jnp.array([0.3, -0.2]), (count, 2)), jnp.full((count, 1), 0.5)
    drawn = np.asarray(jax.jit(partial(mixture.sample, config, SPEC, state))(KEY, obs, action), np.float64)
    # The mean of q over a box, from samples and from the density on a grid of the box.
    middle, spread = drawn.mean(axis=0), drawn.std(axis=0)
    edges = middle + 0.7 * spread * np.array([[-1], [1]])
    inside = ((drawn > edges[0]) & (drawn < edges[1])).all(axis=1).mean()
    axes = [np.linspace(edges[0, i], edges[1, i], 201) for i in range(2)]
    grid = np.stack(np.meshgrid(*((a[1:] + a[:-1]) / 2 for a in axes), indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.prod([a[1] - a[0] for a in axes])
    here = (np.broadcast_to(np.asarray(x[0], np.float64), (len(grid), len(x[0]))) for x in (obs, action))
    mass = np.exp(by_hand(config, state, *here, grid)).sum() * cell
    assert 0.1 < mass < 0.9
    assert abs(inside - mass) < 4 * np.sqrt(mass * (1 - mass) / count)


def two_ways(count=1500, seed=0):
    """The first entry jumps by ±1, the side by a coin; the second moves with the action, with little noise."""
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(size=(count, 2)), rng.uniform(-1, 1, (count, 1))
    side = rng.choice([-1.0, 1.0], count)
    change = np.stack([side + 0.2 * rng.normal(size=count), action[:, 0] + 0.2 * rng.normal(size=count)], axis=1)
    return data(obs, action, obs + change), side


@pytest.fixture(scope="module")
def fitted():
    """Both models fitted to the same two-sided data."""
    rows, _ = two_ways()
    found = {}
    for components, config in MODELS.items():
        learner = mixture.make(config, SPEC)
        found[components] = jax.jit(learner.fit)(KEY, learner.init(KEY), rows)
    return found


def test_a_mixture_finds_both_sides_and_a_gaussian_cannot(fitted):
    test, _ = two_ways(seed=1)
    entropy = 2 * stats.norm(scale=0.2).entropy() + np.log(2)
    nll = {
        components: -float(
            mixture.log_prob(config, SPEC, fitted[components][0], *(test.transitions[i] for i in (0, 1, 4))).mean()
        )
        for components, config in MODELS.items()
    }
    # The best Gaussian has the standard deviation sqrt(1 + 0.2^2) in the first entry.
    gaussian = stats.norm(scale=np.sqrt(1.04)).entropy() + stats.norm(scale=0.2).entropy()
    assert entropy < nll[3] < entropy + 0.15
    assert gaussian < nll[1] < gaussian + 0.15
    assert gaussian > entropy + 0.5


def test_a_fit_starts_anew_or_from_the_last_one(fitted):
    rows, _ = two_ways()
    short = replace(FIT, max_steps=25)
    config = replace(MODELS[1], fit=short)
    state = fitted[1][0]
    fresh, warm = (
        jax.jit(mixture.make(replace(config, warm_start=w), SPEC).fit)(KEY, state, rows)[1]["model/holdout_nll"]
        for w in (False, True)
    )
    assert warm < fresh - 0.1


def test_weights_pull_the_model_towards_what_they_favour():
    rows, side = two_ways()
    weights = np.where(side > 0, 1.8, 0.2)
    learner = mixture.make(MODELS[3], SPEC)
    state, _ = jax.jit(learner.fit)(KEY, learner.init(KEY), rows._replace(weights=jnp.asarray(weights, jnp.float32)))
    drawn = mixture.sample(MODELS[3], SPEC, state, KEY, *(rows.transitions[i] for i in (0, 1)))
    to_the_right = (drawn - rows.transitions.obs)[:, 0] > 0
    assert abs(to_the_right.mean() - 0.9) < 0.05


@pytest.mark.parametrize("components", MODELS)
def test_batches_of_weight_zero_and_a_single_row_give_numbers(components):
    config = replace(MODELS[components], fit=replace(FIT, max_steps=50))
    learner, (rows, _) = mixture.make(config, SPEC), two_ways(40)
    update = jax.jit(learner.fit)
    nothing, info = update(KEY, learner.init(KEY), rows._replace(weights=jnp.zeros(40)))
    assert jnp.isfinite(info["model/holdout_nll"])
    one, info = update(KEY, learner.init(KEY), rows._replace(valid=jnp.arange(40) == 7))
    assert jnp.isfinite(info["model/holdout_nll"])
    for state in (nothing, one):
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
        drawn = mixture.sample(config, SPEC, state, KEY, rows.transitions.obs, rows.transitions.action)
        assert jnp.isfinite(drawn).all()


def test_the_minimum_variance_gradient_is_equation_10_on_an_enumerated_task():
    with jax.enable_x64(True):
        step = np.array([[[0.75, 0.25], [0.5, 0.5]], [[0.25, 0.75], [1.0, 0.0]]])
        mdp = tabular.make(step, [[0.0, 1.0], [2.0, 0.0]], [0.5, 0.5], 0.9)
        policy, length = jnp.full((2, 2), 0.5), 3
        paths = tabular.enumerate_paths(2, 2, length)
        log_p = tabular.log_probability(mdp, policy, paths)
        copies = np.rint(np.exp(log_p) * 2 * 4 ** (length - 1) * 2**length).astype(int)  # all probabilities are exact
        returns = tabular.path_rewards(mdp, paths).sum(axis=-1)
        assert returns.min() == 0 and np.isclose(copies.sum(), 2 * 4 ** (length - 1) * 2**length)
        who = np.repeat(np.arange(len(copies)), copies)
        weights = value_aware.return_weights(returns[who], jnp.ones(len(who), bool))
        logits = jax.random.normal(KEY, (2, 2, 2), jnp.float64)
        before, action, after = paths.states[who, :-1], paths.actions[who, :-1], paths.states[who, 1:]

        def loss(table):
            """What the learner's batches estimate: the mean over all transitions."""
            log_q = jax.nn.log_softmax(table, axis=-1)[before, action, after].reshape(-1, 1)
            return value_aware.minimum_variance_loss(log_q, jnp.repeat(weights, length - 1)).mean()

        exact = dam.minimum_variance_gradient(log_p, returns, logits, paths)
        np.testing.assert_allclose((length - 1) * jax.grad(loss)(logits), exact, rtol=1e-9, atol=1e-12)
        assert np.abs(exact).max() > 0.05


def test_return_weights_are_shifted_scaled_and_defined_everywhere():
    valid = jnp.array([True, True, True, False])
    np.testing.assert_allclose(
        value_aware.return_weights(jnp.array([-10.0, -4.0, 5.0, 99.0]), valid), [0, 6 / 7, 15 / 7, 0], rtol=1e-6
    )
    np.testing.assert_array_equal(value_aware.return_weights(jnp.array([-3.0, -3.0, -3.0, 9.0]), valid), [1, 1, 1, 0])
    np.testing.assert_array_equal(value_aware.return_weights(jnp.array([-7.0]), jnp.array([True])), [1])


JUDGE = discriminator.Config(hidden=(16, 16), fit=FIT)


def test_the_discriminator_learns_the_log_ratio_of_two_densities():
    count, rng = 4000, np.random.default_rng(0)
    obs, action = rng.normal(size=(count, 2)), rng.uniform(-1, 1, (count, 1))
    rows = data(obs, action, obs + rng.normal(size=(count, 2)) * [1.0, 0.5])

    def fake(key, obs, action):
        del action
        return obs + jnp.array([[0.5, 0.0]]) + jax.random.normal(key, obs.shape) * jnp.array([[1.0, 0.8]])

    learner = discriminator.make(JUDGE, SPEC, fake)
    state, info = jax.jit(learner.fit)(KEY, learner.init(KEY), discriminator.Data(rows, jnp.asarray(True)))
    change = np.random.default_rng(1).normal(size=(500, 2)) * [1.0, 0.5]
    exact = stats.norm.logpdf(change, 0, [1, 0.5]).sum(1) - stats.norm.logpdf(change, [0.5, 0], [1, 0.8]).sum(1)
    here = jnp.zeros((500, 2)), jnp.zeros((500, 1))
    found = discriminator.logit(JUDGE, state, *here, jnp.asarray(change, jnp.float32))
    assert np.corrcoef(found, exact)[0, 1] > 0.9
    assert np.abs(np.asarray(found) - exact).mean() < 0.3 < np.abs(exact).mean()
    assert 0 < info["disc/holdout_loss"] < 2 * np.log(2)


def test_a_discriminator_that_can_tell_all_saturates_and_stays_a_number():
    rows, _ = two_ways(200)
    learner = discriminator.make(JUDGE, SPEC, lambda key, obs, action: obs + 50.0)
    state, info = jax.jit(learner.fit)(KEY, learner.init(KEY), discriminator.Data(rows, jnp.asarray(True)))
    logit = discriminator.logit(JUDGE, state, rows.transitions.obs, rows.transitions.action, rows.transitions.next_obs)
    assert jnp.isfinite(logit).all() and logit.mean() > 3
    assert jnp.isfinite(info["disc/holdout_loss"])


def test_noise_on_what_it_sees_hides_what_is_deterministic():
    """The second entry never changes in reality, and the model's samples of it spread by 0.2."""
    count, noise, rng = 2000, 0.5, np.random.default_rng(0)
    obs, action = rng.normal(size=(count, 2)), rng.uniform(-1, 1, (count, 1))
    rows = data(obs, action, obs + rng.normal(size=(count, 2)) * [1.0, 0.0])

    def fake(key, obs, action):
        del action
        return obs + jax.random.normal(key, obs.shape) * jnp.array([[1.0, 0.2]])

    def fitted(config):
        learner = discriminator.make(config, SPEC, fake)
        return jax.jit(learner.fit)(KEY, learner.init(KEY), discriminator.Data(rows, jnp.asarray(True)))[0]

    here = jnp.zeros((count, 2)), jnp.zeros((count, 1))
    sample = fake(jax.random.key(1), *here)
    sharp = fitted(JUDGE)
    np.testing.assert_array_equal(discriminator.blurred(JUDGE, sharp, KEY, sample), sample)
    assert discriminator.logit(JUDGE, sharp, *here, sample).mean() < -2  # almost every sample is given away
    config = replace(JUDGE, noise=noise)
    soft = fitted(config)
    shown = discriminator.blurred(config, soft, KEY, sample)
    np.testing.assert_allclose((shown - sample).std(axis=0), noise * soft.targets.std, rtol=0.05)
    spread = np.hypot(noise, 0.2)  # an entry that never varies is not rescaled
    exact = stats.norm.logpdf(shown[:, 1], 0, noise) - stats.norm.logpdf(shown[:, 1], 0, spread)
    found = np.asarray(discriminator.logit(config, soft, *here, shown))
    assert np.abs(found - exact).mean() < 0.15
    assert abs(np.exp(found).mean() - 1.0) < 0.1


def test_a_discriminator_that_is_not_wanted_takes_no_step():
    rows, _ = two_ways(50)
    learner = discriminator.make(JUDGE, SPEC, lambda key, obs, action: obs)
    update = jax.jit(learner.fit)
    _, info = update(KEY, learner.init(KEY), discriminator.Data(rows, jnp.asarray(False)))
    _, wanted = update(KEY, learner.init(KEY), discriminator.Data(rows, jnp.asarray(True)))
    assert info["disc/steps"] == 0 and wanted["disc/steps"] > 0
    assert jnp.isnan(info["disc/holdout_loss"]) and jnp.isfinite(wanted["disc/holdout_loss"])
    with pytest.raises(ValueError, match=r"fitted against a model: .* got None"):
        discriminator.make(JUDGE, SPEC).fit(KEY, learner.init(KEY), discriminator.Data(rows, jnp.asarray(True)))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 39, 40])
def test_held_out_rows_never_train(count):
    valid = jnp.asarray(np.random.default_rng(count).permutation(40) < count)
    parts = fitting.split(KEY, valid, 0.25)
    held, counts = parts.holdout(10)
    held = set(np.asarray(held)[np.asarray(counts)].tolist())
    training = set(np.flatnonzero(parts.training()).tolist())
    drawn = set(np.asarray(parts.draw(KEY, 2000)).tolist())
    assert len(held) == max(1, int(0.25 * count))
    assert held | training == set(np.flatnonzero(valid).tolist())
    assert drawn == training
    assert not held & training or count == 1


def test_a_fit_keeps_its_best_and_stops_when_it_gets_worse():
    config = fitting.Config(learning_rate=0.1, batch=1, interval=5, patience=3, max_steps=10_000)

    def loss(p, key):
        return -p  # the parameter grows by 0.1 per step

    def score(p):
        return jnp.abs(p - 2.0)

    found = jax.jit(lambda: fitting.fit(KEY, config, jnp.zeros(()), loss, score))()
    np.testing.assert_allclose(found.params, 2.0, atol=1e-4)
    assert found.steps == 20 + 15
    unlimited = fitting.fit(KEY, replace(config, max_steps=10), jnp.zeros(()), loss, score)
    np.testing.assert_allclose(unlimited.params, 1.0, atol=1e-4)
    worthless = fitting.fit(KEY, config, jnp.zeros(()), loss, lambda p: p * jnp.nan)
    assert worthless.params == 0 and worthless.steps == 15 and worthless.score == jnp.inf
    rounded = fitting.fit(KEY, replace(config, max_steps=7), jnp.zeros(()), loss, score)
    assert rounded.steps == 10  # whole intervals


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: mixture.Config(components=0), "components must be at least 1, got 0"),
        (lambda: mixture.Config(hidden=(8, 0)), r"hidden must name positive widths, got \(8, 0\)"),
        (lambda: discriminator.Config(hidden=(-1,)), r"hidden must name positive widths, got \(-1,\)"),
        (lambda: mixture.Config(holdout_fraction=1.0), r"strictly between 0 and 1, got 1.0"),
        (lambda: mixture.Config(log_std=(1.0, 1.0)), "a lower and a higher bound"),
        (lambda: discriminator.Config(holdout_fraction=0.0), "strictly between 0 and 1, got 0.0"),
        (lambda: discriminator.Config(noise=-0.1), "noise must be a finite number, not negative, got -0.1"),
        (lambda: fitting.Config(interval=0), "interval must be at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()
