"""Planning as a policy: what a plan leaves for the next step, and what starts from nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import planners, rollouts
from mbrl_jax.planners import Scored

KEY = jax.random.key(0)
HORIZON = 4
PROPOSALS = {"box": planners.box(2), "choices": planners.choices(3)}
OBS = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (3, 2)), jnp.float32)


def test_a_box_keeps_later_means_and_forgets_its_deviations():
    proposal = planners.box(2, std=0.7)
    mean = jnp.arange(8.0).reshape(4, 2)
    later, deviation = proposal.shift((mean, jnp.full((4, 2), 0.1)))
    np.testing.assert_array_equal(later, [[2, 3], [4, 5], [6, 7], [0, 0]])
    np.testing.assert_array_equal(deviation, np.full((4, 2), np.float32(0.7)))


def test_choices_keep_later_probabilities_and_end_uniform():
    proposal = planners.choices(3)
    share = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    later = np.exp(proposal.shift(jnp.asarray(np.log(share), jnp.float32)))
    np.testing.assert_allclose(later, [*share[1:], np.full(3, 1 / 3)], rtol=1e-5)


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_fresh_proposal_shifted_is_fresh_and_shapes_stay(name):
    proposal = PROPOSALS[name]
    for horizon in (1, 5):
        fresh = proposal.start(horizon)
        jax.tree.map(np.testing.assert_array_equal, proposal.shift(fresh), fresh)
        assert jax.tree.map(jnp.shape, proposal.shift(fresh)) == jax.tree.map(jnp.shape, fresh)


@pytest.mark.parametrize("name", PROPOSALS)
def test_shifting_as_often_as_the_horizon_forgets_the_plan(name):
    proposal = PROPOSALS[name]
    width = proposal.mode(proposal.start(HORIZON)).shape[1]
    sequences = jnp.eye(width)[jnp.zeros((1, HORIZON), jnp.int32)]
    params = proposal.fit(proposal.start(HORIZON), sequences, jnp.ones(1))
    assert not np.allclose(jax.tree.leaves(params)[0], jax.tree.leaves(proposal.start(HORIZON))[0])
    for _ in range(HORIZON):
        params = proposal.shift(params)
    jax.tree.map(np.testing.assert_array_equal, params, proposal.start(HORIZON))


def score(key, obs, sequences):
    """Minus the squared distance of all actions to where the observation wants them, step by step."""
    wanted = obs[0] + 0.1 * jnp.arange(float(sequences.shape[1]))[:, None]
    value = -jnp.square(sequences - wanted[None]).sum(axis=(1, 2))
    return Scored(value, jnp.ones_like(value))


SEARCHES = {
    "cross_entropy": lambda proposal: planners.cross_entropy(score, proposal, 30, HORIZON, iterations=2, elites=5),
    "mppi": lambda proposal: planners.mppi(score, proposal, 30, HORIZON, iterations=2, temperature=0.1),
}


def of_row(tree, row):
    return jax.tree.map(lambda x: x[row], tree)


def close(found, exact):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, exact)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("name", PROPOSALS)
def test_a_warm_start_is_the_last_proposal_one_step_later(name, search):
    """Three steps of the policy, each row by itself, by hand."""
    proposal = PROPOSALS[name]
    search = SEARCHES[search](proposal)
    policy = planners.warm_started(search, proposal, HORIZON)
    act, by_hand = jax.jit(policy.act), jax.jit(search)
    memory = policy.start(OBS)
    held = [proposal.start(HORIZON)] * len(OBS)
    for t in range(3):
        key = jax.random.key(t)
        before, (memory, action, plans) = memory, act(key, memory, OBS + 0.1 * t)
        for row, k in enumerate(jax.random.split(key, len(OBS))):
            jax.tree.map(np.testing.assert_array_equal, of_row(before, row), held[row])
            plan, found = by_hand(k, held[row], OBS[row] + 0.1 * t)
            close(of_row(plans, row), plan)
            np.testing.assert_array_equal(action[row], plans.action[row])
            exact = proposal.shift(found)
            held[row] = of_row(memory, row)
            close(held[row], exact)
    apart = jax.tree.leaves(memory)[0]
    assert np.abs(apart[0] - apart[1]).max() > 1e-3  # every row has a plan of its own


@pytest.mark.parametrize("name", PROPOSALS)
def test_plans_afresh_are_those_of_cold_searches_row_by_row(name):
    proposal = PROPOSALS[name]
    planner = planners.cold(SEARCHES["mppi"](proposal), proposal, HORIZON)
    policy = planners.afresh(planner)
    memory, action, plans = jax.jit(policy.act)(KEY, policy.start(OBS), OBS)
    assert memory == ()
    for row, k in enumerate(jax.random.split(KEY, len(OBS))):
        plan = jax.jit(planner)(k, OBS[row])
        close(of_row(plans, row), plan)
        np.testing.assert_array_equal(action[row], plans.action[row])


def test_warm_started_plans_get_better_where_cold_ones_cannot():
    """One iteration per step of a task that stays the same: the error of what is left of the plan falls."""
    target = jnp.array([[[0.6, -0.4]]])

    def steady(key, obs, sequences):
        value = -jnp.square(sequences - target).sum(axis=(1, 2))
        return Scored(value, jnp.ones_like(value))

    proposal = planners.box(2)
    search = planners.mppi(steady, proposal, 64, HORIZON, iterations=1, temperature=0.3)
    standing = rollouts.memoryless(lambda key, obs, action: (obs, obs[:, 0], jnp.ones(len(obs))))
    errors = {}
    for name, policy in (
        ("warm", planners.warm_started(search, proposal, HORIZON)),
        ("cold", planners.afresh(planners.cold(search, proposal, HORIZON))),
    ):
        start = rollouts.begin(KEY, standing, policy, jnp.zeros((100, 2)))
        _, steps = jax.jit(
            lambda start, policy=policy: rollouts.unroll(jax.random.split(KEY, 8), standing, policy, start)
        )(start)
        errors[name] = np.asarray(jnp.square(steps.action - target).sum(axis=-1).mean(axis=1))
    np.testing.assert_allclose(errors["warm"][0], errors["cold"][0], rtol=1e-4)  # the first plan starts from nothing
    assert errors["warm"][4:].mean() < 0.5 * errors["cold"][4:].mean()
