"""Pendulum against Gymnasium, the regulator and the probes against their closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from reference import make_gym

from mbrl_jax import envs
from mbrl_jax.envs import classic, gridworld, lqr, probes


def starts(name: str) -> np.ndarray:
    """States of 2000 resets, `[2000, n]`."""
    return np.asarray(jax.vmap(envs.make(name).reset)(jax.random.split(jax.random.key(0), 2000)).physics)


@pytest.mark.parametrize(
    ("name", "gym_id"),
    [
        ("pendulum-v1", "Pendulum-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("acrobot-v1", "Acrobot-v1"),
        ("mountain_car_continuous-v0", "MountainCarContinuous-v0"),
    ],
)
def test_resets_are_gymnasiums(name, gym_id):
    gym_env = make_gym(gym_id)
    theirs = np.array([(gym_env.reset(seed=seed), gym_env.state)[1] for seed in range(500)])
    for ours, expected in zip(starts(name).T, theirs.T, strict=True):
        if np.ptp(expected) == 0:
            np.testing.assert_array_equal(ours, expected[0])
        else:
            assert scipy.stats.ks_2samp(ours, expected).pvalue > 0.01 / theirs.shape[1]


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("mbbl_pendulum-v0", (np.pi, 1.0)), ("mbbl_cartpole-v0", (0.05,) * 4), ("mbbl_acrobot-v0", (0.1,) * 4)],
)
def test_resets_of_the_benchmark_variants_are_uniform(name, bounds):
    for ours, bound in zip(starts(name).T, bounds, strict=True):
        assert scipy.stats.kstest(ours, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01 / len(bounds)


@pytest.mark.parametrize("name", probes.PROBES)
def test_probe_values_satisfy_bellman_optimality(name):
    """V(o) = max_a Q(o, a) and Q(o, a) = r + gamma discount V(o') for every step that the environment takes."""
    env, probe, gamma = envs.make(name), probes.PROBES[name], 0.9
    for seed in range(4):
        state = env.reset(jax.random.key(seed))
        for i in range(env.spec.time_limit):
            grid = jnp.linspace(-1, 1, 201)[:, None]
            q = probe.action_value(jnp.broadcast_to(state.obs, (201, 1)), grid, gamma)
            np.testing.assert_allclose(q.max(), probe.value(state.obs, gamma), atol=1e-6)
            action = grid[50 * i % 201]
            after, step = env.step(jax.random.key(i), state, action)
            target = step.reward + gamma * step.discount * probe.value(step.next_obs, gamma)
            np.testing.assert_allclose(target, probe.action_value(state.obs, action, gamma), atol=1e-5)
            state = after
            if step.discount == 0:
                break


def test_probes_tell_termination_from_truncation():
    lengths = {}
    for name in ("probe-termination", "probe-truncation"):
        env = envs.make(name)
        state, step = env.reset(jax.random.key(0)), None
        while step is None or not (step.truncated or step.discount == 0):
            state, step = env.step(jax.random.key(0), state, jnp.zeros(1))
        lengths[name] = (int(state.t), float(step.discount), bool(step.truncated))
    assert lengths == {"probe-termination": (5, 0.0, False), "probe-truncation": (5, 1.0, True)}


def test_regulator_value_is_the_mean_of_simulated_returns():
    gamma, start = 0.9, jnp.array([0.4, -0.2])
    env = envs.make("lqr")
    feedback = 0.7 * lqr.gain(gamma)  # any stable policy, not only the best

    def discounted(key):
        def step(carry, key):
            state, weight = carry
            state, transition = env.step(key, state, -jnp.asarray(feedback, jnp.float32) @ state.obs)
            return (state, weight * gamma), weight * transition.reward

        state = env.reset(key)._replace(obs=start)
        return jax.lax.scan(step, (state, jnp.float32(1)), jax.random.split(key, 150))[1].sum()

    returns = np.asarray(jax.jit(jax.vmap(discounted))(jax.random.split(jax.random.key(0), 4000)))
    expected = float(lqr.value_of(feedback, start, gamma))
    assert abs(returns.mean() - expected) < 4 * returns.std() / np.sqrt(len(returns))
    assert float(lqr.value(start, gamma)) > expected


def test_regulator_gain_is_a_maximum_of_the_value():
    start, gamma = jnp.array([0.3, 0.1]), 0.95
    best = float(lqr.value(start, gamma))
    for change in ([[0.1, 0.0]], [[-0.1, 0.0]], [[0.0, 0.1]], [[0.0, -0.1]]):
        assert float(lqr.value_of(lqr.gain(gamma) + np.array(change), start, gamma)) < best
    with pytest.raises(ValueError, match="spectral radius < 1"):
        lqr.value_of(np.array([[-100.0, 0.0]]), start, gamma)


def follow_gym(name: str, gym_id: str, gym_action, *, steps: int = 40, beyond: float = 1.0) -> None:
    """Every step from a state of the random roll-outs, observation, reward and termination, in float64."""
    gym_env, rng = make_gym(gym_id), np.random.default_rng(0)
    with jax.enable_x64(True):
        env = envs.make(name)
        step = jax.jit(env.step)
        for seed in range(6):
            gym_env.reset(seed=seed)
            state = env.reset(jax.random.key(0))
            state = state._replace(physics=jnp.asarray(gym_env.state, jnp.float64))
            state = state._replace(obs=classic.SYSTEMS[name].observe(state.physics))
            for _ in range(steps):
                action = rng.uniform(-beyond, beyond, 1)
                expected_obs, expected_reward, ended, *_ = gym_env.step(gym_action(action))
                state, transition = step(jax.random.key(0), state, action)
                np.testing.assert_allclose(transition.next_obs, expected_obs, rtol=1e-6, atol=1e-6)  # Gym's float32
                np.testing.assert_allclose(transition.reward, expected_reward, atol=1e-9)
                assert bool(transition.discount == 0) == ended
                if ended:
                    break


def test_pendulum_is_gymnasium():
    follow_gym("pendulum-v1", "Pendulum-v1", lambda action: action, beyond=3.0)  # beyond the bounds too: both clip


def test_cartpole_is_gymnasium():
    follow_gym("cartpole-v1", "CartPole-v1", lambda action: int(action[0] > 0))


def test_acrobot_is_gymnasium():
    follow_gym("acrobot-v1", "Acrobot-v1", lambda action: 1 + int(action[0] > 1 / 3) - int(action[0] < -1 / 3))


def test_mountain_car_is_gymnasium():
    follow_gym("mountain_car_continuous-v0", "MountainCarContinuous-v0", lambda action: action, steps=60, beyond=2.0)


def test_mountain_car_arrives_and_is_paid():
    env = envs.make("mountain_car_continuous")
    state = env.reset(jax.random.key(0))
    state = state._replace(physics=jnp.array([0.44, 0.05]), obs=jnp.array([0.44, 0.05]))
    _, step = env.step(jax.random.key(0), state, jnp.array([1.0]))
    assert step.discount == 0
    np.testing.assert_allclose(step.reward, 100 - 0.1, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in classic.SYSTEMS if name.startswith("mbbl_")])
def test_benchmark_variants_pay_for_the_state_before_the_step_and_never_end(name):
    """Rewards of Wang et al. written out again, from observations and actions of a roll-out."""
    env = envs.make(name)
    actions = jax.random.uniform(jax.random.key(1), (200, 1), minval=-1.0, maxval=1.0) * env.spec.action_high[0]
    _, steps = jax.lax.scan(
        lambda state, action: env.step(jax.random.key(0), state, action), env.reset(jax.random.key(0)), actions
    )
    obs = np.asarray(steps.obs, np.float64).T
    expected = {
        "mbbl_pendulum-v0": lambda c, s, v: -(c + 0.1 * abs(s) + 0.1 * v**2 + 0.001 * np.asarray(actions)[:, 0] ** 2),
        "mbbl_cartpole-v0": lambda x, v, angle, w: np.cos(angle) - 0.01 * x**2,
        "mbbl_acrobot-v0": lambda c1, s1, c2, s2, v, w: -c1 - np.cos(np.arctan2(s1, c1) + np.arctan2(s2, c2)),
    }[name](*obs)
    np.testing.assert_allclose(steps.reward, expected, atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(steps.discount, 1.0)
    np.testing.assert_array_equal(np.flatnonzero(steps.truncated), [199])


def test_gridworld_follows_its_arrays():
    """Empirical transitions from one state and action against the array; goal and costs as the map says."""
    transition, reward, initial, ends = gridworld.grid_arrays()
    env = envs.make("gridworld")
    assert env.spec.obs_dim == len(initial) == 21 and env.spec.action_dim == 4
    state, count = 6, 20_000
    action = jnp.array([0.1, -0.3, 0.9, 0.2])  # down
    start = env.reset(jax.random.key(0))._replace(
        physics=jnp.int32(state), obs=jax.nn.one_hot(state, 21, dtype=jnp.float32)
    )
    keys = jax.random.split(jax.random.key(1), count)
    _, steps = jax.vmap(env.step, (0, None, None))(keys, start, action)
    frequency = np.asarray(steps.next_obs).mean(axis=0)
    np.testing.assert_allclose(frequency, transition[state, 2], atol=4 * 0.5 / np.sqrt(count))
    np.testing.assert_allclose(steps.reward, reward[state, 2], atol=1e-6)
    before_goal = int(np.flatnonzero(transition[:, :, ends].max(axis=(1, 2)) > 0.5)[0])
    near = start._replace(physics=jnp.int32(before_goal), obs=jax.nn.one_hot(before_goal, 21, dtype=jnp.float32))
    best = int(np.argmax(transition[before_goal, :, ends][0]))
    _, steps = jax.vmap(env.step, (0, None, None))(keys, near, jax.nn.one_hot(best, 4))
    assert abs(float((steps.discount == 0).mean()) - 0.925) < 0.01
    assert reward.max() == pytest.approx(0.925 - 0.01)


def test_gridworld_without_slips_goes_where_it_is_told_and_pays_at_the_goal():
    """A path written by hand: into the border, the wall and around it; cells are counted by rows, walls left out."""
    rows = ("S.", "#.", "G.")  # cells 0 1, wall 2, 3 4
    path = [("up", 0), ("left", 0), ("down", 0), ("right", 1), ("right", 1), ("down", 2), ("left", 2), ("down", 4)]
    path.append(("left", 3))
    transition, reward, initial, ends = gridworld.grid_arrays(rows, slip=0.0)
    env = envs.finite_mdp(transition, reward, initial, terminal=ends)
    step, state = jax.jit(env.step), env.reset(jax.random.key(0))
    assert int(jnp.argmax(state.obs)) == 0
    for i, (direction, cell) in enumerate(path):
        choice = ("up", "right", "down", "left").index(direction)
        state, transition = step(jax.random.key(i), state, 2.0 * jax.nn.one_hot(choice, 4) - 1.0)
        np.testing.assert_array_equal(transition.next_obs, np.arange(5) == cell)
        np.testing.assert_allclose(transition.reward, 0.99 if cell == 3 else -0.01, atol=1e-7)
        assert bool(transition.discount == 0) == (cell == 3) and not transition.truncated


def test_gridworld_pays_for_the_move_and_not_for_where_it_slips_to():
    """Beside the goal: 0.9 + 0.1 / 4 less the cost for the move into it, 0.1 / 4 less the cost for any other."""
    _, reward, _, _ = gridworld.grid_arrays(("SG",))
    np.testing.assert_allclose(reward[0], [0.015, 0.915, 0.015, 0.015], atol=1e-12)


def test_finite_mdp_refuses_what_is_none():
    transition, reward, initial, _ = gridworld.grid_arrays()
    with pytest.raises(ValueError, match="sum to 1"):
        envs.finite_mdp(transition * 0.9, reward, initial)
    with pytest.raises(ValueError, match=r"\[S, A, S\]"):
        envs.finite_mdp(transition, reward[:, :3], initial)
