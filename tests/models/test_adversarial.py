"""MnM's model: which loss reaches which network and by how much, members' draws, what the classifier learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mbrl_jax.data import normalise
from mbrl_jax.models import adversarial
from mbrl_jax.models.adversarial import network
from mbrl_jax.testing.pieces import check_dynamics
from mbrl_jax.types import Spec, Transition

SPEC = Spec(name="any-v0", engine="jax", obs_dim=2, action_dim=1, action_low=(-1.0,), action_high=(1.0,), time_limit=10)
LINEAR = adversarial.Config(members=3, hidden=(), classifier_hidden=(), reward_hidden=(), noise=0.0)
BATCH = 7
GAMMA, SCALE = 0.9, 0.5
KEY = jax.random.key(3)
LIMIT = 1.5
W = np.array([[1.0, -2.0], [0.5, 3.0]])
U = np.array([0.7, -1.1])
GAIN = np.array([0.4, -0.3])
"""Critics Q_i(s, a) = W_i s + U_i a, and the policy's mean GAIN s."""


def ends(obs):
    return obs[..., 0] > LIMIT


def by_hand(action_too=True):
    """Linear critics of a linear policy with noise; without `action_too` the action is a constant."""
    w, u, gain = (jnp.asarray(x, jnp.float32) for x in (W, U, GAIN))

    def value(obs, action):
        return jnp.einsum("cj,nj->cn", w, obs) + u[:, None] * action[None, :, 0]

    def best(obs):
        action = obs @ gain
        return value(obs, (action if action_too else jax.lax.stop_gradient(action))[:, None])

    def drawn(key, obs):
        return best(obs) + u[:, None] * 0.1 * jax.random.normal(key, (1, len(obs)))

    return adversarial.Critics(value, drawn, best, GAMMA, SCALE)


def setting(rng, config=LINEAR):
    """A state with random statistics and an averaged model of its own, and real transitions some of which end."""

    def scaler(dim):
        return normalise.Scaler(
            *(jnp.asarray(x, jnp.float32) for x in (rng.normal(size=dim), rng.uniform(0.5, 2, dim)))
        )

    state = adversarial.make(config, SPEC, adversarial.objective.APPROXIMATE).init(jax.random.key(0))
    state = state._replace(
        target=jax.tree.map(lambda x: 0.5 * x + 0.1, state.target),
        scalers=network.Scalers(scaler(3), scaler(2), scaler(2)),
    )
    obs, next_obs = jnp.asarray(rng.normal(size=(2, BATCH, 2)), jnp.float32)
    action, reward = jnp.asarray(rng.uniform(-1, 1, size=(2, BATCH)), jnp.float32)
    discount = 1.0 - ends(next_obs).astype(jnp.float32)
    batch = Transition(obs, action[:, None], reward, discount, next_obs, jnp.zeros(BATCH, bool))
    return state, batch


def weight(coefficient=0.3, counts=1.0):
    return adversarial.Weight(jnp.float32(coefficient), jnp.float32(counts))


def slopes(rng, objective, config=LINEAR, critics=None, importance=None):
    """Loss by loss its gradient in all parameters, with the setting."""
    state, batch = setting(rng, config)
    parts = adversarial.Parts(config, SPEC, ends, objective)
    given = (KEY, parts, state, critics or by_hand(), batch, importance or weight())
    found = jax.jit(jax.jacrev(lambda params: adversarial.losses(params, *given)[0]))(state.params)
    return found, state, batch


def drawn(config, state, batch):
    """What `losses` draws: noise, mean, log standard deviation, next observations, each `[members, batch, 2]`."""
    k_draw, _, _ = jax.random.split(KEY, 3)
    every = [jnp.broadcast_to(x, (config.members, *x.shape)) for x in (batch.obs, batch.action)]
    mean, log_std = network.predict(config, SPEC, state.scalers, state.params["model"], *every)
    noise, mean, log_std, obs, std, shift = (
        np.asarray(x, np.float64)
        for x in (jax.random.normal(k_draw, mean.shape), mean, log_std, every[0], *state.scalers.changes[::-1])
    )
    return noise, mean, log_std, obs + (mean + np.exp(log_std) * noise) * std + shift


def value_terms(next_obs, noisy=True):
    """Smaller critic's value and slope at the draw, by hand: the slope is W_i + U_i GAIN, the action moving too."""
    _, k_value, _ = jax.random.split(KEY, 3)
    noise = 0.1 * np.asarray(jax.random.normal(k_value, (1, next_obs[..., 0].size))).reshape(next_obs[..., 0].shape)
    action = next_obs @ GAIN + noisy * noise
    value = np.einsum("cj,mbj->cmb", W, next_obs) + U[:, None, None] * action[None]
    least = value.argmin(axis=0)
    return value.min(axis=0), (W + U[:, None] * GAIN)[least], W[least]


REACHED = {"model": {"model"}, "classifier": {"classifier"}, "reward": {"reward"}}
METHODS = {
    "MnM-approx": adversarial.objective.APPROXIMATE,
    "MnM in full": adversarial.objective.FULL,
    "likelihood": adversarial.objective.LIKELIHOOD,
    "VAML of Figure 6": adversarial.objective.TEMPORAL_DIFFERENCE,
    "VAML": adversarial.objective.VALUE_AWARE,
    "value-weighted": adversarial.objective.VALUE_WEIGHTED,
    "VMBPO": adversarial.twisted(0.3),
}


@pytest.mark.parametrize("name", METHODS)
def test_each_loss_reaches_its_own_network_and_no_other(rng, name):
    objective = METHODS[name]
    found, _, _ = slopes(rng, objective)
    assert set(found) == {"model", "reward", "classifier"} - ({"classifier"} if not objective.classifier else set())
    for loss, groups in found.items():
        reached = {group for group, tree in groups.items() if any(np.abs(x).max() > 0 for x in jax.tree.leaves(tree))}
        assert reached == REACHED[loss], loss


def test_averaged_model_and_statistics_get_no_gradient_from_any_loss(rng):
    """Nor does the averaged model from the classifier, though it makes half of the fakes."""
    state, batch = setting(rng)
    parts = adversarial.Parts(LINEAR, SPEC, ends, adversarial.objective.APPROXIMATE)

    def total(target):
        moved = state._replace(target=target)
        return sum(adversarial.losses(state.params, KEY, parts, moved, by_hand(), batch, weight())[0].values())

    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(jax.grad(total)(state.target)))


def heads(tree):
    """Gradients in the biases of means and of log standard deviations, each `[members, 2]`."""
    return np.split(np.asarray(tree["model"]["params"]["Dense_0"]["bias"], np.float64), 2, axis=-1)


def within(log_std):
    """Whether log standard deviations are not cut off, so that gradients reach what they are made of."""
    return log_std < LINEAR.largest_log_std - 1e-6


def expected_heads(by_draw, noise, log_std, std):
    """What a loss's slope in the draw is in the biases: through s' = s + μ + σ_Δ (mean + exp(log std) ε)."""
    through = by_draw * std / noise[..., 0].size
    return through.sum(axis=1), (through * np.exp(log_std) * noise * within(log_std)).sum(axis=1)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("action_too", [True, False])
def test_eq_9_moves_the_draw_by_the_values_and_the_logits_slope(rng, residual, action_too):
    config = adversarial.Config(**{**vars(LINEAR), "residual": residual})
    found, state, batch = slopes(rng, adversarial.objective.APPROXIMATE, config, by_hand(action_too))
    noise, _, log_std, next_obs = drawn(config, state, batch)
    _, with_action, without = value_terms(next_obs)
    going = 1.0 - ends(next_obs)[..., None]
    assert 0 < going.mean() < 1 and within(log_std).mean() > 0
    scaler = state.scalers.changes if residual else state.scalers.following
    odds = np.asarray(state.params["classifier"]["params"]["Dense_0"]["kernel"])[3:, 0] / np.asarray(scaler.std)
    by_draw = -(0.3 * going * (with_action if action_too else without) + odds)
    mean, deviation = expected_heads(by_draw, noise, log_std, np.asarray(state.scalers.changes.std))
    np.testing.assert_allclose(heads(found["model"])[0], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(heads(found["model"])[1], deviation, rtol=1e-4, atol=1e-6)


def test_the_classifier_learns_by_the_logistic_rule_with_the_fakes_label_raised(rng):
    found, state, batch = slopes(rng, adversarial.objective.APPROXIMATE)
    _, _, _, next_obs = drawn(LINEAR, state, batch)
    k_member, k_target, _ = jax.random.split(jax.random.split(KEY, 3)[2], 3)
    member = np.asarray(jax.random.randint(k_member, (BATCH,), 0, 3))
    averaged, _ = network.dealt(LINEAR, SPEC, state.scalers, state.target, k_target, batch.obs, batch.action)
    kinds = (batch.next_obs, next_obs[member, np.arange(BATCH)], averaged)
    x = [
        np.asarray(network.features(LINEAR, state.scalers, batch.obs, batch.action, jnp.asarray(k, jnp.float32)))
        for k in kinds
    ]
    kernel = np.asarray(state.params["classifier"]["params"]["Dense_0"]["kernel"])
    real, model, target = (1 / (1 + np.exp(-(each @ kernel))) for each in x)
    by_kernel = (real - 1) * x[0] + 0.5 * (model - 0.1) * x[1] + 0.5 * (target - 0.1) * x[2]
    of_classifier = found["classifier"]["classifier"]["params"]["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(of_classifier, by_kernel.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_the_reward_network_is_fitted_to_real_rewards_of_state_and_action(rng):
    found, state, batch = slopes(rng, adversarial.objective.APPROXIMATE)
    x = np.asarray(state.scalers.inputs.forward(jnp.concatenate([batch.obs, batch.action], axis=-1)))
    predicted = x @ np.asarray(state.params["reward"]["params"]["Dense_0"]["kernel"])[:, 0]
    expected = (2 * (predicted - np.asarray(batch.reward))[:, None] * x).mean(axis=0)
    found = found["reward"]["reward"]["params"]["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def nll_heads(state, batch, mean, log_std, weights=1.0):
    """Slopes of the mean negative log-likelihood in mean and log standard deviation, `[members, batch, 2]`."""
    change = np.asarray(batch.next_obs - batch.obs)
    target = (change - np.asarray(state.scalers.changes.mean)) / np.asarray(state.scalers.changes.std)
    off = (mean - target[None]) * np.exp(-log_std)
    return weights * off * np.exp(-log_std), weights * (1 - off**2) * within(log_std)


@pytest.mark.parametrize("counts", [0.0, 1.0])
@pytest.mark.parametrize("name", ["likelihood", "VAML of Figure 6", "VAML", "value-weighted"])
def test_the_other_losses_gradients_are_those_on_paper(rng, name, counts):
    found, state, batch = slopes(rng, METHODS[name], importance=weight(0.3 * counts, counts))
    noise, mean, log_std, next_obs = drawn(LINEAR, state, batch)
    obs, action = np.asarray(batch.obs, float), np.asarray(batch.action, float)[:, 0]
    least = (W @ obs.T + U[:, None] * action[None]).min(axis=0)
    value, by_draw, _ = value_terms(next_obs, noisy=name == "VAML of Figure 6")
    going, weights, likely = 1.0 - ends(next_obs), 1.0, 1.0
    if name == "VAML of Figure 6":
        error = SCALE * np.asarray(batch.reward)[None] + GAMMA * going * value - least[None]
        by_draw = counts * (2 * error * GAMMA * going)[..., None] * by_draw
    elif name == "VAML":
        true = (W @ np.asarray(batch.next_obs).T + U[:, None] * (np.asarray(batch.next_obs) @ GAIN)[None]).min(axis=0)
        error = going * value - np.asarray(batch.discount) * true
        by_draw, likely = counts * (2 * error * going)[..., None] * by_draw, 1 - counts
    else:
        by_draw = np.zeros_like(by_draw)
        if name == "value-weighted" and counts:
            raised = np.exp(least / least.std())
            weights = (BATCH * raised / raised.sum())[None, :, None]
    expected = expected_heads(by_draw, noise, log_std, np.asarray(state.scalers.changes.std))
    for got, through, direct in zip(
        heads(found["model"]), expected, nll_heads(state, batch, mean, log_std, weights), strict=True
    ):
        np.testing.assert_allclose(
            got, through + likely * direct.sum(axis=1) / noise[..., 0].size, rtol=1e-3, atol=1e-5
        )


def test_without_values_and_classifier_anchored_optimism_is_the_likelihood(rng):
    anchored = adversarial.Objective(adversarial.optimism(adversarial=0.0, anchor=1.0), classifier=False)
    one, _, _ = slopes(rng, anchored, importance=weight(0.0, 0.0))
    two, _, _ = slopes(np.random.default_rng(0), adversarial.objective.LIKELIHOOD)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), one, two)


def test_critics_are_paid_what_the_method_says(rng):
    state, batch = setting(rng)
    reward = network.rewards(LINEAR, SPEC, state.scalers, state.params["reward"], batch.obs, batch.action)
    odds = adversarial.logit(
        LINEAR, SPEC, state.scalers, state.params["classifier"], batch.obs, batch.action, batch.next_obs
    )

    def paid(objective):
        return adversarial.make(LINEAR, SPEC, objective, ends).paid(state, by_hand(), batch)

    for objective in (adversarial.objective.APPROXIMATE, adversarial.objective.LIKELIHOOD):
        np.testing.assert_allclose(paid(objective), SCALE * reward, rtol=1e-6)
    positive = np.maximum(reward, 1e-3)
    np.testing.assert_allclose(
        paid(adversarial.objective.FULL), (1 - GAMMA) * np.log(positive) + odds, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(paid(adversarial.twisted(0.3)), 0.3 * reward + odds, rtol=1e-5, atol=1e-6)


def test_rows_are_drawn_from_uniformly_random_members_and_keep_their_places():
    """Members that predict nothing but their own number, almost without noise."""
    config = adversarial.Config(members=3, hidden=(), classifier_hidden=(), reward_hidden=())
    state = adversarial.make(config, SPEC, adversarial.objective.APPROXIMATE).init(jax.random.key(0))
    bias = jnp.concatenate([jnp.broadcast_to(jnp.arange(3.0)[:, None], (3, 2)), jnp.full((3, 2), -100.0)], axis=-1)
    params = {"params": {"Dense_0": {"kernel": jnp.zeros((3, 3, 4)), "bias": bias}}}
    counts = np.zeros((5, 3))
    draw = jax.jit(lambda key, obs: network.dealt(config, SPEC, state.scalers, params, key, obs, obs[:, :1]))
    for rows in (5, 1):
        obs = 10.0 * jnp.arange(2.0 * rows).reshape(rows, 2)
        for i in range(60):
            next_obs, member = draw(jax.random.key(i), obs)
            np.testing.assert_allclose(next_obs - obs, np.tile(np.asarray(member)[:, None], 2), atol=1e-3)
            if rows == 5:
                assert np.ptp(np.bincount(member, minlength=3)) <= 2
                counts[np.arange(5), member] += 1
            else:
                counts[0, member[0]] += 1
    assert (counts / counts.sum(axis=1, keepdims=True)).min() > 0.15


def test_deviations_have_a_floor_and_are_cut_off_above():
    config = adversarial.Config(members=1, hidden=(), classifier_hidden=(), reward_hidden=())
    params = {"params": {"Dense_0": {"kernel": jnp.zeros((1, 3, 4)), "bias": jnp.array([[0.0, 0.0, -50.0, 50.0]])}}}
    state = adversarial.make(config, SPEC, adversarial.objective.APPROXIMATE).init(jax.random.key(0))
    zeros = jnp.zeros((1, 4, 2))
    _, log_std = network.predict(config, SPEC, state.scalers, params, zeros, zeros[..., :1])
    np.testing.assert_allclose(log_std[0, 0], [np.log(1e-5), 1.0], rtol=1e-6)
    constant = Transition(zeros[0], zeros[0, :, :1], zeros[0, :, 0], zeros[0, :, 0], zeros[0], zeros[0, :, 0] > 0)
    still = constant._replace(next_obs=1e-9 * jnp.arange(8.0).reshape(4, 2))
    found = network.scalers_of(config, still, jnp.ones(4, bool))
    np.testing.assert_allclose(found.changes.std, 1e-5)


def test_an_update_steps_every_network_once_and_moves_the_averaged_model(rng):
    state, batch = setting(rng)
    state = state._replace(opt=optax.adam(3e-4).init(state.params))
    after, info = jax.jit(
        adversarial.make(LINEAR, SPEC, adversarial.objective.APPROXIMATE, ends).update, static_argnums=2
    )(KEY, state, by_hand(), batch, weight())
    assert all(np.isfinite(x) for x in info.values())
    for group, tree in after.params.items():
        # The first step of Adam has the length of the learning rate wherever there is a gradient.
        moves = [jnp.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (tree, state.params[group])), strict=True)]
        np.testing.assert_allclose(moves, 3e-4, rtol=1e-2)
    averaged = jax.tree.map(lambda new, old: 0.999 * old + 0.001 * new, after.params["model"], state.target)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after.target, averaged)


def test_noise_is_on_the_classifiers_inputs_while_it_learns_and_nowhere_else(rng):
    noisy = adversarial.Config(**{**vars(LINEAR), "noise": 100.0})
    (still, _, _), (shaken, _, _) = (
        slopes(np.random.default_rng(0), adversarial.objective.APPROXIMATE, config) for config in (LINEAR, noisy)
    )
    jax.tree.map(np.testing.assert_array_equal, still["model"], shaken["model"])
    kernels = [x["classifier"]["classifier"]["params"]["Dense_0"]["kernel"] for x in (still, shaken)]
    assert np.abs(kernels[1][:3]).max() > 10 * np.abs(kernels[0][:3]).max(), "on state and action too"


def test_the_value_slope_is_that_of_the_smaller_critic_over_the_models_width(rng):
    state, batch = setting(rng)
    made = adversarial.make(LINEAR, SPEC, adversarial.objective.APPROXIMATE, ends)
    found = made.slope(KEY, state, by_hand(), batch, weight())
    k_draw, k_value = jax.random.split(KEY)
    every = [jnp.broadcast_to(x, (3, *x.shape)) for x in (batch.obs, batch.action)]
    mean, log_std = map(np.asarray, network.predict(LINEAR, SPEC, state.scalers, state.params["model"], *every))
    noise = np.asarray(jax.random.normal(k_draw, mean.shape))
    std = np.asarray(state.scalers.changes.std) * np.exp(log_std)
    next_obs = np.asarray(every[0]) + np.asarray(state.scalers.changes.backward(jnp.asarray(mean))) + std * noise
    jitter = 0.1 * np.asarray(jax.random.normal(k_value, (1, 3 * BATCH))).reshape(3, BATCH)
    value = np.einsum("cj,mbj->cmb", W, next_obs) + U[:, None, None] * (next_obs @ GAIN + jitter)[None]
    slope = (W + U[:, None] * GAIN)[value.argmin(axis=0)] * (1.0 - ends(next_obs))[..., None]
    np.testing.assert_allclose(found, np.linalg.norm(0.3 * std * slope, axis=-1).mean(), rtol=1e-4)


@jax.jit
def trained(shift):
    """What a classifier says of real and imagined transitions when the world is the model, moved by `shift`."""
    config = adversarial.Config(members=2, hidden=(), classifier_hidden=(16,), reward_hidden=(), noise=0.0)
    state = adversarial.make(config, SPEC, adversarial.objective.APPROXIMATE).init(jax.random.key(0))
    parts, optimiser = adversarial.Parts(config, SPEC, None, adversarial.objective.APPROXIMATE), optax.adam(5e-3)

    def loss(classifier, key):
        k_obs, k_draw, k_loss = jax.random.split(key, 3)
        obs, flat = jax.random.normal(k_obs, (256, 2)), jnp.zeros(256)
        following, _ = network.dealt(config, SPEC, state.scalers, state.params["model"], k_draw, obs, obs[:, :1])
        real = Transition(obs, obs[:, :1], flat, flat + 1, following + shift, flat > 0)
        params = {**state.params, "classifier": classifier}
        found, info = adversarial.losses(params, k_loss, parts, state, by_hand(), real, weight(0.0, 0.0))
        return found["classifier"], info

    def step(carry, key):
        classifier, opt = carry
        grads, info = jax.grad(loss, has_aux=True)(classifier, key)
        updates, opt = optimiser.update(grads, opt)
        return (optax.apply_updates(classifier, updates), opt), info

    start = state.params["classifier"]
    _, info = jax.lax.scan(step, (start, optimiser.init(start)), jax.random.split(jax.random.key(1), 300))
    return [info[f"mnm/logit_{name}"][-100:].mean() for name in ("real", "model", "target")]


def test_a_perfect_model_gives_the_classifier_no_advantage():
    """With smoothing 0.1 its logit is log(1.1 / 0.9) everywhere; against another world it is not."""
    perfect, off = trained(0.0), trained(1.0)
    np.testing.assert_allclose(perfect, np.log(1.1 / 0.9), atol=0.05)
    assert perfect[0] - perfect[1] < 0.05 and off[0] - off[1] > 0.2


def test_the_averaged_model_can_be_rolled_out(rng):
    state, _ = setting(rng)
    check_dynamics(adversarial.dynamics(LINEAR, SPEC, state, ends), SPEC)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"members": 0}, "members must be at least 1, got 0"),
        ({"hidden": (0,)}, "hidden must name positive widths"),
        ({"tau": 0.0}, r"tau must lie in \(0, 1\], got 0.0"),
        ({"smoothing": 1.0}, r"smoothing must lie in \[0, 1\), got 1.0"),
        ({"smoothing": -0.1}, r"smoothing must lie in \[0, 1\], got -0.1"),
        ({"noise": -1.0}, "noise must be a finite number, not negative"),
        ({"least_std": 2.0}, r"least_std must lie in \[0, 1\), got 2.0"),
    ],
)
def test_impossible_models_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        adversarial.Config(**changes)
