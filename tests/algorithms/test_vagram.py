"""VaGraM's losses against pencil, NumPy and an exact chain; its gradients, clip and objective; the whole algorithm."""

import importlib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agent import CONFIG, SPEC, agent_state, dense, mean_action, predicted, stacked, transitions

from mbrl_jax import envs, tabular
from mbrl_jax.algorithms import find, mbpo, preset, vagram
from mbrl_jax.models import ensemble


def numeric_gradients(state, obs):
    """`[batch, 4, obs_dim]` central differences of every critic at the fixed mean action."""
    obs = np.asarray(obs, np.float64)
    action = mean_action(state, obs)
    found = np.empty((len(obs), 4, SPEC.obs_dim))
    for k, params in enumerate(stacked(state)):
        for j in range(SPEC.obs_dim):
            step = 1e-6 * np.eye(SPEC.obs_dim)[j]
            up, down = (dense(params, np.concatenate([obs + s, action], -1))[:, 0] for s in (step, -step))
            found[:, k, j] = (up - down) / 2e-6
    return found


def test_both_losses_are_the_numbers_on_paper():
    gradient = jnp.asarray([[1.0, 2.0], [3.0, -1.0]])  # two critics, two entries
    error = jnp.asarray([0.5, -1.0])
    # Critic 1: terms 0.5, -2; critic 2: terms 1.5, 1.
    assert vagram.bound(gradient, error) == pytest.approx((0.25 + 4 + 2.25 + 1) / 2)
    assert vagram.first_order(gradient, error) == pytest.approx(((-1.5) ** 2 + 2.5**2) / 2)


def test_the_bound_is_never_below_first_order_over_the_dimension(rng):
    gradient, error = rng.normal(size=(1000, 3, 4)), rng.normal(size=(1000, 4))
    bound, first = vagram.bound(gradient, error), vagram.first_order(gradient, error)
    assert (4 * bound >= first * (1 - 1e-5)).all()
    assert (bound < first).any(), "without the factor it is no bound"
    # Equality of Cauchy and Schwarz: all terms g_j e_j alike.
    alike = np.array([2.0, 4.0, 1.0, 8.0])
    np.testing.assert_allclose(4 * vagram.bound(alike[None], 1 / alike), vagram.first_order(alike[None], 1 / alike))


def test_first_order_does_not_see_errors_along_level_sets_and_the_bound_does():
    gradient, error = jnp.asarray([[1.0, 2.0]]), jnp.asarray([2.0, -1.0])
    assert vagram.first_order(gradient, error) == 0
    assert vagram.bound(gradient, error) == 8
    assert vagram.bound(jnp.asarray([[1.0, 0.0]]), jnp.asarray([0.0, 7.0])) == 0, "entries without value are free"


def chain():
    """Three states in a row at positions 0, 1, 2, under one action; their exact values."""
    transition = np.array([[[0.5, 0.5, 0.0]], [[0.25, 0.25, 0.5]], [[0.0, 0.5, 0.5]]])
    mdp = tabular.make(transition, [[0.0], [0.55], [1.0]], [1.0, 0.0, 0.0], 0.9)
    return np.asarray(transition[:, 0]), np.asarray(tabular.state_value(mdp, tabular.make_policy([[1.0]] * 3, mdp)))


def test_on_the_chain_the_bound_is_the_value_error_to_first_order():
    """With V continued as the parabola through the chain's values, value errors differ from it by pencilled terms."""
    _, value = chain()
    a, b, c = np.polyfit([0.0, 1.0, 2.0], value, 2)
    assert abs(a) > 1e-3, "a curved value, else there is nothing to see"
    for s in (0.0, 1.0, 2.0):
        slope = 2 * a * s + b
        for e in (0.3, -0.2, 1e-3):
            exact = (np.polyval([a, b, c], s + e) - np.polyval([a, b, c], s)) ** 2
            loss = vagram.bound(np.array([[slope]]), np.array([e]))
            np.testing.assert_allclose(loss, (slope * e) ** 2, rtol=1e-6)
            np.testing.assert_allclose(exact - loss, 2 * a * slope * e**3 + a**2 * e**4, rtol=1e-3, atol=1e-8)
            np.testing.assert_allclose(vagram.first_order(np.array([[slope]]), np.array([e])), loss, rtol=1e-6)


def test_on_the_chain_a_linear_value_makes_the_bound_exact():
    value = 3.0 - 2.0 * np.arange(3)
    for s in range(3):
        for t in range(3):
            loss = vagram.bound(np.array([[-2.0]]), np.array([float(t - s)]))
            assert loss == (value[t] - value[s]) ** 2


def test_on_the_chain_the_best_mean_is_weighted_by_the_slopes():
    """The minimiser of E[g(s')² (m − s')²] is E[g² s'] / E[g²], not the mean: in stochastic worlds it is biased."""
    transition, value = chain()
    a, b, _ = np.polyfit([0.0, 1.0, 2.0], value, 2)
    places, row = np.arange(3.0), transition[1]
    slope = 2 * a * places + b

    def expected(mean):
        loss = vagram.bound(jnp.asarray(slope)[:, None, None], (mean - jnp.asarray(places))[:, None])
        return (jnp.asarray(row) * loss).sum()

    best = (row * slope**2 * places).sum() / (row * slope**2).sum()
    assert abs(jax.grad(expected)(best)) < 1e-5
    assert abs(best - row @ places) > 1e-2
    assert expected(best) < expected(float(row @ places))


@pytest.mark.parametrize("quantile", [0.5, 0.95, 1.0])
def test_clipped_norms_are_numpys_quantile_and_directions_stay(rng, quantile):
    gradient = rng.normal(size=(2, 50, 3, 4)) * rng.exponential(size=(2, 50, 3, 1))  # members, batch, critics, entries
    found = np.asarray(vagram.clipped(jnp.asarray(gradient, jnp.float32), jnp.ones((2, 50)), quantile))
    for member in range(2):
        for k in range(3):
            norms = np.sqrt((gradient[member, :, k] ** 2).sum(-1))
            limit = np.quantile(norms, quantile)
            expected = gradient[member, :, k] * np.minimum(1.0, limit / norms)[:, None]
            np.testing.assert_allclose(found[member, :, k], expected, rtol=2e-5)
            above = (norms > limit).sum()
            assert above == (0 if quantile == 1 else int(np.ceil(49 * (1 - quantile) - 1e-9)))


def test_rows_that_fill_up_a_batch_do_not_move_the_quantile(rng):
    gradient = jnp.asarray(rng.normal(size=(1, 30, 2, 3)), jnp.float32)
    weight = jnp.ones((1, 30)).at[:, 12:].set(0.0)
    found = vagram.clipped(gradient.at[:, 12:].multiply(1e6), weight, 0.8)
    np.testing.assert_allclose(found[:, :12], vagram.clipped(gradient[:, :12], jnp.ones((1, 12)), 0.8), rtol=1e-6)
    assert jnp.isfinite(vagram.clipped(gradient, jnp.zeros((1, 30)))).all()


def test_gradients_that_are_zero_are_left_alone():
    gradient = jnp.zeros((1, 4, 1, 2)).at[0, 0].set(3.0)
    found = vagram.clipped(gradient, jnp.ones((1, 4)), 0.5)
    assert jnp.isfinite(found).all() and (found == 0).all(), "half of the norms are zero, and so is their median"


def test_gradients_are_those_of_each_critic_by_itself(rng):
    state, obs = agent_state(), jnp.asarray(rng.normal(size=(6, SPEC.obs_dim)), jnp.float32)
    found = vagram.value_gradients(CONFIG, SPEC, state, obs)
    assert found.shape == (6, 4, SPEC.obs_dim)
    np.testing.assert_allclose(found, numeric_gradients(state, obs), rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[:, 0], found[:, 2]), "online and target critics differ"


def test_the_objective_is_the_weighted_error_plus_the_rewards(rng):
    state, scale = agent_state(), np.array([2.0, 1.0, 0.5, 3.0])
    made = vagram.objective(CONFIG, SPEC, state, quantile=0.6)
    stored = transitions(rng, 20)
    gradient = made.annotate(stored)
    np.testing.assert_allclose(gradient, numeric_gradients(state, stored.next_obs), rtol=1e-4, atol=1e-5)
    rows = np.array([[0, 3, 4, 4, 7], [1, 2, 3, 19, 18]])
    batch = jax.tree.map(lambda leaf: leaf[rows], stored._replace(extras=gradient))
    given = predicted(rng, scale=scale)
    error = (np.asarray(given.mean) - np.asarray(given.target)) * scale
    exact = numeric_gradients(state, stored.next_obs)[rows]  # members, batch, critics, entries
    norms = np.sqrt((exact**2).sum(-1))
    limit = np.quantile(norms, 0.6, axis=1, keepdims=True)
    cut = exact * np.minimum(1.0, limit / norms)[..., None]
    expected = ((cut * error[..., None, 1:]) ** 2).sum(-1).mean(-1) + error[..., 0] ** 2
    np.testing.assert_allclose(made.loss(given, batch), expected, rtol=1e-3)
    np.testing.assert_array_equal(made.score(given, batch), made.loss(given, batch))


def test_the_first_order_variant_is_passed_in(rng):
    state = agent_state()
    made = vagram.objective(CONFIG, SPEC, state, weighing=vagram.first_order, quantile=1.0)
    stored = transitions(rng, 2, 5)
    gradient = numeric_gradients(state, stored.next_obs.reshape(-1, SPEC.obs_dim)).reshape(2, 5, 4, SPEC.obs_dim)
    given = predicted(rng)
    error = np.asarray(given.mean - given.target)
    expected = ((gradient * error[..., None, 1:]).sum(-1) ** 2).mean(-1) + error[..., 0] ** 2
    batch = stored._replace(extras=jnp.asarray(gradient, jnp.float32))
    np.testing.assert_allclose(made.loss(given, batch), expected, rtol=1e-3)


def test_only_the_predicted_means_are_moved(rng):
    state = agent_state()
    stored = transitions(rng, 2, 5)

    def total(given, state):
        made = vagram.objective(CONFIG, SPEC, state)
        flat = stored._replace(next_obs=stored.next_obs.reshape(-1, SPEC.obs_dim))
        extras = made.annotate(flat).reshape(2, 5, 4, SPEC.obs_dim)
        return made.loss(given, stored._replace(extras=extras)).sum()

    of_given, of_state = jax.grad(total, argnums=(0, 1), allow_int=True)(predicted(rng), state)
    assert (of_given.mean != 0).all() and (of_given.log_var == 0).all()
    assert all((leaf == 0).all() for leaf in jax.tree.leaves((of_state.params, of_state.target)))


TINY = mbpo.Config(
    steps=20,
    warmup_steps=60,
    epoch_length=10,
    model_train_freq=10,
    updates_per_step=1,
    batch=16,
    rollout_batch=10,
    model=ensemble.Config(
        members=3, elites=2, hidden=(8,), weight_decay=(0.0, 0.0), batch=32, max_epochs=3, deterministic=True
    ),
    agent=CONFIG,
)


@pytest.mark.parametrize("name", ["vagram", "iter_vaml"])
def test_each_is_mbpo_with_its_objective_in_one_short_file(name):
    module, entry = importlib.import_module(f"mbrl_jax.algorithms.{name}"), find(name)
    assert entry.config is mbpo.Config and entry.about == module.ABOUT
    ours, theirs = preset(name, "hopper-v4"), preset("mbpo", "hopper-v4")
    assert ours == replace(theirs, model=replace(theirs.model, deterministic=True)) != theirs
    assert len(Path(module.__file__).read_text(encoding="utf-8").splitlines()) < 150
    env = envs.make("lqr-v0")
    algorithm, plain = entry.make(TINY, env), mbpo.make(TINY, env)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state, jax.jit(plain.init)(jax.random.key(0)))
    after, info = jax.jit(algorithm.step)(jax.random.key(1), state)
    other, _ = jax.jit(plain.step)(jax.random.key(1), state)
    assert all(jnp.isfinite(leaf) for key, leaf in info.items() if key.startswith(("model", "sac")))
    fitted, likelihood = (jax.tree.leaves(one.agent.model.params["net"]) for one in (after, other))
    assert not all(np.array_equal(a, b) for a, b in zip(fitted, likelihood, strict=True))
