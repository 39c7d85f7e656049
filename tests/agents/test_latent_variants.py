"""ALM's variants in linear networks: each loss and its gradient beside the formula written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from linear_alm import SPEC, flat_data, linear, linear_policy, seen

from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.agents.latent.networks import Config
from mbrl_jax.agents.latent.variants import FLOOR, VARIANTS, cloning, value_predicting
from mbrl_jax.networks import Diagonal

KEY = jax.random.key(0)
TARGET = 0.9
"""The target encoder's parameter, by which `certain` knows it."""
NARROW = 1e-6
"""Standard deviation of predictions: divergences are finite, draws are the means."""


def certain(**changes):
    """Linear networks whose online encoder and model do not spread; the target encoder has a deviation of 1."""
    functions = {
        "predict": lambda p, z, a: Diagonal(p * z + a, jnp.full_like(z, NARROW)),
        "encode": lambda p, obs: Diagonal(p * obs, jnp.where(p == TARGET, 1.0, 0.0) + 0 * obs),
        "reward": lambda p, z, a: (p["c"] + p["z"] * z + p["a"] * a)[..., 0],
        "values": lambda p, z, a: (p["c"] + p["z"] * z + p["a"] * a)[None, ..., 0],
    }
    return linear(**{**functions, **changes})


def close(found, exact):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found, exact)


def plain_log(x):
    return jnp.log(jnp.where(x < FLOOR, FLOOR, x))


def shifted(x):
    """The first terms of a log(1 + x / a): the logarithm itself has too few digits in single precision."""
    a = 10_000.0
    return x - x**2 / (2 * a) + x**3 / (3 * a**2) - x**4 / (4 * a**3)


def same(x):
    return x


OBJECTIVES = {
    "ALM": (same, 1.0, 1.0),
    "no KL": (same, 0.0, 1.0),
    "no value": (same, 1.0, 0.0),
    "log": (plain_log, 1.0, 1.0),
    "log, model only": (plain_log, 1.0, 1.0),
    "shifted log": (shifted, 1.0, 1.0),
}
"""What a variant does to reward and value, and the weights of divergence and value."""


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_encoder_and_model_follow_the_variants_objective(name):
    """K = 2 by hand, returns in hundreds so that a shifted logarithm differs from none."""
    transform, with_divergence, with_value = OBJECTIVES[name]
    reward, value, actor = {"c": 90.0, "z": 80.0, "a": 20.0}, {"c": 300.0, "z": 60.0, "a": -40.0}, (0.1, 0.2)
    data = flat_data()
    s, s_next, a = (x[..., 0].T for x in (data.sequences.obs, data.sequences.next_obs, data.sequences.action))
    ctx = seen(
        certain(),
        data,
        heads={"reward": reward},
        critics=value,
        actor={"bias": actor[0], "gain": actor[1]},
        target={"encoder": TARGET},
    )

    def by_hand(p):
        z, total, least = p["encoder"] * s[0], 0.0, jnp.inf
        for t in range(2):
            r = reward["c"] + reward["z"] * z + reward["a"] * a[t]
            z = p["model"] * z + a[t]
            kl = -np.log(NARROW) + 0.5 * (NARROW**2 + (z - TARGET * s_next[t]) ** 2 - 1.0)
            total, least = total + with_divergence * kl - transform(r), jnp.minimum(least, r.min())
        end = lax.stop_gradient(actor[0] + actor[1] * z)
        total -= with_value * transform(value["c"] + value["z"] * z + value["a"] * end)
        return total.mean(), least

    params = {"encoder": jnp.float32(0.7), "model": jnp.float32(-0.4)}
    loss = VARIANTS[name].world(Config(horizon=2))
    (exact, least), slopes = jax.value_and_grad(by_hand, has_aux=True)(params)
    found, grads = jax.value_and_grad(lambda p: loss(p, KEY, ctx)[0])(params)
    assert least > 1.0
    close((found, grads), (exact, slopes))


@pytest.mark.parametrize("name", ["ALM", "log", "shifted log"])
def test_the_policy_follows_the_variants_objective_with_its_entropy_bonus(name):
    """K = 2 by hand, with log π(a_t | z_t) = l + k z_t and a temperature that only the policy's own loss may change."""
    transform = OBJECTIVES[name][0]
    gamma, trace, c = 0.9, 0.6, 10.0
    reward, value, ratio = {"c": 90.0, "z": 80.0, "a": 20.0}, {"c": 300.0, "z": 60.0, "a": -40.0}, (2.0, 5.0, 11.0)
    policy = linear_policy(
        temperature=lambda p: p["alpha"],
        draw=lambda p, key, z, noise, limit: (p["bias"] + p["gain"] * z, (p["l"] + p["k"] * z)[..., 0]),
        loss=lambda p, log_prob: 0.25 * p["alpha"],
    )
    heads = {"reward": reward, "classifier": dict(zip(("z", "a", "next"), ratio, strict=True))}
    ctx = seen(certain(policy=policy), flat_data(), world={"model": 1.0}, heads=heads, critics=value)

    def by_hand(p):
        held, z, gained, values = lax.stop_gradient, jnp.float32(0.5), [], []
        for _ in range(2):
            action = p["bias"] + p["gain"] * held(z)
            bonus = -held(p["alpha"]) * (p["l"] + p["k"] * held(z))
            r = reward["c"] + reward["z"] * z + reward["a"] * action + bonus
            before, z = z, z + action
            after = held(z)
            gained.append(transform(r) + c * (ratio[0] * before + ratio[1] * action + ratio[2] * after))
            end = held(p["bias"] + p["gain"] * z)
            bonus = -held(p["alpha"]) * (p["l"] + p["k"] * after)
            values.append(transform(value["c"] + value["z"] * z + value["a"] * end + bonus))
        second = gained[1] + gamma * values[1]
        first = gained[0] + gamma * ((1 - trace) * values[0] + trace * second)
        return -0.5 * (first + gamma * second) + 0.25 * p["alpha"]

    params = {"bias": 0.05, "gain": 0.2, "l": 3.0, "k": -4.0, "alpha": 1.5}
    loss = VARIANTS[name].actor(Config(horizon=2, gamma=gamma, trace=trace, coefficient=c))
    found = jax.value_and_grad(lambda p: loss(p, KEY, ctx)[0])(params)
    close(found, jax.value_and_grad(by_hand)(params))


def test_the_plain_logarithm_is_cut_off():
    one = jnp.ones(3)
    low = jnp.array([-5.0, 0.0, FLOOR])
    world = VARIANTS["log"].world.keywords["objective"]
    actor = VARIANTS["log"].actor.keywords["objective"]
    np.testing.assert_allclose(world(low[None], 0 * one[None], low), -2 * np.log(FLOOR) * one, rtol=1e-6)
    numbers = (0.5, 1.0, 0.1)
    found = actor(low[None], 0 * one[None], low[None], *numbers)
    np.testing.assert_allclose(found, -1.5 * np.log(FLOOR) * one[None], rtol=1e-6)


def test_td3s_policy_loss_is_the_smaller_value_and_sees_the_action():
    """Q = ± (v z + w a) at z = 0.5 and a = b + g z: the smaller is −|v z + w a|."""
    v, w, b, g = 1.3, -0.6, 0.05, 0.2

    def both(p, z, a):
        return jnp.stack([x * (p["z"] * z + p["a"] * a)[..., 0] for x in (1.0, -1.0)])

    ctx = seen(linear(values=both), flat_data(), critics={"z": v, "a": w})
    loss = VARIANTS["TD3 loss"].actor(Config())
    params = {"bias": jnp.float32(b), "gain": jnp.float32(g)}
    found = jax.value_and_grad(lambda p: loss(p, KEY, ctx)[0])(params)
    inside = v * 0.5 + w * (b + g * 0.5)
    assert inside > 0
    close(found, (inside, {"bias": w, "gain": w * 0.5}))


def test_without_a_representation_the_observation_is_seen_as_it_is():
    parts, obs = VARIANTS["TD3, same architecture"], jnp.arange(6.0).reshape(2, 3)
    encoder = parts.encoder(Config(), SPEC)
    mean, std = encoder.encode({}, obs)
    np.testing.assert_array_equal(mean, obs)
    np.testing.assert_array_equal(std, 0.0)
    mean, std = VARIANTS["identity encoder"].encoder(Config(std_bounds=(0.02, 10.0)), SPEC).encode({}, obs)
    np.testing.assert_array_equal(mean, obs)
    np.testing.assert_allclose(std, 0.02)
    params = {"encoder": jnp.float32(0.7), "model": jnp.float32(-0.4)}
    total, grads = jax.value_and_grad(lambda p: parts.world(Config())(p, KEY, seen(linear(), flat_data()))[0])(params)
    assert (total, grads) == (0.0, {"encoder": 0.0, "model": 0.0})


@pytest.mark.parametrize("steps", [1, 2])
def test_value_prediction_adds_the_errors_up_along_the_sequence(steps):
    """K = 2 by hand: z_0 = e s_0, z_1 = m z_0 + a_0, two linear critics that differ by 1, constant target critics.

    The error at z_0 reaches the encoder alone (Figure 18), that at z_1 the model too (Figure 19).
    """
    gamma, following, value = 0.9, 5.0, {"c": 2.0, "z": 1.3, "a": 0.6}

    def two(p, z, a):
        return jnp.stack([p["c"] + i + (p["z"] * z + p["a"] * a)[..., 0] for i in (0.0, 1.0)])

    data = flat_data()
    ends = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    data = data._replace(sequences=data.sequences._replace(discount=ends))
    ctx = seen(
        certain(values=two),
        data,
        heads={"reward": {"c": 0.0, "z": 0.0, "a": 0.0}},
        critics=value,
        actor={"bias": 0.1, "gain": 0.2},
        target={"encoder": TARGET, "critics": {"c": following, "z": 0.0, "a": 0.0}},
    )
    s, a, r = (
        np.asarray(x) for x in (data.sequences.obs[:, 0, 0], data.sequences.action[..., 0], data.sequences.reward)
    )

    def by_hand(p):
        z_0 = p["encoder"] * s
        z = jnp.stack([z_0, p["model"] * z_0 + a[:, 0]], axis=1)
        error = value["c"] + value["z"] * z + value["a"] * a - (r + gamma * following * ends)
        each = 0.5 * jnp.square(error) + 0.5 * jnp.square(error + 1.0)
        return each[:, :steps].sum(axis=1).mean()

    config = Config(horizon=2, gamma=gamma)
    params = {"encoder": jnp.float32(0.7), "model": jnp.float32(-0.4)}
    (total, info), grads = jax.value_and_grad(value_predicting(config, steps), has_aux=True)(params, KEY, ctx)
    base, base_grads = jax.value_and_grad(lambda p: latent.aligned(config)(p, jax.random.split(KEY)[0], ctx)[0])(params)
    added = jax.tree.map(jnp.subtract, (total, grads), (base, base_grads))
    exact = jax.value_and_grad(by_hand)(params)
    close(added, exact)
    close(info["alm/value_error"], exact[0])
    assert added[1]["encoder"] != 0 and (added[1]["model"] == 0) == (steps == 1)
    assert VARIANTS["value prediction, encoder"].world.keywords == {"steps": 1}


def test_behaviour_cloning_is_half_the_squared_error_in_deviations_of_the_noise():
    b, g, std, weight = 0.05, 0.2, 0.4, 3.0
    heads = {"reward": {"z": 0.3, "a": 0.1}, "classifier": {"z": 0.0, "a": 0.0, "next": 0.0}}
    ctx = seen(linear(), flat_data(noise=std), world={"model": 1.0}, heads=heads, critics={"z": 1.0, "a": 0.0})
    params = {"bias": jnp.float32(b), "gain": jnp.float32(g)}
    config = Config(horizon=2)
    (total, info), grads = jax.value_and_grad(cloning(config, weight), has_aux=True)(params, KEY, ctx)
    base, base_grads = jax.value_and_grad(lambda p: latent.svg(config)(p, jax.random.split(KEY)[0], ctx)[0])(params)
    error = (b + g * 0.5 - np.asarray(ctx.data.batch.action)[:, 0]) / std
    np.testing.assert_allclose(info["alm/cloning_loss"], 0.5 * np.square(error).mean(), rtol=1e-5)
    slope = weight * (error / std).mean()
    added = jax.tree.map(jnp.subtract, (total, grads), (base, base_grads))
    exact = weight * 0.5 * np.square(error).mean(), {"bias": slope, "gain": 0.5 * slope}
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), added, exact)
