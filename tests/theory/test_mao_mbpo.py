import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mdp_batches import batched, equal, holds, property_test, verify

from mbrl_jax import tabular
from mbrl_jax.tabular import divergence
from mbrl_jax.theory import mao, mbpo, prior_bounds


def _advantage(d):
    mdp, policy, model = d.mdp, d.policy, d.model
    changed = tabular.with_model(mdp, model)
    reward = mdp.reward * jnp.exp(0.3 * jax.random.normal(d.key, mdp.reward.shape, jnp.float64))
    other = tabular.with_model(mdp, model, reward)
    first, second = tabular.expected_return(mdp, policy), tabular.expected_return(other, policy)
    lemma = mao.expected_model_advantage(mdp, other, policy)
    gap = jnp.abs(tabular.expected_return(changed, policy) - first)
    values = jnp.max(jnp.abs(tabular.state_value(mdp, policy) - tabular.state_value(other, policy)))
    tight, loose = mao.classical_bound(mdp, other, policy)
    return {
        "lemma 1": equal(first, second + lemma + mao.reward_difference(mdp, other, policy)),
        "corollary 2": equal(first, second + mao.deviation_error(mdp, other, policy)),
        "L1 is the gap": equal(mao.advantage_l1(mdp, model, policy), gap),
        "L2 is its square": equal(mao.advantage_l2(mdp, model, policy), gap**2),
        "eq. 9": holds(gap, mao.advantage_l1_upper(mdp, model, policy)),
        "VAML with its factor": holds(gap**2, mao.vaml_l2_bound(mdp, model, policy)),
        "eq. 15": holds(values, tight),
        "eq. 16": holds(tight, loose),
        "Kearns and Singh": holds(prior_bounds.simulation_bound(mdp, model, policy), first),
        "Kearns and Singh, tight": equal(prior_bounds.simulation_bound(mdp, mdp.transition, policy), first),
        "Luo et al. at the reference policy": holds(
            prior_bounds.reference_policy_bound(mdp, model, policy, policy), first
        ),
    }


advantage = batched(_advantage)


@property_test()
def test_model_advantage_identities_and_bounds(seed):
    identities = ("lemma 1", "corollary 2", "L1 is the gap", "L2 is its square", "Kearns and Singh, tight")
    verify(advantage(seed), identities)


def _gradients(d):
    mdp, policy = d.mdp, d.policy
    logits = jax.random.normal(d.key, mdp.transition.shape, jnp.float64)
    value = tabular.state_value(mdp, policy)
    weight = jax.random.normal(d.key, mdp.reward.shape, jnp.float64)

    def frozen(table):
        return jnp.sum(weight * (jax.nn.softmax(table, axis=-1) @ value))

    def model_return(table):
        return tabular.expected_return(tabular.with_model(mdp, jax.nn.softmax(table, axis=-1)), policy)

    return {
        "log derivative": equal(mao.log_derivative_gradient(weight, logits, value), jax.grad(frozen)(logits)),
        "through the value": equal(mao.model_return_gradient(mdp, logits, policy), jax.grad(model_return)(logits)),
    }


gradients = batched(_gradients)


@property_test()
def test_log_derivative_gradients_equal_exact_ones(seed):
    verify(gradients(seed), ("log derivative", "through the value"))


def two_states(step, reward):
    """Two states, one action, start in the first, discount 1/2."""
    return tabular.make(np.asarray(step)[:, None, :], np.asarray(reward)[:, None], [1.0, 0.0], 0.5), jnp.ones((2, 1))


def test_corollary_2_as_printed_is_false():
    with jax.enable_x64(True):
        mdp, policy = two_states([[0, 1], [0, 1]], [0.0, 1.0])
        other, _ = two_states([[1, 0], [0, 1]], [0.0, 1.0])
        value = tabular.state_value(mdp, policy)
        change = mao.bellman_operator(mdp, policy, value)
        change -= mao.bellman_operator(other, policy, value)
        printed = tabular.occupancy(mdp, policy) @ change / 0.5
        truth = tabular.expected_return(mdp, policy) - tabular.expected_return(other, policy)
        np.testing.assert_allclose([truth, printed], [1.0, 0.5])
        np.testing.assert_allclose(mao.deviation_error(mdp, other, policy), truth)


def test_vaml_does_not_bound_the_squared_gap():
    with jax.enable_x64(True):
        mdp, policy = two_states([[0, 1], [0, 1]], [0.0, 1.0])
        model = jnp.array([[[1.0, 0.0]], [[1.0, 0.0]]])
        np.testing.assert_allclose(mao.advantage_l2(mdp, model, policy), 1.0)
        np.testing.assert_allclose(mao.vaml_l2(mdp, model, policy), 0.5)
        np.testing.assert_allclose(mao.vaml_l2_bound(mdp, model, policy), 1.0)


LENGTH = 80


def _finite(transition, policy, mdp):
    marginals = tabular.state_marginals(transition, policy, mdp.initial, LENGTH)
    return (marginals @ jnp.sum(policy * mdp.reward, axis=-1)) @ mdp.discount ** jnp.arange(float(LENGTH))


def _branches(d):
    mdp, new, old, model, gamma = d.mdp, d.policy, d.other, d.model, d.mdp.discount
    r_max = jnp.max(jnp.abs(mdp.reward))
    shift = mbpo.policy_divergence(old, new)
    error = mbpo.model_error(mdp, model, old, LENGTH)
    true, modelled = _finite(mdp.transition, new, mdp), _finite(model, new, mdp)
    old_states = tabular.state_marginals(mdp.transition, old, mdp.initial, LENGTH)
    new_states = tabular.state_marginals(model, new, mdp.initial, LENGTH)
    drift = divergence.total_variation(old_states, new_states)
    step, other_step = old @ jnp.eye(old.shape[1]), new
    joint = divergence.total_variation(
        (old_states[3][:, None] * step).ravel(), (new_states[3][:, None] * other_step).ravel()
    )
    expected, worst = mbpo.joint_divergence_bound(old_states[3], new_states[3], step, other_step)
    found = {
        "lemma B.1": holds(joint, expected),
        "lemma B.1, maximum": holds(expected, worst),
        "lemma B.2": jnp.min(holds(drift, jnp.arange(float(LENGTH)) * (error + shift))),
        "lemma B.3": holds(
            jnp.abs(_finite(mdp.transition, old, mdp) - modelled), mbpo.lemma_b3(r_max, gamma, error, shift)
        ),
        "theorem 4.1": holds(modelled - mbpo.theorem_41(r_max, gamma, error, shift), true),
    }
    for steps in (0, 1, 3):
        branch = mbpo.branched_return(mdp, model, new, old, steps, LENGTH)
        ahead = mbpo.branch_model_error(mdp, model, new, old, LENGTH, max(steps, 1))
        found[f"theorem 4.2, k={steps}"] = holds(branch - mbpo.theorem_42(r_max, gamma, steps, error, shift), true)
        found[f"theorem 4.3, k={steps}"] = holds(branch - mbpo.theorem_43(r_max, gamma, steps, ahead, shift), true)
        first = mbpo.branched_process(mdp, (mdp.transition, old), (mdp.transition, new), steps, LENGTH)
        second = mbpo.branched_process(mdp, (model, new), (model, old), steps, LENGTH)
        limit = mbpo.lemma_b4(r_max, gamma, steps, (error, ahead), (shift, shift))
        found[f"lemma B.4, k={steps}"] = holds(jnp.abs(first - second), limit)
    return found


branches = batched(_branches)


@property_test()
def test_mbpo_bounds_hold_for_any_model_and_policies(seed):
    verify(branches(seed))


@pytest.mark.parametrize(("discount", "error", "shift"), [(0.9, 0.01, 0.2), (0.99, 0.03, 0.5), (0.5, 0.3, 0.2)])
def test_best_branch_length_minimises_theorem_43(discount, error, shift):
    with jax.enable_x64(True):
        gaps = [float(mbpo.theorem_43(1.0, discount, k, error, shift)) for k in range(400)]
        best = mbpo.best_branch_length(*map(jnp.asarray, (discount, error, shift)))
        assert float(best) == np.argmin(gaps)
        assert (best > 0) == (error < shift)


def test_best_branch_length_at_the_edges():
    zero, one = jnp.zeros(()), jnp.ones(())
    assert mbpo.best_branch_length(0.9 * one, zero, 0.1 * one) == jnp.inf
    assert mbpo.best_branch_length(zero, 0.1 * one, 0.2 * one) == 1
    assert mbpo.best_branch_length(0.9 * one, 0.2 * one, 0.2 * one) == 0


def test_lemma_b2_with_kl_divergences_is_false():
    """The lemmas' hypotheses print KL; a small KL allows a total variation of its square root."""
    with jax.enable_x64(True):
        first, second = jnp.array([0.5, 0.5]), jnp.array([0.45, 0.55])
        assert divergence.total_variation(first, second) > 5 * divergence.kl_divergence(first, second)


def test_theorem_43_fails_with_errors_under_the_old_policy():
    """The old policy never leaves state 0, so its states say nothing about state 1, where the model is wrong."""
    with jax.enable_x64(True):
        step = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
        mdp = tabular.make(step, [[1.0, 1.0], [0.0, 0.0]], [1.0, 0.0], 0.5)
        model = mdp.transition.at[1].set(jnp.array([1.0, 0.0]))
        old = jnp.array([[1.0, 0.0], [1.0, 0.0]])
        new = jnp.array([[0.9, 0.1], [1.0, 0.0]])
        shift, steps = mbpo.policy_divergence(old, new), 12
        branch = mbpo.branched_return(mdp, model, new, old, steps, 60)
        truth = tabular.expected_return(mdp, new)
        assert mbpo.model_error(mdp, model, old, 60) == 0
        assert branch - mbpo.theorem_43(1.0, 0.5, steps, 0.0, shift) > truth + 0.05
        right = mbpo.branch_model_error(mdp, model, new, old, 60, steps)
        assert branch - mbpo.theorem_43(1.0, 0.5, steps, right, shift) <= truth
