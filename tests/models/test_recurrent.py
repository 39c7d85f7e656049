"""The recurrent model: its unit against flax's, its gradient paths, and that it learns a linear system."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.envs import lqr
from mbrl_jax.models import recurrent
from mbrl_jax.types import Policy, Transition

SPEC = rollouts.normalised(envs.make("lqr-v0")).spec
SMALL = recurrent.Config(encoder=(16,), width=8, layers=2, learning_rate=3e-3)


def test_the_unit_is_flaxs_gated_recurrent_unit(rng):
    """flax has six products and fewer biases; ours add up to the same."""
    unit = recurrent.GRU(4)
    memory, x = (jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for _ in range(2))
    params = unit.init(jax.random.key(0), memory, x)
    own = params["params"]
    kernels = {side: jnp.split(own[side]["kernel"], 3, axis=1) for side in ("input", "state")}
    bias = {side: jnp.split(own[side]["bias"], 3) for side in ("input", "state")}
    theirs = {}
    for i, gate in enumerate("rzn"):
        theirs[f"i{gate}"] = {"kernel": kernels["input"][i], "bias": bias["input"][i]}
        theirs[f"h{gate}"] = {"kernel": kernels["state"][i]}
        if gate == "n":
            theirs["hn"]["bias"] = bias["state"][i]
        else:
            theirs[f"i{gate}"]["bias"] += bias["state"][i]
    expected, _ = nn.GRUCell(4).apply({"params": theirs}, memory, x)
    np.testing.assert_allclose(unit.apply(params, memory, x), expected, rtol=1e-5, atol=1e-6)


def test_weights_and_biases_of_a_unit_start_uniform_within_the_inverse_root_of_its_width():
    memory = jnp.zeros((1, 64))
    layers = recurrent.GRU(64).init(jax.random.key(0), memory, memory)["params"]
    for leaf in jax.tree.leaves(layers):
        assert 0.95 / 8 < np.abs(leaf).max() <= 1 / 8
        np.testing.assert_allclose(leaf.std(), 1 / 8 / np.sqrt(3), rtol=0.1)


@pytest.fixture(scope="module")
def state():
    return recurrent.make(SMALL, SPEC).init(jax.random.key(0))


KEY = jax.random.key(0)


def windows(rng, count, steps, noise=0.0):
    """Windows of the linear system under random actions in [-1, 1]."""
    obs = rng.uniform(-0.5, 0.5, (count, 1, 2))
    action = rng.uniform(-1, 1, (count, steps, 1))
    for t in range(steps):
        following = obs[:, t] @ lqr.DYNAMICS.T + 10 * action[:, t] @ lqr.INPUT.T
        obs = np.concatenate([obs, following[:, None] + noise * rng.normal(size=(count, 1, 2))], axis=1)
    obs, action = jnp.asarray(obs, jnp.float32), jnp.asarray(action, jnp.float32)
    ones = jnp.ones((count, steps))
    return Transition(obs[:, :-1], action, ones, ones, obs[:, 1:], ones < 0)


def test_predictions_add_the_decoded_change_and_remember(state, rng):
    data = windows(rng, 5, 3)
    model = recurrent.dynamics(SMALL, SPEC, state.params)
    memory, obs = model.start(KEY, data.obs[:, 0]), data.obs[:, 0]
    assert [m.shape for m in memory] == [(5, 8)] * 2 and not any(m.any() for m in memory)
    expected = []
    for t in range(3):
        before = memory
        memory, (obs, reward, discount) = model.step(KEY, memory, obs, data.action[:, t])
        assert not reward.any() and discount.all()
        decoder = jax.tree.map(np.asarray, state.params["params"]["decoder"])
        last = data.obs[:, 0] if t == 0 else expected[-1]
        change = np.asarray(memory[-1]) @ decoder["kernel"] + decoder["bias"]
        np.testing.assert_allclose(obs, last + change, rtol=1e-5, atol=1e-6)
        assert all(np.abs(m - b).max() > 1e-3 for m, b in zip(memory, before, strict=True))
        expected.append(obs)
    predicted = recurrent.predicted(model, data.obs[:, 0], data.action)
    np.testing.assert_allclose(predicted, jnp.stack(expected, axis=1), rtol=1e-6)
    # The second step differs from a first one at the same observation and action: it has a memory.
    start = model.start(KEY, predicted[:, 0])
    fresh = model.step(KEY, start, predicted[:, 0], data.action[:, 1])[1].next_obs
    assert np.abs(fresh - predicted[:, 1]).max() > 1e-4


def test_an_imagined_roll_out_is_stepping_the_recurrent_model_by_hand(state, rng):
    """Under a policy that draws and counts; scanned or written out, and from wherever the last one stood."""
    obs = windows(rng, 5, 1).obs[:, 0]
    model = recurrent.dynamics(SMALL, SPEC, state.params)

    def dense(layer, x):
        return x @ layer["kernel"] + layer["bias"][None]

    def act(key, count, obs):
        drawn = jax.random.normal(key, (len(obs), 1))
        return count + 1, jnp.tanh(obs.sum(axis=1, keepdims=True) + 0.3 * count + 0.1 * drawn), {"drawn": drawn}

    policy = Policy(lambda obs: jnp.zeros((len(obs), 1)), act)
    keys = jax.random.split(jax.random.key(3), 4)
    network = recurrent.GRU(SMALL.width)
    memory, count, now, steps = [jnp.zeros((5, 8))] * 2, jnp.zeros((5, 1)), obs, []
    for key in keys:
        count, action, extras = act(jax.random.split(key)[1], count, now)
        own, inputs = state.params["params"], jnp.concatenate([now, action], axis=1)
        hidden = jax.nn.relu(dense(own["encoder"]["Dense_0"], inputs))
        top = dense(own["encoder"]["Dense_1"], hidden)
        for layer in range(2):
            top = network.apply({"params": own[f"gru_{layer}"]}, memory[layer], top)
            memory = [*memory[:layer], top, *memory[layer + 1 :]]
        following = now + dense(own["decoder"], top)
        steps.append(Transition(now, action, jnp.zeros(5), jnp.ones(5), following, jnp.zeros(5, bool), extras))
        now = following
    exact = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)

    def close(found, exact):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, exact)

    start = rollouts.begin(KEY, model, policy, obs)
    for in_line in (False, True):
        end, found = jax.jit(lambda keys, start, in_line=in_line: rollouts.unroll(keys, model, policy, start, in_line))(
            keys, start
        )
        close(found, exact)
        close(end, rollouts.Standing(tuple(memory), count, now))
    middle, first = rollouts.unroll(keys[:2], model, policy, start)
    end, second = rollouts.unroll(keys[2:], model, policy, middle)
    close(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second), exact)
    close(end.obs, now)


def test_training_holds_observations_constant_but_the_policys_gradient_passes(state, rng):
    data = windows(rng, 4, 2)
    model = recurrent.dynamics(SMALL, SPEC, state.params)
    held = jax.grad(lambda obs: recurrent.predicted(model, obs, data.action).sum())(data.obs[:, 0])
    np.testing.assert_array_equal(held, 0.0)
    by_action = jax.grad(lambda action: recurrent.predicted(model, data.obs[:, 0], action)[:, 1].sum())(data.action)
    assert np.abs(by_action[:, 0]).max() > 1e-4  # through the memory

    def moved(obs):
        return model.step(KEY, model.start(KEY, obs), obs, data.action[:, 0])[1].next_obs.sum()

    free = jax.grad(moved)(data.obs[:, 0])
    assert np.abs(free - 1.0).max() > 1e-3 and np.abs(free).min() > 0


def test_loss_is_the_mean_squared_error_over_steps_and_entries(state, rng):
    data = windows(rng, 6, 2)
    predicted = recurrent.predicted(recurrent.dynamics(SMALL, SPEC, state.params), data.obs[:, 0], data.action)
    exact = np.mean((np.asarray(predicted) - np.asarray(data.next_obs)) ** 2)
    np.testing.assert_allclose(recurrent.loss(SMALL, SPEC, state.params, data), exact, rtol=1e-5)


def test_windows_that_do_not_exist_teach_nothing(state, rng):
    data = windows(rng, 6, 2)
    learner = recurrent.make(SMALL, SPEC)
    missing = data._replace(discount=jnp.full_like(data.discount, jnp.nan))
    after, info = jax.jit(learner.update)(KEY, state, jax.tree.map(lambda x: x[None], missing))
    assert info["model/loss"][0] == 0
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    half = data._replace(discount=data.discount.at[3:].set(jnp.nan))
    front = jax.tree.map(lambda x: x[:3], data)
    np.testing.assert_allclose(
        recurrent.loss(SMALL, SPEC, state.params, half), recurrent.loss(SMALL, SPEC, state.params, front) / 2, rtol=1e-5
    )


def test_gradients_are_clipped_to_their_global_norm(state, rng):
    """Adam's first moment after one step is a tenth of the clipped gradient."""
    data = windows(rng, 6, 2)
    far = data._replace(next_obs=data.next_obs + 1e3)
    near = jax.tree.map(jnp.zeros_like, data)
    update = jax.jit(recurrent.make(SMALL, SPEC).update)
    norms = [
        optax.tree.norm(update(KEY, state, jax.tree.map(lambda x: x[None], each))[0].opt[1][0].mu)
        for each in (far, near)
    ]
    np.testing.assert_allclose(norms[0], 0.1 * SMALL.clip, rtol=1e-3)
    assert norms[1] < 0.09 * SMALL.clip


def test_it_learns_a_linear_system(state):
    """To a hundredth of the variance of the change, on data that it has not seen."""
    rng = np.random.default_rng(1)
    learner = recurrent.make(SMALL, SPEC)
    data = windows(rng, 512, 2)
    one = jax.tree.map(lambda x: x[None], data)

    @jax.jit
    def train(state):
        return jax.lax.fori_loop(0, 600, lambda _, s: learner.update(KEY, s, one)[0], state)

    fresh = windows(rng, 512, 2)
    change = np.var(np.asarray(fresh.next_obs - fresh.obs))
    error = recurrent.loss(SMALL, SPEC, train(state).params, fresh)
    assert error < 0.01 * change < recurrent.loss(SMALL, SPEC, state.params, fresh)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"encoder": (0,)}, r"encoder must name positive widths, got \(0,\)"),
        ({"width": 0}, "width must be at least 1"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"clip": -1.0}, "clip must be a finite number, not negative"),
    ],
)
def test_impossible_configurations_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        recurrent.Config(**changes)
