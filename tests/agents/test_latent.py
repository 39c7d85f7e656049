"""ALM's learner: which loss may change which network, exact gradients of linear ones, and one update taken apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_alm import SPEC, flat_data, linear, random_transitions, seen

from mbrl_jax import rollouts
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.agents.latent.networks import Config
from mbrl_jax.agents.latent.variants import VARIANTS
from mbrl_jax.networks import ACTION_BOUND, Diagonal, NormedMLP, bounded_diagonal, perturbed

CONFIG = Config(
    latent_dim=3,
    hidden=(4,),
    model_hidden=(5,),
    classifier_hidden=(4,),
    horizon=2,
    world_lr=1e-3,
    heads_lr=2e-3,
    critics_lr=3e-3,
    actor_lr=4e-3,
    max_grad_norm=0.5,
    tau=0.3,
)
KEY = jax.random.key(0)
BATCH = 6


DATA = latent.Data(random_transitions(0, BATCH, CONFIG.horizon), random_transitions(1, BATCH), jnp.float32(0.4))
NAMES = ("encoder", "model", "reward", "classifier", "critics", "actor", "target encoder", "target critics")
MAY_CHANGE = {
    "world": {"encoder", "model"},
    "heads": {"reward", "classifier"},
    "critics": {"critics"},
    "actor": {"actor"},
}


def by_name(params, target):
    world, heads = params["world"], params["heads"]
    trees = (world["encoder"], world["model"], heads["reward"], heads["classifier"], params["critics"], params["actor"])
    return dict(zip(NAMES, (*trees, target["encoder"], target["critics"]), strict=True))


CASES = {
    "ALM": latent.GROUPS,
    "TD3 loss": ("actor",),
    "cloning": ("actor",),
    "entropy": ("actor",),
    "likelihood": ("world",),
    "value prediction": ("world",),
    "identity encoder": ("world",),
}
"""Variants and the losses of theirs that are looked at; other objectives in them are in test_latent_variants.py."""
FAST = {"xla_backend_optimization_level": 0}  # compiles faster; what is tested here is not speed


@functools.cache
def reached(variant):
    """Which networks each of a variant's losses has a gradient for, by name."""
    parts = VARIANTS[variant]
    nets = latent.nets_of(CONFIG, SPEC, parts)
    makers = dict(zip(latent.GROUPS, (parts.world, latent.heads_loss, latent.critics_loss, parts.actor), strict=True))

    def gradient(group, state):
        def total(params, target):
            seen = latent.context(nets, state._replace(params=params, target=target), DATA)
            return makers[group](CONFIG)(params[group], jax.random.key(5), seen)[0]

        return by_name(*jax.grad(total, argnums=(0, 1))(state.params, state.target))

    def gradients(key):
        state = latent.make(CONFIG, SPEC, parts).init(key)
        return {group: gradient(group, state) for group in CASES[variant]}

    found = jax.jit(gradients, compiler_options=FAST)(KEY)

    def some(tree):
        return any((np.asarray(g) != 0).any() for g in jax.tree.leaves(tree))

    return {group: {name: some(tree) for name, tree in by.items()} for group, by in found.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("variant", "group"), [(v, group) for v, groups in CASES.items() for group in groups])
def test_a_loss_reaches_its_own_group_and_nothing_else(variant, group, name):
    """One case per loss and network: may a gradient flow?"""
    learned = not (variant == "identity encoder" and "encoder" in name)
    assert reached(variant)[group][name] == (name in MAY_CHANGE[group] and learned)


def test_the_policy_feels_the_critics_only_through_the_model():
    """Every path of Eq. 8 by hand, K = 2, in linear networks without noise.

    With a_t = b + g z_t (z_t held constant), z_1 = z_0 + a_0 and z_2 = z_1 + a_1: the critics' and the classifier's
    weights on what they are shown detached (va, kn) must not appear.
    """
    rz, ra, kz, ka, kn, vz, va = 0.3, -0.7, 0.2, 0.5, 11.0, 1.3, 17.0
    gamma, trace, c, b, g, z0 = 0.9, 0.6, 0.1, 0.05, 0.2, 0.5
    config = Config(horizon=2, gamma=gamma, trace=trace, coefficient=c)
    heads = {"reward": {"z": rz, "a": ra}, "classifier": {"z": kz, "a": ka, "next": kn}}
    ctx = seen(linear(), flat_data(), world={"model": 1.0}, heads=heads, critics={"z": vz, "a": va})
    params = {"bias": jnp.float32(b), "gain": jnp.float32(g)}
    (total, info), grads = jax.value_and_grad(latent.svg(config), has_aux=True)(params, KEY, ctx)

    a0 = b + g * z0
    z1 = z0 + a0
    a1 = b + g * z1
    z2 = z1 + a1
    q1, q2 = vz * z1 + va * a1, vz * z2 + va * (b + g * z2)
    r0 = rz * z0 + ra * a0 + c * (kz * z0 + ka * a0 + kn * z1)
    r1 = rz * z1 + ra * a1 + c * (kz * z1 + ka * a1 + kn * z2)
    r_1 = r1 + gamma * q2
    r_0 = r0 + gamma * ((1 - trace) * q1 + trace * r_1)
    np.testing.assert_allclose(total, -0.5 * (r_0 + gamma * r_1), rtol=1e-5)
    np.testing.assert_allclose(info["alm/actor_loss"], total)

    for name, da0, da1 in (("bias", 1.0, 1.0), ("gain", z0, z1)):
        dz1, dz2 = da0, da0 + da1
        d0 = (ra + c * ka) * da0
        d1 = (rz + c * kz) * dz1 + (ra + c * ka) * da1 + gamma * vz * dz2
        slope = d0 + gamma * ((1 - trace) * vz * dz1 + trace * d1) + gamma * d1
        np.testing.assert_allclose(grads[name], -0.5 * slope, rtol=1e-5)


def test_encoder_and_model_follow_eq_7():
    """K = 1 by hand: KL = ½ (m e s + a − t s')², r = ρ e s, Q = v (m e s + a + noise); the target t is fixed."""
    e, m, t, rho, v, va = 0.7, -0.4, 0.9, 0.3, 1.3, 17.0
    nets = linear(
        predict=lambda p, z, a: Diagonal(p * z + a, jnp.ones_like(z)),
        encode=lambda p, obs: Diagonal(p * obs, jnp.where(p == t, 1.0, 0.0) + 0 * obs),  # only the target is spread
    )
    data = flat_data(steps=1)
    heads = {"reward": {"z": rho, "a": 2.0}}
    actor = {"bias": jnp.float32(0.1), "gain": jnp.float32(0.2)}
    ctx = seen(nets, data, heads=heads, critics={"z": v, "a": va}, actor=actor, target={"encoder": t})
    params = {"encoder": jnp.float32(e), "model": jnp.float32(m)}
    grads = jax.grad(lambda p: latent.aligned(Config(horizon=1))(p, KEY, ctx)[0])(params)
    real = data.sequences
    s, s_next, a = (np.asarray(x[:, 0, 0]) for x in (real.obs, real.next_obs, real.action))
    error = m * e * s + a - t * s_next
    np.testing.assert_allclose(grads["encoder"], np.mean(error * m * s - rho * s - v * m * s), rtol=1e-5)
    np.testing.assert_allclose(grads["model"], np.mean(error * e * s - v * e * s), rtol=1e-5)


def test_half_of_the_classifiers_rows_are_the_models():
    """The model predicts +100, the encoder says −0.5: logits that tell them apart by sign leave no loss."""
    nets = linear(
        predict=lambda p, z, a: Diagonal(jnp.full_like(z, 100.0), 0 * z),
        classify=lambda p, z, a, n: jnp.concatenate([0 * n, p * jnp.sign(n)], axis=-1),
    )
    heads = {"reward": {"z": 0.0, "a": 0.0}, "classifier": jnp.float32(-50.0)}
    ctx = seen(nets, flat_data(), world={"model": {}}, heads=heads)
    right = latent.heads_loss(CONFIG)(heads, KEY, ctx)[1]
    wrong = latent.heads_loss(CONFIG)({**heads, "classifier": jnp.float32(50.0)}, KEY, ctx)[1]
    blind = latent.heads_loss(CONFIG)({**heads, "classifier": jnp.float32(0.0)}, KEY, ctx)[1]
    np.testing.assert_allclose(right["alm/classifier_loss"], 0.0, atol=1e-6)
    np.testing.assert_allclose(wrong["alm/classifier_loss"], 50.0, rtol=1e-5)
    np.testing.assert_allclose(blind["alm/classifier_loss"], np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(right["alm/reward_loss"], np.square(ctx.data.batch.reward).mean(), rtol=1e-5)


def test_the_critics_target_ends_at_a_termination_and_takes_the_smaller_value():
    nets = linear(values=lambda p, z, a: jnp.stack([p + 0 * z[..., 0], p + 1.0 + 0 * z[..., 0]]))
    data = flat_data()
    data = data._replace(batch=data.batch._replace(discount=jnp.array([1.0, 0.0, 1.0, 0.0])))
    actor = {"bias": jnp.float32(0.0), "gain": jnp.float32(0.0)}
    ctx = seen(nets, data, actor=actor, target={"critics": jnp.float32(5.0)})
    config = Config(gamma=0.9)
    (total, _), slope = jax.value_and_grad(latent.critics_loss(config), has_aux=True)(jnp.float32(2.0), KEY, ctx)
    target = np.asarray(data.batch.reward) + 0.9 * np.array([1.0, 0.0, 1.0, 0.0]) * 5.0
    np.testing.assert_allclose(total, 0.5 * np.mean((2 - target) ** 2 + (3 - target) ** 2), rtol=1e-5)
    np.testing.assert_allclose(slope, np.mean((2 - target) + (3 - target)), rtol=1e-5)


def test_without_a_sequence_in_one_episode_the_loss_is_nan():
    broken = DATA.sequences._replace(discount=jnp.full_like(DATA.sequences.discount, jnp.nan))
    assert np.isnan(latent.unbroken(broken)).all()
    ends = DATA.sequences._replace(discount=DATA.sequences.discount.at[:, -1].set(0.0))
    np.testing.assert_array_equal(latent.unbroken(ends), 1.0)  # a sequence may end with its episode


@pytest.fixture(scope="module")
def updated():
    """States before and after one update, its infos, and what its losses saw."""
    agent = latent.make(CONFIG, SPEC)
    before = jax.jit(agent.init, compiler_options=FAST)(KEY)
    before = before._replace(target=jax.tree.map(lambda x: x + 0.1, before.target))
    after, info = jax.jit(agent.update, compiler_options=FAST)(
        jax.random.key(9), before, jax.tree.map(lambda x: x[None], DATA)
    )
    return before, after, info


def test_one_update_is_four_in_turn_then_the_targets(updated):
    """Each group's gradient is taken after the earlier groups have moved, clipped, and goes through Adam."""
    before, after, info = updated
    nets = latent.nets_of(CONFIG, SPEC)
    losses = (latent.aligned, latent.heads_loss, latent.critics_loss, latent.svg)
    keys = list(jax.random.split(jax.random.split(jax.random.key(9), 1)[0], 4))

    def written_out(state):
        for group, make, key in zip(latent.GROUPS, losses, keys, strict=True):
            ctx = latent.context(nets, state, DATA)
            grads = jax.grad(lambda p: make(CONFIG)(p, key, ctx)[0])(state.params[group])  # noqa: B023
            norm = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(grads)))
            grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, 0.5 / norm), grads)  # noqa: B023
            rate = getattr(CONFIG, f"{group}_lr")
            # Adam's first step: both moments are the gradient's, corrected for their start at zero.
            moved = jax.tree.map(lambda p, g: p - rate * g / (jnp.abs(g) + 1e-8), state.params[group], grads)  # noqa: B023
            state = state._replace(params={**state.params, group: moved})
        return state.params

    params = jax.jit(written_out, compiler_options=FAST)(before)

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)

    jax.tree.map(close, after.params, params)
    online = {"encoder": after.params["world"]["encoder"], "critics": after.params["critics"]}
    jax.tree.map(close, after.target, jax.tree.map(lambda o, n: 0.7 * o + 0.3 * n, before.target, online))
    assert all(v.shape == (1,) and np.isfinite(v).all() for v in info.values())
    counts = optax.tree.get_all_with_path(after.opt, "count")
    assert [int(count) for _, count in counts] == [1] * 4


def test_all_networks_move_and_fresh_targets_are_copies(updated):
    before, after, _ = updated
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        assert (np.asarray(old) != np.asarray(new)).any()
    fresh = latent.make(CONFIG, SPEC).init(KEY)
    jax.tree.map(np.testing.assert_array_equal, fresh.target["encoder"], fresh.params["world"]["encoder"])
    pointers = [jax.tree.leaves(t)[0].unsafe_buffer_pointer() for t in (fresh.target, fresh.params["critics"])]
    assert pointers[0] != pointers[1]  # donation needs it
    kernels = [p["params"]["Dense_0"]["kernel"] for p in fresh.params["critics"]]
    assert not np.allclose(*kernels)


def test_the_policy_acts_on_a_drawn_representation():
    state = latent.make(CONFIG, SPEC).init(KEY)
    obs = jnp.zeros((2000, SPEC.obs_dim))
    mode = rollouts.first_action(KEY, latent.mode(CONFIG, SPEC, state), obs)
    act = rollouts.first_action(KEY, latent.act(CONFIG, SPEC, state, jnp.float32(0.3)), obs)
    assert mode.shape == act.shape == (2000, SPEC.action_dim)
    assert mode.std() > 1e-3  # the same observation, another representation
    assert jnp.abs(act).max() <= 1.0
    assert act.std() > mode.std()


def test_the_lower_bound_is_eq_8_from_the_given_action(monkeypatch):
    """K = 2 by hand, from the target encoding, later actions the policy's mean, beside the smaller of two critics."""
    rz, ra, kz, ka, kn, vz, va = 0.3, -0.7, 0.2, 0.5, 1.1, 1.3, -0.4
    gamma, c, b, g, t, m = 0.9, 0.1, 0.05, 0.2, 0.9, -0.6

    def two(p, z, a):
        return jnp.stack([i + (p["z"] * z + p["a"] * a)[..., 0] for i in (1.0, 0.0)])

    nets = linear(encode=lambda p, obs: Diagonal(p * obs, 0 * obs), values=two)
    monkeypatch.setattr(latent, "nets_of", lambda config, spec, parts: nets)
    heads = {"reward": {"z": rz, "a": ra}, "classifier": {"z": kz, "a": ka, "next": kn}}
    actor = {"bias": jnp.float32(b), "gain": jnp.float32(g)}
    data = flat_data()
    groups = {"world": {"encoder": 5.0, "model": m}, "heads": heads, "critics": {"z": vz, "a": va}, "actor": actor}
    state = seen(nets, data, **groups, target={"encoder": t}).state
    config = Config(horizon=2, gamma=gamma, trace=0.6, coefficient=c)
    obs, action = data.batch.obs, data.batch.action
    bound, value = latent.lower_bound(config, SPEC, KEY, state, obs, action)

    z0, a0 = t * np.asarray(obs)[:, 0], np.asarray(action)[:, 0]
    z1 = m * z0 + a0
    a1 = b + g * z1
    z2 = m * z1 + a1
    gained = [rz * z + ra * a + c * (kz * z + ka * a + kn * n) for z, a, n in ((z0, a0, z1), (z1, a1, z2))]
    exact = gained[0] + gamma * gained[1] + gamma**2 * (vz * z2 + va * (b + g * z2))
    np.testing.assert_allclose(bound, exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, vz * z0 + va * a0, rtol=1e-5, atol=1e-6)


def test_noise_is_scheduled_clipped_and_invisible_to_gradients():
    mean = jnp.array([0.0, 0.99, -1.0])
    wide = jax.vmap(lambda k: perturbed(k, mean, 0.5))(jax.random.split(KEY, 4000))
    assert jnp.abs(wide).max() <= ACTION_BOUND + 1e-7
    np.testing.assert_allclose(wide[:, 0].std(), 0.5 * 0.9594, rtol=0.05)  # of a normal clipped at ± 2 deviations
    narrow = jax.vmap(lambda k: perturbed(k, mean, 0.5, 0.3))(jax.random.split(KEY, 4000))
    np.testing.assert_allclose([narrow[:, 0].min(), narrow[:, 0].max()], [-0.3, 0.3], rtol=1e-6)
    slope = jax.jacobian(lambda m: perturbed(KEY, m, 5.0))(mean)
    np.testing.assert_array_equal(slope, np.eye(3))


def test_bounded_diagonals_stay_within_their_bounds():
    raw = jnp.array([-1e4, -30.0, 0.0, 30.0, 1e4], jnp.float32)
    mean, std = bounded_diagonal(jnp.concatenate([raw, raw]))
    np.testing.assert_allclose(mean, 30 * np.tanh(np.asarray(raw) / 30), rtol=1e-5)
    assert (std >= 0.1).all() and (std <= 10.0 + 1e-3).all()
    np.testing.assert_allclose([std[0], std[-1]], [0.1, 10.0], rtol=1e-3)
    np.testing.assert_allclose(std[2], 0.1 + np.log1p(np.exp(10 - np.log1p(np.exp(10.0)) - 0.1)), rtol=1e-5)


def test_the_normed_network_normalises_its_first_layer_only():
    module = NormedMLP((8, 4), 1)
    params = module.init(KEY, jnp.zeros((1, 3)))
    x = jax.random.normal(KEY, (5, 3))
    p = params["params"]
    h = x @ p["Dense_0"]["kernel"]
    h = (h - h.mean(axis=-1, keepdims=True)) / jnp.sqrt(h.var(axis=-1, keepdims=True) + 1e-5)
    h = jax.nn.elu(jnp.tanh(h) @ p["Dense_1"]["kernel"])
    np.testing.assert_allclose(module.apply(params, x), h @ p["Dense_2"]["kernel"], rtol=2e-4, atol=1e-5)
    assert set(NormedMLP((), 2).init(KEY, x)["params"]) == {"Dense_0"}  # no hidden layer: linear


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"hidden": ()}, "hidden"),
        ({"model_hidden": (0,)}, r"model_hidden must name positive widths, got \(0,\)"),
        ({"classifier_hidden": (4, 0)}, r"classifier_hidden must name positive widths, got \(4, 0\)"),
        ({"tau": 0.0}, r"tau must lie in \(0, 1\], got 0.0"),
        ({"gamma": 1.01}, r"gamma must lie in \[0, 1\], got 1.01"),
        ({"trace": -0.1}, r"trace must lie in \[0, 1\], got -0.1"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"critics": 0}, "critics"),
        ({"std_bounds": (1.0, 0.5)}, "std_bounds"),
    ],
)
def test_impossible_configurations_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        Config(**changes)
