"""Planning: estimates that the discriminator makes unbiased, their limits, and searches that find what is there."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mbrl_jax import planners, rollouts
from mbrl_jax.envs import icy_road, intersection, intersection_exact

KEY, THREE = jax.random.key(0), planners.choices(3)
ICY, CROSS = icy_road.make(), intersection.make()
START = {"icy": jnp.asarray(icy_road.START), "cross": CROSS.reset(KEY).obs}


def estimate(key, model_step, *arguments, **options):
    """`planners.estimate` in a model without memory."""
    return planners.estimate(key, rollouts.memoryless(model_step), *arguments, **options)


def estimate_all(key, model_step, *arguments, **options):
    """`planners.estimate_all` in a model without memory."""
    return planners.estimate_all(key, rollouts.memoryless(model_step), *arguments, **options)


def cross_entropy(score, proposal, sequences, horizon, **options):
    """The planner that searches from nothing."""
    return planners.cold(planners.cross_entropy(score, proposal, sequences, horizon, **options), proposal, horizon)


def mppi(score, proposal, sequences, horizon, **options):
    """The planner that searches from nothing."""
    return planners.cold(planners.mppi(score, proposal, sequences, horizon, **options), proposal, horizon)


def icy_model(config):
    """The dynamics of IcyRoad as a model."""

    def step(key, obs, action):
        next_obs = icy_road.move(config, key, obs, action)
        return next_obs, icy_road.reward(obs), jnp.ones_like(obs[:, 0])

    return step


def cross_model(config):
    def step(key, obs, action):
        return intersection.move(config, key, obs, action), jnp.zeros_like(obs[:, 0]), jnp.ones_like(obs[:, 0])

    return step


def sequence(*actions):
    return jax.nn.one_hot(jnp.asarray(actions), 3)[None]


WRONG_ICE, WRONG_TURN = icy_road.Config(swerve_probability=0.4), intersection.Config(left_probability=0.8)
CASES = {
    "icy": (
        icy_model(WRONG_ICE),
        icy_road.log_ratio(icy_road.Config(), WRONG_ICE),
        ICY.path_reward,
        sequence(0, 0, 0, 0, 0),
        icy_road.exact_return(choose=lambda t, values: values[0]),
        icy_road.exact_return(WRONG_ICE, choose=lambda t, values: values[0]),
    ),
    "cross": (
        cross_model(WRONG_TURN),
        intersection.log_ratio(intersection.Config(), WRONG_TURN),
        CROSS.path_reward,
        sequence(*(2,) * 25),
        65.0,
        0.8 * 5.0 + 0.2 * 125.0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_corrected_value_of_a_wrong_model_is_unbiased_and_the_uncorrected_is_not(case):
    model, logit, path_reward, actions, truth, believed = CASES[case]
    particles, repeats = 500, 40

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    @partial(jax.vmap, in_axes=(None, 0))
    def value(key, strength):
        correction = planners.Correction(logit, strength)
        return estimate(
            key, model, START[case], actions, particles=particles, correction=correction, path_reward=path_reward
        ).value[0]

    plain, corrected = np.asarray(value(jax.random.split(KEY, repeats), jnp.array([0.0, 1.0])), np.float64).T
    for found, expected in ((plain, believed), (corrected, truth)):
        error = found.std(ddof=1) / np.sqrt(repeats)
        assert abs(found.mean() - expected) < 3 * error
        assert 3 * error < 0.3 * abs(truth - believed)  # the two cannot both be near
    assert abs(plain.mean() - truth) > 10 * plain.std() / np.sqrt(repeats)


def test_a_true_model_needs_no_correction_and_sigma_hides_a_discount():
    cruise = sequence(2, 2, 2, 2)

    @jax.jit
    def value(form):
        nothing = planners.Correction(lambda obs, action, next_obs: jnp.zeros_like(obs[:, 0]), form=form)
        model = icy_model(icy_road.Config())
        return estimate(KEY, model, START["icy"], cruise, particles=4, correction=nothing).value[0]

    np.testing.assert_allclose(value(0.0), 4.0, rtol=1e-6)
    np.testing.assert_allclose(value(1.0), 1 + 0.5 + 0.25 + 0.125, rtol=1e-6)


def swerving(particles, believed=0.4, true=0.8):
    """Exact expectation of the self-normalised value of accelerating twice, by how many of the particles swerve.

    1, then 2, then 3 with a chance to have swerved: 3 - 6 off the road, 3 + 8 on it.
    """
    off = np.arange(particles + 1)
    weight = off * true / believed, (particles - off) * (1 - true) / (1 - believed)
    mixed = (weight[0] * -3.0 + weight[1] * 11.0) / (weight[0] + weight[1])
    return 3.0 + stats.binom.pmf(off, particles, believed) @ mixed


def test_self_normalised_weights_are_consistent():
    truth, believed = 3 + 0.8 * -3 + 0.2 * 11, 3 + 0.4 * -3 + 0.6 * 11
    correction = planners.Correction(icy_road.log_ratio(icy_road.Config(), WRONG_ICE), self_normalised=1.0)
    bias = {}
    for particles, repeats in ((1, 4000), (4, 4000), (16, 4000), (64, 2000)):

        def value(key, count=particles):
            return estimate(
                key, icy_model(WRONG_ICE), START["icy"], sequence(0, 0, 2), particles=count, correction=correction
            )

        found = np.asarray(jax.jit(jax.vmap(value))(jax.random.split(KEY, repeats)).value[:, 0], np.float64)
        bias[particles] = swerving(particles) - truth
        assert abs(found.mean() - swerving(particles)) < 3.5 * found.std(ddof=1) / np.sqrt(repeats)
        assert found.min() > -1e-4 and found.max() < 14 + 1e-4  # between what can be earned
    assert bias[1] == pytest.approx(believed - truth)  # one particle is not corrected at all
    assert abs(bias[64]) < 0.1 < abs(bias[16]) < abs(bias[4])
    assert swerving(1024) - truth == pytest.approx((swerving(256) - truth) / 4, rel=0.05)  # of order 1/n


def test_a_common_factor_of_the_weights_does_not_matter_where_they_are_self_normalised():
    def value(shift, share):
        exact = icy_road.log_ratio(icy_road.Config(), WRONG_ICE)

        def logit(obs, action, next_obs):
            return exact(obs, action, next_obs) + shift

        correction = planners.Correction(logit, self_normalised=share)
        found = estimate(
            KEY, icy_model(WRONG_ICE), START["icy"], sequence(0, 0, 2, 2), particles=32, correction=correction
        )
        return found.value[0], found.ess[0]

    values = jax.jit(jax.vmap(value))(jnp.array([0.0, -2.0, 2.0, 0.0, 2.0]), jnp.array([1.0, 1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_allclose(values[0][:3], values[0][0], rtol=1e-4)
    assert values[0][4] < values[0][3] - 10 or values[0][4] > values[0][3] + 10
    np.testing.assert_allclose(values[1], values[1][0], rtol=1e-4)  # the effective sample size never changes


def paid_model(key, obs, action):
    """Pays the action's first entry; the state counts steps."""
    del key
    return obs + 1.0, action[:, 0], jnp.ones_like(obs[:, 0])


def constant(value):
    return lambda obs, action, next_obs: jnp.full_like(obs[:, 0], value)


def test_weights_are_products_in_log_space_clipped_twice():
    ones = jnp.ones((1, 6, 1))

    def value(logit, **clips):
        return float(
            estimate(
                KEY, paid_model, jnp.zeros(1), ones, correction=planners.Correction(constant(logit), **clips)
            ).value[0]
        )

    np.testing.assert_allclose(value(1.0), np.exp(np.arange(6)).sum(), rtol=1e-5)
    np.testing.assert_allclose(value(1.0, weight_clip=2.5), np.exp(np.minimum(np.arange(6), 2.5)).sum(), rtol=1e-5)
    np.testing.assert_allclose(value(4.0, logit_clip=0.5), np.exp(0.5 * np.arange(6)).sum(), rtol=1e-5)
    # A discriminator that saturates, either way, leaves numbers.
    assert value(np.inf) == pytest.approx(np.exp(np.minimum(5.0 * np.arange(6), 10)).sum(), rel=1e-5)
    assert value(-np.inf) == pytest.approx(np.exp(-5.0 * np.arange(6)).sum(), rel=1e-5)


def test_what_the_discriminator_is_shown_is_drawn_anew_at_every_step():
    """Weights `exp(d z - d^2 / 2)` of fresh noise z have mean 1, and so have their products only if it is fresh."""
    d = 0.5
    correction = planners.Correction(
        lambda obs, action, shown: d * (shown - obs - 1.0)[:, 0] - 0.5 * d**2,
        blurred=lambda key, next_obs: next_obs + jax.random.normal(key, next_obs.shape),
    )
    count = 20_000
    value = jax.jit(
        lambda key: estimate(key, paid_model, jnp.zeros(1), jnp.ones((count, 4, 1)), correction=correction).value
    )
    found = np.asarray(value(KEY), np.float64)
    assert abs(found.mean() - 4.0) < 4 * found.std() / np.sqrt(count) < 0.1
    shared = np.exp(np.arange(4) * (np.arange(4) - 1) * d**2 / 2).sum()  # with one z for all steps
    assert shared > 5


def test_nothing_is_earned_after_the_end():
    def ends_after_two(key, obs, action):
        next_obs, reward, _ = paid_model(key, obs, action)
        return next_obs, reward, (next_obs[:, 0] < 2).astype(jnp.float32)

    found = estimate(KEY, ends_after_two, jnp.zeros(1), jnp.ones((3, 5, 1)), particles=2)
    np.testing.assert_allclose(found.value, 2.0)
    np.testing.assert_allclose(found.ess, 0.0)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_final_value_is_weighted_with_all_transitions(horizon):
    """The state counts steps: seven times the path's last is what follows, seven times the number of actions."""
    found = estimate(
        KEY,
        paid_model,
        jnp.zeros(1),
        jnp.full((2, horizon, 1), 2.0),
        particles=2,
        correction=planners.Correction(constant(0.5)),
        final_value=lambda obs: 7.0 * obs[-1, :, 0] * float(len(obs) == horizon + 1),
    )
    np.testing.assert_allclose(
        found.value, 2.0 * np.exp(0.5 * np.arange(horizon)).sum() + 7 * horizon * np.exp(0.5 * horizon), rtol=1e-5
    )


@pytest.mark.parametrize("ending", [2, 4])
def test_nothing_follows_an_end(ending):
    def ends(key, obs, action):
        next_obs, reward, _ = paid_model(key, obs, action)
        return next_obs, reward, (next_obs[:, 0] < ending).astype(jnp.float32)

    value = estimate(
        KEY, ends, jnp.zeros(1), jnp.ones((1, 4, 1)), final_value=lambda obs: jnp.full(obs.shape[1], jnp.inf)
    ).value
    np.testing.assert_allclose(value, float(ending))


def test_a_final_value_is_unbiased_in_a_wrong_model():
    """A step before the turn shows: what an optimal agent will earn two steps later, corrected and not."""
    value = intersection_exact.path_value()
    steps = intersection_exact.optimal_values()
    obs = START["cross"]
    for _ in range(2):
        obs = intersection.move(intersection.Config(), KEY, obs[None], sequence(2)[0])[0]
    model, keep = cross_model(WRONG_TURN), sequence(2, 2)
    right = intersection.log_ratio(intersection.Config(), WRONG_TURN)

    def estimated(correction):
        return estimate(
            KEY,
            model,
            obs,
            jnp.repeat(keep, 4000, axis=0),
            correction=correction,
            path_reward=CROSS.path_reward,
            final_value=value,
        ).value

    place = 4 * 5  # four steps at a speed of five, in steps of 0.1 m
    exact = 5.0 + 5.0 + 0.5 * steps.known[:, 4, 5, place, 0, 0].sum()
    corrected, plain = (np.asarray(estimated(c)) for c in (planners.Correction(right), None))

    def error(x):
        return x.std() / np.sqrt(len(x))

    assert abs(corrected.mean() - exact) < 3 * error(corrected) < 6
    assert abs(plain.mean() - exact) > 10 * error(plain)


def test_an_ended_path_keeps_its_weight_among_the_others():
    """Half of the paths end in the first step; what the model says of them afterwards must not count."""

    def coin(key, obs, action):
        ends = jax.random.bernoulli(key, 0.5, obs.shape[:1]) & (obs[:, 0] == 0)
        return obs + 1.0, action[:, 0], 1.0 - ends.astype(jnp.float32)

    # A logit of 5 from the second transition on, for ended and living paths alike.
    correction = planners.Correction(
        lambda obs, action, next_obs: jnp.where(obs[:, 0] > 0, 5.0, 0.0), self_normalised=1.0
    )
    count = 20_000
    found = jax.jit(
        lambda key: estimate(key, coin, jnp.zeros(1), jnp.ones((1, 3, 1)), particles=count, correction=correction)
    )(KEY)
    # Weights: 1; 1; exp(5) of the living half against 1 of the ended one.
    share = np.exp(5.0) / (np.exp(5.0) + 1.0)
    np.testing.assert_allclose(found.value, 1.0 + 0.5 + share, atol=4 * 0.5 / np.sqrt(count) + 1e-3)


def test_effective_sample_size_is_the_particles_or_what_is_left_of_them():
    ones, start = jnp.ones((2, 3, 1)), jnp.zeros(1)
    scored = jax.jit(estimate, static_argnames=("model_step", "particles", "correction"))
    even = scored(KEY, paid_model, start, ones, particles=8)
    np.testing.assert_allclose(even.ess, 8.0, rtol=1e-6)

    def noisy(key, obs, action):
        return jax.random.bernoulli(key, 0.5, obs.shape).astype(jnp.float32), action[:, 0], jnp.ones_like(obs[:, 0])

    long = jnp.ones((64, 9, 1))
    heavy = planners.Correction(lambda obs, action, next_obs: 5.0 * (2 * next_obs[:, 0] - 1), weight_clip=50.0)
    found = scored(KEY, noisy, start, long, particles=8, correction=heavy)
    assert ((found.ess >= 1 - 1e-5) & (found.ess <= 8)).all() and found.ess.mean() < 3


def test_one_sequence_and_one_step_are_enough():
    score = partial(estimate, model_step=paid_model)

    def scored(key, obs, sequences):
        return score(key, obs=obs, sequences=sequences)

    proposal = planners.choices(3)
    for sequences, horizon in ((1, 1), (1, 4), (5, 1)):
        plan = jax.jit(planners.random_shooting(scored, proposal, sequences, horizon))(KEY, jnp.zeros(1))
        assert plan.action.sum() == 1 and np.isfinite(plan.value) and plan.ess == 1
    best = planners.exhaustive(scored, planners.all_sequences(3, 1))(KEY, jnp.zeros(1))
    np.testing.assert_array_equal(best.action, [1, 0, 0])


def test_sequences_with_shared_beginnings_are_worth_the_same_without_chance():
    """Reward, ends, weights and rewards of whole paths, in a model that draws nothing: equal to one by one."""
    pays = jnp.array([[0.5, 1.0], [-0.25, 2.0], [0.1, 3.0]])

    def model(key, obs, action):
        del key
        next_obs = jnp.tanh(obs + action[:, :1])
        return next_obs, action[:, 1] * obs[:, 0], (next_obs[:, 0] < 0.8).astype(jnp.float32)

    correction = planners.Correction(lambda obs, action, next_obs: next_obs[:, 0] - obs[:, 0] * action[:, 0])

    def whole(obs, action):
        return jnp.cumsum(obs[..., 0] * action[..., 1], axis=0)

    def last(obs):
        return 2.0 * obs[-1, :, 0] + obs[0, :, 0]

    for horizon, path_reward, final_value in ((1, None, None), (4, None, None), (4, whole, None), (4, whole, last)):
        options = {
            "particles": 2,
            "correction": correction,
            "path_reward": path_reward,
            "final_value": final_value,
        }
        every = planners.all_sequences(3, horizon) @ pays
        alone = estimate(KEY, model, jnp.array([0.3]), every, **options)
        found = estimate_all(KEY, model, jnp.array([0.3]), pays, horizon, **options)
        np.testing.assert_allclose(found.value, alone.value, rtol=1e-5)
        np.testing.assert_allclose(found.ess, alone.ess, rtol=1e-5)
        assert len(np.unique(np.asarray(alone.value))) > 2 ** (horizon - 1)


def test_sequences_with_shared_beginnings_have_the_values_of_sequences_alone():
    """In the mean, with a corrected model: the exact value by enumeration is tested for `estimate`."""
    correction = planners.Correction(icy_road.log_ratio(icy_road.Config(), WRONG_ICE))
    options = {"particles": 8, "correction": correction}
    keys, model, start = jax.random.split(KEY, 1000), icy_model(WRONG_ICE), START["icy"]
    together = jax.vmap(lambda k: estimate_all(k, model, start, jnp.eye(3), 4, **options).value)
    alone = jax.vmap(lambda k: estimate(k, model, start, planners.all_sequences(3, 4), **options).value)
    a, b = (np.asarray(jax.jit(f)(keys), np.float64) for f in (together, alone))
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / len(keys))
    np.testing.assert_array_less(abs(a.mean(axis=0) - b.mean(axis=0)), 4.5 * error + 1e-5)

    # The reward does not depend on the last transition: sequences that differ in their last action only by what it
    # pays at once have the same draws, sequences alone do not.
    def spread(values):
        return np.ptp(values.reshape(len(keys), 27, 3), axis=-1).std(axis=0).max()

    assert spread(a) < 1e-4 < spread(b)


def target_score(key, obs, sequences):
    """Deterministic: the sequence should be (0.5, -0.25, 0.1, ...) in each entry."""
    del key
    goal = jnp.array([0.5, -0.25, 0.1])[:, None] + obs[None]
    value = -jnp.square(sequences - goal[None]).sum(axis=(1, 2))
    return planners.Scored(value, jnp.ones_like(value))


@pytest.mark.parametrize("search", ["cross_entropy", "mppi"])
def test_fitted_proposals_find_the_best_actions(search):
    make = {
        "cross_entropy": partial(cross_entropy, iterations=8, elites=20),
        "mppi": partial(mppi, iterations=8, temperature=0.02),
    }[search]
    plan = jax.jit(make(target_score, planners.box(2), 300, 3))(KEY, jnp.zeros(2))
    np.testing.assert_allclose(plan.action, [0.5, 0.5], atol=0.05)
    assert -0.02 < plan.value <= 0


@pytest.mark.parametrize("search", ["cross_entropy", "mppi"])
def test_fitted_choices_find_the_best_sequence(search):
    wanted = jnp.asarray([2, 0, 1, 1, 2, 0, 0, 1])

    def score(key, obs, sequences):
        del key, obs
        value = (sequences.argmax(axis=-1) == wanted[None]).sum(axis=1).astype(jnp.float32)
        return planners.Scored(value, jnp.ones_like(value))

    make = {
        "cross_entropy": partial(cross_entropy, iterations=12, elites=12),
        "mppi": partial(mppi, iterations=12, temperature=0.5),
    }[search]
    plan = jax.jit(make(score, planners.choices(3), 120, 8))(KEY, jnp.zeros(1))
    np.testing.assert_array_equal(plan.action, [0, 0, 1])
    assert plan.value == 8


def test_scores_that_are_not_numbers_lose():
    candidates = planners.all_sequences(3, 1)
    for bad in ([jnp.nan, -jnp.inf, -3.0], [jnp.inf, jnp.nan, -3.0]):

        def score(key, obs, s, bad=bad):
            return planners.Scored(jnp.array(bad), jnp.ones(3))

        np.testing.assert_array_equal(planners.exhaustive(score, candidates)(KEY, jnp.zeros(1)).action, [0, 0, 1])


@pytest.mark.parametrize("behind", [np.inf, np.nan, 1e30])
def test_what_a_model_says_behind_an_end_is_worth_nothing(behind):
    """The task ends with the second step; rewards of 1, 1, then nonsense."""

    def step(key, obs, action):
        t = obs[:, 0]
        reward = jnp.where(t < 2, 1.0, behind)
        return obs + 1.0, reward, jnp.where(t < 1, 1.0, 0.0)

    plan = sequence(0, 0, 0, 0)
    assert estimate(KEY, step, jnp.zeros(1), plan, particles=2).value == 2.0
    shared = estimate_all(KEY, step, jnp.zeros(1), jnp.eye(3), 3, particles=2)
    np.testing.assert_array_equal(shared.value, 2.0)


def test_all_sequences_are_all_there_are():
    found = planners.all_sequences(3, 5)
    assert found.shape == (243, 5, 3) and len(np.unique(found.reshape(243, -1), axis=0)) == 243
    with pytest.raises(ValueError, match="at most 100,000"):
        planners.all_sequences(3, 15)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: planners.random_shooting(target_score, THREE, 0, 5), "sequences must be at least 1"),
        (
            lambda: planners.random_shooting(target_score, THREE, 5, 0),
            "horizon must be at least 1, got 0",
        ),
        (lambda: cross_entropy(target_score, THREE, 5, 5, elites=6), "1 <= elites <= sequences"),
        (
            lambda: mppi(target_score, THREE, 5, 5, temperature=0.0),
            "temperature must be positive",
        ),
        (lambda: mppi(target_score, THREE, 5, 5, iterations=0), "iterations must be at least 1"),
        (lambda: planners.choices(1), "at least two actions, got 1"),
    ],
)
def test_impossible_searches_are_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


def earned(env, planner, episodes):
    """Returns `[episodes]` of a planner acting in the true environment."""

    @jax.jit
    def run(key):
        steps, _ = rollouts.episodes(key, env, planners.afresh(planner), episodes)
        return steps.reward.sum(axis=1)

    return np.asarray(run(KEY), np.float64)


def test_with_the_true_model_the_planner_reaches_the_icy_optimum():
    def score(key, obs, sequences):
        correction = planners.Correction(icy_road.log_ratio(icy_road.Config(), WRONG_ICE))
        return estimate(key, icy_model(WRONG_ICE), obs, sequences, particles=64, correction=correction)

    def uncorrected(key, obs, sequences):
        return estimate(key, icy_model(WRONG_ICE), obs, sequences, particles=64)

    def shared(key, obs, sequences):
        del sequences
        correction = planners.Correction(icy_road.log_ratio(icy_road.Config(), WRONG_ICE))
        return estimate_all(key, icy_model(WRONG_ICE), obs, jnp.eye(3), 5, particles=64, correction=correction)

    every = planners.all_sequences(3, 5)
    for known in (score, shared):
        np.testing.assert_allclose(earned(ICY, planners.exhaustive(known, every), 16), icy_road.exact_return())
    assert earned(ICY, planners.exhaustive(uncorrected, every), 64).mean() < 8


def test_with_the_true_model_the_planner_earns_what_ideal_planning_does_at_the_intersection():
    def score(key, obs, sequences):
        correction = planners.Correction(intersection.log_ratio(intersection.Config(), WRONG_TURN))
        return estimate(
            key,
            cross_model(WRONG_TURN),
            obs,
            sequences,
            particles=16,
            correction=correction,
            path_reward=CROSS.path_reward,
        )

    planner = cross_entropy(score, THREE, 64, 15, iterations=3, elites=8)
    found = earned(CROSS, planner, 48)
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - intersection_exact.planned_return(15)) < 3 * error


@pytest.mark.parametrize(("horizon", "particles"), [(1, 4096), pytest.param(3, 512, marks=pytest.mark.slow)])
def test_with_the_true_model_and_what_follows_the_planner_reaches_the_optimum_at_the_intersection(horizon, particles):
    """A fixed sequence cannot react, but what follows it can: a planner that is told its value loses nothing."""

    value = intersection_exact.path_value()

    def returns(model, correction=None, final_value=value):
        """Of 48 episodes: mean return, its standard error, and the mean of the mean returns of either turn."""

        def score(key, obs, sequences):
            return estimate(
                key,
                cross_model(model),
                obs,
                sequences,
                particles=particles,
                correction=correction,
                path_reward=CROSS.path_reward,
                final_value=final_value,
            )

        found = earned(CROSS, planners.exhaustive(score, planners.all_sequences(3, horizon)), 48)
        left = found < 100
        assert 8 < left.sum() < 40
        return found.mean(), found.std(ddof=1) / np.sqrt(48), (found[left].mean() + found[~left].mean()) / 2

    optimum = intersection_exact.optimal_return()
    # Values of particles lie 50 apart: a planner may confuse actions whose values differ by less than their errors.
    noise = 25 / np.sqrt(particles)
    right = planners.Correction(intersection.log_ratio(intersection.Config(), WRONG_TURN))
    for mean, error, by_turn in (returns(intersection.Config()), returns(WRONG_TURN, right)):
        assert abs(mean - optimum) < 3 * error
        assert optimum - 2 * noise - 1e-6 <= by_turn <= optimum
    blind, _, _ = returns(intersection.Config(), final_value=None)
    assert blind < 90
