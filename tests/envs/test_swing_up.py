"""PETS's cartpole against MuJoCo's solution of the same bodies, its rewards, and the ends of its rail."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mbrl_jax import envs
from mbrl_jax.envs import swing_up

ENV = envs.make("pets_cartpole")
MODEL = """
<mujoco>
  <option timestep="0.02" integrator="RK4"/>
  <default><joint damping="1"/><geom contype="0" conaffinity="0" density="1000"/></default>
  <worldbody>
    <body>
      <joint name="slide" type="slide" axis="1 0 0"/>
      <geom type="capsule" fromto="-.1 0 0 .1 0 0" size="0.1"/>
      <body>
        <joint type="hinge" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0.001 0 -0.6" size="0.049"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slide" gear="100" ctrlrange="-3 3" ctrllimited="true"/></actuator>
</mujoco>
"""


def test_masses_and_inertias_are_those_of_the_bodies():
    model = mujoco.MjModel.from_xml_string(MODEL)
    np.testing.assert_allclose(model.body_mass[1:], [swing_up.CART.mass, swing_up.POLE.mass], rtol=1e-10)
    np.testing.assert_allclose(model.body_inertia[2].max(), swing_up.POLE.inertia, rtol=1e-10)
    np.testing.assert_allclose(model.body_ipos[2][[0, 2]], swing_up.CENTRE, rtol=1e-10)


def test_a_swing_is_mujocos():
    model = mujoco.MjModel.from_xml_string(MODEL)
    data, actions = mujoco.MjData(model), np.random.default_rng(0).uniform(-1, 1, (40, 1))
    actions[3:5], actions[6:8] = 4.0, -4.0  # beyond the motor's bounds
    data.qpos[:], data.qvel[:] = (0.1, 2.0), (-0.3, 1.5)
    wanted = []
    for action in actions:
        data.ctrl[:] = action
        mujoco.mj_step(model, data, 2)
        wanted.append(np.concatenate([data.qpos, data.qvel]))
    assert np.abs(np.asarray(wanted)[:, 0]).max() < swing_up.RAIL
    with jax.enable_x64(True):
        begin = jnp.array([0.1, 2.0, -0.3, 1.5])
        _, found = jax.lax.scan(lambda s, a: (swing_up._dynamics(s, a),) * 2, begin, jnp.asarray(actions))
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)


def test_it_is_paid_for_the_tip_near_the_place_above_the_middle():
    action, zero = jnp.array([2.0]), jnp.zeros(4)
    upright, hanging = zero.at[1].set(jnp.pi), zero
    np.testing.assert_allclose(ENV.reward(zero, 0.0 * action, upright), 1.0, rtol=1e-6)
    np.testing.assert_allclose(ENV.reward(zero, 0.0 * action, hanging), np.exp(-4.0), rtol=1e-5)
    np.testing.assert_allclose(ENV.reward(zero, action, upright), 0.96, rtol=1e-6)
    np.testing.assert_allclose(swing_up.tip(jnp.array([0.5, jnp.pi / 2, 0, 0])), [-0.1, 0.0], atol=1e-6)
    batch = jnp.broadcast_to(upright, (2, 3, 4))
    assert ENV.reward(batch, jnp.zeros((2, 3, 1)), batch).shape == (2, 3)


def test_the_cart_stops_at_the_rails_ends_and_can_leave_them():
    state = jnp.array([2.45, 0.0, 5.0, 0.0])
    after = swing_up._dynamics(state, jnp.array([3.0]))
    assert after[0] == swing_up.RAIL and after[2] == 0.0
    back = swing_up._dynamics(after, jnp.array([-3.0]))
    assert back[0] < swing_up.RAIL and back[2] < 0.0


def test_an_episode_has_200_steps_and_never_ends_by_itself():
    assert (ENV.spec.time_limit, ENV.spec.dt, ENV.spec.action_high) == (200, 0.04, (3.0,))
    states = jax.vmap(ENV.reset)(jax.random.split(jax.random.key(0), 4000)).obs
    np.testing.assert_allclose(states.std(axis=0), 0.1, rtol=0.05)
    assert not ENV.terminal(10.0 * states).any()
