"""Every algorithm learns: MBPO a small problem in the fast suite; a small one and a pendulum each in the slow one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import sac
from mbrl_jax.agents import sac_svg as svg
from mbrl_jax.agents import td3 as twin
from mbrl_jax.algorithms import REGISTRY, mbpo, preset, redq, sac_svg, td3
from mbrl_jax.envs import lqr
from mbrl_jax.models import ensemble, recurrent

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


def train(make, config, env, key):
    """Returns of ten evaluation episodes after every iteration, `[iterations, 10]`."""
    algorithm = make(config, env)
    init, step = jax.jit(algorithm.init), jax.jit(algorithm.step, donate_argnums=1)
    evaluate = jax.jit(lambda state, k: rollouts.evaluate(k, env, algorithm.policy(state), 10)[0])
    state, scores = init(key), []
    for t in range(config.steps // algorithm.env_steps):
        state, _ = step(jax.random.fold_in(key, t), state)
        scores.append(np.asarray(evaluate(state, jax.random.key(99))))
    return np.stack(scores)


TD3 = td3.Config(
    steps=1000,
    warmup_steps=250,
    batch=64,
    agent=twin.Config(hidden=(32, 32), actor_lr=2e-3, critic_lr=2e-3),
)
REDQ = redq.Config(
    steps=250,
    warmup_steps=250,
    steps_per_iteration=125,
    updates_per_step=8,
    policy_delay=2,
    batch=64,
    agent=replace(MATCHING.agent, critics=4),
)
SVG = sac_svg.Config(
    steps=750,
    warmup_steps=250,
    model_updates=2,
    model_batch=64,
    batch=64,
    agent=svg.Config(
        horizon=2,
        model_free_updates=100,
        head_hidden=(32,),
        head_lr=3e-3,
        model=recurrent.Config(encoder=(), width=16, layers=1, learning_rate=3e-3),
        agent=sac.Config(
            hidden=(32, 32), actor_lr=1e-3, critic_lr=1e-3, temperature_lr=1e-3, tau=0.01, target_entropy=-3.0
        ),
    ),
)


@pytest.mark.parametrize(
    ("make", "config"),
    [
        pytest.param(mbpo.make, MATCHING, id="mbpo"),
        pytest.param(td3.make, TD3, id="td3", marks=pytest.mark.slow),
        pytest.param(redq.make, REDQ, id="redq", marks=pytest.mark.slow),
    ],
)
def test_they_learn_which_action_matches_the_observation(make, config):
    """The reward is -(action - observation / 2)^2: standing still scores -0.25, the best policy 0."""
    scores = train(make, config, envs.make("probe-match-v0"), jax.random.key(0))
    assert scores[-1].min() > -0.01


@pytest.mark.slow
def test_sac_svg_learns_to_steer_the_linear_system():
    """With small forces it loses at most a fifth of what lies between doing nothing and the best linear policy."""
    whole = envs.make("lqr-v0", time_limit=20)
    env = whole._replace(spec=replace(whole.spec, action_low=(-2.0,), action_high=(2.0,)))
    scores = train(sac_svg.make, SVG, env, jax.random.key(0))

    @jax.jit
    def known(gain):
        return rollouts.evaluate(
            jax.random.key(99), env, rollouts.stateless(lambda key, obs: jnp.clip(-obs @ gain.T, -2, 2)), 10
        )[0].mean()

    best, nothing = known(lqr.gain(0.99)), known(jnp.zeros((1, 2)))
    assert scores[-1].mean() > best + 0.2 * (nothing - best)


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
    scores = train(mbpo.make, config, envs.make("inverted_pendulum-v4"), jax.random.key(0))
    assert scores.mean(axis=1).max() >= 950


NARROW = {"hidden": (64, 64), "actor_lr": 1e-3, "critic_lr": 1e-3}
PENDULUM = {
    "td3": {"steps": 8_000, "agent": twin.Config(**NARROW)},
    "redq": {"steps": 1_500, "updates_per_step": 10, "policy_delay": 10},
    "sac_svg": {"steps": 4_500, "model_updates": 2, "model_batch": 64, "batch": 128},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PENDULUM))
def test_the_baselines_swing_the_pendulum_up(name):
    """Presets with narrower networks: the best policies score about -130 here, untrained ones about -1,500."""
    config = replace(preset(name, "pendulum-v1"), **PENDULUM[name])
    if name == "redq":
        config = replace(config, agent=replace(config.agent, critics=5, temperature_lr=1e-3, **NARROW))
    if name == "sac_svg":
        model = recurrent.Config(encoder=(64,), width=64)
        agent = replace(config.agent, head_hidden=(64,), model=model, agent=replace(config.agent.agent, **NARROW))
        config = replace(config, agent=agent)
    scores = train(REGISTRY[name].make, config, envs.make("pendulum-v1"), jax.random.key(0))
    assert scores.mean(axis=1).max() >= -180
