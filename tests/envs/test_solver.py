"""The exact line search of MJX's constraint solver, against minimising the same cost in other ways."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import scipy.optimize

from mbrl_jax import envs
from mbrl_jax.envs import mjx_solver
from mbrl_jax.envs.mjx_solver import Rows, exact_step
from mbrl_jax.envs.mujoco_envs import ALL_TASKS, load_model
from mbrl_jax.envs.mujoco_robots import NOT_ON_MJX


def problem(seed, n=12, nv=5):
    """A point, a direction in which the cost falls, and the cost along it."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(nv, nv))
    inertia, smooth = half @ half.T + 0.1 * np.eye(nv), rng.normal(size=nv)
    jacobian, reference = rng.normal(size=(n, nv)), 3 * rng.normal(size=n)
    stiffness = np.exp(3 * rng.normal(size=n)) * (rng.uniform(size=n) > 0.2)
    always = rng.uniform(size=n) < 0.2
    start = rng.normal(size=nv)

    def cost(a):
        x = jacobian @ a - reference
        free = 0.5 * (a - smooth) @ inertia @ (a - smooth)
        return free + 0.5 * np.where((x < 0) | always, stiffness * x**2, 0.0).sum()

    x = jacobian @ start - reference
    weight = np.where((x < 0) | always, stiffness, 0.0)
    gradient = inertia @ (start - smooth) + jacobian.T @ (weight * x)
    direction = -np.linalg.solve(inertia + jacobian.T @ (weight[:, None] * jacobian), gradient)
    rows = Rows(*map(jnp.asarray, (jacobian, reference, stiffness, always)))
    free = direction @ inertia @ direction, direction @ inertia @ (start - smooth)
    return free, rows, x, jacobian @ direction, lambda step: cost(start + step * direction)


@pytest.mark.parametrize("seed", range(20))
def test_the_step_is_where_the_cost_is_least(seed):
    with jax.enable_x64(True):
        (curvature, slope), rows, x, v, along = problem(seed)
        found = float(jax.jit(exact_step)(curvature, slope, rows, jnp.asarray(x), jnp.asarray(v)))
    best = scipy.optimize.minimize_scalar(along, bracket=(0, 1), tol=1e-12)
    assert found > 0 and along(found) <= best.fun + 1e-12 * abs(best.fun)
    np.testing.assert_allclose(found, best.x, rtol=1e-6)


def step_along(slope, stiffness, x, v, always=None):
    """Of a direction in which the cost without constraints is a parabola with curvature 1."""
    x, v, stiffness = (jnp.asarray(each, jnp.float32) for each in (x, v, stiffness))
    always = jnp.zeros(x.shape, bool) if always is None else jnp.asarray(always)
    rows = Rows(jnp.zeros((*x.shape, 1)), jnp.zeros_like(x), stiffness, always)
    return float(exact_step(jnp.float32(1.0), jnp.float32(slope), rows, x, v))


@pytest.mark.parametrize(
    ("slope", "stiffness", "x", "v", "expected"),
    [
        (-2.0, [5.0], [9.0], [1.0], 2.0),  # a row that never acts: the parabola alone
        (-2.0, [3.0], [1.0], [-1.0], 1.25),  # acts behind 1: -2 + a + 3 (a - 1) = 0
        (-2.0, [3.0], [-1.0], [1.0], 2.0),  # acts before 1 only
        (-2.0, [3.0, 3.0], [1.0, 1.0], [-1.0, -1.0], 8 / 7),  # two rows with one corner
        (-2.0, [3.0], [0.0], [-1.0], 0.5),  # the corner is where the direction starts: -2 + 4 a = 0
        (-2.0, [3.0], [-1.0], [0.0], 2.0),  # a row that does not change
        (-2.0, [0.0], [1.0], [-1.0], 2.0),  # a row that does not exist
        (0.0, [3.0], [1.0], [-1.0], 0.0),  # already there
        (1.0, [3.0], [1.0], [-1.0], 0.0),  # the cost rises
    ],
)
def test_steps_known_by_hand(slope, stiffness, x, v, expected):
    assert step_along(slope, stiffness, x, v) == pytest.approx(expected, abs=1e-6)


def test_an_equality_counts_on_both_sides():
    """-2 + a + 3 (a + 1) = 0 has no solution ahead; as an inequality the row at x = 1 would not act at all."""
    assert step_along(-2.0, [3.0], [1.0], [1.0], [True]) == 0.0
    assert step_along(-2.0, [3.0], [1.0], [-1.0], [True]) == pytest.approx(1.25)


def test_numbers_that_are_none_stay_none():
    assert step_along(np.nan, [3.0], [1.0], [-1.0]) == 0.0  # times a direction that is NaN itself


def test_every_task_has_an_exact_search_and_others_are_refused():
    for file in {task.model for name, task in ALL_TASKS.items() if name not in NOT_ON_MJX}:
        mjx_solver.check_model(load_model(file))
    text = '<mujoco><option cone="elliptic"/><worldbody><body><joint{}/><geom size=".1"/></body></worldbody></mujoco>'
    with pytest.raises(ValueError, match=r"pyramidal friction cones and no friction losses; .* got elliptic cones"):
        mjx_solver.check_model(mujoco.MjModel.from_xml_string(text.format("")))
    lossy = text.replace("elliptic", "pyramidal").format(' frictionloss="1"')
    with pytest.raises(ValueError, match="got friction losses"):
        mjx_solver.check_model(mujoco.MjModel.from_xml_string(lossy))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["half_cheetah-v4", "hopper-v4", "walker2d-v4", "ant-v4", "humanoid-v4"])
def test_a_step_is_that_of_mjxs_own_search_without_limits(name):
    """From states in mid-air and on the floor, in 64 bits, where MuJoCo's own limits end by tolerance."""
    with jax.enable_x64(True):
        ways = [envs.make(name, engine="mjx"), envs.make(name, engine="mjx", iterations=100, ls_iterations=50)]
        state = jax.vmap(ways[0].reset)(jax.random.split(jax.random.key(0), 8))
        for action in jax.random.uniform(jax.random.key(1), (10, 8, ways[0].spec.action_dim), minval=-1.0):
            found = [jax.vmap(env.step, (None, 0, 0))(jax.random.key(2), state, action)[0] for env in ways]
            np.testing.assert_allclose(found[0].obs, found[1].obs, rtol=1e-6, atol=1e-6)
            state = found[1]
