import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mdp_batches import batched, equal, holds, property_test, verify

from mbrl_jax import tabular
from mbrl_jax.objectives import ratios, value_aware
from mbrl_jax.objectives.latent import log_reward
from mbrl_jax.theory import alm, dam


def _estimates(d):
    steps = 3 if d.mdp.initial.size == 4 else 2
    paths = tabular.enumerate_paths(*d.mdp.reward.shape, steps + 1)
    model = tabular.with_model(d.mdp, d.model)
    log_p = tabular.log_probability(d.mdp, d.policy, paths)
    chance = jnp.exp(tabular.log_probability(model, d.policy, paths))
    rewards = tabular.path_rewards(d.mdp, paths)[:, :steps]
    returns = rewards.sum(axis=-1)
    truth = jnp.exp(log_p) @ returns
    logits = dam.step_logits(d.mdp.transition, d.model, paths)
    possible = jnp.isfinite(logits)
    weights = jnp.where(possible, ratios.ratio_weight(logits), 0)
    squashed = jnp.where(possible, ratios.sigmoid_weight(logits), 0)
    powers = jnp.cumprod(weights, axis=-1)

    def second(values):
        return chance @ jnp.square(values)

    perfect = dam.stepwise_estimate(jnp.full_like(weights[:, :-1], 0.5), rewards)
    # As samples of a model that finds all paths alike likely, each with its weight up to a common factor.
    alike = ratios.self_normalised(log_p + 3.0)
    best = jnp.exp(dam.minimum_variance_distribution(log_p, returns))
    flat = jnp.where(best > 0, jnp.exp(log_p) / jnp.where(best > 0, best, 1) * returns, 0)
    return {
        "eq. 2": equal(chance @ dam.trajectory_estimate(weights[:, :-1], rewards), truth),
        "algorithm 1": equal(chance @ dam.stepwise_estimate(weights[:, :-1], rewards), truth),
        "eq. 4": equal(chance @ dam.stepwise_estimate_inclusive(weights, rewards), truth),
        "variance of a term": holds(second(powers[:, 0] * rewards[:, 1]), second(powers[:, 1] * rewards[:, 1])),
        "self-normalised": equal((jnp.exp(alike) * returns).mean(), truth),
        "eq. 9, constant": equal(best @ jnp.square(flat), jnp.square(truth)),
        "eq. 9, least": holds(jnp.square(truth), second(dam.trajectory_estimate(weights, rewards))),
        "sigmoid": equal(chance @ dam.stepwise_estimate(squashed[:, :-1], rewards), truth),
        "sigmoid, perfect model": equal(
            jnp.exp(log_p) @ perfect, jnp.exp(log_p) @ (rewards @ 0.5 ** jnp.arange(float(steps)))
        ),
    }


long = batched(_estimates, states=4, actions=2, rough=10.0, chunk=32)
wide = batched(_estimates, states=8, actions=4, rough=10.0, chunk=8)


@pytest.mark.parametrize("check", [long, wide], ids=["three steps", "8 states, 4 actions"])
@property_test()
def test_dam_estimates_are_unbiased_and_the_sigmoid_form_is_not(check, seed):
    found = check(seed)
    biased = -found.pop("sigmoid")
    assert np.mean(biased > 1e-3) > 0.99
    verify(found, ("eq. 2", "algorithm 1", "eq. 4", "self-normalised", "eq. 9, constant", "sigmoid, perfect model"))


def test_self_normalised_weights_have_mean_one_and_leave_what_cannot_be_normalised():
    weights = jnp.log(jnp.array([[1.0, 2.0, 5.0, 8.0], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]]))
    found = np.exp(ratios.self_normalised(weights))
    np.testing.assert_allclose(found, [[0.25, 0.5, 1.25, 2.0], [1, 1, 1, 1], [0, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(ratios.self_normalised(weights, 0.0), weights)
    np.testing.assert_allclose(np.exp(ratios.self_normalised(weights.T, axis=0)), found.T)
    half = np.exp(ratios.self_normalised(weights, 0.5)[:2])
    np.testing.assert_allclose(half, np.exp(weights[:2]) / np.sqrt([[4.0], [3.0]]), rtol=1e-6)
    far = ratios.self_normalised(jnp.array([-400.0, -400.0 + jnp.log(3.0)]))  # weights below the smallest float32
    np.testing.assert_allclose(np.exp(far), [0.5, 1.5], rtol=1e-4)


def _fitting(d):
    paths = tabular.enumerate_paths(*d.mdp.reward.shape, 2)
    log_p = tabular.log_probability(d.mdp, d.policy, paths)
    returns = tabular.path_rewards(d.mdp, paths).sum(axis=-1)
    logits = jax.random.normal(d.key, d.mdp.transition.shape, jnp.float64)
    best = dam.minimum_variance_distribution(log_p, returns)

    def divergence(table):
        model = tabular.with_model(d.mdp, jax.nn.softmax(table, axis=-1))
        steps = tabular.step_log_probability(model.transition, paths).sum(axis=-1)
        return -jnp.exp(best) @ steps  # KL(q* || q) up to what does not depend on the model

    def loss(table):
        steps = tabular.step_log_probability(jax.nn.softmax(table, axis=-1), paths)
        return jnp.exp(log_p) @ value_aware.minimum_variance_loss(steps, returns) / (jnp.exp(log_p) @ returns)

    exact = dam.minimum_variance_gradient(log_p, returns, logits, paths)
    return {
        "eq. 10": equal(exact, jax.grad(divergence)(logits)),
        "eq. 19 as a loss": equal(exact, jax.grad(loss)(logits)),
    }


fitting = batched(_fitting)


@property_test()
def test_dam_model_gradient_is_exact(seed):
    verify(fitting(seed), ("eq. 10", "eq. 19 as a loss"))


LATENTS = 3


def _latent(d):
    keys = jax.random.split(d.key, 4)
    scale = jnp.exp(jax.random.uniform(keys[3], (3,), jnp.float64, jnp.log(0.1), jnp.log(20.0)))
    states, actions = d.mdp.reward.shape
    sizes = (states, LATENTS), (LATENTS, actions, LATENTS), (LATENTS, actions)
    draws = (scale[i] * jax.random.normal(keys[i], sizes[i], jnp.float64) for i in range(3))
    return alm.Latent(*(jax.nn.softmax(one, axis=-1) for one in draws))


def _alm(d):
    mdp, latent, steps = d.mdp, _latent(d), 5
    truth = alm.log_normalised_return(mdp, latent)
    bounds = alm.lower_bounds(mdp, latent, steps)
    policy = latent.encoder @ latent.policy
    behaviour = 0.9 * d.other + 0.1 / d.other.shape[-1]
    offline = alm.offline_lower_bounds(mdp, latent, behaviour, steps)
    collected = jnp.log((1 - mdp.discount) * tabular.expected_return(mdp, behaviour))
    prior, payoffs = alm.horizon_prior(mdp.discount, steps), alm.terminal_rewards(mdp, policy, steps)
    weights = alm.optimal_horizon(prior, payoffs)
    arbitrary = jax.nn.softmax(jax.random.normal(d.key, (steps + 1,), jnp.float64))
    terms = jax.random.normal(d.key, (steps + 1,), jnp.float64)
    share = jax.random.uniform(d.key, (), jnp.float64)
    gap = mdp.reward - log_reward(mdp.reward, 100.0)
    return {
        "lemma A.1": equal(prior @ jnp.cumsum(terms), terms @ mdp.discount ** jnp.arange(steps + 1.0)),
        "lemma A.2": equal(prior @ payoffs, jnp.exp(truth)),
        "theorem 3.1": jnp.min(holds(bounds, truth)),
        "A.6, decreasing in K": jnp.min(holds(bounds[1:], bounds[:-1])),
        "lemma A.4": holds(alm.lambda_weighted(bounds[1:], share), truth),
        "lambda 0 is K = 1": equal(alm.lambda_weighted(bounds[1:], 0.0), bounds[1]),
        "A.4, any discount": holds(alm.optimal_horizon_bound(arbitrary, prior, jnp.log(payoffs)), truth),
        "A.5, tight": equal(alm.optimal_horizon_bound(weights, prior, jnp.log(payoffs)), truth),
        "A.7": jnp.min(holds(offline, collected)),
        "A.8, below": jnp.min(holds(0.0, gap)),
        "A.8, close": jnp.min(holds(gap, jnp.square(mdp.reward) / 200)),
    }


alm_facts = batched(_alm)


@property_test()
def test_alm_bounds_hold_for_any_encoder_model_and_policy(seed):
    verify(alm_facts(seed), ("lemma A.1", "lemma A.2", "lambda 0 is K = 1", "A.5, tight"))


def _enumerated(d):
    """One step of (state, latent) trajectories: an independent computation of the same bounds."""
    mdp, latent = d.mdp, _latent(d)
    states, actions = mdp.reward.shape
    cells = states * LATENTS
    acting = jnp.tile(latent.policy, (states, 1))
    true = jnp.einsum("san,ny->sany", mdp.transition, latent.encoder)
    true = jnp.broadcast_to(true[:, None], (states, LATENTS, actions, states, LATENTS)).reshape(cells, actions, cells)
    guess = jnp.einsum("san,zay->szany", mdp.transition, latent.dynamics).reshape(cells, actions, cells)
    start = (mdp.initial[:, None] * latent.encoder).ravel()
    joint = tabular.MDP(true, jnp.repeat(mdp.reward, LATENTS, axis=0), start, mdp.discount)
    paths = tabular.enumerate_paths(cells, actions, 2)
    log_p = tabular.log_probability(joint, acting, paths)
    log_q = tabular.log_probability(tabular.with_model(joint, guess), acting, paths)
    value = jnp.repeat(alm.normalised_q(mdp, latent.encoder @ latent.policy), LATENTS, axis=0)
    reward = joint.reward[paths.states[:, 0], paths.actions[:, 0]]
    last = value[paths.states[:, 1], paths.actions[:, 1]]
    chance = jnp.exp(log_q)

    def weigh(values):
        return tabular.product_or_zero(chance, values).sum()

    ratio, gamma, shift = weigh(log_p - log_q), mdp.discount, 1e4
    bounds = alm.lower_bounds(mdp, latent, 1)
    shifted = alm.lower_bounds(mdp._replace(reward=mdp.reward + shift), latent, 1)[1]
    linear = (1 - gamma) * weigh(reward) + gamma * weigh(last)
    elbo = alm.horizon_elbo(log_p, log_q, last)
    best = jax.nn.log_softmax(log_p + jnp.log(last))
    return {
        "K = 1": equal(bounds[1], (1 - gamma) * weigh(jnp.log(reward)) + ratio + gamma * weigh(jnp.log(last))),
        "elbo of a horizon": holds(elbo, jax.nn.logsumexp(log_p + jnp.log(last))),
        "optimal latent dynamics": equal(alm.horizon_elbo(log_p, best, last), jax.nn.logsumexp(log_p + jnp.log(last))),
        "A.8 in the objective": holds(
            jnp.abs(shift * (shifted - jnp.log(shift) - ratio) - linear), jnp.max(mdp.reward) ** 2 / (2 * shift) + 1e-6
        ),
    }


enumerated = batched(_enumerated, chunk=32)


@property_test()
def test_alm_bounds_agree_with_enumerated_latent_trajectories(seed):
    verify(enumerated(seed), ("K = 1", "optimal latent dynamics"))


def test_a7_as_printed_is_false():
    """The behaviour policy earns 1, the latent policy 100 on its first action only: nothing printed notices."""
    with jax.enable_x64(True):
        step = np.zeros((2, 2, 2))
        step[..., 1] = 1
        mdp = tabular.make(step, [[1.0, 100.0], [1.0, 1.0]], [1.0, 0.0], 0.5)
        behaviour = jnp.array([[0.99, 0.01], [0.5, 0.5]])
        dynamics = jnp.zeros((2, 2, 2)).at[..., 1].set(1.0)
        latent = alm.Latent(jnp.eye(2), dynamics, jnp.array([[0.01, 0.99], [0.5, 0.5]]))
        truth = jnp.log(0.5 * tabular.expected_return(mdp, behaviour))
        bounds = alm.offline_lower_bounds(mdp, latent, behaviour, 3)
        first = tabular.kl_divergence(latent.policy[0], behaviour[0])
        assert (bounds <= truth).all()
        assert (bounds + first > truth + 0.5).all()  # the printed form lacks this term
