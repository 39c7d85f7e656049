"""SAC-SVG as a learner: its loss written out, gradient paths, the phase without the model, schedules."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import sac, sac_svg
from mbrl_jax.models import recurrent
from mbrl_jax.networks import MLP, tanh_gaussian
from mbrl_jax.types import Shared, Transition

SPEC = rollouts.normalised(envs.make("lqr-v0")).spec
GAMMA, HORIZON = 0.9, 3
SMALL = sac_svg.Config(
    horizon=HORIZON,
    model_free_updates=5,
    head_hidden=(8,),
    head_lr=4e-3,
    model=recurrent.Config(encoder=(), width=8, layers=1),
    agent=sac.Config(hidden=(8,), gamma=GAMMA, tau=0.3, actor_lr=1e-3, critic_lr=2e-3, temperature_lr=3e-3),
)
LEARNER = sac_svg.make(SMALL, SPEC, updates=100)
LEARN = jax.jit(LEARNER.update)


def update(key, state, batch):
    """One update; its key is `step_key(key)`."""
    return LEARN(key, state, jax.tree.map(lambda x: x[None], batch))


def step_key(key):
    """The key of the only batch of an update."""
    return jax.random.split(key, 1)[0]


def random_batch(shape, seed=0):
    rng = np.random.default_rng(seed)
    columns = (rng.normal(size=(*shape, 2)), rng.uniform(-1, 1, (*shape, 1)), rng.normal(size=shape))
    ends = (rng.random(shape) > 0.3, rng.normal(size=(*shape, 2)))
    obs, action, reward, discount, next_obs = (jnp.asarray(c, jnp.float32) for c in (*columns, *ends))
    return Transition(obs, action, reward, discount, next_obs, jnp.zeros(shape, bool))


def batch_of(seed=0):
    return sac_svg.Batch(random_batch((16,), seed), random_batch((4, 6, HORIZON - 1), seed + 100))


@pytest.fixture(scope="module")
def state():
    fresh = LEARNER.init(jax.random.key(0))
    target = jax.tree.map(lambda x: x + 0.1, fresh.policy.target)
    return fresh._replace(policy=fresh.policy._replace(target=target))


def dynamics(state):
    return recurrent.dynamics(SMALL.model, SPEC, state.model.params)


def progress(modelled):
    return sac_svg.Progress(jnp.asarray(modelled), jnp.float32(-0.7))


KEY = jax.random.key(3)
LOSSES = {
    "critic": lambda p, s, b: sac.critic_loss(p, SMALL.agent, SPEC, sac.bootstrap(SMALL.agent, SPEC)(KEY, s.policy, b)),
    "modelled policy": lambda p, s, b: sac_svg.policy_loss(p, SMALL, SPEC, KEY, b.obs, dynamics(s), progress(True)),
    "model-free policy": lambda p, s, b: sac_svg.policy_loss(p, SMALL, SPEC, KEY, b.obs, dynamics(s), progress(False)),
    "heads": lambda p, s, b: sac_svg.head_losses(p, SMALL, b),
}
REACHED = {
    "critic": {"critic"},
    "modelled policy": {"actor", "log_temperature"},
    "model-free policy": {"actor", "log_temperature"},
    "heads": {"reward", "termination"},
}


@pytest.mark.parametrize("name", list(LOSSES))
def test_each_loss_reaches_its_own_parameters_only(state, name):
    gradient = jax.jit(jax.grad(lambda p, s, b: LOSSES[name](p, s, b)[0]))
    grads = gradient(state.policy.params, state, random_batch((16,)))
    reached = {group for group, tree in grads.items() if any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(tree))}
    assert reached == REACHED[name]


def test_the_policys_gradient_passes_through_the_model(state):
    """A model whose decoder is zero stands still: the actor's gradient is another one there."""
    batch = random_batch((16,))

    @jax.jit
    def gradient(actor, model_params):
        model = recurrent.dynamics(SMALL.model, SPEC, model_params)

        def loss(a):
            return sac_svg.policy_loss(
                {**state.policy.params, "actor": a}, SMALL, SPEC, KEY, batch.obs, model, progress(True)
            )[0]

        return jax.grad(loss)(actor)

    moving = state.model.params
    still = {"params": {**moving["params"], "decoder": jax.tree.map(jnp.zeros_like, moving["params"]["decoder"])}}
    grads = [jax.tree.leaves(gradient(state.policy.params["actor"], params)) for params in (moving, still)]
    assert max(float(np.abs(a - b).max()) for a, b in zip(*grads, strict=True)) > 1e-4


def test_the_model_does_not_learn_from_the_policy(state):
    other = state._replace(policy=state.policy._replace(params=jax.tree.map(lambda x: x + 0.1, state.policy.params)))
    before, after = (update(KEY, s, batch_of())[0] for s in (state, other))
    jax.tree.map(np.testing.assert_array_equal, before.model, after.model)


def written_out(state, obs):
    """The actor's loss of the released code (`expand_Q`), one row and one step after the other."""
    params = state.policy.params
    agent, head = MLP((8,), 2), MLP((8,), 1)

    def network(p, x, u):
        return head.apply(p, jnp.concatenate([x, u], axis=-1))[:, 0]

    def member(i):
        return jax.tree.map(lambda leaf: leaf[i], params["critic"])

    alpha, model = jnp.exp(params["log_temperature"]), dynamics(state)
    _, k_last, k_steps = jax.random.split(KEY, 3)
    keys = [*(jax.random.split(k)[1] for k in jax.random.split(k_steps, HORIZON - 1)), k_last]
    memory, total, alive = model.start(KEY, obs), jnp.zeros(len(obs)), jnp.ones(len(obs))
    for t in range(HORIZON):
        action, log_prob = tanh_gaussian(agent.apply(params["actor"], obs)).sample_and_log_prob(seed=keys[t])
        alive = alive * (1 - 1 / (1 + jnp.exp(-network(params["termination"], obs, action))))
        if t == HORIZON - 1:
            gain = jnp.minimum(network(member(0), obs, action), network(member(1), obs, action))
        else:
            gain = network(params["reward"], obs, action)
        total = total + GAMMA**t * (alive * gain - alpha * log_prob)
        memory, (obs, _, _) = model.step(KEY, memory, obs, action)
    return -(total / HORIZON).mean()


def test_the_actors_loss_is_the_released_codes(state):
    batch = random_batch((16,))
    _, info = jax.jit(LOSSES["modelled policy"])(state.policy.params, state, batch)
    np.testing.assert_allclose(info["sac/actor_loss"], jax.jit(written_out)(state, batch.obs), rtol=1e-5)


def test_without_the_model_the_policys_loss_is_soft_actor_critics(state):
    batch, params = random_batch((16,)), state.policy.params
    soft = replace(SMALL.agent, target_entropy=-0.7)
    first = jax.random.split(jax.random.split(jax.random.split(KEY, 3)[2], HORIZON - 1)[0])[1]
    exact = jax.jit(jax.grad(lambda p: sac.policy_loss(p, soft, SPEC, first, batch.obs)[0]))(params)
    found = jax.jit(jax.grad(lambda p: LOSSES["model-free policy"](p, state, batch)[0]))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, exact)


def test_one_update_is_that_of_every_part_by_itself(state):
    """Four steps of the model, then each group by its own loss and Adam from the same parameters, then the targets."""
    batch = batch_of(1)
    found, info = update(KEY, state, batch)
    learn, model = jax.jit(recurrent.make(SMALL.model, SPEC).update), state.model
    for t in range(4):
        model, _ = learn(KEY, model, jax.tree.map(lambda x: x[t : t + 1], batch.windows))  # noqa: B023

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)

    jax.tree.map(close, found.model.params, model.params)
    _, k_target, k_actor = jax.random.split(step_key(KEY), 3)
    fit = sac.bootstrap(SMALL.agent, SPEC)(k_target, state.policy, batch.transitions)
    entropy = sac_svg.Progress(jnp.asarray(False), jnp.float32(-1.0))
    model_now, obs = recurrent.dynamics(SMALL.model, SPEC, model.params), batch.transitions.obs
    losses = (
        lambda p: sac.critic_loss(p, SMALL.agent, SPEC, fit)[0],
        lambda p: sac_svg.policy_loss(p, SMALL, SPEC, k_actor, obs, model_now, entropy)[0],
        lambda p: sac_svg.head_losses(p, SMALL, batch.transitions)[0],
    )
    grads = jax.jit(lambda p: [jax.grad(loss)(p) for loss in losses])(state.policy.params)
    own = {"critic": 0, "actor": 1, "log_temperature": 1, "reward": 2, "termination": 2}
    rates = {"actor": 1e-3, "critic": 2e-3, "log_temperature": 3e-3, "reward": 4e-3, "termination": 4e-3}
    for name, old in state.policy.params.items():
        updates, _ = optax.adam(rates[name]).update(grads[own[name]][name], optax.adam(rates[name]).init(old))
        jax.tree.map(close, found.policy.params[name], optax.apply_updates(old, updates))
    mixed = jax.tree.map(lambda a, b: 0.7 * a + 0.3 * b, state.policy.target, found.policy.params["critic"])
    jax.tree.map(close, found.policy.target, mixed)
    assert int(found.updates.value) == 1
    assert all(v.shape == (1,) and np.isfinite(v).all() for v in info.values())


def test_the_model_is_used_after_the_first_updates(state):
    """The actor's gradient changes from SAC's to the model's at exactly the configured number of updates."""
    moved = []
    for done in (4, 5):
        at = state._replace(updates=Shared(jnp.asarray(done, jnp.int32)))
        moved.append(update(KEY, at, batch_of())[1]["sac/actor_loss"][0])
    obs, model = batch_of().transitions.obs, dynamics(update(KEY, state, batch_of())[0])
    k_actor, params = jax.random.split(step_key(KEY), 3)[2], state.policy.params
    loss = jax.jit(lambda modelled: sac_svg.policy_loss(params, SMALL, SPEC, k_actor, obs, model, progress(modelled)))
    exact = [loss(modelled)[1]["sac/actor_loss"] for modelled in (False, True)]
    np.testing.assert_allclose(moved, exact, rtol=1e-4)
    assert abs(moved[0] - moved[1]) > 1e-3


@pytest.mark.parametrize(
    ("first", "last", "power", "share", "exact"),
    [
        (0.0, -2.0, 4.0, 0.5, -2 + 2 * 0.5**4),
        (1.0, 0.0, 32.0, 0.25, 0.75**32),
        (-2.0, -16.0, 1 / 64, 0.5, -16 + 14 * 0.5 ** (1 / 64)),
        (1.0, -3.0, 0.5, 1.0, -3.0),
        (None, -2.0, 1.0, 0.3, -2.0),
        (None, None, 0.0, 1.0, -1.0),  # minus the number of actions
    ],
)
def test_target_entropies_are_the_released_schedules(first, last, power, share, exact):
    agent = replace(SMALL.agent, target_entropy=last)
    config = replace(SMALL, initial_entropy=first, entropy_power=power, agent=agent)
    np.testing.assert_allclose(sac_svg.target_entropy(config, SPEC, jnp.float32(share)), exact, rtol=1e-5)


def test_observations_are_standardised_over_what_is_held_and_within_limits(state):
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal([3.0, -1.0], [2.0, 0.01], (50, 2)), np.full((20, 2), 1e6)]).astype(np.float32)
    scaled = sac_svg.standardise(state, jnp.asarray(rows), jnp.arange(70) < 50)
    np.testing.assert_allclose(scaled.inputs.mean, rows[:50].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(scaled.inputs.std, [rows[:50, 0].std(), 0.1], rtol=1e-4)
    wide = sac_svg.standardise(state, jnp.asarray(100 * rows), jnp.arange(70) < 50)
    np.testing.assert_allclose(wide.inputs.std, [10.0, (100 * rows[:50, 1]).std()], rtol=1e-3)
    obs = jnp.asarray(rows[:4])
    for act, inner in ((sac_svg.act, sac.act), (sac_svg.mode, sac.mode)):
        ours = rollouts.first_action(KEY, act(SMALL, SPEC, scaled), obs)
        theirs = inner(SMALL.agent, SPEC, scaled.policy)
        np.testing.assert_allclose(ours, rollouts.first_action(KEY, theirs, scaled.inputs.forward(obs)))
    plain, found = (update(KEY, s, batch_of())[1] for s in (state, scaled))
    assert abs(plain["model/loss"] - found["model/loss"]) > 1e-3


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"horizon": 1}, r"horizon must be at least 2 \(with 1 this is SAC\), got 1"),
        ({"head_hidden": ()}, "head_hidden must name at least one positive width"),
        ({"model_free_updates": -1}, "model_free_updates must not be negative, got -1"),
        ({"entropy_power": -0.5}, "entropy_power must not be negative"),
    ],
)
def test_impossible_configurations_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(SMALL, **changes)
