"""What the actor-critic learners share: values of stacked critics, a step of Adam, policies updated less often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.networks import MLP, apply
from mbrl_jax.types import Key, PyTree, Transition, check_positive, check_share, check_widths

__all__ = ["adam", "check", "delayed", "descend", "in_turn", "values"]

Step = Callable[[Key, Any, Any], tuple[Any, dict[str, Array]]]
"""`step(key, state, batch) -> (state, info)`: one gradient step on one batch."""


def check(config: Any) -> None:
    """Refuses a configuration in which `hidden`, `critics` (their number), `gamma` or `tau` is impossible."""
    check_widths(config, "hidden")
    check_positive(config, "critics")
    check_share(config, "gamma")
    check_share(config, "tau", zero=False)


def values(critic: MLP, params: PyTree, obs: Array, action: Array) -> Array:
    """Values `[critics, batch]` of stacked critics at `obs[batch, obs_dim]` and `action[batch, action_dim]`."""
    inputs = jnp.concatenate([obs, action], axis=-1)
    return jax.vmap(partial(apply, critic), in_axes=(0, None))(params, inputs)[..., 0]


def adam(rates: Mapping[str, float | Array]) -> optax.GradientTransformation:
    """One Adam over a dict of parameters, with a learning rate for each entry.

    Adam is elementwise, so this equals one for each entry, in fewer kernels.
    """

    def scale(updates: PyTree, state: optax.OptState, params=None):
        return {name: jax.tree.map(lambda u, r=rates[name]: -r * u, tree) for name, tree in updates.items()}, state

    return optax.chain(optax.scale_by_adam(), optax.GradientTransformation(lambda params: optax.EmptyState(), scale))


def descend(
    loss: Callable[[PyTree], tuple[Array, dict[str, Array]]],
    optimiser: optax.GradientTransformation,
    params: PyTree,
    opt: optax.OptState,
) -> tuple[PyTree, optax.OptState, dict[str, Array]]:
    """One step down the gradient of `loss(params) -> (loss, info)`: new parameters, optimiser state, info."""
    grads, info = jax.grad(loss, has_aux=True)(params)
    updates, opt = optimiser.update(grads, opt, params)
    return optax.apply_updates(params, updates), opt, info


def in_turn(step: Step, key: Key, state: Any, batches: Any) -> tuple[Any, dict[str, Array]]:
    """One step on each of `batches[steps, ...]`, one after the other; the info's leaves are `[steps]`."""
    count = jax.tree.leaves(batches)[0].shape[0]
    xs = jax.random.split(key, count), batches
    return lax.scan(lambda s, kb: step(kb[0], s, kb[1]), state, xs, unroll=count == 1)


def delayed(critic_step: Step, policy_step: Step) -> Step:
    """An update on several batches `[updates, batch, ...]`: the critics learn from each, then the policy from the last.

    How often the policy is updated is thus the length of a scan, not a branch on a counter.

    Returns:
      `update(key, state, batches) -> (state, info)`; the critics' info is the mean over their steps.
    """

    def update(key: Key, state: Any, batches: Transition) -> tuple[Any, dict[str, Array]]:
        k_critic, k_policy = jax.random.split(key)
        state, info = in_turn(critic_step, k_critic, state, batches)
        state, policy_info = policy_step(k_policy, state, jax.tree.map(lambda x: x[-1], batches))
        return state, {**jax.tree.map(lambda x: x.mean(axis=0), info), **policy_info}

    return update
