"""MBPO learns: a one-step probe in the fast suite, InvertedPendulum in the slow one."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.algorithms import mbpo
from mbrl_jax.algorithms.presets import preset
from mbrl_jax.learners import ensemble, sac

MATCHING = mbpo.Config(
    steps=250,
    warmup_steps=250,
    epoch_length=125,
    model_train_freq=125,
    updates_per_step=12,
    batch=64,
    rollout_batch=2000,
    rollout_schedule=(0, 1, 1, 1),
    retain_epochs=2,
    model=ensemble.Config(
        members=3, elites=2, hidden=(32,), weight_decay=(1e-5, 1e-5), batch=64, max_epochs=40, learning_rate=3e-3
    ),
    agent=sac.Config(
        hidden=(32, 32), actor_lr=1e-3, critic_lr=1e-3, temperature_lr=1e-3, tau=0.01, target_entropy=-2.0
    ),
)


def train(config, env, key):
    """Returns of ten evaluation episodes after every iteration, `[iterations, 10]`."""
    algorithm = mbpo.make(config, env)
    init, step = jax.jit(algorithm.init), jax.jit(algorithm.step, donate_argnums=1)
    evaluate = jax.jit(lambda state, k: rollouts.evaluate(k, env, algorithm.policy(state), 10)[0])
    state, scores = init(key), []
    for t in range(config.steps // algorithm.env_steps):
        state, _ = step(jax.random.fold_in(key, t), state)
        scores.append(np.asarray(evaluate(state, jax.random.key(99))))
    return np.stack(scores)


def test_mbpo_learns_which_action_matches_the_observation():
    """The reward is -(action - observation / 2)^2: standing still scores -0.25, the best policy 0."""
    scores = train(MATCHING, envs.make("probe-match-v0"), jax.random.key(0))
    assert scores[-1].min() > -0.01


@pytest.mark.slow
def test_mbpo_solves_inverted_pendulum():
    """The released settings with narrower networks: at least 95 % of the best return within 5,000 steps."""
    released = preset("mbpo", "inverted_pendulum-v4")
    config = replace(
        released,
        steps=5000,
        rollout_batch=10_000,
        model=replace(released.model, hidden=(64, 64), weight_decay=(2.5e-5, 5e-5, 1e-4), max_epochs=100),
        agent=replace(released.agent, hidden=(64, 64)),
    )
    scores = train(config, envs.make("inverted_pendulum-v4"), jax.random.key(0))
    assert scores.mean(axis=1).max() >= 950
