"""What environments must keep (`types.Env`)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_jax.envs import contract
from mbrl_jax.testing.rules import asserted, check_finite, check_near, check_same, check_structure, saved, shapes
from mbrl_jax.types import Env, Key, PyTree, Spec, Transition

__all__ = ["check_env"]


def _roll(env: Env, key: Key, steps: int) -> tuple[PyTree, Transition]:
    """`steps` random steps without resets: the last state, and the transitions."""
    k_reset, k_act, k_step = jax.random.split(key, 3)
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)
    actions = jax.random.uniform(k_act, (steps, env.spec.action_dim), minval=low, maxval=high)

    def body(state: Any, x: tuple[Key, jax.Array]) -> tuple[Any, Transition]:
        return env.step(x[0], state, x[1])

    return jax.lax.scan(body, env.reset(k_reset), (jax.random.split(k_step, steps), actions))


def _check_ends(spec: Spec, steps: Transition) -> None:
    """Terminations, time limits and successors of one roll-out `[steps, ...]`."""
    discount, cut = np.asarray(steps.discount), np.asarray(steps.truncated)
    odd = set(np.unique(discount)) - {0.0, 1.0}
    assert not odd, f"an environment's discount must be 0 where the task ended and 1 elsewhere, got {odd}"
    assert not (cut & (discount == 0)).any(), "a step must not be truncated where the task ended"
    np.testing.assert_array_equal(
        np.asarray(steps.obs[1:]), np.asarray(steps.next_obs[:-1]), "`step` must not reset: obs must follow next_obs"
    )
    ended = np.cumsum(discount == 0) > 0
    wanted = (np.arange(1, len(cut) + 1) >= spec.time_limit) & ~ended
    wrong = np.flatnonzero((cut != wanted) & ~ended) + 1
    assert not wrong.size, f"steps must be truncated from step time_limit={spec.time_limit} on, wrong at {wrong}"


def _check_definitions(env: Env, steps: Transition) -> None:
    """`reward`, `terminal` and `path_reward` are the task's own."""
    if env.reward is not None:
        known = env.reward(steps.obs, steps.action, steps.next_obs)
        worst = float(np.abs(np.asarray(known) - np.asarray(steps.reward)).max())
        close = np.allclose(known, steps.reward, atol=2e-5, rtol=1e-5)
        assert close, f"`reward` must give the rewards of the steps, differs by up to {worst:.2g}"
    if env.terminal is not None:
        wrong = np.flatnonzero(np.asarray(env.terminal(steps.next_obs)) != (np.asarray(steps.discount) == 0)) + 1
        assert not wrong.size, f"`terminal` must be true where the discount is 0 and nowhere else, wrong at {wrong}"
    if env.path_reward is not None:
        known = env.path_reward(steps.obs, steps.action)
        assert known.shape == steps.reward.shape, (
            f"`path_reward` must give {steps.reward.shape} rewards of a path, got {known.shape}"
        )


def check_env(env: Env, *, steps: int = 12) -> None:
    """An environment keeps its structure and its promises about ends over `steps` random steps, and seeds are apart.

    Raises:
      AssertionError: says which rule is broken and what was found.
    """
    with asserted():
        contract.check_env(env)
    keys = jax.random.split(jax.random.key(7), 3)
    end, batch = jax.jit(jax.vmap(lambda key: _roll(env, key, steps)))(keys)
    check_finite(batch, "a transition")
    alone = jax.jit(lambda key: _roll(env, key, steps))
    single = alone(keys[1])
    check_same(alone(saved(keys[1])), single, "an environment must give the same bits for the same key")
    check_near(
        jax.tree.map(lambda x: x[1], batch), single[1], 1e-5, "steps of seeds together must equal those of seeds alone"
    )
    for place in range(len(keys)):
        each = jax.tree.map(lambda x: x[place], batch)  # noqa: B023
        _check_ends(env.spec, each)
        _check_definitions(env, each)
    if env.restart is not None:
        _check_restart(env, keys[0], jax.tree.map(lambda x: x[0], end))


def _check_restart(env: Env, key: Key, state: PyTree) -> None:
    assert env.restart is not None
    kept = env.restart(key, jnp.zeros((), bool), state)
    check_structure(shapes(state), shapes(kept), "`restart`")
    check_same(kept, state, "`restart` must leave a state that has not ended as it is")
    check_near(env.restart(key, jnp.ones((), bool), state), env.reset(key), 1e-6, "`restart` of an end must be `reset`")
