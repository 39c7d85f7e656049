"""Distractor dimensions: their recurrence, and that the base task does not notice them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.algorithms import preset
from mbrl_jax.envs import distractors

TASKS = [
    ("pendulum-v1", None),
    ("cartpole-v1", None),
    ("inverted_pendulum-v4", "mujoco"),
    pytest.param("hopper-v4", "mjx", marks=pytest.mark.slow),
]


def roll(env, key, steps):
    """Transitions `[steps, ...]` of random actions, resets included, and the actor at the end."""
    unit = rollouts.normalised(env)

    def body(actor, k):
        k_step, k_act = jax.random.split(k)
        action = jax.random.uniform(k_act, (env.spec.action_dim,), minval=-1.0, maxval=1.0)
        actor, transition, _ = rollouts.real.step(k_step, unit, actor, action)
        return actor, transition

    return jax.jit(lambda k: jax.lax.scan(body, rollouts.real.start(k, unit), jax.random.split(k, steps)))(key)


def by_hand(law, x):
    """The released code's two lines in NumPy, in float64."""
    linear, frequency, beyond = law
    x = np.matmul(linear, x)
    x = x + 0.1 * np.sum(np.sin(np.matmul(frequency[None], x)), 0)
    return np.where(np.abs(x) > 20.0, beyond, x)


@pytest.mark.parametrize(("name", "engine"), TASKS)
def test_the_base_task_runs_bit_for_bit_as_without(name, engine):
    base = envs.make(name, engine=engine)
    env = distractors.wrap(base, dims=3)
    key, width = jax.random.key(3), base.spec.obs_dim
    alone, joined = roll(base, key, 60)[1], roll(env, key, 60)[1]
    np.testing.assert_array_equal(joined.obs[:, :width], alone.obs)
    np.testing.assert_array_equal(joined.next_obs[:, :width], alone.next_obs)
    for field in ("action", "reward", "discount", "truncated"):
        np.testing.assert_array_equal(getattr(joined, field), getattr(alone, field))
    assert joined.obs.shape[1] == env.spec.obs_dim == width + 3
    assert (env.spec.engine, env.spec.time_limit, env.spec.dt) == (
        base.spec.engine,
        base.spec.time_limit,
        base.spec.dt,
    )


def test_rewards_and_endings_see_the_base_observation_only():
    base = envs.make("cartpole-v1")
    env = distractors.wrap(base, dims=4, seed=1)
    _, seen = roll(env, jax.random.key(0), 80)
    assert (seen.discount == 0).any(), "some episode must have ended for this to say anything"
    np.testing.assert_array_equal(env.terminal(seen.next_obs), seen.discount == 0)
    np.testing.assert_array_equal(env.reward(seen.obs, seen.action, seen.next_obs), seen.reward)
    other = seen.next_obs.at[:, 4:].set(1e3)
    np.testing.assert_array_equal(env.terminal(other), env.terminal(seen.next_obs))


def test_what_the_base_does_not_offer_is_not_offered():
    base = envs.make("hopper-v4", engine="mujoco")
    env = distractors.wrap(base)
    offered = [(getattr(e, f) is None) for f in ("reward", "terminal", "path_reward", "restart") for e in (base, env)]
    assert offered[::2] == offered[1::2]


def test_rewards_of_the_path_see_the_base_observation_only():
    base = envs.make("pendulum-v1")._replace(path_reward=lambda obs, action: jnp.cumsum(obs.sum(-1)) + action[:, 0])
    env = distractors.wrap(base, dims=2)
    obs, action = jnp.arange(20.0).reshape(4, 5), jnp.ones((4, 1))
    np.testing.assert_array_equal(env.path_reward(obs, action), base.path_reward(obs[:, :3], action))


def test_every_step_is_the_released_recurrence():
    env = distractors.wrap(envs.make("pendulum-v1"), dims=5, seed=2)
    law = distractors.recurrence(5, 2)
    _, seen = roll(env, jax.random.key(0), 150)
    before, after = np.asarray(seen.obs[:, 3:], np.float64), np.asarray(seen.next_obs[:, 3:])
    expected = np.stack([by_hand(law, x) for x in before])
    # The sine's argument is up to 20 times B; float32 knows it to one part in 2^23, and so the sine to that much.
    slack = 0.1 * np.abs(law.frequency).sum(1) * 20 * 2.0**-20 + 1e-5
    assert (np.abs(after - expected) <= slack).all()
    assert (np.abs(before).max(0) > 2).all(), "nothing moved"


def test_entries_beyond_twenty_are_set_back_to_their_own_values():
    law = distractors.Recurrence(np.diag([3.0, 1.0, -1.0]), np.zeros((3, 3)), np.array([0.5, -0.25, 0.75]))
    moved = distractors.advance(law, jnp.asarray([7.0, 20.0, 20.5]))
    np.testing.assert_array_equal(moved, np.asarray([0.5, 20.0, 0.75], np.float32))
    moved = distractors.advance(law, jnp.asarray([-6.5, 1.0, -2.0]))
    np.testing.assert_array_equal(moved, np.asarray([-19.5, 1.0, 2.0], np.float32))


def test_the_sine_is_taken_of_the_linearly_moved_entries():
    law = distractors.Recurrence(np.array([[2.0]]), np.array([[0.5]]), np.array([0.0]))
    np.testing.assert_allclose(distractors.advance(law, jnp.ones(1)), 2.0 + 0.1 * np.sin(1.0), rtol=1e-6)


def test_the_law_has_the_released_distributions():
    law = distractors.recurrence(200, 0)
    count = 200**2
    # Five standard errors: of a mean 1/sqrt(N); of N(0,10)^2, whose mean is 100 and standard deviation 100 sqrt(2).
    assert abs(law.linear.mean()) < 5 / count**0.5 and abs((law.linear**2).mean() - 1) < 5 * (2 / count) ** 0.5
    assert abs(law.frequency.mean() - 100) < 5 * 100 * (2 / count) ** 0.5
    assert (law.frequency >= 0).all()
    assert abs(law.beyond.mean()) < 5 / 200**0.5 and law.beyond.std() > 0.8


def test_the_first_observation_is_one_step_after_small_normal_numbers(monkeypatch):
    doubling = distractors.Recurrence(2 * np.eye(3), np.zeros((3, 3)), np.zeros(3))
    monkeypatch.setattr(distractors, "recurrence", lambda dims, seed: doubling)
    env = distractors.wrap(envs.make("pendulum-v1"), dims=3)
    starts = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2000)).obs[:, 3:]
    # Standard errors of the mean, 0.2 / sqrt(2000), and of the standard deviation, that over sqrt(2); five of each.
    np.testing.assert_allclose(starts.mean(0), 0.0, atol=0.023)
    np.testing.assert_allclose(starts.std(0), 0.2, atol=0.016)


def test_a_fresh_episode_has_fresh_distractors_and_the_same_law():
    env = distractors.wrap(envs.make("pendulum-v1", time_limit=5), dims=4, seed=3)
    _, seen = roll(env, jax.random.key(1), 25)
    starts = np.asarray(seen.obs[::5, 3:])
    assert len(np.unique(starts, axis=0)) == 5
    assert seen.truncated[4::5].all()


def test_seeds_choose_the_law_and_runs_do_not():
    base = envs.make("pendulum-v1")
    one, same, other = (distractors.wrap(base, dims=4, seed=s) for s in (0, 0, 1))
    keys = [roll(env, jax.random.key(9), 10)[1].obs for env in (one, same, other)]
    np.testing.assert_array_equal(keys[0], keys[1])
    assert not np.array_equal(keys[0][:, 3:], keys[2][:, 3:])
    assert len({env.spec.name for env in (one, other)}) == 2


def test_a_step_that_fails_leaves_the_distractors_too():
    env = distractors.wrap(envs.make("pendulum-v1"), dims=2)
    state = env.reset(jax.random.key(0))
    after, step = jax.jit(env.step)(jax.random.key(1), state, jnp.full(1, jnp.nan))
    assert step.discount == 0 and after.failures == 1
    jax.tree.map(np.testing.assert_array_equal, (after.obs, step.next_obs), (state.obs, state.obs))


def test_a_restart_renews_only_the_episodes_that_ended():
    env = distractors.wrap(envs.make("reacher-v4", engine="mujoco"), dims=2)
    assert env.restart is not None
    states, fresh = (jax.vmap(env.reset)(jax.random.split(jax.random.key(i), 3)) for i in range(2))
    ended, keys = jnp.asarray([True, False, True]), jax.random.split(jax.random.key(1), 3)
    after = jax.vmap(lambda key, over, state: envs.restart(key, env, over, state))(keys, ended, states)
    for new, reset, old in zip(*map(jax.tree.leaves, (after, fresh, states)), strict=True):
        np.testing.assert_array_equal(new, np.stack([reset[0], old[1], reset[2]]))


def test_names_give_base_dimensions_and_seed():
    env = envs.make("Pendulum_distractors_4_7", time_limit=9)
    assert env.spec.name == envs.resolve("pendulum_distractors_4_7") == "pendulum_distractors_4_7-v1"
    assert (env.spec.obs_dim, env.spec.time_limit, env.spec.engine) == (7, 9, "jax")
    expected = distractors.wrap(envs.make("pendulum-v1"), 4, 7).reset(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, env.reset(jax.random.key(0)), expected)
    assert distractors.wrap(envs.make("pendulum-v1"), 4, 7).spec.name == env.spec.name
    assert envs.make("pendulum_distractors_4_7-v1", time_limit=9) is env
    assert envs.engines("hopper_distractors_10_0-v4") == envs.engines("hopper-v4")
    assert envs.make("hopper_distractors_10_0-v4", engine="mujoco").spec.engine == "mujoco"
    assert preset("mbpo", "pendulum_distractors_4_7-v1") == preset("mbpo", "pendulum-v1")


@pytest.mark.parametrize(("dims", "seed"), [(0, 0), (3, -1)])
def test_impossible_numbers_are_refused_in_words(dims, seed):
    with pytest.raises(ValueError, match=f"dims >= 1 and seed >= 0, got dims={dims}, seed={seed}"):
        distractors.wrap(envs.make("pendulum-v1"), dims=dims, seed=seed)
