"""MBPO's own wiring: schedule, presets, batches, order of fit, roll-out and update, what is kept of roll-outs."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs
from mbrl_jax.agents import sac
from mbrl_jax.algorithms import mbpo, preset
from mbrl_jax.algorithms.tasks import TASKS
from mbrl_jax.data.slabs import make_slabs
from mbrl_jax.models import ensemble
from mbrl_jax.rollouts import memoryless, stateless
from mbrl_jax.types import Agent, Model

MBPO = {name: preset("mbpo", name) for name in TASKS}
PAPER_HOPPER = replace(MBPO["hopper"], rollout_schedule=(20, 100, 1, 15))
CONFIGS = {**MBPO, "hopper as in the paper's table": PAPER_HOPPER}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_rollout_length_is_the_papers_formula_at_every_epoch(name):
    """Table 1: f(e) = min(max(x + (e - a) / (b - a) (y - x), x), y), truncated; in exact fractions."""
    config = CONFIGS[name]
    a, b, x, y = config.rollout_schedule
    epochs = range(config.steps // config.epoch_length + 60)
    exact = [int(min(max(x + Fraction(e - a, b - a) * (y - x), x), y)) for e in epochs]
    assert [int(mbpo.rollout_length(config, e)) for e in epochs] == exact
    traced = jax.vmap(lambda e: mbpo.rollout_length(config, e))(jnp.arange(len(exact)))
    np.testing.assert_array_equal(traced, exact)
    assert config.longest_rollout == max(exact[: config.steps // config.epoch_length])


def test_known_rollout_lengths():
    assert mbpo.rollout_length(MBPO["hopper"], 20) == 1
    assert mbpo.rollout_length(MBPO["hopper"], 125) == 12
    assert mbpo.rollout_length(PAPER_HOPPER, 125) == 15
    assert mbpo.rollout_length(MBPO["ant_truncated"], 60) == 13
    assert mbpo.rollout_length(MBPO["humanoid_truncated"], 300) == 25
    falling = replace(MBPO["hopper"], rollout_schedule=(0, 4, 5, 1))
    assert [int(mbpo.rollout_length(falling, e)) for e in range(6)] == [5, 4, 3, 2, 1, 1]


# Epochs x 1000, updates per step, model_train_freq, schedule, retained epochs, target entropy, width, warm-up, epoch.
RELEASED = {
    "inverted_pendulum": (20_000, 10, 250, (1, 15, 1, 1), 1, -0.05, 200, 500, 250),
    "inverted_double_pendulum": (20_000, 20, 250, (1, 15, 1, 1), 1, -0.5, 200, 500, 250),
    "hopper": (125_000, 20, 250, (20, 150, 1, 15), 1, -1.0, 200, 5000, 1000),
    "walker2d": (300_000, 20, 250, (20, 150, 1, 1), 1, -3.0, 200, 5000, 1000),
    "half_cheetah": (400_000, 40, 250, (20, 150, 1, 1), 1, -3.0, 200, 5000, 1000),
    "ant_truncated": (300_000, 20, 250, (20, 100, 1, 25), 1, -4.0, 200, 5000, 1000),
    "humanoid_truncated": (300_000, 20, 1000, (20, 300, 1, 25), 5, -2.0, 400, 5000, 1000),
}


@pytest.mark.parametrize("name", list(RELEASED))
def test_presets_are_the_released_settings(name):
    config = MBPO[name]
    ours = (
        config.steps,
        config.updates_per_step,
        config.model_train_freq,
        config.rollout_schedule,
        config.retain_epochs,
        config.agent.target_entropy,
        config.model.hidden[0],
        config.warmup_steps,
        config.epoch_length,
    )
    assert ours == RELEASED[name]
    assert (config.batch, config.real_batch, config.rollout_batch, config.replay_capacity) == (256, 12, 100_000, 10**6)
    assert (config.model.members, config.model.elites, len(config.model.hidden)) == (7, 5, 4)
    assert config.slots == {1: config.epoch_length // 250, 5: 5}[config.retain_epochs]
    assert preset("mbpo", f"{name}-v4") == preset("mbpo", name) == config


def test_an_unknown_algorithm_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'mbpo'"):
        preset("mpbo", "hopper")


CONFIG = mbpo.Config(
    steps=400,
    warmup_steps=30,
    epoch_length=20,
    model_train_freq=10,
    updates_per_step=3,
    batch=20,
    real_fraction=0.33,
    rollout_batch=8,
    rollout_schedule=(0, 2, 1, 3),
    model=ensemble.Config(members=2, elites=1, hidden=(4,), weight_decay=(0.0, 0.0)),
)
ITERATIONS = 6


@pytest.fixture(scope="module")
def wired():
    """MBPO with learners that record what they are given, on an environment whose real reward is always 1.

    The t-th fitted model (from 1) pays 10 + t for every imagined step, so that each imagined row tells which model
    it came from. Infos and states after every iteration.
    """

    def fake_model(config, spec, objective=None, terminal=None):
        def fit(key, state, data):
            held = jnp.arange(data.transitions.reward.shape[0]) < data.size
            real = (data.transitions.reward == 1.0).sum()
            return state + 1.0, {"fit/size": data.size, "fit/real": real, "fit/held": held.sum()}

        def dynamics(state):
            return memoryless(lambda key, obs, action: (obs, jnp.full(len(obs), 10.0 + state), jnp.ones(len(obs))))

        return Model(lambda key: jnp.zeros(()), fit, fit, dynamics)

    def fake_agent(config, spec, targets=None):
        def look(batch):
            real = batch.reward == 1.0
            imagined = batch.reward > 10.0
            info = {
                "real": real.sum(),
                "first": real[: CONFIG.real_batch].sum(),
                "imagined": imagined.sum(),
                "oldest": jnp.where(imagined, batch.reward, jnp.inf).min(),
                "newest": batch.reward.max(),
                "action": jnp.abs(batch.action[:, 0]).max(),
            }
            return jax.tree.map(jnp.float32, info)

        def update(key, state, batches):
            return state + len(batches.reward), jax.vmap(look)(batches)

        def act(state):
            return stateless(lambda key, obs: jnp.full((*obs.shape[:-1], 1), 1e-3) * state.astype(jnp.float32))

        return Agent(lambda key: jnp.zeros((), jnp.int32), update, act, act)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "make", fake_model)
        patch.setattr(sac, "make", fake_agent)
        algorithm = mbpo.make(CONFIG, envs.make("probe-truncation-v0"))
        step = jax.jit(algorithm.step)
        state = jax.jit(algorithm.init)(jax.random.key(0))
        states, infos = [state], []
        for t in range(ITERATIONS):
            state, info = step(jax.random.key(t), state)
            states.append(state)
            infos.append(info)
    return states, infos


def test_the_model_is_fitted_before_acting_on_all_data_so_far(wired):
    _, infos = wired
    for t, info in enumerate(infos):
        assert int(info["fit/size"]) == int(info["fit/real"]) == int(info["fit/held"]) == 30 + 10 * t


def test_every_environment_step_is_followed_by_its_updates(wired):
    states, _ = wired
    assert [int(s.agent.policy) for s in states] == [30 * t for t in range(ITERATIONS + 1)]
    assert [int(s.memory.size.value) for s in states] == [30 + 10 * t for t in range(ITERATIONS + 1)]
    # The action taken shows how many updates were behind it: none at first, three more with every step.
    taken = states[-1].memory.rows.value[30 : 30 + 10 * ITERATIONS, 1]
    np.testing.assert_allclose(taken, 1e-3 * 3 * np.arange(10 * ITERATIONS), rtol=1e-5)


def test_batches_hold_the_share_of_real_transitions(wired):
    _, infos = wired
    assert CONFIG.real_batch == 6  # int(20 * 0.33)
    for info in infos:
        shares = [info["real"], info["first"], info["imagined"]]
        np.testing.assert_allclose(shares, [6.0, 6.0, 14.0], rtol=1e-6)  # means over all updates


def test_imagined_transitions_of_the_last_epoch_are_kept_and_no_older_ones(wired):
    _, infos = wired
    assert CONFIG.slots == 2
    for t, info in enumerate(infos, start=1):
        np.testing.assert_allclose(info["newest"], 10 + t, atol=1e-5)
        np.testing.assert_allclose(info["oldest"], 10 + max(1, t - 1), atol=0.5)


def test_rollouts_have_the_scheduled_length_and_start_from_the_data(wired):
    states, _ = wired
    # Iterations 0-1 are epoch 0 (length 1), 2-3 epoch 1 (length 2), 4-5 epoch 2 (length 3).
    lengths = [1, 1, 2, 2, 3, 3]
    slabs = make_slabs(
        envs.make("probe-truncation-v0").spec, CONFIG.slots, CONFIG.longest_rollout, CONFIG.rollout_batch
    )
    for t in range(ITERATIONS):
        counts = np.asarray(states[t + 1].agent.imagined.filled).reshape(2, 3)
        np.testing.assert_array_equal(counts[t % 2], [8 if h < lengths[t] else 0 for h in range(3)])
        actions = slabs.rows(states[t + 1].agent.imagined)[(t % 2) * 3, :, 1]
        np.testing.assert_allclose(actions, 1e-3 * 30 * t, rtol=1e-5)  # the policy as it is when the model is fitted


def test_imagined_steps_that_are_not_finite_are_counted_and_destroy_nothing(monkeypatch):
    def broken(config, spec, objective=None, terminal=None):
        def dynamics(state):
            return memoryless(lambda key, obs, action: (obs * jnp.nan, jnp.ones(len(obs)), jnp.ones(len(obs))))

        return Model(lambda key: jnp.zeros(()), lambda key, state, data: (state, {}), None, dynamics)

    monkeypatch.setattr(ensemble, "make", broken)
    config = replace(CONFIG, agent=sac.Config(hidden=(4,)), rollout_schedule=(0, 1, 3, 3))
    algorithm = mbpo.make(config, envs.make("probe-truncation-v0"))
    state, step = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.step)
    for t in range(2):
        state, info = step(jax.random.key(t), state)
        assert int(info["model/failures"]) == config.rollout_batch  # each row once: there it ends
        assert np.isfinite(info["sac/critic_loss"])
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.agent.policy.params))


MIN_POOL = 1_000
"""Transitions before which the released code updates no policy (`min_pool_size`: the longest path that it allows)."""


@pytest.mark.parametrize("name", list(RELEASED))
def test_where_the_policy_learns_sooner_than_in_the_released_code_the_page_says_so(name):
    sooner = MBPO[name].warmup_steps < MIN_POOL
    assert sooner == name.endswith("pendulum")
    assert not sooner or "`min_pool_size`" in (Path(mbpo.__file__).parents[2] / "docs" / "mbpo.md").read_text()


def test_shares_that_set_shapes_cannot_be_swept_inside_one_program():
    from mbrl_jax.runner.run import sweepable

    names = sweepable(mbpo.Config())
    assert {"agent.gamma", "agent.actor_lr", "model.learning_rate"} <= set(names)
    assert not {"real_fraction", "model.holdout_fraction"} & set(names)


def test_every_sweepable_number_can_be_traced():
    from mbrl_jax.runner.run import override, sweepable

    env = envs.make("probe-truncation-v0")
    names = sweepable(CONFIG)

    def run(values, key):
        algorithm = mbpo.make(override(CONFIG, dict(zip(names, values, strict=True))), env)
        return algorithm.step(key, algorithm.init(key))[1]

    info = jax.eval_shape(run, [jnp.float32(0.5)] * len(names), jax.random.key(0))
    assert info["model/epochs"].shape == ()
