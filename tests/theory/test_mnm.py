import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mdp_batches import batched, equal, holds, property_test, verify

from mbrl_jax import tabular
from mbrl_jax.objectives import ratios
from mbrl_jax.theory import mnm, vmbpo


def _markov(d):
    mdp, policy, model = d.mdp, d.policy, d.model
    truth, bound = mnm.log_return(mdp, policy), mnm.lower_bound(mdp, model, policy)
    best, joint = mnm.best_model(mdp, policy), mnm.optimise(mdp)
    printed = mnm.tilted_model(mdp.transition, best.value)
    terms = jax.random.normal(d.key, (40,), jnp.float64)
    horizon = jax.nn.softmax(3 * jax.random.normal(d.key, (48,), jnp.float64))
    learned = mnm.learned_discount_bound(mdp, model, policy, horizon)
    value = mnm.lower_bound_values(mdp, model, policy)
    better = mnm.tilted_model(mdp.transition, mdp.discount * value)
    logit = ratios.classifier_logit(mdp.transition, model)
    estimate = ratios.classifier_reward(mdp.reward[..., None], logit, mdp.discount)
    augmented = mnm.augmented_reward(mdp, model)
    goal = jnp.argmax(d.mdp.initial)
    geometric = mdp.discount ** jnp.arange(40.0)
    optimum = tabular.value_iteration(mdp)
    return {
        "theorem 3.1": holds(bound, truth),
        "theorem 3.1 at the best model": holds(mdp.initial @ best.value, truth),
        "best model is best": holds(bound, mdp.initial @ best.value),
        "best model attains": equal(mnm.lower_bound(mdp, best.model, policy), mdp.initial @ best.value),
        "joint optimum is best": holds(mdp.initial @ best.value, mdp.initial @ joint.value),
        "joint optimum attains": equal(mnm.lower_bound(mdp, joint.model, joint.policy), mdp.initial @ joint.value),
        "joint optimum below the optimal return": holds(
            mdp.initial @ joint.value, jnp.log(mdp.initial @ optimum.value)
        ),
        "values agree": equal(mdp.initial @ value, bound),
        "eq. 9 with gamma raises the bound": holds(bound, mnm.lower_bound(mdp, better, policy)),
        "eq. 9 as printed": holds(mnm.lower_bound(mdp, printed, policy), mdp.initial @ best.value),
        "lemma A.1, lower bound": holds(learned, truth),
        "optimal discount is best": holds(learned, mnm.optimal_discount_bound(mdp, model, policy, 48)),
        "optimal discount, lower bound": holds(mnm.optimal_discount_bound(mdp, model, policy, 48), truth),
        "optimal discount attains": equal(
            mnm.learned_discount_bound(mdp, model, policy, mnm.optimal_discount(mdp, model, policy, 48)),
            mnm.optimal_discount_bound(mdp, model, policy, 48),
        ),
        "classifier reward": equal(jnp.where(model > 0, estimate, 0), jnp.where(model > 0, augmented, 0)),
        "lemma B.1": equal(mnm.expected_partial_sum(terms, mdp.discount), terms @ geometric),
        "lemma B.2": equal(mnm.expected_terminal_reward(mdp, policy) / (1 - mdp.discount), jnp.exp(truth)),
        "lemma B.3": holds(mnm.goal_lower_bound(mdp, model, policy, goal), mnm.goal_log_density(mdp, policy, goal)),
    }


IDENTITIES = (
    "best model attains",
    "joint optimum attains",
    "values agree",
    "optimal discount attains",
    "classifier reward",
    "lemma B.1",
    "lemma B.2",
)
markov = batched(_markov)


@property_test()
def test_mnm_bounds_hold_for_any_model_and_policy(seed):
    verify(markov(seed), IDENTITIES)


def _trajectories(d):
    mdp = d.mdp
    length = 3 if mdp.initial.size == 4 else 2
    paths = tabular.enumerate_paths(*mdp.reward.shape, length)
    rewards = tabular.path_rewards(mdp, paths)
    returns = mnm.finite_return(rewards, mdp.discount)
    log_p = tabular.log_probability(mdp, d.policy, paths)
    log_q = tabular.log_probability(tabular.with_model(mdp, d.model), d.policy, paths)
    truth = jax.nn.logsumexp(log_p + jnp.log(returns))
    any_horizon = jax.nn.softmax(2 * jax.random.normal(d.key, rewards.shape, jnp.float64), axis=-1)
    horizon, best = mnm.optimal_horizon(rewards, mdp.discount), mnm.optimal_trajectories(log_p, returns)

    def bound(model, times):
        return mnm.trajectory_bound(log_p, model, times, rewards, mdp.discount)

    time = jnp.arange(length, dtype=jnp.float64)
    direct = sum(
        mdp.discount**t * jnp.sum(marginal[:, None] * d.policy * mdp.reward)
        for t, marginal in enumerate(tabular.state_marginals(mdp.transition, d.policy, mdp.initial, length))
    )
    prior = tabular.truncated_geometric(mdp.discount, length)
    return {
        "probabilities": equal(jnp.exp(log_p).sum(), 1.0),
        "enumerated return": equal(jnp.exp(truth), direct),
        "geometric": equal(prior @ rewards[0] * jnp.sum(mdp.discount**time), returns[0]),
        "eq. 14": holds(bound(log_q, any_horizon), truth),
        "eq. 15 is best": holds(bound(log_q, any_horizon), bound(log_q, horizon)),
        "eq. 16 is best": holds(bound(log_q, horizon), bound(best, horizon)),
        "tight": equal(bound(best, horizon), truth),
    }


long = batched(_trajectories, states=4, actions=3, rough=20.0, chunk=32)
wide = batched(_trajectories, states=8, actions=4, rough=20.0, chunk=32)


@pytest.mark.parametrize("check", [long, wide], ids=["three steps", "8 states, 4 actions"])
@property_test()
def test_lemma_a1_is_tight_with_a_trajectory_dependent_discount(check, seed):
    verify(check(seed), ("probabilities", "enumerated return", "geometric", "tight"))


def _risk(d):
    eta, length = 0.5, 60
    chosen = tabular.greedy(d.other)
    step = tabular.policy_transition(d.mdp.transition, chosen)[:, None, :]
    model = tabular.policy_transition(d.model, chosen)[:, None, :]
    reward = jnp.sum(chosen * d.mdp.reward, axis=-1, keepdims=True)
    start = jax.nn.one_hot(jnp.argmax(d.mdp.initial), 8, dtype=jnp.float64)
    mdp, policy = tabular.MDP(step, reward, start, d.mdp.discount), jnp.ones((8, 1))
    powers = mdp.discount ** jnp.arange(float(length))

    def finite_mean(task, acting):
        marginals = tabular.state_marginals(task.transition, acting, task.initial, length)
        return powers @ (marginals @ jnp.sum(acting * task.reward, axis=-1))

    entropic = vmbpo.entropic_return(mdp, policy, eta, length)
    best = vmbpo.optimal_objective(mdp, policy, eta)
    largest = jnp.max(reward) / (1 - mdp.discount)
    return {
        "upper bound": holds(finite_mean(mdp, policy), entropic),
        "objective above the entropic return": holds(entropic, best),
        "objective above the return": holds(tabular.expected_return(mdp, policy), best),
        "any model below": holds(vmbpo.objective(mdp, model, policy, eta), best),
        "stochastic policy": holds(finite_mean(d.mdp, d.policy), vmbpo.entropic_return(d.mdp, d.policy, eta, length)),
        "variance of a bounded variable": holds(tabular.return_variance(mdp, policy), jnp.square(largest) / 4),
    }


risk = batched(_risk)


@property_test()
def test_vmbpo_maximises_an_upper_bound(seed):
    verify(risk(seed))


def test_the_expansion_sees_the_variance():
    with jax.enable_x64(True):
        mdp = tabular.make([[[0.5, 0.5]], [[0.5, 0.5]]], [[1.0], [3.0]], [1.0, 0.0], 0.9)
        policy = jnp.ones((2, 1))
        eta = 1e-3
        excess = vmbpo.entropic_return(mdp, policy, eta, 500) - tabular.expected_return(mdp, policy)
        variance = sum(0.81**t for t in range(1, 500))  # rewards 1 or 3 with equal chance, independent, from step 1 on
        np.testing.assert_allclose(tabular.return_variance(mdp, policy), variance, rtol=1e-12)
        np.testing.assert_allclose(excess, eta / 2 * variance, rtol=1e-2)


def test_lemma_b3_as_printed_is_false():
    with jax.enable_x64(True):
        mdp = tabular.make([[[0.5, 0.5]], [[0.5, 0.5]]], [[1.0], [1.0]], [1.0, 0.0], 0.5)
        policy = jnp.ones((2, 1))
        truth = mnm.goal_log_density(mdp, policy, 1)
        log_goal = jnp.log(mdp.transition[..., 1])
        printed = (log_goal - log_goal - jnp.log(1 - mdp.discount)).mean()  # the printed reward at q = p, constant
        assert printed > 0 > truth
        assert mnm.goal_lower_bound(mdp, mdp.transition, policy, 1) <= truth


def test_lemma_a1_is_not_tight_with_a_discount_of_time_alone():
    """Three steps, two branches whose rewards differ in time: no product q(tau) gamma(H) is the posterior."""
    with jax.enable_x64(True):
        step = np.zeros((5, 1, 5))
        step[0, 0, [1, 3]] = 0.5
        step[1, 0, 2] = step[3, 0, 4] = step[2, 0, 2] = step[4, 0, 4] = 1
        mdp = tabular.make(step, [[0.1], [1.0], [0.1], [0.1], [2.0]], np.eye(5)[0], 0.5)
        policy = jnp.ones((5, 1))
        truth = mnm.log_return(mdp, policy)
        shares = jnp.linspace(0.001, 0.999, 999)

        def bound(share):
            model = mdp.transition.at[0, 0, 1].set(share).at[0, 0, 3].set(1 - share)
            return mnm.optimal_discount_bound(mdp, model, policy, 60)

        best = jax.vmap(bound)(shares).max()
        assert best < truth - 0.01


def test_classifier_reward_rejects_nothing_silently_and_keeps_gradients():
    reward = jnp.array([0.5, 2.0])
    slope = jax.grad(lambda logit: ratios.classifier_reward(reward, logit, 0.9).sum())(jnp.zeros(2))
    np.testing.assert_allclose(slope, 1.0)
    np.testing.assert_allclose(ratios.classifier_reward(jnp.ones(()), jnp.zeros(()), 0.0), 0.0)


@pytest.mark.parametrize("discount", [0.0, 0.5])
def test_expected_partial_sum_needs_no_infinite_series(discount):
    np.testing.assert_allclose(mnm.expected_partial_sum(jnp.array([2.0, 4.0]), jnp.asarray(discount)), 2 + 4 * discount)


def test_the_best_model_of_eq_2_is_neither_eq_16_nor_the_printed_eq_9():
    """One coin flip to a state with reward 1 or 3 for ever: the best q(3) is sqrt(3) / (1 + sqrt(3))."""
    with jax.enable_x64(True):
        step = np.zeros((3, 1, 3))
        step[0, 0, 1:] = 0.5
        step[1, 0, 1] = step[2, 0, 2] = 1
        mdp = tabular.make(step, [[1.0], [1.0], [3.0]], [1, 0, 0], 0.5)
        policy = jnp.ones((3, 1))
        best = mnm.best_model(mdp, policy)
        np.testing.assert_allclose(best.model[0, 0, 2], 3**0.5 / (1 + 3**0.5), rtol=1e-9)

        def bound(share):
            return mnm.lower_bound(mdp, mdp.transition.at[0, 0, 1:].set(jnp.array([1 - share, share])), policy)

        eq_16 = 4 / (2 + 4)  # returns 2 and 4
        printed = mnm.tilted_model(mdp.transition, best.value)[0, 0, 2]
        np.testing.assert_allclose(printed, 3 / 4, rtol=1e-9)
        assert bound(printed) < bound(eq_16) < mdp.initial @ best.value < mnm.log_return(mdp, policy)
