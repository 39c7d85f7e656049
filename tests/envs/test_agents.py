"""Agents of other libraries learn on our environments: InvertedPendulum, whose episodes last as long as it stands."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

from mbrl_jax import envs
from mbrl_jax.envs import adapters

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
LIMIT = 200


def test_brax_sac_learns_inverted_pendulum_of_ours(promoting):
    from brax.training.agents.sac import train as sac

    found = []
    env = adapters.to_brax(envs.make("inverted_pendulum", engine="mujoco"))
    with adapters.brax_training():
        sac.train(
            env,
            num_timesteps=12_000,
            max_devices_per_host=1,
            episode_length=LIMIT,
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
    assert found[-1] > 0.75 * LIMIT > 5 * found[0], found


def test_stable_baselines_sac_learns_inverted_pendulum_of_ours():
    how = "python -m pip install -c constraints.txt -e '.[peers]'"
    missing = f"stable-baselines3 (and with it PyTorch) is not installed: {how}"
    library = pytest.importorskip("stable_baselines3", reason=missing)
    import torch
    from stable_baselines3.common.env_util import make_vec_env

    import mbrl_jax.envs.gymnasium_envs  # noqa: F401  (registers)

    torch.set_num_threads(1)  # its matrices are small
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"engine": "mujoco", "time_limit": LIMIT}
        make = functools.partial(make_vec_env, "mbrl_jax/InvertedPendulum-v4", n_envs=4, env_kwargs=options)
        env, fresh = make(seed=0), make(seed=1)
        agent = library.SAC(
            "MlpPolicy",
            env,
            learning_rate=1e-3,
            batch_size=128,
            gamma=0.98,
            learning_starts=400,
            gradient_steps=4,
            policy_kwargs={"net_arch": [64, 64]},
            seed=0,
        )
        scores = [mean_length(agent, fresh)]
        while scores[-1] < LIMIT / 2 and len(scores) <= 8:
            agent.learn(1000, reset_num_timesteps=False)
            scores.append(mean_length(agent, fresh))
    assert scores[-1] > LIMIT / 2 > 5 * scores[0], scores


def mean_length(agent, env) -> float:
    """Mean length of the first episode of every copy, played without exploration."""
    obs, lengths = env.reset(), np.zeros(env.num_envs, int)
    alive = np.ones(env.num_envs, bool)
    while alive.any():
        obs, _, ended, _ = env.step(agent.predict(obs, deterministic=True)[0])
        lengths += alive
        alive &= ~ended
    return float(lengths.mean())
