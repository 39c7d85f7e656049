"""Actor-critic learners on the probes: the values and the best actions are known exactly."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import probing
import pytest

from mbrl_jax.agents import redq, sac, td3
from mbrl_jax.envs.probes import LENGTH, PROBES

GAMMA = 0.9
SOFT = {"actor_lr": 2e-3, "critic_lr": 2e-3, "temperature_lr": 0.0, "gamma": GAMMA, "tau": 0.05}
SOFT["initial_temperature"] = 1e-5  # the probes' exact values are those without an entropy bonus
FEW = ("probe-delayed-v0", "probe-truncation-v0", "probe-match-v0")
"""Bootstrapping, time limits, and a policy that must see its input."""


class Case(NamedTuple):
    """A learner, its configuration, its deterministic policy, and what it is trained on (see `probing.train`)."""

    make: Callable
    config: Any
    mode: Callable
    updates: int
    shape: tuple[int, ...]
    names: tuple[str, ...]


CASES = {
    "sac": Case(sac.make, sac.Config(hidden=(32, 32), **SOFT), sac.mode, 1500, (1, 64), tuple(PROBES)),
    "redq": Case(
        partial(redq.make, policy_delay=2),
        sac.Config(hidden=(64,), critics=4, **SOFT | {"actor_lr": 3e-3}),
        sac.mode,
        750,
        (2, 64),
        FEW,
    ),
    "td3": Case(
        td3.make,
        td3.Config(hidden=(64,), actor_lr=2e-3, critic_lr=2e-3, gamma=GAMMA, tau=0.1),
        td3.mode,
        750,
        (2, 64),
        FEW,
    ),
}


@functools.cache
def trained(learner):
    """Name of a probe -> what the learner has learned on it."""
    make, config, _, updates, shape, names = CASES[learner]
    return probing.train(make, config, updates, shape, names)


@pytest.mark.parametrize(("learner", "name"), [(one, name) for one, case in CASES.items() for name in case.names])
def test_critics_learn_the_exact_values(learner, name):
    """Constant, observation, delay, action; a truncated episode bootstraps (1 / (1 - γ)), a terminated does not."""
    probing.check_values(trained(learner)[name])


ACTING = {"probe-action-v0", "probe-match-v0"}


@pytest.mark.parametrize(
    ("learner", "name"), [(one, name) for one, case in CASES.items() for name in sorted(ACTING & {*case.names})]
)
def test_the_policy_finds_the_best_action(learner, name):
    probing.check_policy(trained(learner)[name], CASES[learner].mode)


def test_truncation_and_termination_differ_as_they_must():
    ends = {}
    for name in ("probe-truncation-v0", "probe-termination-v0"):
        one = trained("sac")[name]
        last = one.batch.truncated | (one.batch.discount == 0)
        assert last.sum() == probing.ROWS // LENGTH
        ends[name] = float(one.values()[:, last].mean())
    assert ends["probe-truncation-v0"] > 9.5 and ends["probe-termination-v0"] < 1.2
