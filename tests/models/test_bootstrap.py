"""PETS's ensemble: bootstrap samples, the fit's steps and loss, forms, and the variances of TS∞ and TS1."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.algorithms.pets import FORMS
from mbrl_jax.models import bootstrap, particles
from mbrl_jax.testing import check_model
from mbrl_jax.types import Spec, Transition

KEY = jax.random.key(0)
SPEC = rollouts.normalised(envs.make("lqr-v0")).spec
CONFIG = bootstrap.Config(members=3, hidden=(8,), weight_decay=(0.1, 0.2), batch=8, epochs=2, learning_rate=1e-2)


def rows(count=20, seed=0):
    """A linear system with a little noise."""
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(size=(count, 2)), rng.uniform(-1, 1, (count, 1))
    after = obs + 0.3 * obs[:, ::-1] + action + 0.01 * rng.normal(size=(count, 2))
    columns = (jnp.asarray(x, jnp.float32) for x in (obs, action, np.zeros(count), np.ones(count), after))
    return Transition(*columns, jnp.zeros(count, bool))


def nothing(obs, action, next_obs):
    return jnp.zeros_like(obs[..., 0])


def model(config=CONFIG, form=bootstrap.PLAIN, count=6, sampling=particles.whole_rollout):
    dynamics = functools.partial(sampling, config, SPEC, form, count, nothing, None)
    return bootstrap.make(config, SPEC, form, dynamics)


def data(steps, valid=None):
    valid = jnp.ones(len(steps.reward), bool) if valid is None else valid
    return bootstrap.Data(steps, valid, jnp.int32(len(steps.reward)))


def test_bootstrap_samples_are_of_the_valid_rows_and_differ_between_members_and_calls():
    valid = jnp.arange(40) % 4 == 1
    first, second = (bootstrap.bootstrap_rows(k, 3, valid) for k in jax.random.split(KEY))
    assert first.shape == (3, 40) and (np.asarray(first) % 4 == 1).all()
    assert not np.array_equal(first, second) and not np.array_equal(first[0], first[1])
    counts = np.bincount(np.asarray(bootstrap.bootstrap_rows(KEY, 1, jnp.ones(4000, bool)))[0], minlength=4000)
    np.testing.assert_allclose((counts == 0).mean(), np.exp(-1), atol=0.03)  # with replacement


def test_a_fit_is_five_epochs_of_steps_on_all_data_and_another_draws_anew():
    learner = model(replace(CONFIG, epochs=5))
    fit, state = jax.jit(learner.fit), learner.init(KEY)
    once, info = fit(KEY, state, data(rows()))
    assert int(once.opt.count) == 5 * 3  # 20 rows in batches of 8, the last of them short
    assert int(info["model/train_size"]) == 20
    twice, _ = fit(jax.random.key(1), once, data(rows()))
    assert int(twice.opt.count) == 30
    other, _ = fit(jax.random.key(1), state, data(rows()))
    kernels = [each.params["net"]["params"]["Dense_0"]["kernel"] for each in (once, other)]
    assert not np.allclose(*kernels)


def test_rows_that_are_not_there_are_never_seen():
    steps, valid = rows(), jnp.arange(20) % 3 > 0
    spoilt = jax.tree.map(
        lambda x: jnp.where(valid.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan * x),
        steps._replace(truncated=steps.reward),
    )
    learner = model()
    fitted = [
        jax.jit(learner.fit)(KEY, learner.init(KEY), data(each, valid))[0]
        for each in (steps._replace(truncated=steps.reward), spoilt)
    ]
    jax.tree.map(np.testing.assert_array_equal, *fitted)
    kept = np.asarray(jnp.concatenate([steps.obs, steps.action], axis=-1))[np.asarray(valid)]
    np.testing.assert_allclose(fitted[0].inputs.mean, kept.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(fitted[0].inputs.std, kept.std(axis=0), rtol=1e-5)


def test_the_loss_is_the_formula():
    """Likelihood by members, half the squares of all weights by layer, and the width of the bounds."""
    rng, state = np.random.default_rng(1), model().init(KEY)
    x, y = rng.normal(size=(3, 5, 3)), rng.normal(size=(3, 5, 2))
    weight = np.array([[1, 1, 1, 1, 0]] * 3)
    batch = bootstrap._Batch(*(jnp.asarray(each, jnp.float32) for each in (x, y, weight)))
    found, fitted = bootstrap._loss(CONFIG, state.params, batch)
    layers = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params["net"]["params"])

    def softplus(z):
        return np.log1p(np.exp(z))

    total = 0.0
    for i in range(3):
        hidden = x[i] @ layers["Dense_0"]["kernel"][i] + layers["Dense_0"]["bias"][i]
        hidden = hidden / (1 + np.exp(-hidden))
        raw = hidden @ layers["Dense_1"]["kernel"][i] + layers["Dense_1"]["bias"][i]
        log_var = 0.5 - softplus(0.5 - raw[:, 2:])
        log_var = -10.0 + softplus(log_var + 10.0)
        total += ((raw[:, :2] - y[i]) ** 2 * np.exp(-log_var) + log_var)[:4].mean()
    np.testing.assert_allclose(fitted, total / 3, rtol=1e-5)
    squares = [0.5 * (layers[f"Dense_{i}"]["kernel"] ** 2).sum() for i in range(2)]
    np.testing.assert_allclose(found, total + 0.1 * squares[0] + 0.2 * squares[1] + 0.01 * 2 * 10.5, rtol=1e-5)


def test_a_fit_learns_the_system():
    config = replace(CONFIG, hidden=(32,), weight_decay=(0.0, 0.0), batch=32, epochs=60)
    learner, steps = model(config), rows(400)
    state, _ = jax.jit(learner.fit)(KEY, learner.init(KEY), data(steps))
    fresh = rows(300, seed=5)
    dynamics = learner.dynamics(state)
    found = dynamics.step(KEY, dynamics.start(KEY, fresh.obs), fresh.obs, fresh.action)[1].next_obs
    assert np.abs(found - fresh.next_obs).mean() < 0.15 * np.abs(fresh.next_obs - fresh.obs).mean()


@functools.cache
def drifting(drifts, std):
    """An ensemble whose i-th member moves each entry by its drift, with noise of that deviation."""
    config = bootstrap.Config(members=len(drifts), hidden=(), weight_decay=(0.0,))
    state = model(config).init(KEY)
    kernel = jnp.zeros_like(state.params["net"]["params"]["Dense_0"]["kernel"])
    # The bounds' softplus undone: high - softplus(high - raw) = v, and v = log variance at so low a lower bound.
    wanted = np.log(std**2)
    raw = 0.5 - np.log(np.expm1(0.5 - wanted))
    bias = jnp.stack([jnp.asarray([drift, drift, raw, raw], jnp.float32) for drift in drifts])
    params = {**state.params, "net": {"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}}
    params["min_log_var"] = jnp.full(2, -40.0)
    return config, state._replace(params=params)


def ends(sampling, drifts, std, horizon=6, groups=2000, count=8):
    """Where particles are after some steps, `[groups, count, 2]`."""
    config, state = drifting(drifts, std)
    dynamics = sampling(config, SPEC, bootstrap.PLAIN, count, nothing, None, state)
    policy = rollouts.follow(jnp.zeros((groups * count, horizon, 1)))
    start = rollouts.begin(KEY, dynamics, policy, jnp.zeros((groups * count, 2)))
    end, _ = rollouts.unroll(jax.random.split(KEY, horizon), dynamics, policy, start)
    return np.asarray(end.obs).reshape(groups, count, 2)


@pytest.mark.parametrize(
    ("sampling", "power"), [(particles.whole_rollout, 2), (particles.every_step, 1)], ids=["infinity", "one"]
)
def test_the_variances_of_both_samplings_are_those_of_the_formulas(sampling, power):
    """H steps with member drifts b and noise σ: H σ² + H² Var(b) for TS∞, H (σ² + Var(b)) for TS1."""
    drifts, std, horizon = (-0.5, 0.2, 0.3, 1.0), 0.3, 6
    found = ends(sampling, drifts, std, horizon)
    wanted = horizon * std**2 + horizon**power * np.var(drifts)
    np.testing.assert_allclose(found.var(), wanted, rtol=0.03)
    np.testing.assert_allclose(found.mean(), horizon * np.mean(drifts), atol=4 * np.sqrt(wanted / found.size) + 1e-4)


def test_members_that_agree_make_both_samplings_alike():
    pair = [ends(sampling, (0.4,) * 4, 0.3).var() for sampling in (particles.whole_rollout, particles.every_step)]
    np.testing.assert_allclose(pair, 6 * 0.09, rtol=0.03)


@pytest.mark.parametrize("sampling", [particles.whole_rollout, particles.every_step])
def test_every_member_has_its_exact_share_of_every_group_in_one_step(sampling):
    found = ends(sampling, (0.0, 1.0, 2.0, 3.0), 1e-3, horizon=1, groups=50)
    members = np.rint(found[..., 0])
    assert (np.sort(members, axis=1) == [0, 0, 1, 1, 2, 2, 3, 3]).all()
    alike = (members == members[0]).all()
    assert alike if sampling is particles.whole_rollout else not alike


def test_places_are_sorted_by_member():
    rank = jnp.array([[0, 1, 2, 3], [3, 0, 2, 1]])
    # Two members, two groups of four: the first member's rows are those of ranks 0 and 1.
    np.testing.assert_array_equal(particles.places(rank, 2), [0, 1, 4, 5, 7, 2, 6, 3])


def test_uneven_particles_are_refused():
    with pytest.raises(ValueError, match="got 7 rows, 6 particles and 3 members"):
        particles.whole_rollout(CONFIG, SPEC, bootstrap.PLAIN, 6, nothing, None, model().init(KEY)).start(
            KEY, jnp.zeros((7, 2))
        )
    with pytest.raises(ValueError, match="weight_decay needs one coefficient per layer, output included: 3"):
        bootstrap.Config(hidden=(8, 8))


CARTPOLE = Spec(name="c", engine="jax", obs_dim=4, action_dim=1, action_low=(-1.0,), action_high=(1.0,), time_limit=1)


def test_forms_are_undone_and_the_cartpoles_angle_is_seen_as_sine_and_cosine(rng):
    form = FORMS["pets_cartpole-v0"]
    assert bootstrap.dims(CARTPOLE, form) == (6, 4) and bootstrap.dims(CARTPOLE, bootstrap.PLAIN) == (5, 4)
    seen = form.encode(jnp.array([0.5, jnp.pi / 6, 2.0, 3.0]))
    np.testing.assert_allclose(seen, [0.5, np.sqrt(3) / 2, 0.5, 2.0, 3.0], rtol=1e-6)
    obs, after = jnp.asarray(rng.normal(size=(2, 7, 4)), jnp.float32)
    np.testing.assert_allclose(form.decode(obs, form.target(obs, after)), after, rtol=1e-6, atol=1e-6)


def test_an_update_is_a_step_of_all_members_on_the_same_rows():
    learner, steps = model(), rows(6)
    state = learner.init(KEY)
    new, info = jax.jit(learner.update)(KEY, state, jax.tree.map(lambda x: x[None], steps))
    x, y = jnp.concatenate([steps.obs, steps.action], axis=-1), steps.next_obs - steps.obs
    every = [jnp.broadcast_to(each, (3, *each.shape)) for each in (x, y, jnp.ones(6))]
    loss = bootstrap._loss(CONFIG, state.params, bootstrap._Batch(*every))[1]
    np.testing.assert_allclose(info["model/loss"][0], loss, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), new.params, state.params)
    np.testing.assert_allclose(jax.tree.leaves(moved), 0.01, rtol=1e-3)  # Adam's first step is the rate, everywhere


def test_it_keeps_the_contract_of_a_model():
    check_model(model(replace(CONFIG, members=7), count=7), SPEC, data(rows()))
