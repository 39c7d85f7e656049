"""`check_algorithm` passes a small algorithm that keeps every rule, and tells each fault by its rule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mbrl_jax import envs, rollouts
from mbrl_jax.testing import check_algorithm
from mbrl_jax.types import Algorithm, Policy, Shared, Storage

SPEC = envs.make("lqr-v0").spec
ROWS = 11


class State(NamedTuple):
    """A ring of rows, where to write next, a weight, how often a seed was lucky, and the key it began with."""

    rows: Storage
    at: Shared
    weight: jax.Array
    lucky: jax.Array
    key: jax.Array


def init(key):
    rows = Storage(jnp.zeros((ROWS, 5)))
    return State(rows, Shared(jnp.zeros((), jnp.int32)), jnp.ones(()), jnp.zeros((), jnp.int32), key)


def step(key, state):
    """Stores noise, moves the weight towards the mean of three rows, and tosses a coin."""
    k_row, k_read, k_coin = jax.random.split(key, 3)
    at = state.at.value
    row = jax.random.normal(k_row, (1, 5))
    rows = lax.dynamic_update_slice(state.rows.value, row, (at, jnp.zeros_like(at)))
    seen = rows[jax.random.randint(k_read, (3,), 0, ROWS)]
    weight = 0.9 * state.weight + 0.1 * seen.mean()
    lucky = state.lucky + jax.random.bernoulli(k_coin).astype(jnp.int32)
    state = state._replace(rows=Storage(rows), at=Shared((at + 1) % ROWS), weight=weight, lucky=lucky)
    return state, {"weight": weight, "train/return": jnp.full((), jnp.nan)}


def policy(state):
    return rollouts.for_env(SPEC, rollouts.stateless(lambda key, obs: jnp.tanh(state.weight * obs[:, :1])))


SOUND = Algorithm(init, step, policy, 1)


def changed(**parts):
    """`step` whose new state has some parts made by functions of (key, new state)."""

    def other(key, state):
        state, info = step(key, state)
        return state._replace(**{name: make(key, state) for name, make in parts.items()}), info

    return SOUND._replace(step=other)


def informed(extra):
    """`step` with a further metric, made by a function of the new state."""

    def other(key, state):
        state, info = step(key, state)
        return state, {**info, "more": extra(state)}

    return SOUND._replace(step=other)


def test_a_sound_algorithm_passes_and_its_run_comes_back():
    ran = check_algorithm(SOUND, SPEC, iterations=4)
    assert len(ran.states) == 2 and len(ran.infos) == 8
    assert not np.allclose(ran.states[0].weight, ran.states[1].weight)
    assert check_algorithm(SOUND, SPEC, iterations=0).states == []


def by_seed(key, state):
    return lax.cond(state.lucky > 1, lambda w: 0.5 * w, lambda w: w + 1.0, state.weight)


def by_time(key, state):
    return lax.cond(state.at.value > 1, lambda w: 0.5 * w, lambda w: w + 1.0, state.weight)


def until_lucky(key, state):
    return lax.while_loop(lambda w: w < state.lucky.astype(jnp.float32), lambda w: w + 0.3, state.weight)


def copied(key, state):
    return Storage(jnp.where(state.lucky > 0, state.rows.value, 0.5 * state.rows.value))


def carried(key, state):
    rows, _ = lax.while_loop(
        lambda c: c[1] < state.lucky, lambda c: (c[0].at[0].add(1.0), c[1] + 1), (state.rows.value, jnp.int32(0))
    )
    return Storage(rows)


@jax.custom_batching.custom_vmap
def lonely(x):
    return x


@lonely.def_vmap
def _(size, batched, x):
    return jnp.broadcast_to(x.mean(axis=0, keepdims=True), x.shape), True


CALLS = []


def remembering(key, state):
    """Adds how often the host was called."""

    def call(x):
        CALLS.append(1)
        return np.float32(len(CALLS))

    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return state.weight + jax.pure_callback(call, shape, state.weight, vmap_method="sequential")


FAULTS = {
    "a dtype that changes": (changed(weight=lambda k, s: s.weight.astype(jnp.float16)), r"weight: float32\[\] became"),
    "a shape that changes": (changed(weight=lambda k, s: s.weight[None]), r"float32\[\] became float32\[1\]"),
    "another structure": (changed(weight=lambda k, s: (s.weight,)), "keep one structure"),
    "a weak type": (SOUND._replace(init=lambda key: init(key)._replace(weight=1.0)), r"no weak types .*weight"),
    "a nested info": (informed(lambda s: {"inner": s.weight}), r"flat, but \['more'\]"),
    "a wide info": (informed(lambda s: s.rows.value[0]), r"scalars only, got {'more': \[5\]}"),
    "an infinite info": (informed(lambda s: s.weight / 0.0), "info must be finite, .*more"),
    "a branch by seed": (changed(weight=by_seed), "branch must not depend on a seed, .*: 1 of 1 do"),
    "a branch that was not named": (changed(weight=by_time), "expected 0 branches .* found 1"),
    "a copy of what is stored": (changed(rows=copied), r"write into a `Storage` in place, but .*'select_n'"),
    "a store that is not written": (SOUND._replace(step=lambda k, s: (s, {"more": s.weight})), "found no write"),
    "a loop by seed": (changed(weight=until_lucky), "expected 0 loops .* found 1"),
    "a seed in what is shared": (
        changed(at=lambda k, s: Shared((s.at.value + s.lucky) % ROWS)),
        "`Shared` must not depend on a seed",
    ),
    "a seed that feels the others": (changed(weight=lambda k, s: lonely(s.weight)), "seeds together .*weight"),
    "a memory on the host": (changed(weight=remembering), "saved and resumed .*weight"),
    "no environment steps": (SOUND._replace(env_steps=0), "env_steps must be at least 1, got 0"),
}


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_fault_is_told_by_the_rule_it_breaks(name):
    algorithm, rule = FAULTS[name]
    with pytest.raises(AssertionError, match=rule):
        check_algorithm(algorithm, SPEC, iterations=2)


def test_a_loop_by_seed_that_carries_the_store_is_told_even_where_it_is_expected():
    with pytest.raises(AssertionError, match="Storage"):
        check_algorithm(changed(rows=carried), SPEC, waiting=1, iterations=0)


def test_what_is_expected_may_be_stated():
    check_algorithm(changed(weight=by_time), SPEC, branches=1, iterations=2)
    check_algorithm(changed(weight=until_lucky), SPEC, waiting=1, iterations=2)


def acting(act, start=lambda obs: ()):
    return SOUND._replace(policy=lambda state: Policy(start, act))


POLICIES = {
    "beyond the bounds": (acting(lambda k, m, obs: (m, jnp.full((len(obs), 1), 10.1), ())), "between .* got"),
    "one action": (acting(lambda k, m, obs: (m, jnp.zeros(1), ())), r"shape \(7, 1\) for 7 rows, got \(1,\)"),
    "not a number": (acting(lambda k, m, obs: (m, jnp.full((len(obs), 1), jnp.nan), ())), "an action must be finite"),
    "one memory": (
        acting(lambda k, m, obs: (m, obs[:, :1], ()), lambda obs: jnp.zeros(3)),
        r"memory must have leaves \[7, ...\], got .*\[3\]",
    ),
    "a memory that grows": (
        acting(lambda k, m, obs: (jnp.concatenate([m, m], axis=1), obs[:, :1], ()), lambda obs: obs),
        "memory must keep shapes",
    ),
    "one extra": (acting(lambda k, m, obs: (m, obs[:, :1], jnp.zeros(()))), r"extras must have leaves \[7, ...\]"),
}


@pytest.mark.parametrize("name", list(POLICIES))
def test_a_policys_fault_is_told_by_the_rule_it_breaks(name):
    algorithm, rule = POLICIES[name]
    with pytest.raises(AssertionError, match=rule):
        check_algorithm(algorithm, SPEC, iterations=1)
