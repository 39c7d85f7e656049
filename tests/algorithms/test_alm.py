"""ALM's own wiring: noise schedule, updates, sequences within one episode, variants, presets."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.agents.latent.variants import VARIANTS
from mbrl_jax.algorithms import alm, preset
from mbrl_jax.data.rows import row_width, unpack
from mbrl_jax.types import Agent

ENV = envs.make("probe-termination-v0")
CONFIG = alm.Config(
    steps=40,
    warmup_steps=23,
    steps_per_iteration=10,
    updates_per_step=3,
    batch=8,
    noise_steps=16,
    agent=latent.Config(latent_dim=2, hidden=(4,), model_hidden=(4,), classifier_hidden=(4,)),
)


def reporting(config, spec, parts):
    """A learner that counts its updates and reports what it is given."""

    def look(data):
        held, single = data.sequences, data.batch
        joined = jnp.abs(held.next_obs[:, :-1] - held.obs[:, 1:]).max()
        inner = held.discount[:, :-1].min()
        info = {
            "joined": joined,
            "inner": inner,
            "ends": 1.0 - held.discount[:, -1].min(),
            "terminal": 1.0 - single.discount.min(),
            "noise": data.noise,
            "rows": jnp.float32(held.obs.shape[0] * 100 + held.obs.shape[1] * 10) + single.obs.shape[0],
        }
        return info

    def update(key, state, data):
        return state + len(data.noise), jax.vmap(look)(data)

    def act(state):
        return rollouts.uniform(spec)

    return Agent(lambda key: jnp.zeros((), jnp.int32), update, act, act)


@pytest.fixture(scope="module")
def wired():
    """Infos of two iterations of ALM with a learner that reports what it is given."""

    def fake_act(config, spec, state, noise, parts):
        return rollouts.stateless(lambda key, obs: jnp.full((*obs.shape[:-1], 1), noise))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent, "make", reporting)
        patch.setattr(latent, "act", fake_act)
        algorithm = alm.make(CONFIG, ENV)
        step = jax.jit(algorithm.step)
        states, infos = [jax.jit(algorithm.init)(jax.random.key(0))], []
        for t in range(2):
            state, info = step(jax.random.key(t), states[-1])
            states.append(state)
            infos.append(info)
    return states, infos


def test_sequences_stay_within_one_episode_and_transitions_need_not(wired):
    _, infos = wired
    for info in infos:
        assert info["joined"] == 0.0 and info["inner"] == 1.0
        assert info["ends"] > 0.5 and info["terminal"] > 0.5  # the critics must see terminations
        assert round(float(info["rows"])) == 8 * 100 + 3 * 10 + 8


def test_every_environment_step_is_followed_by_its_updates(wired):
    states, _ = wired
    assert [int(s.agent.learner) for s in states] == [0, 30, 60]
    assert [int(s.agent.time.value) for s in states] == [0, 10, 20]
    assert [int(s.memory.size.value) for s in states] == [23, 33, 43]


def test_the_noise_falls_linearly_and_the_warm_up_does_not_count(wired):
    states, infos = wired
    time = np.arange(20)
    exact = np.maximum(1.0 - 0.9 * time / 16, 0.1)
    taken = states[-1].memory.rows.value[23:43, 1]  # observation, action, …: the fake policy acts by its noise
    np.testing.assert_allclose(taken, exact, rtol=1e-5)
    learnt = np.maximum(1.0 - 0.9 * (time + 1) / 16, 0.1)  # an update comes after its step
    np.testing.assert_allclose([float(i["noise"]) for i in infos], [learnt[:10].mean(), learnt[10:].mean()], rtol=1e-5)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_keeps_one_structure(name):
    spec, parts, key = rollouts.normalised(ENV).spec, VARIANTS[name], jax.random.key(0)
    learner = latent.make(CONFIG.agent, spec, parts)
    batch = jax.eval_shape(lambda: unpack(jnp.zeros((1, 8, row_width(spec))), spec))
    sequences = jax.eval_shape(lambda: unpack(jnp.zeros((1, 8, 3, row_width(spec))), spec))
    before = jax.eval_shape(learner.init, key)
    data = latent.Data(sequences, batch, jax.ShapeDtypeStruct((1,), jnp.float32))
    after, info = jax.eval_shape(learner.update, key, before, data)

    def describe(leaf):
        return leaf.shape, leaf.dtype, leaf.weak_type

    assert jax.tree.map(describe, before) == jax.tree.map(describe, after)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(before))
    assert {"alm/critic_loss", "alm/world_loss", "alm/actor_loss"} <= set(info)

    def act(state, obs):
        return rollouts.first_action(key, latent.mode(CONFIG.agent, spec, state, parts), obs)

    assert jax.eval_shape(act, before, jnp.zeros((5, 1))).shape == (5, 1)


QUARTER = rollouts.stateless(lambda key, obs: jnp.full((*obs.shape[:-1], 1), 0.25))
"""A behaviour policy."""


def test_offline_data_stay_as_they_are():
    """All data are the behaviour's; an iteration makes its updates and neither acts nor writes."""
    algorithm = alm.offline(CONFIG, ENV, QUARTER)
    fast = {"xla_backend_optimization_level": 0}
    before = jax.jit(algorithm.init, compiler_options=fast)(jax.random.key(0))
    after, info = jax.jit(algorithm.step, compiler_options=fast)(jax.random.key(1), before)
    rows = before.memory.rows.value
    assert rows.shape[0] == CONFIG.warmup_steps
    np.testing.assert_array_equal(rows[:, 1], 0.25)
    np.testing.assert_array_equal(after.memory.rows.value, rows)
    assert int(after.agent.time.value) == CONFIG.steps_per_iteration
    counts = optax.tree.get_all_with_path(after.agent.learner.opt, "count")
    assert {int(count) for _, count in counts} == {CONFIG.steps_per_iteration * CONFIG.updates_per_step}
    assert np.isfinite(float(info["alm/cloning_loss"]))


def test_offline_the_noise_has_no_schedule(monkeypatch):
    monkeypatch.setattr(latent, "make", reporting)
    algorithm = alm.offline(CONFIG, ENV, QUARTER)
    _, info = jax.jit(algorithm.step)(jax.random.key(1), jax.jit(algorithm.init)(jax.random.key(0)))
    np.testing.assert_allclose(info["noise"], CONFIG.last_noise, rtol=1e-5)


def test_behaviour_cloning_needs_noise_and_other_variants_do_not():
    config = replace(CONFIG, last_noise=0.0)
    with pytest.raises(ValueError, match=r"first_noise and last_noise must be positive, got \(1.0, 0.0\)"):
        alm.offline(config, ENV, QUARTER)
    alm.make(config, ENV, "no KL")


def test_a_variant_by_its_name_acts_in_the_environments_units():
    algorithm = alm.make(CONFIG, ENV, "no KL")
    shape = jax.eval_shape(algorithm.init, jax.random.key(0))

    def act(state, obs):
        return rollouts.first_action(jax.random.key(0), algorithm.policy(state), obs)

    assert jax.eval_shape(act, shape, jnp.zeros((5, 1))).shape == (5, 1)


def test_a_misspelt_variant_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'no value'"):
        alm.make(CONFIG, ENV, "no valeu")


def test_presets_are_the_papers_and_released_settings():
    """Table 3 and `cfgs/agent/alm.yaml`; one setting for all tasks."""
    for name in ("half_cheetah", "walker2d", "hopper", "ant_truncated", "humanoid_truncated"):
        config = preset("alm", f"{name}-v4")
        assert replace(config, steps=500_000) == alm.Config()
        assert config.steps == 200_000
    assert replace(preset("alm", "ant-v2"), steps=500_000) == alm.Config()
    assert preset("alm", "humanoid-v2") == replace(alm.Config(), steps=495_000, replay_capacity=10**6)
    config = alm.Config()
    assert (config.batch, config.updates_per_step, config.warmup_steps, config.replay_capacity) == (512, 1, 5000, 10**5)
    assert (config.first_noise, config.last_noise, config.noise_steps) == (1.0, 0.1, 100_000)
    agent = config.agent
    assert (agent.horizon, agent.latent_dim, agent.hidden, agent.model_hidden) == (3, 50, (512, 512), (1024, 1024))
    assert (agent.gamma, agent.tau, agent.trace, agent.coefficient) == (0.99, 0.005, 0.95, 0.1)
    assert {agent.world_lr, agent.heads_lr, agent.critics_lr, agent.actor_lr} == {1e-4}
    assert (agent.max_grad_norm, agent.noise_limit, agent.mean_limit, agent.std_bounds) == (
        100.0,
        0.3,
        30.0,
        (0.1, 10.0),
    )
    assert set(alm.PRESETS) > {"inverted_pendulum", "pendulum"}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"steps": 15}, "got 15 and 10"),
        ({"batch": 0}, "batch must be"),
        ({"noise_steps": 0}, "noise_steps must be"),
        ({"first_noise": -1.0}, "first_noise must be a finite number, not negative"),
    ],
)
def test_impossible_configurations_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(CONFIG, **changes)
