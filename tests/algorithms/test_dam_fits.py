"""`dam/fits`: what the losses on fresh transitions are where the answer is known, and which transitions are fresh."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.dam import common, fits
from mbrl_jax import envs
from mbrl_jax.models import fitting
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.types import Transition

ENV = envs.make("icy_road")
SIZES = fits.Sizes(seeds=1, seen=(200, 100), fresh=(150, 50))
SHORT = fitting.Config(learning_rate=5e-3, batch=64, interval=25, patience=8, max_steps=500)
CONFIG = common.config(
    replace(common.scale("laptop")[fits.ENV], hidden=(32,), fit=SHORT, rates={}, discriminator=SHORT),
    fits.ENV,
    "unimodal",
)


def episodes(change, seed=0):
    """Planned and random episodes whose observations change by `change(key, shape)`, whatever is done."""

    def part(key, count):
        k_obs, k_action, k_change = jax.random.split(key, 3)
        shape = (count, ENV.spec.time_limit)
        obs = jax.random.normal(k_obs, (*shape, ENV.spec.obs_dim))
        action = jax.random.normal(k_action, (*shape, ENV.spec.action_dim))
        zero = jnp.zeros(shape)
        following = obs + change(k_change, obs.shape)
        return Transition(obs, action, zero, zero + 1, following, zero), jnp.ones(shape, bool)

    keys = jax.random.split(jax.random.key(seed))
    return tuple(part(*given) for given in zip(keys, np.add(SIZES.seen, SIZES.fresh), strict=True))


def loss(kind, change):
    lost = jax.jit(lambda key, parts: fits._fresh_loss(ENV, CONFIG, SIZES, kind, key, parts, jnp.zeros(())))
    return jax.device_get(lost(jax.random.key(7), episodes(change)))


def test_a_model_of_pure_noise_comes_to_the_entropy_of_standardised_noise():
    """Nats per transition: half of log 2πe per entry, whatever the noise's scale."""
    found = loss("model", lambda key, shape: 3.0 * jax.random.normal(key, shape))
    entropy = ENV.spec.obs_dim * 0.5 * math.log(2 * math.pi * math.e)
    assert entropy - 0.1 < found["fresh"] < entropy + 0.3
    assert 0 < found["steps"] <= SHORT.max_steps


def test_a_discriminator_learns_nothing_where_the_model_is_right_and_something_where_it_is_not():
    """A Gaussian is right for noise, and has nothing where a coin has all of its mass."""
    right = loss("discriminator", jax.random.normal)
    wrong = loss("discriminator", lambda key, shape: jax.random.rademacher(key, shape, jnp.float32))
    assert 2 * math.log(2) - 0.1 < right["fresh"] < 2 * math.log(2) + 0.2
    assert wrong["fresh"] < 2 * math.log(2) - 0.2


@pytest.mark.parametrize("weighted", [0.0, 1.0])
def test_fresh_transitions_are_none_that_were_fitted_to(weighted):
    """Rewards number the episodes; weights are returns less the least one, with a mean of 1."""
    parts = tuple(
        (steps._replace(reward=jnp.broadcast_to(first + jnp.arange(float(len(valid)))[:, None], valid.shape)), valid)
        for (steps, valid), first in zip(episodes(jax.random.normal), (0, 1000), strict=True)
    )
    seen, fresh = (fits._rows(parts, SIZES, jnp.asarray(weighted), late) for late in (False, True))
    numbers = [set(np.asarray(rows.transitions.reward).tolist()) for rows in (seen, fresh)]
    assert numbers[0] == {*range(200), *range(1000, 1100)}
    assert numbers[1] == {*range(200, 350), *range(1100, 1150)}
    for rows in (seen, fresh):
        by_return = np.asarray(rows.transitions.reward)
        by_return = by_return - by_return.min()
        expected = by_return / by_return.mean() if weighted else np.ones_like(by_return)
        np.testing.assert_allclose(rows.weights, expected, rtol=1e-5)
        assert rows.valid.all()


@pytest.mark.parametrize("model", common.MODELS)
def test_what_table_1_uses_is_among_what_was_tried(model):
    used = common.config(common.scale("laptop")[fits.ENV], fits.ENV, model)
    assert used.model.fit in fits.MODELS
    assert used.discriminator.fit in fits.DISCRIMINATORS
    for tried in fits.KINDS.values():
        assert len({fits.named(one) for one in tried}) == len(tried)


def test_without_results_nothing_is_drawn():
    blank = {"experiment": [], "algorithm": [], "metric": [], "env": []}
    with pytest.raises(MissingDataError, match="dam/fits"):
        fits.ARTEFACT.blocks(pd.DataFrame(blank))
