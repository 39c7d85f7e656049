"""TD3's, REDQ's and SAC-SVG's own wiring: what they ask of their learners, presets, and the memory they plan."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.alm import table1
from experiments.mbpo import common, figure2, figure3
from mbrl_jax import envs, rollouts
from mbrl_jax.agents import redq as redq_learner
from mbrl_jax.agents import sac
from mbrl_jax.agents import sac_svg as svg_learner
from mbrl_jax.agents import td3 as td3_learner
from mbrl_jax.algorithms import REGISTRY, mbpo, preset, redq, sac_svg, td3
from mbrl_jax.algorithms import sac as single
from mbrl_jax.algorithms.tasks import ROBOTIC, TASKS
from mbrl_jax.data import replay
from mbrl_jax.data.rows import row_width
from mbrl_jax.loops import off_policy
from mbrl_jax.models import recurrent
from mbrl_jax.runner import memory
from mbrl_jax.types import Agent, Method

LOOP = {"steps": 120, "warmup_steps": 30, "steps_per_iteration": 12, "batch": 16}


def hold(state):
    """A policy whose action says how often the agent has been updated."""
    return rollouts.stateless(lambda key, obs: jnp.full((*obs.shape[:-1], 1), 1e-3) * state["updates"])


def fake(update=lambda batches: {}):
    """An agent that counts its calls and reports what `update` finds in the data."""

    def step(key, state, batches):
        return {**state, "updates": state["updates"] + 1}, jax.tree.map(jnp.float32, update(batches))

    start = {"updates": jnp.zeros(()), "held": jnp.zeros((), jnp.int32)}
    return lambda *_: Agent(lambda key: start, step, hold, hold)


def run(algorithm, iterations=2):
    step, state, infos = jax.jit(algorithm.step), jax.jit(algorithm.init)(jax.random.key(0)), []
    for t in range(iterations):
        state, info = step(jax.random.key(t), state)
        infos.append(info)
    return state, infos


def actions(state, count):
    return np.asarray(state.memory.rows.value[30 : 30 + count, 1])


def test_td3_updates_after_every_second_step_on_two_batches(monkeypatch):
    shapes = []
    monkeypatch.setattr(td3_learner, "make", fake(lambda batches: shapes.append(batches.reward.shape) or {}))
    state, _ = run(td3.make(td3.Config(**LOOP), envs.make("probe-truncation-v0")))
    assert set(shapes) == {(2, 16)} and state.agent["updates"] == 12
    np.testing.assert_allclose(actions(state, 24), 1e-3 * (np.arange(24) // 2), rtol=1e-5)


@pytest.mark.parametrize(("updates", "delay"), [(6, 6), (6, 2), (3, 1)])
def test_redq_updates_the_policy_once_per_delay(monkeypatch, updates, delay):
    shapes, given = [], []
    agent = fake(lambda batches: shapes.append(batches.reward.shape) or {})
    monkeypatch.setattr(redq_learner, "make", lambda *arguments: given.append(arguments[3]) or agent())
    config = redq.Config(**LOOP, updates_per_step=updates, policy_delay=delay)
    state, _ = run(redq.make(config, envs.make("probe-truncation-v0")))
    assert given == [delay] and set(shapes) == {(updates, 16)} and state.agent["updates"] == 24
    np.testing.assert_allclose(actions(state, 24), 1e-3 * np.arange(24), rtol=1e-5)


def test_sac_svg_learns_from_windows_within_episodes_and_renews_its_scaler_per_iteration(monkeypatch):
    def look(batch):
        windows = batch.windows
        assert windows.obs.shape == (1, 4, 8, 3, 1) and batch.transitions.reward.shape == (1, 16)
        broken = (windows.obs[:, :, :, 1:] != windows.next_obs[:, :, :, :-1]).sum() + jnp.isnan(windows.discount).sum()
        return {"broken": broken, "spread": windows.obs.max() - windows.obs.min()}

    def standardise(state, obs, valid):
        assert obs.shape == (150, 1)
        return {**state, "held": valid.sum(dtype=jnp.int32)}

    monkeypatch.setattr(svg_learner, "make", fake(look))
    monkeypatch.setattr(svg_learner, "standardise", standardise)
    config = sac_svg.Config(**LOOP, model_batch=8, agent=svg_learner.Config(horizon=4))
    state, infos = run(sac_svg.make(config, envs.make("probe-termination-v0")))
    assert state.agent["updates"] == 24
    assert state.agent["held"] == 30 + 12  # what was held when the second iteration began
    assert all(info["broken"] == 0 and info["spread"] > 0 for info in infos)


def test_steps_between_updates_must_divide_those_of_an_iteration():
    env = envs.make("probe-action-v0")

    def policy(state):
        return rollouts.uniform(env.spec)

    agent = Method(lambda key: (), policy, policy, lambda *_: ((), {}), off_policy.unprepared)
    with pytest.raises(ValueError, match="multiple of the steps between two updates, got 10 and 3"):
        off_policy.make(env, replay.make(env.spec, 4), agent, warmup_steps=1, steps_per_iteration=10, every=3)


# Steps, first and last target entropy, power of the schedule: config/env/{mbpo,poplin}_*.yaml.
RELEASED = {
    "hopper": (1_000_000, 0.0, -2.0, 0.03125),
    "walker2d": (2_000_000, -2.0, -8.0, 0.0625),
    "half_cheetah": (2_000_000, -2.0, -3.0, 1.0),
    "ant_truncated": (2_000_000, 0.0, -2.0, 4.0),
    "humanoid_truncated": (5_000_000, -2.0, -2.0, 1.0),
    "mbbl_hopper": (200_000, 1.0, 0.0, 32.0),
    "mbbl_walker2d": (200_000, -2.0, -16.0, 0.015625),
    "mbbl_half_cheetah": (200_000, -1.0, -4.0, 1.0),
    "mbbl_ant": (200_000, 1.0, -3.0, 0.5),
}


@pytest.mark.parametrize("name", list(RELEASED))
def test_sac_svgs_presets_are_the_released_settings(name):
    config = preset("sac_svg", f"{name}-v0")
    agent, soft, model = config.agent, config.agent.agent, config.agent.model
    assert config is sac_svg.PRESETS[name] and envs.resolve(name)
    assert (config.steps, agent.initial_entropy, soft.target_entropy, agent.entropy_power) == RELEASED[name]
    assert (config.warmup_steps + agent.model_free_updates, config.model_updates) == (10_000, 4)
    assert (config.model_batch, config.batch, agent.horizon) == (512, 1024, 3)
    assert (soft.hidden, soft.actor_lr, soft.critic_lr, soft.temperature_lr) == ((512,) * 4, 1e-4, 1e-4, 1e-4)
    assert (soft.initial_temperature, soft.gamma, soft.tau, soft.critics) == (0.1, 0.99, 0.005, 2)
    assert model == recurrent.Config(encoder=(512, 512), width=512, layers=2, learning_rate=1e-3, clip=1.0)
    assert (agent.head_hidden, agent.head_lr) == ((512, 512), 1e-3)


@pytest.mark.parametrize("name", TASKS)
def test_the_published_sac_has_a_target_entropy_of_minus_one_per_action_entry(name):
    """`examples/development/variants.py` of MBPO's authors: `"auto"`; the tasks' own values are those of MBPO."""
    config, like, spec = preset("sac", name), preset("mbpo", name), envs.make(name).spec
    assert sac.target_entropy(config.agent, spec) == -spec.action_dim
    assert config == single.Config(steps=like.steps, warmup_steps=like.warmup_steps)
    assert like.agent.target_entropy == TASKS[name].entropy
    assert (TASKS[name].entropy is None) == (name in ROBOTIC)  # of those MBPO's authors say nothing


def test_artefacts_tell_the_baseline_from_mbpo_minus_the_model():
    for profile in ("smoke", "laptop", "paper"):
        published = [*figure2.planned(profile), *table1.planned(profile)]
        assert {one.config.agent.target_entropy for one in published if one.algorithm == "SAC"} == {None}
        size, env = replace(common.scale(profile), steps=500), figure3.TASKS[profile]
        (without,) = [one for one in figure3.planned(profile) if one.algorithm.startswith("SAC, ")]
        like = common.mbpo_config(env, size)
        assert without.config.agent == like.agent and without.config.updates_per_step == like.updates_per_step
        assert common.sac_config(env, size).agent == replace(like.agent, target_entropy=None)


@pytest.mark.parametrize("name", ["hopper", "walker2d", "half_cheetah", "ant_truncated", "humanoid_truncated"])
def test_redqs_and_td3s_presets_are_the_released_settings(name):
    config, like = preset("redq", f"{name}-v4"), preset("mbpo", name)
    assert (config.steps, config.agent.target_entropy) == (like.steps, like.agent.target_entropy)
    assert (config.updates_per_step, config.policy_delay, config.subset, config.warmup_steps) == (20, 20, 2, 5000)
    assert config.agent == sac.Config(critics=10, target_entropy=like.agent.target_entropy)
    twin = preset("td3", f"{name}-v4")
    assert twin == replace(td3.Config(), steps=like.steps)
    assert (twin.warmup_steps, twin.batch, twin.agent.policy_delay, twin.agent.policy_noise) == (25_000, 256, 2, 0.2)


@pytest.mark.parametrize("algorithm", ["mbpo", "sac", "td3", "redq"])
@pytest.mark.parametrize("body", ["ant", "humanoid"])
def test_whole_observations_have_the_settings_of_the_truncated_ones(algorithm, body):
    assert preset(algorithm, f"{body}-v2") == preset(algorithm, f"{body}_truncated-v2")


def test_unknown_tasks_get_the_defaults():
    assert preset("sac_svg", "acrobot") == sac_svg.Config()
    assert preset("td3", "acrobot").steps == preset("redq", "acrobot").steps == mbpo.Config().steps


@pytest.mark.parametrize("name", ["td3", "redq", "sac_svg"])
def test_the_planned_memory_is_replay_and_agent(name):
    env, config = envs.make("pendulum-v1"), preset(name, "pendulum")
    one = jax.eval_shape(REGISTRY[name].make(config, env).init, jax.random.key(0))
    planned = memory.plan(one, 4, jax.devices()[:1], 1)
    rows = 4 * row_width(env.spec) * (config.steps + config.warmup_steps)
    assert planned.per_lane == rows + 8 + memory.tree_bytes(one.agent) + memory.tree_bytes(one.actor)
    assert planned.per_device == np.ceil(4 * planned.per_lane * memory.WORKING_SHARE)
