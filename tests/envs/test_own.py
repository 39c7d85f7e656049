"""An environment of the user's own: what breaks a rule is refused when it is made, by field, rule and value."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import envs
from mbrl_jax.testing import check_env
from mbrl_jax.types import Spec

SPEC = Spec(name="own-v0", engine="jax", obs_dim=2, action_dim=1, action_low=(-1.0,), action_high=(1.0,), time_limit=9)
ONE = jnp.ones(1)


def start(key):
    at = jax.random.uniform(key, (2,))
    return {"at": at, "count": jnp.int32(0)}, at


def advance(key, physics, obs, action):
    del key, obs
    after = {"at": physics["at"] + 0.1 * action, "count": physics["count"] + 1}
    return after, after["at"], 0.0, after["at"][0] > 2.0


def changed(place, value):
    """`advance` with one of its four results replaced."""

    def other(*given):
        found = list(advance(*given))
        found[place] = value(found[place])
        return tuple(found)

    return other


def made(build, spec=SPEC, start=start, advance=advance, reward=None, terminal=None):
    return build(spec, start, advance, reward, terminal)


SPECS = {
    "no bound above": ({"action_high": (np.inf,)}, r"action_high must be .* finite numbers.*got \(inf,\)"),
    "no bound at all": ({"action_low": (-np.inf,), "action_high": (np.inf,)}, r"action_low must .*got \(-inf,\)"),
    "a bound that is NaN": ({"action_low": (np.nan,)}, r"action_low must be .*got \(nan,\)"),
    "a bound beyond 32 bits": ({"action_high": (1e39,)}, r"action_high must be .*got \(1e\+39,\)"),
    "bounds swapped": ({"action_low": (1.0,), "action_high": (-1.0,)}, r"action_low must be below action_high.*1\.0"),
    "bounds that meet": ({"action_low": (1.0,)}, r"action_low must be below action_high"),
    "too many bounds": ({"action_low": (-1.0, -1.0)}, r"action_low must be a tuple of action_dim=1 .*got \(-1\.0, -1"),
    "bounds in a list": ({"action_low": [-1.0]}, r"action_low must be a tuple .*got \[-1\.0\]"),
    "one number as bounds": ({"action_low": -1.0}, r"action_low must be a tuple .*got -1\.0"),
    "no time": ({"time_limit": 0}, "time_limit must be a whole number of at least 1.*got 0"),
    "a broken limit": ({"time_limit": 9.5}, r"time_limit must be a whole number .*got 9\.5"),
    "a limit beyond 32 bits": ({"time_limit": 2**31}, "time_limit must be a whole number .*got 2147483648"),
    "no action": ({"action_dim": 0, "action_low": (), "action_high": ()}, "action_dim must be .*at least 1.*got 0"),
    "no observation": ({"obs_dim": 0}, "obs_dim must be .*at least 1.*got 0"),
    "backward time": ({"dt": -0.1}, r"dt must be finite and at least 0.*got -0\.1"),
    "no name": ({"name": ""}, "name must be printable text.*got ''"),
    "a name of two lines": ({"name": "a\nb"}, r"name must be printable text.*got 'a\\nb'"),
}
PARTS = {
    "a reward of one entry": ({"advance": changed(2, lambda _: ONE)}, r"reward .*must have shape \(\), got \(1,\)"),
    "a reward of text": ({"advance": changed(2, lambda _: "much")}, "reward .*must hold arrays, got str"),
    "a complex reward": ({"advance": changed(2, lambda _: jnp.complex64(1))}, "reward .*must be real, got complex64"),
    "an end of one entry": (
        {"advance": changed(3, lambda _: ONE > 2)},
        r"terminated .*must have shape \(\), got \(1,\)",
    ),
    "an end that is a number": (
        {"advance": changed(3, lambda _: jnp.ones(()))},
        "terminated .*must be bool, got float",
    ),
    "a longer observation": (
        {"spec": dataclasses.replace(SPEC, obs_dim=3)},
        r"obs .*\(obs_dim,\) = \(3,\), got \(2,\)",
    ),
    "another next observation": (
        {"advance": changed(1, lambda obs: obs[:1])},
        r"next_obs .*\(obs_dim,\) = \(2,\), got \(1,\)",
    ),
    "an observation in parts": (
        {"start": lambda key: (start(key)[0], {"speed": ONE, "place": ONE})},
        "obs .*must be one array.*got a dict of 'place', 'speed'",
    ),
    "a state of another dtype": (
        {"advance": changed(0, lambda state: {**state, "count": state["count"].astype(jnp.float32)})},
        r"physics .*must keep shapes and dtypes.*\['count'\]: int32\[\] became float32\[\]",
    ),
    "a state of another shape": (
        {"advance": changed(0, lambda state: {**state, "at": state["at"][:1]})},
        r"physics .*must keep shapes and dtypes.*\['at'\]: float32\[2\] became float32\[1\]",
    ),
    "a state with one entry more": (
        {"advance": changed(0, lambda state: {**state, "new": ONE})},
        "physics .*must keep one structure",
    ),
    "a state of text": ({"start": lambda key: ("north", start(key)[1])}, "physics .*must hold arrays, got str"),
    "an observation alone": (
        {"start": lambda key: start(key)[1]},
        r"start must return \(physics, obs\), got .*float32",
    ),
    "Gymnasium's five": (
        {"advance": lambda *given: (*advance(*given), {})},
        r"advance must return \(physics, next_obs, reward, terminated\), got 5 values",
    ),
    "`reward` of one observation": (
        {"reward": lambda obs, action, next_obs: obs[0]},
        r"`reward` must give shape \(2, 3\) for obs of shape \(2, 3, 2\), got \(3, 2\)",
    ),
    "`reward` of two values": (
        {"reward": lambda o, a, n: (a[..., 0], a)},
        "`reward` must give one array, got 2 values",
    ),
    "`terminal` of numbers": ({"terminal": lambda obs: obs[..., 0]}, "`terminal` must be bool, got float32"),
    "`terminal` with an axis": (
        {"terminal": lambda obs: obs[..., :1] > 0},
        r"`terminal` must give shape \(2, 3\) .*1\)",
    ),
}


@pytest.mark.parametrize("name", [*SPECS, *PARTS])
def test_what_breaks_a_rule_is_refused_when_it_is_made(name):
    parts, told = (
        PARTS[name] if name in PARTS else ({"spec": dataclasses.replace(SPEC, **SPECS[name][0])}, SPECS[name][1])
    )
    with pytest.raises(ValueError, match=told) as refused:
        made(envs.build, **parts)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", list(SPECS))
def test_the_public_check_has_the_same_rules(name):
    changes, told = SPECS[name]
    env = made(envs.build)
    with pytest.raises(AssertionError, match=told):
        check_env(env._replace(spec=dataclasses.replace(SPEC, **changes)))


def test_what_keeps_the_rules_is_made_without_compiling_and_passes_the_check():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
    try:
        env = made(envs.build, reward=lambda o, a, n: jnp.zeros(o.shape[:-1]), terminal=lambda n: n[..., 0] > 2.0)
    finally:
        jax.monitoring.clear_event_listeners()
    assert not [event for event in compiled if "backend_compile" in event]
    check_env(env)


def test_numbers_of_python_in_a_state_become_arrays():
    """Their types would be weak, and change in a loop."""

    def begin(key):
        return (0, 0.0, start(key)[0]), start(key)[1]

    def go_on(key, physics, obs, action):
        after, *rest = advance(key, physics[2], obs, action)
        return (physics[0] + 1, physics[1] + 0.5, after), *rest

    env = made(envs.build, start=begin, advance=go_on)
    state = jax.eval_shape(env.reset, jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    end, _ = jax.lax.scan(
        lambda s, k: env.step(k, s, ONE), env.reset(jax.random.key(0)), jax.random.split(jax.random.key(1), 3)
    )
    assert end.physics[0] == 3 and end.physics[1] == 1.5


def test_an_error_of_the_users_own_says_where_it_was_met():
    def wrong(key):
        raise KeyError("speed")

    with pytest.raises(KeyError, match="speed") as met:
        made(envs.build, start=wrong)
    assert "start of own-v0" in "".join(met.value.__notes__)
