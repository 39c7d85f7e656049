"""What takes minutes: return distributions, every task on MJX, and other libraries' agents learning on ours."""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from reference import make_gym
from test_parity import GYM_TASKS, assert_mjx_parity

from mbrl_jax import envs
from mbrl_jax.envs import adapters
from mbrl_jax.envs.mujoco_table import TASKS

pytestmark = pytest.mark.slow
EPISODES = 64


def our_returns(name: str) -> np.ndarray:
    """Returns of `EPISODES` episodes with uniformly random actions."""
    env = envs.make(name, engine="mujoco")
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)

    def step(carry, key):
        states, alive = carry
        actions = jax.random.uniform(key, (EPISODES, env.spec.action_dim), minval=low, maxval=high)
        states, steps = jax.vmap(env.step)(jax.random.split(key, EPISODES), states, actions)
        return (states, alive * steps.discount), alive * steps.reward

    start = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), EPISODES))
    keys = jax.random.split(jax.random.key(1), env.spec.time_limit)
    return np.asarray(jax.jit(lambda: jax.lax.scan(step, (start, jnp.ones(EPISODES)), keys)[1].sum(axis=0))())


def their_returns(name: str) -> np.ndarray:
    task = TASKS[name]
    env, rng, returns = make_gym(task.gym[0], **dict(task.gym[1:])), np.random.default_rng(0), []
    for seed in range(EPISODES):
        env.reset(seed=seed)
        total = 0.0
        for _ in range(task.time_limit):
            _, reward, terminated, *_ = env.step(rng.uniform(env.action_space.low, env.action_space.high))
            total += reward
            if terminated:
                break
        returns.append(total)
    return np.array(returns)


@pytest.mark.parametrize("name", GYM_TASKS)
def test_random_returns_are_distributed_as_gymnasiums(name):
    assert scipy.stats.ks_2samp(our_returns(name), their_returns(name)).pvalue > 0.01


@pytest.mark.parametrize("name", GYM_TASKS)
def test_every_task_on_mjx_in_64_bits(name):
    with jax.enable_x64(True):
        # Gym's humanoid uses the PGS solver, which MJX lacks: the contact forces it observes agree to 1e-3.
        first, tenth = (
            (1e-3, 1e-4) if name.startswith("humanoid") else (1e-8, 1e-6) if name.startswith("ant") else (1e-9, 1e-6)
        )
        assert_mjx_parity(name, first=first, tenth=tenth)


@pytest.mark.parametrize("name", GYM_TASKS)
def test_every_task_on_mjx_in_32_bits(name):
    assert_mjx_parity(name, first=1e-3, tenth=1e-2)


@pytest.mark.filterwarnings("ignore")
def test_brax_sac_learns_inverted_pendulum_of_ours(monkeypatch):
    from brax.training.agents.sac import train as sac

    # Brax 0.14 calls a function that JAX 0.10 has taken away: one copy per device along a leading axis.
    def replicated(tree, devices):
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(devices)), tree)

    monkeypatch.setattr(jax, "device_put_replicated", replicated, raising=False)
    found = []
    env = adapters.to_brax(envs.make("inverted_pendulum", engine="mujoco"))
    sac.train(
        env,
        num_timesteps=12_000,
        max_devices_per_host=1,
        episode_length=200,
        num_envs=8,
        num_eval_envs=16,
        num_evals=3,
        batch_size=128,
        grad_updates_per_step=8,
        min_replay_size=1000,
        max_replay_size=20_000,
        learning_rate=1e-3,
        reward_scaling=1.0,
        discounting=0.98,
        progress_fn=lambda steps, metrics: found.append(float(metrics["eval/episode_reward"])),
    )
    assert found[-1] > 150 > 5 * found[0], found


def test_stable_baselines_sac_learns_inverted_pendulum_of_ours():
    library = pytest.importorskip("stable_baselines3")
    import gymnasium

    import mbrl_jax.envs.gymnasium_envs  # noqa: F401  (registers)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make("mbrl_jax/InvertedPendulum-v4")
        agent = library.SAC("MlpPolicy", env, learning_rate=1e-3, seed=0, learning_starts=500, gamma=0.98)
        score = functools.partial(_mean_length, agent, env)
        before = score()
        agent.learn(6000)
        assert score() > 150 > 3 * before


def _mean_length(agent, env, episodes: int = 5, limit: int = 200) -> float:
    lengths = []
    for seed in range(episodes):
        obs, _ = env.reset(seed=seed)
        length, ended = 0, False
        while length < limit and not ended:
            obs, _, terminated, truncated, _ = env.step(agent.predict(obs, deterministic=True)[0])
            length, ended = length + 1, terminated or truncated
        lengths.append(length)
    return float(np.mean(lengths))
