"""What ALM's artefacts measure, on models, tasks and times that are known: Figures 3, 7 and 17."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.alm import common, figure3, figure7, figure17
from mbrl_jax import envs, results, rollouts
from mbrl_jax.agents.latent.networks import Nets
from mbrl_jax.envs.probes import LENGTH
from mbrl_jax.networks import Diagonal
from mbrl_jax.report import select
from mbrl_jax.types import Env, Spec, Transition

ENV = common.SHORT[0]
DRIFT = np.array([0.5, -0.25])


def drifting(n, rng):
    """Observations `[n, 2]` that move by the action and a drift, and the actions."""
    action = rng.normal(size=(n, 2))
    obs = np.array([1.0, 2.0]) + np.cumsum(action + DRIFT, axis=0) - (action + DRIFT)
    return jnp.asarray(obs, jnp.float32), jnp.asarray(action, jnp.float32)


def unaware():
    """A model that knows of the actions, not of the drift; z is the observation, with standard deviations 2 and 3."""

    def nothing(*_):
        return None

    return Nets(
        init=nothing,
        encode=lambda p, obs: Diagonal(obs, jnp.broadcast_to(jnp.array([2.0, 3.0]), obs.shape)),
        predict=lambda p, z, a: Diagonal(z + a, jnp.zeros_like(z)),
        reward=nothing,
        classify=nothing,
        values=nothing,
        policy=nothing,
    )


@pytest.mark.parametrize("end", [figure7.STEPS, 20])
def test_figure_7_measures_the_error_of_a_model_that_misses_a_drift(rng, end):
    """After h steps the prediction is h drifts away; what follows the end of an episode must not count."""
    obs, action = drifting(figure7.STEPS, rng)
    valid = np.arange(figure7.STEPS) < end
    obs = jnp.where(valid[:, None], obs, 1e3)
    params = {"encoder": {}, "model": {}}
    found = jax.device_get(figure7._errors(unaware(), params, obs, action, jnp.asarray(valid)))
    kept = np.asarray(obs)[:end].astype(np.float64)
    variance = kept.var(axis=0).sum()
    ahead = 1 + np.arange(figure7.HORIZON)
    exact = np.where(ahead < end, ahead**2 * np.square(DRIFT).sum() / variance, np.nan)
    np.testing.assert_allclose(found["error"], exact, rtol=1e-3)
    np.testing.assert_allclose(found["spread"], variance / 13.0, rtol=1e-4)
    gone = np.where(valid, np.arange(figure7.STEPS), np.nan)
    np.testing.assert_allclose(found["truth"][:end], kept[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found["truth"] - found["prediction"], gone * DRIFT[0], rtol=1e-3, atol=1e-4)
    frame = figure7._table(common.ALM, 0, found)
    frame = frame.assign(experiment=figure7.NAME, env=ENV, diverged_at=np.nan, run="x")
    if end > 20:
        np.testing.assert_allclose(figure7._accurate(20)(frame), 1.0 - exact[19], rtol=1e-3)
        return
    with pytest.raises(select.MissingDataError, match="20 steps before it ends"):
        figure7._accurate(20)(frame)
    steps, band = figure7._band(select.curves(frame, common.ALM, metric="error"))
    np.testing.assert_array_equal(steps, np.arange(1, end))
    np.testing.assert_allclose(band.estimate, exact[: end - 1], rtol=1e-3)


def test_figure_7_follows_a_trajectory_up_to_its_termination(monkeypatch):
    monkeypatch.setattr(figure7, "STEPS", LENGTH + 3)
    act = rollouts.stateless(lambda key, obs: obs + 1.0)
    for name, length in (("probe-termination-v0", LENGTH), ("probe-truncation-v0", LENGTH + 3)):
        obs, action, valid = figure7._trajectory(jax.random.key(0), envs.make(name), act)
        np.testing.assert_array_equal(valid, np.arange(LENGTH + 3) < length)
        np.testing.assert_array_equal(action, obs + 1.0)


def bare(low, high):
    """An environment that observes what it was made to execute."""
    spec = Spec(
        name="bare-v0",
        engine="jax",
        obs_dim=2,
        action_dim=2,
        action_low=low,
        action_high=high,
        time_limit=10,
    )

    def step(key, state, action):
        zero = jnp.zeros(())
        return state, Transition(jnp.zeros(2), action, zero, zero + 1, action, jnp.zeros((), bool))

    return Env(lambda key: None, step, spec)


def test_figure_17_disturbs_what_is_executed_and_records_what_was_meant():
    env = figure17.disturbed(bare((-2.0, 0.0), (2.0, 1.0)), 0.1)
    meant = jnp.array([0.3, 1.0])
    step = jax.vmap(lambda key: env.step(key, None, meant)[1])
    found = step(jax.random.split(jax.random.key(0), 4000))
    executed = np.asarray(found.next_obs)
    np.testing.assert_array_equal(found.action, np.broadcast_to(meant, (4000, 2)))
    # Half the ranges are 2 and 0.5, of which the noise has a tenth; the second action is at its upper bound.
    np.testing.assert_allclose(executed[:, 0].mean(), 0.3, atol=4 * 0.2 / np.sqrt(4000))
    np.testing.assert_allclose(executed[:, 0].std(), 0.2, rtol=0.05)
    assert executed[:, 1].max() == 1.0 and executed[:, 1].min() >= 0.0
    below = executed[executed[:, 1] < 1.0, 1]
    np.testing.assert_allclose(len(below) / 4000, 0.5, atol=0.04)
    np.testing.assert_allclose((1.0 - below).mean(), 0.05 * np.sqrt(2 / np.pi), rtol=0.08)
    assert env.spec == bare((-2.0, 0.0), (2.0, 1.0)).spec


def test_figure_3_divides_the_time_of_training_by_steps_and_seeds(tmp_path):
    """30 seconds for 100 steps of 3 seeds; other tasks and methods do not count, and not every run has a time."""
    rows = pd.DataFrame({"seed": [0, 1, 2], "env_step": 100, "metric": select.RETURN, "value": 1.0})

    def save(run, algorithm, env, **facts):
        known = {"experiment": figure3.NAME, "algorithm": algorithm, "env": env, "status": "finished"}
        results.save(tmp_path, run, rows, {**known, "seeds": [0, 1, 2], "steps": 100, **facts})

    save("aaaa", common.ALM, ENV, train_seconds=30.0)
    save("bbbb", common.ALM, "hopper-v4", train_seconds=60.0)
    save("cccc", "SAC", ENV)
    frame = results.load(tmp_path)
    frame.attrs["root"] = tmp_path
    assert figure3.seconds_per_step(frame, common.ALM, ENV) == pytest.approx(0.1)
    assert figure3.seconds_per_step(frame, common.ALM, "hopper-v4") == pytest.approx(0.2)
    with pytest.raises(select.MissingDataError, match=f"no time is known of SAC on {ENV}"):
        figure3.seconds_per_step(frame, "SAC", ENV)
