"""Roll-outs of environments and of models, against exact numbers and a row-by-row simulation."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.data.slabs import make_slabs
from mbrl_jax.envs.probes import LENGTH
from mbrl_jax.types import Env, Policy


def hold(key, obs):
    return jnp.full((*obs.shape[:-1], 1), 0.25)


"""A policy whose action is always 0.25."""


def test_actions_are_scaled_to_the_bounds_and_clipped():
    spec = replace(envs.make("probe-action-v0").spec, action_dim=2, action_low=(-2.0, 0.0), action_high=(4.0, 1.0))
    unit = jnp.array([[-1.0, 0.0], [0.5, 1.0], [-9.0, 9.0]])
    np.testing.assert_allclose(rollouts.to_env(spec, unit), [[-2.0, 0.5], [2.5, 1.0], [-2.0, 1.0]])


def test_normalised_environments_take_and_record_unit_actions():
    env = envs.make("lqr-v0")
    unit = rollouts.normalised(env)
    state = env.reset(jax.random.key(0))
    action, key = jnp.array([0.5]), jax.random.key(1)
    _, ours = unit.step(key, state, action)
    _, exact = env.step(key, state, 10.0 * action)
    assert (unit.spec.action_low, unit.spec.action_high) == ((-1.0,), (1.0,))
    np.testing.assert_array_equal(ours.action, action)
    np.testing.assert_array_equal(ours.next_obs, exact.next_obs)
    np.testing.assert_allclose(unit.reward(ours.obs, ours.action, ours.next_obs), exact.reward, rtol=1e-6)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("name", ["lqr-v0", "hopper-v4"])
def test_normalised_environments_end_where_an_action_is_not_finite(name, bad):
    """Clipping must not make an infinity a valid action, and what is stored must be finite."""
    env = rollouts.normalised(envs.make(name, engine="mujoco" if name == "hopper-v4" else None))
    actor = rollouts.start(jax.random.key(0), env)
    action = jnp.zeros(env.spec.action_dim).at[-1].set(bad)
    after, step = env.step(jax.random.key(1), actor.env, action)
    assert step.discount == 0 and step.reward == 0 and after.failures == 1 and not step.truncated
    np.testing.assert_array_equal(step.action, 0.0)
    np.testing.assert_array_equal(step.next_obs, actor.env.obs)
    fresh, _, episodes = rollouts.step(jax.random.key(1), env, actor, action)
    assert episodes.ended == episodes.failures == 1 and fresh.env.failures == 0
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((step, fresh.env.obs)))


def test_normalised_environments_refuse_actions_of_another_shape():
    env = rollouts.normalised(envs.make("lqr-v0"))
    with pytest.raises(ValueError, match=r"must have shape \(1,\), got \(\)"):  # it would have been broadcast
        env.step(jax.random.key(0), env.reset(jax.random.key(0)), jnp.zeros(()))


def run_episode(name, steps):
    """Transitions, episode totals and observations after each step of `steps` steps with automatic resets."""
    env = rollouts.normalised(envs.make(name))

    def body(actor, key):
        actor, transition, episodes = rollouts.step(key, env, actor, jnp.array([0.25]))
        return actor, (transition, episodes, actor.env.obs)

    actor = rollouts.start(jax.random.key(0), env)
    return jax.lax.scan(body, actor, jax.random.split(jax.random.key(1), steps))[1]


@pytest.mark.parametrize("name", ["probe-truncation-v0", "probe-termination-v0"])
def test_automatic_resets_keep_the_true_end(name):
    terminates = name == "probe-termination-v0"
    transition, episodes, obs = run_episode(name, 2 * LENGTH + 2)
    end = np.arange(1, 2 * LENGTH + 3) % LENGTH == 0
    np.testing.assert_array_equal(transition.discount, 1.0 - (end & terminates))
    np.testing.assert_array_equal(transition.truncated, end & (not terminates))
    np.testing.assert_array_equal(episodes.ended, end)
    np.testing.assert_array_equal(episodes.total_return, LENGTH * end)
    np.testing.assert_array_equal(episodes.total_length, LENGTH * end)
    np.testing.assert_array_equal(episodes.failures, 0)
    if terminates:  # the observation counts up to 1: the true last one is stored, the actor stands at the first
        np.testing.assert_allclose(transition.next_obs[end], 1.0)
        np.testing.assert_array_equal(obs[end], 0.0)
        np.testing.assert_allclose(transition.obs[1:], obs[:-1])
    info = rollouts.episode_info(episodes)
    assert (int(info["train/episodes"]), float(info["train/return"]), float(info["train/length"])) == (2, 5.0, 5.0)


def test_no_finished_episode_gives_nan_statistics():
    zeros = jnp.zeros(3)
    none = zeros.astype(int)
    info = rollouts.episode_info(rollouts.Episodes(none, zeros, none, none))
    assert info["train/episodes"] == info["train/failures"] == 0
    assert np.isnan(info["train/return"]) and np.isnan(info["train/length"])


@pytest.mark.parametrize(
    ("name", "total", "length"),
    [
        ("probe-constant-v0", 1.0, 1),
        ("probe-delayed-v0", 1.0, 2),
        ("probe-action-v0", -0.0625, 1),
        ("probe-truncation-v0", 5.0, 5),
        ("probe-termination-v0", 5.0, 5),
    ],
)
def test_evaluation_returns_are_exact(name, total, length):
    totals, lengths = rollouts.evaluate(jax.random.key(0), envs.make(name), rollouts.stateless(hold), 3)
    np.testing.assert_allclose(totals, [total] * 3)
    np.testing.assert_array_equal(lengths, [length] * 3)


def test_evaluated_episodes_stop_counting_at_their_own_end():
    """Episodes of different lengths in one batch: the first observation decides when it ends, each step pays 1."""
    base = envs.make("probe-termination-v0")

    def reset(key):
        state = base.reset(key)
        return state._replace(obs=jnp.where(jax.random.bernoulli(key), 0.6, 0.0) * jnp.ones(1))

    env = Env(reset, base.step, base.spec)
    totals, lengths = rollouts.evaluate(jax.random.key(3), env, rollouts.stateless(hold), 40)
    assert set(np.asarray(lengths)) == {2.0, 5.0}
    np.testing.assert_array_equal(totals, lengths)


def test_the_loop_acts_stores_improves_in_this_order():
    env = rollouts.normalised(envs.make("probe-termination-v0"))
    memory = replay.make(env.spec, 20)

    def policy(agent):  # acts on what improve has left behind
        return rollouts.stateless(lambda key, obs: jnp.full((*obs.shape[:-1], 1), 0.01) * agent)

    def improve(key, agent, stored):
        newest = stored.rows.value[(stored.head.value - 1) % 20]
        return agent + 1.0, {"action": newest[1], "size": stored.size.value.astype(jnp.float32)}

    carry = (rollouts.start(jax.random.key(0), env), memory.init(), jnp.float32(0.0))
    _, stored, agent, info = rollouts.interact(jax.random.key(1), env, memory, policy, improve, carry, 7)
    assert agent == 7.0 and stored.size.value == 7
    np.testing.assert_allclose(stored.rows.value[:7, 1], 0.01 * np.arange(7), rtol=1e-6)
    np.testing.assert_allclose(info["size"], 4.0)  # mean of 1..7: the new transition is there at once
    np.testing.assert_allclose(info["action"], 0.03, rtol=1e-6)


@pytest.mark.parametrize("every", [1, 5])
def test_the_loop_reports_the_episodes_that_the_guard_has_ended(every):
    """The fourth action of every episode is NaN, so that of ten steps the fourth and the eighth end one."""
    env = rollouts.normalised(envs.make("probe-termination-v0"))
    memory = replay.make(env.spec, 20)

    def policy(agent):
        return rollouts.stateless(lambda key, obs: jnp.where(jnp.abs(obs - 3 / LENGTH) < 0.1, jnp.nan, 0.0))

    def idle(key, agent, stored):
        return agent, {}

    carry = (rollouts.start(jax.random.key(0), env), memory.init(), ())
    actor, stored, _, info = rollouts.interact(jax.random.key(1), env, memory, policy, idle, carry, 10, every)
    assert info["train/failures"] == info["train/episodes"] == 2 and info["train/length"] == 4
    assert actor.episode_length == 2 and actor.env.failures == 0 and jnp.isfinite(stored.rows.value).all()


def test_environments_that_count_no_failures_have_none():
    base = envs.make("probe-truncation-v0")

    class Bare(NamedTuple):
        obs: jax.Array
        inner: envs.EnvState

    def env_step(key, state, action):
        inner, transition = base.step(key, state.inner, action)
        return Bare(inner.obs, inner), transition

    env = Env(lambda key: Bare(base.reset(key).obs, base.reset(key)), env_step, base.spec)
    actor = rollouts.start(jax.random.key(0), env)
    for i in range(LENGTH):
        actor, _, episodes = rollouts.step(jax.random.key(i), env, actor, jnp.zeros(1))
    assert episodes.ended == 1 and episodes.failures == 0


def test_improving_less_often_acts_on_the_same_agent_in_between():
    """Every third step: the same steps and keys, the agent called once per three, at the last of them."""
    env = rollouts.normalised(envs.make("probe-termination-v0"))
    memory = replay.make(env.spec, 20)

    def policy(agent):
        return rollouts.stateless(
            lambda key, obs: jnp.full((*obs.shape[:-1], 1), 0.1) * agent + 0.01 * jax.random.uniform(key)
        )

    def improve(key, agent, stored):
        return agent + 1.0, {"size": stored.size.value.astype(jnp.float32), "key": jax.random.uniform(key)}

    carry = (rollouts.start(jax.random.key(0), env), memory.init(), jnp.float32(0.0))

    def run(every):
        return rollouts.interact(jax.random.key(1), env, memory, policy, improve, carry, 9, every)

    (actor, stored, agent, info), (one_actor, one, _, _) = run(3), run(1)
    assert agent == 3.0 and stored.size.value == 9
    np.testing.assert_allclose(info["size"], np.mean([3, 6, 9]))
    action, other = (unpack(each.rows.value[:9], env.spec).action[:, 0] for each in (stored, one))
    np.testing.assert_allclose(action - 0.1 * (np.arange(9) // 3), other - 0.1 * np.arange(9), atol=1e-6)
    assert info["train/episodes"] == 1 and info["train/length"] == 5  # statistics are those of single steps
    assert actor.episode_length == one_actor.episode_length == 4


def test_collected_actions_are_uniform_over_the_unit_box():
    env = rollouts.normalised(envs.make("probe-termination-v0"))
    memory = replay.make(env.spec, 400)
    collect = jax.jit(lambda key: rollouts.collect(key, env, memory, rollouts.uniform(env.spec), 400))
    actor, stored = collect(jax.random.key(0))
    actions = np.sort(stored.rows.value[:, 1])
    assert stored.size.value == 400 and actor.episode_length == 0
    assert np.abs(actions - np.linspace(-1, 1, 400)).max() < 0.14  # Kolmogorov, 5 deviations


ROWS, HORIZON = 6, 4


def counting_model(key, obs, action):
    """Adds the action; ends a row that passes 3; its reward is twice the new observation."""
    del key
    next_obs = obs + action
    return next_obs, 2 * next_obs[:, 0], (next_obs[:, 0] <= 3).astype(jnp.float32)


STARTS = jnp.array([[0.0], [3.0], [1.0], [2.0], [-5.0], [3.0]])


@pytest.mark.parametrize("horizon", [1, 2, HORIZON])
def test_branches_store_survivors_only_and_stop_where_they_terminate(horizon):
    spec = envs.make("probe-action-v0").spec
    slabs = make_slabs(spec, 1, HORIZON, ROWS)

    def write(into, h, rows, count):
        return slabs.write(into, jnp.int32(0), h, rows, count)

    policy, model = (
        rollouts.stateless(lambda key, obs: jnp.ones((obs.shape[0], 1))),
        rollouts.memoryless(counting_model),
    )

    def branch(h):
        return rollouts.branch(jax.random.key(0), model, policy, STARTS, h, write, slabs.init())

    state, failures = jax.jit(branch)(jnp.int32(horizon))
    assert failures == 0
    alive = list(np.asarray(STARTS)[:, 0])
    for h in range(HORIZON):
        if h >= horizon:
            alive = []
        assert int(state.filled[h]) == len(alive)
        held = unpack(slabs.rows(state)[h, : len(alive)], spec)
        assert sorted(np.asarray(held.obs)[:, 0]) == sorted(alive)
        np.testing.assert_array_equal(held.next_obs, held.obs + 1)
        np.testing.assert_array_equal(held.reward, 2 * held.next_obs[:, 0])
        np.testing.assert_array_equal(held.discount, held.next_obs[:, 0] <= 3)
        assert not held.truncated.any()
        alive = [o + 1 for o in alive if o + 1 <= 3]


def test_branches_use_fresh_randomness_at_every_step_and_row():
    spec = envs.make("probe-action-v0").spec
    slabs = make_slabs(spec, 1, 3, 50)

    def write(into, h, rows, count):
        return slabs.write(into, jnp.int32(0), h, rows, count)

    def noise(key, obs, action):
        return obs, jax.random.normal(key, (50,)), jnp.ones(50)

    state, _ = jax.jit(
        lambda: rollouts.branch(
            jax.random.key(0),
            rollouts.memoryless(noise),
            rollouts.uniform(spec),
            jnp.zeros((50, 1)),
            jnp.int32(3),
            write,
            slabs.init(),
        )
    )()
    held = unpack(slabs.rows(state), spec)
    for values in (held.reward, held.action):
        assert len(np.unique(values)) == 150


@pytest.mark.parametrize(
    ("steps", "per", "warmup", "rule"),
    [
        (0, 1, 1, "positive multiple"),
        (7, 2, 1, "positive multiple .* got 7 and 2"),
        (4, 0, 1, "positive multiple"),
        (4, 2, 0, "warmup_steps must be at least 1"),
    ],
)
def test_impossible_step_counts_are_refused(steps, per, warmup, rule):
    with pytest.raises(ValueError, match=rule):
        rollouts.check_steps(steps, per, warmup)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("where", ["observation", "reward"])
def test_imagined_rows_that_are_not_finite_end_there_and_are_counted(bad, where):
    """As a real step is guarded: the row stays where it was, earns nothing and ends; the others go on."""
    spec = envs.make("probe-action-v0").spec
    slabs = make_slabs(spec, 1, 3, 4)

    def model(key, obs, action):
        broken = obs[:, 0] == 1.0
        next_obs = jnp.where(broken[:, None] & (where == "observation"), bad, obs + action)
        return next_obs, jnp.where(broken & (where == "reward"), bad, 1.0), jnp.ones(4)

    def write(into, h, rows, count):
        return slabs.write(into, jnp.int32(0), h, rows, count)

    starts = jnp.array([[0.0], [1.0], [10.0], [20.0]])
    ahead = rollouts.stateless(lambda key, obs: jnp.ones_like(obs))
    state, failures = jax.jit(
        lambda: rollouts.branch(
            jax.random.key(0), rollouts.memoryless(model), ahead, starts, jnp.int32(3), write, slabs.init()
        )
    )()
    assert failures == 2 and jnp.isfinite(slabs.rows(state)).all()
    np.testing.assert_array_equal(state.filled, [4, 3, 2])  # the row at 1 at once, the row at 0 a step later
    first = unpack(slabs.rows(state)[0], spec)
    np.testing.assert_array_equal(first.discount, [1, 0, 1, 1])
    np.testing.assert_array_equal(first.reward, [1, 0, 1, 1])
    np.testing.assert_array_equal(first.next_obs[1], first.obs[1])


def test_a_policys_memory_starts_afresh_with_every_episode():
    """A policy that counts its steps acts by the count, in the loop, in fragments, in episodes and in evaluation."""

    def act(key, count, obs):
        return count + 1.0, 0.1 * count, count[:, 0]

    counting = Policy(lambda obs: jnp.zeros((len(obs), 1)), act)
    env = rollouts.normalised(envs.make("probe-termination-v0"))
    exact = 0.1 * (np.arange(12) % LENGTH)
    memory = replay.make(env.spec, 12)
    _, stored = rollouts.collect(jax.random.key(0), env, memory, counting, 12)
    np.testing.assert_allclose(unpack(stored.rows.value, env.spec).action[:, 0], exact, rtol=1e-6)
    begin = jax.vmap(lambda key: rollouts.remember(rollouts.start(key, env), counting))
    actors, steps, _ = rollouts.fragment(
        jax.random.key(1), env, counting, begin(jax.random.split(jax.random.key(0), 3)), 12
    )
    np.testing.assert_allclose(steps.action[:, :, 0], exact[:, None] * np.ones(3), rtol=1e-6)
    np.testing.assert_array_equal(steps.extras, (np.arange(12) % LENGTH)[:, None] * np.ones(3))
    assert actors.memory.shape == (3, 1, 1) and (actors.episode_length == 12 % LENGTH).all()
    whole, valid = rollouts.episodes(jax.random.key(2), env, counting, 2)
    lived = np.asarray(valid)[0].sum()
    np.testing.assert_allclose(whole.action[:, :lived, 0], 0.1 * np.arange(lived) * np.ones((2, 1)), rtol=1e-6)
    scored = envs.make("probe-action-v0")  # one step: the reward is that of the first action, 0
    totals, _ = rollouts.evaluate(jax.random.key(3), scored, counting, 4)
    np.testing.assert_allclose(totals, -0.25)


@pytest.mark.parametrize("name", ["inverted_pendulum-v4", "probe-action-v0", "pendulum-v1"])
def test_episodes_that_stop_when_all_have_ended_are_the_same_where_they_happened(name):
    env = rollouts.normalised(envs.make(name, time_limit=40))
    policy = rollouts.stateless(lambda key, obs: jax.random.uniform(key, (len(obs), 1), minval=-1.0))
    whole, valid = jax.jit(lambda key: rollouts.episodes(key, env, policy, 3))(jax.random.key(0))
    until, still = jax.jit(lambda key: rollouts.until_ended(key, env, policy, 3))(jax.random.key(0))
    np.testing.assert_array_equal(still, valid)
    for ours, theirs in zip(jax.tree.leaves(until), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours[valid], theirs[valid])
    after = int(np.asarray(valid).sum(axis=1).max())
    assert all(not np.any(leaf[:, after:]) for leaf in jax.tree.leaves(until))
    assert (after < 40) == (name != "pendulum-v1")


def test_a_plan_is_followed_and_gradients_flow_through_the_roll_out():
    actions = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 1)), jnp.float32)
    model = rollouts.memoryless(lambda key, obs, action: (2 * obs + action, obs[:, 0], jnp.ones(2)))

    def last(actions, in_line):
        policy = rollouts.follow(actions)
        start = rollouts.begin(jax.random.key(0), model, policy, jnp.ones((2, 1)))
        end, steps = rollouts.unroll(jax.random.split(jax.random.key(1), 3), model, policy, start, in_line)
        return end.obs.sum(), steps

    for in_line in (False, True):
        (_, steps), grads = jax.value_and_grad(last, has_aux=True)(actions, in_line)
        np.testing.assert_array_equal(steps.action, jnp.swapaxes(actions, 0, 1))
        np.testing.assert_allclose(grads[:, :, 0], [[4.0, 2.0, 1.0]] * 2)
