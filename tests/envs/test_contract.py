"""What every environment promises: `types.Env`."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs
from mbrl_jax.envs import gymnasium_envs
from mbrl_jax.envs.mujoco_table import TASKS
from mbrl_jax.types import Transition

ONE_START = ("probe", "gridworld", "icy_road", "intersection")  # all their episodes start alike


def engine_for(name: str) -> str | None:
    """The C engine stands in for both: MJX's compile time would buy nothing here."""
    return None if "mujoco" not in envs.engines(name) else "mujoco"


def random_actions(env, key, *lead: int) -> jax.Array:
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)
    return jax.random.uniform(key, (*lead, env.spec.action_dim), minval=low, maxval=high)


def roll(env, key, steps: int = 12):
    """One episode's first steps with random actions; also how often the step was traced."""
    k_reset, k_act, k_step = jax.random.split(key, 3)
    return jax.lax.scan(
        lambda state, x: env.step(x[0], state, x[1]),
        env.reset(k_reset),
        (jax.random.split(k_step, steps), random_actions(env, k_act, steps)),
    )


# The -v5 tasks share every line of this with their -v4, and the parity tests run them all; the humanoids too. The
# claw's and the drawer's are in `test_robots`.
ELSEWHERE = ("humanoid_", "dclaw_", "drawer_")


@pytest.mark.parametrize(
    "name", [n for n in envs.names() if not n.endswith("-v5") and not any(word in n for word in ELSEWHERE)]
)
def test_shapes_types_and_seeds_in_parallel(name):
    env = envs.make(name, engine=engine_for(name))
    spec = env.spec
    assert spec.name == name
    assert len(spec.action_low) == len(spec.action_high) == spec.action_dim
    keys = jax.random.split(jax.random.key(7), 3)
    states, batch = jax.jit(jax.vmap(lambda key: roll(env, key)))(keys)
    assert batch.obs.shape == batch.next_obs.shape == (3, 12, spec.obs_dim)
    assert batch.action.shape == (3, 12, spec.action_dim)
    assert batch.extras == ()
    for field in set(Transition._fields) - {"extras"}:
        leaf = getattr(batch, field)
        assert leaf.dtype == (jnp.bool_ if field == "truncated" else jnp.float32), field
        assert not leaf.weak_type, field
        assert jnp.isfinite(leaf).all(), field
    np.testing.assert_array_equal(batch.obs[:, 1:], batch.next_obs[:, :-1])  # no reset inside a step
    np.testing.assert_array_equal(states.t, 12)
    assert not (np.asarray(batch.discount == 0) & np.asarray(batch.truncated)).any()
    if not (name.startswith("mbbl_") and "mujoco" in envs.engines(name)):  # Gym's tasks stand for the others on a body
        alone = jax.jit(lambda key: roll(env, key))
        _, single = alone(keys[1])
        np.testing.assert_allclose(single.next_obs, batch.next_obs[1], atol=1e-6, rtol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, single, alone(keys[1])[1])
    if env.reward is not None:
        reward = env.reward(batch.obs, batch.action, batch.next_obs)
        np.testing.assert_allclose(reward, batch.reward, atol=2e-5, rtol=1e-5)
    if env.terminal is not None:
        np.testing.assert_array_equal(env.terminal(batch.next_obs), batch.discount == 0)
    starts = np.unique(np.asarray(batch.obs[:, 0]), axis=0)
    assert len(starts) > 1 or name.startswith(ONE_START)


@pytest.mark.parametrize("name", ["pendulum-v1", "hopper-v4"])
def test_state_keeps_its_types_in_a_scan(name):
    env = envs.make(name, engine=engine_for(name))
    state = jax.eval_shape(env.reset, jax.random.key(0))
    after, _ = jax.eval_shape(env.step, jax.random.key(0), state, jnp.zeros(env.spec.action_dim))
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state) == jax.tree.map(
        lambda x: (x.shape, x.dtype, x.weak_type), after
    )


def test_time_limit_truncates_and_does_not_end_the_task():
    env = envs.make("pendulum", time_limit=3)
    _, steps = roll(env, jax.random.key(0), 4)
    np.testing.assert_array_equal(steps.truncated, [False, False, True, True])
    np.testing.assert_array_equal(steps.discount, 1.0)


def test_termination_at_the_time_limit_is_a_termination():
    env = envs.make("probe-constant", time_limit=1)
    _, step = env.step(jax.random.key(0), env.reset(jax.random.key(0)), jnp.zeros(1))
    assert step.discount == 0 and not step.truncated


@pytest.mark.parametrize("name", ["pendulum-v1", "hopper-v4"])
def test_numbers_that_are_not_finite_end_the_episode_and_never_spread(name):
    env = envs.make(name, engine=engine_for(name))
    state = env.reset(jax.random.key(0))
    action = jnp.zeros(env.spec.action_dim).at[0].set(jnp.nan)
    after, step = jax.jit(env.step)(jax.random.key(1), state, action)
    assert step.discount == 0 and step.reward == 0 and after.failures == 1
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(step))
    jax.tree.map(np.testing.assert_array_equal, (after.obs, after.physics), (state.obs, state.physics))


def test_a_diverged_simulation_ends_its_episode_alone():
    from mbrl_jax.envs import bits

    env = envs.make("hopper", engine="mujoco")
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 2))
    rows = bits.from_words(np.array(states.physics))
    rows[0, 8] = 1e11  # a velocity beyond MuJoCo's limit
    states = states._replace(physics=jnp.asarray(bits.to_words(rows)))
    after, steps = jax.vmap(env.step, (None, 0, 0))(jax.random.key(0), states, jnp.zeros((2, 3)))
    np.testing.assert_array_equal(after.failures, [1, 0])
    np.testing.assert_array_equal(steps.discount, [0, 1])
    assert jnp.isfinite(steps.next_obs).all()


@pytest.mark.parametrize(
    ("name", "paid"), [("reacher-v4", [2]), ("ant-v5", [2]), ("hopper-v4", []), ("pendulum-v1", [])]
)
def test_a_restart_is_a_reset_of_those_that_have_ended_and_pays_for_no_other(name, paid, monkeypatch):
    from mbrl_jax.envs import simulations

    env, ids = envs.make(name, engine=engine_for(name)), []
    states, fresh = (jax.vmap(env.reset)(jax.random.split(jax.random.key(i), 3)) for i in range(2))
    for kind in (simulations._Batched, simulations._Looped):  # Ant-v5's contact forces are asked for one by one

        def forward(self, some, usual=kind.forward):
            ids.append(len(some))
            usual(self, some)

        monkeypatch.setattr(kind, "forward", forward)
    ended = jnp.asarray([True, False, True])
    keys = jax.random.split(jax.random.key(1), 3)
    after = jax.vmap(lambda key, over, state: envs.restart(key, env, over, state))(keys, ended, states)
    for new, reset, old in zip(*map(jax.tree.leaves, (after, fresh, states)), strict=True):
        np.testing.assert_array_equal(new, np.stack([reset[0], old[1], reset[2]]))
    assert ids == paid  # Hopper's derived fields are computed in its first step


@pytest.mark.parametrize("name", ["ant-v5", "hopper-v4"])
def test_results_do_not_depend_on_the_number_of_threads(name):
    """Threads take simulations in any order, and one that was used for another before must leave no trace."""
    found = []
    for threads in (1, 3):
        env = envs.make(name, engine="mujoco", threads=threads)
        state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 7))
        for i in range(3):
            keys, actions = jax.random.split(jax.random.key(i), 7), jnp.full((7, env.spec.action_dim), 0.3 * i)
            state, _ = jax.vmap(env.step)(keys, state, actions)
        found.append(state)
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_bad_input_is_refused_in_words():
    env = envs.make("hopper", engine="mujoco")
    state = env.reset(jax.random.key(0))
    with pytest.raises(ValueError, match=r"hopper-v4 must have shape \(3,\), got \(4,\)"):
        env.step(jax.random.key(0), state, jnp.zeros(4))
    with pytest.raises(TypeError, match="real number type, got complex64"):
        env.step(jax.random.key(0), state, jnp.zeros(3, jnp.complex64))
    with pytest.raises(ValueError, match="did you mean 'hopper'"):
        envs.make("hoper")
    with pytest.raises(ValueError, match="engine of pendulum-v1 must be one of"):
        envs.make("pendulum", engine="mjx")
    with pytest.raises(ValueError, match=r"engine of humanoid-v4 must be one of"):  # it observes contact forces
        envs.make("humanoid", engine="warp")
    with pytest.raises(ValueError, match=r"option of hopper-v4 on engine 'mujoco'.*'thread'.*'threads'"):
        envs.make("hopper", engine="mujoco", thread=2)
    with pytest.raises(ValueError, match="'time_limit' of hopper-v4 must be a positive int, got 0"):
        envs.make("hopper", time_limit=0)


def test_names_resolve_in_every_spelling():
    for spelling in ("hopper", "Hopper-v4", "hopper-v4", "mbrl_jax/Hopper-v4"):
        assert envs.resolve(spelling) == "hopper-v4"
    for name in envs.names():
        for spelling in (name, name.upper(), gymnasium_envs.gym_id(name), gymnasium_envs.gym_id(name)[9:]):
            assert envs.resolve(spelling) == name
    gyms = {name: task.gym[0] for name, task in TASKS.items() if len(task.gym) == 1}  # others need options
    gyms |= {"cartpole-v1": "CartPole-v1", "acrobot-v1": "Acrobot-v1", "pendulum-v1": "Pendulum-v1"}
    gyms |= {"mountain_car_continuous-v0": "MountainCarContinuous-v0"}
    gyms |= {"ant_truncated-v2": "AntTruncatedObs-v2", "humanoid_truncated-v2": "HumanoidTruncatedObs-v2"}
    for name, spelling in gyms.items():
        assert envs.resolve(spelling) == name
    assert len(gyms) > 20
    assert envs.make("hopper") is envs.make("Hopper-v4"), "the same request must find its compiled programs again"


def test_a_second_call_is_not_traced_again():
    env, traces = envs.make("hopper", engine="mujoco"), []

    @jax.jit
    def step(key, state, action):
        traces.append(1)
        return env.step(key, state, action)

    state = env.reset(jax.random.key(0))
    for i in range(3):
        state, _ = step(jax.random.key(i), state, jnp.zeros(3))
    assert len(traces) == 1


SHARDED = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from mbrl_jax import envs
env = envs.make("hopper", engine="mujoco")
def run(key, batch, steps):
    def step(state, key):
        action = jax.random.uniform(key, (batch, 3), minval=-1, maxval=1)
        state, transition = jax.vmap(env.step)(jax.random.split(key, batch), state, action)
        return state, transition.reward.sum()
    return jax.lax.scan(step, jax.vmap(env.reset)(jax.random.split(key, batch)), jax.random.split(key, steps))[1]
mesh = Mesh(np.array(jax.devices()), ("seeds",))
keys = jax.random.split(jax.random.key(0), 4)
apart = jax.device_put(keys, NamedSharding(mesh, P("seeds")))
for batch, steps in ((4, 20), (1024, 3)):
    one = lambda key: run(key, batch, steps)
    options = dict(mesh=mesh, in_specs=P("seeds"), out_specs=P("seeds"), check_vma=False)
    sharded = jax.jit(jax.shard_map(jax.vmap(one), **options))
    for _ in range(3):
        found = jax.block_until_ready(sharded(apart))
    np.testing.assert_allclose(found, jax.jit(lambda keys: jax.lax.map(one, keys))(keys), rtol=1e-5)
print("sharded equals mapped")
"""


def test_c_engine_on_two_devices_at_once_neither_hangs_nor_differs():
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=120, check=False)
    assert "sharded equals mapped" in done.stdout, done.stderr[-2000:]
