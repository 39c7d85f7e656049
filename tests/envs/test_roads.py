"""IcyRoad and Intersection: the published rules, the exact returns, and the environments against both."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.envs import icy_road, intersection, intersection_exact
from mbrl_jax.types import Policy

ACCELERATE, DECELERATE, KEEP = 0, 1, 2


def fixed(*actions):
    return lambda t, values: values[actions[t]]


def one_hot(actions):
    return jax.nn.one_hot(jnp.asarray(actions), 3)


@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        (icy_road.best, 9.0),
        (icy_road.uniform, 2.62),
        (fixed(0, 0, 0, 0, 0), 0.472),
        (fixed(0, 0, 2, 2, 2), -2.528),
        (fixed(2, 2, 2, 2, 2), 5.0),
        (fixed(1, 1, 1, 1, 1), -5.0),
    ],
    ids=["optimum", "random", "accelerate", "accelerate twice", "cruise", "brake"],
)
def test_exact_returns_on_the_icy_road(choose, expected):
    assert icy_road.exact_return(choose=choose) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("p", "optimum"), [(0.5, 11.0), (0.6, 9.6), (0.65, 9.0), (0.9, 9.0), (0.0, 42.0)])
def test_the_icy_optimum_by_swerve_probability(p, optimum):
    # Without ice: 1, 2, then 3 + 8, 4 + 8, 5 + 8.
    expected = 1 + 2 + 11 + 12 + 13 if p == 0 else optimum
    assert icy_road.exact_return(icy_road.Config(swerve_probability=p)) == pytest.approx(expected, abs=0.01)


def test_the_icy_reward_is_equation_20():
    obs = jnp.array([[0, 0, 2.0, 0], [0, 0, 2.5, 0], [0, 1.0, 3, 0], [0, 1.5, 3, 0], [0, -2, 1, 0]])
    np.testing.assert_allclose(icy_road.reward(obs), [2, 10.5, 11, -3, -5])


def test_a_swerve_depends_on_the_new_speed_and_lasts():
    draw = jax.jit(jax.vmap(partial(icy_road.move, icy_road.Config()), in_axes=(0, None, None)))
    keys = jax.random.split(jax.random.key(0), 20_000)
    found = np.asarray(draw(keys, jnp.array([2.0, 0, 2, 0]), one_hot(ACCELERATE)))  # Figure 2's state and action
    np.testing.assert_array_equal(found[:, [0, 2]], np.broadcast_to([5.0, 3.0], (20_000, 2)))
    np.testing.assert_array_equal(found[:, 1], found[:, 3])
    shares = [(found[:, 3] == slip).mean() for slip in (-2, 0, 2)]
    np.testing.assert_allclose(shares, [0.4, 0.2, 0.4], atol=4 * 0.5 / np.sqrt(20_000))
    slow = np.asarray(draw(keys[:100], jnp.array([2.0, 0, 2, 0]), one_hot(KEEP)))
    np.testing.assert_array_equal(slow, np.broadcast_to([4.0, 0, 2, 0], (100, 4)))
    sliding = np.asarray(draw(keys[:100], jnp.array([2.0, 2, 4, 2]), one_hot(DECELERATE)))
    np.testing.assert_array_equal(sliding, np.broadcast_to([5.0, 4, 3, 2], (100, 4)))


def returns(env, act, count, key=0):
    policy = act if isinstance(act, Policy) else rollouts.stateless(act)
    steps, valid = rollouts.episodes(jax.random.key(key), env, policy, count)
    assert valid.all()
    return np.asarray(steps.reward.sum(axis=1), np.float64), steps


@pytest.mark.parametrize("what", ["random", "accelerate"])
def test_the_icy_environment_earns_the_exact_return(what):
    env = envs.make("icy_road")

    def always(key, obs):
        return jnp.broadcast_to(one_hot(ACCELERATE), (obs.shape[0], 3))

    act, choose = {
        "random": (rollouts.uniform(env.spec), icy_road.uniform),
        "accelerate": (always, fixed(0, 0, 0, 0, 0)),
    }[what]
    found, _ = returns(env, act, 20_000)
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - icy_road.exact_return(choose=choose)) < 4 * error < 0.3


def test_exact_returns_at_the_intersection():
    assert intersection_exact.fixed_return(actions=(KEEP,) * 25) == (5.0, 125.0)
    assert intersection_exact.fixed_return(actions=(DECELERATE,) * 25) == (15.0, 15.0)
    assert intersection_exact.optimal_return() == 100.0
    slow = intersection.Config(acceleration=0.5)
    assert intersection_exact.fixed_return(slow) == (5.0, 125.0)
    assert intersection_exact.fixed_return(slow, (DECELERATE,) * 25) == (27.5, 27.5)
    assert intersection_exact.optimal_return(slow) == 99.75


def test_without_the_latch_ignoring_the_other_car_is_nearly_optimal():
    loose = intersection.Config(latched=False)
    assert intersection_exact.fixed_return(loose) == (65.0, 125.0)
    assert 95 < intersection_exact.optimal_return(loose) <= 100


NARROW = intersection.Config(agent_start=-2.5, other_start=4.5, collision_distance=5.0)
"""So close that seven steps decide."""


def test_the_optimum_equals_the_best_of_all_reactive_plans():
    steps, blind = 7, 2  # the turn shows after two steps: 4.5 -> 4.0 -> on the arc
    total = {a: intersection_exact.fixed_return(NARROW, a) for a in itertools.product(range(3), repeat=steps)}
    best = max(
        sum(0.5 * max(r[turn] for a, r in total.items() if a[:blind] == first) for turn in (0, 1))
        for first in itertools.product(range(3), repeat=blind)
    )
    assert best > max(np.mean(r) for r in total.values())  # reacting pays, so the comparison says something
    assert intersection_exact.optimal_return(NARROW, steps) == pytest.approx(best)


def test_ideal_planning_of_fixed_sequences_lies_between_cruising_and_the_optimum():
    found = intersection_exact.planned_return(15)
    assert found == 98.5 and 65 < found < intersection_exact.optimal_return()


@pytest.fixture(scope="module")
def crossing():
    """Random episodes at the intersection."""
    env = envs.make("intersection")
    return env, *returns(env, rollouts.uniform(env.spec), 64)


def test_the_intersection_earns_what_the_grid_says(crossing):
    _, found, steps = crossing
    actions = np.asarray(jnp.argmax(steps.action, axis=-1))
    left = np.asarray(steps.next_obs[:, 5, 9]) > -np.pi / 2
    assert 15 < left.sum() < 49
    both = [intersection_exact.fixed_return(actions=tuple(a)) for a in actions]
    exact = [returns[0] if turn else returns[1] for returns, turn in zip(both, left, strict=True)]
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_rewards_along_paths_are_the_environments(crossing):
    env, _, steps = crossing
    path = jnp.swapaxes(steps.obs, 0, 1)
    np.testing.assert_allclose(env.path_reward(path, steps.action.swapaxes(0, 1)).T, steps.reward, rtol=1e-6)
    unit = rollouts.normalised(env)
    np.testing.assert_allclose(unit.path_reward(path, steps.action.swapaxes(0, 1)).T, steps.reward, rtol=1e-6)


def test_dynamics_from_observations_are_the_environments(crossing):
    _, _, steps = crossing
    move = jax.jit(partial(intersection.move, intersection.Config()))
    predicted = move(jax.random.key(1), steps.obs, steps.action)
    onset = 2  # the other car enters the intersection after two steps; what it does then is a coin
    known = np.arange(25) != onset
    np.testing.assert_allclose(predicted[:, known], steps.next_obs[:, known], atol=2e-5)
    coin = np.asarray(predicted[:, onset, 9]) > -np.pi / 2
    assert 10 < (coin == (np.asarray(steps.next_obs[:, onset, 9]) > -np.pi / 2)).sum() < 54
    np.testing.assert_allclose(predicted[:, onset, :5], steps.next_obs[:, onset, :5], atol=1e-6)


def test_the_other_car_drives_the_published_manoeuvres():
    driven = jnp.linspace(0, 14, 1401)
    for left, end in ((True, (1, 0)), (False, (-1, 0))):
        path = np.asarray(intersection.place(intersection.Config(), driven, jnp.full(driven.shape, left)), np.float64)
        np.testing.assert_allclose(np.hypot(*np.diff(path[:, :2], axis=0).T), 0.01, rtol=1e-2)  # constant speed
        np.testing.assert_allclose(np.hypot(path[:, 2], path[:, 3]), 5.0, rtol=1e-5)
        np.testing.assert_allclose(path[0, :4], [-2, 5, 0, -5], atol=1e-5)
        np.testing.assert_allclose(path[-1, 2:4] / 5, end, atol=1e-5)
        course = np.diff(path[:, :2], axis=0) / 0.01
        np.testing.assert_allclose(course, path[:-1, 2:4] / 5, atol=0.02)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: icy_road.Config(swerve_probability=1.5), r"\[0, 1\], got 1.5"),
        (lambda: icy_road.Config(swerve_speed=0.0), "must be positive, got 0.0 and 1.0"),
        (lambda: intersection.Config(dt=0.0), "must be positive"),
        (lambda: intersection.Config(lane=5.0), "lane < half_width <= other_start, got lane=5.0"),
        (lambda: intersection.Config(left_probability=-0.1), r"\[0, 1\], got -0.1"),
        (
            lambda: intersection_exact.optimal_return(intersection.Config(max_speed=5.2)),
            "multiples of the acceleration",
        ),
    ],
)
def test_impossible_roads_are_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


@pytest.mark.parametrize("name", ["icy_road", "intersection"])
def test_pictures_show_what_happens(name):
    env = envs.make(name)
    state = env.reset(jax.random.key(0))
    actions = jnp.broadcast_to(one_hot(ACCELERATE), (env.spec.time_limit, 3))
    _, states = jax.lax.scan(lambda s, a: (env.step(jax.random.key(1), s, a)[0],) * 2, state, actions)
    frames = envs.render(env, states, height=60, width=80)
    assert frames.shape == (env.spec.time_limit, 60, 80, 3)
    assert (frames[0] != frames[-1]).any() and frames[0].std() > 5
