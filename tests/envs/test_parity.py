"""Every MuJoCo task is Gymnasium's: observations, rewards and terminations, on both engines."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import scipy.stats
from reference import Reference, body_of, contact_cost, field_of, make_gym, record, state_of

from mbrl_jax import envs
from mbrl_jax.envs import bits
from mbrl_jax.envs.mujoco_envs import GYM_BODIES, load_model
from mbrl_jax.envs.mujoco_table import ALIASES, TASKS
from mbrl_jax.envs.mujoco_tasks import MEMORY, Frame, never

GYM_TASKS = [name for name, task in TASKS.items() if task.gym]
RESETS = {(task.noise, task.model): name for name, task in reversed(TASKS.items())}
"""The first task of each distribution of start states; all others but `mbbl_reacher` have one of these."""
ENDING = [name for name, task in GYM_BODIES.items() if task.obs_terminal not in (None, never)]
POSTURES = {
    "hopper.xml": ((1, 0.5, 1.4), (2, -0.5, 0.5)),
    "walker2d.xml": ((1, 0.6, 2.2), (2, -1.5, 1.5)),
    "walker2d_v5.xml": ((1, 0.6, 2.2), (2, -1.5, 1.5)),
    "ant.xml": ((2, -3.0, 0.6), (2, 0.6, 1.3)),  # the floor throws it up to .2 unless it starts far below
    "humanoid.xml": ((2, 0.8, 1.4), (2, 1.4, 2.2)),
    "inverted_pendulum.xml": ((1, -0.4, 0.0), (1, 0.0, 0.4)),
    "inverted_double_pendulum.xml": ((1, -2.0, 2.0), (2, -2.5, 2.5)),
}
"""For each model two ranges of an entry of the positions, from where an episode ends to where it goes on."""


@functools.cache
def reference(name: str, steps: int) -> Reference:
    """The body's own steps; what our task remembers stands at what an episode starts with."""
    task, found = GYM_BODIES[name], record(body_of(name), GYM_BODIES[name].carried, steps=steps)
    if task.memory is None:
        return found
    nothing = np.asarray(task.memory.start(jax.random.key(0), jnp.asarray(found.qpos[0, 0])))
    return found._replace(derived={**found.derived, MEMORY: np.tile(nothing, (len(found.rows), 1))})


@functools.cache
def stepper(name: str, engine: str):
    """One compiled step of a batch for all tests of a task, in each precision."""
    return jax.jit(jax.vmap(envs.make(name, engine=engine).step, in_axes=(None, 0, 0)))


def follow(name: str, engine: str, expected: Reference, *, whole: bool = True) -> tuple[np.ndarray, ...]:
    """Our observations, rewards, terminations and truncations along the reference's actions, [states, steps, ...].

    Not compiled as a `whole`, tasks on the same body share MJX's program of it.
    """
    env = envs.make(name, engine=engine)
    step = stepper(name, engine) if whole else jax.vmap(env.step, in_axes=(None, 0, 0))
    state, outcomes, programs = state_of(expected, engine, env.spec.obs_dim), [], set()
    for actions in np.swapaxes(expected.actions, 0, 1):
        state, transition = step(jax.random.key(0), state, jnp.asarray(actions))
        outcomes.append(jax.device_get(transition))
        programs.add(step._cache_size() if whole else 0)
    assert len(programs) == 1, "the second step must not be compiled again"
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *outcomes)
    return stacked.next_obs, stacked.reward, stacked.discount == 0, stacked.truncated


@pytest.mark.parametrize("name", GYM_TASKS)
def test_c_engine_is_gymnasium_to_the_last_bits(name):
    expected = reference(name, 100)
    with jax.enable_x64(True):
        obs, reward, terminated, truncated = follow(name, "mujoco", expected)
    # The posture is bit-equal; sums in rewards and observations are formed in another order than Gymnasium's.
    scale = np.maximum(1.0, np.abs(expected.next_obs))
    np.testing.assert_array_less(np.abs(obs - expected.next_obs) / scale, 1e-12)
    np.testing.assert_array_less(np.abs(reward - expected.reward) / np.maximum(1.0, np.abs(expected.reward)), 1e-12)
    np.testing.assert_array_equal(terminated, expected.terminated)
    terminal = envs.make(name, engine="mujoco").terminal
    if terminal is not None:
        np.testing.assert_array_equal(terminal(jnp.asarray(expected.next_obs)), expected.terminated)
    late = np.arange(1, 101) >= TASKS[name].time_limit
    np.testing.assert_array_equal(truncated, late & ~terminated)


def test_c_engine_in_32_bits_only_rounds_what_it_shows():
    expected = reference("hopper-v4", 100)
    obs, reward, terminated, _ = follow("hopper-v4", "mujoco", expected)
    assert obs.dtype == reward.dtype == np.float32
    np.testing.assert_array_equal(obs, expected.next_obs.astype(np.float32))
    np.testing.assert_allclose(reward, expected.reward, rtol=1e-7)
    np.testing.assert_array_equal(terminated, expected.terminated)


def assert_mjx_parity(name: str, first: float, tenth: float, *, whole: bool = True, engine: str = "mjx") -> None:
    """Errors relative to max(1, |value|): all of the first step's below `first`, the tenth's median below `tenth`.

    A task that Gymnasium does not have is compared with the C engine, which is tested for it elsewhere.
    """
    expected = reference(name, 10)
    if not GYM_BODIES[name].gym:
        obs, reward, terminated, _ = follow(name, "mujoco", expected)
        expected = expected._replace(next_obs=obs, reward=reward, terminated=terminated)
    obs, reward, terminated, _ = follow(name, engine, expected, whole=whole)
    error = np.abs(obs - expected.next_obs) / np.maximum(1.0, np.abs(expected.next_obs))
    reward_error = np.abs(reward - expected.reward) / np.maximum(1.0, np.abs(expected.reward))
    assert error[:, 0].max() <= first
    assert reward_error[:, 0].max() <= first
    assert np.median(error[:, 9].max(axis=-1)) <= tenth
    assert np.median(reward_error[:, 9]) <= tenth
    np.testing.assert_array_equal(terminated[:, 0], expected.terminated[:, 0])


@pytest.mark.parametrize("name", ["hopper-v4"])
def test_mjx_in_64_bits_is_gymnasium(name):
    with jax.enable_x64(True):
        assert_mjx_parity(name, first=1e-9, tenth=1e-6)


@pytest.mark.parametrize("name", ["half_cheetah-v4"])
def test_mjx_in_32_bits_is_gymnasium(name):
    assert_mjx_parity(name, first=1e-3, tenth=1e-2)


def test_mjx_stops_a_cart_at_the_end_of_its_rail():
    """Random episodes do not get there. From the last solution one Newton iteration leaves some off by 0.05."""
    name, rng = "inverted_pendulum-v4", np.random.default_rng(0)
    expected = reference(name, 1)
    rows, side = expected.rows.copy(), rng.choice([-1.0, 1.0], len(expected.rows))
    rows[:, 1] = side * rng.uniform(0.97, 1.03, len(rows))
    rows[:, 3] = side * rng.uniform(-1.0, 4.0, len(rows))  # the cart's speed
    rows[:, 5:7] = rng.normal(0.0, 20.0, (len(rows), 2))  # the solver's warm start
    expected = expected._replace(rows=rows)
    actions = jnp.asarray(expected.actions[:, 0], jnp.float32)
    obs = [
        stepper(name, engine)(jax.random.key(0), state_of(expected, engine, 4), actions)[0].obs
        for engine in ("mujoco", "mjx")
    ]
    assert (np.abs(obs[0][:, 0]) < 1.1).all()
    np.testing.assert_allclose(obs[1], obs[0], rtol=1e-3, atol=1e-3)


def test_mjx_stops_cart_and_pole_at_once_where_the_task_goes_on_with_the_pole_down():
    """One Newton iteration, enough for the rail alone, leaves some of these off by a hundredth."""
    rng, errors = np.random.default_rng(0), {}
    name, count = "mbbl_inverted_pendulum-v0", 512
    expected = reference(name, 1)
    rows = np.repeat(expected.rows[:1], count, axis=0)
    side, turn = rng.choice([-1.0, 1.0], (2, count))
    rows[:, 1], rows[:, 2] = side * rng.uniform(0.8, 1.0, count), turn * rng.uniform(1.5, 1.65, count)
    rows[:, 3], rows[:, 4] = side * rng.uniform(1.0, 4.0, count), turn * rng.uniform(-2.0, 2.0, count)
    rows[:, 5:7] = 0.0
    expected = expected._replace(rows=rows, obs=np.zeros((count, 4)))
    actions = jnp.asarray(rng.uniform(-3.0, 3.0, (count, 1)), jnp.float32)
    exact = stepper(name, "mujoco")(jax.random.key(0), state_of(expected, "mujoco", 4), actions)[0].obs
    for limits in ({}, {"iterations": 1}):
        env = envs.make(name, engine="mjx", **limits)
        step = jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))
        obs = step(jax.random.key(0), state_of(expected, "mjx", 4), actions)[0].obs
        errors[len(limits)] = np.abs(obs - exact).max()
    assert errors[0] < 1e-4 < 1e-3 < errors[1]


def assert_resets_are_gymnasiums(name: str) -> None:
    """Two-sample tests of every position and velocity; a level of 0.01 for the task, shared by its coordinates."""
    gym_env, theirs = body_of(name), []
    for seed in range(400):
        gym_env.reset(seed=seed)
        theirs.append(np.concatenate([gym_env.data.qpos, gym_env.data.qvel]))
    theirs = np.array(theirs)
    env = envs.make(name, engine="mujoco")
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(1), 1600))
    ours = bits.from_words(np.asarray(state.physics))[:, 1 : 1 + theirs.shape[1]]
    pvalues = []
    for expected, found in zip(theirs.T, ours.T, strict=True):
        if np.ptp(expected) < 1e-12:
            np.testing.assert_allclose(found, expected[0], atol=1e-6)
        else:
            pvalues.append(scipy.stats.ks_2samp(expected, found).pvalue)
    assert min(pvalues) > 0.01 / len(pvalues)


@pytest.mark.parametrize("name", sorted(RESETS.values()))
def test_resets_are_drawn_from_gymnasiums_distribution(name):
    assert_resets_are_gymnasiums(name)


@pytest.mark.parametrize("name", GYM_TASKS)
def test_first_step_after_our_reset_is_gymnasiums(name):
    """Gym's reset leaves a solver warm start; ours must behave as if it had been there.

    The action is beyond the bounds: the motors saturate, the control cost counts the action as it was given.
    """
    gym_env, env = body_of(name), envs.make(name, engine="mujoco")
    with jax.enable_x64(True):
        states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(5), 20))
        action = -1.4 * np.array(env.spec.action_high)
        _, steps = stepper(name, "mujoco")(jax.random.key(0), states, jnp.tile(jnp.asarray(action), (20, 1)))
        states, steps = jax.device_get((states, steps))
    nq, nv = gym_env.model.nq, gym_env.model.nv
    gym_env.reset(seed=0)
    for i, row in enumerate(bits.from_words(states.physics)[:3]):
        mujoco.mj_resetData(gym_env.model, gym_env.data)
        gym_env.set_state(row[1 : 1 + nq], row[1 + nq : 1 + nq + nv])
        np.testing.assert_allclose(states.obs[i], gym_env._get_obs(), atol=1e-12)
        obs, reward, terminated, *_ = gym_env.step(action)
        np.testing.assert_allclose(steps.next_obs[i], obs, atol=1e-12, rtol=1e-12)
        np.testing.assert_allclose(steps.reward[i], reward, atol=1e-11)
        assert bool(steps.discount[i] == 0) == terminated


@pytest.mark.parametrize("name", ENDING)
def test_the_end_is_gymnasiums_standing_and_fallen(name):
    """20 postures on both sides of every limit, which random roll-outs would not all reach.

    The benchmark's tasks end where Gym's on the same body do.
    """
    gym_env, env = body_of(name), envs.make(name, engine="mujoco")
    ranges = POSTURES[GYM_BODIES[name].model]
    with jax.enable_x64(True):
        states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(5), 20))
        rows = bits.from_words(np.array(states.physics))
        rows[:] = rows[:1]
        for half, (entry, low, high) in zip((slice(0, 10), slice(10, 20)), ranges, strict=True):
            rows[half, 1 + entry] = np.linspace(low, high, 10)
        states = states._replace(physics=jnp.asarray(bits.to_words(rows)))
        still = jnp.zeros((20, env.spec.action_dim))
        steps = jax.device_get(stepper(name, "mujoco")(jax.random.key(0), states, still)[1])
        said = np.asarray(env.terminal(jnp.asarray(steps.next_obs)))
    nq, nv, ends = gym_env.model.nq, gym_env.model.nv, []
    gym_env.reset(seed=0)
    for row in rows:
        mujoco.mj_resetData(gym_env.model, gym_env.data)
        gym_env.set_state(row[1 : 1 + nq], row[1 + nq : 1 + nq + nv])
        ends.append(gym_env.step(np.zeros(env.spec.action_dim))[2])
    for half in (ends[:10], ends[10:]):
        assert set(half) == {True, False}
    np.testing.assert_array_equal(steps.discount == 0, ends)
    np.testing.assert_array_equal(said, ends)


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_double_pendulums_end_is_read_from_the_angles_to_a_tenth_of_a_millimetre(version):
    """Gym's height of the tip is that of the last Runge-Kutta stage; the observed angles are those after the step."""
    env = envs.make(f"inverted_double_pendulum-{version}", engine="mujoco")
    gym_env, rng, outcomes = make_gym(f"InvertedDoublePendulum-{version}"), np.random.default_rng(0), []
    gym_env.reset(seed=0)
    for _ in range(400):
        obs, _, terminated, *_ = gym_env.step(rng.uniform(-1, 1, 1))
        tip, (first, second) = gym_env.data.site("tip").xpos[2], gym_env.data.qpos[1:]
        assert abs(0.6 * np.cos(first) + 0.6 * np.cos(first + second) - tip) < 1e-4
        if abs(tip - 1) > 1e-4:
            outcomes.append((terminated, bool(env.terminal(obs))))
        if terminated:
            gym_env.reset()
    assert set(outcomes) == {(True, True), (False, False)} and len(outcomes) > 390


@pytest.mark.parametrize(
    ("name", "entry", "fallen", "alive"),
    [
        ("hopper", 1, 0.5, 1.0),
        ("walker2d", 1, 0.5, 1.0),
        ("ant", 2, 0.1, 1.0),
        ("humanoid", 2, 0.9, 5.0),
        ("inverted_pendulum", 1, 0.3, 1.0),
    ],
)
def test_v5_withholds_the_healthy_reward_on_the_step_that_ends(name, entry, fallen, alive):
    """-v2 and -v4 pay it there as well; nothing else in the reward of a state without contacts differs."""
    old, new = TASKS[f"{name}-v4"], TASKS[f"{name}-v5"]
    model = load_model(old.model)
    data = mujoco.MjData(model)

    def frame(change: float | None) -> Frame:
        qpos = model.qpos0.copy()
        qpos[entry] = qpos[entry] if change is None else change
        return Frame(qpos, np.zeros(model.nv), {spec: field_of(model, data, spec) for spec in new.derived})

    action, upright = np.full(model.nu, 0.3), frame(None)
    assert not old.terminated(upright)
    np.testing.assert_allclose(old.reward(upright, action, upright, 0.1), new.reward(upright, action, upright, 0.1))
    down = frame(fallen)
    assert old.terminated(down) and new.terminated(down)
    paid = old.reward(upright, action, down, 0.1) - new.reward(upright, action, down, 0.1)
    np.testing.assert_allclose(paid, alive, atol=1e-12)


def test_walkers_feet_have_two_frictions_until_v5_made_them_one():
    for version, expected in (("v4", (0.9, 1.9)), ("v5", (1.9, 1.9))):
        model = load_model(TASKS[f"walker2d-{version}"].model)
        found = [float(model.geom(foot).friction[0]) for foot in ("foot_geom", "foot_left_geom")]
        assert found == pytest.approx(expected)


def test_v2_is_v4_where_the_papers_task_did_not_change():
    for old, name in ALIASES.items():
        assert envs.resolve(old) == name and old not in envs.names()
    for name in ("ant-v2", "ant_truncated-v2", "humanoid-v2", "humanoid_truncated-v2"):
        assert envs.resolve(name) == name


@pytest.mark.parametrize(
    ("name", "gym_id", "dim"),
    [
        ("ant_truncated-v2", "Ant-v4", 27),
        ("humanoid-v2", "Humanoid-v4", 376),
        ("humanoid_truncated-v2", "Humanoid-v4", 45),
    ],
)
def test_v2_differs_from_v4_by_its_contact_cost_and_observation(name, gym_id, dim):
    env, gym_env, rng = envs.make(name, engine="mujoco"), make_gym(gym_id), np.random.default_rng(0)
    costs = []
    with jax.enable_x64(True):
        step, state = jax.jit(env.step), jax.jit(env.reset)(jax.random.key(0))
        row = bits.from_words(np.asarray(state.physics))
        gym_env.reset(seed=0)
        mujoco.mj_resetData(gym_env.model, gym_env.data)
        nq, nv = gym_env.model.nq, gym_env.model.nv
        gym_env.set_state(row[1 : 1 + nq], row[1 + nq : 1 + nq + nv])
        for _ in range(60):
            action = rng.uniform(gym_env.action_space.low, gym_env.action_space.high)
            state, transition = step(jax.random.key(0), state, action)
            obs, reward, terminated, *_ = gym_env.step(action)
            costs.append(contact_cost(name, gym_env.data.cfrc_ext))
            np.testing.assert_allclose(transition.next_obs, obs[:dim], rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(transition.reward, reward - costs[-1], rtol=1e-11, atol=1e-11)
            assert bool(transition.discount == 0) == terminated
    assert max(costs) > 1e-3, "no contact was ever made, so that nothing was tested"


def test_pusher_v4_pays_for_the_state_before_the_step():
    expected = reference("pusher-v5", 100)
    with jax.enable_x64(True):
        env = envs.make("pusher-v4", engine="mujoco")
        reset = jax.jit(env.reset)(jax.random.key(0))
        new = envs.make("pusher-v5", engine="mujoco")
        old_step, new_step, new_state = jax.jit(env.step), jax.jit(new.step), new.reset(jax.random.key(0))
        np.testing.assert_array_equal(reset.obs, new_state.obs)
        for action in expected.actions[0]:
            before = reset.obs
            reset, old = old_step(jax.random.key(0), reset, action)
            new_state, transition = new_step(jax.random.key(0), new_state, action)
            np.testing.assert_array_equal(old.next_obs, transition.next_obs)
            tip, thing, goal = before[14:17], before[17:20], before[20:23]
            paid = np.linalg.norm(thing - goal) + 0.1 * np.square(action).sum() + 0.5 * np.linalg.norm(thing - tip)
            np.testing.assert_allclose(old.reward, -paid, rtol=1e-12)
