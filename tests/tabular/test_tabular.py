import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_jax import tabular
from mbrl_jax.tabular import gridworld

STEP = [[[0.9, 0.1], [0.0, 1.0]], [[0.5, 0.5], [1.0, 0.0]]]
REWARD = [[1.0, 0.0], [2.0, -1.0]]


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def changed(values, index, value):
    array = np.array(values, dtype=float)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"transition": changed(STEP, (0, 1, 0), 0.2)}, r"transition must sum to 1 .* 1\.2 at index \[0, 1\]"),
        (
            {"transition": changed(STEP, (1, 0, 0), -0.5)},
            r"transition must be non-negative.*-0\.5 at index \[1, 0, 0\]",
        ),
        ({"transition": changed(STEP, (1, 1, 1), np.nan)}, r"transition must be finite, got nan at index \[1, 1, 1\]"),
        ({"transition": np.ones((2, 2, 3)) / 3}, r"transition must have the shape \(2, 2, 2\).*got \(2, 2, 3\)"),
        ({"reward": [1.0, 2.0]}, r"reward must have the shape \[states, actions\], got \(2,\)"),
        ({"reward": changed(REWARD, (0, 1), np.inf)}, r"reward must be finite, got inf at index \[0, 1\]"),
        ({"initial": [0.5, 0.6]}, r"initial must sum to 1.*1\.1 at index \[\]"),
        ({"initial": [1.5, -0.5]}, r"initial must be non-negative.*-0\.5 at index \[1\]"),
        ({"discount": 1.0}, r"0 <= discount < 1, got 1\.0"),
        ({"discount": -0.1}, r"0 <= discount < 1, got -0\.1"),
        ({"discount": np.nan}, "0 <= discount < 1, got nan"),
        ({"positive_reward": True}, r"reward must be positive where its log is taken, got 0\.0 at index \[0, 1\]"),
    ],
)
def test_bad_mdps_are_refused_with_the_rule_and_the_entry(arguments, rule):
    good = {"transition": STEP, "reward": REWARD, "initial": [1.0, 0.0], "discount": 0.9}
    tabular.make(**good)
    with pytest.raises(ValueError, match=rule):
        tabular.make(**{**good, **arguments})


def test_bad_policies_and_models_are_refused():
    mdp = tabular.make(STEP, REWARD, [1.0, 0.0], 0.9)
    tabular.make_policy([[0.5, 0.5], [1.0, 0.0]], mdp)
    tabular.make_dynamics(STEP, mdp)
    with pytest.raises(ValueError, match=r"policy must sum to 1"):
        tabular.make_policy([[0.5, 0.4], [1.0, 0.0]], mdp)
    with pytest.raises(ValueError, match=r"transition must have the shape"):
        tabular.make_dynamics(np.ones((2, 2)) / 2, mdp)


shapes = st.tuples(st.integers(2, 8), st.integers(1, 4), st.floats(0, 0.98), st.integers(0, 2**31 - 1))


def random_task(states, actions, discount, seed):
    rng = np.random.default_rng(seed)
    step = rng.dirichlet(np.full(states, rng.choice([0.05, 1.0])), size=(states, actions))
    step /= step.sum(-1, keepdims=True)
    mdp = tabular.make(step, rng.normal(size=(states, actions)), rng.dirichlet(np.ones(states)), discount)
    return mdp, tabular.make_policy(rng.dirichlet(np.ones(actions), size=states), mdp)


@jax.jit
def evaluate(mdp, policy):
    value = tabular.state_value(mdp, policy)
    marginals = tabular.state_marginals(mdp.transition, policy, mdp.initial, 3)
    returned = tabular.expected_return(mdp, policy)
    return value, returned, tabular.occupancy(mdp, policy), tabular.action_value(mdp, value), marginals[2]


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(shapes)
def test_evaluation_of_any_shape_agrees_with_numpy(shape):
    mdp, policy = random_task(*shape)
    step, reward, start, discount = map(np.asarray, mdp)
    walk = np.einsum("sa,san->sn", policy, step)
    inverse = np.linalg.inv(np.eye(len(walk)) - discount * walk)
    value = inverse @ (policy * reward).sum(-1)
    visits = (1 - discount) * start @ inverse
    expected = value, start @ value, visits, reward + discount * step @ value, start @ walk @ walk
    for one, other in zip(evaluate(mdp, policy), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_value_iteration_finds_the_best_of_all_deterministic_policies():
    for seed in range(5):
        mdp, _ = random_task(4, 3, 0.9, seed)
        policies = jnp.eye(3)[jnp.asarray(list(itertools.product(range(3), repeat=4)))]
        best = jax.vmap(tabular.state_value, (None, 0))(mdp, policies).max(axis=0)
        found = tabular.value_iteration(mdp)
        np.testing.assert_allclose(found.value, best, rtol=1e-10)
        np.testing.assert_allclose(tabular.state_value(mdp, found.policy), best, rtol=1e-10)


def test_a_chain_by_hand():
    """0 -> 1 -> 1 ...: rewards 1 then 2 forever, so V(1) = 2 / (1 - 0.5) and V(0) = 1 + 0.5 V(1)."""
    mdp = tabular.make([[[0, 1]], [[0, 1]]], [[1.0], [2.0]], [1, 0], 0.5)
    policy = jnp.ones((2, 1))
    np.testing.assert_allclose(tabular.state_value(mdp, policy), [3.0, 4.0])
    np.testing.assert_allclose(tabular.occupancy(mdp, policy), [0.5, 0.5])
    np.testing.assert_allclose(tabular.return_variance(mdp, policy), 0.0, atol=1e-12)


def test_variance_and_probabilities_agree_with_enumeration():
    mdp, policy = random_task(3, 2, 0.3, 7)
    paths = tabular.enumerate_paths(3, 2, 5)
    chance = np.exp(tabular.log_probability(mdp, policy, paths))
    assert chance.size == 6**5
    np.testing.assert_allclose(chance.sum(), 1.0)
    returns = np.asarray(tabular.path_rewards(mdp, paths)) @ 0.3 ** np.arange(5)
    spread = chance @ returns**2 - (chance @ returns) ** 2
    np.testing.assert_allclose(tabular.return_variance(mdp, policy), spread, atol=0.05)  # what follows weighs 0.3^5
    np.testing.assert_allclose(tabular.expected_return(mdp, policy), chance @ returns, atol=0.02)


def test_enumeration_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"at most 10,000,000 trajectories.*\(8 \* 4\)\^5"):
        tabular.enumerate_paths(8, 4, 5)


def test_divergences_at_the_edges():
    p, q = jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])
    np.testing.assert_allclose(tabular.kl_divergence(p, q), np.log(2))
    assert tabular.kl_divergence(q, p) == jnp.inf
    np.testing.assert_allclose(tabular.total_variation(p, q), 0.5)
    np.testing.assert_allclose(tabular.log_ratio(jnp.zeros(1), jnp.zeros(1)), 0.0)


def test_gridworld_moves_stop_at_edges_and_walls():
    walls = np.array([[0, 1], [0, 0]])
    reached = gridworld.successors(walls)
    np.testing.assert_array_equal(reached[0], [0, 0, 2, 0])  # up: edge, right: wall, down, left: edge
    np.testing.assert_array_equal(reached[3], [3, 3, 3, 2])
    step = gridworld.dynamics(reached, gridworld.noisy_choice(4, 4, 0.4))
    np.testing.assert_allclose(step[0, 2], [0.3, 0, 0.7, 0])  # 0.6 + 0.1 for the chosen move


def test_random_mdps_embed_smaller_ones():
    keys = jax.random.split(jax.random.key(0), 64)
    mdps = jax.vmap(lambda key: tabular.random_mdp(key, 6, 3, scale=3.0, dtype=jnp.float64))(keys)
    np.testing.assert_allclose(mdps.transition.sum(-1), 1.0)
    np.testing.assert_allclose(mdps.initial.sum(-1), 1.0)
    assert (mdps.reward > 0).all() and (mdps.discount < 0.98).all()
    unreachable = (mdps.initial == 0).sum(-1)
    assert {int(n) for n in unreachable} == set(range(5))  # 2 to 6 states are used
    policies = jax.vmap(lambda key, mdp: tabular.random_policy(key, mdp))(keys, mdps)
    assert len({int(n) for n in (policies[:, 0] > 0).sum(-1)}) == 3


def test_everything_works_without_float64():
    with jax.enable_x64(False):
        mdp = tabular.make(STEP, REWARD, [1.0, 0.0], 0.9)
        policy = tabular.make_policy([[0.5, 0.5], [0.5, 0.5]], mdp)
        assert {leaf.dtype for leaf in mdp} == {jnp.dtype("float32")}
        found = jax.jit(tabular.value_iteration)(mdp)
        assert found.change < 1e-4
        assert tabular.expected_return(mdp, policy).dtype == jnp.float32
