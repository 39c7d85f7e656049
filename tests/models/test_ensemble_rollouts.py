"""Roll-outs of ensembles: members that stay, members that are given, means instead of draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from test_ensemble import SPEC, labelled  # noqa: F401  (a fixture)

from mbrl_jax import rollouts
from mbrl_jax.data import normalise
from mbrl_jax.data.rows import row_width
from mbrl_jax.models import ensemble

KEY = jax.random.key(0)
CONFIG = ensemble.Config(members=5, elites=3, hidden=(8,), weight_decay=(0.0, 0.0))
ROWS = 40


@functools.cache
def random_state():
    """Members that differ, with scalers that change something; elites 4, 0 and 2."""
    state = ensemble.make(CONFIG, SPEC).init(KEY)
    params = {**state.params, "min_log_var": jnp.full(3, -4.0)}
    inputs = normalise.Scaler(jnp.array([0.5, -1.0, 0.2]), jnp.array([2.0, 0.5, 1.5]))
    targets = normalise.Scaler(jnp.array([0.1, -0.2, 0.3]), jnp.array([3.0, 0.25, 1.5]))
    return state._replace(params=params, inputs=inputs, targets=targets, elites=jnp.array([4, 0, 2]))


def inputs(rows=ROWS):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.uniform(-1, 1, (rows, width)), jnp.float32) for width in (2, 1)]


def predictions(obs, action):
    """Mean and log-variance of every member for every row, `[members, rows, 3]`."""
    every = [jnp.broadcast_to(x, (5, *x.shape)) for x in (obs, action)]
    return ensemble.predict(CONFIG, SPEC, random_state(), *every, jnp.arange(5))


def still(obs):
    return jnp.zeros((len(obs), 1))


STILL = rollouts.stateless(lambda key, obs: still(obs))


def test_every_row_keeps_one_uniform_elite_through_a_roll_out(labelled):  # noqa: F811
    """The reward of a step is the number of the member that predicted it."""
    config, state = labelled
    dynamics = ensemble.fixed_members(config, SPEC, state)

    @jax.jit
    def rolled(key):
        k_start, k_steps = jax.random.split(key)
        start = rollouts.begin(k_start, dynamics, STILL, jnp.zeros((3000, 2)))
        end, steps = rollouts.unroll(jax.random.split(k_steps, 4), dynamics, STILL, start)
        return start.model, end.model, steps.reward

    drawn, last, reward = (np.asarray(x) for x in rolled(KEY))
    np.testing.assert_array_equal(drawn, last)
    np.testing.assert_allclose(reward, np.broadcast_to(drawn, (4, 3000)), atol=1e-5)
    counts = np.bincount(drawn, minlength=5)
    assert counts[[1, 3]].sum() == 0 and stats.chisquare(counts[[0, 2, 4]]).pvalue > 1e-4


def test_members_move_with_their_rows_when_other_rows_end(labelled):  # noqa: F811
    """Branched roll-outs move survivors to the front; each row's member goes with it."""
    config, state = labelled
    dynamics = ensemble.fixed_members(config, SPEC, state)

    def step(key, member, obs, action):  # the first entry counts down to the end of the row, the second is its number
        member, found = dynamics.step(key, member, obs, action)
        left = obs[:, 0] - 1
        next_obs = jnp.stack([left, obs[:, 1]], axis=1)
        return member, found._replace(next_obs=next_obs, discount=(left > 0).astype(jnp.float32))

    def write(into, h, rows, count):
        return into.at[h].set(jnp.where(jnp.arange(50)[:, None] < count, rows, -1.0))

    lives = np.random.default_rng(0).integers(1, 5, 50)
    starts = jnp.stack([jnp.asarray(lives, jnp.float32), jnp.arange(50.0)], axis=1)
    ending = dynamics._replace(step=step)
    # A packed row: observation 2, action 1, reward, …
    into = jnp.zeros((4, 50, row_width(SPEC)))
    found, _ = jax.jit(lambda: rollouts.branch(KEY, ending, STILL, starts, jnp.int32(4), write, into))()
    members = np.full((4, 50), -1)
    for h, rows in enumerate(np.asarray(found)):
        there = rows[(rows >= 0).any(axis=1) & (rows[:, 0] > 0)]
        members[h, there[:, 1].astype(int)] = np.rint(there[:, 3])
    assert len(set(members[0])) == 3
    for h in range(4):
        np.testing.assert_array_equal(members[h], np.where(lives > h, members[0], -1))


@pytest.mark.parametrize("member", range(5))
def test_a_member_given_as_memory_is_the_one_that_predicts(member):
    """Elite or not; what it draws is Gaussian around its mean."""
    obs, action = inputs()
    mean, log_var = (np.asarray(x)[member] for x in predictions(obs, action))
    given = jnp.full(ROWS, member)
    dynamics = ensemble.fixed_members(CONFIG, SPEC, random_state())
    draw = jax.jit(jax.vmap(lambda key: dynamics.step(key, given, obs, action)))
    kept, (next_obs, reward, discount) = draw(jax.random.split(KEY, 200))
    assert (kept == member).all() and (discount == 1).all()
    noise = (np.concatenate([reward[..., None], next_obs], axis=-1) - mean) / np.exp(0.5 * log_var)
    assert stats.kstest(noise.reshape(-1), "norm").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(noise.reshape(-1, 3).T), np.eye(3), atol=0.05)


def test_rows_with_different_members_are_predicted_by_their_own():
    obs, action = inputs()
    mean, _ = predictions(obs, action)
    members = np.random.default_rng(1).integers(0, 5, ROWS)
    config = ensemble.Config(**{**vars(CONFIG), "deterministic": True})
    dynamics = ensemble.fixed_members(config, SPEC, random_state(), terminal=lambda obs: obs[:, 0] > 0)
    _, (next_obs, reward, discount) = jax.jit(dynamics.step)(KEY, jnp.asarray(members), obs, action)
    exact = np.asarray(mean)[members, np.arange(ROWS)]
    np.testing.assert_allclose(np.column_stack([reward, next_obs]), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(discount, exact[:, 1] <= 0)
    assert 0 < discount.mean() < 1


def test_deterministic_roll_outs_take_an_elites_mean():
    obs, action = inputs()
    mean, _ = (np.asarray(x) for x in predictions(obs, action))
    config = ensemble.Config(**{**vars(CONFIG), "deterministic": True})
    dynamics = ensemble.random_elites(config, SPEC, random_state())
    step = jax.jit(lambda key: dynamics.step(key, (), obs, action)[1])
    whose = []
    for seed in range(20):
        next_obs, reward, _ = step(jax.random.key(seed))
        distance = np.abs(np.column_stack([reward, next_obs]) - mean).max(axis=-1)
        np.testing.assert_allclose(distance.min(axis=0), 0.0, atol=1e-5)
        whose.append(distance.argmin(axis=0))
    assert set(np.unique(whose)) == {0, 2, 4}
    drawn = ensemble.random_elites(CONFIG, SPEC, random_state()).step(KEY, (), obs, action)[1]
    assert (np.abs(np.column_stack([drawn.reward, drawn.next_obs]) - mean).max(axis=-1).min(axis=0) > 1e-3).all()
